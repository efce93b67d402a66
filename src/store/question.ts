import type { Approval } from '../core/approval.js'
import { jobHash } from '../core/binding.js'
import { claimOf, type Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import { defaultOutputPolicy, screenOrQuarantine } from '../core/output.js'
import { pendingHashesLike } from './approvals.js'
import { getJob, loadPayload } from './jobs.js'
import { isLarge } from './screener.js'
import type { World } from './world.js'

/** What of a question may leave the house. */
export interface LeavingQuestion {
  job: Job
  /** Secrets taken out; undefined: not even so. */
  input: Json | undefined
  context: Json | undefined
  /** Why the input is not there at all; null: it is. */
  withheld: string | null
  /** Input and context are what the approval binds, to the letter; false also where an edit came in between the two being read. */
  isWhole: boolean
  /** Hashes its short form must stay apart from. */
  alike: string[]
}

/** Null where the job is no longer kept. */
export async function leavingQuestion(world: World, approval: Approval): Promise<LeavingQuestion | null> {
  const job = await getJob(world.db, approval.tenant, approval.job_id)
  if (job === null) return null
  const alike = await pendingHashesLike(world.db, approval.tenant, [approval.grant_hash])
  const held = await loadPayload(world.db, job)
  const input = leaving(held.input, 'The input')
  const context = leaving(held.context, 'The context')
  return {
    job,
    alike,
    input: input.value,
    context: context.value,
    withheld: input.withheld,
    isWhole: input.isWhole && context.isWhole && jobHash(claimOf(job, held)) === approval.job_hash,
  }
}

/** Secrets are taken out, and what could not be shown to a reader of results does not leave either. */
function leaving(value: Json, name: string): { value: Json | undefined; withheld: string | null; isWhole: boolean } {
  const withheld = (why: string) => ({
    value: undefined,
    withheld: `${name} is ${why}: look at it where you answer`,
    isWhole: false,
  })
  if (isLarge(value)) return withheld('large')
  const { verdict, output } = screenOrQuarantine(value, defaultOutputPolicy)
  return verdict === 'QUARANTINE'
    ? withheld('withheld')
    : { value: output, withheld: null, isWhole: verdict === 'ALLOW' }
}
