import type { Caller } from '../core/access.js'
import { cancelFor, covers, HOME, lacksToStop, type Stop, type StopScope, scopeText, stopFacts } from '../core/stop.js'
import { Problem } from '../errors.js'
import { getPrincipal } from '../store/directory.js'
import { getJobs } from '../store/jobs.js'
import { standingUnder } from '../store/keys.js'
import { type Gate, getGate, listGates } from '../store/standing.js'
import {
  activeStops,
  confirmStops,
  forgetNodes,
  type Live,
  leasesFound,
  liveLeases,
  namesOf,
  nodeGone,
  nodeSeen,
  ownersOf,
  type StopRow,
  stopEnforced,
  stopMeasured,
  unconfirmedStops,
  unenforcedStops,
} from '../store/stops.js'
import type { World } from '../store/world.js'

const TRIES = 12
/** Running jobs asked to stop together: a batch of the ledger. */
const BATCH = 200
/** Looks at what still runs; each finds fewer, because nothing new is leased. */
const PASSES = 50
const DAY_MS = 86_400_000
const SAME_MS = 60_000

export interface Raising {
  scope: StopScope
  target: string | null
  reason: string
}

/**
 * Stops it: from the return nothing in the scope is submitted, approved, leased or begun on any node. Every running job of it has been
 * asked to stop, or will be by whichever node comes to it. Repeated within a minute it is the same stop. Throws Problem `forbidden`, `overloaded`.
 */
export async function raiseStop(world: World, caller: Caller, raising: Raising): Promise<StopRow> {
  const called = world.clock.now()
  for (let tries = 0; tries < TRIES; tries++) {
    const gates = await gatesOf(world, caller, raising.scope)
    const own = gates.find(({ tenant }) => tenant === caller.tenant)
    await standingUnder(world, own ?? null, caller)
    await assertMay(world, caller, raising)
    const same = (await activeStops(world.db, caller.tenant)).find((stop) => isSame(stop, caller, raising, called))
    if (same !== undefined) return same
    const now = world.clock.now()
    const stop: Stop = {
      tenant: caller.tenant,
      stop_id: world.ids.id('stop', now),
      ...raising,
      raised_by: caller.principal,
      raised_at: called,
      epoch: (own?.epoch ?? 0) + 1,
      stage: 'stopped',
      trial_until: null,
      trial_limit: null,
      resume: null,
      steps: [],
      ended_at: null,
    }
    const { reason } = raising
    const tenants = gates.map(({ tenant }) => tenant)
    const receipt = await world.ledger.commit({
      tenant: caller.tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: { stops: [stop], gates: gates.map(moved) },
      facts: stopFacts('stop.raised', stop, tenants, now, caller.principal, { reason }),
    })
    if (!receipt.ok) continue
    const refused_ms = world.clock.now() - called
    if (stop.scope === 'everything') await moveNewer(world, tenants)
    // It stands whatever becomes of this: what is left undone here shows as unconfirmed, and the enforcer goes on with it.
    const follow = async () => {
      await (stop.scope === 'everything' ? world.policies.refreshKnown() : world.policies.refresh(stop.tenant))
      await stopMeasured(world.db, stop, refused_ms)
      await enforce(world, stop)
    }
    await follow().catch(() => {})
    return { ...stop, refused_ms, enforced_at: null }
  }
  throw new Problem('overloaded', 'The gate moved faster than this could be written: try again', {
    retry_after_ms: 200,
  })
}

/** Throws Problem `forbidden`; who reaches for more than is theirs is on record. */
async function assertMay(world: World, caller: Caller, raising: Raising): Promise<void> {
  const { scope, target } = raising
  const agent = scope === 'agent' ? await getPrincipal(world.db, caller.tenant, target ?? '') : null
  const lacks = lacksToStop(caller, raising, agent?.team ?? null)
  if (lacks === null) return
  const refused = { kind: 'stop.refused', tenant: caller.tenant, actor: caller.principal } as const
  const reason = `${scopeText({ scope, target })} needs ${lacks}`
  const at = world.clock.now()
  const write = () => world.ledger.record(caller.tenant, [{ ...refused, at, reason }])
  // Counted by scope: whoever asks chooses the names, and could else fill the log with them.
  await world.refusals.onRecord({ ...refused, reason: `${scope} needs ${lacks}` }, at, write)
  throw new Problem('forbidden', `To stop ${reason}`, { needs: lacks })
}

/** Raised a moment ago in the same words: the answer was lost, and a second stop would have to be resumed by itself. */
const isSame = (stop: Stop, { tenant, principal }: Caller, { scope, target, reason }: Raising, now: number) =>
  stop.tenant === tenant &&
  stop.raised_by === principal &&
  stop.stage === 'stopped' &&
  stop.scope === scope &&
  stop.target === target &&
  stop.reason === reason &&
  now - stop.raised_at < SAME_MS

const moved = ({ tenant, snapshot, epoch, file_digest }: Gate) => ({ tenant, snapshot, epoch: epoch + 1, file_digest })

/** A tenant without a gate gets one: whatever it activates first finds the stop. */
async function gatesOf(world: World, { tenant }: Caller, scope: StopScope): Promise<Gate[]> {
  if (scope === 'everything') return listGates(world.db)
  return [(await getGate(world.db, tenant)) ?? { tenant, snapshot: null, epoch: 0, file_digest: null }]
}

/**
 * A gate that was made while everything was being stopped may have been read before the stop was there. Those that come after read the
 * stop with their gate.
 */
async function moveNewer(world: World, tenants: readonly string[]): Promise<void> {
  for (let tries = 0; tries < TRIES; tries++) {
    const newer = (await listGates(world.db)).filter(({ tenant }) => !tenants.includes(tenant))
    if (newer.length === 0) return
    const admin = { gates: newer.map(moved) }
    const receipt = await world.ledger.commit({ tenant: HOME, gate: null, alone: [], rows: {}, admin, facts: [] })
    if (receipt.ok) return
  }
  throw new Problem('overloaded', 'Tenants are being made faster than they can be stopped', { retry_after_ms: 200 })
}

/** Asks every running job in the scope to stop; safe to be done twice, and by two nodes at once. */
async function enforce(world: World, stop: Stop): Promise<void> {
  for (let pass = 0; pass < PASSES; pass++) {
    const running = await inScope(world, stop, await liveLeases(world.db, stop))
    await leasesFound(world.db, stop, running)
    const left = running.filter(({ cancelled }) => !cancelled)
    if (left.length === 0) {
      await stopEnforced(world.db, stop, world.clock.now())
      return
    }
    for (let from = 0; from < left.length; from += BATCH) await cancelAll(world, stop, left.slice(from, from + BATCH))
  }
}

async function inScope(world: World, stop: Stop, live: readonly Live[]): Promise<Live[]> {
  const owner = stop.scope === 'team' ? await ownersOf(world.db, live) : () => null
  return live.filter((each) => covers(stop, { ...each, owners: namesOf(each).map((name) => owner(each.tenant, name)) }))
}

/** Who was quicker than this (a report, a heartbeat's end) is looked at again by the next pass. */
async function cancelAll(world: World, stop: Stop, live: readonly Live[]): Promise<void> {
  const tenants = [...new Set(live.map(({ tenant }) => tenant))]
  for (const tenant of tenants) {
    const ids = live.filter((each) => each.tenant === tenant).map(({ job_id }) => job_id)
    const jobs = await getJobs(world.db, tenant, ids)
    const now = world.clock.now()
    const commits = jobs
      .filter((job) => job.status === 'running' && !job.cancel_requested)
      .map((job) => {
        const step = cancelFor(stop, job, now)
        return world.ledger.commit({
          tenant,
          gate: null,
          alone: [job.job_id],
          rows: { updateJobs: [step.job] },
          facts: [step.fact],
        })
      })
    await Promise.all(commits)
  }
}

/** Goes on with stops whose node died before every running job had been asked. */
export async function enforceStops(world: World): Promise<void> {
  for (const stop of await unenforcedStops(world.db)) await enforce(world, stop)
}

/** This node has read the gates since these stops were raised: what it decides from now on, it decides under them. */
export async function confirm(world: World, node: { node: string; name: string }): Promise<number> {
  const stops = await unconfirmedStops(world.db, node.node)
  if (stops.length === 0) return 0
  if (stops.some(({ scope }) => scope === 'everything')) await world.policies.refreshKnown()
  for (const tenant of new Set(stops.map((stop) => stop.tenant))) await world.policies.refresh(tenant)
  const ids = stops.map(({ stop_id }) => stop_id)
  await confirmStops(world.db, ids, node, world.clock.now())
  return stops.length
}

/** This node lives. One that nobody has heard from for a day is no longer asked for. */
export async function beat(world: World, node: { node: string; name: string }): Promise<void> {
  const now = world.clock.now()
  await nodeSeen(world.db, node, now)
  await forgetNodes(world.db, now - DAY_MS)
}

/** It stops in order: nothing more comes from it, so nobody waits for its word. */
export function leave(world: World, { node }: { node: string }): Promise<void> {
  return nodeGone(world.db, node)
}
