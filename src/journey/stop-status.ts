import { covers, type Stop } from '../core/stop.js'
import { Problem } from '../errors.js'
import {
  getStop,
  leasesOfStop,
  type NodeHeard,
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
}

/** What came of it so far, measured from the call. */
export async function statusOf(world: World, stop: StopRow): Promise<StopStatus> {
  const [heard, found, effects] = await Promise.all([
    nodesOf(world.db, stop),
    leasesOfStop(world.db, stop),
    inScope(world, stop),
  ])
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
    effects: effects.slice(0, SHOWN),
    effects_total: effects.length,
  }
}

const isThere = ({ seen_at }: NodeHeard, { raised_at }: Stop) => seen_at !== null && seen_at > raised_at - NODE_GONE_MS

async function inScope(world: World, stop: StopRow): Promise<OpenEffect[]> {
  const open = await openEffects(world.db, stop)
  const owner = stop.scope === 'team' ? await ownersOf(world.db, open) : () => null
  return open.filter((each) => covers(stop, { ...each, owner: owner(each.tenant, each.agent) }))
}

/** The same once it is confirmed, or when `waitMs` are over; nothing is said to be done that is not. Throws Problem `not_found`. */
export async function awaitStop(world: World, tenant: string, stop_id: string, waitMs: number): Promise<StopStatus> {
  const until = world.clock.now() + waitMs
  for (;;) {
    const stop = await getStop(world.db, tenant, stop_id)
    if (stop === null) throw new Problem('not_found')
    const status = await statusOf(world, stop)
    const left = until - world.clock.now()
    if (status.confirmed || left <= 0) return status
    await new Promise<void>((go) => world.clock.after(Math.min(LOOK_MS, left), go))
  }
}
