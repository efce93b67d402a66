import type { Caller } from '../core/access.js'
import { covers, lacksToStop, type Stop } from '../core/stop.js'
import { Problem } from '../errors.js'
import { getPrincipal, listTeams } from '../store/directory.js'
import {
  getStop,
  type InDoubt,
  jobsInDoubt,
  leasesOfStop,
  type NodeHeard,
  namesOf,
  nodesOf,
  type OpenEffect,
  openEffects,
  ownersOf,
  type StopRow,
} from '../store/stops.js'
import type { World } from '../store/world.js'

/** A node that was silent for so long before the stop is taken for gone; one that is only frozen must not be. */
const NODE_GONE_MS = 600_000
/** Effects named in one answer; all are counted. */
const SHOWN = 500
/** Between two looks of somebody who waits. */
const LOOK_MS = 50

export interface StopStatus {
  stop: StopRow
  /** Every node that lives has read the gate since, and every lease it found has ended. */
  confirmed: boolean
  /** From the call until the last of them; null while one is missing. */
  confirmed_ms: number | null
  nodes: { node: string; confirmed_ms: number | null; silent_ms: number | null }[]
  leases: { total: number; ended: number; open: number; ended_ms: number | null }
  effects: OpenEffect[]
  effects_total: number
  /** What somebody should look at twice, in words. */
  warning: string | null
}

/**
 * What came of it so far, measured from the call. Effects of other tenants are counted for everybody, and named only to who may stop
 * everything: they say what those tenants do.
 */
async function statusOf(world: World, caller: Caller, stop: StopRow): Promise<Omit<StopStatus, 'warning'>> {
  const [heard, found, doubted] = await Promise.all([
    nodesOf(world.db, stop),
    leasesOfStop(world.db, stop),
    inScope(world, stop),
  ])
  const told = doubted.filter(({ tenant }) => tenant === caller.tenant || seesAll(caller))
  const now = world.clock.now()
  const since = (at: number | null) => (at === null ? null : Math.max(0, at - stop.raised_at))
  const nodes = heard
    .filter((each) => each.at !== null || isThere(each, stop))
    .map(({ node, seen_at, at }) => ({
      node,
      confirmed_ms: since(at),
      silent_ms: seen_at === null ? null : Math.max(0, now - seen_at),
    }))
  const ended_ms = found.open > 0 ? null : since(found.last_ended)
  const leases = { total: found.total, ended: found.total - found.open, open: found.open, ended_ms }
  const confirmed = stop.enforced_at !== null && found.open === 0 && nodes.every((each) => each.confirmed_ms !== null)
  const last = Math.max(stop.refused_ms ?? 0, since(stop.enforced_at) ?? 0, ended_ms ?? 0)
  return {
    stop,
    confirmed,
    confirmed_ms: confirmed ? Math.max(last, ...nodes.map((each) => each.confirmed_ms ?? 0)) : null,
    nodes,
    leases,
    effects: await openEffects(world.db, told, SHOWN),
    effects_total: doubted.reduce((sum, { open }) => sum + open, 0),
  }
}

const seesAll = (caller: Caller) => lacksToStop(caller, { scope: 'everything', target: null }, null) === null

const isThere = ({ seen_at }: NodeHeard, { raised_at }: Stop) => seen_at !== null && seen_at > raised_at - NODE_GONE_MS

async function inScope(world: World, stop: StopRow): Promise<InDoubt[]> {
  const doubted = await jobsInDoubt(world.db, stop)
  const owner = stop.scope === 'team' ? await ownersOf(world.db, doubted) : () => null
  return doubted.filter((each) =>
    covers(stop, { ...each, owners: namesOf(each).map((name) => owner(each.tenant, name)) }),
  )
}

/** The same once it is confirmed, or when `waitMs` are over; nothing is said to be done that is not. Throws Problem `not_found`. */
export async function awaitStop(world: World, caller: Caller, stop_id: string, waitMs: number): Promise<StopStatus> {
  const until = world.clock.now() + waitMs
  for (;;) {
    const stop = await getStop(world.db, caller.tenant, stop_id)
    if (stop === null) throw new Problem('not_found')
    const status = await statusOf(world, caller, stop)
    const left = until - world.clock.now()
    if (status.confirmed || left <= 0) return { ...status, warning: await warningOf(world, stop) }
    await new Promise<void>((go) => world.clock.after(Math.min(LOOK_MS, left), go))
  }
}

/**
 * A misspelt name stops nothing, and is confirmed at once. It is no reason to refuse: of who acts under a name that only another's key
 * says the directory knows nothing, and a stop that is argued with is none.
 */
async function warningOf(world: World, { tenant, scope, target }: Stop): Promise<string | null> {
  if (target === null) return null
  const isUnknown =
    scope === 'agent'
      ? (await getPrincipal(world.db, tenant, target)) === null
      : scope === 'team' && (await listTeams(world.db, tenant)).every(({ team }) => team !== target)
  return isUnknown ? `The directory knows no ${scope} ${target}: is that its name?` : null
}
