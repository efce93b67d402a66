import type { EffectAnswer, Effect as EffectRequest } from '../contract/workers.js'
import type { Caller } from '../core/access.js'
import { canonical, saltedHashOfText } from '../core/canonical.js'
import { decide, standingAt } from '../core/door.js'
import { jobFact } from '../core/facts.js'
import { claimOf, type Job, type Moved, move, touch } from '../core/job.js'
import type { Json } from '../core/json.js'
import { EFFECT_FLOOR_MS, type Effect, isLost, type Lease } from '../core/lease.js'
import { type Constraints, tightened } from '../core/policy/constraints.js'
import type { AgentStanding } from '../core/principal.js'
import { type Compensation, type Undoing, undoingFaults } from '../core/rollout/compensation.js'
import { Problem } from '../errors.js'
import { getCompensation } from '../store/compensations.js'
import { decisionAbout } from '../store/decisions.js'
import { getJob, loadPayload } from '../store/jobs.js'
import { activeFor, gateMoved } from '../store/keys.js'
import { effectsOfJob, getLease } from '../store/leases.js'
import { getPayload, type PayloadRow } from '../store/payloads.js'
import type { Active } from '../store/policies.js'
import { outputRules } from '../store/results.js'
import { loadGrants } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6
const OF_ATTEMPT = /^attempt:\d+$/
/** Rows that every step of the job reads, 1 KB each here: what one attempt does in ten thousand steps is work for several jobs. */
const MOST_EFFECTS = 1000

/**
 * `begin` records that an outside action is about to happen, under the lease and the gate row; `commit` records that it did.
 * Found committed, the recorded result is the answer and nothing is done again.
 * With either comes how it is undone, kept in the same commit where that may ever be asked for.
 * Throws Problem `lease_lost`, `effect_refused`, `invalid`.
 */
export async function effect(world: World, caller: Caller, request: EffectRequest): Promise<EffectAnswer> {
  if (request.compensation !== undefined) assertUndoing(request.compensation as Undoing)
  for (let tries = 0; tries < TRIES; tries++) {
    const lease = await getLease(world.db, caller.tenant, request.lease)
    if (lease === null || lease.principal !== caller.principal) throw new Problem('lease_lost')
    const job = await getJob(world.db, caller.tenant, lease.job_id)
    if (job === null) throw new Problem('lease_lost')
    const effects = await effectsOfJob(world.db, job.tenant, job.job_id)
    const found = effects.find((e) => e.effect_key === request.key) ?? null
    const answer =
      request.phase === 'begin'
        ? await begin(world, caller, lease, job, effects.length, found, request)
        : await commit(world, caller, lease, job, effects, found, request)
    if (answer !== null) return answer
  }
  throw new Problem('overloaded', 'The job changed faster than this could be recorded', { retry_after_ms: 200 })
}

async function begin(
  world: World,
  caller: Caller,
  lease: Lease,
  job: Job,
  known: number,
  found: Effect | null,
  request: EffectRequest,
): Promise<EffectAnswer | null> {
  const now = world.clock.now()
  // The name under which an attempt itself is put before a person.
  if (OF_ATTEMPT.test(request.key))
    throw new Problem('invalid', undefined, {
      faults: [{ path: '/key', message: 'attempt:N names the attempt itself' }],
    })
  // Before what is recorded is answered: others may have recorded it since this lease ended.
  if (!isLive(lease, job) || isLost(lease, now)) throw new Problem('lease_lost')
  if (found?.status === 'committed') return recorded(world, lease, job, found, now)
  if (found === null && known >= MOST_EFFECTS)
    throw new Problem('effect_refused', `A job records at most ${MOST_EFFECTS} effects`, { limit: MOST_EFFECTS })
  if (job.cancel_requested) throw new Problem('effect_refused', 'The job is to be cancelled')
  if (lease.hard_end - now < EFFECT_FLOOR_MS)
    throw new Problem('effect_refused', `Less than ${EFFECT_FLOOR_MS} ms are left of this attempt`)
  const active = await activeFor(world, caller)
  const { gate } = active
  const agent = await world.agents.of(gate, job.agent)
  // Another snapshot than the one the lease was granted under, an agent whose terms may have changed since, a stop, a grant that may be
  // revoked, a rollout that took it back, or answers that count no more: what was allowed then may be denied now. An open breaker ends no attempt: it is about the
  // next ones.
  const { stops } = await world.halts.of(gate, job)
  const drawings = await world.rollouts.under(active)
  const drawn = drawings.running(job)
  const { digest } = drawings.policyFor(drawn)
  const differs =
    digest !== job.snapshot ||
    agent !== null ||
    stops !== undefined ||
    job.granted_by !== null ||
    drawn?.variant === 'withdrawn'
  const asks = differs || (await isUnanswered(world, job))
  if (asks && !(await stillAllowed(world, caller, active, lease, job, agent, now))) return null
  // Begun by this very lease: the first answer was lost, or the handler asks twice; it may go on either way.
  // Nothing is written, yet the gate is asked in the store: this node may not have heard of an activation elsewhere.
  if (found?.status === 'begun' && found.lease_id === lease.lease_id) {
    const asked = await world.ledger.commit({ tenant: job.tenant, gate, alone: [], rows: {}, facts: [] })
    if (asked.ok) return begun(world, lease, job, request.key, now)
    await gateMoved(world, caller)
    return null
  }
  const moved = touch(job, now)
  const row: Effect = {
    tenant: job.tenant,
    job_id: job.job_id,
    effect_key: request.key,
    version: (found?.version ?? 0) + 1,
    status: 'begun',
    lease_id: lease.lease_id,
    attempt: lease.attempt,
    begun_at: now,
    hard_end: lease.hard_end,
    ended_at: null,
    result_ptr: null,
    verdict: null,
    settled_by: null,
    late: false,
  }
  const undoing = await undoingOf(world, caller, job, request, now)
  const receipt = await world.ledger.commit({
    tenant: job.tenant,
    gate,
    alone: [job.job_id, lease.lease_id],
    rows: { updateJobs: [moved.job], effects: [row], ...undoing.rows },
    facts: [
      jobFact('effect.begun', job, now, caller.principal, {
        effect_key: request.key,
        lease_id: lease.lease_id,
        attempt: lease.attempt,
        hard_end: lease.hard_end,
        ...undoing.fields,
      }),
    ],
  })
  if (receipt.ok) return begun(world, lease, job, request.key, now)
  if (receipt.why === 'gate') await gateMoved(world, caller)
  return null
}

/** That its time is over ends no attempt; that a key was revoked which answered does. */
async function isUnanswered(world: World, { tenant, approval_id }: Job): Promise<boolean> {
  return approval_id !== null && !(await loadGrants(world.db, tenant, [approval_id])).has(approval_id)
}

const isLive = (lease: Lease, job: Job) => lease.ended_at === null && job.lease_id === lease.lease_id

/**
 * Asks the door again for a job that runs. A no stops it: the cancel is recorded with the decision, its heartbeat answers
 * `cancel`, and no effect begins. A yes that binds it to more than the lease was told stops this attempt only: the next one
 * is told, and goes to a worker that enforces it. False: the job or the gate changed meanwhile. Throws Problem `effect_refused`.
 */
async function stillAllowed(
  world: World,
  caller: Caller,
  active: Active,
  lease: Lease,
  job: Job,
  agent: AgentStanding | null,
  now: number,
): Promise<boolean> {
  const claim = claimOf(job, await loadPayload(world.db, job))
  const grants = await loadGrants(world.db, job.tenant, [job.approval_id])
  const standing = standingAt('dispatch', now, agent, job.job_id)
  standing.grant = grants.get(job.approval_id ?? '') ?? null
  const held = await world.grants.held(active.gate, job, claim, now)
  if (held.length > 0) standing.grants = held
  const { stops } = await world.halts.of(active.gate, job)
  if (stops !== undefined) standing.stops = stops
  const drawings = await world.rollouts.under(active)
  const drawn = drawings.running(job)
  if (drawn !== null) standing.drawn = drawn
  const decision = decide(drawings.policyFor(drawn), claim, standing)
  if (decision.outcome === 'pass') {
    const untold = tightened(job.constraints as Constraints, decision.evaluation.constraints)
    if (untold.length === 0) return true
    const refused = { kind: 'lease.refused', reason: `not told: ${untold.join(', ')}` } as const
    world.refusals.add({ ...refused, ...namesOf(lease, job), actor: caller.principal }, now)
    throw new Problem('effect_refused', `Policy now binds this to more than the lease was told: ${untold.join(', ')}`, {
      rules: decision.rules,
    })
  }
  const decision_id = world.ids.id('dec', now)
  const moved = touch(job, now, { cancel_requested: true })
  const receipt = await world.ledger.commit({
    tenant: job.tenant,
    gate: active.gate,
    alone: [job.job_id],
    rows: { updateJobs: [moved.job], decisions: [decisionAbout(job, claim, decision, standing, decision_id)] },
    facts: [
      jobFact('job.cancel_requested', moved.job, now, 'system:door', {
        ...moved.changed,
        refused_by: decision_id,
        under: decision.snapshot,
        reason: decision.reason,
      }),
    ],
  })
  if (receipt.ok)
    throw new Problem('effect_refused', `Policy no longer allows this: ${decision.reason}`, { rules: decision.rules })
  if (receipt.why === 'gate') await gateMoved(world, caller)
  return false
}

async function commit(
  world: World,
  caller: Caller,
  lease: Lease,
  job: Job,
  effects: readonly Effect[],
  found: Effect | null,
  request: EffectRequest,
): Promise<EffectAnswer | null> {
  const now = world.clock.now()
  if (found === null) throw new Problem('effect_refused', 'This effect was never begun')
  const live = isLive(lease, job)
  const ours = found.lease_id === lease.lease_id
  if (!ours || (found.status === 'committed' && found.settled_by !== caller.principal && !live)) {
    // Somebody judged that it had not happened, another attempt began it, and now the first one says it did: perhaps twice.
    // Or a person said what came of it. Evidence all the same, but what others recorded is not this lease's to read.
    await recordLate(world, caller, lease, job, request.key, now)
    throw new Problem('lease_lost')
  }
  if (found.status === 'committed') return recorded(world, lease, job, found, now)
  const raw = (request.result ?? null) as Json
  const kept = await world.screener.keep(job, 'effect', raw, await outputRules(world, job), now)
  const row: Effect = {
    ...found,
    version: found.version + 1,
    status: 'committed',
    ended_at: now,
    result_ptr: kept.payload.ptr,
    verdict: kept.verdict,
    settled_by: caller.principal,
    late: !live,
  }
  const undoing = await undoingOf(world, caller, job, request, now)
  const fields = {
    effect_key: request.key,
    lease_id: lease.lease_id,
    attempt: lease.attempt,
    verdict: kept.verdict,
    result_hash: kept.result_hash,
    ...undoing.fields,
  }
  const facts = [jobFact(live ? 'effect.committed' : 'effect.late', job, now, caller.principal, fields)]
  // From a stale lease it moves nothing by itself, but it is evidence: with the last doubt gone the job may go on.
  const settled =
    !live && job.status === 'ambiguous' && effects.every((e) => e.effect_key === request.key || e.status !== 'begun')
  const moved = settled ? goOn(job, now) : touch(job, now)
  if (settled)
    facts.push(
      jobFact(moved.job.status === 'cancelled' ? 'job.cancelled' : 'job.requeued', moved.job, now, 'system:evidence', {
        ...moved.changed,
        effect_key: request.key,
      }),
    )
  const receipt = await world.ledger.commit({
    tenant: job.tenant,
    gate: null,
    alone: [job.job_id, lease.lease_id],
    rows: {
      updateJobs: [moved.job],
      effects: [row],
      payloads: [kept.payload, ...(undoing.rows.payloads ?? [])],
      compensations: undoing.rows.compensations ?? [],
    },
    facts,
  })
  if (!receipt.ok) return null
  if (settled) world.bus.hint(job.tenant, job.topic)
  return recorded(world, lease, job, row, now)
}

function assertUndoing(undoing: Undoing): void {
  const faults = undoingFaults(undoing, JSON.stringify(undoing))
  if (faults.length > 0) throw new Problem('invalid', undefined, { faults })
}

/** What is written of the effect's compensation: nothing outside rollouts, where nothing is ever taken back. */
async function undoingOf(
  world: World,
  { principal }: Caller,
  { tenant, job_id, rollout_id, variant, run_id, agent }: Job,
  { key: effect_key, compensation, phase }: EffectRequest,
  at: number,
): Promise<{
  rows: { compensations?: Compensation[]; payloads?: PayloadRow[] }
  fields: Record<string, string>
}> {
  if (rollout_id === null || variant !== 'candidate') return { rows: {}, fields: {} }
  const known = await getCompensation(world.db, tenant, job_id, effect_key)
  // What was asked for since stays as it was asked for; what a person called void happened after all.
  const isOpen = known === null || known.status === 'registered' || known.status === 'void'
  if (!isOpen || (known === null && compensation === undefined)) return { rows: {}, fields: {} }
  // Begun again it is a later effect than what was done in between; a begin that is repeated writes nothing.
  const placed = { status: 'registered' as const, reason: null, next_at: null, ended_at: null, at, ordinal: 0 }
  if (compensation === undefined) {
    if (known === null || phase === 'begin') return { rows: {}, fields: {} }
    return { rows: { compensations: [{ ...known, ...placed, version: known.version + 1 }] }, fields: {} }
  }
  const body = canonical(compensation as unknown as Json)
  const salt = Buffer.from(world.ids.bytes(16)).toString('hex')
  const ptr = world.ids.id('ptr', at)
  const { topic } = compensation
  const row: Compensation = {
    ...{ tenant, job_id, effect_key, rollout_id, run_id, agent },
    ...{
      tries: 0,
      raised_by: null,
      barred: [],
      comp_job_id: null,
      decision_id: null,
      asked_at: null,
      settled_by: null,
    },
    ...known,
    ...placed,
    // Whoever says what is to be done does not say yes to it as well.
    barred: [...new Set([...(known?.barred ?? []), principal])],
    ...{ version: (known?.version ?? 0) + 1, topic, ptr },
  }
  const payload: PayloadRow = { tenant, ptr, kind: 'effect', job_id, body, salt, created_at: at, expires_at: null }
  const fields = { compensation_topic: topic, compensation_hash: saltedHashOfText(salt, body) }
  return { rows: { compensations: [row], payloads: [payload] }, fields }
}

/** At once, because a crash must not lose it; a repeat within seconds only counts, or a worker could fill the log with one effect. */
async function recordLate(
  world: World,
  caller: Caller,
  lease: Lease,
  job: Job,
  effect_key: string,
  now: number,
): Promise<void> {
  const late = { kind: 'effect.late', actor: caller.principal, effect_key, attempt: lease.attempt } as const
  const fact = jobFact('effect.late', job, now, caller.principal, { ...late, lease_id: lease.lease_id })
  const write = () => world.ledger.record(job.tenant, [fact])
  await world.refusals.onRecord({ ...late, ...namesOf(lease, job) }, now, write)
}

const namesOf = ({ lease_id }: Lease, { tenant, job_id }: Job) => ({ tenant, lease_id, job_id })

/** The doubt is gone: the rest is run, with the committed effects kept, unless somebody had asked to cancel. */
function goOn(job: Job, now: number): Moved {
  if (job.cancel_requested) return move(job, 'settle_cancelled', now, { status_reason: 'cancelled' })
  const max_attempts = Math.max(job.max_attempts, job.attempt - job.budget_from + 1)
  return move(job, 'requeue', now, { due_at: now, queue_deadline: now + job.queue_timeout_ms, max_attempts })
}

function begun(world: World, lease: Lease, job: Job, key: string, now: number): EffectAnswer {
  return {
    key,
    status: 'begun',
    idempotency_key: world.sealer.effectKey(job.tenant, job.job_id, key),
    remaining_ms: Math.max(0, lease.hard_end - now),
  }
}

async function recorded(world: World, lease: Lease, job: Job, effect: Effect, now: number): Promise<EffectAnswer> {
  const payload =
    effect.result_ptr === null || effect.verdict === 'QUARANTINE'
      ? null
      : await getPayload(world.db, job.tenant, effect.result_ptr)
  return {
    ...begun(world, lease, job, effect.effect_key, now),
    status: 'committed',
    result: payload?.body == null ? null : (JSON.parse(payload.body) as Json),
    verdict: effect.verdict ?? 'ALLOW',
  }
}
