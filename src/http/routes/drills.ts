import * as Wire from '../../contract/drills.js'
import { DRILL_NAMES, DRILLS, type DrillName, type DrillRun, dueAt, isDrill, stands } from '../../core/drill.js'
import { Problem } from '../../errors.js'
import { type DrillState, drillStates, recordDrill, scheduleDrill } from '../../journey/drills.js'
import { pageOfDrillRuns } from '../../store/drills.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

/** Drills: who answers for each, when it was last run, what came of it, and what is reported of a new one. */
export function drillRoutes(world: World): Route[] {
  const view = (state: DrillState) => viewDrill(state, world.clock.now())
  return [
    {
      method: 'GET',
      path: '/drills',
      permission: ['rollouts:read'],
      tag: 'drills',
      summary: 'The seven drills: owner, cadence, newest result, and whether a gate counts it now',
      success: { status: 200, schema: Wire.DrillList, description: 'The drills' },
      errors: [],
      handler: async ({ caller }) => ({
        body: { items: (await drillStates(world, caller.tenant, DRILL_NAMES)).map(view), next_cursor: null },
      }),
    },
    {
      method: 'GET',
      path: '/drills/{drill}',
      permission: ['rollouts:read'],
      tag: 'drills',
      summary: 'One drill, and its runs, newest first',
      query: Wire.DrillQuery,
      success: { status: 200, schema: Wire.DrillHistory, description: 'The drill' },
      errors: ['not_found', 'invalid'],
      async handler({ caller, params, query }) {
        const drill = named(params.drill)
        const [state] = await drillStates(world, caller.tenant, [drill])
        const runs = await pageOfDrillRuns(world.db, caller.tenant, drill, query as Wire.DrillQuery)
        return { body: { ...view(state as DrillState), runs: { ...runs, items: runs.items.map(viewRun) } } }
      },
    },
    {
      method: 'POST',
      path: '/drills/{drill}/runs',
      permission: ['drills:write'],
      tag: 'drills',
      summary: 'Report a drill that was played',
      description:
        'The server looks at what `made` names itself: rows, decisions made again, the log. A check of either side that does not hold fails the run. An agent or a worker reports none. `sallyport drill run` plays and reports.',
      body: Wire.ReportDrill,
      success: { status: 201, schema: Wire.DrillRun, description: 'The run as it is recorded: passed or failed' },
      errors: ['not_found', 'invalid', 'forbidden', 'overloaded'],
      async handler({ caller, params, body }) {
        const { figures = {}, ...report } = body as Wire.ReportDrill
        const run = await recordDrill(world, caller, named(params.drill), { ...report, figures })
        return { status: 201, body: viewRun(run) }
      },
    },
    {
      method: 'PUT',
      path: '/drills/{drill}',
      permission: ['drills:write'],
      tag: 'drills',
      summary: 'Say who answers for a drill, and how often it is to be run',
      description: 'Its owner is told (`drill.overdue`) once for each time at which it should have passed and had not.',
      body: Wire.ScheduleDrill,
      success: { status: 200, schema: Wire.Drill, description: 'The drill' },
      errors: ['not_found', 'invalid', 'forbidden', 'overloaded'],
      async handler({ caller, params, body }) {
        const drill = named(params.drill)
        const { owner, every_ms = DRILLS[drill].every_ms } = body as Wire.ScheduleDrill
        await scheduleDrill(world, caller, drill, { owner, every_ms })
        const [state] = await drillStates(world, caller.tenant, [drill])
        return { body: view(state as DrillState) }
      },
    },
  ]
}

function named(drill: string | undefined): DrillName {
  if (isDrill(drill)) return drill
  throw new Problem('not_found', `There is no such drill: ${DRILL_NAMES.join(', ')}`)
}

function viewDrill({ drill, schedule, standing, newest }: DrillState, now: number): Wire.Drill {
  return {
    drill,
    title: DRILLS[drill].title,
    owner: schedule?.owner ?? null,
    every_ms: schedule?.every_ms ?? DRILLS[drill].every_ms,
    due_at: dueAt(standing, schedule, drill),
    stands: stands(standing, now),
    newest: newest === null ? null : viewRun(newest),
  }
}

const viewRun = ({ tenant: _tenant, ...run }: DrillRun): Wire.DrillRun => run
