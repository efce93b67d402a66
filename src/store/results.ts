import { claimOf, type Job } from '../core/job.js'
import { type OutputPolicy, outputPolicyFor, screenText, type Verdict } from '../core/output.js'
import type { World } from './world.js'

/** What the output rules of the snapshot that let the job out say about its results. */
export async function outputRules(world: World, job: Job): Promise<OutputPolicy> {
  const policy = await world.policies.compiled(job.tenant, job.snapshot)
  // Output rules match on what a job is, never on its input: the payload stays where it is.
  const rules = policy.document.output_rules
  const claim = claimOf(job, { input: null, context: null })
  const held = outputPolicyFor(rules, { ...claim, ...job.effective })
  const claimed = outputPolicyFor(rules, claim)
  // What an agent says of its own job may make the screen stricter, never laxer.
  return { action: (detector, cls) => severest(held.action(detector, cls), claimed.action(detector, cls)) }
}

const ORDER: readonly Verdict[] = ['ALLOW', 'REDACT', 'QUARANTINE']
const severest = (a: Verdict, b: Verdict): Verdict => (ORDER.indexOf(a) >= ORDER.indexOf(b) ? a : b)

/** Error texts and codes are results too. A text that would be quarantined is dropped: nobody needs the raw of a message. */
export function screenedText(text: string, policy: OutputPolicy): string {
  const { verdict, text: safe } = screenText(text, policy)
  return verdict === 'QUARANTINE' ? '[QUARANTINED]' : safe
}
