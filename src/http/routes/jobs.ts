import * as Jobs from '../../contract/jobs.js'
import { PageQuery } from '../../contract/scalars.js'
import { type Caller, may } from '../../core/access.js'
import type { Job } from '../../core/job.js'
import { Problem } from '../../errors.js'
import { cancel } from '../../journey/cancel.js'
import { discardResult, release } from '../../journey/release.js'
import { resolve } from '../../journey/resolve.js'
import { submit } from '../../journey/submit.js'
import { timeline } from '../../journey/timeline.js'
import { getApproval } from '../../store/approvals.js'
import { getJob, type JobFilter, listJobs, runCounts } from '../../store/jobs.js'
import { effectsOfJob, getLease } from '../../store/leases.js'
import { getPayload } from '../../store/payloads.js'
import type { World } from '../../store/world.js'
import { asProblem, problemBody } from '../problem.js'
import type { Call, Reply, Route } from '../route.js'
import type { SubmitGuard } from '../submit-guard.js'
import { viewJob, viewRun } from '../views.js'

const READ = ['jobs:read', 'jobs:read_own'] as const
const IDEMPOTENCY = [
  { name: 'Idempotency-Key', description: 'Repeats with the same key and body get the first 202; kept 24 h' },
]

/** A job of this tenant that the caller may see; what it may not see does not exist for it. */
async function visible(world: World, caller: Caller, job_id: string): Promise<Job> {
  const job = await getJob(world.db, caller.tenant, job_id)
  if (job === null || (!may(caller, 'jobs:read') && job.requested_by !== caller.principal))
    throw new Problem('not_found')
  return job
}

function idempotencyKey(headers: Call['headers']): string | null {
  const key = headers['idempotency-key']
  if (key === undefined) return null
  if (typeof key !== 'string' || !/^[!-~]{1,200}$/.test(key))
    throw new Problem('invalid', undefined, {
      faults: [{ path: 'header Idempotency-Key', message: 'must be 1 to 200 printable ASCII characters' }],
    })
  return key
}

/**
 * Items of a batch under way at once. All thousand at once put a thousand entries into the one queue everybody commits
 * through, and had been decided before the first denial could count against the rest.
 */
const SLICE = 100

export function jobRoutes(world: World, guard: SubmitGuard): Route[] {
  const admit = (caller: Caller) => guard.admit(caller)
  const one = async (caller: Caller, body: Jobs.SubmitJob, key: string | null): Promise<Reply> => {
    guard.admit(caller)
    const { answer, replayed } = await submit(world, caller, body, key, () => guard.spend(caller))
    return {
      status: answer.status === 'shadowed' ? 200 : 202,
      body: answer,
      headers: replayed ? { 'Idempotency-Replayed': 'true' } : {},
    }
  }
  return [
    {
      method: 'POST',
      path: '/jobs',
      permission: ['jobs:submit'],
      admit,
      tag: 'jobs',
      summary: 'Submit one action',
      description:
        'Decided before it is recorded. ALLOW queues it, REQUIRE_APPROVAL parks it, DENY answers 403 and leaves no job.',
      headers: IDEMPOTENCY,
      body: Jobs.SubmitJob,
      success: {
        status: 202,
        schema: Jobs.Accepted,
        description: 'Recorded: queued, or parked until somebody approves',
      },
      other: {
        status: 200,
        schema: Jobs.Shadowed,
        description: 'The agent is in the shadow: recorded, and nothing runs',
      },
      errors: [
        'malformed',
        'invalid',
        'policy_denied',
        'stopped',
        'breaker_open',
        'act_as_refused',
        'topic_refused',
        'idempotency_conflict',
        'too_large',
        'rate_limited',
        'overloaded',
        'no_policy',
        'outcome_unknown',
      ],
      handler: ({ caller, body, headers }) => one(caller, body as Jobs.SubmitJob, idempotencyKey(headers)),
    },
    {
      method: 'POST',
      path: '/jobs/batch',
      permission: ['jobs:submit'],
      admit,
      tag: 'jobs',
      summary: 'Submit up to 1,000 actions, each with an answer of its own',
      body: Jobs.SubmitBatch,
      success: {
        status: 200,
        schema: Jobs.BatchAnswer,
        description: 'In the order of the request: status and body as POST /jobs would have answered',
      },
      errors: ['malformed', 'invalid', 'too_large', 'rate_limited', 'overloaded', 'no_policy'],
      async handler({ caller, body }) {
        const { jobs } = body as Jobs.SubmitBatch
        const answer = async ({ idempotency_key, ...job }: Jobs.SubmitBatch['jobs'][number]) => {
          try {
            const reply = await one(caller, job, idempotency_key ?? null)
            return { status: reply.status ?? 200, body: reply.body }
          } catch (error) {
            // One item's fault is that item's answer, whatever it is.
            const problem = asProblem(error)
            return { status: problem.status, body: problemBody(problem) }
          }
        }
        const items: Jobs.BatchAnswer['items'] = []
        for (let from = 0; from < jobs.length; from += SLICE) {
          // Nothing that is refused at once waits for anything: a thousand such items in one piece keep all others waiting.
          if (from > 0) await world.clock.turn()
          items.push(...(await Promise.all(jobs.slice(from, from + SLICE).map(answer))))
        }
        return { body: { items } }
      },
    },
    {
      method: 'GET',
      path: '/jobs',
      permission: READ,
      tag: 'jobs',
      summary: 'List jobs, newest first',
      query: Jobs.JobQuery,
      success: { status: 200, schema: Jobs.JobPage, description: 'A page' },
      errors: ['invalid'],
      async handler({ caller, query }) {
        const filter: JobFilter = { ...query, ...(may(caller, 'jobs:read') ? {} : { requested_by: caller.principal }) }
        const page = await listJobs(world.db, caller.tenant, filter)
        return { body: { items: page.items.map((job) => viewJob(job)), next_cursor: page.next_cursor } }
      },
    },
    {
      method: 'GET',
      path: '/jobs/{job_id}',
      permission: READ,
      tag: 'jobs',
      summary: 'One job with its effects',
      success: { status: 200, schema: Jobs.Job, description: 'The job' },
      errors: ['not_found'],
      async handler({ caller, params }) {
        const job = await visible(world, caller, params.job_id as string)
        const effects = await effectsOfJob(world.db, job.tenant, job.job_id)
        const lease = job.lease_id === null ? null : await getLease(world.db, job.tenant, job.lease_id)
        return { body: viewJob(job, { effects, lease, feedback: await feedbackOf(world, job) }) }
      },
    },
    {
      method: 'GET',
      path: '/jobs/{job_id}/timeline',
      permission: READ,
      tag: 'jobs',
      summary: 'Everything that happened to a job, in order',
      query: PageQuery,
      success: { status: 200, schema: Jobs.Timeline, description: 'Audit entries' },
      errors: ['not_found', 'invalid'],
      async handler({ caller, params, query }) {
        const job = await visible(world, caller, params.job_id as string)
        return {
          body: await timeline(
            world,
            caller.tenant,
            { job_id: job.job_id },
            query.cursor as string | undefined,
            (query.limit as number | undefined) ?? 200,
          ),
        }
      },
    },
    {
      method: 'GET',
      path: '/jobs/{job_id}/result',
      permission: ['results:read', 'results:read_own'],
      tag: 'results',
      summary: 'What the job returned, after screening',
      success: { status: 200, schema: Jobs.Result, description: 'The screened output' },
      errors: ['not_found', 'result_not_ready', 'result_quarantined'],
      async handler({ caller, params }) {
        const job = await visible(world, caller, params.job_id as string)
        if (job.status === 'quarantined') throw new Problem('result_quarantined', undefined, { findings: job.findings })
        if (job.status !== 'succeeded')
          throw new Problem('result_not_ready', `The job is ${job.status}`, { job_status: job.status })
        const payload = job.result_ptr === null ? null : await getPayload(world.db, job.tenant, job.result_ptr)
        const output = payload?.body == null ? null : JSON.parse(payload.body)
        return {
          body: {
            job_id: job.job_id,
            verdict: job.verdict ?? 'ALLOW',
            findings: job.findings ?? [],
            output,
            released_by: job.released_by,
          },
        }
      },
    },
    ...(['release', 'discard'] as const).map(
      (what): Route => ({
        method: 'POST',
        path: `/jobs/{job_id}/result/${what}`,
        permission: ['results:release'],
        tag: 'results',
        summary: what === 'release' ? 'Let a quarantined result out, as it is' : 'Throw a quarantined result away',
        body: Jobs.NoteBody,
        optionalBody: true,
        success: { status: 200, schema: Jobs.Job, description: 'The job' },
        errors: ['not_found', 'illegal_transition', 'self_approval'],
        async handler({ caller, params, body }) {
          const note = (body as { note?: string }).note ?? null
          const job = await (what === 'release' ? release : discardResult)(world, caller, params.job_id as string, note)
          return { body: viewJob(job) }
        },
      }),
    ),
    {
      method: 'POST',
      path: '/jobs/{job_id}/cancel',
      permission: ['jobs:cancel', 'jobs:cancel_own'],
      tag: 'jobs',
      summary: 'Cancel a job, or ask a running one to stop',
      body: Jobs.CancelJob,
      optionalBody: true,
      success: { status: 200, schema: Jobs.Job, description: 'The job' },
      errors: ['not_found', 'illegal_transition'],
      handler: async ({ caller, params, body }) => ({
        body: viewJob(
          await cancel(world, caller, params.job_id as string, (body as { reason?: string }).reason ?? null),
        ),
      }),
    },
    {
      method: 'POST',
      path: '/jobs/{job_id}/resolve',
      permission: ['jobs:resolve'],
      tag: 'jobs',
      summary: 'Say whether an effect in doubt happened',
      body: Jobs.ResolveJob,
      success: { status: 200, schema: Jobs.Job, description: 'The job' },
      errors: ['not_found', 'illegal_transition', 'effect_not_decidable', 'invalid'],
      handler: async ({ caller, params, body }) => ({
        body: viewJob(await resolve(world, caller, params.job_id as string, body as Jobs.ResolveJob)),
      }),
    },
    {
      method: 'GET',
      path: '/runs/{run_id}',
      permission: READ,
      tag: 'runs',
      summary: 'The jobs of one task',
      success: { status: 200, schema: Jobs.Run, description: 'The run' },
      errors: ['not_found'],
      async handler({ caller, params }) {
        const run_id = params.run_id as string
        const own = may(caller, 'jobs:read') ? null : caller.principal
        const { items } = await listJobs(world.db, caller.tenant, {
          run_id,
          limit: 500,
          ...(own === null ? {} : { requested_by: own }),
        })
        if (items.length === 0) throw new Problem('not_found')
        return { body: viewRun(run_id, items, await runCounts(world.db, caller.tenant, run_id, own)) }
      },
    },
    {
      method: 'GET',
      path: '/runs/{run_id}/timeline',
      permission: ['jobs:read'],
      tag: 'runs',
      summary: 'Everything that happened in a run, in order',
      query: PageQuery,
      success: { status: 200, schema: Jobs.Timeline, description: 'Audit entries' },
      errors: ['not_found', 'invalid'],
      async handler({ caller, params, query }) {
        const run_id = params.run_id as string
        const page = await timeline(
          world,
          caller.tenant,
          { run_id },
          query.cursor as string | undefined,
          (query.limit as number | undefined) ?? 200,
        )
        if (page.items.length === 0 && page.next_cursor === null && query.cursor === undefined)
          throw new Problem('not_found')
        return { body: page }
      },
    },
    {
      method: 'GET',
      path: '/pointers/{ptr}',
      permission: READ,
      tag: 'runs',
      summary: 'The text behind a context, input or result pointer',
      success: { status: 200, schema: Jobs.Pointer, description: 'The value' },
      errors: ['not_found', 'result_quarantined'],
      async handler({ caller, params }) {
        const payload = await getPayload(world.db, caller.tenant, params.ptr as string)
        if (payload === null || payload.job_id === null || payload.kind === 'effect') throw new Problem('not_found')
        const job = await visible(world, caller, payload.job_id)
        if (payload.kind === 'sealed') throw new Problem('result_quarantined')
        const results =
          may(caller, 'results:read') || (may(caller, 'results:read_own') && job.requested_by === caller.principal)
        if (payload.body === null || (payload.kind === 'result' && !results)) throw new Problem('not_found')
        return { body: { ptr: payload.ptr, kind: payload.kind, value: JSON.parse(payload.body) } }
      },
    },
  ]
}

/** What a reviewer wants changed; null where nobody said so. */
async function feedbackOf(world: World, { tenant, status_reason, approval_id }: Job): Promise<string | null> {
  if (status_reason !== 'changes_requested' || approval_id === null) return null
  const approval = await getApproval(world.db, tenant, approval_id)
  return approval?.answers.findLast(({ answer }) => answer === 'reject')?.note ?? null
}
