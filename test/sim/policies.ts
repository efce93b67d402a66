import type { Json } from '../../src/core/json.js'

const CLASSES = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.do.*, attempts: 3, timeout_ms: 20000, heartbeat_ms: 1000, queue_timeout_ms: 60000, respond_within: 1h }
  - { topic: job.idem.*, attempts: 2, timeout_ms: 20000, heartbeat_ms: 1000, idempotent: true }
rules:
`
const policy = (rules: string) => `${CLASSES}${rules}\n`

const DO =
  '  - { id: do, match: { topic: [job.do.*, job.idem.*] }, decision: ALLOW, limits: { concurrent: 2, per: topic } }\n'
const ASK =
  '  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 10m, valid_for: 5m } }\n'

/** What the runs switch between. Each says something else about a job that is under way. */
export const POLICIES = {
  open: policy(DO + ASK),
  /** Another snapshot with the same rules for these topics: approvals are rebound, nothing else changes. */
  same: policy(`${DO}${ASK}  - { id: other, match: { topic: job.other }, decision: ALLOW }`),
  /** Other rules and approvals; the only one that limits a rate. */
  tight: policy(`  - { id: do, match: { topic: job.do.* }, decision: REQUIRE_APPROVAL }
  - { id: idem, match: { topic: job.idem.* }, decision: ALLOW, limits: { rate: 3/minute } }
  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], need: 2, within: 10m } }`),
  asking:
    policy(`  - { id: ask, match: { topic: 'job.>' }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 10m } }
  - { id: no, match: { topic: job.ask.* }, decision: DENY }`),
  closed: policy("  - { id: no, match: { topic: 'job.>' }, decision: DENY }"),
}

/** Not among those that runs switch between: nobody has to be known for a rung to be asked. */
export const CLIMBS = policy(
  `${DO}  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], within: 10m, then: escalate, ladder: [ { from: [principal:person:olga], after: 10m } ] } }`,
)

/** Has a say in what comes after it. */
export const GOVERNED = policy(`${DO}${ASK}  - { id: own, match: { topic: 'sallyport.policy.*' }, decision: ALLOW }`)

/** Another one of its own: a workflow that a person opens and closes. */
export const BOUNDED = `
version: v1
default_decision: DENY
job_classes:
  - topic: job.do.*
    derive: { data: "[{'system': 'crm', 'table': input.table, 'fields': ['owner'], 'access': 'write'}]" }
rules:
  - { id: bounded, match: { topic: job.do.*, workflow: [one] }, decision: ALLOW }
workflows:
  - id: one
    topics: [job.do.*]
    starts: input.n >= 0
    ends: input.n < 0
    data: [{ system: crm, tables: [leads], fields: [owner], access: write }]
`

export const TOPICS = ['job.do.it', 'job.do.that', 'job.idem.it', 'job.ask.it']

export const SECRET = `-----BEGIN PRIVATE KEY-----\n${'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC'.repeat(4)}\n-----END PRIVATE KEY-----`
export const MAIL = 'mail a@example.com'

/** Let through, redacted, quarantined. */
export const RESULTS: Json[] = [null, { ok: true }, MAIL, SECRET]
