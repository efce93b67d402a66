import { hash } from 'node:crypto'
import type { DeclaredChannel } from '../../src/core/channel.js'
import type { DeclaredPrincipal } from '../../src/core/directory/document.js'
import { hashLink, linkToken, pageNonce } from '../../src/core/link.js'
import type { GroupRule, Identity } from '../../src/core/sign-on.js'
import { APPROVE, buttonValue } from '../../src/core/slack.js'
import { acceptInvitation, changePassword, closeAccount, invite } from '../../src/journey/accounts.js'
import { approve } from '../../src/journey/approve.js'
import { attest } from '../../src/journey/attest.js'
import { putChannel, removeChannel } from '../../src/journey/channels.js'
import { openClick } from '../../src/journey/chat.js'
import { applyDirectory, disablePrincipal } from '../../src/journey/directory.js'
import { recordDrill, scheduleDrill } from '../../src/journey/drills.js'
import { createKey, makeKey, rotateKey } from '../../src/journey/keys.js'
import { openAnswer } from '../../src/journey/links.js'
import { remindOfKeys } from '../../src/journey/reminders.js'
import { type Opened, signOff, signOnByPassword, signOnByProvider } from '../../src/journey/sign-on.js'
import { mintToken } from '../../src/journey/tokens.js'
import type { Couriers } from '../../src/platform/courier.js'
import type { Passwords } from '../../src/platform/passwords.js'
import { enqueue } from '../../src/store/deliveries.js'
import { getPrincipal } from '../../src/store/directory.js'
import { insertLink } from '../../src/store/links.js'
import { clickOn, SIGNING } from '../support/chat.js'
import { done } from './cast.js'
import type { Scene } from './scenes.js'
import type { Stage } from './stage.js'

const DAY = 86_400_000
const ADDRESS = '192.0.2.1'
export const ADA = 'person:ada'
const [OLD, NEW] = ['the old pass phrase', 'the new pass phrase'] as const

/**
 * In place of argon2id: its threads are no seam, and a run that waits for them has no order. What of it matters here is that a hash is
 * of one password only.
 */
const passwords: Passwords = {
  hash: async (password) => hash('sha256', password, 'hex'),
  verify: async (stored, password) => stored === hash('sha256', password, 'hex'),
  isStale: () => false,
}

const IDENTITY: Identity = {
  issuer: 'https://login.example.com',
  subject: 'one',
  email: 'ada@example.com',
  email_verified: true,
  name: 'Ada',
  groups: ['staff'],
}

function person(principal: string, more: Partial<DeclaredPrincipal> = {}): DeclaredPrincipal {
  const none = { team: null, name: null, email: null, terms: null }
  return { principal, kind: 'person', role: 'approver', ...none, ...more }
}
const BOT = person('agent:bot', { kind: 'agent', role: 'agent' })

/** These are in the directory; from the answer of it on. */
export async function declare(on: Stage, principals: DeclaredPrincipal[], groups?: GroupRule[]): Promise<void> {
  const document = { teams: [], principals, ...(groups === undefined ? {} : { groups }) }
  const made = await on.cast.ask((t) => applyDirectory(t.world, t.admin, document, 'api'))
  if (!done(made)) return
  for (const { principal } of principals)
    on.cast.history.expects(`${principal} is declared`, { kind: 'principal.declared', principal })
}

export async function disable(on: Stage, principal: string): Promise<void> {
  const answer = await on.cast.ask((t) => disablePrincipal(t.world, t.admin, principal).then(() => true))
  if (done(answer))
    on.cast.history.expects(`${principal} is disabled`, { kind: 'principal.disabled', principal, actor: 'person:root' })
}

const invitation = async (on: Stage): Promise<string> => {
  const made = await on.cast.ask((t) => invite(t.world, t.admin, ADA), ['invalid'])
  if (!done(made)) return ''
  on.cast.history.expects('invitation', { kind: 'account.invited', principal: ADA, until: made.expires_at })
  return made.token
}

const accept = async (on: Stage, token: string): Promise<void> => {
  const accepted = await on.cast.ask((t) => acceptInvitation(t.world, passwords, token, OLD))
  if (done(accepted)) on.cast.history.expects('password', { kind: 'account.changed', principal: ADA })
}

async function withAccount(on: Stage): Promise<void> {
  await declare(on, [person(ADA)])
  await accept(on, await invitation(on))
}

async function signOn(on: Stage, work: (on: Stage) => Promise<Opened | null>): Promise<Opened | null> {
  const opened = await work(on)
  if (opened !== null)
    on.cast.history.expects(`session ${opened.key_id}`, { kind: 'session.opened', key_id: opened.key_id })
  return opened
}
export const byPassword = (on: Stage, typed: string = OLD) =>
  signOn(on, async () => {
    const opened = await on.cast.ask(async (t) => {
      const known = await getPrincipal(t.world.db, t.tenant, ADA)
      return signOnByPassword(t.world, passwords, t.tenant, known, typed, ADDRESS)
    })
    return done(opened) ? opened : null
  })
const byProvider = (on: Stage) =>
  signOn(on, async () => {
    const opened = await on.cast.ask((t) => signOnByProvider(t.world, t.tenant, IDENTITY, ADDRESS))
    return done(opened) ? opened : null
  })

/** What was open before is closed by it, or was by disabling the person, and the log says of each why. */
function expectClosed(on: Stage, opened: readonly string[], ...reason: string[]): void {
  for (const key_id of opened)
    on.cast.history.expects(`end of session ${key_id}`, {
      kind: 'session.closed',
      key_id,
      reason: [...reason, 'disabled'],
    })
}
const openSessions = async (on: Stage) =>
  (await on.cast.rows<{ key_id: string; session: string | null }>('keys'))
    .filter(({ session }) => session !== null)
    .map(({ key_id }) => key_id)

export async function closeAdas(on: Stage): Promise<void> {
  const open = await openSessions(on)
  const closed = await on.cast.ask((t) => closeAccount(t.world, t.admin, ADA).then(() => true))
  if (!done(closed)) return
  on.cast.history.expects('account', { kind: 'account.closed', principal: ADA })
  expectClosed(on, open, 'account_closed')
}

const HOOK: DeclaredChannel = {
  channel: 'hook',
  kind: 'webhook',
  settings: { url: 'https://hooks.example.com/x', secret_env: '', allow_private: false },
  events: ['approval.requested'],
  topics: null,
  teams: null,
}
async function put(on: Stage, events: string[]): Promise<void> {
  const secret_env = `SALLYPORT_CHANNEL_${on.cast.tenant.toUpperCase()}__KEY`
  const channel = { ...HOOK, settings: { ...HOOK.settings, secret_env }, events } as DeclaredChannel
  const stored = await on.cast.ask((t) => putChannel(t.world, t.admin, channel))
  if (done(stored))
    on.cast.history.expects('channel', { kind: 'channel.declared', channel: 'hook', events: events.join() })
}

/** The link that was mailed to somebody about each open question. */
async function mailed(on: Stage): Promise<void> {
  const { db, ids } = on.cast.seen.world
  const now = on.cast.sim.now()
  for (const [n, { approval_id, grant_hash, expires_at }] of (await on.pending()).entries()) {
    const secret = Buffer.alloc(32, n + 1).toString('base64url')
    const link_id = ids.id('link', now)
    const of = { tenant: on.cast.tenant, principal: ADA, delivery_id: 'dlv_x', created_at: now, expires_at }
    await insertLink(db, { ...of, link_id, hash: hashLink(secret), approval_id, grant_hash })
    on.links.push({ token: linkToken(link_id, secret), nonce: pageNonce(secret, grant_hash, now) })
  }
}

async function answerByLinks(on: Stage): Promise<void> {
  for (const { token, nonce } of on.links) {
    const answered = await on.cast.ask(
      async ({ world }) => {
        const { caller, approval } = await openAnswer(world, token, nonce)
        return approve(world, caller, approval.approval_id, { grant_hash: approval.grant_hash }, { via: 'email' })
      },
      ['forbidden'],
    )
    if (!done(answered)) continue
    const { approval_id } = answered
    on.cast.history.expects(`answer to ${approval_id}`, { kind: 'approval.approved', approval_id, actor: ADA })
  }
}

/** In place of Slack and its secrets: sockets are no seam. */
const couriers = {
  isSigned: (_: string, check: (secret: string) => boolean) => check(SIGNING),
  slack: async () => ({ ok: true }),
} as unknown as Couriers

/** Each open question stands in Slack, where Ada has an account. */
async function inSlack(on: Stage): Promise<void> {
  await declare(on, [person(ADA, { slack: 'U0ADA' })])
  await on.asked()
  const start = `SALLYPORT_CHANNEL_${on.cast.tenant.toUpperCase()}__`
  const room: DeclaredChannel = {
    channel: 'room',
    kind: 'slack',
    settings: {
      conversation: 'C0ROOM',
      workspace: 'T0HOUSE',
      token_env: `${start}TOKEN`,
      signing_env: `${start}SIGNING`,
      api_url: 'https://slack.com/api',
      allow_private: false,
    },
    events: ['approval.requested'],
    topics: null,
    teams: null,
  }
  await on.cast.ask((t) => putChannel(t.world, t.admin, room))
  const { db, ids } = on.cast.seen.world
  const now = on.cast.sim.now()
  const { tenant } = on.cast
  for (const [n, { approval_id, grant_hash }] of (await on.pending()).entries()) {
    const delivery_id = ids.id('dlv', now)
    const told = { channel: 'room', recipient: 'conversation', asks: true, event: 'approval.requested', entry: '{}' }
    const end = {
      status: 'sent',
      attempts: 1,
      next_at: now,
      since_at: now,
      error: null,
      created_at: now,
      finished_at: now,
    } as const
    await enqueue(db, tenant, 0, [
      { tenant, delivery_id, tree_index: n, approval_id, ...told, ...end, posted: null, about: null },
    ])
    on.buttons.push(buttonValue(approval_id, grant_hash, delivery_id))
  }
}

/** Whoever is not answered clicks again, and that is another request. */
async function answerInSlack(on: Stage): Promise<void> {
  for (const value of on.buttons) {
    const message = {
      channel: 'C0ROOM',
      text: 'x',
      blocks: [{ type: 'actions', elements: [{ action_id: APPROVE, value }] }],
    }
    let clicks = 0
    const answered = await on.cast.ask(async (t) => {
      const again = (payload: object) => ({ ...payload, trigger_id: String(++clicks) })
      const { body, headers } = clickOn(message, APPROVE, { user: 'U0ADA', at: t.world.clock.now(), change: again })
      const open = await openClick(t.world, couriers, {
        tenant: t.tenant,
        channel: 'room',
        timestamp: headers['x-slack-request-timestamp'] as string,
        signature: headers['x-slack-signature'] as string,
        body,
      })
      const { approval_id, grant_hash } = open.click
      return approve(t.world, open.caller, approval_id, { grant_hash }, { via: 'slack' })
    })
    if (!done(answered)) continue
    const { approval_id } = answered
    on.cast.history.expects(`answer to ${approval_id}`, { kind: 'approval.approved', approval_id, actor: ADA })
  }
}

/** Who is known, who may come in, and how they are reached. */
export const PEOPLE: Scene[] = [
  { name: 'keys: revoked', arrange: (on) => on.submit(), act: (on) => on.cast.revoke(on.agent) },
  {
    name: 'keys: made',
    act: (on) =>
      on.cast.ask((t) =>
        createKey(t.world, on.cast.tenant, 'person:root', { role: 'viewer', principal: 'person:new' }),
      ),
  },
  {
    name: 'keys: made by somebody',
    act: async (on) => {
      const made = await on.cast.ask((t) => makeKey(t.world, t.admin, { role: 'viewer', principal: 'person:new' }))
      if (done(made)) on.cast.history.expects('key', { kind: 'key.created', key_id: made.row.key_id })
    },
  },
  {
    name: 'keys: rotated, and the old one at work',
    act: async (on) => {
      const rotated = await on.cast.ask((t) => rotateKey(t.world, t.admin, on.agent.key_id, DAY))
      if (done(rotated))
        on.cast.history.expects('rotation', {
          kind: 'key.rotated',
          key_id: on.agent.key_id,
          successor: rotated.row.key_id,
        })
      await on.submit()
    },
  },
  {
    name: 'tokens: minted',
    act: async (on) => {
      const made = await on.cast.ask((t) => mintToken(t.world, on.cast.seen.agent, { minutes: 5 }))
      if (done(made)) on.cast.history.expects('token', { kind: 'token.minted', jti: made.jti })
    },
  },
  {
    name: 'reminders: a key that expires soon',
    arrange: (on) =>
      on.cast.ask((t) =>
        createKey(t.world, on.cast.tenant, 'person:root', { role: 'viewer', expires_at: on.cast.sim.now() + DAY }),
      ),
    act: async (on) => {
      const said = await on.cast.ask((t) => remindOfKeys(t.world))
      if (done(said)) on.cast.history.expects('reminder', { kind: 'key.due', stage: 'expiry' })
    },
  },
  { name: 'directory: somebody declared', act: (on) => declare(on, [person(ADA), BOT]) },
  {
    name: 'directory: declared again, as somebody else',
    arrange: (on) => declare(on, [person(ADA), BOT]),
    act: (on) => declare(on, [person(ADA, { role: 'viewer' }), BOT]),
  },
  {
    name: 'directory: an agent disabled, with a job queued',
    arrange: async (on) => {
      await declare(on, [BOT])
      await on.submit()
    },
    act: async (on) => {
      await disable(on, BOT.principal)
      await on.submit()
    },
  },
  {
    name: 'directory: a person disabled who signed on',
    arrange: async (on) => {
      await withAccount(on)
      await byPassword(on)
    },
    act: (on) => disable(on, ADA),
  },
  { name: 'accounts: invited', arrange: (on) => declare(on, [person(ADA)]), act: (on) => invitation(on) },
  {
    name: 'accounts: an invitation used',
    arrange: async (on) => {
      await declare(on, [person(ADA)])
      on.invitation = await invitation(on)
    },
    act: (on) => accept(on, on.invitation),
  },
  {
    name: 'accounts: the password changed by who signed on with it',
    arrange: async (on) => {
      await withAccount(on)
      await byPassword(on)
    },
    act: async (on) => {
      const open = await openSessions(on)
      const changed = await on.cast.ask((t) =>
        changePassword(t.world, passwords, t.caller('approver', ADA), { old_password: OLD, password: NEW }).then(
          () => true,
        ),
      )
      if (!done(changed)) return
      on.cast.history.expects('password', { kind: 'account.changed', principal: ADA })
      expectClosed(on, open, 'password_changed', 'account_closed')
    },
  },
  {
    name: 'accounts: closed, with a session open',
    arrange: async (on) => {
      await withAccount(on)
      await byPassword(on)
    },
    act: closeAdas,
  },
  {
    name: 'sign-on: somebody new, by a group of the provider',
    arrange: (on) =>
      declare(on, [person('person:root', { role: 'admin' })], [{ group: 'staff', role: 'viewer', team: null }]),
    act: async (on) => {
      const opened = await byProvider(on)
      if (opened === null) return
      const { principal } = opened
      on.cast.history.expects(`${principal} is declared`, { kind: 'principal.declared', principal })
      on.cast.history.expects(`${principal} is linked`, { kind: 'account.linked', principal })
    },
  },
  { name: 'sign-on: by password', arrange: withAccount, act: (on) => byPassword(on) },
  {
    name: 'sign-on: off',
    arrange: async (on) => {
      await withAccount(on)
      await byPassword(on)
    },
    act: async (on) => {
      for (const key_id of await openSessions(on)) {
        const off = await on.cast.ask((t) => signOff(t.world, t.caller('approver', ADA, { key_id })).then(() => true))
        if (done(off)) expectClosed(on, [key_id], 'signed_off', 'account_closed')
      }
    },
  },
  { name: 'channels: put', act: (on) => put(on, ['approval.requested']) },
  {
    name: 'channels: put again, for something else',
    arrange: (on) => put(on, ['approval.requested']),
    act: (on) => put(on, ['stop.raised']),
  },
  {
    name: 'drills: one is owned and reported',
    act: async (on) => {
      const owned = await on.cast.ask((t) =>
        scheduleDrill(t.world, t.admin, 'deny', { owner: 'sre', every_ms: 86_400_000 }),
      )
      if (done(owned)) on.cast.history.expects('drill owned', { kind: 'drill.scheduled', drill: 'deny', owner: 'sre' })
      const checks = [{ name: 'it was tried', pass: true, detail: '' }]
      const run = await on.cast.ask((t) =>
        recordDrill(t.world, t.admin, 'deny', { took_ms: 1, made: {}, checks, figures: {} }),
      )
      if (done(run)) on.cast.history.expects('drill reported', { kind: 'drill.run', drill_id: run.drill_id })
    },
  },
  {
    name: 'attest: a person says what no row shows',
    arrange: (on) => declare(on, [person(ADA)]),
    act: async (on) => {
      const said = { subject: 'on_call_runbook', note: 'read it' } as const
      const word = await on.cast.ask((t) => attest(t.world, t.caller('approver', ADA), said))
      if (done(word))
        on.cast.history.expects('attested', { kind: 'readiness.attested', attestation_id: word.attestation_id })
    },
  },
  {
    name: 'channels: removed',
    arrange: (on) => put(on, ['approval.requested']),
    act: async (on) => {
      const removed = await on.cast.ask((t) => removeChannel(t.world, t.admin, 'hook').then(() => true))
      if (done(removed)) on.cast.history.expects('no channel', { kind: 'channel.removed', channel: 'hook' })
    },
  },
  {
    name: 'links: answered by mail',
    arrange: async (on) => {
      await declare(on, [person(ADA)])
      await on.asked()
      await mailed(on)
    },
    act: answerByLinks,
  },
  { name: 'chat: answered in Slack', arrange: inSlack, act: answerInSlack },
]
