import type { Reading } from '../core/gates/check.js'
import { GATE_METRIC_NAMES, type GateMetricName } from '../core/gates/metric.js'
import { isStanding } from '../core/gates/standing.js'
import type { Sample, TriggerName } from '../core/gates/trigger.js'
import type { JobVariant } from '../core/job.js'
import {
  costOf,
  type Found,
  nobodyKnows,
  ofQueue,
  queueAt,
  RANKS,
  rankOf,
  readingOf,
  runsSucceeded,
  SHARES,
  shareOf,
} from '../core/rollout/reading.js'
import type { SampleKind } from '../core/rollout/sample.js'
import type { Rollout } from '../core/rollout/step.js'
import { drillStandings } from '../store/drills.js'
import type { ReadingsAsked } from '../store/gate-basis.js'
import { replayStanding } from '../store/replays.js'
import { type Judgement, judgeGranted, judgeSince } from '../store/risks.js'
import { reviewStanding } from '../store/rollout-reviews.js'
import {
  MOST_SAMPLES,
  type SampleScope,
  sampleGroups,
  sampleRefs,
  sampleRuns,
  samplesBackTo,
} from '../store/samples.js'
import type { World } from '../store/world.js'

/** A window of a rollout's work, as far as the log knew of it at `head`; null: all there is. */
interface Window extends Pick<SampleScope, 'tenant' | 'rollout_id' | 'from' | 'to' | 'head'> {
  world: World
}

/** No question stays open longer than this. */
const ASKED_BEFORE_MS = 31 * 86_400_000
/** Questions are put to people, so this is far beyond what any team answers in a month. */
const QUESTIONS = 100_000
/** A part of the window that no attempt which does well takes. */
const OPEN_SHARE = 10
/** An attempt that never ends is in the gates so much longer than the window in which it began. */
const OPEN_BACK_MS = 3_600_000

/**
 * The numbers of a gate for candidate and control, as of a signed head: of the samples whose entries that head covers, and so the same bytes
 * whenever and wherever they are worked out again. Records nothing. Metrics that drills, replays and reviews say are none of work and are
 * left out. Throws DbError where the store does not answer.
 */
export async function readingsFor(
  world: World,
  { tenant, rollout, metrics, from, to, head_size }: ReadingsAsked,
): Promise<{ candidate: Reading[]; control: Reading[] }> {
  const wanted = new Set(metrics)
  // In one order, whatever order was asked in.
  const names = GATE_METRIC_NAMES.filter((metric) => wanted.has(metric) && !isStanding(metric))
  const window = { world, tenant, rollout_id: rollout.rollout_id, from, to, head: head_size }
  const of = async (variant: JobVariant): Promise<Reading[]> => {
    const source = new Work(window, variant)
    const readings: Reading[] = []
    for (const metric of names)
      readings.push(readingOf(metric, source.query(metric), window, await source.found(metric)))
    return readings
  }
  return { candidate: await of('candidate'), control: await of('control') }
}

const QUEUE: readonly GateMetricName[] = [
  'approval_queue_median_sec',
  'approval_queue_p95_sec',
  'approval_backlog',
  'approval_backlog_oldest_sec',
]
const SAYS: Partial<Record<GateMetricName, string>> = {
  workflow_success_rate: 'outcome by run: of those of which any counts, all that count succeeded',
  cost_per_completed_run: 'outcome by run: cost of all, by runs of which all that count succeeded',
  approval_queue_median_sec: 'answered, and asked and not answered: median of seconds',
  approval_queue_p95_sec: 'answered, and asked and not answered: 95th percentile of seconds',
  approval_backlog: 'asked and not answered: how many',
  approval_backlog_oldest_sec: 'asked and not answered: seconds of the oldest',
  unapproved_high_risk_actions: 'leased: each judged from rows, high-risk and bound by no approval',
  policy_bypass_incidents: 'leased: each decided again from rows, none or no pass',
  critical_incidents:
    'leased: as unapproved_high_risk_actions and policy_bypass_incidents; and what weekly reviews report',
}

/** What the work of one variant in one window says; each kind of sample is read once. */
class Work {
  readonly #window: Window
  readonly #variant: JobVariant
  readonly #read = new Map<string, Promise<unknown>>()

  constructor(window: Window, variant: JobVariant) {
    this.#window = window
    this.#variant = variant
  }

  /** How it is asked, for whoever asks again. */
  query(metric: GateMetricName): string {
    const { rollout_id, from, to, head } = this.#window
    const { kind, says } = SHARES[metric] ??
      RANKS[metric] ?? { kind: null, says: SAYS[metric] ?? 'nothing here says it' }
    const what = kind === null ? says : `${kind}: ${says}`
    return `samples of ${rollout_id}, ${this.#variant}, at >= ${from} and < ${to}, in the first ${head} entries of the log; ${what}`
  }

  async found(metric: GateMetricName): Promise<Found> {
    const share = SHARES[metric]
    const rank = RANKS[metric]
    if (share !== undefined || rank !== undefined) {
      const { kind } = (share ?? rank) as { kind: SampleKind }
      const groups = await this.#once(kind, () => sampleGroups(this.#db, this.#scope(kind)))
      if (groups === null) return TOO_MANY
      if (metric === 'error_rate' || metric === 'success_rate_pct')
        return this.#withOpen(shareOf(SHARES[metric] as NonNullable<typeof share>, groups))
      return share !== undefined ? shareOf(share, groups) : rankOf(rank as NonNullable<typeof rank>, groups)
    }
    if (metric === 'workflow_success_rate' || metric === 'cost_per_completed_run') {
      const runs = await this.#once('runs', () => sampleRuns(this.#db, this.#scope('outcome')))
      if (runs === null) return TOO_MANY
      return metric === 'workflow_success_rate' ? runsSucceeded(runs) : costOf(runs)
    }
    return QUEUE.includes(metric) ? this.#queue(metric) : this.#incidents(metric)
  }

  async #queue(metric: GateMetricName): Promise<Found> {
    const { from, to } = this.#window
    const queue = await this.#once('queue', async () => {
      const since = { from: to - ASKED_BEFORE_MS }
      const asked = await sampleRefs(this.#db, { ...this.#scope('asked'), ...since }, QUESTIONS)
      const answered = await sampleRefs(this.#db, { ...this.#scope('answered'), ...since }, QUESTIONS)
      return asked === null || answered === null ? null : queueAt(asked, answered, { from, to })
    })
    return queue === null ? nobodyKnows(`more than ${QUESTIONS} questions were asked`) : ofQueue(metric, queue, to)
  }

  /** What is known to be wrong is wrong, whatever else is not known. */
  async #incidents(metric: GateMetricName): Promise<Found> {
    const { world, tenant, rollout_id, to } = this.#window
    const judged = await this.#once('judged', () => this.#judged())
    const { seen, lost, complete } = judged
    let value = 0
    if (metric !== 'policy_bypass_incidents') value += judged.unapproved
    if (metric !== 'unapproved_high_risk_actions') value += judged.bypasses
    if (metric === 'critical_incidents') {
      const weeks = await this.#once('weeks', () => reviewStanding(world.db, tenant, rollout_id, to))
      value += weeks?.critical_incidents ?? 0
      if (value === 0 && (weeks === null || weeks.valid_until <= to)) return nobodyKnows('no week was reviewed lately')
    }
    if (value > 0) return { kind: 'amount', value, samples: Math.max(seen, 1) }
    if (!complete) return nobodyKnows(`more than ${MOST_SAMPLES} leases were granted; ask for a shorter window`)
    if (lost > 0) return nobodyKnows(`of ${lost} leases nobody can say: lease, policy or input is gone`)
    return { kind: 'amount', value, samples: seen }
  }

  /** None is left out: one bypass among them may not be missed. */
  async #judged(): Promise<Judgement & { complete: boolean }> {
    const { world, head } = this.#window
    const scope = this.#scope('leased')
    if (head === null) return { ...(await judgeSince(world, scope)), complete: true }
    return judgeGranted(world, scope, MOST_SAMPLES)
  }

  /** What holds on to its work for ever is in no number of what ended: attempts that are open for long are said beside it. */
  async #withOpen(found: Found): Promise<Found> {
    const { from, to, head } = this.#window
    // Triggers act on what ended, and a stable version that holds on to its work excuses nothing.
    if (head === null || this.#variant === 'control' || found.kind !== 'rate') return found
    const open = await this.#once('open', async () => {
      const since = { from: from - OPEN_BACK_MS }
      const long = { ...since, to: to - Math.floor((to - from) / OPEN_SHARE) }
      const leased = await sampleRefs(this.#db, { ...this.#scope('leased'), ...long }, MOST_SAMPLES)
      if (leased === null) return null
      if (leased.length === 0) return 0
      const until = { ...since, to: Number.MAX_SAFE_INTEGER }
      const ended = await sampleRefs(this.#db, { ...this.#scope('attempt'), ...until }, MOST_SAMPLES)
      if (ended === null) return null
      const over = new Set(ended.map(({ ref }) => ref))
      return leased.filter(({ ref }) => !over.has(ref)).length
    })
    if (open === null) return TOO_MANY
    return open === 0 ? found : { ...found, open }
  }

  get #db() {
    return this.#window.world.db
  }

  #scope(kind: SampleKind): SampleScope {
    const { tenant, rollout_id, from, to, head } = this.#window
    return { tenant, rollout_id, kind, variant: this.#variant, from, to, head }
  }

  #once<Read>(name: string, read: () => Promise<Read>): Promise<Read> {
    const before = this.#read.get(name)
    if (before !== undefined) return before as Promise<Read>
    const reading = read()
    this.#read.set(name, reading)
    return reading
  }
}

const TOO_MANY = nobodyKnows(`more than ${MOST_SAMPLES} samples are in the window; ask for a shorter one`)

/** What the triggers of the matrix look back over. */
const LOOK_BACK_MS = 600_000
/** Another node's clock may be ahead by this much; what it wrote is not left out. */
const SKEW_MS = 500

/** What every trigger sees now, of everything that is committed, signed or not. A trigger that cannot see has the value null. */
export async function triggerSamples(
  world: World,
  rollout: Rollout,
  now: number,
): Promise<Record<TriggerName, Sample>> {
  const { tenant, rollout_id, document } = rollout
  const window = { world, tenant, rollout_id, from: now - LOOK_BACK_MS, to: now + SKEW_MS, head: null }
  const works = { candidate: new Work(window, 'candidate'), control: new Work(window, 'control') }
  const { phase_at } = rollout
  const compared = async (metric: Compared): Promise<Sample> => {
    const own = await latest(window, works, 'candidate', metric, phase_at ?? now)
    const base = await latest(window, works, 'control', metric, phase_at ?? now)
    return { at: now, ...own, baseline: base.value, baseline_samples: base.samples }
  }
  const alone = async (metric: GateMetricName) => ({ at: now, ...figures(await works.candidate.found(metric)) })
  const replayed = async (name: 'critical_bypasses' | 'unsafe_duplicates'): Promise<Sample> => {
    const replay = await replayStanding(world.db, tenant, { rollout_id, candidate: document.subject.candidate }, now)
    return { at: now, value: replay !== null && now < replay.valid_until ? replay[name] : null }
  }
  const drilled = async (): Promise<Sample> => {
    const { rollback } = await drillStandings(world.db, tenant, now)
    // A rollback that failed when it was last tried is none from then on.
    return { at: now, value: rollback?.passed === true ? rollback.valid_until : null }
  }
  /** What breaks for one trigger blinds that one alone. */
  const seen = (look: Promise<Sample>) => look.catch((fault: unknown): Sample => ({ at: now, value: null, fault }))
  return {
    error_rate: await seen(compared('error_rate')),
    p95_latency: await seen(compared('p95_latency_ms')),
    approval_backlog: await seen(alone('approval_backlog_oldest_sec')),
    policy_bypass: await seen(alone('policy_bypass_incidents')),
    unapproved_high_risk: await seen(alone('unapproved_high_risk_actions')),
    quarantine: await seen(compared('quarantine_ratio')),
    replay_bypass: await seen(replayed('critical_bypasses')),
    replay_duplicate: await seen(replayed('unsafe_duplicates')),
    drill_expired: await seen(drilled()),
  }
}

type Compared = 'error_rate' | 'p95_latency_ms' | 'quarantine_ratio'
const HAVING = { error_rate: '', p95_latency_ms: 'ms', quarantine_ratio: 'verdict' } as const
/** Of ratios and percentiles; fewer say nothing (core/gates/trigger.ts). */
const ENOUGH = 20
/** A candidate that does so little is looked at as far back. */
const FAR_BACK_MS = 86_400_000

/** The last ten minutes; where they hold too few samples the newest of the phase that are enough. */
async function latest(
  window: Window,
  works: Record<JobVariant, Work>,
  variant: JobVariant,
  metric: Compared,
  phase_at: number,
): Promise<{ value: number | null; samples: number }> {
  const lately = figures(await works[variant].found(metric))
  if (lately.samples >= ENOUGH) return lately
  const { kind } = (SHARES[metric] ?? RANKS[metric]) as { kind: SampleKind }
  const { world, ...scope } = window
  const far = { ...scope, kind, variant, from: Math.max(phase_at, window.to - FAR_BACK_MS) }
  const from = await samplesBackTo(world.db, far, ENOUGH, HAVING[metric])
  return from === null ? lately : figures(await new Work({ ...window, from }, variant).found(metric))
}

function figures(found: Found): { value: number | null; samples: number } {
  if (found.kind === 'unknown') return { value: null, samples: 0 }
  if (found.kind === 'rate') return { value: found.of === 0 ? null : found.hits / found.of, samples: found.of }
  return { value: found.value, samples: found.samples }
}
