import * as Wire from '../../contract/compensations.js'
import type { TimelineEntry } from '../../contract/jobs.js'
import type { Caller } from '../../core/access.js'
import { rollbackMarkdown } from '../../core/rollout/report.js'
import { Problem } from '../../errors.js'
import { retryCompensations, settleCompensation } from '../../journey/compensations.js'
import { replay } from '../../journey/replay.js'
import { rollbackReport } from '../../journey/rollback-report.js'
import { timeline } from '../../journey/timeline.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

const WRITE = ['rollouts:write'] as const
/** Entries of one report: thousands of compensations are told by their rows. */
const MOST_ENTRIES = 2000

/** What a rollback did, and what people do about the compensations that stand in its way. */
export function compensationRoutes(world: World): Route[] {
  return [
    {
      method: 'GET',
      path: '/rollouts/{rollout_id}/report',
      permission: ['rollouts:read'],
      tag: 'rollouts',
      summary: 'What a rollback did, with its times',
      description:
        'Detection, stop, the end of running work, each compensation with decision and people, recovery, who was told, and the entries of the audit log that say so.',
      success: { status: 200, schema: Wire.RollbackReport, description: 'The report as it stands now' },
      errors: ['not_found', 'illegal_transition'],
      handler: async ({ caller, params }) => ({ body: await reportOf(world, caller, params.rollout_id as string) }),
    },
    {
      method: 'GET',
      path: '/rollouts/{rollout_id}/report.md',
      permission: ['rollouts:read'],
      tag: 'rollouts',
      summary: 'The same as Markdown',
      success: { status: 200, contentType: 'text/markdown', description: 'The report as it stands now' },
      errors: ['not_found', 'illegal_transition'],
      async handler({ caller, params }) {
        const report = await reportOf(world, caller, params.rollout_id as string)
        const markdown = rollbackMarkdown(report, { proven: null, head: null })
        return { headers: { 'content-type': 'text/markdown; charset=utf-8' }, stream: once(markdown) }
      },
    },
    {
      method: 'POST',
      path: '/rollouts/{rollout_id}/compensations/retry',
      permission: WRITE,
      tag: 'rollouts',
      summary: 'Ask again for compensations that stand in the way of a rollback',
      description:
        'They pass both doors again, and whoever asks does not approve them. One whose job is a dead letter runs again as that job, with what it had done kept; for that the key needs `dead_letters:write` too.',
      body: Wire.RetryCompensations,
      success: { status: 200, schema: Wire.Retried, description: 'What became of each' },
      errors: ['invalid', 'not_found', 'illegal_transition', 'overloaded'],
      async handler({ caller, params, body }) {
        const { note = null, ...which } = body as Wire.RetryCompensations
        const { replays, asked } = await retryCompensations(world, caller, params.rollout_id as string, which)
        const answer: Wire.Retried = { asked, replayed: [], refused: [] }
        for (const job_id of replays) {
          const code = await replayed(world, caller, job_id, note)
          if (code === null) answer.replayed.push(job_id)
          else answer.refused.push({ job_id, code })
        }
        return { body: answer }
      },
    },
    {
      method: 'POST',
      path: '/rollouts/{rollout_id}/compensations/settle',
      permission: WRITE,
      tag: 'rollouts',
      summary: 'Say that an effect was undone by hand, or need not be',
      description:
        'What was done before it in the same run is not held up by it any more. Not while its job is under way.',
      body: Wire.SettleCompensation,
      success: { status: 200, schema: Wire.Settled, description: 'The compensation' },
      errors: ['invalid', 'not_found', 'illegal_transition', 'overloaded'],
      async handler({ caller, params, body }) {
        const wanted = body as Wire.SettleCompensation
        const row = await settleCompensation(world, caller, params.rollout_id as string, wanted)
        const { job_id, effect_key, status, settled_by } = row
        return { body: { job_id, effect_key, status, settled_by } }
      },
    },
  ]
}

/** Why it did not run again; null where it does. */
async function replayed(world: World, caller: Caller, job_id: string, note: string | null): Promise<string | null> {
  try {
    await replay(world, caller, job_id, note)
    return null
  } catch (error) {
    if (error instanceof Problem) return error.code
    throw error
  }
}

const reportOf = async (world: World, caller: Caller, rollout_id: string) =>
  rollbackReport(world, caller.tenant, rollout_id, await entriesOf(world, caller, rollout_id))

async function entriesOf(world: World, { tenant }: Caller, rollout_id: string): Promise<TimelineEntry[]> {
  const entries: TimelineEntry[] = []
  let cursor: string | undefined
  do {
    const page = await timeline(world, tenant, { rollout_id }, cursor, 500)
    entries.push(...page.items)
    cursor = page.next_cursor ?? undefined
  } while (cursor !== undefined && entries.length < MOST_ENTRIES)
  return entries
}

async function* once(text: string): AsyncGenerator<string> {
  yield text
}
