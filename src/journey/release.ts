import type { Caller } from '../core/access.js'
import { saltedHash } from '../core/canonical.js'
import { jobFact } from '../core/facts.js'
import { type Job, move } from '../core/job.js'
import type { Json } from '../core/json.js'
import { Problem } from '../errors.js'
import { getJob } from '../store/jobs.js'
import { standingUnder } from '../store/keys.js'
import { getPayload, type PayloadRow, pointerTo } from '../store/payloads.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6

/**
 * A person lets a quarantined result out as it is, or throws it away. Nobody releases what they asked for themselves. The
 * sealed text is erased in the same commit, whichever it is.
 * Throws Problem `not_found`, `illegal_transition`, `self_approval`.
 */
export async function release(world: World, caller: Caller, job_id: string, note: string | null): Promise<Job> {
  return settle(world, caller, job_id, async (job, sealed, now) => {
    if (caller.principal === job.requested_by || caller.principal === job.agent)
      throw new Problem('self_approval', 'Nobody releases the result of what they requested')
    if (sealed.body === null) throw new Problem('not_found', 'The quarantined text has expired')
    const body = world.sealer.open(sealed.body, `${job.tenant}/${sealed.ptr}`)
    const salt = Buffer.from(world.ids.bytes(16)).toString('hex')
    const payload: PayloadRow = {
      tenant: job.tenant,
      ptr: pointerTo(job.job_id, 'result'),
      kind: 'result',
      job_id: job.job_id,
      body,
      salt,
      created_at: now,
      expires_at: null,
    }
    const moved = move(job, 'release', now, {
      released_by: caller.principal,
      result_ptr: payload.ptr,
      status_reason: 'released',
    })
    return {
      moved,
      payloads: [payload],
      fact: jobFact('result.released', moved.job, now, caller.principal, {
        ...moved.changed,
        note,
        result_hash: saltedHash(salt, JSON.parse(body) as Json),
      }),
    }
  })
}

export async function discardResult(world: World, caller: Caller, job_id: string, note: string | null): Promise<Job> {
  return settle(world, caller, job_id, async (job, _sealed, now) => {
    const moved = move(job, 'discard', now, { result_ptr: null, status_reason: 'result_discarded' })
    return {
      moved,
      payloads: [],
      fact: jobFact('result.discarded', moved.job, now, caller.principal, { ...moved.changed, note }),
    }
  })
}

type Step = { moved: { job: Job }; payloads: PayloadRow[]; fact: ReturnType<typeof jobFact> }

async function settle(
  world: World,
  caller: Caller,
  job_id: string,
  step: (job: Job, sealed: PayloadRow, now: number) => Promise<Step>,
): Promise<Job> {
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, caller.tenant)
    await standingUnder(world, gate, caller)
    const job = await getJob(world.db, caller.tenant, job_id)
    if (job === null) throw new Problem('not_found')
    if (job.status !== 'quarantined' || job.result_ptr === null)
      throw new Problem(
        'illegal_transition',
        `The job is ${job.status}; only a quarantined result is released or discarded`,
        { job_status: job.status },
      )
    const sealed = await getPayload(world.db, job.tenant, job.result_ptr)
    if (sealed === null) throw new Problem('not_found')
    const { moved, payloads, fact } = await step(job, sealed, world.clock.now())
    const receipt = await world.ledger.commit({
      tenant: job.tenant,
      gate,
      alone: [job_id],
      rows: { updateJobs: [moved.job], payloads, erase: [{ tenant: job.tenant, ptr: sealed.ptr }] },
      facts: [fact],
    })
    if (receipt.ok) return moved.job
  }
  throw new Problem('overloaded', undefined, { retry_after_ms: 200 })
}
