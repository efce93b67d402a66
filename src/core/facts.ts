import { type Fact, type FactKind, joined, type Scalar } from './audit.js'
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
  if (job.rollout_id !== null) {
    fact.rollout_id = job.rollout_id
    fact.variant = job.variant
  }
  // Once more, over a field of that name: what comes before the spread is the one a field could stand for.
  fact.kind = kind
  return fact as Fact
}

/** What the log says of a policy: which it is, and who stands behind it. */
export function aboutSnapshot(snapshot: {
  digest: string
  rules: number
  author: string | null
  source_commit: string | null
  reviewers: readonly string[]
}): Record<string, Scalar> {
  const { digest, rules, author, source_commit, reviewers } = snapshot
  return {
    snapshot: digest,
    rule_count: rules,
    ...(author === null ? {} : { author }),
    ...(source_commit === null ? {} : { source_commit }),
    ...(reviewers.length === 0 ? {} : { reviewers: joined(reviewers) }),
  }
}
