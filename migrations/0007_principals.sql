-- Who acts here: people, agents, workers and services, each in at most one team. A key is how a principal is recognised; what it may do
-- is the principal's role, narrowed by the key. What the door reads of an agent stands here too, so every change moves the gate.
CREATE TABLE teams (
  tenant     text   NOT NULL,
  team       text   NOT NULL,
  name       text   NULL,
  leads      jsonb  NOT NULL DEFAULT '[]', -- principals
  on_call    jsonb  NOT NULL DEFAULT '[]', -- principals, who is asked first stands first
  source     text   NOT NULL CHECK (source IN ('file', 'api', 'key')),
  updated_at bigint NOT NULL,
  updated_by text   NOT NULL,
  PRIMARY KEY (tenant, team)
);

CREATE TABLE principals (
  tenant       text   NOT NULL,
  principal    text   NOT NULL,
  kind         text   NOT NULL CHECK (kind IN ('person', 'agent', 'worker', 'service')),
  role         text   NOT NULL CHECK (role IN ('admin', 'operator', 'approver', 'auditor', 'viewer', 'agent', 'worker')),
  team         text   NULL, -- of an agent: who owns it
  name         text   NULL,
  email        text   NULL,
  terms        jsonb  NULL, -- of an agent: version, topics, actions, data, risk_tier, fallback
  source       text   NOT NULL CHECK (source IN ('file', 'api', 'key')),
  created_at   bigint NOT NULL,
  updated_at   bigint NOT NULL,
  updated_by   text   NOT NULL,
  disabled_at  bigint NULL,
  PRIMARY KEY (tenant, principal),
  CHECK (terms IS NULL OR kind = 'agent')
);

-- Keys were there first. Where those of one principal differ, the newest that stands says its role and team.
INSERT INTO principals (tenant, principal, kind, role, team, source, created_at, updated_at, updated_by)
SELECT DISTINCT ON (tenant, principal) tenant, principal,
  CASE role WHEN 'agent' THEN 'agent' WHEN 'worker' THEN 'worker' ELSE 'person' END,
  role, team, 'key', created_at, created_at, created_by
FROM keys ORDER BY tenant, principal, revoked_at IS NOT NULL, created_at DESC;
INSERT INTO teams (tenant, team, source, updated_at, updated_by)
SELECT DISTINCT ON (tenant, team) tenant, team, 'key', updated_at, updated_by FROM principals WHERE team IS NOT NULL ORDER BY tenant, team, updated_at;
