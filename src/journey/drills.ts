import type { Caller } from '../core/access.js'
import type { Fact } from '../core/audit.js'
import { digestOf } from '../core/canonical.js'
import {
  DRILLS,
  type DrillName,
  type DrillRun,
  type DrillSchedule,
  type DrillStanding,
  type Figures,
  judged,
  LEAST_EVERY_MS,
  type Made,
  ownFigures,
  type Reported,
  runFact,
  standingOf,
  validUntil,
} from '../core/drill.js'
import type { Json } from '../core/json.js'
import { Problem } from '../errors.js'
import { proofOf } from '../store/drill-evidence.js'
import { drillSchedules, keepOverdue, newestDrills, overdueDrills } from '../store/drills.js'
import { partyOf } from '../store/four-eyes.js'
import { standingUnder } from '../store/keys.js'
import type { AdminRows } from '../store/ledger/write.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6

/** What somebody who played a drill says of it. */
export interface DrillReport {
  took_ms: number
  made: Made
  checks: Reported[]
  figures: Figures
}

/**
 * Records a run. The server looks at what the drill made itself, and what does not hold there fails the run, whatever was reported.
 * Throws Problem `forbidden` to agents and workers, `overloaded`.
 */
export async function recordDrill(
  world: World,
  caller: Caller,
  drill: DrillName,
  report: DrillReport,
): Promise<DrillRun> {
  return await change(world, caller, drill, async () => {
    const { tenant, principal: recorded_by } = caller
    const at = world.clock.now()
    const schedule = await scheduleOf(world, tenant, drill)
    const proof = await proofOf(world, tenant, drill, report.made, at)
    const run: DrillRun = {
      tenant,
      drill_id: world.ids.id('drl', at),
      drill,
      ...judged(report.checks, proof.checks),
      at,
      valid_until: validUntil(at, schedule?.every_ms ?? DRILLS[drill].every_ms),
      took_ms: report.took_ms,
      made: report.made,
      // What the record says stands over what somebody stopped by their own watch, which counts only for what no row can show.
      figures: { ...ownFigures(drill, report.figures), ...proof.figures },
      recorded_by,
    }
    const run_hash = digestOf('drill', run as unknown as Json)
    return { result: run, rows: { drillRuns: [run] }, facts: [runFact(run, run_hash)] }
  })
}

/** Says who answers for a drill, and how often it is to be run: as often as usual, or more. Throws Problem `invalid`, `forbidden`. */
export async function scheduleDrill(
  world: World,
  caller: Caller,
  drill: DrillName,
  { owner, every_ms }: Pick<DrillSchedule, 'owner' | 'every_ms'>,
): Promise<DrillSchedule> {
  const most = DRILLS[drill].every_ms
  if (every_ms < LEAST_EVERY_MS || every_ms > most) {
    const message = `must be from ${LEAST_EVERY_MS} to ${most}: more often than usual, never less`
    throw new Problem('invalid', undefined, { faults: [{ path: '/every_ms', message }] })
  }
  return await change(world, caller, drill, async () => {
    const { tenant, principal: updated_by } = caller
    const at = world.clock.now()
    const before = await scheduleOf(world, tenant, drill)
    // Another owner gets no more time: whoever may name one could put the reminder off for ever.
    const since = before?.since ?? at
    const schedule: DrillSchedule = { tenant, drill, owner, every_ms, since, updated_at: at, updated_by }
    const fact: Fact = { kind: 'drill.scheduled', tenant, at, actor: updated_by, drill, owner, every_ms }
    return { result: schedule, rows: { drillSchedules: [schedule] }, facts: [fact] }
  })
}

/** A drill as it stands. */
export interface DrillState {
  drill: DrillName
  schedule: DrillSchedule | null
  standing: DrillStanding | null
  newest: DrillRun | null
}

/** All that are asked for, in their own order. */
export async function drillStates(world: World, tenant: string, names: readonly DrillName[]): Promise<DrillState[]> {
  const now = world.clock.now()
  const [runs, schedules] = await Promise.all([newestDrills(world.db, tenant, now), drillSchedules(world.db, tenant)])
  return names.map((drill) => {
    const newest = runs.find((run) => run.drill === drill) ?? null
    return {
      drill,
      schedule: schedules.find((each) => each.drill === drill) ?? null,
      standing: standingOf(newest === null ? [] : [newest], now),
      newest,
    }
  })
}

/**
 * Says in the log which drills did not pass in time, once for each due time; channels tell people from there. The entry comes first:
 * whoever dies in between leaves one that is given twice, never one that is not given. Throws what `record` throws, after every drill
 * had its turn.
 */
export async function remindOfDrills(world: World): Promise<Fact[]> {
  const at = world.clock.now()
  const facts: Fact[] = []
  let fault: unknown = null
  for (const overdue of await overdueDrills(world.db, at)) {
    const { tenant, drill, owner, every_ms, due_at, passed_at } = overdue
    const actor = 'system:reminders'
    const fact: Fact = { kind: 'drill.overdue', tenant, at, actor, drill, owner, every_ms, due_at, passed_at }
    try {
      await world.ledger.record(tenant, [fact])
      await keepOverdue(world.db, overdue)
      facts.push(fact)
    } catch (error) {
      fault ??= error
    }
  }
  if (fault !== null) throw fault
  return facts
}

async function scheduleOf(world: World, tenant: string, drill: DrillName): Promise<DrillSchedule | null> {
  return (await drillSchedules(world.db, tenant)).find((each) => each.drill === drill) ?? null
}

interface Change<T> {
  result: T
  rows: Pick<AdminRows, 'drillRuns' | 'drillSchedules'>
  facts: Fact[]
}

/** The gate moves with it, though the door reads nothing of drills: that is what lets no key report one after it was revoked. */
async function change<T>(world: World, caller: Caller, drill: DrillName, plan: () => Promise<Change<T>>): Promise<T> {
  const { tenant } = caller
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    await standingUnder(world, gate, caller)
    await assertNotPlayed(world, caller, drill)
    const { result, rows, facts } = await plan()
    const read = gate ?? { tenant, snapshot: null, epoch: 0, file_digest: null }
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: { ...rows, gates: [{ ...read, epoch: read.epoch + 1 }] },
      facts,
    })
    await world.policies.refresh(tenant)
    if (receipt.ok) return result
  }
  throw new Problem('overloaded', 'The gate moved faster than this could be written', { retry_after_ms: 200 })
}

/** Agents and workers are what drills are about: whatever their keys may do, none of them says how one went. Throws Problem `forbidden`. */
async function assertNotPlayed(world: World, { tenant, principal, role }: Caller, drill: DrillName): Promise<void> {
  const { kind } = await partyOf(world.db, tenant, { by: principal })
  const isPlayed = kind === 'agent' || kind === 'worker' || role === 'agent' || role === 'worker'
  if (!isPlayed) return
  const at = world.clock.now()
  const refused = { kind: 'drill.refused', tenant, actor: principal, drill, reason: 'played by itself' } as const
  await world.refusals.onRecord(refused, at, () => world.ledger.record(tenant, [{ ...refused, at }]))
  throw new Problem('forbidden', 'A drill is not reported by an agent or a worker', { needs: ['drills:write'] })
}
