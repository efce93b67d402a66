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

/** What the row of a job holds itself: a row of its own for each cost three inserts and a read for every job. */
export type OwnKind = 'input' | 'context' | 'result'

const OWN = /^ptr_([0-9a-z]{26})_(input|context|result)$/

/** Pointer to what a job's row holds. */
export function pointerTo(job_id: string, kind: OwnKind): string {
  return `ptr_${job_id.slice('job_'.length)}_${kind}`
}

/** The job and the column a pointer leads to; null where it leads to a row of its own. */
export function ownPayload(ptr: string): { job_id: string; kind: OwnKind } | null {
  const [, id, kind] = OWN.exec(ptr) ?? []
  return id === undefined ? null : { job_id: `job_${id}`, kind: kind as OwnKind }
}

const SALT = 32

/** As a job's row holds it: salt, then text. */
export const salted = ({ salt, body }: Pick<PayloadRow, 'salt' | 'body'>): string | null =>
  body === null ? null : `${salt}${body}`

export const bodyOf = (text: string | null): string | null => text?.slice(SALT) ?? null

const GET = 'SELECT * FROM payloads WHERE tenant = $1 AND ptr = $2'
const OF_JOB = 'SELECT input, context, result, created_at, updated_at FROM jobs WHERE tenant = $1 AND job_id = $2'
const MANY = `SELECT p.ptr, p.body FROM unnest($2::text[]) AS wanted(ptr)
  CROSS JOIN LATERAL (SELECT ptr, body FROM payloads WHERE tenant = $1 AND ptr = wanted.ptr OFFSET 0) p`
const SMALL = `SELECT p.ptr, p.body FROM unnest($2::text[]) AS wanted(ptr)
  CROSS JOIN LATERAL (SELECT ptr, body FROM payloads WHERE tenant = $1 AND ptr = wanted.ptr AND octet_length(body) <= $3 OFFSET 0) p`
const MANY_OF_JOBS = `SELECT j.* FROM unnest($2::text[]) AS wanted(id)
  CROSS JOIN LATERAL (SELECT job_id, input, context, result FROM jobs WHERE tenant = $1 AND job_id = wanted.id OFFSET 0) j`
/** By what the text's header says: nothing is read or unpacked for it. */
const WITHIN = `SELECT job_id FROM (
    SELECT w.n, j.job_id, sum(j.bytes) OVER (ORDER BY w.n) AS total FROM unnest($2::text[]) WITH ORDINALITY AS w(id, n)
    CROSS JOIN LATERAL (SELECT job_id, coalesce(octet_length(input), 0) + coalesce(octet_length(context), 0) AS bytes
      FROM jobs WHERE tenant = $1 AND job_id = w.id OFFSET 0) j) sized
  WHERE n = 1 OR total <= $3::bigint`
const EXPIRED =
  'SELECT tenant, ptr, job_id FROM payloads WHERE expires_at IS NOT NULL AND expires_at <= $1 AND body IS NOT NULL ORDER BY expires_at LIMIT 200'

type Own = Record<OwnKind, string | null>

export async function getPayload(db: Db, tenant: string, ptr: string): Promise<PayloadRow | null> {
  const own = ownPayload(ptr)
  if (own === null) return (await db.query<PayloadRow>(GET, [tenant, ptr]))[0] ?? null
  const { job_id, kind } = own
  const row = (await db.query<Own & { created_at: number; updated_at: number }>(OF_JOB, [tenant, job_id]))[0]
  const text = row?.[kind] ?? null
  if (row === undefined || text === null) return null
  const created_at = kind === 'result' ? row.updated_at : row.created_at
  const salt = text.slice(0, SALT)
  return { tenant, ptr, kind, job_id, body: bodyOf(text), salt, created_at, expires_at: null }
}

/** JSON texts by pointer; one that is null or erased is not in it. */
export async function loadTexts(
  db: Db,
  tenant: string,
  ptrs: readonly (string | null)[],
): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  const own = new Map<string, OwnKind[]>()
  const rows: string[] = []
  for (const ptr of ptrs) {
    if (ptr === null) continue
    const place = ownPayload(ptr)
    if (place === null) rows.push(ptr)
    else own.set(place.job_id, [...(own.get(place.job_id) ?? []), place.kind])
  }
  if (rows.length > 0)
    for (const { ptr, body } of await db.query<{ ptr: string; body: string | null }>(MANY, [tenant, textArray(rows)]))
      if (body !== null) found.set(ptr, body)
  if (own.size > 0)
    for (const { job_id, ...texts } of await db.query<Own & { job_id: string }>(MANY_OF_JOBS, [
      tenant,
      textArray([...own.keys()]),
    ]))
      for (const kind of own.get(job_id) ?? []) {
        const body = bodyOf(texts[kind])
        if (body !== null) found.set(pointerTo(job_id, kind), body)
      }
  return found
}

/** The first of these jobs whose inputs and contexts are no larger together than that; the first one in any case. */
export async function jobsWithin(db: Db, tenant: string, ids: readonly string[], bytes: number): Promise<Set<string>> {
  const rows = await db.query<{ job_id: string }>(WITHIN, [tenant, textArray(ids), bytes])
  return new Set(rows.map(({ job_id }) => job_id))
}

/** Of rows of their own, the first so many texts that are no longer than that. */
export async function smallTexts(
  db: Db,
  tenant: string,
  ptrs: readonly (string | null)[],
  { count, bytes }: { count: number; bytes: number },
): Promise<Map<string, string>> {
  const wanted = ptrs.filter((ptr): ptr is string => ptr !== null).slice(0, count)
  if (wanted.length === 0) return new Map()
  const rows = await db.query<{ ptr: string; body: string }>(SMALL, [tenant, textArray(wanted), bytes])
  return new Map(rows.map(({ ptr, body }) => [ptr, body]))
}

/** As `loadTexts`, parsed. */
export async function loadValues(db: Db, tenant: string, ptrs: readonly (string | null)[]): Promise<Map<string, Json>> {
  return new Map([...(await loadTexts(db, tenant, ptrs))].map(([ptr, text]) => [ptr, JSON.parse(text) as Json]))
}

export function expiredPayloads(
  db: Db,
  now: number,
): Promise<{ tenant: string; ptr: string; job_id: string | null }[]> {
  return db.query(EXPIRED, [now])
}
