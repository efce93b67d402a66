import { Decision } from '../../contract/decisions.js'
import { may } from '../../core/access.js'
import { shortForm } from '../../core/binding.js'
import { Problem } from '../../errors.js'
import { decisionWithWhy } from '../../journey/explain.js'
import { remade } from '../../store/remade.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

export function decisionRoutes(world: World): Route[] {
  return [
    {
      method: 'GET',
      path: '/decisions/{decision_id}',
      permission: ['jobs:read', 'jobs:read_own'],
      tag: 'decisions',
      summary: 'One decision with its why: what matched, what nearly did and what failed',
      success: { status: 200, schema: Decision, description: 'The decision' },
      errors: ['not_found'],
      async handler({ caller, params }) {
        const { row, why } = await decisionWithWhy(world, caller, params.decision_id as string)
        if (!may(caller, 'jobs:read') && row.agent !== caller.principal) throw new Problem('not_found')
        const again = await remade(world, caller.tenant, row.decision_id)
        const {
          decision_id,
          door,
          job_id,
          at,
          agent,
          topic,
          decision,
          reason,
          rules,
          constraints,
          high_risk,
          snapshot,
        } = row
        return {
          body: {
            decision_id,
            door,
            job_id,
            at,
            agent,
            topic,
            decision,
            reason,
            rules,
            constraints,
            high_risk,
            policy_snapshot: shortForm(snapshot),
            snapshot_digest: snapshot,
            why,
            reproduced: again?.same ?? null,
          },
        }
      },
    },
  ]
}
