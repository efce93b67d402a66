import { shortForm } from '../binding.js'
import { canonical } from '../canonical.js'
import { type Decision, decide, standingAt } from '../door.js'
import type { Json, JsonObject } from '../json.js'
import type { CompiledPolicy } from '../policy/compile.js'
import { DECISIONS, type DecisionWord } from '../policy/document.js'
import { fixtureClaim } from '../policy/fixtures.js'
import type { Scenario, ScenarioKind } from './document.js'
import { variantsOf } from './vary.js'

/** What came out as no scenario wants it. */
export interface Finding {
  scenario: string
  /** Null: the job as it is written. */
  variant: string | null
  kind: ScenarioKind
  critical: boolean
  /** `bypass`: let through more than it may. `overblocked`: kept back what everyday work needs. `duplicate`: would be done twice. */
  fault: 'bypass' | 'overblocked' | 'duplicate'
  decision: DecisionWord
  at_least: DecisionWord
  at_most: DecisionWord | null
  rules: string[]
  reason: string
}

/** A denial as the audit log would have it: the guide asks that every denied action yields its entry. */
export interface ReplayEntry {
  kind: 'job.denied'
  scenario: string
  variant: string | null
  agent: string
  topic: string
  decision: 'DENY'
  reason: string
  rules: string[]
  snapshot: string
  job_hash: string
  high_risk: boolean
}

export interface Replayed {
  policy_snapshot: string
  digest: string
  /** Of different jobs: the same under another name tries nothing more. */
  scenarios: number
  /** Scenarios and their variants. */
  runs: number
  /** Runs by what was decided. */
  decided: Record<DecisionWord, number>
  /** Denied runs that have an entry; anything but all of them is a fault of the plane. */
  logged: number
  critical_bypasses: number
  bypasses: number
  overblocked: number
  unsafe_duplicates: number
  findings: Finding[]
}

/** Of which a report shows examples; the counts are of all. */
export const MOST_FINDINGS = 500

/** A run of a suite, one run of the door at a time: on a server others have their turns in between. */
export type Replaying = Generator<void, Replayed>

/**
 * Puts a suite to the door of a snapshot, with no side effects (G5). An answer milder than a scenario's `at_least`, to it or to any variant,
 * is a bypass; `at_most` bounds only the job as it is written, because a strange spelling may well be refused. A request that comes
 * twice is unsafe where both are let through and nothing makes them one: no idempotency key, and a class that is not idempotent.
 * @param log hears of every denial
 */
export function replay(
  policy: CompiledPolicy,
  scenarios: readonly Scenario[],
  now: number,
  log: (entry: ReplayEntry) => void = () => {},
): Replayed {
  const running = replaying(policy, scenarios, now, log)
  for (;;) {
    const { done, value } = running.next()
    if (done) return value
  }
}

/** The same, step by step. */
export function* replaying(
  policy: CompiledPolicy,
  scenarios: readonly Scenario[],
  now: number,
  log: (entry: ReplayEntry) => void = () => {},
): Replaying {
  const done: Replayed = {
    policy_snapshot: shortForm(policy.digest),
    digest: policy.digest,
    scenarios: new Set(scenarios.map(({ job }) => canonical(job as Json))).size,
    runs: 0,
    decided: { DENY: 0, REQUIRE_APPROVAL: 0, ALLOW_WITH_CONSTRAINTS: 0, ALLOW: 0 },
    logged: 0,
    critical_bypasses: 0,
    bypasses: 0,
    overblocked: 0,
    unsafe_duplicates: 0,
    findings: [],
  }
  for (const scenario of scenarios) {
    one(policy, scenario, null, scenario.job, now, done, log)
    yield
    for (const { name, job } of variantsOf(scenario.job, scenario.vary)) {
      one(policy, scenario, name, job, now, done, log)
      yield
    }
  }
  return done
}

function one(
  policy: CompiledPolicy,
  scenario: Scenario,
  variant: string | null,
  job: JsonObject,
  now: number,
  done: Replayed,
  log: (entry: ReplayEntry) => void,
): void {
  const claim = fixtureClaim(job)
  const decision = decide(policy, claim, standingAt('submit', scenario.now ?? now, null, null))
  done.runs++
  done.decided[decision.decision]++
  if (decision.decision === 'DENY') {
    const { reason, rules, snapshot, job_hash, evaluation } = decision
    const { high_risk } = evaluation
    const { agent, topic } = claim
    const about = { scenario: scenario.id, variant, agent, topic }
    log({ kind: 'job.denied', ...about, decision: 'DENY', reason, rules, snapshot, job_hash, high_risk })
    done.logged++
  }
  const fault = faultOf(scenario, variant, decision)
  if (fault === null) return
  if (fault === 'bypass') done.bypasses++
  if (fault === 'bypass' && scenario.critical) done.critical_bypasses++
  if (fault === 'overblocked') done.overblocked++
  if (fault === 'duplicate') done.unsafe_duplicates++
  if (done.findings.length === MOST_FINDINGS) return
  const { id, kind, critical, at_least, at_most } = scenario
  const { reason, rules } = decision
  done.findings.push({
    scenario: id,
    variant,
    kind,
    critical,
    fault,
    decision: decision.decision,
    at_least,
    at_most,
    rules,
    reason,
  })
}

/** Nobody is asked. */
export const isDoneAlone = (decision: DecisionWord) => decision === 'ALLOW' || decision === 'ALLOW_WITH_CONSTRAINTS'

function faultOf(
  scenario: Scenario,
  variant: string | null,
  { decision, evaluation }: Decision,
): Finding['fault'] | null {
  const { at_least, at_most, repeats, idempotency_key } = scenario
  // The severest stands first.
  const severity = DECISIONS.indexOf(decision)
  if (severity > DECISIONS.indexOf(at_least)) return 'bypass'
  if (variant !== null) return null
  if (at_most !== null && severity < DECISIONS.indexOf(at_most)) return 'overblocked'
  return repeats && isDoneAlone(decision) && !idempotency_key && !evaluation.job_class.idempotent ? 'duplicate' : null
}
