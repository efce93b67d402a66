-- The spine: one governed job from submit to audit. Postgres 15 dialect, run unchanged on PGlite.
-- Every table starts with its tenant, and every key with it: no statement can reach across tenants by forgetting a join.
-- Instants are epoch milliseconds of the store's clock (bigint): no now() in SQL, so a test owns time.
-- Ids sort by time, so the primary key also serves "newest first". No other index of a table begins with tenant and holds the id:
-- a plan made while a table was empty once took such a one for look-ups by id and walked a whole tenant for each row.

-- The gate row: one per tenant. Submit, approve, lease and effect-begin read it FOR SHARE with the values their decision
-- used; activation, stop and key revocation UPDATE it. From their return nothing commits under the old values.
CREATE TABLE gates (
  tenant          text   NOT NULL PRIMARY KEY,
  snapshot        text   NULL,
  epoch           bigint NOT NULL DEFAULT 0,
  file_digest     text   NULL,
  CHECK (epoch >= 0)
);

CREATE TABLE policy_snapshots (
  tenant       text   NOT NULL,
  digest       text   NOT NULL,
  source       text   NOT NULL CHECK (source IN ('file', 'api')),
  files        jsonb  NOT NULL,
  warnings     jsonb  NOT NULL,
  rules        int    NOT NULL,
  note         text   NULL,
  created_by   text   NOT NULL,
  created_at   bigint NOT NULL,
  activated_at bigint NULL,
  PRIMARY KEY (tenant, digest)
);

CREATE TABLE keys (
  tenant     text   NOT NULL,
  key_id     text   NOT NULL,
  hash       text   NOT NULL,
  role       text   NOT NULL CHECK (role IN ('admin', 'operator', 'approver', 'auditor', 'viewer', 'agent', 'worker')),
  principal  text   NOT NULL,
  team       text   NULL,
  topics     jsonb  NULL,
  act_as     jsonb  NOT NULL DEFAULT '[]',
  note       text   NULL,
  created_at bigint NOT NULL,
  created_by text   NOT NULL,
  expires_at bigint NULL,
  revoked_at bigint NULL,
  PRIMARY KEY (tenant, key_id)
);
-- A presented key names only its id; the tenant comes from the row.
CREATE UNIQUE INDEX keys_by_id ON keys (key_id);

-- What is searched, sorted or checked is a column; the rest of a job is two JSON texts, one never updated. As 62 columns a row cost
-- 29 to 36 µs of the engine to insert, as these 8 (docs/decisions/0011). Nulls and empty lists are left out of the texts.
CREATE TABLE jobs (
  tenant         text     NOT NULL,
  job_id         text     NOT NULL,
  version        int      NOT NULL,
  run_id         text     NOT NULL,
  agent          text     NOT NULL,
  requested_by   text     NOT NULL,
  topic          text     NOT NULL,
  priority       smallint NOT NULL CHECK (priority BETWEEN 0 AND 9),
  not_before     bigint   NULL,
  created_at     bigint   NOT NULL,
  claim          json     NOT NULL, -- the rest of what was asked, and the decision of the first door: never updated
  status         text     NOT NULL CHECK (status IN ('pending_approval', 'queued', 'running', 'retrying', 'ambiguous',
                   'succeeded', 'quarantined', 'rejected', 'expired', 'cancelled', 'dead_letter', 'discarded', 'denied')),
  due_at         bigint   NOT NULL,
  queue_deadline bigint   NULL,
  high_risk      boolean  NOT NULL,
  limit_keys     jsonb    NULL, -- concurrency limits that bind it, "VIEW KEY" each: what stands behind a full one is passed over
  needs          text     COLLATE "C" NOT NULL, -- what its worker must enforce, by the newest decision: 'VIEW NAMES', or empty
  lease_id       text     NULL,
  verdict        text     NULL CHECK (verdict IN ('ALLOW', 'REDACT', 'QUARANTINE')),
  updated_at     bigint   NOT NULL,
  finished_at    bigint   NULL,
  state          json     NOT NULL, -- the rest of the lifecycle, as the newest step left it
  -- Payloads: 32 hexadecimal digits of salt, then JSON text as it crossed the wire. Null where there is none, or it was erased.
  input          text     NULL,
  context        text     NULL,
  result         text     NULL,
  tiles          text     NOT NULL, -- audit tiles that speak of it: "writer/seq " each
  PRIMARY KEY (tenant, job_id),
  CHECK ((status = 'running') = (lease_id IS NOT NULL)),
  CHECK ((status IN ('succeeded', 'quarantined', 'rejected', 'expired', 'cancelled', 'dead_letter', 'discarded', 'denied')) = (finished_at IS NOT NULL))
);
-- The queue. Partial, so finished jobs cost dispatch nothing; by needs, so that jobs no waiting worker may have hide none.
CREATE INDEX jobs_due ON jobs (tenant, topic, needs, priority DESC, due_at, job_id) WHERE status IN ('queued', 'retrying');
-- What becomes due later: retries and what was asked for a later time; all else is due at once.
CREATE INDEX jobs_due_later ON jobs (due_at) WHERE status IN ('queued', 'retrying') AND (status = 'retrying' OR not_before IS NOT NULL);
CREATE INDEX jobs_queue_deadline ON jobs (queue_deadline) WHERE status IN ('queued', 'retrying');
CREATE INDEX jobs_by_run ON jobs (run_id, tenant, job_id);
CREATE INDEX jobs_parked ON jobs (tenant, status, job_id) WHERE status IN ('pending_approval', 'ambiguous', 'dead_letter', 'quarantined');

-- Texts that no job row holds: what was denied, results of effects, what is sealed (encrypted: quarantine). JSON text, not jsonb,
-- so bytes are kept.
CREATE TABLE payloads (
  tenant     text    NOT NULL,
  ptr        text    NOT NULL,
  kind       text    NOT NULL CHECK (kind IN ('input', 'context', 'result', 'effect', 'sealed')),
  job_id     text    NULL,
  body       text    NULL,
  salt       text    NOT NULL,
  created_at bigint  NOT NULL,
  expires_at bigint  NULL,
  PRIMARY KEY (tenant, ptr)
);
CREATE INDEX payloads_expiring ON payloads (expires_at) WHERE expires_at IS NOT NULL AND body IS NOT NULL;

-- Decisions that no other row holds: denials, and what parked or stopped a job. That of the first door stands with its job
-- (dec_… for job_…), that of a lease with the lease (dec_… for lease_…): two rows less for a job that runs.
CREATE TABLE decisions (
  tenant      text    NOT NULL,
  decision_id text    NOT NULL,
  door        text    NOT NULL CHECK (door IN ('submit', 'approve', 'dispatch', 'replay')),
  job_id      text    NULL,
  at          bigint  NOT NULL,
  agent       text    NOT NULL,
  topic       text    NOT NULL,
  decision    text    NOT NULL,
  reason      text    NOT NULL,
  rules       jsonb   NOT NULL,
  constraints jsonb   NOT NULL,
  high_risk   boolean NOT NULL,
  snapshot    text    NOT NULL,
  job_hash    text    NOT NULL,
  standing    jsonb   NOT NULL, -- all that evaluation read beside the claim: decide() reproduces the row from it
  claim       jsonb   NULL,     -- only where no job row holds it
  input_ptr   text    NULL,
  context_ptr text    NULL,
  run_id      text    NULL,     -- of a denial that was asked in a run; it has no job that would say so
  tile        text    NULL,     -- ... nor one that names its audit tile
  PRIMARY KEY (tenant, decision_id)
);
CREATE INDEX decisions_by_job ON decisions (job_id, tenant) WHERE job_id IS NOT NULL;
CREATE INDEX decisions_by_run ON decisions (run_id, tenant, decision_id) WHERE run_id IS NOT NULL;

CREATE TABLE approvals (
  tenant       text   NOT NULL,
  approval_id  text   NOT NULL,
  version      int    NOT NULL,
  job_id       text   NOT NULL,
  status       text   NOT NULL CHECK (status IN ('pending', 'approved', 'rejected', 'expired', 'void')),
  requested_by text   NOT NULL,
  raised_by    text   NOT NULL, -- who caused the question: the requester, or who replayed the job
  agent        text   NOT NULL,
  topic        text   NOT NULL,
  requested_at bigint NOT NULL,
  expires_at   bigint NOT NULL,
  valid_until  bigint NULL,
  decision_id  text   NOT NULL,
  reason       text   NOT NULL,
  rules        jsonb  NOT NULL,
  constraints  jsonb  NOT NULL,
  specs        jsonb  NOT NULL,
  snapshot     text   NOT NULL,
  job_hash     text   NOT NULL,
  grant_hash   text   NOT NULL,
  bound_hash   text   NOT NULL, -- grant_hash without the snapshot: what an activation must leave equal
  answers      jsonb  NOT NULL DEFAULT '[]',
  PRIMARY KEY (tenant, approval_id)
);
CREATE INDEX approvals_pending ON approvals (tenant, approval_id) WHERE status = 'pending';
CREATE INDEX approvals_expiring ON approvals (expires_at) WHERE status = 'pending';
-- Short hashes are told apart by their first seven characters.
CREATE INDEX approvals_short ON approvals (substr(grant_hash, 1, 7), tenant) WHERE status = 'pending';
CREATE INDEX approvals_by_job ON approvals (job_id, tenant);

-- One row per attempt: while ended_at is null it is the fence, afterwards the attempt's history.
CREATE TABLE leases (
  tenant     text   NOT NULL,
  lease_id   text   NOT NULL,
  job_id     text   NOT NULL,
  attempt    int    NOT NULL,
  principal  text   NOT NULL,
  claim_id   text   NOT NULL,
  granted_at bigint NOT NULL,
  beat_at    bigint NOT NULL,
  expires_at bigint NOT NULL, -- lost when no heartbeat has come by then
  made       json   NOT NULL, -- the rest of the grant, and the decision of the second door: never updated
  progress   text   NULL,     -- screened JSON text
  ended_at   bigint NULL,
  ended      json   NULL,     -- how, and the hash of the report that ended it: a repeat is answered alike, another one is a conflict
  PRIMARY KEY (tenant, lease_id)
);
CREATE UNIQUE INDEX leases_one_live ON leases (job_id, tenant) WHERE ended_at IS NULL;
CREATE INDEX leases_ending ON leases (expires_at) WHERE ended_at IS NULL;
CREATE INDEX leases_by_claim ON leases (claim_id, principal, tenant) WHERE ended_at IS NULL;
CREATE INDEX leases_by_job ON leases (job_id, tenant);

CREATE TABLE effects (
  tenant       text   NOT NULL,
  job_id       text   NOT NULL,
  effect_key   text   NOT NULL,
  version      int    NOT NULL,
  status       text   NOT NULL CHECK (status IN ('begun', 'committed', 'not_happened')),
  lease_id     text   NOT NULL,
  attempt      int    NOT NULL,
  begun_at     bigint NOT NULL,
  hard_end     bigint NOT NULL, -- of the lease that began it: "did not happen" is refused before
  ended_at     bigint NULL,
  result_ptr   text   NULL,
  verdict      text   NULL,
  settled_by   text   NULL,
  late         boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant, job_id, effect_key)
);

CREATE TABLE idempotency (
  tenant       text   NOT NULL,
  principal    text   NOT NULL,
  key          text   NOT NULL,
  request_hash text   NOT NULL,
  answer       jsonb  NOT NULL,
  created_at   bigint NOT NULL,
  PRIMARY KEY (tenant, principal, key)
);
CREATE INDEX idempotency_age ON idempotency (created_at);

-- Rule limits. Rate is a two-bucket sliding window; held counts live leases.
CREATE TABLE limits (
  tenant       text   NOT NULL,
  key          text   NOT NULL,
  window_start bigint NOT NULL DEFAULT 0,
  current      int    NOT NULL DEFAULT 0,
  previous     int    NOT NULL DEFAULT 0,
  held         int    NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, key)
);

CREATE TABLE audit_writers (
  tenant     text   NOT NULL,
  writer     text   NOT NULL,
  public_key text   NOT NULL,
  started_at bigint NOT NULL,
  fenced_at  bigint NULL, -- from then on nothing of it lands, also of a process that was only frozen
  closed_at  bigint NULL,
  PRIMARY KEY (tenant, writer)
);

CREATE TABLE audit_tiles (
  tenant      text   NOT NULL,
  writer      text   NOT NULL,
  seq         bigint NOT NULL,
  at          bigint NOT NULL,
  count       int    NOT NULL,
  body        text   NOT NULL,
  prev_hash   text   NOT NULL,
  hash        text   NOT NULL,
  signature   text   NOT NULL,
  first_index bigint NULL, -- place in the tenant's tree, once integrated
  PRIMARY KEY (tenant, writer, seq)
);
CREATE INDEX audit_tiles_waiting ON audit_tiles (tenant, at, writer, seq) WHERE first_index IS NULL;
CREATE INDEX audit_tiles_placed ON audit_tiles (tenant, first_index) WHERE first_index IS NOT NULL;

CREATE TABLE audit_nodes (
  tenant text   NOT NULL,
  level  int    NOT NULL,
  idx    bigint NOT NULL,
  hashes bytea  NOT NULL,
  PRIMARY KEY (tenant, level, idx)
);

CREATE TABLE audit_heads (
  tenant     text   NOT NULL,
  size       bigint NOT NULL,
  root       text   NOT NULL,
  checkpoint text   NOT NULL,
  at         bigint NOT NULL,
  PRIMARY KEY (tenant, size)
);

-- Which batches were applied: resolves a lost commit answer (inserted = tombstone, conflict = applied).
CREATE TABLE batches (
  batch_id text   NOT NULL PRIMARY KEY,
  at       bigint NOT NULL
);
CREATE INDEX batches_age ON batches (at);

-- Texts of some KB: compressing them the old way took 55 µs of the engine for a result of 4 KB, and most of a tile's insert. Engines
-- that were built without lz4 keep the old way.
DO $$ BEGIN
  ALTER TABLE jobs ALTER COLUMN input SET COMPRESSION lz4, ALTER COLUMN context SET COMPRESSION lz4, ALTER COLUMN result SET COMPRESSION lz4;
  ALTER TABLE payloads ALTER COLUMN body SET COMPRESSION lz4;
  ALTER TABLE audit_tiles ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;
