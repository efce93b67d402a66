import type { Calendar } from '../calendar.js'
import type { JsonObject } from '../json.js'
import type { Constraints } from './constraints.js'
import type { DataScope } from './data-use.js'

export type DecisionWord = 'ALLOW' | 'DENY' | 'REQUIRE_APPROVAL' | 'ALLOW_WITH_CONSTRAINTS'

/** Severest first. Where several rules match, the first of these that any of them says is the decision. */
export const DECISIONS = ['DENY', 'REQUIRE_APPROVAL', 'ALLOW_WITH_CONSTRAINTS', 'ALLOW'] as const

/** Claim fields a rule may match by value, beside topic, labels and risk tags. */
export const SCALAR_FIELDS = [
  'environment',
  'action_type',
  'capability',
  'action',
  'workflow',
  'agent',
  'agent_version',
  'team',
  'tenant',
] as const
export type ScalarField = (typeof SCALAR_FIELDS)[number]

/** A bare list means any of them. */
export type TagTest = { any: string[] } | { all: string[] }

/**
 * All parts must hold; within a part, any of the values. A key that is absent asks nothing. `*` inside a value (not a
 * topic) stands for any run of characters; everything is exact on case. Lists are sorted and without repeats.
 */
export interface Matcher extends Partial<Record<ScalarField, string[]>> {
  topic?: string[]
  labels?: Record<string, string[]>
  risk_tags?: TagTest
}

/** People who are asked together. */
export interface ApprovalLevel {
  /**
   * Who may answer: `team:x`, `role:x`, `principal:x`, `lead:x` (who leads team x), `oncall:x` (who is on call for it), sorted. `owner`
   * for x is the team that owns the agent, `requester` the team of who asked.
   */
  from: string[]
  /** Distinct people who must say yes. */
  need: number
  /** From when the level is asked. */
  within_ms: number
  /** From when the level is asked: who has not answered by then is reminded, once. Absent: `remindAfter` in core/approval.ts. */
  remind_after_ms?: number
}

/** Who is asked in addition once those before them let their time pass. */
export interface ApprovalRung {
  from: string[]
  /** How long they have before the next rung is asked, or the question expires. */
  after_ms: number
}

/**
 * One flow. Keys with a `?` are absent where they say nothing, so that what a flow of one level hashes to is what it hashed to before
 * there were others.
 */
export interface ApprovalSpec extends ApprovalLevel {
  /** What happens when nobody answers in time: it expires, or the ladder is asked in addition. It never allows. */
  then: 'deny' | 'escalate'
  /** How long an answer counts, from when it is given. */
  valid_for_ms: number
  /** Two or more. `from`, `need` and `within_ms` of the flow itself then only sum them up. */
  levels?: ApprovalLevel[]
  /** All levels are asked at once; absent: each when the one before it has its people. */
  order?: 'parallel'
  /** One person may serve several levels, and a lead of the requester is asked too; absent: four eyes, a person serves one level. */
  kind?: 'confirmation'
  /** Absent: who is on call for the owner team, then admins, each with the level's time. Only with `then: escalate`. */
  ladder?: ApprovalRung[]
}

export const DEFAULT_APPROVAL: ApprovalSpec = {
  from: ['role:approver'],
  need: 1,
  within_ms: 86_400_000,
  then: 'deny',
  valid_for_ms: 86_400_000,
}

export interface Limits {
  rate: { count: number; period_ms: number } | null
  concurrent: number | null
  /** What the count is kept by: `agent`, `tenant`, `topic`, `rule` or `label:NAME`. */
  per: string
}

export interface Rule {
  id: string
  match: Matcher
  /** CEL; an error in it, such as a missing key, is a denial. */
  when: string | null
  decision: DecisionWord
  reason: string | null
  approval: ApprovalSpec | null
  constraints: Constraints
  limits: Limits | null
}

/** Values the server holds true about a job, whatever the agent claims. */
export interface Stamp {
  labels: Record<string, string>
  risk_tags: string[]
  environment: string | null
  action_type: string | null
}

/** CEL for the same. `null` from an expression leaves the claim alone; `risk_tags` maps a tag to a condition. */
export interface Derivation {
  labels: Record<string, string>
  risk_tags: Record<string, string>
  environment: string | null
  action_type: string | null
  /** CEL giving the list of what the job reads and writes (data-use.ts); absent where the class says nothing of it. */
  data?: string
}

export interface Requirement {
  labels: string[]
  risk_tags: string[]
  environment: boolean
  action_type: boolean
  /** Dotted paths into the input that must hold a value other than null. */
  input: string[]
}

export interface JobClass {
  topic: string
  timeout_ms: number | null
  attempts: number | null
  heartbeat_ms: number | null
  queue_timeout_ms: number | null
  /** Whether running it twice does no harm. */
  idempotent: boolean | null
  owner: string | null
  respond_within_ms: number | null
  require: Requirement
  set: Stamp
  derive: Derivation
  /** A JSON Schema of the subset in schema.ts; asked only of jobs that carry an input. */
  input_schema: JsonObject | null
}

export const OUTPUT_ACTIONS = ['ALLOW', 'REDACT', 'QUARANTINE'] as const
export type OutputAction = (typeof OUTPUT_ACTIONS)[number]

/**
 * What happens to findings in the results of matching jobs. `on` names detectors (`jwt`) or classes (`secret`); within
 * one rule a detector's own entry beats its class, and over all matching rules the severest action wins.
 */
export interface OutputRule {
  id: string
  match: Matcher
  on: Record<string, OutputAction>
}

export interface Fixture {
  name: string
  /** A submit body; what it leaves out is null, `agent` is `agent:fixture`, `tenant` is `default`. */
  job: JsonObject
  /** Epoch ms the rules should see, or null for the runner's. */
  now: number | null
  expect: {
    decision: DecisionWord
    /** Exactly these rules match, sorted. */
    rules: string[] | null
    /** Each of these constraints has this merged value. */
    constraints: Constraints | null
    high_risk: boolean | null
  }
}

/** A workflow with a clear start and end on a small part of the data, as a policy file declares it. Jobs name it in `workflow`. */
export interface BoundedWorkflow {
  id: string
  /** Topic patterns: a job of another topic is no part of it, so nothing cascades. */
  topics: string[]
  /** CEL: true of the cases that belong to it. */
  starts: string
  /** CEL: true of a case that is over. */
  ends: string
  /** All that it may touch. */
  data: DataScope[]
}

/** The normalised document: defaults filled in, rules sorted by id, lists sorted. Its digest names the snapshot. */
export interface PolicyDocument {
  version: 'v1'
  default_decision: 'DENY' | 'REQUIRE_APPROVAL' | 'ALLOW'
  high_risk: Matcher[]
  rules: Rule[]
  job_classes: JobClass[]
  output_rules: OutputRule[]
  /** Absent where the file has none, so that older documents keep their digest. */
  calendars?: Calendar[]
  /** Absent likewise. */
  workflows?: BoundedWorkflow[]
  tests: Fixture[]
}

const PRODUCTION = ['prod', 'production']
const WRITES = ['create', 'update', 'write']

/** What counts as high risk in a file without `high_risk:`. */
export const DEFAULT_HIGH_RISK: Matcher[] = [
  { action_type: ['delete', 'external_communication', 'payment', 'permission_change', 'refund'] },
  { risk_tags: { any: ['destructive', 'money'] } },
  { environment: PRODUCTION, action_type: WRITES },
  { labels: { env: PRODUCTION }, action_type: WRITES },
]
