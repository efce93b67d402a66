import { ownPath, SESSION_MS } from '../core/sign-on.js'
import { Problem } from '../errors.js'
import { acceptInvitation, invited, renewHash } from '../journey/accounts.js'
import { noteRefused, type Opened, signOff, signOnByPassword, signOnByProvider } from '../journey/sign-on.js'
import type { Log } from '../platform/log.js'
import type { OidcFault, OidcProvider, Transaction } from '../platform/oidc.js'
import type { Passwords } from '../platform/passwords.js'
import { personNamed } from '../store/accounts.js'
import type { World } from '../store/world.js'
import { keep, networkOf } from './attempts.js'
import type { Authenticator } from './auth.js'
import { type CookieName, cookie, isOwnOrigin, noCookie, readCookie } from './cookies.js'
import { Guesses } from './guesses.js'
import type { OpenCalls } from './open-calls.js'
import { invitationPage, type SignOnAsked, signedOnPage, signOnPage } from './pages/sign-on.js'
import type { Call, Reply } from './route.js'
import { csrfToken, formToken, isSame, sessionKey } from './sessions.js'

/** How people sign on at this server. */
export interface SignOnSettings {
  /** People sign on to one tenant; the others are for programs. */
  tenant: string
  /** Where the provider sends people back to; set where there is one. */
  publicUrl: string | null
  /** Null: here, with passwords. */
  provider: OidcProvider | null
  passwords: Passwords
}

const TRANSACTION_S = 600
const FORM_S = 3600
const BROWSER_S = 90 * 86_400
/** States that came back already: a provider takes a code once, and this node an answer. */
const KEPT_STATES = 10_000
const NONCE = /^[A-Za-z0-9_-]{43}$/

/** One sign-on under way at the provider, as the sealed cookie holds it. */
interface Underway extends Transaction {
  return_to: string | null
  at: number
}

/** Where people come in and leave: what its pages do. Every method throws Problem; the routes make pages of them. */
export class SignOnDesk {
  readonly settings: SignOnSettings
  readonly guesses: Guesses
  readonly #world: World
  readonly #auth: Authenticator
  readonly #open: OpenCalls
  readonly #log: Log
  readonly #returned = new Map<string, number>()

  constructor(world: World, auth: Authenticator, open: OpenCalls, log: Log, settings: SignOnSettings) {
    this.#world = world
    this.#auth = auth
    this.#open = open
    this.#log = log
    this.settings = settings
    this.guesses = new Guesses(world.clock)
  }

  /** The form or the button; for who is signed on already, as whom, or the way they wanted to go. */
  async page(call: Call): Promise<Reply> {
    const returnTo = wantedPath(call)
    const caller = await this.#caller(call)
    const csrf = csrfToken(call.headers, this.#auth.site)
    if (caller === null || csrf === null) return this.asking(call, { returnTo })
    return returnTo === null ? signedOnPage(caller, csrf) : redirect(returnTo, [])
  }

  asking(call: Call, more: Pick<SignOnAsked, 'fault' | 'name' | 'note' | 'returnTo'>): Reply {
    const { provider } = this.settings
    const { form, set } = this.#form(call)
    const origin = provider === null ? null : new URL(provider.issuer).origin
    return withCookies(signOnPage({ form, provider: origin, ...more }), [set])
  }

  async signOnByPassword(call: Call): Promise<Reply> {
    this.#assertLocal()
    await this.#assertOwnForm(call)
    const { tenant, passwords } = this.settings
    const typed = field(call.body, 'name').trim().slice(0, 254)
    const password = field(call.body, 'password')
    const person = await personNamed(this.#world.db, tenant, typed)
    const network = networkOf(call.address)
    const browser = person === null ? null : this.#browserOf(call, person.principal)
    const takeBack = this.guesses.begin({ person: person?.principal ?? null, typed, network, browser })
    const opened = await signOnByPassword(this.#world, passwords, tenant, person, password, network).catch(
      (problem: unknown) => {
        // It was not looked at, so it told nothing.
        if (problem instanceof Problem && problem.code === 'overloaded') takeBack()
        throw problem
      },
    )
    takeBack()
    await renewHash(this.#world, passwords, { tenant, principal: opened.principal }, password)
    const mark = this.#seal([browser ?? this.#secret(), opened.principal, this.#world.clock.now()], 'browser')
    const remember = cookie(this.#auth.site, 'browser', mark, BROWSER_S)
    return this.#signedOn(opened, ownPath(field(call.body, 'return_to')), [remember])
  }

  /** To the provider. What comes back has to bring what this browser alone is given here. */
  async begin(call: Call): Promise<Reply> {
    const provider = this.#provider()
    const underway: Underway = {
      state: this.#secret(),
      nonce: this.#secret(),
      verifier: this.#secret(),
      return_to: wantedPath(call),
      at: this.#world.clock.now(),
    }
    const to = await provider.begin(underway, this.#callback()).catch((fault: OidcFault) => {
      throw this.#absent(fault)
    })
    const set = cookie(this.#auth.site, 'sign-on', this.#seal(underway, 'sign-on'), TRANSACTION_S)
    return redirect(to.href, [set])
  }

  /** Back from the provider. */
  async complete(call: Call): Promise<Reply> {
    const provider = this.#provider()
    const underway = await this.#underway(call)
    // Before anything is asked of the provider: of two at once the second is the replay.
    keep(this.#returned, underway.state, underway.at, KEPT_STATES)
    const answer = this.#callback()
    answer.search = new URLSearchParams(call.query as Record<string, string>).toString()
    const identity = await provider.complete(underway, answer).catch(async (fault: OidcFault) => {
      if (fault.kind === 'down') throw this.#absent(fault)
      // A wrong client secret looks like this too.
      this.#log.warn(
        { code: fault.message, detail: fault.detail },
        'a sign-on was refused by the provider, or its answer by us',
      )
      return this.#refuse(call, `provider: ${fault.message}`)
    })
    const { tenant } = this.settings
    // Also where it is refused: whoever lost their groups has lost what was open.
    const opened = await signOnByProvider(this.#world, tenant, identity, networkOf(call.address)).finally(() =>
      this.#auth.forget(),
    )
    return this.#signedOn(opened, underway.return_to, [this.over()])
  }

  /** Takes the cookie of what was under way, however it ended. */
  over(): string {
    return noCookie(this.#auth.site, 'sign-on')
  }

  async signOff(call: Call): Promise<Reply> {
    const { site } = this.#auth
    const caller = await this.#caller(call)
    const expected = csrfToken(call.headers, site)
    if (caller !== null && expected !== null) {
      const header = call.headers['x-csrf-token']
      const sent = typeof header === 'string' ? header : field(call.body, 'csrf')
      if (!isSame(sent, expected) || !isOwnOrigin(call.headers, site)) {
        const refused = { tenant: caller.tenant, actor: caller.principal, reason: 'no page of ours' }
        await noteRefused(this.#world, refused, networkOf(call.address))
        throw new Problem('csrf')
      }
      await signOff(this.#world, caller)
      this.#auth.forget()
      this.#open.abort(caller.key_id)
    }
    return redirect('/sign-on', [noCookie(site, 'session')])
  }

  async invitation(call: Call): Promise<Reply> {
    this.#assertLocal()
    const token = call.params.token as string
    const person = await invited(this.#world, token)
    const { form, set } = this.#form(call)
    return withCookies(invitationPage(person, { token, form }), [set])
  }

  async accept(call: Call): Promise<Reply> {
    this.#assertLocal()
    const token = call.params.token as string
    const person = await invited(this.#world, token)
    await this.#assertOwnForm(call)
    try {
      const password = field(call.body, 'password')
      if (password !== field(call.body, 'again')) throw new Problem('invalid', 'The two passwords are not the same')
      await acceptInvitation(this.#world, this.settings.passwords, token, password)
    } catch (problem) {
      if (!(problem instanceof Problem) || problem.code !== 'invalid') throw problem
      const { form, set } = this.#form(call)
      const fault = { status: problem.status, text: problem.message }
      return withCookies(invitationPage(person, { token, form, fault }), [set])
    }
    this.#auth.forget()
    return this.asking(call, { returnTo: null, note: 'Your password is set. Sign on with it.' })
  }

  /** Throws Problem `sign_on_failed`, on record: not begun here, too long ago, or back a second time. */
  async #underway(call: Call): Promise<Underway> {
    const underway = this.#unseal<Underway>(call, 'sign-on')
    if (underway === null) return this.#refuse(call, 'not begun in this browser')
    if (underway.at + TRANSACTION_S * 1000 <= this.#world.clock.now()) return this.#refuse(call, 'begun too long ago')
    return this.#returned.has(underway.state) ? this.#refuse(call, 'came back twice') : underway
  }

  #absent({ message, detail }: OidcFault): Problem {
    this.#log.error({ code: message, detail }, 'the provider people sign on at does not answer as one')
    return new Problem('provider_unavailable')
  }

  async #refuse(call: Call, reason: string): Promise<never> {
    const { tenant } = this.settings
    await noteRefused(this.#world, { tenant, actor: 'anonymous', reason }, networkOf(call.address))
    throw new Problem('sign_on_failed')
  }

  #signedOn({ text }: Opened, returnTo: string | null, cookies: string[]): Reply {
    const { site } = this.#auth
    this.#auth.forget()
    const session = cookie(site, 'session', text, SESSION_MS / 1000)
    return redirect(returnTo ?? '/sign-on', [session, noCookie(site, 'form'), ...cookies])
  }

  /** What the form of a page sends back, and its cookie: the one there is if there is one, for two tabs share it. */
  #form({ headers }: Call): { form: string; set: string } {
    const known = readCookie(headers, this.#auth.site, 'form')
    const nonce = known !== null && NONCE.test(known) ? known : this.#secret()
    return { form: formToken(nonce), set: cookie(this.#auth.site, 'form', nonce, FORM_S) }
  }

  /** Throws Problem `csrf`, on record: the form is not of a page that this browser was shown. */
  async #assertOwnForm({ headers, body, address }: Call): Promise<void> {
    const { site } = this.#auth
    const nonce = readCookie(headers, site, 'form')
    const sent = field(body, 'form')
    if (nonce !== null && NONCE.test(nonce) && isSame(sent, formToken(nonce)) && isOwnOrigin(headers, site)) return
    const refused = { tenant: this.settings.tenant, actor: 'anonymous', reason: 'form of another page' }
    await noteRefused(this.#world, refused, networkOf(address))
    throw new Problem('csrf', 'The page was open for too long, or is not ours. Open it again.')
  }

  /** Who the session is of, or null. Throws what is no answer about the session. */
  async #caller({ headers, address }: Call) {
    if (sessionKey(headers, this.#auth.site) === null) return null
    return this.#auth.authenticate(headers, address).catch((problem: unknown) => {
      if (problem instanceof Problem && problem.code === 'unauthenticated') return null
      throw problem
    })
  }

  /** Id of the browser, where this person signed on with it before. */
  #browserOf(call: Call, principal: string): string | null {
    const [id, whose, at = 0] = this.#unseal<[string, string, number]>(call, 'browser') ?? []
    const isOver = at + BROWSER_S * 1000 <= this.#world.clock.now()
    return whose === principal && id !== undefined && !isOver ? id : null
  }

  #assertLocal(): void {
    if (this.settings.provider === null) return
    throw new Problem('not_found', 'People sign on at the provider here; nobody has a password')
  }

  #provider(): OidcProvider {
    const { provider } = this.settings
    if (provider === null) throw new Problem('not_found', 'No provider is configured here; people have passwords')
    return provider
  }

  #callback(): URL {
    return new URL('/sign-on/callback', this.settings.publicUrl ?? undefined)
  }

  #secret(): string {
    return Buffer.from(this.#world.ids.bytes(32)).toString('base64url')
  }

  /** In the letters a cookie may have. */
  #seal(value: unknown, what: CookieName): string {
    const text = this.#world.sealer.seal(JSON.stringify(value), `cookie ${what}`)
    return text.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
  }

  /** Null for what is not there, not ours, or sealed as something else. */
  #unseal<T>({ headers }: Call, what: CookieName): T | null {
    const text = readCookie(headers, this.#auth.site, what)
    if (text === null) return null
    try {
      return JSON.parse(this.#world.sealer.open(text.replaceAll('-', '+').replaceAll('_', '/'), `cookie ${what}`)) as T
    } catch {
      return null
    }
  }
}

/** A text of a form; empty where it is none. */
export function field(body: unknown, name: string): string {
  if (typeof body !== 'object' || body === null || !Object.hasOwn(body, name)) return ''
  const value = (body as Record<string, unknown>)[name]
  return typeof value === 'string' ? value : ''
}

const wantedPath = ({ query }: Call) => ownPath((query as { return_to?: string }).return_to)

export const withCookies = (reply: Reply, cookies: string[]): Reply => ({
  ...reply,
  headers: { ...reply.headers, 'set-cookie': cookies },
})

/** 303, not 302: what follows is always a GET. */
const redirect = (to: string, cookies: string[]): Reply => ({
  status: 303,
  headers: {
    location: to,
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'referrer-policy': 'same-origin',
    'set-cookie': cookies,
  },
  body: '',
})
