import { canonical, saltedHash } from '../core/canonical.js'
import { claimOf, type Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import { type OutputPolicy, outputPolicyFor, screenOrQuarantine, screenText, type Verdict } from '../core/output.js'
import { type PayloadRow, pointerTo } from './payloads.js'
import type { World } from './world.js'

/** Raw of a quarantined result is kept sealed for a person to look at, this long. */
export const QUARANTINE_KEPT_MS = 7 * 86_400_000

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

export interface Kept {
  verdict: 'ALLOW' | 'REDACT' | 'QUARANTINE'
  findings: Json
  /** Detectors and counts for the log, e.g. `github_token×2`. */
  summary: string
  payload: PayloadRow
  /** Salted hash of what is kept readable. */
  result_hash: string
}

/** Screens a value and makes the row to keep: the text, its redacted copy (the raw is dropped), or the raw sealed. */
export function keep(
  world: World,
  job: Pick<Job, 'tenant' | 'job_id'>,
  kind: 'result' | 'effect',
  raw: Json,
  body: string,
  policy: OutputPolicy,
  now: number,
): Kept {
  const { verdict, output, findings } = screenOrQuarantine(raw, policy)
  const own = kind === 'result' && verdict !== 'QUARANTINE'
  const ptr = own ? pointerTo(job.job_id, 'result') : world.ids.id('ptr', now)
  const salt = Buffer.from(world.ids.bytes(16)).toString('hex')
  const row = { tenant: job.tenant, ptr, job_id: job.job_id, salt, created_at: now }
  const payload: PayloadRow =
    verdict === 'QUARANTINE'
      ? {
          ...row,
          kind: 'sealed',
          body: world.sealer.seal(body, `${job.tenant}/${ptr}`),
          expires_at: now + QUARANTINE_KEPT_MS,
        }
      : { ...row, kind, body: verdict === 'ALLOW' ? body : canonical(output), expires_at: null }
  const summary = findings.map((f) => `${f.detector}×${f.count}`).join(', ')
  return {
    verdict,
    findings: findings as unknown as Json,
    summary,
    payload,
    result_hash: saltedHash(salt, verdict === 'QUARANTINE' ? body : output),
  }
}

/** Error texts and codes are results too. A text that would be quarantined is dropped: nobody needs the raw of a message. */
export function screenedText(text: string, policy: OutputPolicy): string {
  const { verdict, text: safe } = screenText(text, policy)
  return verdict === 'QUARANTINE' ? '[QUARANTINED]' : safe
}
