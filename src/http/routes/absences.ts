import * as Wire from '../../contract/absences.js'
import type { Absence } from '../../core/flow.js'
import { putAbsence } from '../../journey/absences.js'
import { listAbsences } from '../../store/absences.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

/** Who is away, and who answers meanwhile. */
export function absenceRoutes(world: World): Route[] {
  return [
    {
      method: 'GET',
      path: '/absences',
      permission: ['directory:read'],
      tag: 'approvals',
      summary: 'Who is away, or will be, and who answers meanwhile',
      success: { status: 200, schema: Wire.AbsencePage, description: 'By principal' },
      errors: [],
      async handler({ caller }) {
        const now = world.clock.now()
        const rows = await listAbsences(world.db, caller.tenant)
        const items = rows.filter(({ until_at }) => until_at > now).map((row) => viewAbsence(row, now))
        return { body: { items, next_cursor: null } }
      },
    },
    {
      method: 'PUT',
      path: '/absences/{principal}',
      // A key that was narrowed to answering still says that its person is away.
      permission: ['absences:write_led', 'approvals:answer', 'directory:write'],
      tag: 'approvals',
      summary: 'Say that somebody is away, and who may answer in their place: yourself, or who you lead',
      body: Wire.PutAbsence,
      success: { status: 200, schema: Wire.Absence, description: 'The absence' },
      errors: ['invalid', 'forbidden', 'not_found', 'no_policy'],
      handler: async ({ caller, params, body }) => ({
        body: viewAbsence(
          await putAbsence(world, caller, params.principal as string, body as Wire.PutAbsence),
          world.clock.now(),
        ),
      }),
    },
  ]
}

function viewAbsence(
  { principal, from_at, until_at, delegate, updated_at, updated_by }: Absence,
  now: number,
): Wire.Absence {
  const away = from_at <= now && now < until_at
  return { principal, from: from_at, until: until_at, delegate, away, updated_at, updated_by }
}
