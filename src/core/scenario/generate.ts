import type { JsonObject } from '../json.js'
import type { CompiledPolicy } from '../policy/compile.js'
import type { Scenario, Variation } from './document.js'

/**
 * Scenarios out of a policy's own `tests`: what its authors want refused or asked about must not be done with nobody asked, in other words
 * either. Those that want it let through say nothing about variants, and whether a test itself holds `policy test` says.
 */
export function scenariosOf({ document }: CompiledPolicy, vary: readonly Variation[]): Scenario[] {
  return document.tests.flatMap(({ name, job, now, expect }, n): Scenario[] => {
    const { decision, high_risk } = expect
    if (decision !== 'DENY' && decision !== 'REQUIRE_APPROVAL') return []
    const critical = decision === 'DENY' || high_risk === true
    // That a refusal becomes a question in other words is a person's to see; that nobody is asked is not.
    const bounds = { at_least: 'REQUIRE_APPROVAL' as const, at_most: null, repeats: false, idempotency_key: false }
    const about = { id: `test-${n + 1}`, about: name, kind: 'unknown' as const, critical }
    return [{ ...about, job: job as JsonObject, now, ...bounds, vary: [...vary] }]
  })
}
