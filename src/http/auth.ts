import { timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { type Caller, hashSecret, KEY_FORM } from '../core/access.js'
import { Problem } from '../errors.js'
import { type FoundKey, findKey, isEnded } from '../store/keys.js'
import type { World } from '../store/world.js'

/** A key read this recently is not read again. Revocation on this node empties the cache, so this bounds other nodes only. */
const FRESH_MS = 1000
const KEPT = 10_000

/** Finds who is asking. One answer for every wrong key, and a comparison whose time says nothing about it. */
export class Authenticator {
  readonly #world: World
  /** One caller for each row as read: it remembers under which gate its key was last seen to stand. */
  readonly #callers = new WeakMap<FoundKey, Caller>()
  readonly #rows = new Map<string, { row: FoundKey | null; at: number }>()
  /** On their way: when a busy key's row grew old, each of 64 requests read it. */
  readonly #reads = new Map<string, Promise<FoundKey | null>>()

  constructor(world: World) {
    this.#world = world
  }

  /** Throws Problem `unauthenticated`, `forbidden` (a tenant header that is not the key's). */
  async authenticate(headers: IncomingHttpHeaders): Promise<Caller> {
    const [, id, secret] = KEY_FORM.exec(presented(headers)) ?? []
    if (id === undefined || secret === undefined) throw new Problem('unauthenticated')
    const row = await this.#row(`key_${id}`)
    const same = timingSafeEqual(
      Buffer.from(hashSecret(secret), 'hex'),
      Buffer.from(row?.hash ?? '0'.repeat(64), 'hex'),
    )
    const now = this.#world.clock.now()
    if (row === null || !same || isEnded(row) || (row.expires_at !== null && row.expires_at <= now))
      throw new Problem('unauthenticated')
    const tenant = headers['x-tenant-id']
    if (tenant !== undefined && tenant !== row.tenant)
      throw new Problem('forbidden', 'X-Tenant-ID is not the tenant of this key', { needs: 'a key of that tenant' })
    const known = this.#callers.get(row)
    if (known !== undefined) return known
    const caller: Caller = {
      tenant: row.tenant,
      principal: row.principal,
      role: row.role,
      team: row.team,
      key_id: row.key_id,
      topics: row.topics,
      act_as: row.act_as,
      permissions: null,
      leads: row.leads,
      expires_at: row.expires_at,
    }
    this.#callers.set(row, caller)
    return caller
  }

  /** After a key was made or revoked on this node. */
  forget(): void {
    this.#rows.clear()
    this.#reads.clear()
  }

  async #row(key_id: string): Promise<FoundKey | null> {
    const now = this.#world.clock.now()
    const kept = this.#rows.get(key_id)
    if (kept !== undefined && now - kept.at < FRESH_MS && now >= kept.at) return kept.row
    const read = this.#reads.get(key_id) ?? findKey(this.#world.db, key_id)
    this.#reads.set(key_id, read)
    try {
      const row = await read
      // Not what was read before a revocation.
      if (this.#reads.get(key_id) === read) {
        if (this.#rows.size >= KEPT) this.#rows.clear()
        this.#rows.set(key_id, { row, at: now })
      }
      return row
    } finally {
      if (this.#reads.get(key_id) === read) this.#reads.delete(key_id)
    }
  }
}

function presented(headers: IncomingHttpHeaders): string {
  const key = headers['x-api-key']
  if (typeof key === 'string') return key
  const bearer = headers.authorization
  return bearer?.toLowerCase().startsWith('bearer ') ? bearer.slice(7).trim() : ''
}
