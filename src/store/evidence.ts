import type { EvidenceHead } from '../core/evidence.js'
import type { GateEvidence } from '../core/rollout/step.js'
import type { Db } from '../platform/db/seam.js'
import { decodeCursor, type Page, page } from './cursor.js'

export const FORMS = ['gate', 'launch'] as const
/** The deployment guide's form of evidence, or the launch checklist's. */
export type EvidenceForm = (typeof FORMS)[number]

/** Evidence that was worked out here; its text is what hash and signature are made of. */
export interface EvidenceRow extends GateEvidence {
  tenant: string
  form: EvidenceForm
  /** Canonical JSON. */
  text: string
  /** Base64, by the log's key. */
  signature: string
  /** As a verifier key: `name+id+base64`. */
  public_key: string
}

/** Of a list: the text is some 30 kB. */
export type EvidenceItem = Omit<EvidenceRow, 'text' | 'signature' | 'public_key'>

const ITEM = 'tenant, evidence_hash, rollout_id, declaration, phase, form, outcome, evaluated_at, reviewed_by'
export const EVIDENCE_COLUMNS = `${ITEM}, text, signature, public_key`
const GET = `SELECT ${EVIDENCE_COLUMNS} FROM gate_evidence WHERE tenant = $1 AND evidence_hash = $2`
const PAGE = `SELECT ${ITEM} FROM gate_evidence WHERE tenant = $1 AND rollout_id = $2 AND (evaluated_at, evidence_hash) < ($3, $4)
  ORDER BY evaluated_at DESC, evidence_hash DESC LIMIT $5`
const NEWEST = `SELECT ${ITEM} FROM gate_evidence WHERE tenant = $1 AND rollout_id = $2 AND form = 'gate'
  ORDER BY evaluated_at DESC, evidence_hash DESC LIMIT 1`
/** In one statement, so one moment: entries of the tenant's log up to that size are signed, and the oldest beyond it was written then. */
const COVERED = `SELECT h.size, h.root, h.checkpoint AS note,
    (SELECT at FROM audit_tiles WHERE tenant = $1 AND first_index IS NULL ORDER BY at LIMIT 1) AS waiting_at
  FROM (SELECT 1) one LEFT JOIN LATERAL (SELECT * FROM audit_heads WHERE tenant = $1 ORDER BY size DESC LIMIT 1) h ON true`

export async function getEvidence(db: Db, tenant: string, evidence_hash: string): Promise<EvidenceRow | null> {
  return (await db.query<EvidenceRow>(GET, [tenant, evidence_hash]))[0] ?? null
}

/** The newest first. */
export async function pageOfEvidence(
  db: Db,
  tenant: string,
  rollout_id: string,
  { cursor, limit = 50 }: { cursor?: string | undefined; limit?: number | undefined },
): Promise<Page<EvidenceItem>> {
  const [at, hash] = decodeCursor(cursor) ?? [Number.MAX_SAFE_INTEGER, '~']
  const rows = await db.query<EvidenceItem>(PAGE, [tenant, rollout_id, at, hash, limit + 1])
  return page(rows, limit, (row) => [row.evaluated_at, row.evidence_hash])
}

/** The newest in the guide's form, which the loop keeps. */
export async function newestEvidence(db: Db, tenant: string, rollout_id: string): Promise<EvidenceItem | null> {
  return (await db.query<EvidenceItem>(NEWEST, [tenant, rollout_id]))[0] ?? null
}

export interface Covered {
  /** Null before the first. */
  head: (EvidenceHead & { note: string }) | null
  /** When the oldest tile was written that no head covers; null where all are covered. */
  waiting_at: number | null
}

/** The newest signed head of a tenant's log, and from when on there is more than it says. */
export async function coveredBy(db: Db, tenant: string): Promise<Covered> {
  const [row] = await db.query<{ size: number | null; root: string; note: string; waiting_at: number | null }>(
    COVERED,
    [tenant],
  )
  const { size = null, root = '', note = '', waiting_at = null } = row ?? {}
  return { head: size === null ? null : { size, root, note }, waiting_at }
}
