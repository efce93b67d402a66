-- A named person's word for what no row shows: that there is a runbook, a budget, a network that lets nothing out. Never changed; the
-- newest for each subject counts until it expires, and none stands against a fact. People write them by hand, so there are few.
CREATE TABLE attestations (
  tenant         text   NOT NULL,
  attestation_id text   NOT NULL,
  subject        text   NOT NULL, -- id of a control or an item
  attested_by    text   NOT NULL,
  key_id         text   NOT NULL,
  note           text   NOT NULL,
  link           text   NULL,
  at             bigint NOT NULL,
  expires_at     bigint NOT NULL,
  PRIMARY KEY (tenant, attestation_id),
  CHECK (expires_at > at)
);
