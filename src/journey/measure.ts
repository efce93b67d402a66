import {
  type Answer,
  known,
  METRICS,
  type Measured,
  type MetricKind,
  type MetricName,
  ofAnswers,
  ofAttempts,
  ofDecisions,
  ofEnds,
  ofPending,
  unknown,
} from '../core/metrics.js'
import {
  attempts,
  endedJobs,
  jobsInDoubt,
  type LeaseShape,
  leaseShapes,
  openQuestions,
  questions,
  submitDecisions,
  type Window,
} from '../store/metrics.js'
import { judgeShapes } from '../store/risks.js'
import type { World } from '../store/world.js'

/** Another node's clock may be ahead by this much before it counts as unready; what it wrote is not left out. */
const SKEW_MS = 500
/** Rows of a window up to which all of them are read. */
const ALL = 2000
/** Past that, so many from each of so many equal parts of it: a bad minute shows, however much came after it. */
const PARTS = 40
const OF_PART = 250
/** Open questions, and questions asked, that are looked at; they are put to people, so this is far beyond what any team answers. */
const QUESTIONS = 10_000
/** No question stays open longer than this before the window began, else it is not counted when it closes. */
const ASKED_BEFORE_MS = 31 * 86_400_000
/** Leases judged together, and in one measurement. More are not sampled: one unapproved action among them may not be missed. */
const LEASES = 500
const MOST_LEASES = 1_000_000

/**
 * Windowed numbers of a tenant, computed from its rows: the same on every node and after every restart. What several of them are
 * made of is read once. Records nothing. `unknown` says why there is no number. Throws DbError where the store does not answer.
 */
export async function measure(
  world: World,
  tenant: string,
  metrics: readonly MetricName[],
  windowMs: number,
): Promise<Measured[]> {
  const now = world.clock.now()
  const window = { from: now - windowMs, to: now + SKEW_MS }
  const sources = new Map<string, (metric: MetricName) => Answer>()
  const found: Measured[] = []
  for (const metric of metrics) {
    const { of } = METRICS[metric]
    const source = sources.get(of) ?? (await SOURCES[of](world, tenant, window, now))
    sources.set(of, source)
    found.push({ metric, ...source(metric) })
  }
  return found
}

/** Reads what a kind of numbers is made of. */
type Source = (world: World, tenant: string, window: Window, now: number) => Promise<(metric: MetricName) => Answer>

const SOURCES: Record<MetricKind['of'], Source> = {
  async ends({ db }, tenant, window) {
    const { rows, sampled } = await spread(window, (part, limit) => endedJobs(db, tenant, part, limit))
    const in_doubt = await jobsInDoubt(db, tenant, window)
    return (metric) => ofEnds(metric, { rows, sampled, in_doubt })
  },
  async attempts({ db }, tenant, window) {
    const { rows, sampled } = await spread(window, (part, limit) => attempts(db, tenant, part, limit))
    return (metric) => ofAttempts(metric, rows, sampled)
  },
  async decisions({ db }, tenant, window) {
    const { rows, sampled } = await spread(window, (part, limit) => submitDecisions(db, tenant, part, limit))
    const words = rows.filter((word) => word !== null)
    return (metric) => ofDecisions(metric, words, sampled)
  },
  async answers({ db }, tenant, { from, to }, now) {
    const rows = await questions(db, tenant, { from: from - ASKED_BEFORE_MS, to }, QUESTIONS)
    const open = await openQuestions(db, tenant, QUESTIONS)
    const sampled = rows.length === QUESTIONS || open.length === QUESTIONS
    return (metric) => ofAnswers(metric, rows, open, { from, to, now }, sampled)
  },
  async pending({ db }, tenant, _window, now) {
    const open = await openQuestions(db, tenant, QUESTIONS)
    return (metric) => ofPending(metric, open, now, open.length === QUESTIONS)
  },
  async risks(world, tenant, window) {
    const found = await unapproved(world, tenant, window)
    return () => found
  },
}

/** All rows of the window, or some of every part of it. One short statement after the other: commits go in between. */
async function spread<Row>(
  { from, to }: Window,
  read: (part: Window, limit: number) => Promise<Row[]>,
): Promise<{ rows: Row[]; sampled: boolean }> {
  const all = await read({ from, to }, ALL + 1)
  if (all.length <= ALL) return { rows: all, sampled: false }
  const rows: Row[] = []
  const edge = (part: number) => from + Math.round(((to - from) * part) / PARTS)
  for (let part = 0; part < PARTS; part++) rows.push(...(await read({ from: edge(part), to: edge(part + 1) }, OF_PART)))
  return { rows, sampled: true }
}

/** Leases of high-risk jobs that no approval bound. Every lease of the window is judged, or the number is unknown. */
async function unapproved(world: World, tenant: string, window: Window): Promise<Answer> {
  let [seen, count, lost] = [0, 0, 0]
  for (let after: string | null = null; ; ) {
    const shapes: LeaseShape[] = await leaseShapes(world.db, tenant, window, after, LEASES)
    const ids = shapes.flatMap(({ lease_ids }) => lease_ids)
    const judged = await judgeShapes(world, tenant, shapes)
    seen += ids.length
    count += judged.unapproved
    lost += judged.lost
    if (ids.length < LEASES) break
    if (seen >= MOST_LEASES)
      return unknown(`more than ${MOST_LEASES} leases were granted in the window; ask for a shorter one`)
    after = ids.reduce((last, id) => (id > last ? id : last))
  }
  // What is known to be wrong is wrong, whatever else is not known.
  if (count === 0 && lost > 0)
    return unknown(`the risk of ${lost} leases cannot be told: their policy or input is gone`)
  return seen === 0 ? unknown('no lease was granted in the window') : known(count, seen)
}
