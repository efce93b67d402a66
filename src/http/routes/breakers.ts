import * as Wire from '../../contract/stops.js'
import type { Breaker } from '../../core/breaker.js'
import { closeBreaker } from '../../journey/break.js'
import { listBreakers } from '../../store/breakers.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

/** Agents that were taken out by themselves after failures. */
export function breakerRoutes(world: World): Route[] {
  const view = ({ tenant: _tenant, ...breaker }: Breaker): Wire.Breaker => {
    const half = breaker.state === 'open' && world.clock.now() >= breaker.retry_at
    return { ...breaker, state: half ? 'half_open' : breaker.state }
  }
  return [
    {
      method: 'GET',
      path: '/breakers',
      permission: ['stops:read'],
      tag: 'stops',
      summary: 'Breakers that opened at some time, by agent',
      success: { status: 200, schema: Wire.BreakerPage, description: 'The breakers' },
      errors: [],
      handler: async ({ caller }) => ({
        body: { items: (await listBreakers(world.db, caller.tenant)).map(view), next_cursor: null },
      }),
    },
    {
      method: 'POST',
      path: '/breakers/{agent}/close',
      permission: ['stops:write', 'stops:write_led'],
      tag: 'stops',
      summary: 'Take an agent back before its breaker would',
      description: 'Failures before this count no more. Who leads the team that owns the agent may do it too.',
      success: { status: 200, schema: Wire.Breaker, description: 'The breaker' },
      errors: ['not_found', 'forbidden', 'overloaded'],
      handler: async ({ caller, params }) => ({
        body: view(await closeBreaker(world, caller, params.agent as string)),
      }),
    },
  ]
}
