import * as Wire from '../../contract/autonomy.js'
import { NoteBody } from '../../contract/jobs.js'
import {
  type AutonomyReport,
  autonomyReport,
  confirmPromotion,
  declareAutonomy,
  demote,
  proposePromotion,
} from '../../journey/promote.js'
import { reviewReport } from '../../journey/review-load.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

const DAY_MS = 86_400_000
const WRITE = ['autonomy:write', 'autonomy:write_led'] as const

/** How far each agent is trusted, what it would have to show to be trusted further, and how those fare who are asked. */
export function autonomyRoutes(world: World): Route[] {
  const shown = async (tenant: string, agent: string) => viewAutonomy(await autonomyReport(world, tenant, agent))
  return [
    {
      method: 'GET',
      path: '/agents/{agent}/autonomy',
      permission: ['directory:read'],
      tag: 'autonomy',
      summary: 'The stage of an agent, its numbers and what the next stage needs',
      success: { status: 200, schema: Wire.Autonomy, description: 'The stage' },
      errors: ['not_found'],
      handler: async ({ caller, params }) => ({ body: await shown(caller.tenant, params.agent as string) }),
    },
    {
      method: 'PUT',
      path: '/agents/{agent}/autonomy',
      permission: WRITE,
      tag: 'autonomy',
      summary: 'Put an agent under management, or change its spot check, the bounds of it and who is asked',
      description:
        'Every stage asks people about at least as much as policy alone does. From the answer on every door decides so, on every node. The stage of an agent that is managed changes by promote and demote only.',
      body: Wire.PutAutonomy,
      success: { status: 200, schema: Wire.Autonomy, description: 'The stage' },
      errors: ['invalid', 'not_found', 'forbidden', 'illegal_transition', 'overloaded'],
      async handler({ caller, params, body }) {
        await declareAutonomy(world, caller, params.agent as string, body as Wire.PutAutonomy)
        return { body: await shown(caller.tenant, params.agent as string) }
      },
    },
    {
      method: 'POST',
      path: '/agents/{agent}/autonomy/promote',
      permission: WRITE,
      tag: 'autonomy',
      summary: 'Propose the next stage; another person confirms it within a week',
      body: Wire.Promote,
      success: { status: 202, schema: Wire.Autonomy, description: 'Proposed: the stage is still what it was' },
      errors: ['invalid', 'not_found', 'forbidden', 'illegal_transition', 'stage_not_earned', 'overloaded'],
      async handler({ caller, params, body }) {
        const { to, note = null } = body as Wire.Promote
        await proposePromotion(world, caller, params.agent as string, { to, note })
        return { status: 202, body: await shown(caller.tenant, params.agent as string) }
      },
    },
    {
      method: 'POST',
      path: '/agents/{agent}/autonomy/confirm',
      permission: WRITE,
      tag: 'autonomy',
      summary: 'Carry out what another person proposed, if its criteria still hold',
      body: NoteBody,
      optionalBody: true,
      success: { status: 200, schema: Wire.Autonomy, description: 'The new stage' },
      errors: [
        ...(['invalid', 'not_found', 'forbidden', 'self_approval', 'illegal_transition'] as const),
        ...(['stage_not_earned', 'overloaded'] as const),
      ],
      async handler({ caller, params, body }) {
        const { note = null } = body as NoteBody
        await confirmPromotion(world, caller, params.agent as string, note)
        return { body: await shown(caller.tenant, params.agent as string) }
      },
    },
    {
      method: 'POST',
      path: '/agents/{agent}/autonomy/demote',
      permission: WRITE,
      tag: 'autonomy',
      summary: 'Put an agent back at once',
      body: Wire.Demote,
      success: { status: 200, schema: Wire.Autonomy, description: 'The new stage' },
      errors: ['invalid', 'not_found', 'forbidden', 'illegal_transition', 'overloaded'],
      async handler({ caller, params, body }) {
        await demote(world, caller, params.agent as string, body as Wire.Demote)
        return { body: await shown(caller.tenant, params.agent as string) }
      },
    },
    {
      method: 'GET',
      path: '/reviews/load',
      permission: ['approvals:read'],
      tag: 'approvals',
      summary: 'What waits for people, how long they take, and who bears it',
      query: Wire.ReviewLoadQuery,
      success: { status: 200, schema: Wire.ReviewLoad, description: 'Backlog, waits and reviewers' },
      errors: ['invalid'],
      async handler({ caller, query }) {
        const { days = 1 } = query as Wire.ReviewLoadQuery
        return { body: await reviewReport(world, caller.tenant, days * DAY_MS) }
      },
    },
  ]
}

function viewAutonomy({ autonomy, numbers, criteria }: AutonomyReport): Wire.Autonomy {
  const { agent, stage, since, spot_check, least, most, asks, proposal } = autonomy
  return { agent, stage, since, spot_check, least, most, asks, proposal, numbers, criteria }
}
