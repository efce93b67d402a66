import type { Role } from '../core/access.js'
import type { Db } from '../platform/db/seam.js'

/** A one-time link of an approval mail. Never changed: what became of it is said by its approval. */
export interface Link {
  tenant: string
  link_id: string
  /** sha256 of the secret part, hex. */
  hash: string
  approval_id: string
  grant_hash: string
  principal: string
  delivery_id: string
  created_at: number
  expires_at: number
}

/** With who it is for, as they are now. */
export interface FoundLink extends Link {
  role: Role | null
  team: string | null
  disabled_at: number | null
}

const INSERT = `INSERT INTO links (tenant, link_id, hash, approval_id, grant_hash, principal, delivery_id, created_at, expires_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
const GET = `SELECT l.*, p.role, p.team, p.disabled_at FROM links l
  LEFT JOIN principals p ON p.tenant = l.tenant AND p.principal = l.principal WHERE l.link_id = $1`
const FORGET = `DELETE FROM links WHERE (tenant, link_id) IN
  (SELECT tenant, link_id FROM links WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`

export async function insertLink(db: Db, l: Link): Promise<void> {
  const bound = [l.approval_id, l.grant_hash, l.principal, l.delivery_id]
  await db.query(INSERT, [l.tenant, l.link_id, l.hash, ...bound, l.created_at, l.expires_at])
}

/** By id alone: whoever presents a link does not say its tenant, the row does. */
export async function findLink(db: Db, link_id: string): Promise<FoundLink | null> {
  return (await db.query<FoundLink>(GET, [link_id]))[0] ?? null
}

export async function tidyLinks(db: Db, before: number): Promise<void> {
  await db.query(FORGET, [before, 1000])
}
