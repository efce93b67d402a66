-- What people stop at once. A stop is read by the door under the gate's epoch: raising, easing and ending one moves the gates of all
-- tenants concerned in the same commit. One of everything is a row of the tenant it was raised in.
CREATE TABLE stops (
  tenant       text   NOT NULL,
  stop_id      text   NOT NULL,
  scope        text   NOT NULL CHECK (scope IN ('tenant', 'team', 'agent', 'topic', 'everything')),
  target       text   NULL, -- team, agent or topic pattern
  reason       text   NOT NULL,
  raised_by    text   NOT NULL,
  raised_at    bigint NOT NULL,
  epoch        bigint NOT NULL, -- of its tenant's gate from then on
  stage        text   NOT NULL CHECK (stage IN ('stopped', 'trial', 'full')),
  trial_until  bigint NULL,
  trial_limit  int    NULL, -- jobs a minute
  resume       jsonb  NULL, -- what one person asked for and another has to carry out
  steps        jsonb  NOT NULL DEFAULT '[]', -- what was carried out, and by which two
  ended_at     bigint NULL,
  refused_ms   int    NULL, -- from the call to its commit: no part of a step, so not in the audit log
  enforced_at  bigint NULL, -- when every running job in its scope was asked to stop
  PRIMARY KEY (tenant, stop_id),
  CHECK ((target IS NOT NULL) = (scope IN ('team', 'agent', 'topic'))),
  CHECK ((stage = 'full') = (ended_at IS NOT NULL))
);
CREATE INDEX stops_active ON stops (raised_at) WHERE ended_at IS NULL;

-- Every node says that it lives, and says of every stop that it has read the gate since. A row goes when its node stops in order; one
-- that is silent may be frozen, so it stays on the list of those nobody has heard from.
CREATE TABLE nodes (
  node       text   NOT NULL PRIMARY KEY,
  name       text   NOT NULL,
  started_at bigint NOT NULL,
  seen_at    bigint NOT NULL
);
CREATE INDEX nodes_seen ON nodes (seen_at);
CREATE TABLE stop_confirmations (
  stop_id text   NOT NULL,
  node    text   NOT NULL,
  name    text   NOT NULL,
  at      bigint NOT NULL,
  PRIMARY KEY (stop_id, node)
);

-- Leases that a stop found running: their end is what it waits for.
CREATE TABLE stop_leases (
  stop_id  text NOT NULL,
  lease_id text NOT NULL,
  tenant   text NOT NULL,
  job_id   text NOT NULL,
  PRIMARY KEY (stop_id, lease_id)
);

-- What the door reads of an agent that failed too often. Half open is open after retry_at: the clock alone makes it so.
CREATE TABLE breakers (
  tenant       text   NOT NULL,
  agent        text   NOT NULL,
  state        text   NOT NULL CHECK (state IN ('open', 'closed')),
  failures     int    NOT NULL, -- that opened it
  reason       text   NOT NULL,
  opened_at    bigint NOT NULL,
  retry_at     bigint NOT NULL,
  cool_down_ms bigint NOT NULL,
  closed_at    bigint NULL,
  closed_by    text   NULL,
  PRIMARY KEY (tenant, agent)
);

-- How the newest jobs of agents ended of which one failed lately: counted beside the commits, by one node.
CREATE TABLE breaker_counts (
  tenant text   NOT NULL,
  agent  text   NOT NULL,
  recent jsonb  NOT NULL, -- [{job_id, at, failed}], oldest first
  PRIMARY KEY (tenant, agent)
);
-- Only a failure is in it: what ends well pays nothing for it.
CREATE INDEX jobs_failed ON jobs (finished_at) WHERE status IN ('dead_letter', 'quarantined');
