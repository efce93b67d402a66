-- Replays: scenarios and recorded submits put to the door of a stored snapshot. What was asked never changes; the server fills in the rest.
CREATE TABLE replays (
  tenant      text   NOT NULL,
  replay_id   text   NOT NULL,
  status      text   NOT NULL CHECK (status IN ('running', 'done', 'failed')),
  digest      text   NOT NULL, -- the snapshot it is about
  active      text   NULL,     -- the one that was active when it was asked for
  rollout_id  text   NULL,
  candidate   text   NOT NULL, -- of that rollout; else the digest
  asked       jsonb  NOT NULL,
  asked_by    text   NOT NULL,
  asked_at    bigint NOT NULL,
  tries       int    NOT NULL, -- how often a node began it; its log is of the last
  progress    jsonb  NOT NULL,
  finished_at bigint NULL,
  valid_until bigint NULL,
  voided_at   bigint NULL,     -- since when another snapshot is, or was, active
  outcome     jsonb  NULL,
  log_hash    text   NULL,     -- sha256 over the log, a line of JSON for each denial
  log_parts   int    NOT NULL,
  log_entries int    NOT NULL,
  reason      text   NULL,     -- why it failed
  -- Of the outcome, for gates: what lies in its text takes some ms to unpack.
  runs              int NOT NULL GENERATED ALWAYS AS (coalesce((outcome -> 'suite' ->> 'runs')::int, 0) + coalesce((outcome -> 'recorded' ->> 'runs')::int, 0)) STORED,
  scenarios         int NOT NULL GENERATED ALWAYS AS (coalesce((outcome -> 'suite' ->> 'scenarios')::int, 0)) STORED,
  critical_bypasses int NOT NULL GENERATED ALWAYS AS (coalesce((outcome -> 'suite' ->> 'critical_bypasses')::int, 0) + coalesce((outcome -> 'recorded' ->> 'critical_bypasses')::int, 0)) STORED,
  unsafe_duplicates int NOT NULL GENERATED ALWAYS AS (coalesce((outcome -> 'suite' ->> 'unsafe_duplicates')::int, 0) + coalesce((outcome -> 'recorded' ->> 'unsafe_duplicates')::int, 0)) STORED,
  PRIMARY KEY (tenant, replay_id),
  CHECK ((status = 'running') = (finished_at IS NULL)),
  CHECK ((status = 'done') = (valid_until IS NOT NULL))
);
CREATE INDEX replays_running ON replays (tenant, asked_at, replay_id) WHERE status = 'running';
CREATE INDEX replays_standing ON replays (tenant, candidate, finished_at) WHERE status = 'done' AND runs > 0;
-- Those that found something: they stand beside whatever comes after them.
CREATE INDEX replays_found ON replays (tenant, candidate, valid_until) WHERE status = 'done' AND (critical_bypasses > 0 OR unsafe_duplicates > 0);
-- What may still be voided; small, for all else is over within days.
CREATE INDEX replays_valid ON replays (valid_until) WHERE status = 'done' AND voided_at IS NULL;
CREATE INDEX replays_over ON replays (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE replay_logs (
  tenant    text NOT NULL,
  replay_id text NOT NULL,
  try       int  NOT NULL,
  part      int  NOT NULL,
  body      text NOT NULL,
  PRIMARY KEY (tenant, replay_id, try, part)
);
