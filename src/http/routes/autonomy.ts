import * as Wire from '../../contract/autonomy.js'
import { NoteBody } from '../../contract/jobs.js'
import type { Caller } from '../../core/access.js'
import type { Autonomy } from '../../core/autonomy.js'
import {
  type AutonomyReport,
  autonomyReport,
  confirmPromotion,
  declareAutonomy,
  demote,
  proposePromotion,
} from '../../journey/promote.js'
import { reviewReport } from '../../journey/review-load.js'
import { autonomyIn } from '../../store/autonomy.js'
import type { World } from '../../store/world.js'
import type { Call, Route } from '../route.js'

const DAY_MS = 86_400_000
const WRITE = ['autonomy:write', 'autonomy:write_led'] as const

/** How far each agent is trusted, what it would have to show to be trusted further, and how those fare who are asked. */
export function autonomyRoutes(world: World): Route[] {
  const shown = async (tenant: string, agent: string) => viewAutonomy(await autonomyReport(world, tenant, agent))
  /** Does it and shows what the agent is from then on. */
  const changed =
    <Body>(step: (world: World, caller: Caller, agent: string, body: Body) => Promise<unknown>, status = 200) =>
    async ({ caller, params, body }: Call) => {
      await step(world, caller, params.agent as string, body as Body)
      return { status, body: await shown(caller.tenant, params.agent as string) }
    }
  return [
    {
      method: 'GET',
      path: '/autonomy',
      permission: ['directory:read'],
      tag: 'autonomy',
      summary: 'Agents under management and their stages; all others are bound by policy alone',
      success: { status: 200, schema: Wire.AutonomyList, description: 'The agents, by name' },
      errors: [],
      handler: async ({ caller }) => ({
        body: { items: (await autonomyIn(world.db, caller.tenant)).map(viewItem), next_cursor: null },
      }),
    },
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
        'Every stage asks people about at least as much as policy alone does. From the answer on every door decides so, on every node. Of an agent that is managed a lower spot check, lower bounds or other people to ask are proposed by the first call; the same from another person within a week carries them out. Its stage changes by promote and demote only.',
      body: Wire.PutAutonomy,
      success: { status: 200, schema: Wire.Autonomy, description: 'The stage' },
      other: {
        status: 202,
        schema: Wire.Autonomy,
        description: 'Proposed, because people would see less or others would: all is still as it was',
      },
      errors: ['invalid', 'not_found', 'forbidden', 'self_approval', 'illegal_transition', 'overloaded'],
      async handler({ caller, params, body }) {
        const agent = params.agent as string
        const { proposal } = await declareAutonomy(world, caller, agent, body as Wire.PutAutonomy)
        return { status: proposal?.settings === undefined ? 200 : 202, body: await shown(caller.tenant, agent) }
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
      handler: changed<Wire.Promote>(
        (world, caller, agent, { to, note = null }) => proposePromotion(world, caller, agent, { to, note }),
        202,
      ),
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
      handler: changed<NoteBody>((world, caller, agent, { note = null }) =>
        confirmPromotion(world, caller, agent, note),
      ),
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
      handler: changed<Wire.Demote>(demote),
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
  return { ...viewItem(autonomy), numbers, criteria }
}

/** With which key somebody spoke is nobody's to read. */
function withoutKey(proposal: Autonomy['proposal']): Wire.AutonomyItem['proposal'] {
  if (proposal === null) return null
  const { key_id: _key, ...shown } = proposal
  return shown
}

function viewItem({ agent, stage, since, spot_check, least, most, asks, proposal }: Autonomy): Wire.AutonomyItem {
  return { agent, stage, since, spot_check, least, most, asks, proposal: withoutKey(proposal) }
}
