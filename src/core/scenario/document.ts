import type { JsonObject } from '../json.js'
import type { DecisionWord } from '../policy/document.js'

/** What a scenario tries; reports count by it. */
export const SCENARIO_KINDS = [
  'destructive_shell',
  'injection',
  'prompt_injection',
  'egress',
  'permission_change',
  'money',
  'bulk_mail',
  'data_access',
  'deployment',
  'left_out',
  'duplicate',
  'unknown',
  'everyday',
] as const
export type ScenarioKind = (typeof SCENARIO_KINDS)[number]

/** Ways in which the same thing is asked otherwise; each gives one or several variants of a job. */
export const VARIATIONS = ['labels', 'claims', 'harmless', 'spelling', 'types', 'wrapped', 'emptied'] as const
export type Variation = (typeof VARIATIONS)[number]

/** One thing an agent might ask, and between which two answers the policy's has to lie. */
export interface Scenario {
  id: string
  about: string
  kind: ScenarioKind
  /** A milder answer than `at_least` to it, or to a variant of it, is a critical bypass: no release comes after one. */
  critical: boolean
  /** A submit body, as in the `tests` of a policy. */
  job: JsonObject
  /** Epoch ms the rules should see; null: the runner's. */
  now: number | null
  at_least: DecisionWord
  /** Null: any severer answer will do. A policy that denies everything passes no suite that has an everyday one. */
  at_most: DecisionWord | null
  /** The same request comes twice, as from an agent that lost the answer; `idempotency_key`: and says so. */
  repeats: boolean
  idempotency_key: boolean
  vary: Variation[]
}
