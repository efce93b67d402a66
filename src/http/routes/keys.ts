import * as Keys from '../../contract/keys.js'
import { OVERLAP_MS } from '../../core/key.js'
import { makeKey, rotateKey, takeKey } from '../../journey/keys.js'
import { pageOfKeys } from '../../store/keys.js'
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
      query: Keys.KeyQuery,
      success: { status: 200, schema: Keys.KeyPage, description: 'The keys' },
      errors: ['invalid'],
      async handler({ caller, query }) {
        const now = world.clock.now()
        const { items, next_cursor } = await pageOfKeys(world.db, caller.tenant, query as Keys.KeyQuery, now)
        return { body: { items: items.map((row) => viewKey(row, now)), next_cursor } }
      },
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
        const { row, key } = await makeKey(world, caller, body as Keys.CreateKey)
        auth.forget()
        return { status: 201, body: { ...viewKey(row, world.clock.now()), key } }
      },
    },
    {
      method: 'POST',
      path: '/keys/{key_id}/rotate',
      permission: ['keys:write'],
      tag: 'keys',
      summary: 'Make the key that follows this one; both open until the overlap is over',
      body: Keys.RotateKey,
      optionalBody: true,
      success: { status: 201, schema: Keys.RotatedKey, description: 'The new key' },
      errors: ['not_found', 'key_closed', 'invalid'],
      async handler({ caller, params, body }) {
        const { overlap = OVERLAP_MS } = body as Keys.RotateKey
        const { row, key, old } = await rotateKey(world, caller, params.key_id as string, overlap)
        auth.forget()
        const rotates = { key_id: old.key_id, expires_at: old.expires_at }
        return { status: 201, body: { ...viewKey(row, world.clock.now()), key, rotates } }
      },
    },
    {
      method: 'DELETE',
      path: '/keys/{key_id}',
      permission: ['keys:write'],
      tag: 'keys',
      summary: 'Revoke a key: from the answer on it opens nothing',
      success: { status: 200, schema: Keys.Key, description: 'The key' },
      errors: ['not_found', 'forbidden'],
      async handler({ caller, params }) {
        const row = await takeKey(world, caller, params.key_id as string)
        auth.forget()
        // What it has open ends too: a long poll is given no more work, a stream no more events.
        open.abort(row.key_id)
        return { body: viewKey(row, world.clock.now()) }
      },
    },
  ]
}
