import * as Wire from '../../contract/tokens.js'
import { mintToken } from '../../journey/tokens.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'
import type { SubmitGuard } from '../submit-guard.js'

export function tokenRoutes(world: World, guard: SubmitGuard): Route[] {
  return [
    {
      method: 'POST',
      path: '/tokens',
      permission: ['tokens:mint'],
      admit: (caller) => guard.admit(caller),
      tag: 'keys',
      summary: 'Mint a short-lived token from the presented key, for something narrower',
      body: Wire.CreateToken,
      success: { status: 201, schema: Wire.CreatedToken, description: 'The token' },
      errors: ['invalid', 'rate_limited'],
      async handler({ caller, body }) {
        guard.spend(caller)
        return { status: 201, body: await mintToken(world, caller, body as Wire.CreateToken) }
      },
    },
    {
      method: 'GET',
      root: true,
      path: '/.well-known/jwks.json',
      permission: null,
      tag: 'keys',
      summary: 'Public keys by which anybody checks a token',
      success: { status: 200, schema: Wire.Jwks, description: 'The keys' },
      errors: [],
      // It changes with the signing key only, and that means a restart of every node.
      handler: async () => ({
        body: { keys: [world.tokens.jwk] },
        headers: { 'cache-control': 'public, max-age=3600' },
      }),
    },
  ]
}
