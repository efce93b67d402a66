import type { Principal, Team } from '../core/principal.js'
import type { Db } from '../platform/db/seam.js'
import { decodeCursor, type Page, page } from './cursor.js'
import { textArray } from './text-array.js'

/** By name first: planned on a small table, a list of names walks the tenant. */
const SOME = `SELECT p.* FROM unnest($2::text[]) AS wanted(name)
  CROSS JOIN LATERAL (SELECT * FROM principals WHERE tenant = $1 AND principal = wanted.name OFFSET 0) p`
/** Who a click in Slack may be of. */
const BY_SLACK = 'SELECT * FROM principals WHERE slack = $2 AND tenant = $1 LIMIT 10'
const PAGE = 'SELECT * FROM principals WHERE tenant = $1 AND principal > $2 ORDER BY principal LIMIT $3'
const ALL = 'SELECT * FROM principals WHERE tenant = $1 ORDER BY principal'
const OF_TEAMS = `SELECT principal FROM principals WHERE tenant = $1 AND team = ANY($2::text[]) AND kind = 'agent' ORDER BY principal`
/** For who stores a policy, and can wait for a walk of the tenant. */
const OWNERS = `SELECT DISTINCT team FROM principals WHERE tenant = $1 AND kind = 'agent' AND team IS NOT NULL AND disabled_at IS NULL ORDER BY team`
const TEAMS = 'SELECT * FROM teams WHERE tenant = $1 ORDER BY team'

export function getPrincipals(db: Db, tenant: string, names: readonly string[]): Promise<Principal[]> {
  return db.query<Principal>(SOME, [tenant, textArray(names)])
}

export async function getPrincipal(db: Db, tenant: string, principal: string): Promise<Principal | null> {
  return (await getPrincipals(db, tenant, [principal]))[0] ?? null
}

/** Those of whom this is the id in Slack, disabled ones too. */
export function principalsInSlack(db: Db, tenant: string, slack: string): Promise<Principal[]> {
  return db.query<Principal>(BY_SLACK, [tenant, slack])
}

export async function pageOfPrincipals(
  db: Db,
  tenant: string,
  { cursor, limit = 50 }: { cursor?: string; limit?: number },
): Promise<Page<Principal>> {
  const rows = await db.query<Principal>(PAGE, [tenant, decodeCursor(cursor)?.[1] ?? '', limit + 1])
  return page(rows, limit, ({ principal }) => [0, principal])
}

/** All of them: what a change of the directory is planned from. */
export function listPrincipals(db: Db, tenant: string): Promise<Principal[]> {
  return db.query<Principal>(ALL, [tenant])
}

/** Agents that these teams own. */
export async function agentsOfTeams(db: Db, tenant: string, teams: readonly string[]): Promise<string[]> {
  return (await db.query<{ principal: string }>(OF_TEAMS, [tenant, textArray(teams)])).map((row) => row.principal)
}

/** Teams that own an agent which may act. */
export async function ownerTeams(db: Db, tenant: string): Promise<string[]> {
  return (await db.query<{ team: string }>(OWNERS, [tenant])).map((row) => row.team)
}

export function listTeams(db: Db, tenant: string): Promise<Team[]> {
  return db.query<Team>(TEAMS, [tenant])
}
