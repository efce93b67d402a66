-- What happened to work of a rollout, of which the numbers of its gates are made: only ever added to, with the rows it is of.
-- The tile says when the log knew of it: a number as of a signed head is of the samples whose tiles that head covers.
CREATE TABLE rollout_samples (
  tenant     text    NOT NULL,
  rollout_id text    NOT NULL,
  kind       text    NOT NULL, -- decided, leased, attempt, outcome, asked, answered
  variant    text    NOT NULL, -- candidate, control
  at         bigint  NOT NULL,
  writer     text    NOT NULL,
  seq        bigint  NOT NULL,
  n          int     NOT NULL, -- place in its commit
  ref        text    NOT NULL, -- job, lease, approval or decision
  word       text    NOT NULL,
  counts     boolean NOT NULL,
  ms         bigint  NULL,
  verdict    text    NULL,
  cost       bigint  NULL,     -- millionths
  run_id     text    NULL,
  PRIMARY KEY (tenant, rollout_id, kind, variant, at, writer, seq, n)
);
CREATE INDEX rollout_samples_old ON rollout_samples (tenant, at);
