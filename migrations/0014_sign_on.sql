-- How people sign on. A session is a short-lived key in a cookie: `session` says how its person signed on, and is null for every other
-- key. So whatever ends a key ends a session.
ALTER TABLE keys ADD COLUMN session text NULL CHECK (session IN ('oidc', 'password'));
CREATE INDEX keys_of_sessions ON keys (principal, tenant) WHERE session IS NOT NULL;

-- A person whom groups of the provider made: role and team follow the groups until somebody declares the person.
ALTER TABLE principals DROP CONSTRAINT principals_source_check;
ALTER TABLE principals ADD CONSTRAINT principals_source_check CHECK (source IN ('file', 'api', 'key', 'group'));

-- Passwords of people, where no provider is configured. Whatever writes here moves the gate: of two who take one invitation the
-- second reads that it is gone.
CREATE TABLE accounts (
  tenant            text   NOT NULL,
  principal         text   NOT NULL,
  password          text   NULL, -- argon2id with its parameters; null until an invitation was taken
  invitation        text   NULL, -- sha256 of the secret in the link, hex
  invitation_until  bigint NULL,
  updated_at        bigint NOT NULL,
  updated_by        text   NOT NULL,
  PRIMARY KEY (tenant, principal),
  CHECK ((invitation IS NULL) = (invitation_until IS NULL))
);
-- Who follows a link names nothing but its secret.
CREATE UNIQUE INDEX accounts_by_invitation ON accounts (invitation) WHERE invitation IS NOT NULL;

-- Which person a subject of the provider is, from the first sign-on: an e-mail address may change hands, a subject never does.
CREATE TABLE subjects (
  tenant    text   NOT NULL,
  issuer    text   NOT NULL,
  subject   text   NOT NULL,
  principal text   NOT NULL,
  linked_at bigint NOT NULL,
  PRIMARY KEY (tenant, issuer, subject)
);

-- What members of the provider's groups are here; of several the first place counts.
CREATE TABLE sign_on_groups (
  tenant     text   NOT NULL,
  group_name text   NOT NULL,
  place      int    NOT NULL,
  role       text   NOT NULL CHECK (role IN ('admin', 'operator', 'approver', 'auditor', 'viewer')),
  team       text   NULL,
  updated_at bigint NOT NULL,
  updated_by text   NOT NULL,
  PRIMARY KEY (tenant, group_name)
);
