import type { LeasedJob } from '../contract/workers.js'
import type { Approval } from '../core/approval.js'
import type { Fact } from '../core/audit.js'
import { dispatch as step, type Waiter } from '../core/dispatch.js'
import { type Decision, decide, limitKeys, type Standing, standingAt } from '../core/door.js'
import { jobFact } from '../core/facts.js'
import { NOBODY } from '../core/flow.js'
import type { ScopedGrant } from '../core/grant.js'
import { type Claim, claimOf, decisionIdOf, type Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { Granted } from '../core/leased.js'
import { type Counter, counted, FRESH } from '../core/limits.js'
import { ENFORCED_BY_WORKERS } from '../core/policy/constraints.js'
import { Problem } from '../errors.js'
import { getApproval } from '../store/approvals.js'
import { asTold, leasesForAll } from '../store/claim-answers.js'
import { decisionAbout } from '../store/decisions.js'
import { type DueJob, dueJobs, type Note, noteOf, passOver } from '../store/due.js'
import { activeForAll, gateMoved, type Presented } from '../store/keys.js'
import type { Conflict, Spend } from '../store/ledger/write.js'
import { holds, rateSpends } from '../store/limits.js'
import { loadTexts } from '../store/payloads.js'
import type { Active } from '../store/policies.js'
import type { Drawings } from '../store/rollouts.js'
import { loadCounters, loadGrants } from '../store/standing.js'
import type { World } from '../store/world.js'

/** One worker's open claim. */
export interface Claiming extends Waiter {
  tenant: string
  /** The key that asks: once it is revoked, the claim is given nothing more. */
  key: Presented
  topics: string[]
  capacity: number
  enforces: string[]
  /** Versions it serves: `agent:support-bot@2.0`. */
  serves: string[]
  /** Fires when the caller hangs up: from then on it is given nothing. */
  gone?: AbortSignal
  /** Looked for before. One that was not may be a repeat, whose answer was lost: it is given what it was given then. */
  known?: boolean
}

export interface Dispatched {
  /**
   * For each claim, in their order: the leases it is given, once they are durable, or what was wrong with this claim alone. None at
   * all where others were quicker. Null where nothing was found for it.
   */
  given: (Promise<LeasedJob[]> | null)[]
  /** When a job of these topics could be had that a full limit held back now, ms from now; null = only a hint or due time. */
  retry_in_ms: number | null
  /** The look ended before the work did: another may find more. */
  more: boolean
}

/** Rows looked at beyond what there is room for, doubled with every round. */
const LOOK_AHEAD = 4
/**
 * Jobs that claims need to have room for, and rows read at once: between two reads the node does something else, and others wait
 * for its answers. A larger read gains nothing.
 */
export const STEP = 128
/** Jobs decided in one look at most: a backlog behind one full limit must not turn a look into a scan. */
const LOOK_MAX = 1000
/** Payload text in one look, so in one answer: past it the claims get what they have. 300 jobs of 2 MiB once made an answer no string could hold. */
const ANSWER_BYTES = 16 * 1024 * 1024
/** Jobs decided together: enough to share the reads, few enough not to read payloads that no room is left for. */
const CHUNK = 32
/** How long it is believed what a job needs, where rules read the clock. */
const VIEW_MS = 10 * 60_000
/** A limit that another dispatcher filled first is looked at again after this. */
const FULL_RETRY_MS = 1000

/** A claim in a look. */
interface Seat {
  claiming: Claiming
  /** Leases it can still take. */
  room: number
  granting: Promise<Outcome>[]
  /** What it was given when it asked before. */
  earlier: LeasedJob[] | null
  fault: unknown
}

/** Of one plan: what it granted, or why nothing. */
type Outcome = Granted | Conflict | 'moved' | { error: unknown }

/** What one look has learnt: jobs asked about, counters as read and as spent by its own plans, and when a full limit may open. */
interface Look {
  tenant: string
  active: Active
  /** What a job needs and which limits bind it is believed if it was decided under this. */
  view: string
  enforces: readonly string[]
  serves: readonly string[]
  drawings: Drawings
  /** Oldest first. */
  seats: Seat[]
  /** Jobs being leased at this moment, by this look or those before it. */
  taken: Set<string>
  decided: string[]
  /** Limits that are or were found full: what they bind is passed over in the store, so that a backlog behind one hides nothing. */
  full: string[]
  /** Payload text of what is granted so far. */
  bytes: number
  counters: Record<string, Counter>
  retry_in_ms: number | null
  /** Something left the queue, or will be passed over from now on: a further look does not see the same. */
  moved: boolean
}

/**
 * The second door, for claims of one tenant that name the same topics and enforce the same. Due jobs pass through the same `decide`
 * under the snapshot that is active now; those that pass get a fenced lease in the same commit, before the worker hears of them.
 * Allowed an hour ago and denied now is denied. The oldest claim is filled before the next gets any: a worker that asks for 16 can
 * run 16, and one answer costs less than 16.
 * Resolves when all is decided, and the leases are on their way to the store: meanwhile `taken` names their jobs, and the next look
 * can begin. Throws Problem `no_policy`; `unauthenticated` is the fault of the claim whose key was revoked meanwhile.
 */
export async function dispatch(
  world: World,
  claims: readonly Claiming[],
  taken: Set<string> = new Set(),
): Promise<Dispatched> {
  const [{ tenant, topics, enforces, serves }] = claims as [Claiming]
  const { active, revoked } = await activeForAll(
    world,
    tenant,
    claims.map(({ key }) => key),
  )
  const seats = claims.map((claiming): Seat => {
    const isRevoked = revoked.has(claiming.key.key_id)
    const fault = isRevoked ? new Problem('unauthenticated', 'The key was revoked') : null
    return { claiming, room: isRevoked ? 0 : claiming.capacity, granting: [], earlier: null, fault }
  })
  const look: Look = {
    tenant,
    active,
    view: viewOf(active, world.clock.now()),
    enforces: ENFORCED_BY_WORKERS.filter((name) => enforces.includes(name)),
    serves,
    drawings: await world.rollouts.under(active),
    seats,
    taken,
    decided: [],
    full: await world.halts.full(active.gate, world.clock.now()),
    bytes: 0,
    counters: {},
    retry_in_ms: null,
    moved: false,
  }
  const fresh = claims.filter(({ known }) => !known)
  let repeats: ReturnType<typeof leasesForAll<Claiming>> | null = null
  let exhausted = false
  try {
    for (let ahead = LOOK_AHEAD; !exhausted && !isOver(look); ahead = Math.min(2 * ahead, STEP)) {
      const limit = Math.min(roomOf(look), STEP) + ahead
      // Beside the first read: most claims are no repeats.
      repeats ??= leasesForAll(world, tenant, fresh)
      const [due, earlier] = await Promise.all([
        dueJobs(world.db, tenant, {
          topics,
          now: world.clock.now(),
          limit,
          skip: [...taken, ...look.decided],
          full: look.full,
          view: look.view,
          enforces: look.enforces,
          serves,
          ordinary: look.drawings.servesOrdinary(serves),
        }),
        repeats,
      ])
      for (const seat of seats) answerRepeat(seat, earlier.get(seat.claiming))
      const before = look.decided.length
      await decideAll(world, look, due)
      exhausted = due.length < limit && look.decided.length === before + due.length
    }
  } catch (error) {
    // What was granted before is on its way, and its claims are answered with it.
    for (const seat of seats) if (seat.granting.length === 0) seat.fault ??= error
  }
  return {
    given: seats.map((seat) => {
      if (seat.granting.length > 0) return handOver(world, seat)
      if (seat.earlier !== null) return Promise.resolve(seat.earlier)
      return seat.fault === null ? null : Promise.reject(seat.fault)
    }),
    retry_in_ms: look.retry_in_ms,
    more: !exhausted && look.moved,
  }
}

function answerRepeat(seat: Seat, earlier: LeasedJob[] | undefined): void {
  seat.claiming.known = true
  if (earlier === undefined || seat.fault !== null) return
  seat.earlier = earlier
  seat.room = 0
}

const roomOf = ({ seats }: Look) => seats.reduce((sum, { room }) => sum + room, 0)

const isOver = (look: Look) => roomOf(look) === 0 || look.decided.length >= LOOK_MAX || look.bytes >= ANSWER_BYTES

/** Names what deciding depends on beside the job. */
function viewOf({ policy }: Active, now: number): string {
  return policy.readsClock ? `${policy.digest}@${Math.floor(now / VIEW_MS)}` : policy.digest
}

/** The oldest claim that still listens and has room. */
function nextSeat({ seats }: Look): Seat | null {
  for (const seat of seats) {
    if (seat.claiming.gone?.aborted) seat.room = 0
    if (seat.room > 0) return seat
  }
  return null
}

interface Plan {
  job: Job
  claim: Claim
  decision: Decision
  standing: Standing
}

/** Decides in order until there is no room. What must leave the queue (denied, parked) leaves it on the way. */
async function decideAll(world: World, look: Look, due: readonly DueJob[]): Promise<void> {
  for (let from = 0; from < due.length && !isOver(look); ) {
    // Deciding a chunk takes about 3 ms, and nothing in it need wait for the store.
    if (from > 0) await world.clock.turn()
    const chunk = chunkOf(due, from)
    from += chunk.length
    const { claims, grants, scoped, keys, agents, haltsOf } = await load(world, look, chunk)
    const passed: Note[] = []
    for (const [n, due] of chunk.entries()) {
      const { job, bytes } = due
      const seat = nextSeat(look)
      if (seat === null || look.bytes >= ANSWER_BYTES) break
      look.decided.push(job.job_id)
      const claim = claims[n] as Claim
      const counters = Object.fromEntries((keys[n] ?? []).map((key) => [key, { ...(look.counters[key] ?? FRESH) }]))
      const standing = standingAt('dispatch', world.clock.now(), agents(job.agent), job.job_id)
      standing.counters = counters
      Object.assign(standing, haltsOf(job))
      standing.grant = grants.get(job.approval_id ?? '') ?? null
      const held = scoped[n] ?? []
      if (held.length > 0) standing.grants = held
      const drawn = look.drawings.held(job)
      if (drawn !== null) standing.drawn = drawn
      const decision = decide(look.drawings.policyFor(drawn), claim, standing)
      if (decision.outcome === 'wait') {
        noteFull(look, decision)
        passed.push(...noteOf(due, look.view, decision))
        continue
      }
      if (decision.outcome === 'pass') {
        if (!isFor(look, decision)) {
          passed.push(...noteOf(due, look.view, decision))
          continue
        }
        seat.room--
        look.bytes += bytes
        take(look, decision, standing.now)
      }
      look.moved = true
      seat.granting.push(carryOut(world, seat.claiming, look, { job, claim, decision, standing }))
    }
    await passOver(world.db, look.tenant, passed)
    look.moved ||= passed.length > 0
  }
}

/** Whether who asks enforces what it must, and is of the version that it is for. */
function isFor({ enforces, serves, drawings }: Look, { enforcers, drawn }: Decision): boolean {
  if (enforcers.some((name) => !enforces.includes(name))) return false
  const version = drawn?.serves ?? null
  return version === null ? drawings.servesOrdinary(serves) : serves.includes(version)
}

/** What it takes of its limits is gone for those behind it, though nothing is committed yet. */
function take({ counters }: Look, { evaluation }: Decision, now: number): void {
  for (const { key, concurrent, rate, spent_at } of evaluation.limits) {
    let counter = counters[key] ?? FRESH
    if (rate !== undefined && spent_at === 'dispatch') counter = counted(counter, now, rate.period_ms)
    if (concurrent !== undefined) counter = { ...counter, held: counter.held + 1 }
    counters[key] = counter
  }
}

/** The next jobs, so few that their payloads can be read at once; one at least. */
function chunkOf(due: readonly DueJob[], from: number): DueJob[] {
  let bytes = 0
  const end = due.findIndex((job, n) => {
    if (n > from) bytes += job.bytes
    return n > from && (n - from === CHUNK || bytes > ANSWER_BYTES)
  })
  return due.slice(from, end === -1 ? due.length : end)
}

function noteFull(look: Look, { wait }: Decision): void {
  const retry = wait?.retry_after_ms ?? FULL_RETRY_MS
  look.retry_in_ms = Math.min(look.retry_in_ms ?? retry, retry)
  if (wait !== null && !look.full.includes(wait.limit)) look.full.push(wait.limit)
}

/** What deciding these jobs reads beside their rows, in at most four queries for all of them. */
async function load(world: World, { tenant, active, counters, drawings }: Look, due: readonly DueJob[]) {
  const missing = due.flatMap(({ job, input, context }) => [
    input === null ? job.input_ptr : null,
    context === null ? job.context_ptr : null,
  ])
  const texts = await loadTexts(world.db, tenant, missing)
  const value = (text: string | null, ptr: string | null) => JSON.parse(text ?? texts.get(ptr ?? '') ?? 'null') as Json
  const claims = due.map(({ job, input, context }) =>
    claimOf(job, { input: value(input, job.input_ptr), context: value(context, job.context_ptr) }),
  )
  const haltsOf = await world.halts.ofAll(
    active.gate,
    due.map(({ job }) => job),
  )
  const policyOf = (job: Job) => drawings.policyFor(drawings.held(job))
  const keys = claims.map((claim, n) =>
    limitKeys(policyOf((due[n] as DueJob).job), claim, world.clock.now(), haltsOf((due[n] as DueJob).job)),
  )
  const unread = [...new Set(keys.flat())].filter((key) => counters[key] === undefined)
  Object.assign(counters, await loadCounters(world.db, tenant, unread))
  const grants = await loadGrants(
    world.db,
    tenant,
    due.map(({ job }) => job.approval_id),
  )
  const agents = await world.agents.ofAll(
    active.gate,
    due.map(({ job }) => job.agent),
  )
  const now = world.clock.now()
  const held = due.map(({ job }, n) =>
    job.granted_by === null ? [] : world.grants.held(active.gate, job, claims[n] as Claim, now),
  )
  const scoped = held.some((each) => each instanceof Promise) ? await Promise.all(held) : (held as ScopedGrant[][])
  return { claims, grants, scoped, keys, agents, haltsOf }
}

/** Commits one plan. Never throws: others of its claim may have been granted. */
async function carryOut(world: World, claiming: Claiming, look: Look, plan: Plan): Promise<Outcome> {
  const { job_id } = plan.job
  look.taken.add(job_id)
  try {
    return await commitPlan(world, claiming, look.active, plan)
  } catch (error) {
    return { error }
  } finally {
    look.taken.delete(job_id)
  }
}

async function commitPlan(
  world: World,
  claiming: Claiming,
  active: Active,
  { job, claim, decision, standing }: Plan,
): Promise<Outcome> {
  const now = standing.now
  const lease_id = world.ids.id('lease', now)
  const made = {
    lease_id,
    decision_id: decisionIdOf(lease_id),
    approval_id: world.ids.id('apr', now),
    people: decision.outcome === 'park' ? await world.people.of(active.gate, [job.agent, job.requested_by]) : NOBODY,
  }
  const result = step(job, claim, decision, standing, made, claiming)
  const overtaken = result.approval === null ? null : await overtakenApproval(world, job)
  const receipt = await world.ledger.commit({
    tenant: job.tenant,
    gate: active.gate,
    alone: [job.job_id],
    rows: {
      updateJobs: [result.job],
      decisions: [decisionAbout(job, claim, decision, standing, made.decision_id)],
      insertLeases: result.lease === null ? [] : [result.lease],
      insertApprovals: result.approval === null ? [] : [result.approval],
      updateApprovals: overtaken === null ? [] : [{ ...overtaken, version: overtaken.version + 1, status: 'void' }],
    },
    spends: result.lease === null ? [] : spends(job.tenant, decision, now),
    facts: overtaken === null ? result.facts : [voided(job, overtaken, decision.snapshot, now), ...result.facts],
  })
  if (!receipt.ok) return receipt.why
  if (result.lease === null) return 'moved'
  world.granted.add(result.lease, result.job)
  return { lease: result.lease, job: result.job, input: claim.input, context: claim.context }
}

/** All that one claim was given, once it is durable. Throws what kept it from getting anything. */
async function handOver(world: World, { claiming, granting }: Seat): Promise<LeasedJob[]> {
  const outcomes = await Promise.all(granting)
  const granted = outcomes.filter((each): each is Granted => typeof each === 'object' && 'lease' in each)
  // Throws for a key that was revoked: what it was granted before is lost with it, as any lease that nobody beats.
  if (outcomes.includes('gate')) await gateMoved(world, claiming.key)
  const failed = outcomes.find((each): each is { error: unknown } => typeof each === 'object' && 'error' in each)
  if (granted.length === 0 && failed !== undefined) throw failed.error
  return asTold(world, claiming.tenant, granted)
}

function spends(tenant: string, { evaluation: { limits } }: Decision, now: number): Spend[] {
  return [...holds(tenant, limits, now), ...rateSpends(tenant, limits, 'dispatch', now)]
}

/** The answered approval that no longer binds, because rules, constraints or specification changed, or its time is over. */
async function overtakenApproval(world: World, job: Job): Promise<Approval | null> {
  const approval = job.approval_id === null ? null : await getApproval(world.db, job.tenant, job.approval_id)
  return approval?.status === 'approved' ? approval : null
}

function voided(job: Job, approval: Approval, snapshot: string, now: number): Fact {
  return jobFact('approval.voided', job, now, 'system:dispatcher', { approval_id: approval.approval_id, snapshot })
}
