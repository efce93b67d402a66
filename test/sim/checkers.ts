import type { Completion } from '../../src/contract/workers.js'
import type { Job } from '../../src/core/job.js'
import type { Lease } from '../../src/core/lease.js'
import { windowStart } from '../../src/core/limits.js'
import type { Problem } from '../../src/errors.js'
import { settle } from '../../src/journey/settle.js'
import type { DecisionRow } from '../../src/store/decisions.js'
import { reproduce } from '../../src/store/remade.js'
import { type Checker, factsOf } from '../invariants.js'
import type { Tenancy, TestPlane } from '../plane.js'
import { tableOf } from '../tables.js'
import type { History, Log } from './history.js'

const TABLES = ['jobs', 'leases', 'effects', 'decisions'] as const

async function logOf(plane: TestPlane, tenant: string): Promise<Log> {
  const rows = {} as Log['rows']
  for (const table of TABLES) rows[table] = await tableOf(plane.db, table, tenant)
  return { facts: await factsOf(plane, tenant), rows }
}

/** What anybody was told is in rows and log. */
export const acknowledgedIsKept =
  (history: History): Checker =>
  async (plane, tenant) => {
    const log = await logOf(plane, tenant)
    const lost = history.answers.filter((answer) => !answer.kept(log)).map(({ said }) => `lost: ${said}`)
    return [...new Set(lost), ...history.strange.map((what) => `answer: ${what}`)]
  }

/** No outside action was done twice. */
export const effectsOnce =
  (history: History): Checker =>
  async () =>
    [...history.done].filter(([, times]) => times > 1).map(([key, times]) => `effect: ${key} was done ${times} times`)

/** One lease at a time is granted, and what happens under a lease happens before its end: walked in the order of the commits. */
export const fencesHeld: Checker = async (plane, tenant) => {
  const live = new Map<unknown, unknown>()
  const wrong: string[] = []
  for (const fact of await factsOf(plane, tenant)) {
    const held = live.get(fact.job_id)
    const say = (what: string) => wrong.push(`fence: ${fact.job_id} ${what} (${fact.kind}), live is ${held}`)
    if (fact.kind === 'job.leased') {
      if (held !== undefined) say(`was leased as ${fact.lease_id} over another`)
      live.set(fact.job_id, fact.lease_id)
    }
    if (fact.kind === 'effect.begun' || fact.kind === 'effect.committed')
      if (fact.lease_id !== held) say(`let ${fact.lease_id} act`)
    if (fact.ended_lease !== undefined) {
      if (fact.ended_lease !== held) say(`was ended by ${fact.ended_lease}`)
      live.delete(fact.job_id)
    }
  }
  return wrong
}

/**
 * From the commit of its revocation a key lets nothing through, and from that of its disabling a principal: nothing of a disabled agent
 * is taken up either. Principals have one key each in these runs.
 */
export const revokedIsOut: Checker = async (plane, tenant) => {
  const out = new Set<unknown>()
  const disabled = new Set<unknown>()
  const agents = new Map<unknown, unknown>()
  const lets = new Set(['job.submitted', 'job.denied', 'job.leased', 'approval.approved', 'effect.begun'])
  return (await factsOf(plane, tenant)).flatMap((fact) => {
    if (fact.kind === 'key.revoked') out.add(fact.principal)
    if (fact.kind === 'principal.disabled') disabled.add(fact.principal)
    if (fact.kind === 'principal.declared') disabled.delete(fact.principal)
    if (fact.kind === 'job.submitted') agents.set(fact.job_id, fact.actor)
    if (!lets.has(String(fact.kind))) return []
    // A denial is what it is told.
    const who = [fact.actor, agents.get(fact.job_id)].find((each) => disabled.has(each))
    if (who !== undefined && fact.kind !== 'job.denied')
      return [`directory: ${who} is disabled, ${fact.kind} was let through`]
    return out.has(fact.actor) ? [`key: ${fact.actor} was let through (${fact.kind}) after it was revoked`] : []
  })
}

/** Nobody who came in with what was closed meanwhile is in. */
export const closedIsOut: Checker = async (plane, tenant) => {
  const facts = await factsOf(plane, tenant)
  const ended = new Set(facts.filter(({ kind }) => kind === 'session.closed').map(({ key_id }) => key_id))
  const last = new Map<unknown, unknown>()
  for (const { kind, principal } of facts) if (String(kind).startsWith('account.')) last.set(principal, kind)
  const opened = facts.filter(({ kind, way }) => kind === 'session.opened' && way === 'password')
  return opened
    .filter(({ actor, key_id }) => last.get(actor) === 'account.closed' && !ended.has(key_id))
    .map(({ actor, key_id }) => `session: ${key_id} of ${actor} is open, the account is closed`)
}

/** A row that is written with its entry says what the last entry about it says. */
export const rowsAsLogged: Checker = async (plane, tenant) => {
  const facts = await factsOf(plane, tenant)
  const wrong: string[] = []
  for (const { table, id, says } of LOGGED) {
    const last = new Map<unknown, string>()
    for (const fact of facts) {
      const said = says.fact[String(fact.kind)]?.(fact)
      if (said !== undefined) last.set(fact[id], said)
    }
    for (const row of await tableOf<Record<string, unknown>>(plane.db, table, tenant)) {
      const said = last.get(row[id])
      last.delete(row[id])
      // Whoever was made by a key has the entry of the key.
      if (said === undefined && row.source === 'key') continue
      if (said !== says.row(row)) wrong.push(`row: ${row[id]} of ${table} is ${says.row(row)}, logged as ${said}`)
    }
    for (const [name, said] of last)
      if (said !== GONE) wrong.push(`row: ${name} of ${table} is missing, logged as ${said}`)
  }
  return wrong
}

type Said = (from: Record<string, unknown>) => string
const GONE = 'gone'
const always = (word: string) => () => word
const field =
  (name: string): Said =>
  (from) =>
    String(from[name])
const ended =
  (name: string): Said =>
  (row) =>
    row[name] === null ? 'open' : 'closed'

const LOGGED: { table: string; id: string; says: { row: Said; fact: Record<string, Said> } }[] = [
  {
    table: 'principals',
    id: 'principal',
    says: {
      row: (row) => (row.disabled_at === null ? String(row.role) : 'disabled'),
      fact: { 'principal.declared': field('role'), 'principal.disabled': always('disabled') },
    },
  },
  {
    table: 'channels',
    id: 'channel',
    says: {
      row: (row) => (row.events as string[]).join(),
      fact: { 'channel.declared': field('events'), 'channel.removed': always(GONE) },
    },
  },
  {
    table: 'autonomy',
    id: 'agent',
    says: {
      row: field('stage'),
      fact: {
        'autonomy.declared': field('stage'),
        'autonomy.promoted': field('stage'),
        'autonomy.demoted': field('stage'),
      },
    },
  },
  {
    table: 'workflows',
    id: 'workflow',
    says: {
      row: ended('closed_at'),
      fact: { 'workflow.opened': always('open'), 'workflow.closed': always('closed') },
    },
  },
  {
    table: 'breakers',
    id: 'agent',
    says: { row: field('state'), fact: { 'breaker.opened': always('open'), 'breaker.closed': always('closed') } },
  },
]

/** From the commit of a stop of the tenant nothing is let through, until two people resumed it. */
export const stopsAreHeld: Checker = async (plane, tenant) => {
  const stopped = new Set<unknown>()
  const lets = ['job.submitted', 'job.leased', 'job.replayed', 'effect.begun', 'approval.approved', 'approval.rejected']
  const asked = new Map<unknown, unknown>()
  return (await factsOf(plane, tenant)).flatMap((fact) => {
    if (fact.kind === 'stop.raised') stopped.add(fact.stop_id)
    if (fact.kind === 'stop.resume_requested') asked.set(fact.stop_id, fact.actor)
    if (fact.kind === 'stop.resumed') {
      stopped.delete(fact.stop_id)
      if (!asked.has(fact.stop_id) || asked.get(fact.stop_id) === fact.actor)
        return [`stop: ${fact.stop_id} was resumed by ${fact.actor} alone`]
    }
    return lets.includes(String(fact.kind)) && stopped.size > 0
      ? [`stop: ${fact.job_id} was let through (${fact.kind}) after ${[...stopped]}`]
      : []
  })
}

/** No window holds more accepted submits than its rate, nor does the sliding one, give or take the offset between clocks. */
export const ratesAreHeld: Checker = async (plane, tenant) => {
  const spent = new Map<string, { count: number; period: number; at: number[] }>()
  for (const row of await tableOf<DecisionRow>(plane.db, 'decisions', tenant)) {
    if (row.door !== 'submit' || row.decision === 'DENY') continue
    const again = row.job_id === null ? null : await reproduce(plane.world, row)
    for (const { key, rate } of again?.decision.evaluation.limits ?? []) {
      if (rate === undefined) continue
      const name = `${key} ${rate.count}/${rate.period_ms}`
      const entry = spent.get(name) ?? { count: rate.count, period: rate.period_ms, at: [] }
      entry.at.push(row.standing.now)
      spent.set(name, entry)
    }
  }
  return [...spent].flatMap(([name, { count, period, at }]) =>
    at.flatMap((now) => {
      const start = windowStart(now, period)
      const current = at.filter((each) => each >= start && each <= now).length
      const before = at.filter((each) => each >= start - period && each < start).length
      const most = count * (1 + CLOCKS_APART_MS / period)
      return current > count || before * (1 - (now - start) / period) + current > most
        ? [`limit: ${name} let ${current} through after ${before} in the window before`]
        : []
    }),
  )
}

/** Twice the largest offset: one node ahead, one behind. */
export const CLOCKS_APART_MS = 1000

/** Nothing is under way: no lease is live, so every one that was ever granted is stale. What they may still do is tried. */
export async function staleLeases(plane: TestPlane, tenant: string) {
  const jobs = await tableOf<Job>(plane.db, 'jobs', tenant)
  const leases = (await tableOf<Lease>(plane.db, 'leases', tenant)).filter((lease) => lease.ended_at !== null)
  const stands = jobs.map((job) => `${job.job_id} ${job.version} ${job.status}`).sort()
  return { stands: stands.join(), leases: leases.sort((a, b) => (a.lease_id < b.lease_id ? -1 : 1)) }
}

/** What each of these leases can still move, which should be nothing. */
export async function tryStale(t: Tenancy, leases: { lease_id: string; principal: string }[]): Promise<string[]> {
  const wrong: string[] = []
  for (const principal of new Set(leases.map((lease) => lease.principal))) {
    const ids = leases.filter((lease) => lease.principal === principal).map(({ lease_id }) => lease_id)
    const as = t.caller('worker', principal)
    for (const lease of ids.slice(0, 2)) {
      const answer = await t.begin(lease, 'stale', as).catch((error: Problem) => error.code)
      if (answer !== 'lease_lost') wrong.push(`fence: stale ${lease} could begin an effect`)
      const beat = await t.beat(lease, undefined, as)
      if (beat.answer !== 'lost') wrong.push(`fence: stale ${lease} could beat`)
    }
    const reports = ids.map((lease): Completion => ({ lease, outcome: 'succeeded', result: 'once more' }))
    for (const { lease, answer } of await settle(t.world, as, reports))
      if (answer === 'ok') wrong.push(`fence: stale ${lease} could report`)
  }
  return wrong
}
