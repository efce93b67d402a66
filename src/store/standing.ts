import { type Approval, isSatisfied } from '../core/approval.js'
import type { Standing } from '../core/door.js'
import type { Counter } from '../core/limits.js'
import type { Db } from '../platform/db/seam.js'
import { standingAnswers } from './approvals.js'
import { textArray } from './text-array.js'

/** What the door needs to know beside snapshot and claim. */
export interface Gate {
  tenant: string
  snapshot: string | null
  epoch: number
  file_digest: string | null
}

const GATE = 'SELECT * FROM gates WHERE tenant = $1'
const GATES = 'SELECT * FROM gates ORDER BY tenant'
/** The one place where SQL says what time it is. */
const TIME = 'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now'
const GRANTS = `SELECT approval_id, bound_hash, valid_until, specs, answers, escalations, requested_at, edits FROM approvals
  WHERE tenant = $1 AND approval_id = ANY($2::text[]) AND status = 'approved'`
const COUNTERS =
  'SELECT key, window_start, current, previous, held FROM limits WHERE tenant = $1 AND key = ANY($2::text[])'

export async function getGate(db: Db, tenant: string): Promise<Gate | null> {
  return (await db.query<Gate>(GATE, [tenant]))[0] ?? null
}

/** The store's clock, epoch ms. */
export async function storeTime(db: Db): Promise<number> {
  return (await db.query<{ now: number }>(TIME))[0]?.now ?? Number.NaN
}

export function listGates(db: Db): Promise<Gate[]> {
  return db.query<Gate>(GATES)
}

export async function loadCounters(db: Db, tenant: string, keys: readonly string[]): Promise<Record<string, Counter>> {
  if (keys.length === 0) return {}
  const rows = await db.query<Counter & { key: string }>(COUNTERS, [tenant, textArray(keys)])
  return Object.fromEntries(rows.map(({ key, ...counter }) => [key, counter]))
}

type Answered = NonNullable<Standing['grant']> &
  Pick<Approval, 'specs' | 'answers' | 'escalations' | 'requested_at' | 'edits'>

/**
 * By approval id, the grants that may let jobs through: of approvals that were answered with yes, and still are without the answers
 * of keys that were revoked and people who were disabled since. Both move the gate, so what is read after it holds for the commit.
 */
export async function loadGrants(
  db: Db,
  tenant: string,
  approvals: readonly (string | null)[],
): Promise<Map<string, NonNullable<Standing['grant']>>> {
  const wanted = approvals.filter((id): id is string => id !== null)
  if (wanted.length === 0) return new Map()
  const rows = await db.query<Answered>(GRANTS, [tenant, textArray(wanted)])
  const all = rows.flatMap(({ answers }) => answers)
  const stands = new Set(await standingAnswers(db, tenant, all))
  const held = rows.filter((row) => isSatisfied({ ...row, answers: row.answers.filter((each) => stands.has(each)) }))
  return new Map(
    held.map(({ approval_id, bound_hash, valid_until }) => [approval_id, { approval_id, bound_hash, valid_until }]),
  )
}
