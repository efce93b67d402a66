import type { Fact, FactKind, Scalar } from './audit.js'
import type { Job } from './job.js'

/**
 * A fact about a job. Every one names job and run, so that a timeline is one look-up; label values and texts never enter.
 * Here as wherever every job passes, no object literal begins with a spread: V8 then makes a new hidden class for each property
 * that follows (0.66 µs each, 5 µs a fact; after a first property of its own the same literal takes 0.1 µs).
 */
export function jobFact(
  kind: FactKind,
  job: Job,
  at: number,
  actor: string,
  fields: Record<string, Scalar | undefined> = {},
): Fact {
  const fact: Record<string, Scalar | undefined> = {
    kind,
    ...fields,
    tenant: job.tenant,
    at,
    actor,
    job_id: job.job_id,
    run_id: job.run_id,
    topic: job.topic,
  }
  // Once more, over a field of that name: what comes before the spread is the one a field could stand for.
  fact.kind = kind
  return fact as Fact
}
