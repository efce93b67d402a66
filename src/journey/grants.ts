import type { CreateGrant } from '../contract/grants.js'
import type { Caller } from '../core/access.js'
import type { Fact } from '../core/audit.js'
import { barredFrom, type People } from '../core/flow.js'
import { type GrantRow, voiceOf } from '../core/grant.js'
import { compileExpression, ExpressionError } from '../core/policy/expression.js'
import { isTopicPattern } from '../core/policy/topics.js'
import { Problem } from '../errors.js'
import { whoMadeKeys } from '../store/approvals.js'
import { getGrant } from '../store/grants.js'
import { assertNoToken, standingUnder } from '../store/keys.js'
import { type Gate, getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6
/** A grant is a stand-in for looking; past a quarter of a year nobody remembers what it was for. */
const LONGEST_MS = 90 * 86_400_000

/**
 * Approvals given beforehand, in the capacity that the caller has now. Whether one yes in that capacity is enough, the flow of each job
 * says at the door; for high risk no grant ever is. Throws Problem `invalid`, `self_approval`, `not_an_approver`.
 */
export async function createGrant(world: World, caller: Caller, body: CreateGrant): Promise<GrantRow> {
  const { tenant, principal } = caller
  await assertNoToken(world, caller)
  for (let tries = 0; tries < TRIES; tries++) {
    const now = world.clock.now()
    assertSound(body, now)
    const { gate } = await world.policies.active(tenant)
    await standingUnder(world, gate, caller)
    const people = await world.people.of(gate, [body.agent])
    await assertMayGrant(world, caller, body.agent, people, now)
    const grant: GrantRow = {
      tenant,
      grant_id: world.ids.id('grt', now),
      agent: body.agent,
      topic: body.topic,
      condition: body.when?.trim() ?? null,
      uses: body.uses,
      expires_at: body.expires_at,
      reason: body.reason,
      granted_by: principal,
      key_id: caller.key_id,
      voice: voiceOf(caller, body.agent, people),
      created_at: now,
      revoked_at: null,
      revoked_by: null,
    }
    const { grant_id, agent, topic, condition, uses, expires_at } = grant
    const told = { grant_id, agent, topic, condition, uses, expires_at, note: grant.reason, role: grant.voice.role }
    if (await commit(world, gate, grant, { kind: 'grant.created', tenant, at: now, actor: principal, ...told }))
      return grant
  }
  throw new Problem('overloaded', 'The policy changed faster than this could be granted', { retry_after_ms: 200 })
}

/** From its return no job passes a door by it; one that waits in the queue is asked about again. Throws Problem `not_found`. */
export async function revokeGrant(world: World, caller: Caller, grant_id: string): Promise<GrantRow> {
  const { tenant, principal } = caller
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    await standingUnder(world, gate, caller)
    const grant = await getGrant(world.db, tenant, grant_id)
    if (grant === null || gate === null) throw new Problem('not_found')
    if (grant.revoked_at !== null) return grant
    const now = world.clock.now()
    const revoked = { ...grant, revoked_at: now, revoked_by: principal }
    const { agent, topic } = grant
    const fact: Fact = { kind: 'grant.revoked', tenant, at: now, actor: principal, grant_id, agent, topic }
    if (await commit(world, gate, revoked, fact)) return revoked
  }
  throw new Problem('overloaded', 'The policy changed faster than this could be revoked', { retry_after_ms: 200 })
}

/** The gate moves with it, so that every node decides with it or without it from here on. */
async function commit(world: World, gate: Gate, grant: GrantRow, fact: Fact): Promise<boolean> {
  const receipt = await world.ledger.commit({
    tenant: grant.tenant,
    gate: null,
    alone: [],
    rows: {},
    admin: { grants: [grant], gates: [{ ...gate, epoch: gate.epoch + 1 }] },
    facts: [fact],
  })
  await world.policies.refresh(grant.tenant)
  return receipt.ok
}

function assertSound({ topic, when, expires_at }: CreateGrant, now: number): void {
  const faults: { path: string; message: string }[] = []
  if (!isTopicPattern(topic)) faults.push({ path: '/topic', message: 'is no topic pattern' })
  if (expires_at <= now) faults.push({ path: '/expires_at', message: 'is over' })
  if (expires_at > now + LONGEST_MS) faults.push({ path: '/expires_at', message: 'is more than 90 days away' })
  try {
    const type = when === undefined ? 'bool' : compileExpression(when.trim()).type
    if (type !== 'bool' && type !== 'dyn') faults.push({ path: '/when', message: `gives ${type}, needs bool` })
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error
    faults.push({ path: '/when', message: error.message })
  }
  if (faults.length > 0) throw new Problem('invalid', 'The grant does not say what it covers', { faults })
}

/** As for an answer: nobody grants what they could ask for themselves, and a program grants nothing. */
async function assertMayGrant(world: World, caller: Caller, agent: string, people: People, now: number): Promise<void> {
  const { tenant, principal } = caller
  const refuse = async (problem: Problem) => {
    const refused = { kind: 'grant.refused', tenant, actor: principal, error_code: problem.code } as const
    await world.refusals.onRecord(refused, now, () => world.ledger.record(tenant, [{ ...refused, at: now, agent }]))
    throw problem
  }
  const makers = await whoMadeKeys(world.db, tenant, [agent])
  // Who asks as the agent is known when it is used, and looked at then.
  if (barredFrom({ requested_by: agent, raised_by: agent, agent }, makers).includes(principal))
    await refuse(new Problem('self_approval', 'Nobody grants what they could ask for themselves'))
  const kind = people.persons.get(principal)?.kind ?? 'person'
  if (kind !== 'person') await refuse(new Problem('not_an_approver', `${principal} is a ${kind}; people approve`))
}
