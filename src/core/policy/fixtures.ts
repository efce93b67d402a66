import { canonical } from '../canonical.js'
import type { Claim } from '../job.js'
import type { Json, JsonObject } from '../json.js'
import type { CompiledPolicy } from './compile.js'
import type { DecisionWord, Fixture } from './document.js'
import { evaluate } from './evaluate.js'

export interface FixtureResult {
  name: string
  pass: boolean
  expected: DecisionWord
  actual: DecisionWord
  reason: string
  /** What did not come out as written, one sentence each; empty when it passed. */
  differences: string[]
}

/** A claim from a fixture's job: what it leaves out is null, the agent is `agent:fixture` of tenant `default`. */
export function fixtureClaim(job: JsonObject): Claim {
  const text = (key: string) => (typeof job[key] === 'string' ? job[key] : null)
  return {
    tenant: text('tenant') ?? 'default',
    agent: text('agent') ?? 'agent:fixture',
    agent_version: text('agent_version'),
    team: text('team'),
    topic: text('topic') ?? '',
    labels: (job.labels ?? {}) as Record<string, string>,
    risk_tags: (job.risk_tags ?? []) as string[],
    environment: text('environment'),
    action_type: text('action_type'),
    capability: text('capability'),
    action: text('action'),
    workflow: text('workflow'),
    input: job.input ?? null,
    context: job.context ?? null,
    timeout_ms: null,
    max_attempts: null,
    not_before: null,
  }
}

/** Runs the document's own `tests`. `now` is for those that name no time. */
export function runFixtures(policy: CompiledPolicy, now: number): FixtureResult[] {
  return policy.document.tests.map((fixture) => runFixture(policy, fixture, now))
}

function runFixture(policy: CompiledPolicy, { name, job, now: at, expect }: Fixture, now: number): FixtureResult {
  const actual = evaluate(policy, fixtureClaim(job), at ?? now)
  const differences: string[] = []
  const compare = (what: string, wanted: unknown, got: unknown) => {
    const [a, b] = [wanted, got].map((value) => (value === undefined ? 'absent' : canonical(value as Json)))
    if (a !== b) differences.push(`${what} is ${b}, not ${a}`)
  }
  compare('decision', expect.decision, actual.decision)
  if (expect.rules) compare('rules', expect.rules, actual.rules)
  if (expect.high_risk !== null) compare('high_risk', expect.high_risk, actual.high_risk)
  for (const [key, value] of Object.entries(expect.constraints ?? {})) {
    compare(`constraint ${key}`, value, (actual.constraints as Record<string, unknown>)[key])
  }
  return {
    name,
    pass: differences.length === 0,
    expected: expect.decision,
    actual: actual.decision,
    reason: actual.reason,
    differences,
  }
}
