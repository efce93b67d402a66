import type { Approval } from '../../core/approval.js'
import type { Tile } from '../../core/audit/tile.js'
import type { Job } from '../../core/job.js'
import type { Effect, Lease } from '../../core/lease.js'
import type { Db } from '../../platform/db/seam.js'
import type { DecisionRow } from '../decisions.js'
import type { IdempotencyRow } from '../idempotency.js'
import type { KeyRow } from '../keys.js'
import type { PayloadRow } from '../payloads.js'
import type { SnapshotRow } from '../snapshots.js'

/** Rows one step wants written. An update carries version = the one it read + 1; another version in the table loses. */
export interface Rows {
  insertJobs?: Job[]
  updateJobs?: Job[]
  payloads?: PayloadRow[]
  /** Pointers whose text is erased (a redacted raw, an expired or discarded quarantine). The row stays, its body goes. */
  erase?: { tenant: string; ptr: string }[]
  decisions?: DecisionRow[]
  insertApprovals?: Approval[]
  updateApprovals?: Approval[]
  insertLeases?: Lease[]
  updateLeases?: Lease[]
  /** Only a live lease is beaten. */
  beats?: Pick<Lease, 'tenant' | 'lease_id' | 'beat_at' | 'expires_at' | 'progress'>[]
  effects?: Effect[]
  idempotency?: IdempotencyRow[]
}

/** Rare rows: they go in a batch of their own, so that the hot statement stays small. */
export interface AdminRows {
  snapshots?: SnapshotRow[]
  /** The gate moves: from its return nothing commits under the old values. */
  gates?: { tenant: string; snapshot: string | null; epoch: number; file_digest: string | null }[]
  keys?: KeyRow[]
}

export interface Spend {
  tenant: string
  key: string
  kind: 'rate' | 'held' | 'release'
  /** Refused when the count after this one would pass it. Release has none. */
  max: number
  /** For rate: start of the window and its length, ms. */
  window_start: number
  period_ms: number
  at: number
}

/** Places under `concurrent` limits given back. */
export function releases(tenant: string, keys: readonly string[], at: number): Spend[] {
  return keys.map((key) => ({ tenant, key, kind: 'release', max: 0, window_start: 0, period_ms: 1, at }))
}

export interface GateView {
  snapshot: string | null
  epoch: number
}

/** One intent as the statement sees it: `n` is its place in the batch. */
export interface Entry {
  n: number
  tenant: string
  gate: GateView | null
  rows: Rows
  spends: Spend[]
}

export type Conflict = 'gate' | 'version' | 'idempotency' | 'limit'
/** Not an intent's but the writer's: others took this process for dead and closed its chain. The batch is sealed anew. */
export const FENCED = -1
export interface Loser {
  n: number
  why: Conflict | 'fenced'
}

const COLUMNS = {
  jobs: `tenant, job_id, version, run_id, workflow, agent, agent_version, team, requested_by, topic, labels, risk_tags, environment,
    action_type, capability, action, asked_timeout_ms, asked_attempts, not_before, priority, input_ptr, context_ptr, job_hash, created_at,
    status, status_reason, attempt, budget_from, max_attempts, timeout_ms, heartbeat_ms, queue_timeout_ms, idempotent, due_at, queue_deadline, decision, decision_id,
    reason, rules, constraints, enforcers, snapshot, high_risk, effective, grant_hash, approval_id, limit_keys, held_limits, lease_id, cancel_requested,
    verdict, findings, result_ptr, released_by, error_class, error_code, error_message, tokens, cost, owner, respond_within_ms,
    respond_by, updated_at, finished_at`,
  jobsMutable: `version, status, status_reason, attempt, budget_from, max_attempts, timeout_ms, heartbeat_ms, queue_timeout_ms, idempotent, due_at,
    queue_deadline, decision, decision_id, reason, rules, constraints, enforcers, snapshot, high_risk, effective, grant_hash, approval_id,
    limit_keys, held_limits, lease_id, cancel_requested, verdict, findings, result_ptr, released_by, error_class, error_code, error_message,
    tokens, cost, owner, respond_within_ms, respond_by, updated_at, finished_at`,
  payloads: 'tenant, ptr, kind, job_id, body, salt, created_at, expires_at',
  decisions: `tenant, decision_id, door, job_id, at, agent, topic, decision, reason, rules, constraints, high_risk, snapshot, job_hash,
    standing, claim, input_ptr, context_ptr`,
  approvals: `tenant, approval_id, version, job_id, status, requested_by, raised_by, agent, topic, requested_at, expires_at, valid_until,
    decision_id, reason, rules, constraints, specs, snapshot, job_hash, grant_hash, bound_hash, answers`,
  approvalsMutable:
    'version, status, expires_at, valid_until, decision_id, reason, rules, constraints, specs, snapshot, grant_hash, bound_hash, answers',
  leases: `tenant, lease_id, job_id, attempt, topic, worker, principal, claim_id, effects, heartbeat_ms, granted_at, beat_at, expires_at,
    hard_end, decision_id, ended_at, outcome, report_hash, error_class, error_code, error_message, verdict, progress`,
  leasesMutable: 'ended_at, outcome, report_hash, error_class, error_code, error_message, verdict',
  effects: `tenant, job_id, effect_key, version, status, lease_id, attempt, begun_at, hard_end, ended_at, result_ptr, verdict, settled_by, late`,
  effectsMutable:
    'version, status, lease_id, attempt, begun_at, hard_end, ended_at, result_ptr, verdict, settled_by, late',
  idempotency: 'tenant, principal, key, request_hash, answer, created_at',
  tiles: 'tenant, writer, seq, at, count, body, prev_hash, hash, signature, first_index',
  writers: 'tenant, writer, public_key, started_at',
  keys: 'tenant, key_id, hash, role, principal, team, topics, act_as, note, created_at, created_by, expires_at, revoked_at',
  snapshots: 'tenant, digest, source, files, warnings, rules, note, created_by, created_at, activated_at',
}

const prefixed = (alias: string, columns: string) =>
  columns
    .split(',')
    .map((c) => `${alias}.${c.trim()}`)
    .join(', ')

const insert = (table: string, columns: string, param: number) =>
  `INSERT INTO ${table} (${columns}) SELECT ${prefixed('x', columns)} FROM json_populate_recordset(NULL::${table}, $${param}::json) x, go WHERE go.ok`

const update = (table: string, mutable: string, key: string, param: number) =>
  `UPDATE ${table} t SET (${mutable}) = ROW(${prefixed('x', mutable)})
   FROM json_populate_recordset(NULL::${table}, $${param}::json) x, go WHERE go.ok AND t.tenant = x.tenant AND t.${key} = x.${key}`

/**
 * The whole commit in one statement: 1.6–3.1× over BEGIN … COMMIT with a round trip for each part (prototype measurement).
 * First the checks (gate row shared, job rows locked in id order, counters locked), then either everything or nothing:
 * `losers` names the intents that lost, and the batch is sent again without them.
 *   $1 intents [{n, tenant, snapshot, epoch, gated}]   $2 versions [{n, tenant, job_id, version}]
 *   $3 spends [{n, tenant, key, kind, max, window_start, period_ms, at}]   $4 batch id   $5 at
 *   $6 … $19 rows of the tables, each a JSON array   $20 tiles [{tenant, writer, seq}]
 */
const CHECKS = `
WITH intents AS (SELECT * FROM json_to_recordset($1::json) AS x(n int, tenant text, snapshot text, epoch bigint)),
versions AS (SELECT * FROM json_to_recordset($2::json) AS x(n int, tenant text, job_id text, version int)),
spends AS (SELECT * FROM json_to_recordset($3::json) AS x(n int, tenant text, key text, kind text, max int, window_start bigint, period_ms bigint, at bigint)),
gate AS (SELECT g.tenant, g.snapshot, g.epoch FROM gates g WHERE g.tenant IN (SELECT tenant FROM intents) ORDER BY g.tenant FOR SHARE),
locked AS (
  SELECT j.tenant, j.job_id, j.version FROM versions v JOIN jobs j ON j.tenant = v.tenant AND j.job_id = v.job_id
  ORDER BY j.tenant, j.job_id FOR UPDATE OF j),
counters AS (
  SELECT l.* FROM limits l WHERE (l.tenant, l.key) IN (SELECT tenant, key FROM spends) ORDER BY l.tenant, l.key FOR UPDATE),
rated AS (
  SELECT s.n, s.max, row_number() OVER (PARTITION BY s.tenant, s.key ORDER BY s.n) +
    CASE WHEN c.window_start > s.window_start + s.period_ms THEN 0
         WHEN c.window_start >= s.window_start THEN c.previous * least(1, 1 - (s.at - c.window_start)::float8 / s.period_ms) + c.current
         WHEN c.window_start = s.window_start - s.period_ms THEN c.current * (1 - (s.at - s.window_start)::float8 / s.period_ms)
         ELSE 0 END AS after
  FROM spends s LEFT JOIN counters c ON c.tenant = s.tenant AND c.key = s.key WHERE s.kind = 'rate'),
holding AS (
  SELECT s.n, s.max, row_number() OVER (PARTITION BY s.tenant, s.key ORDER BY s.n) + coalesce(c.held, 0) AS after
  FROM spends s LEFT JOIN counters c ON c.tenant = s.tenant AND c.key = s.key WHERE s.kind = 'held'),
used AS (
  SELECT i.n FROM json_to_recordset($7::json) AS i(n int, tenant text, principal text, key text)
  JOIN idempotency k ON k.tenant = i.tenant AND k.principal = i.principal AND k.key = i.key),
own AS (
  SELECT w.tenant, w.writer FROM json_to_recordset($20::json) AS x(tenant text, writer text)
  JOIN audit_writers w ON w.tenant = x.tenant AND w.writer = x.writer WHERE w.fenced_at IS NULL FOR SHARE OF w),
losers AS (
  SELECT i.n, 'gate' AS why FROM intents i LEFT JOIN gate g ON g.tenant = i.tenant
    WHERE i.epoch IS NOT NULL AND (g.tenant IS NULL OR g.epoch <> i.epoch OR g.snapshot IS DISTINCT FROM i.snapshot)
  UNION ALL SELECT v.n, 'version' FROM versions v LEFT JOIN locked l ON l.tenant = v.tenant AND l.job_id = v.job_id
    WHERE l.version IS DISTINCT FROM v.version
  UNION ALL SELECT n, 'limit' FROM rated WHERE after > max
  UNION ALL SELECT n, 'limit' FROM holding WHERE after > max
  UNION ALL SELECT n, 'idempotency' FROM used
  UNION ALL SELECT ${FENCED}, 'fenced' FROM json_to_recordset($20::json) AS x(tenant text, writer text, seq bigint)
    LEFT JOIN own o ON o.tenant = x.tenant AND o.writer = x.writer WHERE x.seq > 0 AND o.writer IS NULL),
go AS (SELECT NOT EXISTS (SELECT 1 FROM losers) AS ok),
batch AS (INSERT INTO batches (batch_id, at) SELECT $4, $5::bigint FROM go WHERE go.ok)`

/** A counter more than one window ahead of a rate that is spent now: left by a clock that was put right. */
const AHEAD = `(t.window_start > excluded.window_start + (SELECT max(s.period_ms) FROM spends s WHERE s.tenant = t.tenant AND s.key = t.key AND s.kind = 'rate'))`

export const COMMIT = `${CHECKS},
w_limits AS (
  INSERT INTO limits AS t (tenant, key, window_start, current, previous, held)
  SELECT s.tenant, s.key, max(s.window_start), count(*) FILTER (WHERE s.kind = 'rate'), 0,
         greatest(0, count(*) FILTER (WHERE s.kind = 'held') - count(*) FILTER (WHERE s.kind = 'release'))
  FROM spends s, go WHERE go.ok GROUP BY s.tenant, s.key
  ON CONFLICT (tenant, key) DO UPDATE SET
    window_start = CASE WHEN ${AHEAD} THEN excluded.window_start ELSE greatest(t.window_start, excluded.window_start) END,
    previous = CASE WHEN ${AHEAD} THEN 0
                    WHEN excluded.window_start <= t.window_start THEN t.previous
                    WHEN excluded.window_start = t.window_start + (SELECT max(s.period_ms) FROM spends s WHERE s.tenant = t.tenant AND s.key = t.key) THEN t.current
                    ELSE 0 END,
    current = CASE WHEN ${AHEAD} THEN excluded.current WHEN excluded.window_start <= t.window_start THEN t.current + excluded.current ELSE excluded.current END,
    held = greatest(0, t.held + (SELECT count(*) FILTER (WHERE s.kind = 'held') - count(*) FILTER (WHERE s.kind = 'release')
                                 FROM spends s WHERE s.tenant = t.tenant AND s.key = t.key))),
w_jobs AS (${insert('jobs', COLUMNS.jobs, 6)}),
w_idempotency AS (${insert('idempotency', COLUMNS.idempotency, 7)}),
w_payloads AS (${insert('payloads', COLUMNS.payloads, 8)}),
w_decisions AS (${insert('decisions', COLUMNS.decisions, 9)}),
w_approvals AS (${insert('approvals', COLUMNS.approvals, 10)}),
w_leases AS (${insert('leases', COLUMNS.leases, 11)}),
w_effects AS (${insert('effects', COLUMNS.effects, 12)}
  ON CONFLICT (tenant, job_id, effect_key) DO UPDATE SET (${COLUMNS.effectsMutable}) = ROW(${prefixed('excluded', COLUMNS.effectsMutable)})),
w_tiles AS (${insert('audit_tiles', COLUMNS.tiles, 13)}),
w_writers AS (${insert('audit_writers', COLUMNS.writers, 14)}),
u_jobs AS (${update('jobs', COLUMNS.jobsMutable, 'job_id', 15)}),
u_approvals AS (${update('approvals', COLUMNS.approvalsMutable, 'approval_id', 16)}),
u_leases AS (${update('leases', COLUMNS.leasesMutable, 'lease_id', 17)}),
u_beats AS (
  -- Whether the lease lives is asked in SET: as a condition it made the planner walk all leases for a batch without a beat.
  UPDATE leases t SET
    beat_at = CASE WHEN t.ended_at IS NULL THEN x.beat_at ELSE t.beat_at END,
    expires_at = CASE WHEN t.ended_at IS NULL THEN x.expires_at ELSE t.expires_at END,
    progress = CASE WHEN t.ended_at IS NULL THEN coalesce(x.progress, t.progress) ELSE t.progress END
  FROM json_populate_recordset(NULL::leases, $18::json) x, go
  WHERE go.ok AND t.tenant = x.tenant AND t.lease_id = x.lease_id),
u_erase AS (
  UPDATE payloads t SET body = NULL, salt = '' FROM json_populate_recordset(NULL::payloads, $19::json) x, go
  WHERE go.ok AND t.tenant = x.tenant AND t.ptr = x.ptr)
SELECT n, why FROM losers`

/** Policy, gate and key rows with their audit tile. The gate is taken FOR UPDATE by the upsert itself; epoch must follow the one read. */
export const COMMIT_ADMIN = `
WITH wanted AS (SELECT * FROM json_populate_recordset(NULL::gates, $1::json)),
held AS (SELECT g.* FROM gates g WHERE g.tenant IN (SELECT tenant FROM wanted) FOR UPDATE),
own AS (
  SELECT w.tenant, w.writer FROM json_to_recordset($8::json) AS x(tenant text, writer text)
  JOIN audit_writers w ON w.tenant = x.tenant AND w.writer = x.writer WHERE w.fenced_at IS NULL FOR SHARE OF w),
losers AS (
  SELECT 0 AS n, 'gate' AS why FROM wanted w LEFT JOIN held h ON h.tenant = w.tenant WHERE coalesce(h.epoch, 0) + 1 <> w.epoch
  UNION ALL SELECT ${FENCED}, 'fenced' FROM json_to_recordset($8::json) AS x(tenant text, writer text, seq bigint)
    LEFT JOIN own o ON o.tenant = x.tenant AND o.writer = x.writer WHERE x.seq > 0 AND o.writer IS NULL),
go AS (SELECT NOT EXISTS (SELECT 1 FROM losers) AS ok),
batch AS (INSERT INTO batches (batch_id, at) SELECT $2, $3::bigint FROM go WHERE go.ok),
w_gates AS (
  INSERT INTO gates (tenant, snapshot, epoch, file_digest) SELECT w.tenant, w.snapshot, w.epoch, w.file_digest FROM wanted w, go WHERE go.ok
  ON CONFLICT (tenant) DO UPDATE SET snapshot = excluded.snapshot, epoch = excluded.epoch, file_digest = excluded.file_digest),
w_snapshots AS (${insert('policy_snapshots', COLUMNS.snapshots, 4)}
  ON CONFLICT (tenant, digest) DO UPDATE SET activated_at = coalesce(excluded.activated_at, policy_snapshots.activated_at)),
w_keys AS (${insert('keys', COLUMNS.keys, 5)}
  ON CONFLICT (tenant, key_id) DO UPDATE SET revoked_at = excluded.revoked_at, expires_at = excluded.expires_at),
w_tiles AS (${insert('audit_tiles', COLUMNS.tiles, 6)}),
w_writers AS (${insert('audit_writers', COLUMNS.writers, 7)})
SELECT n, why FROM losers`

export interface TileWrites {
  tiles: Tile[]
  writers: { tenant: string; writer: string; public_key: string; started_at: number }[]
}

/** Sends one batch; returns its losers, in which case nothing was written. */
export function writeBatch(
  db: Db,
  batchId: string,
  at: number,
  entries: readonly Entry[],
  audit: TileWrites,
): Promise<Loser[]> {
  const all = (name: keyof Rows) => entries.flatMap((e): unknown[] => e.rows[name] ?? [])
  const json = (rows: readonly unknown[]) => (rows.length === 0 ? '[]' : JSON.stringify(rows))
  const intents = entries.map((e) => ({
    n: e.n,
    tenant: e.tenant,
    snapshot: e.gate?.snapshot ?? null,
    epoch: e.gate?.epoch ?? null,
  }))
  const versions = entries.flatMap((e) =>
    (e.rows.updateJobs ?? []).map((j) => ({ n: e.n, tenant: j.tenant, job_id: j.job_id, version: j.version - 1 })),
  )
  return db.query<Loser>(
    COMMIT,
    [
      json(intents),
      json(versions),
      json(entries.flatMap((e) => e.spends.map((s) => ({ n: e.n, ...s })))),
      batchId,
      at,
      json(all('insertJobs')),
      json(entries.flatMap((e) => (e.rows.idempotency ?? []).map((row) => ({ n: e.n, ...row })))),
      json(all('payloads')),
      json(all('decisions')),
      json(all('insertApprovals')),
      json(all('insertLeases')),
      json(all('effects')),
      json(audit.tiles.map((t) => ({ ...t, first_index: null }))),
      json(audit.writers),
      json(all('updateJobs')),
      json(all('updateApprovals')),
      json(all('updateLeases')),
      json(all('beats')),
      json(all('erase')),
      json(audit.tiles.map(({ tenant, writer, seq }) => ({ tenant, writer, seq }))),
    ],
    'ledger',
  )
}

export function writeAdmin(db: Db, batchId: string, at: number, rows: AdminRows, audit: TileWrites): Promise<Loser[]> {
  const json = (list: readonly unknown[] | undefined) => JSON.stringify(list ?? [])
  return db.query<Loser>(
    COMMIT_ADMIN,
    [
      json(rows.gates),
      batchId,
      at,
      json(rows.snapshots),
      json(rows.keys),
      json(audit.tiles.map((t) => ({ ...t, first_index: null }))),
      json(audit.writers),
      json(audit.tiles.map(({ tenant, writer, seq }) => ({ tenant, writer, seq }))),
    ],
    'ledger',
  )
}
