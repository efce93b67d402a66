import type { EvidenceBasis, EvidenceHead } from '../core/evidence.js'
import type { Reading } from '../core/gates/check.js'
import { evaluateGate, type WholePhase } from '../core/gates/gate.js'
import { type GateMetricName, metricOf } from '../core/gates/metric.js'
import { signersOf, weeksOf } from '../core/gates/review.js'
import { isStanding, type Standings, standingReadings } from '../core/gates/standing.js'
import type { Rollout } from '../core/rollout/step.js'
import type { Db } from '../platform/db/seam.js'
import { drillStandings } from './drills.js'
import { partyOf } from './four-eyes.js'
import { pastLooks } from './looks.js'
import { replayStanding } from './replays.js'
import { reviewsOf } from './rollout-reviews.js'
import type { RolloutRow } from './rollouts.js'
import { MOST_SAMPLES } from './samples.js'
import type { World } from './world.js'

export interface ReadingsAsked {
  tenant: string
  rollout: Rollout
  metrics: readonly GateMetricName[]
  from: number
  to: number
  head_size: number
}

/** Numbers of work, as of a signed head; what is judged feeds none of them. */
export type Readings = (world: World, asked: ReadingsAsked) => Promise<{ candidate: Reading[]; control: Reading[] }>

/** What is asked, when, and of which state of the log. All else follows from rows. */
export interface GateMoment {
  now: number
  to: number
  phase: number
  phase_at: number
  head: EvidenceHead
  /** Full digest. */
  snapshot: string
}

/**
 * All that a gate's answer rests on, from rows. The same for the same moment, however much later it is asked: work is counted as of the
 * head, what stands beside it (drills, replays, reviews, signatures) as of the window's end, and looks as of `now`.
 * Throws RangeError for a phase that was not declared.
 */
export async function gateBasis(
  world: World,
  readings: Readings,
  rollout: RolloutRow,
  { now, to, phase, phase_at, head, snapshot }: GateMoment,
): Promise<EvidenceBasis> {
  const { tenant, rollout_id, document, declaration } = rollout
  const declared = document.phases[phase]
  if (declared === undefined)
    throw new RangeError(`a rollout of ${document.phases.length} phases has none numbered ${phase}`)
  const { gate, share_bp } = declared
  const { db } = world
  const metrics = gate.checks.map(({ metric }) => metric)
  const reviews = await reviewsOf(db, tenant, rollout_id, to)
  const span = { to, now, phase_at, width: gate.window_ms, consecutive: gate.consecutive }
  const past = await pastLooks(db, [tenant, rollout_id], span)
  const counted = metrics.filter((metric) => !isStanding(metric))
  const asked = { tenant, rollout, metrics: counted, from: to - gate.window_ms, to, head_size: head.size }
  const measured = counted.length === 0 ? { candidate: [], control: [] } : await readings(world, asked)
  const standings: Standings = {
    drills: await drillStandings(db, tenant, to),
    replay: await replayStanding(db, tenant, { rollout_id, candidate: document.subject.candidate }, to),
    reviews: weeksOf(reviews, to),
  }
  const basis: EvidenceBasis = {
    rollout_id,
    rollout: document.rollout,
    declaration,
    phase,
    phases: document.phases.length,
    share_bp,
    gate,
    owners: document.owners,
    snapshot,
    reviewed_by: signersOf(reviews, { phase, phase_at }, to).map(({ by }) => by),
    now,
    to,
    phase_at,
    candidate: [...measured.candidate, ...standingReadings(metrics, standings, rollout_id)],
    control: measured.control,
    past,
    tree_head: head,
  }
  // Only where it could pass: a phase is many windows long.
  if (!evaluateGate(basis).clean) return basis
  const whole = await wholePhase(world, readings, rollout, basis)
  return whole === null ? basis : { ...basis, whole }
}

/** The phase is counted as far back as there is a number for at a load like that of the window, with half of it to spare. */
const COUNTED = MOST_SAMPLES / 2

async function wholePhase(
  world: World,
  readings: Readings,
  rollout: RolloutRow,
  { gate, candidate, control, to, phase_at, tree_head }: EvidenceBasis,
): Promise<WholePhase | null> {
  const metrics = gate.checks.map(({ metric }) => metric).filter((metric) => metricOf(metric).form === 'rate')
  const busiest = [...candidate, ...control].reduce(
    (most, each) => Math.max(most, each.kind === 'rate' ? each.of : 0),
    1,
  )
  const from = Math.max(phase_at, to - gate.window_ms * Math.max(1, Math.floor(COUNTED / busiest)))
  if (metrics.length === 0 || from >= to - gate.window_ms) return null
  const { tenant } = rollout
  const measured = await readings(world, { tenant, rollout, metrics, from, to, head_size: tree_head.size })
  return { from, ...measured }
}

/** Of those who signed, who could still do so: whose key was not revoked since, and who was not disabled. */
export async function stillSigning(
  db: Db,
  rollout: Pick<RolloutRow, 'tenant' | 'rollout_id'>,
  { phase, phase_at, to, reviewed_by }: Pick<EvidenceBasis, 'phase' | 'phase_at' | 'to' | 'reviewed_by'>,
): Promise<string[]> {
  const reviews = await reviewsOf(db, rollout.tenant, rollout.rollout_id, to)
  const counting: string[] = []
  for (const { by, key_id } of signersOf(reviews, { phase, phase_at }, to)) {
    if (!reviewed_by.includes(by)) continue
    const { ended } = await partyOf(db, rollout.tenant, { by, key_id })
    if (!ended) counting.push(by)
  }
  return counting
}
