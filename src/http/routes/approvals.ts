import * as Approvals from '../../contract/approvals.js'
import type { Caller } from '../../core/access.js'
import type { Approval } from '../../core/approval.js'
import { type ErrorCode, Problem } from '../../errors.js'
import { approve, edit, reject, requestChanges } from '../../journey/approve.js'
import { type ApprovalFilter, getApproval, listApprovals, pendingHashesLike } from '../../store/approvals.js'
import { getJob, loadPayload } from '../../store/jobs.js'
import { loadValues } from '../../store/payloads.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'
import { viewApproval } from '../views.js'

const OF_ANY: readonly ErrorCode[] = [
  ...(['not_found', 'approval_stale', 'approval_closed', 'approval_frozen'] as const),
  ...(['self_approval', 'not_an_approver', 'invalid'] as const),
]
const OF_A_YES: readonly ErrorCode[] = [...OF_ANY, 'policy_denied', 'out_of_scope']

export function approvalRoutes(world: World): Route[] {
  const view = async (approval: Approval) =>
    viewApproval(approval, await pendingHashesLike(world.db, approval.tenant, [approval.grant_hash]))
  /** One of the answers a person may give. */
  const answered = <Body>(
    word: string,
    answer: (world: World, caller: Caller, approval_id: string, body: Body) => Promise<Approval>,
    about: Pick<Route, 'summary' | 'description' | 'body' | 'errors'>,
  ): Route => ({
    method: 'POST',
    path: `/approvals/{approval_id}/${word}`,
    permission: ['approvals:answer'],
    tag: 'approvals',
    success: { status: 200, schema: Approvals.Approval, description: 'The approval as it is then' },
    handler: async ({ caller, params, body }) => ({
      body: await view(await answer(world, caller, params.approval_id as string, body as Body)),
    }),
    ...about,
  })
  return [
    {
      method: 'GET',
      path: '/approvals',
      permission: ['approvals:read'],
      tag: 'approvals',
      summary: 'List approvals, newest first',
      query: Approvals.ApprovalQuery,
      success: { status: 200, schema: Approvals.ApprovalPage, description: 'A page' },
      errors: ['invalid'],
      async handler({ caller, query }) {
        const { mine, ...filter } = query as Approvals.ApprovalQuery
        const asked_of = mine === true ? { asked_of: caller.principal } : {}
        const page = await listApprovals(world.db, caller.tenant, { ...(filter as ApprovalFilter), ...asked_of })
        const alike = await pendingHashesLike(
          world.db,
          caller.tenant,
          page.items.map((a) => a.grant_hash),
        )
        return { body: { items: page.items.map((a) => viewApproval(a, alike)), next_cursor: page.next_cursor } }
      },
    },
    {
      method: 'GET',
      path: '/approvals/{approval_id}',
      permission: ['approvals:read'],
      tag: 'approvals',
      summary: 'Everything a reviewer approves, with the hashes to echo',
      success: { status: 200, schema: Approvals.Approval, description: 'The approval with what the job would do' },
      errors: ['not_found'],
      async handler({ caller, params }) {
        const approval = await getApproval(world.db, caller.tenant, params.approval_id as string)
        const job = approval === null ? null : await getJob(world.db, caller.tenant, approval.job_id)
        if (approval === null || job === null) throw new Problem('not_found')
        const alike = await pendingHashesLike(world.db, caller.tenant, [approval.grant_hash])
        const ptrs = approval.edits.flatMap(({ before, after }) => [before, after])
        const inputs = await loadValues(world.db, caller.tenant, ptrs)
        return { body: viewApproval(approval, alike, { job, inputs, ...(await loadPayload(world.db, job)) }) }
      },
    },
    answered<Approvals.Approve>('approve', approve, {
      summary: 'Approve exactly what was seen',
      description: 'Echo `grant_hash`, or `job_hash` with `policy_snapshot`. The door is asked first: a DENY now wins.',
      body: Approvals.Approve,
      errors: OF_A_YES,
    }),
    answered<Approvals.Reject>('reject', reject, { summary: 'Reject', body: Approvals.Reject, errors: OF_ANY }),
    answered<Approvals.Edit>('edit', edit, {
      summary: 'Replace the input and approve what the job is then',
      description:
        'The door is asked about the edited job; a DENY refuses the edit. Who approved before saw something else: theirs are void. Echo as for approve.',
      body: Approvals.Edit,
      errors: OF_A_YES,
    }),
    answered<Approvals.Reject>('request-changes', requestChanges, {
      summary: 'Reject with what would have to change; the agent reads it with the job',
      body: Approvals.Reject,
      errors: OF_ANY,
    }),
  ]
}
