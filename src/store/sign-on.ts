import type { Fact } from '../core/audit.js'
import type { Principal } from '../core/principal.js'
import type { GroupRule, Identity, Subject } from '../core/sign-on.js'
import type { Db } from '../platform/db/seam.js'
import type { KeyRow } from './keys.js'
import { textArray } from './text-array.js'

const LINKED = `SELECT p.* FROM subjects s JOIN principals p ON p.tenant = s.tenant AND p.principal = s.principal
  WHERE s.tenant = $1 AND s.issuer = $2 AND s.subject = $3`
/** Only A to Z are folded: by the rules of languages the Kelvin sign is a k, and whoever has such an address would be somebody else. */
const ALIKE = `SELECT * FROM principals WHERE tenant = $1 AND lower(email COLLATE "C") = lower($2 COLLATE "C") ORDER BY principal LIMIT 10`
const TAKEN = `SELECT DISTINCT principal FROM subjects
  WHERE tenant = $1 AND issuer = $2 AND subject <> $3 AND principal = ANY($4::text[])`
const GROUPS = `SELECT group_name AS "group", role, team FROM sign_on_groups WHERE tenant = $1 ORDER BY place, group_name`
const SESSIONS = `SELECT tenant, key_id, hash, role, principal, team, topics, act_as, permissions, note, created_at, created_by, expires_at, revoked_at,
    rotated_to, session
  FROM keys WHERE tenant = $1 AND principal = $2 AND session IS NOT NULL AND revoked_at IS NULL AND expires_at > $3 ORDER BY created_at, key_id`
const PRUNE =
  'DELETE FROM keys WHERE tenant = $1 AND principal = $2 AND session IS NOT NULL AND revoked_at IS NULL AND expires_at < $3'

/** A rule as it is stored. */
export interface GroupRow extends Omit<GroupRule, 'group'> {
  tenant: string
  group_name: string
  place: number
  updated_at: number
  updated_by: string
}

/** Whom the subject was linked to at an earlier sign-on. */
export async function linkedTo(db: Db, tenant: string, { issuer, subject }: Identity): Promise<Principal | null> {
  return (await db.query<Principal>(LINKED, [tenant, issuer, subject]))[0] ?? null
}

/** Everybody with this address, disabled ones too. */
export function principalsWithEmail(db: Db, tenant: string, email: string): Promise<Principal[]> {
  return db.query<Principal>(ALIKE, [tenant, email])
}

/** Which of these are linked to another subject of the issuer. */
export async function linkedToOthers(
  db: Db,
  tenant: string,
  { issuer, subject }: Identity,
  principals: readonly string[],
): Promise<Set<string>> {
  const rows = await db.query<Pick<Subject, 'principal'>>(TAKEN, [tenant, issuer, subject, textArray(principals)])
  return new Set(rows.map(({ principal }) => principal))
}

/** In the order of their rank. */
export function listGroupRules(db: Db, tenant: string): Promise<GroupRule[]> {
  return db.query<GroupRule>(GROUPS, [tenant])
}

/** Sessions of a person that open something, oldest first. */
export function sessionsOf(db: Db, tenant: string, principal: string, now: number): Promise<KeyRow[]> {
  return db.query<KeyRow>(SESSIONS, [tenant, principal, now])
}

/** What ends these sessions: they expire and are not revoked, so that what was answered with them goes on counting. */
export async function endingSessions(
  db: Db,
  { tenant, principal }: Pick<Principal, 'tenant' | 'principal'>,
  reason: string,
  now: number,
): Promise<{ keys: KeyRow[]; facts: Fact[] }> {
  const open = await sessionsOf(db, tenant, principal, now)
  const facts = open.map(
    ({ key_id }): Fact => ({ kind: 'session.closed', tenant, at: now, actor: principal, key_id, reason }),
  )
  return { keys: open.map((row) => ({ ...row, expires_at: now })), facts }
}

/** Removes sessions that ended before then. Revoked ones stay: what was answered with them must go on counting for nothing. */
export async function pruneSessions(db: Db, tenant: string, principal: string, before: number): Promise<void> {
  await db.query(PRUNE, [tenant, principal, before])
}
