import type { Json } from '../core/json.js'
import type { Db } from '../platform/db/seam.js'
import { textArray } from './text-array.js'

export interface PayloadRow {
  tenant: string
  ptr: string
  kind: 'input' | 'context' | 'result' | 'effect' | 'sealed'
  job_id: string | null
  /** JSON text, or the sealed form; null once erased. */
  body: string | null
  salt: string
  created_at: number
  expires_at: number | null
}

const GET = 'SELECT * FROM payloads WHERE tenant = $1 AND ptr = $2'
const MANY = 'SELECT ptr, body FROM payloads WHERE tenant = $1 AND ptr = ANY($2::text[])'
const EXPIRED =
  'SELECT tenant, ptr, job_id FROM payloads WHERE expires_at IS NOT NULL AND expires_at <= $1 AND body IS NOT NULL ORDER BY expires_at LIMIT 200'

export async function getPayload(db: Db, tenant: string, ptr: string): Promise<PayloadRow | null> {
  return (await db.query<PayloadRow>(GET, [tenant, ptr]))[0] ?? null
}

/** JSON texts by pointer; one that is null or erased is not in it. */
export async function loadTexts(
  db: Db,
  tenant: string,
  ptrs: readonly (string | null)[],
): Promise<Map<string, string>> {
  const wanted = ptrs.filter((p): p is string => p !== null)
  if (wanted.length === 0) return new Map()
  const rows = await db.query<{ ptr: string; body: string | null }>(MANY, [tenant, textArray(wanted)])
  return new Map(rows.flatMap(({ ptr, body }) => (body === null ? [] : [[ptr, body]])))
}

/** The same, parsed. */
export async function loadValues(db: Db, tenant: string, ptrs: readonly (string | null)[]): Promise<Map<string, Json>> {
  return new Map([...(await loadTexts(db, tenant, ptrs))].map(([ptr, text]) => [ptr, JSON.parse(text) as Json]))
}

export function expiredPayloads(
  db: Db,
  now: number,
): Promise<{ tenant: string; ptr: string; job_id: string | null }[]> {
  return db.query(EXPIRED, [now])
}
