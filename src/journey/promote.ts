import { type Caller, may } from '../core/access.js'
import { type Fact, joined } from '../core/audit.js'
import {
  type Autonomy,
  asking,
  type Checked,
  checked,
  fallOf,
  isBelow,
  isLow,
  isSameSettings,
  loosens,
  type Numbers,
  type Proposal,
  type Settings,
  SPOT_CHECK,
  type Stage,
  stageAbove,
} from '../core/autonomy.js'
import { isPerson, mayBeOne, stillCounts } from '../core/four-eyes.js'
import { unsatisfiable } from '../core/satisfiable.js'
import { Problem } from '../errors.js'
import {
  answeredSince,
  brokeSince,
  type Ended,
  endedSince,
  evaluatedSince,
  getAutonomy,
  listAutonomy,
} from '../store/autonomy.js'
import { getPrincipal } from '../store/directory.js'
import { partyOf } from '../store/four-eyes.js'
import { standingUnder } from '../store/keys.js'
import { readPeople } from '../store/people.js'
import { type Gate, getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 8
const DAY_MS = 86_400_000
/** A proposal nobody confirms in its time was not convincing. */
const PROPOSED_MS = 7 * DAY_MS
const ACTOR = 'system:autonomy'

/** An agent's stage with what it would have to show to rise. */
export interface AutonomyReport {
  autonomy: Autonomy
  numbers: Numbers
  criteria: Checked[]
}

/** What counts of the agent's work now. Throws Problem `not_found`. */
export async function autonomyReport(world: World, tenant: string, agent: string): Promise<AutonomyReport> {
  const autonomy = await getAutonomy(world.db, tenant, agent)
  if (autonomy === null) throw new Problem('not_found', `${agent} is not managed: policy alone decides`)
  const numbers = await numbersOf(world, autonomy, world.clock.now())
  return { autonomy, numbers, criteria: checked(autonomy.stage, numbers) }
}

/** From when its ends count: two weeks back, or from the stage's beginning. */
const endsFrom = ({ agent, since }: Autonomy, now: number) => ({ agent, since: Math.max(since, now - 14 * DAY_MS) })

/** @param known how its work ended, where that was looked up for several at once */
async function numbersOf(world: World, autonomy: Autonomy, now: number, known?: Ended): Promise<Numbers> {
  const { tenant, agent, stage, since } = autonomy
  const of = [tenant, agent] as const
  const back = (ms: number) => Math.max(since, now - ms)
  const [ended, fortnight, week, evaluated] = await Promise.all([
    known ?? endedSince(world.db, tenant, [endsFrom(autonomy, now)]).then((all) => all.get(agent) ?? NONE),
    answeredSince(world.db, of, back(14 * DAY_MS)),
    answeredSince(world.db, of, back(7 * DAY_MS)),
    stage === 'shadow' ? evaluatedSince(world.db, of, back(14 * DAY_MS)) : { evaluated: 0, denied: 0 },
  ])
  const ends = ended.succeeded + ended.failed
  return {
    in_stage_ms: now - since,
    actions: stage === 'shadow' ? evaluated.evaluated : ends,
    error_rate: share(ended.failed, ends),
    answered: fortnight.answered,
    approval_rate: share(fortnight.approved, fortnight.answered),
    answered_week: week.answered,
    approval_rate_week: share(week.approved, week.answered),
    denial_rate: share(evaluated.denied, evaluated.evaluated),
  }
}

const NONE: Ended = { succeeded: 0, failed: 0 }

const share = (part: number, whole: number) => (whole === 0 ? null : part / whole)

export interface Declared extends Settings {
  stage: Stage
}

/**
 * Puts an agent under management, at any stage: every one of them asks at least as much as none. Of one that is managed only the spot
 * check, its bounds and who is asked change here: at once where people see no less of it, else from when another person declares the
 * same. Throws Problem `not_found`, `invalid`, `forbidden`, `illegal_transition`, `self_approval`.
 */
export function declareAutonomy(
  world: World,
  caller: Caller,
  agent: string,
  { stage, ...settings }: Declared,
): Promise<Autonomy> {
  return change(world, caller, agent, async (found, now, team) => {
    if (found !== null && found.stage !== stage)
      throw new Problem('illegal_transition', `${agent} is ${found.stage}: promote or demote it`, {
        stage: found.stage,
      })
    const before = found ?? {
      ...{ tenant: caller.tenant, agent, stage, since: now, ...SPOT_CHECK },
      ...{ moved_at: null, proposal: null, alerted_at: null, offered_at: null },
      // Who owns the agent decides about it, not who runs the plane.
      ...{ asks: team === null ? ['role:approver'] : ['lead:owner'], updated_at: now, updated_by: caller.principal },
    }
    const next = declared(before, settings, caller, now)
    if (settings.asks !== undefined) await assertAnswerable(world, next, team)
    const { spot_check, least, most, asks } = next
    const said = { stage, since: next.since, spot_check, least, most, asks: joined(asks) }
    if (found === null || !loosens(found, next))
      return { next, facts: [fact('autonomy.declared', next, caller.principal, now, said)] }
    const { proposal } = found
    await assertPerson(world, caller, agent)
    const isSecond =
      proposal?.settings !== undefined &&
      proposal.by !== caller.principal &&
      isSameSettings(proposal.settings, settings) &&
      (await counts(world, caller, agent, proposal, team, now))
    if (proposal !== null && isSecond) {
      const facts = [fact('autonomy.declared', next, caller.principal, now, { ...said, proposed_by: proposal.by })]
      return { next, facts }
    }
    const own = { to: stage, by: caller.principal, key_id: caller.key_id, at: now, note: null, settings }
    const waiting = { ...found, proposal: own, updated_at: now, updated_by: caller.principal }
    return { next: waiting, facts: [fact('autonomy.proposed', next, caller.principal, now, { ...said, to: stage })] }
  })
}

/** Who is asked must be somebody: a stage that asks nobody lets nothing through, and says so to nobody. Throws Problem `invalid`. */
async function assertAnswerable(world: World, { tenant, asks }: Autonomy, team: string | null): Promise<void> {
  const people = { ...(await readPeople(world.db, tenant)), teamsOf: new Map() }
  const faults = unsatisfiable(asking(asks), people, team).map((message) => ({ path: '/asks', message }))
  if (faults.length > 0) throw new Problem('invalid', 'Nobody could answer what the stage asks', { faults })
}

/** With these settings; others that were proposed before are moot by them. Throws Problem `invalid`. */
function declared(before: Autonomy, settings: Settings, { principal }: Caller, now: number): Autonomy {
  const { spot_check = before.spot_check, least = before.least, most = before.most, asks = before.asks } = settings
  if (least > spot_check || spot_check > most) {
    const message = `must lie between least (${least}) and most (${most})`
    throw new Problem('invalid', `spot_check ${message}`, { faults: [{ path: '/spot_check', message }] })
  }
  const proposal = before.proposal?.settings === undefined ? before.proposal : null
  return { ...before, spot_check, least, most, asks, proposal, updated_at: now, updated_by: principal }
}

/** Proposes the stage above; another person confirms it. Throws Problem `not_found`, `forbidden`, `illegal_transition`, `stage_not_earned`. */
export function proposePromotion(
  world: World,
  caller: Caller,
  agent: string,
  { to, note }: { to: Stage; note: string | null },
): Promise<Autonomy> {
  return change(world, caller, agent, async (found, now) => {
    const autonomy = managed(found, agent)
    if (stageAbove(autonomy.stage) !== to)
      throw new Problem('illegal_transition', `From ${autonomy.stage} the next is ${stageAbove(autonomy.stage)}`, {
        stage: autonomy.stage,
      })
    await assertPerson(world, caller, agent)
    const numbers = await earned(world, autonomy, now)
    const proposal = { to, by: caller.principal, key_id: caller.key_id, at: now, note }
    const next = { ...autonomy, proposal, updated_at: now, updated_by: caller.principal }
    const said = { stage: autonomy.stage, to, note, ...flat(numbers) }
    return { next, facts: [fact('autonomy.proposed', next, caller.principal, now, said)] }
  })
}

/** Carries out what another person proposed, if it still holds. Throws Problem as `proposePromotion`, and `self_approval`. */
export function confirmPromotion(world: World, caller: Caller, agent: string, note: string | null): Promise<Autonomy> {
  return change(world, caller, agent, async (found, now, team) => {
    const autonomy = managed(found, agent)
    const { proposal } = autonomy
    await assertPerson(world, caller, agent)
    if (proposal?.settings !== undefined)
      throw new Problem('illegal_transition', 'Settings are proposed: another person declares the same', {
        stage: autonomy.stage,
      })
    if (proposal === null || !(await counts(world, caller, agent, proposal, team, now)))
      throw new Problem('illegal_transition', 'Nothing is proposed', { stage: autonomy.stage })
    const numbers = await earned(world, autonomy, now)
    const next: Autonomy = {
      ...{ ...autonomy, stage: proposal.to, since: now, proposal: null, alerted_at: null, offered_at: null },
      ...{ updated_at: now, updated_by: caller.principal },
    }
    const said = { from_stage: autonomy.stage, stage: next.stage, proposed_by: proposal.by, note, ...flat(numbers) }
    return { next, facts: [fact('autonomy.promoted', next, caller.principal, now, said)] }
  })
}

/** At once, by one person. Throws Problem `not_found`, `forbidden`, `illegal_transition`. */
export function demote(
  world: World,
  caller: Caller,
  agent: string,
  { to, note }: { to: Stage; note: string },
): Promise<Autonomy> {
  return change(world, caller, agent, (found, now) => {
    const autonomy = managed(found, agent)
    if (!isBelow(to, autonomy.stage))
      throw new Problem('illegal_transition', `${to} is not below ${autonomy.stage}`, { stage: autonomy.stage })
    return fallen(autonomy, to, note, caller.principal, now, {})
  })
}

/**
 * Looks at every managed agent: who does badly is put back at once, and of whom people often disagree with is told, once a day,
 * and who has earned the next stage is told of, once.
 * Returns those that were put back.
 */
export async function watchAutonomy(world: World): Promise<Autonomy[]> {
  const back: Autonomy[] = []
  const all = await listAutonomy(world.db)
  const endsOf = await endsOfAll(world, all)
  for (const listed of all) {
    const { tenant, agent } = listed
    const gate = await getGate(world.db, tenant)
    const found = await getAutonomy(world.db, tenant, agent)
    if (found === null) continue
    const now = world.clock.now()
    // Since another stage began, something else counts.
    const ended = found.since === listed.since ? endsOf(listed) : undefined
    const numbers = await numbersOf(world, found, now, ended)
    const broken = await brokeSince(world.db, [found.tenant, found.agent], found.since)
    const fall = fallOf(found.stage, numbers, broken)
    const step =
      fall === null ? told(found, numbers, now) : fallen(found, fall.to, fall.reason, ACTOR, now, flat(numbers))
    if (isLow(numbers) && (found.alerted_at ?? 0) + DAY_MS <= now) {
      step.next.alerted_at = now
      step.facts.unshift(fact('approvals.low', found, ACTOR, now, { stage: found.stage, ...flat(numbers) }))
    }
    if (step.facts.length === 0) continue
    // Lost to another change: the next round looks again.
    const done = await commit(world, gate, step)
    if (done && fall !== null) back.push(step.next)
  }
  return back
}

/** How the work of all of them ended: one look at each tenant. */
async function endsOfAll(world: World, all: readonly Autonomy[]): Promise<(of: Autonomy) => Ended> {
  const now = world.clock.now()
  const byTenant = new Map<string, Map<string, Ended>>()
  for (const tenant of new Set(all.map((each) => each.tenant))) {
    const windows = all.filter((each) => each.tenant === tenant).map((each) => endsFrom(each, now))
    byTenant.set(tenant, await endedSince(world.db, tenant, windows))
  }
  return ({ tenant, agent }) => byTenant.get(tenant)?.get(agent) ?? NONE
}

function fallen(
  autonomy: Autonomy,
  to: Stage,
  reason: string,
  actor: string,
  now: number,
  numbers: Record<string, number>,
): Step {
  const next: Autonomy = {
    ...{ ...autonomy, stage: to, since: now, proposal: null, offered_at: null },
    ...{ updated_at: now, updated_by: actor },
  }
  const said = { from_stage: autonomy.stage, stage: to, reason, ...numbers }
  return { next, facts: [fact('autonomy.demoted', next, actor, now, said)] }
}

/** Who has earned the next stage is told of, once: a person decides whether to propose it. */
function told(found: Autonomy, numbers: Numbers, now: number): Step {
  const criteria = checked(found.stage, numbers)
  const isEarned = criteria.length > 0 && criteria.every(({ holds }) => holds)
  if (!isEarned || found.offered_at !== null) return { next: { ...found }, facts: [] }
  const said = { stage: found.stage, to: stageAbove(found.stage), ...flat(numbers) }
  return { next: { ...found, offered_at: now }, facts: [fact('autonomy.offered', found, ACTOR, now, said)] }
}

function fact(
  kind: Fact['kind'],
  { tenant, agent }: Autonomy,
  actor: string,
  at: number,
  more: Record<string, string | number | null>,
): Fact {
  return { kind, tenant, at, actor, agent, ...more }
}

/** For the log: what there is a number for. */
function flat(numbers: Numbers): Record<string, number> {
  return Object.fromEntries(Object.entries(numbers).filter((entry): entry is [string, number] => entry[1] !== null))
}

function managed(found: Autonomy | null, agent: string): Autonomy {
  if (found !== null) return found
  throw new Problem('not_found', `${agent} is not managed: policy alone decides`)
}

/** A program never trusts another further, whatever its key may do. Throws Problem `forbidden`. */
async function assertPerson(world: World, caller: Caller, agent: string): Promise<void> {
  if (isPerson(await partyOf(world.db, caller.tenant, { by: caller.principal }))) return
  await refused(world, caller, agent, 'no person')
  throw new Problem('forbidden', 'People decide how far an agent is trusted', { needs: ['a person'] })
}

/**
 * Whether this proposal may be carried out now: it is no week old, and who made it still might. Throws Problem `self_approval` where who
 * made it and who carries it out may be one person.
 */
async function counts(
  world: World,
  caller: Caller,
  agent: string,
  proposal: Proposal,
  team: string | null,
  now: number,
): Promise<boolean> {
  if (proposal.at + PROPOSED_MS <= now) return false
  const of = (who: { by: string; key_id?: string }) => partyOf(world.db, caller.tenant, who)
  const [first, second] = await Promise.all([of(proposal), of({ by: caller.principal })])
  if (!stillCounts(first, (as) => !mayManage(as, team))) return false
  const overlap = mayBeOne(first, second)
  if (overlap === null) return true
  await refused(world, caller, agent, overlap)
  throw new Problem('self_approval', overlap)
}

/** Admins and operators, and who leads the team that owns the agent. */
function mayManage(caller: Pick<Caller, 'role' | 'permissions' | 'leads'>, team: string | null): boolean {
  const leads = team !== null && caller.leads.includes(team) && may(caller, 'autonomy:write_led')
  return leads || may(caller, 'autonomy:write')
}

/** The numbers a promotion stands on. Throws Problem `stage_not_earned` with every criterion. */
async function earned(world: World, autonomy: Autonomy, now: number): Promise<Numbers> {
  const numbers = await numbersOf(world, autonomy, now)
  const criteria = checked(autonomy.stage, numbers)
  if (criteria.length > 0 && criteria.every(({ holds }) => holds)) return numbers
  const failing = criteria.filter(({ holds }) => !holds).map(({ criterion }) => criterion)
  throw new Problem('stage_not_earned', `Not yet: ${failing.join(', ')}`, { stage: autonomy.stage, criteria })
}

interface Step {
  next: Autonomy
  facts: Fact[]
}

/** Throws Problem `not_found`, `forbidden`, `overloaded`, and what `step` throws. */
async function change(
  world: World,
  caller: Caller,
  agent: string,
  step: (found: Autonomy | null, now: number, team: string | null) => Step | Promise<Step>,
): Promise<Autonomy> {
  const { tenant } = caller
  for (let tries = 0; tries < TRIES; tries++) {
    // Before what is read under it: a change in between moves the gate, and this commit with it.
    const gate = await getGate(world.db, tenant)
    await standingUnder(world, gate, caller)
    const principal = await getPrincipal(world.db, tenant, agent)
    if (principal === null || principal.kind !== 'agent') throw new Problem('not_found', `There is no agent ${agent}`)
    if (!mayManage(caller, principal.team)) {
      await refused(world, caller, agent, 'not its lead')
      throw new Problem('forbidden', undefined, { needs: ['autonomy:write'] })
    }
    const taken = await step(await getAutonomy(world.db, tenant, agent), world.clock.now(), principal.team)
    if (await commit(world, gate, taken)) return taken.next
  }
  throw new Problem('overloaded', 'The agent changed faster than this could be written', { retry_after_ms: 200 })
}

/** With the gate as it was before anything was read: false where it moved since. */
async function commit(world: World, read: Gate | null, { next, facts }: Step): Promise<boolean> {
  const { tenant } = next
  const gate = read ?? { tenant, snapshot: null, epoch: 0, file_digest: null }
  const receipt = await world.ledger.commit({
    tenant,
    gate: null,
    alone: [],
    rows: {},
    admin: { autonomy: [next], gates: [{ ...gate, epoch: gate.epoch + 1 }] },
    facts,
  })
  await world.policies.refresh(tenant)
  return receipt.ok
}

/** On record at once, its repeats counted. */
async function refused(
  { clock, ledger, refusals }: World,
  caller: Caller,
  agent: string,
  reason: string,
): Promise<void> {
  const at = clock.now()
  const { tenant, principal: actor } = caller
  const entry = { kind: 'autonomy.refused', tenant, actor, agent, reason } as const
  await refusals.onRecord(entry, at, () => ledger.record(tenant, [{ ...entry, at }]))
}
