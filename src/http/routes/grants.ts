import * as Wire from '../../contract/grants.js'
import { PageQuery } from '../../contract/scalars.js'
import type { GrantRow } from '../../core/grant.js'
import { Problem } from '../../errors.js'
import { createGrant, revokeGrant } from '../../journey/grants.js'
import { getGrant, pageOfGrants, usesOf } from '../../store/grants.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

/** Approvals given beforehand: visible, counted, and taken back with one call. */
export function grantRoutes(world: World): Route[] {
  const shown = async (tenant: string, rows: readonly GrantRow[]): Promise<Wire.Grant[]> => {
    const used = await usesOf(
      world.db,
      tenant,
      rows.map(({ grant_id }) => grant_id),
    )
    return rows.map((row) => viewGrant(row, used.get(row.grant_id) ?? 0, world.clock.now()))
  }
  const one = async (row: GrantRow) => (await shown(row.tenant, [row]))[0]
  return [
    {
      method: 'GET',
      path: '/grants',
      permission: ['approvals:read'],
      tag: 'approvals',
      summary: 'Approvals given beforehand, newest first, with what is left of them',
      query: PageQuery,
      success: { status: 200, schema: Wire.GrantPage, description: 'A page' },
      errors: ['invalid'],
      async handler({ caller, query }) {
        const page = await pageOfGrants(world.db, caller.tenant, query as PageQuery)
        return { body: { items: await shown(caller.tenant, page.items), next_cursor: page.next_cursor } }
      },
    },
    {
      method: 'POST',
      path: '/grants',
      permission: ['approvals:answer'],
      tag: 'approvals',
      summary: 'Approve beforehand: so many uses by one agent on one topic, until then',
      description:
        'Counts where one yes of yours would be enough for the flow of the job, and never for high risk. Each job that passes by it takes one use.',
      body: Wire.CreateGrant,
      success: { status: 201, schema: Wire.Grant, description: 'The grant' },
      errors: ['invalid', 'self_approval', 'not_an_approver', 'no_policy'],
      handler: async ({ caller, body }) => ({
        status: 201,
        body: await one(await createGrant(world, caller, body as Wire.CreateGrant)),
      }),
    },
    {
      method: 'GET',
      path: '/grants/{grant_id}',
      permission: ['approvals:read'],
      tag: 'approvals',
      summary: 'One grant',
      success: { status: 200, schema: Wire.Grant, description: 'The grant' },
      errors: ['not_found'],
      async handler({ caller, params }) {
        const row = await getGrant(world.db, caller.tenant, params.grant_id as string)
        if (row === null) throw new Problem('not_found')
        return { body: await one(row) }
      },
    },
    {
      method: 'DELETE',
      path: '/grants/{grant_id}',
      permission: ['approvals:answer'],
      tag: 'approvals',
      summary: 'Revoke a grant: from the answer on nothing passes by it, and what is queued by it is asked about',
      success: { status: 200, schema: Wire.Grant, description: 'The grant' },
      errors: ['not_found'],
      handler: async ({ caller, params }) => ({
        body: await one(await revokeGrant(world, caller, params.grant_id as string)),
      }),
    },
  ]
}

function viewGrant(row: GrantRow, used: number, now: number): Wire.Grant {
  const { tenant: _tenant, condition, key_id: _key, voice: _voice, ...grant } = row
  const state =
    row.revoked_at !== null ? 'revoked' : row.expires_at <= now ? 'expired' : used >= row.uses ? 'used_up' : 'active'
  return { ...grant, when: condition, used, state }
}
