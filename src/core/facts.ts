import type { Fact, FactKind, Scalar } from './audit.js'
import type { Job } from './job.js'

/** A fact about a job. Every one names job and run, so that a timeline is one look-up; label values and texts never enter. */
export function jobFact(
  kind: FactKind,
  job: Job,
  at: number,
  actor: string,
  fields: Record<string, Scalar | undefined> = {},
): Fact {
  return {
    ...fields,
    kind,
    tenant: job.tenant,
    at,
    actor,
    job_id: job.job_id,
    run_id: job.run_id,
    topic: job.topic,
  } as Fact
}
