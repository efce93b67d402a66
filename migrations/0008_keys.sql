-- What a key is narrowed to, which key follows it, and when it last opened something. The last is written by a loop, beside the
-- ledger and the gate: it is a hint for people, and no decision reads it.
ALTER TABLE keys
  ADD COLUMN permissions  jsonb  NULL, -- of what the role may; null = all of it
  ADD COLUMN rotated_to   text   NULL, -- the key that was made in its place; it has one at most
  ADD COLUMN last_used_at bigint NULL;

-- What was said of a key that nears an end: each stage once. Written right after its audit entry; a crash in between says it again.
CREATE TABLE key_reminders (
  tenant text   NOT NULL,
  key_id text   NOT NULL,
  stage  text   NOT NULL CHECK (stage IN ('rotation', 'overdue', 'expiry')),
  at     bigint NOT NULL,
  PRIMARY KEY (tenant, key_id, stage)
);
