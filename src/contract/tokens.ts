import { type Static, Type } from 'typebox'
import { Permission, TopicPattern } from './keys.js'
import { described, Instant, Nullable, RunId } from './scalars.js'

/** What a key asks to be narrowed to; what is left out stays as the key has it. */
export const CreateToken = Type.Object(
  {
    minutes: Type.Integer({ minimum: 1, maximum: 60, description: 'How long it lasts; never longer than its key' }),
    topics: Type.Optional(Type.Array(TopicPattern, { minItems: 1, maxItems: 20 })),
    run_id: Type.Optional(described(RunId, 'It submits into this run only')),
    permissions: Type.Optional(Type.Array(Permission, { minItems: 1, maxItems: 50, uniqueItems: true })),
  },
  { additionalProperties: false },
)
export type CreateToken = Static<typeof CreateToken>
export const CreatedToken = Type.Object({
  token: Type.String({ description: 'Sent as a key is: X-API-Key or Bearer. Shown once' }),
  jti: Type.String({ description: 'Names it in the log' }),
  key_id: Type.String({ description: 'The key it was minted from: revoking that ends it' }),
  topics: Nullable(Type.Array(Type.String())),
  run_id: Nullable(Type.String()),
  permissions: Nullable(Type.Array(Type.String())),
  expires_at: Instant,
})
export type CreatedToken = Static<typeof CreatedToken>

/** Public keys, as RFC 7517 has them: who receives a token can check it without asking. */
export const Jwks = Type.Object({
  keys: Type.Array(
    Type.Object({
      kty: Type.String(),
      crv: Type.String(),
      x: Type.String(),
      kid: Type.String(),
      use: Type.String(),
      alg: Type.String(),
    }),
  ),
})
export type Jwks = Static<typeof Jwks>
