import { DeadLetterPage } from '../../contract/dead-letters.js'
import { Job, NoteBody, ReasonBody } from '../../contract/jobs.js'
import { PageQuery } from '../../contract/scalars.js'
import { discard, replay } from '../../journey/replay.js'
import { listJobs } from '../../store/jobs.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'
import { viewJob } from '../views.js'

export function deadLetterRoutes(world: World): Route[] {
  return [
    {
      method: 'GET',
      path: '/dead-letters',
      permission: ['dead_letters:read'],
      tag: 'dead letters',
      summary: 'Jobs that failed for good, with their owner and when an answer is due',
      query: PageQuery,
      success: { status: 200, schema: DeadLetterPage, description: 'A page' },
      errors: ['invalid'],
      async handler({ caller, query }) {
        const page = await listJobs(world.db, caller.tenant, { ...query, status: 'dead_letter' })
        const now = world.clock.now()
        const items = page.items.map((row) => {
          const job = viewJob(row)
          const { job_id, topic, agent, owner, respond_by, attempt, error } = job
          return {
            job_id,
            topic,
            agent,
            owner,
            respond_by,
            overdue: respond_by !== null && respond_by < now,
            dead_at: row.finished_at,
            attempt,
            error,
            job,
          }
        })
        return { body: { items, next_cursor: page.next_cursor } }
      },
    },
    {
      method: 'POST',
      path: '/dead-letters/{job_id}/replay',
      permission: ['dead_letters:write'],
      tag: 'dead letters',
      summary: 'Give a dead letter a new attempt budget, through both doors again',
      body: NoteBody,
      optionalBody: true,
      success: { status: 200, schema: Job, description: 'The job, queued or parked' },
      errors: ['not_found', 'illegal_transition', 'policy_denied', 'stopped', 'breaker_open'],
      handler: async ({ caller, params, body }) => ({
        body: viewJob(await replay(world, caller, params.job_id as string, (body as { note?: string }).note ?? null)),
      }),
    },
    {
      method: 'POST',
      path: '/dead-letters/{job_id}/discard',
      permission: ['dead_letters:write'],
      tag: 'dead letters',
      summary: 'Give a dead letter up for good',
      body: ReasonBody,
      success: { status: 200, schema: Job, description: 'The job' },
      errors: ['not_found', 'illegal_transition', 'invalid'],
      handler: async ({ caller, params, body }) => ({
        body: viewJob(await discard(world, caller, params.job_id as string, (body as { reason: string }).reason)),
      }),
    },
  ]
}
