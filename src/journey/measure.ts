import type { Approval } from '../core/approval.js'
import { type GrantedLease, type Risk, riskNeedsInput, riskOf, wasApproved } from '../core/high-risk.js'
import { claimOf, type Job } from '../core/job.js'
import type { Json } from '../core/json.js'
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
import type { CompiledPolicy } from '../core/policy/compile.js'
import { Problem } from '../errors.js'
import {
  approvalsOfJobs,
  attempts,
  endedJobs,
  type GrantedRow,
  grantedLeases,
  jobsInDoubt,
  type LeaseShape,
  leaseShapes,
  openQuestions,
  questions,
  submitDecisions,
  type Window,
} from '../store/metrics.js'
import { loadTexts } from '../store/payloads.js'
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
const ONE_BY_ONE = 250
/** Payloads read together where a risk depends on what the job carries, which may be 2 MiB twice. */
const PAYLOADS = 16

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
    const judged = await judge(world, tenant, shapes)
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

/** A page: whole shapes first, and lease by lease only what is a risk, or may be one by what the job carries. */
async function judge(
  world: World,
  tenant: string,
  shapes: readonly LeaseShape[],
): Promise<{ unapproved: number; lost: number }> {
  const policies = await policiesOf(world, tenant, shapes)
  const found = { unapproved: 0, lost: 0 }
  const closer: string[] = []
  for (const { lease_ids, snapshot, job } of shapes) {
    const policy = policies.get(snapshot ?? '')
    // Work was given out that stands nowhere, or by no decision: nobody can say what it was, so nobody approved it.
    if (job === null || snapshot === null) found.unapproved += lease_ids.length
    else if (policy === undefined) found.lost += lease_ids.length
    else if (riskNeedsInput(policy, job.topic)) closer.push(...lease_ids)
    else if (riskOf(policy, claimOf(job, NO_PAYLOAD), 0).high) closer.push(...lease_ids)
  }
  for (let from = 0; from < closer.length; from += ONE_BY_ONE) {
    const rows = await grantedLeases(world.db, tenant, closer.slice(from, from + ONE_BY_ONE))
    const { high, lost } = await highAmong(world, tenant, rows, policies)
    found.lost += lost
    found.unapproved += await withoutYes(world, tenant, high)
  }
  return found
}

const NO_PAYLOAD = { input: null, context: null }

interface Judged {
  row: GrantedRow
  risk: Risk
}

/** Payloads are read only where a class of the topic derives something from them. */
async function highAmong(
  world: World,
  tenant: string,
  rows: readonly GrantedRow[],
  policies: ReadonlyMap<string, CompiledPolicy>,
): Promise<{ high: Judged[]; lost: number }> {
  const high: Judged[] = []
  let lost = 0
  for (let from = 0; from < rows.length; from += PAYLOADS) {
    const asked = rows.slice(from, from + PAYLOADS).flatMap((row) => {
      const policy = policies.get(row.decided?.snapshot ?? '')
      // Gone since its page was read; then it is not lost on us that something was there.
      if (row.job === null || policy === undefined) return []
      return [{ row, job: row.job, policy, derives: riskNeedsInput(policy, row.job.topic) }]
    })
    lost += Math.min(PAYLOADS, rows.length - from) - asked.length
    const ptrs = asked.flatMap(({ job, derives }) => (derives ? [job.input_ptr, job.context_ptr] : []))
    const texts = await loadTexts(world.db, tenant, ptrs)
    for (const { row, job, policy, derives } of asked) {
      const payload = derives ? payloadOf(job, texts) : NO_PAYLOAD
      if (payload === null) {
        lost++
        continue
      }
      const risk = riskOf(policy, claimOf(job, payload), row.granted_at)
      if (risk.high) high.push({ row, risk })
    }
  }
  return { high, lost }
}

/** Null where a text of it is gone: without it nobody can say what was derived. */
function payloadOf(
  { input_ptr, context_ptr }: Job,
  texts: ReadonlyMap<string, string>,
): { input: Json; context: Json } | null {
  const [input, context] = [input_ptr, context_ptr].map((ptr) => (ptr === null ? 'null' : texts.get(ptr)))
  return input === undefined || context === undefined
    ? null
    : { input: JSON.parse(input), context: JSON.parse(context) }
}

async function withoutYes(world: World, tenant: string, high: readonly Judged[]): Promise<number> {
  if (high.length === 0) return 0
  const approvals = await approvalsOfJobs(world.db, tenant, [...new Set(high.map(({ row }) => row.job_id))])
  const byJob = new Map<string, Approval[]>()
  for (const approval of approvals) byJob.set(approval.job_id, [...(byJob.get(approval.job_id) ?? []), approval])
  return high.filter(({ row, risk }) => !wasApproved(grantedOf(row), risk.view, byJob.get(row.job_id) ?? [])).length
}

function grantedOf({ job_id, granted_at, decided }: GrantedRow): GrantedLease {
  return { job_id, granted_at, decision: decided }
}

/** The snapshots of the page that can still be read and are what their digest says. */
async function policiesOf(
  world: World,
  tenant: string,
  shapes: readonly LeaseShape[],
): Promise<Map<string, CompiledPolicy>> {
  const found = new Map<string, CompiledPolicy>()
  for (const digest of new Set(shapes.map(({ snapshot }) => snapshot))) {
    if (digest === null) continue
    try {
      found.set(digest, await world.policies.compiled(tenant, digest))
    } catch (error) {
      if (!(error instanceof Problem)) throw error
    }
  }
  return found
}
