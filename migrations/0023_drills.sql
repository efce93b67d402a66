-- Drills that were run, never changed or removed: a gate of then can be worked out again, and there are some three hundred in a year.
CREATE TABLE drill_runs (
  tenant      text   NOT NULL,
  drill_id    text   NOT NULL,
  drill       text   NOT NULL CHECK (drill IN ('deny', 'approval', 'worker-crash', 'rollback', 'incident-replay', 'stop', 'restore')),
  outcome     text   NOT NULL CHECK (outcome IN ('passed', 'failed')),
  at          bigint NOT NULL,
  valid_until bigint NOT NULL,
  took_ms     bigint NOT NULL,
  made        jsonb  NOT NULL, -- ids of what the drill made, that the server looked at
  checks      jsonb  NOT NULL, -- [{by, name, pass, detail}]: of who played it, and of the server
  figures     jsonb  NOT NULL,
  recorded_by text   NOT NULL,
  PRIMARY KEY (tenant, drill_id),
  CHECK (valid_until > at)
);
CREATE INDEX drill_runs_newest ON drill_runs (tenant, drill, at DESC, drill_id DESC);
CREATE INDEX drill_runs_passed ON drill_runs (tenant, drill, at DESC) WHERE outcome = 'passed';

-- Who answers for a drill, at most one row for each of the seven.
CREATE TABLE drill_schedules (
  tenant       text   NOT NULL,
  drill        text   NOT NULL CHECK (drill IN ('deny', 'approval', 'worker-crash', 'rollback', 'incident-replay', 'stop', 'restore')),
  owner        text   NOT NULL,
  every_ms     bigint NOT NULL CHECK (every_ms > 0),
  since        bigint NOT NULL,
  updated_at   bigint NOT NULL,
  updated_by   text   NOT NULL,
  reminded_for bigint NULL, -- the due time of which the log says that nobody kept it
  PRIMARY KEY (tenant, drill)
);
