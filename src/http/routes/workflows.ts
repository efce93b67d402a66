import * as Wire from '../../contract/autonomy.js'
import { Problem } from '../../errors.js'
import { closeWorkflow, openWorkflow, type WorkflowReport, workflowReports } from '../../journey/workflows.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

/** Bounded workflows: opened by a person, one at a time until three ran well. */
export function workflowRoutes(world: World): Route[] {
  const shown = async (tenant: string, workflow: string) => {
    const found = (await workflowReports(world, tenant)).find(({ bounds }) => bounds.id === workflow)
    if (found === undefined) throw new Problem('not_found')
    return viewWorkflow(found)
  }
  return [
    {
      method: 'GET',
      path: '/workflows',
      permission: ['policy:read'],
      tag: 'autonomy',
      summary: 'Bounded workflows of the active policy, and how those that are open fare',
      success: { status: 200, schema: Wire.WorkflowList, description: 'The workflows, by name' },
      errors: ['no_policy'],
      handler: async ({ caller }) => ({
        body: { items: (await workflowReports(world, caller.tenant)).map(viewWorkflow), next_cursor: null },
      }),
    },
    {
      method: 'POST',
      path: '/workflows/{workflow}/open',
      permission: ['autonomy:write'],
      tag: 'autonomy',
      summary: 'Let the jobs of a bounded workflow through, as far as policy does',
      description: 'One at a time until three ran well for a week each; from then on several at once.',
      success: { status: 200, schema: Wire.Workflow, description: 'On trial from now on' },
      errors: ['not_found', 'no_policy', 'illegal_transition', 'workflow_on_trial', 'overloaded'],
      async handler({ caller, params }) {
        await openWorkflow(world, caller, params.workflow as string)
        return { body: await shown(caller.tenant, params.workflow as string) }
      },
    },
    {
      method: 'POST',
      path: '/workflows/{workflow}/close',
      permission: ['autonomy:write'],
      tag: 'autonomy',
      summary: 'From the answer on nothing of the workflow goes',
      success: { status: 200, schema: Wire.Workflow, description: 'Closed' },
      errors: ['not_found', 'no_policy', 'illegal_transition', 'overloaded'],
      async handler({ caller, params }) {
        await closeWorkflow(world, caller, params.workflow as string)
        return { body: await shown(caller.tenant, params.workflow as string) }
      },
    },
  ]
}

function viewWorkflow({ bounds: { id: workflow, ...bounds }, opened, ends }: WorkflowReport): Wire.Workflow {
  const isClosed = opened === null || opened.closed_at !== null
  return {
    workflow,
    ...bounds,
    state: isClosed ? 'closed' : opened.stable_at === null ? 'trial' : 'proven',
    opened_at: opened?.opened_at ?? null,
    opened_by: opened?.opened_by ?? null,
    closed_at: opened?.closed_at ?? null,
    succeeded: ends?.succeeded ?? null,
    failed: ends?.failed ?? null,
  }
}
