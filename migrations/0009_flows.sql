-- Approval flows: who is asked now, which rungs of the ladder were asked in addition, when somebody has to look again (a level's time is
-- over), and what reviewers changed before they said yes. Rows from before have no due_at: they are looked at when they expire.
ALTER TABLE approvals
  ADD COLUMN asked_of    jsonb  NOT NULL DEFAULT '[]', -- principals
  ADD COLUMN escalations jsonb  NOT NULL DEFAULT '[]', -- {spec, level, rung, at}
  ADD COLUMN edits       jsonb  NOT NULL DEFAULT '[]', -- {by, at, note, paths, before, after}: pointers to the inputs, which go with the payloads
  ADD COLUMN due_at      bigint NULL;
CREATE INDEX approvals_due ON approvals ((coalesce(due_at, expires_at))) WHERE status = 'pending';
DROP INDEX approvals_expiring;

-- Whom questions may be put to, and who made keys of whom: read for every answer.
CREATE INDEX principals_answering ON principals (tenant) WHERE role IN ('admin', 'approver') AND disabled_at IS NULL;
CREATE INDEX keys_by_principal ON keys (principal, tenant);

-- Who is away, and who may answer meanwhile. Part of what a question is routed by, so every change moves the gate.
CREATE TABLE absences (
  tenant     text   NOT NULL,
  principal  text   NOT NULL,
  from_at    bigint NOT NULL,
  until_at   bigint NOT NULL, -- at or before from_at: not away
  delegate   text   NULL,
  updated_at bigint NOT NULL,
  updated_by text   NOT NULL,
  PRIMARY KEY (tenant, principal)
);

-- Approvals given beforehand: N uses by one agent on one topic. Uses are counted in limits under `grant|GRANT_ID`, in the commit of
-- the job that takes one. Making and revoking one moves the gate.
CREATE TABLE grants (
  tenant     text   NOT NULL,
  grant_id   text   NOT NULL,
  agent      text   NOT NULL,
  topic      text   NOT NULL, -- a pattern
  condition  text   NULL,     -- CEL over the job, as `when` of a rule
  uses       int    NOT NULL CHECK (uses > 0),
  expires_at bigint NOT NULL,
  reason     text   NOT NULL,
  granted_by text   NOT NULL,
  key_id     text   NOT NULL, -- a grant of a key that was revoked counts no more
  voice      jsonb  NOT NULL, -- {role, team, as}: in which capacity; the flow of a job decides whether that is enough
  created_at bigint NOT NULL,
  revoked_at bigint NULL,
  revoked_by text   NULL,
  PRIMARY KEY (tenant, grant_id)
);
CREATE INDEX grants_by_agent ON grants (agent, tenant) WHERE revoked_at IS NULL;
