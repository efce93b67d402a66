import { type Caller, may } from '../core/access.js'
import {
  BREAKER_TERMS,
  type Breaker,
  type BreakerTerms,
  breakerFact,
  merged,
  type Outcome,
  outcomesNeeded,
  turned,
} from '../core/breaker.js'
import { isPerson } from '../core/four-eyes.js'
import { Problem } from '../errors.js'
import {
  type Agent,
  breakersOf,
  countsOf,
  forgetCounts,
  getBreaker,
  keepCounts,
  outcomesSince,
  termsOf,
  watchedAgents,
} from '../store/breakers.js'
import { getPrincipal } from '../store/directory.js'
import { partyOf } from '../store/four-eyes.js'
import { standingUnder } from '../store/keys.js'
import { type Gate, getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 12

/**
 * Reads how jobs ended since and moves the breakers of their agents; what is read twice counts once. Only agents of which a job failed
 * lately are looked at: where nothing fails this is one look into an index. Returns what opened or closed.
 */
export async function turnBreakers(world: World, since: number): Promise<Breaker[]> {
  const watched = await watchedAgents(world.db, since)
  if (watched.length === 0) return []
  const known = byAgent(await termsOf(world.db, watched))
  const terms = new Map(watched.map((each) => [nameOf(each), termsFor(known.get(nameOf(each))?.[0]?.terms?.breaker)]))
  const most = Math.max(...[...terms.values()].map(outcomesNeeded))
  const seen = byAgent(await outcomesSince(world.db, watched, since, most))
  const counts = byAgent(await countsOf(world.db, watched))
  const standing = byAgent(await breakersOf(world.db, watched))
  const turns: Breaker[] = []
  const keep: (Agent & { recent: Outcome[] })[] = []
  const forget: Agent[] = []
  for (const { tenant, agent } of watched) {
    const name = nameOf({ tenant, agent })
    const own = terms.get(name) ?? BREAKER_TERMS
    const before = counts.get(name)?.[0]?.recent ?? []
    const ends = (seen.get(name) ?? []).map(({ job_id, at, failed }) => ({ job_id, at, failed }))
    const breaker = standing.get(name)?.[0] ?? null
    const recent = merged(before, ends, outcomesNeeded(own)).filter(({ at }) => at > (breaker?.closed_at ?? -1))
    const isQuiet = recent.every(({ failed }) => !failed) && breaker?.state !== 'open'
    if (isQuiet) forget.push({ tenant, agent })
    else if (!isSame(recent, before)) keep.push({ tenant, agent, recent })
    const turn = turned(tenant, agent, breaker, recent, own, world.clock.now())
    if (turn === null) continue
    const team = known.get(name)?.[0]?.team ?? null
    if (await commit(world, await getGate(world.db, tenant), turn, team, 'system:breaker')) turns.push(turn)
  }
  await keepCounts(world.db, keep)
  await forgetCounts(world.db, forget)
  return turns
}

const isSame = (one: readonly Outcome[], other: readonly Outcome[]) =>
  one.length === other.length &&
  one.every(({ job_id, at, failed }, n) => {
    const each = other[n]
    return each?.job_id === job_id && each.at === at && each.failed === failed
  })

const nameOf = ({ tenant, agent }: Agent) => JSON.stringify([tenant, agent])

function byAgent<Row extends Agent>(rows: readonly Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>()
  for (const row of rows) {
    const group = groups.get(nameOf(row))
    if (group === undefined) groups.set(nameOf(row), [row])
    else group.push(row)
  }
  return groups
}

const termsFor = (declared: BreakerTerms | null | undefined) => declared ?? BREAKER_TERMS

/** With the gate, so that every node's door reads it from the commit on. False where something else moved the gate first. */
async function commit(
  world: World,
  read: Gate | null,
  breaker: Breaker,
  team: string | null,
  actor: string,
): Promise<boolean> {
  const { tenant } = breaker
  const gate = read ?? { tenant, snapshot: null, epoch: 0, file_digest: null }
  const receipt = await world.ledger.commit({
    tenant,
    gate: null,
    alone: [],
    rows: {},
    admin: { breakers: [breaker], gates: [{ ...gate, epoch: gate.epoch + 1 }] },
    facts: [breakerFact(breaker, team, world.clock.now(), actor)],
  })
  await world.policies.refresh(tenant)
  return receipt.ok
}

/** A person takes the agent back before its time. Throws Problem `not_found`, `forbidden`. */
export async function closeBreaker(world: World, caller: Caller, agent: string): Promise<Breaker> {
  const { tenant, principal } = caller
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    await standingUnder(world, gate, caller)
    const found = await getBreaker(world.db, tenant, agent)
    if (found === null) throw new Problem('not_found')
    const owner = await getPrincipal(world.db, tenant, agent)
    await assertMayClose(world, caller, agent, owner?.team ?? null)
    if (found.state === 'closed') return found
    const closed: Breaker = { ...found, state: 'closed', closed_at: world.clock.now(), closed_by: principal }
    if (await commit(world, gate, closed, owner?.team ?? null, principal)) return closed
  }
  throw new Problem('overloaded', 'The gate moved faster than this could be written: try again', {
    retry_after_ms: 200,
  })
}

/** For people: a program that fails would else take itself back. Throws Problem `forbidden`, on record. */
async function assertMayClose(world: World, caller: Caller, agent: string, team: string | null): Promise<void> {
  const { tenant, principal } = caller
  const leads = team !== null && caller.leads.includes(team) && may(caller, 'stops:write_led')
  const lacks = !isPerson(await partyOf(world.db, tenant, { by: principal }))
    ? 'a person'
    : may(caller, 'stops:write') || leads
      ? null
      : 'stops:write, or to lead the team'
  if (lacks === null) return
  const at = world.clock.now()
  const reason = `closing the breaker of ${agent}`
  const refused = { kind: 'stop.refused', tenant, actor: principal, reason } as const
  await world.refusals.onRecord(refused, at, () => world.ledger.record(tenant, [{ ...refused, at }]))
  throw new Problem('forbidden', undefined, { needs: lacks })
}
