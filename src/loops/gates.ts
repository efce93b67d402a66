import { type GateAsked, lookAtGate } from '../journey/gate.js'
import { type TriggerSamples, watchTriggers } from '../journey/triggers.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { forgetLooks } from '../store/looks.js'
import { liveRollouts, type RolloutRow } from '../store/rollouts.js'
import type { World } from '../store/world.js'
import type { Loop } from './loop.js'
import { seated } from './sweeper.js'

/** Between two looks; core/gates/trigger.ts counts the time between two that are at most a minute apart. */
const PAUSE_MS = 10_000
/** Looks are kept as long as a gate of the longest window and the most windows in a row could need those of one phase. */
const KEPT_MS = 400 * 86_400_000
/** Of each kind at once. */
const FORGET = 2_000

/** What a rollout does by itself, as loops call it. */
export interface Steps {
  rollBack(
    world: World,
    tenant: string,
    rollout_id: string,
    why: { trigger: string; reason: string },
  ): Promise<RolloutRow | null>
  promote(world: World, tenant: string, rollout_id: string, evidence_hash: string): Promise<RolloutRow | null>
}

/** Looked at side by side: connections for reads are more than these, and the doors need them. */
const AT_ONCE = 4
/** A round that takes longer is late for the next. */
const SLOW_MS = 10_000

/** One of each tenant, then the second of each: nobody waits behind all the rollouts of somebody else. */
function inTurns(rollouts: readonly RolloutRow[]): RolloutRow[] {
  const turns = new Map<string, number>()
  const placed = rollouts.map((rollout) => {
    const turn = turns.get(rollout.tenant) ?? 0
    turns.set(rollout.tenant, turn + 1)
    return { rollout, turn }
  })
  return placed.sort((a, b) => a.turn - b.turn).map(({ rollout }) => rollout)
}

/** One rollout that cannot be looked at keeps nobody from looking at the others. */
async function each(
  world: World,
  what: string,
  clock: Clock,
  log: Log,
  look: (rollout: RolloutRow) => Promise<void>,
): Promise<void> {
  const begun = clock.now()
  let fault: unknown = null
  const rollouts = inTurns(await liveRollouts(world.db))
  const left = rollouts.values()
  const inLine = async () => {
    for (const rollout of left)
      try {
        await look(rollout)
      } catch (error) {
        fault ??= error
      }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, inLine))
  const took_ms = clock.now() - begun
  if (took_ms > SLOW_MS) log.warn({ what, took_ms, rollouts: rollouts.length }, 'a round over all rollouts was slow')
  if (fault !== null) throw fault
}

/** Takes candidates back: by a loop of its own, so that no gate that is slow to answer keeps it waiting. In every phase, also a paused one. */
export function triggers(world: World, samples: TriggerSamples, steps: Steps, clock: Clock, log: Log): Loop {
  return seated(world, 'triggers', PAUSE_MS, clock, log, () =>
    each(world, 'triggers', clock, log, async (rollout) => {
      const tripped = await watchTriggers(world, samples, rollout)
      if (tripped === null) return
      const { tenant, rollout_id } = rollout
      const { trigger, reason } = tripped
      const ended = await steps.rollBack(world, tenant, rollout_id, { trigger, reason })
      if (ended !== null) log.warn({ tenant, rollout_id, trigger, reason }, 'a rollout was taken back')
    }),
  )
}

/** Looks at the gates of all rollouts, and goes on where a declaration says that nobody need be asked. */
export function gates(world: World, asked: GateAsked, steps: Steps, clock: Clock, log: Log): Loop {
  return seated(world, 'gates', PAUSE_MS, clock, log, async () => {
    await each(world, 'gates', clock, log, async (rollout) => {
      const looked = await lookAtGate(world, asked, rollout, PAUSE_MS)
      if (looked === null || looked.promotes === null) return
      const { tenant, rollout_id } = rollout
      const next = await steps.promote(world, tenant, rollout_id, looked.promotes)
      if (next !== null) log.info({ tenant, rollout_id, phase: next.phase, status: next.status }, 'a rollout went on')
    })
    await forgetLooks(world.db, clock.now() - KEPT_MS, FORGET)
  })
}
