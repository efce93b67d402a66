-- Rollouts of agents, workflows and policies. The declaration never changes; what a step changes is columns and `state`.
-- What the doors read of the phase it is in stands in columns, so that after a change of the gate a node reads these and no documents.
CREATE TABLE rollouts (
  tenant      text   NOT NULL,
  rollout_id  text   NOT NULL,
  version     int    NOT NULL,
  name        text   NOT NULL, -- as declared; the id is another for every declaration
  kind        text   NOT NULL CHECK (kind IN ('agent', 'workflow', 'policy')),
  subject     text   NULL,     -- agent or workflow
  candidate   text   NOT NULL,
  stable      text   NULL,
  status      text   NOT NULL CHECK (status IN ('draft', 'running', 'paused', 'promoted', 'rolled_back')),
  phase       int    NOT NULL,
  share_bp    int    NOT NULL CHECK (share_bp BETWEEN 0 AND 10000),
  risk        text   NOT NULL CHECK (risk IN ('read_only', 'low_risk', 'mixed')),
  rest        text   NOT NULL CHECK (rest IN ('stable', 'shadow', 'manual')),
  routing     text   NOT NULL,
  on_rollback text   NOT NULL CHECK (on_rollback IN ('drain', 'cancel')),
  document    jsonb  NOT NULL,
  declaration text   NOT NULL,
  declared_by text   NOT NULL,
  declared_at bigint NOT NULL,
  started_at  bigint NULL,
  ended_at    bigint NULL,
  state       jsonb  NOT NULL,
  PRIMARY KEY (tenant, rollout_id),
  CHECK ((subject IS NULL) = (kind = 'policy')),
  CHECK ((status IN ('promoted', 'rolled_back')) = (ended_at IS NOT NULL))
);
-- One at a time, or nobody could say which of two changes a number is of.
CREATE UNIQUE INDEX rollouts_one_live ON rollouts (tenant, kind, coalesce(subject, '')) WHERE status IN ('running', 'paused');
CREATE INDEX rollouts_live ON rollouts (rollout_id) WHERE status IN ('running', 'paused');
CREATE INDEX rollouts_over ON rollouts (kind, subject, tenant, started_at) WHERE ended_at IS NOT NULL AND started_at IS NOT NULL;
