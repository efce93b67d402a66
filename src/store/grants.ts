import { barredFrom } from '../core/flow.js'
import { covering, type GrantRow, type ScopedGrant, scopedGrant, useKey, voiceNow } from '../core/grant.js'
import type { Claim, Job } from '../core/job.js'
import type { Db } from '../platform/db/seam.js'
import { whoMadeKeys } from './approvals.js'
import { barredFromUndoing } from './compensations.js'
import { decodeCursor, type Page, page } from './cursor.js'
import type { Directories } from './people.js'
import { type Gate, loadCounters } from './standing.js'
import { textArray } from './text-array.js'

/** Those of keys that were revoked, or of principals that were disabled or whose role answers nothing now, count no more: each moves the gate. */
const STANDING = `SELECT g.* FROM grants g
  LEFT JOIN LATERAL (SELECT revoked_at AS at FROM keys WHERE key_id = g.key_id OFFSET 0) k ON true
  LEFT JOIN LATERAL (SELECT disabled_at AS at, role FROM principals WHERE tenant = g.tenant AND principal = g.granted_by OFFSET 0) p ON true
  WHERE g.tenant = $1 AND g.agent = $2 AND g.revoked_at IS NULL AND g.expires_at > $3 AND k.at IS NULL AND p.at IS NULL
    AND coalesce(p.role IN ('admin', 'approver'), true)
  ORDER BY g.expires_at, g.grant_id LIMIT 1000`
const GET = 'SELECT * FROM grants WHERE tenant = $1 AND grant_id = $2'
const LIST = 'SELECT * FROM grants WHERE tenant = $1 AND grant_id < $2 ORDER BY grant_id DESC LIMIT $3'
const USED = 'SELECT key, held FROM limits WHERE tenant = $1 AND key = ANY($2::text[])'
/** Sorts after every id. */
const LAST = '~'
/** Agents of one tenant that are kept. */
const KEPT = 10_000

interface Known {
  epoch: number
  byAgent: Map<string, readonly GrantRow[]>
}

/**
 * Standing grants by agent, from memory, as store/agents.ts: making and revoking one moves the gate, as does what changes its maker's
 * office. Uses are counted in the store.
 */
export class Grants {
  readonly #db: Db
  readonly #people: Directories
  readonly #known = new Map<string, Known>()

  constructor(db: Db, people: Directories) {
    this.#db = db
    this.#people = people
  }

  /** Grants that cover this job, with the uses that were taken of each. */
  async covering(
    gate: Gate,
    claim: Claim,
    requested_by: string,
    now: number,
    barred: readonly string[] = [],
  ): Promise<ScopedGrant[]> {
    const rows = await this.#unbarred(await this.#of(gate, claim.agent, now), claim, requested_by, barred, now)
    if (rows.length === 0) return []
    const keys = rows.map(({ grant_id }) => useKey(grant_id))
    const counters = await loadCounters(this.#db, gate.tenant, keys)
    return rows.map((row, n) => scopedGrant(row, counters[keys[n] as string]?.held ?? 0))
  }

  /** The grant whose use a job took, if it still covers it. */
  async held(
    gate: Gate,
    job: Pick<Job, 'tenant' | 'job_id' | 'granted_by' | 'requested_by' | 'replayed_by'>,
    claim: Claim,
    now: number,
  ): Promise<ScopedGrant[]> {
    if (job.granted_by === null) return []
    const rows = (await this.#of(gate, claim.agent, now)).filter(({ grant_id }) => grant_id === job.granted_by)
    if (rows.length === 0) return []
    const wanted = job.replayed_by === null ? [] : [job.replayed_by]
    const barred = [...wanted, ...(await barredFromUndoing(this.#db, job))]
    return (await this.#unbarred(rows, claim, job.requested_by, barred, now)).map((row) => scopedGrant(row, 0))
  }

  /** Those that cover the job, less those of whoever asked for it, wanted it or could have asked: a key that was made after the grant counts too. */
  async #unbarred(
    rows: readonly GrantRow[],
    claim: Claim,
    requested_by: string,
    others: readonly string[],
    now: number,
  ): Promise<readonly GrantRow[]> {
    const found = covering(rows, claim, now)
    if (found.length === 0) return found
    const { tenant, agent } = claim
    const makers = await whoMadeKeys(this.#db, tenant, [requested_by, agent])
    const barred = barredFrom({ requested_by, raised_by: requested_by, agent }, [...makers, ...others])
    return found.filter(({ granted_by }) => !barred.includes(granted_by))
  }

  async #of(gate: Gate, agent: string, now: number): Promise<readonly GrantRow[]> {
    const { byAgent } = this.#under(gate)
    const known = byAgent.get(agent)
    if (known !== undefined) return known
    const stored = await this.#db.query<GrantRow>(STANDING, [gate.tenant, agent, now])
    const people = stored.length === 0 ? null : await this.#people.of(gate, [agent])
    const rows = people === null ? stored : stored.map((row) => ({ ...row, voice: voiceNow(row, people) }))
    if (byAgent.size > KEPT) byAgent.clear()
    byAgent.set(agent, rows)
    return rows
  }

  #under({ tenant, epoch }: Gate): Known {
    const known = this.#known.get(tenant)
    if (known !== undefined && known.epoch >= epoch) return known
    const fresh = { epoch, byAgent: new Map() }
    this.#known.set(tenant, fresh)
    return fresh
  }
}

export async function getGrant(db: Db, tenant: string, grant_id: string): Promise<GrantRow | null> {
  return (await db.query<GrantRow>(GET, [tenant, grant_id]))[0] ?? null
}

export async function pageOfGrants(
  db: Db,
  tenant: string,
  { cursor, limit = 50 }: { cursor?: string; limit?: number },
): Promise<Page<GrantRow>> {
  const rows = await db.query<GrantRow>(LIST, [tenant, decodeCursor(cursor)?.[1] ?? LAST, limit + 1])
  return page(rows, limit, ({ created_at, grant_id }) => [created_at, grant_id])
}

/** Uses taken, by grant. */
export async function usesOf(db: Db, tenant: string, grant_ids: readonly string[]): Promise<Map<string, number>> {
  const keys = grant_ids.map(useKey)
  const rows = await db.query<{ key: string; held: number }>(USED, [tenant, textArray(keys)])
  const held = new Map(rows.map((row) => [row.key, row.held]))
  return new Map(grant_ids.map((id) => [id, held.get(useKey(id)) ?? 0]))
}
