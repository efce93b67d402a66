import type { CreatedToken, CreateToken } from '../contract/tokens.js'
import type { Caller, Permission } from '../core/access.js'
import { joined } from '../core/audit.js'
import { beyond } from '../core/key.js'
import { signToken, type TokenClaims } from '../core/token.js'
import { Problem } from '../errors.js'
import { recordBeyond, standingUnder } from '../store/keys.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

/**
 * Mints a token from the presented key: for minutes, and for nothing the key is not for. It is in the log before it is handed out.
 * Throws Problem `forbidden` for a token that asks, or where more is asked for than the key has; and what `record` throws.
 */
export async function mintToken(world: World, caller: Caller, body: CreateToken): Promise<CreatedToken> {
  const permissions = (body.permissions as Permission[] | undefined) ?? null
  const topics = body.topics ?? null
  const missing =
    caller.jti === undefined
      ? beyond(caller, { permissions: permissions ?? [], topics: topics ?? caller.topics, act_as: [] })
      : ['a key']
  if (missing.length > 0) {
    await recordBeyond(world, caller, missing)
    const why =
      caller.jti === undefined
        ? 'A token is for less than its key'
        : 'A token is minted from a key, not from another token'
    throw new Problem('forbidden', why, { needs: missing })
  }
  // Minted from a key that was revoked elsewhere it would open nothing, but the log would say that it was minted.
  await standingUnder(world, await getGate(world.db, caller.tenant), caller)
  const now = world.clock.now()
  // A token has whole seconds. Down, so that it is good at once on every node and never outlives its key.
  const issued_at = Math.floor(now / 1000) * 1000
  const ends = Math.min(now + body.minutes * 60_000, caller.expires_at ?? Number.POSITIVE_INFINITY)
  const claims: TokenClaims = {
    jti: world.ids.id('tok', now),
    tenant: caller.tenant,
    principal: caller.principal,
    key_id: caller.key_id,
    issued_at,
    expires_at: Math.floor(ends / 1000) * 1000,
    topics,
    permissions,
    run_id: body.run_id ?? null,
  }
  const token = await signToken(world.tokens, claims)
  const { jti, key_id, run_id, expires_at } = claims
  await world.ledger.record(caller.tenant, [
    {
      kind: 'token.minted',
      tenant: caller.tenant,
      at: now,
      actor: caller.principal,
      jti,
      key_id,
      topics: topics === null ? null : joined(topics),
      permissions: permissions === null ? null : joined(permissions),
      run_id,
      expires_at,
    },
  ])
  return { token, jti, key_id, topics, run_id, permissions, expires_at }
}
