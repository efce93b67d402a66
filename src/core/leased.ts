import type { LeasedJob } from '../contract/workers.js'
import { shortForm } from './binding.js'
import type { Job } from './job.js'
import type { Json } from './json.js'
import type { Effect, Lease } from './lease.js'

/** A lease with the job and payload it was decided on. */
export interface Granted {
  lease: Lease
  job: Job
  input: Json
  context: Json
}

/**
 * A lease as its worker gets it: durations, never instants.
 * @param effects committed by earlier attempts
 * @param results of them, by pointer
 */
export function leasedJob(
  { lease, job, input, context }: Granted,
  effects: readonly Effect[],
  results: ReadonlyMap<string, Json>,
  now: number,
): LeasedJob {
  return {
    lease: lease.lease_id,
    attempt: lease.attempt,
    remaining_ms: Math.max(0, lease.hard_end - now),
    heartbeat_ms: lease.heartbeat_ms,
    constraints: job.constraints,
    job: {
      job_id: job.job_id,
      run_id: job.run_id,
      tenant: job.tenant,
      agent: job.agent,
      topic: job.topic,
      // What the server holds true, not what the agent claimed: a worker acts on these.
      ...job.effective,
      capability: job.capability,
      action: job.action,
      workflow: job.workflow,
      input,
      context,
      job_hash: job.job_hash,
      policy_snapshot: shortForm(job.snapshot),
      max_attempts: job.max_attempts,
    },
    effects: effects.map(({ effect_key, status, result_ptr }) => ({
      key: effect_key,
      status,
      result: results.get(result_ptr ?? '') ?? null,
    })),
  }
}
