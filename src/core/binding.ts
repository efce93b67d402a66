import { digestOf } from './canonical.js'
import type { Claim } from './job.js'
import type { Json } from './json.js'

/**
 * What an approval binds: the job exactly as asked. Everything that changes what a worker would do is in it; `team` is not,
 * being the server's own record of the agent.
 */
export type BoundJob = Omit<Claim, 'team'>

/** Hash of a job (hex), as DESIGN "Approval binding" lists its fields. Takes a whole Claim; other fields are left out. */
export function jobHash(job: BoundJob): string {
  return digestOf('job', {
    tenant: job.tenant,
    agent: job.agent,
    agent_version: job.agent_version,
    topic: job.topic,
    labels: job.labels,
    risk_tags: job.risk_tags,
    environment: job.environment,
    action_type: job.action_type,
    capability: job.capability,
    action: job.action,
    workflow: job.workflow,
    input: job.input,
    context: job.context,
    timeout_ms: job.timeout_ms,
    max_attempts: job.max_attempts,
    not_before: job.not_before,
  })
}

export interface Grant {
  /** Hex, of `jobHash`. */
  job_hash: string
  /** Full digest of the policy snapshot, hex. */
  snapshot: string
  /** Ids of all matching rules, in any order. */
  rules: readonly string[]
  constraints: Json
  approval: Json
  /** Labels, tags, environment and action type as the server holds them true: what the worker will act on. */
  effective: Json
}

/** Hash (hex) of what a reviewer says yes to: this job, under this snapshot, for these rules, constraints and approval specification. */
export function grantHash(grant: Grant): string {
  return digestOf('grant', {
    job_hash: grant.job_hash,
    snapshot: grant.snapshot,
    rules: [...grant.rules].sort(),
    constraints: grant.constraints,
    approval: grant.approval,
    effective: grant.effective,
  })
}

/** The same without the snapshot: what an activation must leave equal for an approval to go on counting. */
export function boundHash(grant: Omit<Grant, 'snapshot'>): string {
  return digestOf('bound', {
    job_hash: grant.job_hash,
    rules: [...grant.rules].sort(),
    constraints: grant.constraints,
    approval: grant.approval,
    effective: grant.effective,
  })
}

/** Shortest form shown to people: 28 bits, enough to compare two by eye, never to decide by. */
const SHORT = 7

/**
 * `v1:7f93d2c`: the hash as people see it, lengthened until no other of `others` (full hashes) begins the same way.
 * The hash itself may be among `others`.
 */
export function shortForm(hash: string, others: Iterable<string> = []): string {
  let length = SHORT
  for (const other of others) {
    if (other === hash) continue
    while (length < hash.length && other.startsWith(hash.slice(0, length))) length++
  }
  return `v1:${hash.slice(0, length)}`
}
