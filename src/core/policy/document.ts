import type { JsonObject } from '../json.js'
import type { Constraints } from './constraints.js'

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

export interface ApprovalSpec {
  /** Who may answer: `team:x`, `role:x` or `principal:x`, sorted. */
  from: string[]
  /** Distinct people who must say yes. */
  need: number
  within_ms: number
  /** What happens when nobody answers in time. It never allows. */
  then: 'deny' | 'escalate'
  /** How long an answer counts, from when it is given. */
  valid_for_ms: number
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

/** The normalised document: defaults filled in, rules sorted by id, lists sorted. Its digest names the snapshot. */
export interface PolicyDocument {
  version: 'v1'
  default_decision: 'DENY' | 'REQUIRE_APPROVAL' | 'ALLOW'
  high_risk: Matcher[]
  rules: Rule[]
  job_classes: JobClass[]
  output_rules: OutputRule[]
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
