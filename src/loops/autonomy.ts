import { watchAutonomy } from '../journey/promote.js'
import { rebalanceReviews } from '../journey/review-load.js'
import { proveWorkflows } from '../journey/workflows.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import type { World } from '../store/world.js'
import type { Loop } from './loop.js'
import { seated } from './sweeper.js'

/** Breakers act within a second; this looks at rates over days, and costs some queries for each managed agent. */
const PAUSE_MS = 60_000

/** Puts agents back whose numbers fell, tells of those people disagree with, and moves spot checks by what reviewers can bear. */
export function autonomy(world: World, clock: Clock, log: Log): Loop {
  return seated(world, 'autonomy', PAUSE_MS, clock, log, async () => {
    for (const { tenant, agent, stage } of await watchAutonomy(world))
      log.warn({ tenant, agent, stage }, 'an agent was put back')
    await rebalanceReviews(world)
    await proveWorkflows(world)
  })
}
