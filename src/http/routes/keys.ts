import * as Keys from '../../contract/keys.js'
import { createKey, revokeKey } from '../../journey/keys.js'
import { listKeys } from '../../store/keys.js'
import type { World } from '../../store/world.js'
import type { Authenticator } from '../auth.js'
import type { OpenCalls } from '../open-calls.js'
import type { Route } from '../route.js'
import { viewKey } from '../views.js'

export function keyRoutes(world: World, auth: Authenticator, open: OpenCalls): Route[] {
  return [
    {
      method: 'GET',
      path: '/keys',
      permission: ['keys:read'],
      tag: 'keys',
      summary: 'Keys of the tenant; never their secrets',
      success: { status: 200, schema: Keys.KeyPage, description: 'The keys' },
      errors: [],
      handler: async ({ caller }) => ({
        body: { items: (await listKeys(world.db, caller.tenant)).map(viewKey), next_cursor: null },
      }),
    },
    {
      method: 'POST',
      path: '/keys',
      permission: ['keys:write'],
      tag: 'keys',
      summary: 'Make a key; its text is in this answer and nowhere else',
      body: Keys.CreateKey,
      success: { status: 201, schema: Keys.CreatedKey, description: 'The key' },
      errors: ['invalid'],
      async handler({ caller, body }) {
        const { row, key } = await createKey(world, caller.tenant, caller.principal, body as Keys.CreateKey)
        auth.forget()
        return { status: 201, body: { ...viewKey(row), key } }
      },
    },
    {
      method: 'DELETE',
      path: '/keys/{key_id}',
      permission: ['keys:write'],
      tag: 'keys',
      summary: 'Revoke a key: from the answer on it opens nothing',
      success: { status: 200, schema: Keys.Key, description: 'The key' },
      errors: ['not_found'],
      async handler({ caller, params }) {
        const row = await revokeKey(world, caller.tenant, caller.principal, params.key_id as string)
        auth.forget()
        // What it has open ends too: a long poll is given no more work, a stream no more events.
        open.abort(row.key_id)
        return { body: viewKey(row) }
      },
    },
  ]
}
