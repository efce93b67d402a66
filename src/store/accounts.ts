import type { Principal } from '../core/principal.js'
import type { Account } from '../core/sign-on.js'
import type { Db } from '../platform/db/seam.js'

const OF = 'SELECT * FROM accounts WHERE tenant = $1 AND principal = $2'
const INVITED = 'SELECT * FROM accounts WHERE invitation = $1'
/** By whole name, by the part after `person:`, or by address; folded as in sign-on.ts. */
const NAMED = `SELECT * FROM principals WHERE tenant = $1 AND kind = 'person'
  AND (lower(principal COLLATE "C") IN (lower($2 COLLATE "C"), 'person:' || lower($2 COLLATE "C"))
    OR lower(email COLLATE "C") = lower($2 COLLATE "C"))
  ORDER BY principal LIMIT 2`

export async function getAccount(db: Db, tenant: string, principal: string): Promise<Account | null> {
  return (await db.query<Account>(OF, [tenant, principal]))[0] ?? null
}

/** By the hash alone: a link says neither tenant nor person. */
export async function accountInvitedBy(db: Db, hash: string): Promise<Account | null> {
  return (await db.query<Account>(INVITED, [hash]))[0] ?? null
}

/** Whom somebody means who types a name or an address; null where it is nobody, or more than one. */
export async function personNamed(db: Db, tenant: string, typed: string): Promise<Principal | null> {
  const found = await db.query<Principal>(NAMED, [tenant, typed])
  return found.length === 1 ? (found[0] as Principal) : null
}
