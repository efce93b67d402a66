-- How an effect of a candidate is undone, as its worker registered it in the commit of the effect. Only jobs that a rollout gave to its
-- candidate have such rows: nothing else is ever taken back. What is to be done is a payload, because it can be erased.
CREATE SEQUENCE compensation_order;
CREATE TABLE compensations (
  tenant       text   NOT NULL,
  job_id       text   NOT NULL,
  effect_key   text   NOT NULL,
  rollout_id   text   NOT NULL,
  run_id       text   NOT NULL,
  agent        text   NOT NULL,
  version      int    NOT NULL,
  at           bigint NOT NULL, -- when the effect was committed; until it is, when it began
  ordinal      bigint NOT NULL, -- of compensation_order, then: no clock says which of two effects came first, the store does
  topic        text   NOT NULL,
  ptr          text   NOT NULL,
  status       text   NOT NULL CHECK (status IN ('registered', 'asked', 'done', 'blocked', 'settled', 'void')),
  reason       text   NULL, -- why it waits, or what it failed by: a code
  next_at      bigint NULL, -- not asked before
  tries        int    NOT NULL,
  raised_by    text   NULL, -- the person who wants it now: they do not approve it
  barred       jsonb  NOT NULL, -- who does not approve it either: who registered it, took the rollout back or asked for it before
  comp_job_id  text   NULL, -- the job that does it, or did last
  decision_id  text   NULL, -- of the last time it was put to the first door
  asked_at     bigint NULL,
  ended_at     bigint NULL,
  settled_by   text   NULL,
  PRIMARY KEY (tenant, job_id, effect_key)
);
-- By rollout first: an index that begins with tenant was once taken for look-ups by id.
CREATE INDEX compensations_of_rollout ON compensations (rollout_id, tenant, status, ordinal);
CREATE INDEX compensations_of_run ON compensations (run_id, rollout_id, tenant) WHERE status IN ('registered', 'asked', 'blocked');

CREATE INDEX compensations_by_job ON compensations (comp_job_id, tenant) WHERE comp_job_id IS NOT NULL;

-- What came of a rollback so far. The first look makes it.
CREATE TABLE recoveries (
  tenant          text   NOT NULL,
  rollout_id      text   NOT NULL,
  version         int    NOT NULL,
  rolled_back_at  bigint NOT NULL,
  rolled_back_by  text   NOT NULL,
  detected_from   bigint NULL,     -- the first look in a row that said too much
  leases          jsonb  NOT NULL, -- of the candidate, that ran when it was first looked at
  refused         int    NOT NULL, -- waiting jobs of the candidate that were denied since
  leases_ended_at bigint NULL,
  recovered_at    bigint NULL,
  PRIMARY KEY (tenant, rollout_id)
);
-- Null until a rollback is over: the loop looks at these alone. A compensation that is registered late sets it back.
ALTER TABLE rollouts ADD COLUMN recovered_at bigint NULL;
CREATE INDEX rollouts_unrecovered ON rollouts (ended_at) WHERE status = 'rolled_back' AND recovered_at IS NULL;

-- Which nodes have read the gate since, as of a stop.
CREATE TABLE rollback_confirmations (
  tenant     text   NOT NULL,
  rollout_id text   NOT NULL,
  node       text   NOT NULL,
  name       text   NOT NULL,
  at         bigint NOT NULL,
  PRIMARY KEY (rollout_id, node, tenant)
);

-- Audit tiles that speak of a rollout, so that its entries are found without walking the log.
CREATE TABLE rollout_tiles (
  tenant     text   NOT NULL,
  rollout_id text   NOT NULL,
  writer     text   NOT NULL,
  seq        bigint NOT NULL,
  PRIMARY KEY (rollout_id, writer, seq, tenant)
);
