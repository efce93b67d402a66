import { timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { type Caller, hashSecret, KEY_FORM } from '../core/access.js'
import { endOf } from '../core/key.js'
import { endsToken } from '../core/stop.js'
import {
  isTokenForm,
  isTokenOver,
  MOST_MINUTES,
  namedKey,
  readToken,
  TOLERANCE_S,
  type TokenClaims,
} from '../core/token.js'
import { Problem } from '../errors.js'
import { noteRefusedKey } from '../journey/keys.js'
import { noteForeign } from '../journey/sign-on.js'
import { type FoundKey, findKey } from '../store/keys.js'
import { type StopRow, stopsSince } from '../store/stops.js'
import type { World } from '../store/world.js'
import { Attempts, keep, networkOf } from './attempts.js'
import { PLAIN_SITE, type Site } from './cookies.js'
import { KeyUses } from './key-uses.js'
import type { Route } from './route.js'
import { assertOwnPage, sessionKey } from './sessions.js'

/** A key read this recently is not read again. Revocation on this node empties the cache, so this bounds other nodes only. */
const FRESH_MS = 1000
const KEPT = 10_000
/** At most 8 KB of text each. */
const KEPT_TOKENS = 4_000
const KEPT_STOPS = 1_000
/** By then a network that has to wait may have the next ones looked up. */
const A_SECOND = 1000
const NO_HASH = '0'.repeat(64)

/** A token that was read: what it says, and its caller for the row of its key as that was read. */
interface KnownToken {
  claims: TokenClaims
  caller: { of: FoundKey; caller: Caller } | null
}

/**
 * Finds who is asking, by a key or by a token that was minted from one. One answer for everything that opens nothing, and a comparison
 * whose time says nothing about it. Wrong ones are counted (`Attempts`), and told to the tenant whose key they name.
 */
export class Authenticator {
  readonly uses = new KeyUses()
  readonly site: Site
  readonly #world: World
  readonly #attempts: Attempts
  /** One caller for each row as read: it remembers under which gate its key was last seen to stand. */
  readonly #callers = new WeakMap<FoundKey, Caller>()
  readonly #rows = new Map<string, { row: FoundKey | null; at: number }>()
  /** On their way: when a busy key's row grew old, each of 64 requests read it. */
  readonly #reads = new Map<string, Promise<FoundKey | null>>()
  /** Keys that were read once. Their hashes never change, so they say also later whether a secret is worth a look. */
  readonly #known = new Map<string, Pick<FoundKey, 'tenant' | 'key_id' | 'hash'>>()
  /** A signature takes 100 µs, an agent sends the same token for minutes. */
  readonly #tokens = new Map<string, KnownToken>()
  readonly #stops = new Map<string, { epoch: number; stops: Promise<readonly StopRow[]> }>()

  /** @param site how browsers reach this server: a session is a key in a cookie of it */
  constructor(world: World, site: Site = PLAIN_SITE) {
    this.#world = world
    this.site = site
    this.#attempts = new Attempts(world.clock)
  }

  /**
   * Throws Problem `unauthenticated`, `rate_limited` (too many wrong ones from there), `forbidden` (a tenant header that is not the key's).
   * @param address of the connection; what a header says of it is not looked at
   */
  async authenticate(headers: IncomingHttpHeaders, address = ''): Promise<Caller> {
    const session = sessionKey(headers, this.site)
    const text = session ?? presented(headers)
    const network = networkOf(address)
    const [, id, secret] = KEY_FORM.exec(text) ?? []
    if (id === undefined || secret === undefined) {
      if (isTokenForm(text)) return this.#opened(await this.#byToken(text, network), headers, network)
      // Nothing at all is no attempt: a browser that looks around sends none.
      throw text === '' ? new Problem('unauthenticated') : this.#wrong([network])
    }
    return this.#opened(await this.#byKey(`key_${id}`, secret, network, session !== null), headers, network)
  }

  /** Throws Problem `csrf`, `unauthenticated`, where a session is used by what is no page of ours; told to its tenant. */
  assertOwnPage(
    route: Pick<Route, 'method' | 'permission'>,
    headers: IncomingHttpHeaders,
    caller: Caller,
    address: string,
  ): void {
    try {
      assertOwnPage(route, headers, this.site)
    } catch (problem) {
      const refused = { tenant: caller.tenant, actor: caller.principal, reason: 'no page of ours' }
      noteForeign(this.#world, refused, networkOf(address))
      throw problem
    }
  }

  /** After a key was made or revoked on this node. */
  forget(): void {
    this.#rows.clear()
    this.#reads.clear()
  }

  #opened(caller: Caller, headers: IncomingHttpHeaders, network: string): Caller {
    const tenant = headers['x-tenant-id']
    if (tenant !== undefined && tenant !== caller.tenant) {
      noteRefusedKey(this.#world, caller, 'another tenant', network)
      throw new Problem('forbidden', 'X-Tenant-ID is not the tenant of this key', { needs: 'a key of that tenant' })
    }
    this.uses.note(caller.key_id, this.#world.clock.now())
    return caller
  }

  async #byKey(key_id: string, secret: string, network: string, inCookie: boolean): Promise<Caller> {
    const hash = hashSecret(secret)
    const known = this.#known.get(key_id)
    const isKnown = known !== undefined && isSame(hash, known.hash)
    if (!isKnown) this.#assertMayTry(key_id, known, network)
    const row = await this.#row(key_id)
    const isRight = isKnown ? row?.hash === known.hash : isSame(hash, row?.hash ?? NO_HASH)
    if (!isRight || row === null) {
      if (row !== null) noteRefusedKey(this.#world, row, 'wrong secret', network)
      // Ids that nobody has are not counted: whoever makes them up would push the others out of the count.
      throw this.#wrong(row === null ? [network] : [network, key_id])
    }
    this.#assertOpen(row, network)
    // Who could plant a key in a browser's cookies would have its reader act as somebody else.
    if (inCookie && !row.session) throw new Problem('unauthenticated')
    return this.#callerOf(row)
  }

  /**
   * Of a key that was never read here, or a secret that is surely not its: what is remembered of a key says that without a read. Not counted
   * before it is known to be wrong: after a start every client behind one balancer would be among the first ten.
   */
  #assertMayTry(key_id: string, known: Pick<FoundKey, 'tenant' | 'key_id'> | undefined, network: string): void {
    if (known !== undefined) {
      noteRefusedKey(this.#world, known, 'wrong secret', network)
      throw this.#wrong([network, key_id])
    }
    this.#assertMayLook([network, key_id], network)
  }

  #assertMayLook(names: readonly string[], network: string): void {
    if (this.#attempts.wait(names) !== null && !this.#attempts.mayLook(network)) throw waits(A_SECOND)
  }

  async #byToken(text: string, network: string): Promise<Caller> {
    const token = this.#tokens.get(text) ?? (await this.#readToken(text, network))
    const { claims } = token
    const row = await this.#row(claims.key_id)
    // What we signed names a key of its tenant and principal; a row that came back another way does not take it over.
    if (row === null || row.tenant !== claims.tenant || row.principal !== claims.principal) {
      if (row !== null) noteRefusedKey(this.#world, row, 'token of another', network)
      throw new Problem('unauthenticated')
    }
    if (isTokenOver(claims, this.#world.clock.now())) {
      this.#tokens.delete(text)
      noteRefusedKey(this.#world, row, 'token expired', network)
      throw new Problem('unauthenticated')
    }
    this.#assertOpen(row, network)
    await this.#assertNotStopped(row, claims, network)
    if (token.caller?.of !== row) token.caller = { of: row, caller: narrowed(this.#callerOf(row), claims) }
    return token.caller.caller
  }

  /** An agent's tokens end with a stop of it, its team or all: minted before, they open nothing any more, also once it is resumed. */
  async #assertNotStopped(row: FoundKey, claims: TokenClaims, network: string): Promise<void> {
    const { tenant, principal: agent, team } = row
    if (row.role !== 'agent') return
    const stops = await this.#stopsOf(tenant)
    if (!stops.some((stop) => endsToken(stop, { tenant, agent, team }, claims.issued_at))) return
    noteRefusedKey(this.#world, row, 'token of before a stop', network)
    throw new Problem('unauthenticated')
  }

  /** Read anew whenever the gate moved, as every stop moves it. */
  async #stopsOf(tenant: string): Promise<readonly StopRow[]> {
    const { policies, db, clock } = this.#world
    const gate = await policies.gate(tenant)
    // Where there is no gate there is no stop, and no policy that would let anything through.
    if (gate === null) return []
    const known = this.#stops.get(tenant)
    if (known?.epoch === gate.epoch) return known.stops
    const stops = stopsSince(db, tenant, clock.now() - (MOST_MINUTES * 60 + TOLERANCE_S) * 1000)
    const kept = { epoch: gate.epoch, stops }
    keep(this.#stops, tenant, kept, KEPT_STOPS)
    stops.catch(() => this.#stops.delete(tenant))
    return stops
  }

  async #readToken(text: string, network: string): Promise<KnownToken> {
    const key_id = namedKey(text)
    const names = key_id === null ? [network] : [network, key_id]
    this.#assertMayLook(names, network)
    const { fault, claims } = await readToken(this.#world.tokens, text, this.#world.clock.now())
    if (fault === null) {
      const token = { claims, caller: null }
      keep(this.#tokens, text, token, KEPT_TOKENS)
      return token
    }
    if (key_id !== null) void this.#noteForged(key_id, `token ${fault}`, network)
    // One that is merely over was no guess.
    throw fault === 'expired' ? new Problem('unauthenticated') : this.#wrong(names, [network])
  }

  /** Not waited for: the time of the answer would say whether there is such a key. */
  async #noteForged(key_id: string, reason: string, network: string): Promise<void> {
    const row = await this.#row(key_id).catch(() => null)
    if (row === null) return
    noteRefusedKey(this.#world, row, reason, network)
    if (reason === 'token forged') this.#attempts.wrong([key_id])
  }

  /** Of somebody who has the secret: so it is no guess, and not counted as one. */
  #assertOpen(row: FoundKey, network: string): void {
    const end = endOf(row, this.#world.clock.now())
    if (end === null) return
    noteRefusedKey(this.#world, row, end, network)
    throw new Problem('unauthenticated')
  }

  /** Counted for `counted`; the answer is that of all the names it was tried in. */
  #wrong(names: readonly string[], counted = names): Problem {
    const wait = this.#attempts.wait(names)
    this.#attempts.wrong(counted)
    return wait === null ? new Problem('unauthenticated') : waits(wait)
  }

  #callerOf(row: FoundKey): Caller {
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
      permissions: row.permissions,
      leads: row.leads,
      expires_at: row.expires_at,
    }
    this.#callers.set(row, caller)
    return caller
  }

  async #row(key_id: string): Promise<FoundKey | null> {
    const now = this.#world.clock.now()
    const kept = this.#rows.get(key_id)
    if (kept !== undefined && now - kept.at < FRESH_MS && now >= kept.at) return kept.row
    const read = this.#reads.get(key_id) ?? findKey(this.#world.db, key_id)
    this.#reads.set(key_id, read)
    try {
      const row = await read
      if (row !== null) keep(this.#known, key_id, { tenant: row.tenant, key_id, hash: row.hash }, KEPT)
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

/** The key's caller with what the token leaves of it; the gate it was seen under is the token's own to remember. */
function narrowed(caller: Caller, { jti, topics, permissions, run_id, expires_at }: TokenClaims): Caller {
  const until = expires_at + TOLERANCE_S * 1000
  return {
    ...caller,
    topics: topics ?? caller.topics,
    permissions: permissions ?? caller.permissions,
    expires_at: Math.min(caller.expires_at ?? until, until),
    jti,
    ...(run_id === null ? {} : { run_id }),
  }
}

const isSame = (left: string, right: string) => timingSafeEqual(Buffer.from(left, 'hex'), Buffer.from(right, 'hex'))

/** The same for every wrong one, as `unauthenticated` is. */
const waits = (ms: number) =>
  new Problem('rate_limited', 'Too many wrong keys; one that is right opens all the same', { retry_after_ms: ms })

function presented(headers: IncomingHttpHeaders): string {
  const key = headers['x-api-key']
  if (typeof key === 'string') return key
  const bearer = headers.authorization
  return bearer?.toLowerCase().startsWith('bearer ') ? bearer.slice(7).trim() : ''
}
