import type { ResolveJob } from '../contract/jobs.js'
import type { Caller } from '../core/access.js'
import { jobFact } from '../core/facts.js'
import { type Job, type Moved, move, touch } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { Effect } from '../core/lease.js'
import { attemptKey } from '../core/settle.js'
import { Problem } from '../errors.js'
import { getJob } from '../store/jobs.js'
import { standingUnder } from '../store/keys.js'
import { effectsOfJob } from '../store/leases.js'
import type { Rows } from '../store/ledger/write.js'
import type { PayloadRow } from '../store/payloads.js'
import { outputRules } from '../store/results.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6

/**
 * A person says whether an effect happened. With the last doubt gone the job goes on: by default the rest is run again (the
 * committed effects are not repeated), or, where the whole attempt was in doubt and happened, it is finished.
 * Where a cancel was asked and the person says nothing else, the job is cancelled instead of run again.
 * "Did not happen" is refused until the lease's hard end: until then it still may.
 * Throws Problem `not_found`, `illegal_transition`, `effect_not_decidable`.
 */
export async function resolve(world: World, caller: Caller, job_id: string, body: ResolveJob): Promise<Job> {
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, caller.tenant)
    await standingUnder(world, gate, caller)
    const job = await getJob(world.db, caller.tenant, job_id)
    if (job === null) throw new Problem('not_found')
    if (job.status !== 'ambiguous')
      throw new Problem('illegal_transition', `A job that is ${job.status} has no effect in doubt`, {
        job_status: job.status,
      })
    const effects = await effectsOfJob(world.db, job.tenant, job.job_id)
    const found = effects.find((e) => e.effect_key === body.effect_key)
    if (found === undefined) throw new Problem('not_found', `The job has no effect ${body.effect_key}`)
    if (found.status !== 'begun') throw new Problem('illegal_transition', `The effect is ${found.status}`)
    if (!body.happened && body.then === 'finish')
      throw new Problem('invalid', undefined, {
        faults: [{ path: '/then', message: 'what did not happen is not finished: retry, or dead_letter' }],
      })
    const now = world.clock.now()
    if (!body.happened && now < found.hard_end)
      throw new Problem('effect_not_decidable', undefined, { retry_after_ms: found.hard_end - now })
    const settled: Effect = {
      ...found,
      version: found.version + 1,
      status: body.happened ? 'committed' : 'not_happened',
      ended_at: now,
      settled_by: caller.principal,
    }
    const last = effects.every((e) => e.effect_key === found.effect_key || e.status !== 'begun')
    const step = await next(world, job, found, settled, body, last, now)
    const facts = [
      jobFact('effect.resolved', job, now, caller.principal, {
        effect_key: found.effect_key,
        happened: body.happened,
        note: body.note,
      }),
    ]
    if (last) facts.push(jobFact('job.resolved', step.moved.job, now, caller.principal, step.moved.changed))
    const rows: Rows = { updateJobs: [step.moved.job], effects: [step.effect], payloads: step.payloads }
    const receipt = await world.ledger.commit({ tenant: job.tenant, gate, alone: [job.job_id], rows, facts })
    if (!receipt.ok) continue
    if (step.moved.job.status === 'retrying') world.bus.hint(job.tenant, job.topic)
    return step.moved.job
  }
  throw new Problem('overloaded', 'The job changed faster than it could be resolved', { retry_after_ms: 200 })
}

async function next(
  world: World,
  job: Job,
  found: Effect,
  settled: Effect,
  body: ResolveJob,
  last: boolean,
  now: number,
): Promise<{ moved: Moved; effect: Effect; payloads: PayloadRow[] }> {
  const whole = found.effect_key === attemptKey(found.attempt)
  const then = body.then ?? (whole && body.happened ? 'finish' : job.cancel_requested ? 'cancel' : 'retry')
  const payloads: PayloadRow[] = []
  let effect = settled
  const result = (body.result ?? null) as Json
  const policy = await outputRules(world, job)
  if (body.happened && body.result !== undefined) {
    const kept = await world.screener.keep(job, 'effect', result, policy, now)
    payloads.push(kept.payload)
    effect = { ...settled, result_ptr: kept.payload.ptr, verdict: kept.verdict }
  }
  if (!last) return { moved: touch(job, now), effect, payloads }
  if (then === 'finish') {
    const kept = await world.screener.keep(job, 'result', result, policy, now)
    payloads.push(kept.payload)
    const patch = {
      verdict: kept.verdict,
      findings: kept.findings,
      result_ptr: kept.payload.ptr,
      status_reason: 'resolved',
      error_class: null,
      error_code: null,
      error_message: null,
    }
    return {
      moved: move(job, kept.verdict === 'QUARANTINE' ? 'quarantine' : 'settle_succeeded', now, patch),
      effect,
      payloads,
    }
  }
  if (then === 'dead_letter') {
    const respond_by = job.respond_within_ms === null ? null : now + job.respond_within_ms
    return { moved: move(job, 'exhaust', now, { status_reason: 'resolved', respond_by }), effect, payloads }
  }
  if (then === 'cancel')
    return { moved: move(job, 'settle_cancelled', now, { status_reason: 'cancelled' }), effect, payloads }
  // The doubt was nobody's failed attempt: there is always one more to run the rest.
  const max_attempts = Math.max(job.max_attempts, job.attempt - job.budget_from + 1)
  return {
    moved: move(job, 'requeue', now, {
      due_at: now,
      queue_deadline: now + job.queue_timeout_ms,
      max_attempts,
      status_reason: 'resolved',
    }),
    effect,
    payloads,
  }
}
