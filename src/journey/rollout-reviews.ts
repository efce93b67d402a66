import type { Caller } from '../core/access.js'
import { mayAnswer } from '../core/approval.js'
import type { Fact } from '../core/audit.js'
import { directoryWords } from '../core/flow.js'
import { isPerson, mayBeOne } from '../core/four-eyes.js'
import { type RolloutReview, SIGNATURE_MS, WEEK_MS } from '../core/gates/review.js'
import { Problem } from '../errors.js'
import { getEvidence } from '../store/evidence.js'
import { partyOf } from '../store/four-eyes.js'
import { assertNoToken, standingUnder } from '../store/keys.js'
import { getRollout, type RolloutRow } from '../store/rollouts.js'
import { type Gate, getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6

/** What somebody says of a rollout. */
export type Said =
  /** That they have seen this phase, and the evidence if it is named. */
  | { review: 'signature'; phase: number; evidence_hash?: string; note?: string }
  /** What the last week was like. */
  | { review: 'week'; clean: boolean; critical_incidents: number; note: string }

/**
 * Keeps a person's word about a rollout. A signature is of one who is asked for it and did not declare the rollout themselves.
 * Throws Problem `not_found`, `illegal_transition`, `evidence_stale`, `forbidden`, `self_approval`, `invalid`, `overloaded`.
 */
export async function reviewRollout(
  world: World,
  caller: Caller,
  rollout_id: string,
  said: Said,
): Promise<RolloutReview> {
  const { tenant, principal: by, key_id } = caller
  await assertNoToken(world, caller)
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    await standingUnder(world, gate, caller)
    const rollout = await getRollout(world.db, tenant, rollout_id)
    if (rollout === null) throw new Problem('not_found')
    await assertMay(world, caller, rollout, gate, said)
    const at = world.clock.now()
    const review: RolloutReview = {
      ...{
        tenant,
        review_id: world.ids.id('rev', at),
        rollout_id,
        review: said.review,
        phase: rollout.phase,
        by,
        key_id,
        at,
      },
      ...(said.review === 'week'
        ? { clean: said.clean, critical_incidents: said.critical_incidents, evidence_hash: null }
        : { clean: null, critical_incidents: null, evidence_hash: said.evidence_hash ?? null }),
      valid_until: at + (said.review === 'week' ? WEEK_MS : SIGNATURE_MS),
      note: said.note ?? null,
    }
    const receipt = await world.ledger.commit({
      tenant,
      gate,
      alone: [],
      rows: { reviews: [review] },
      by: key_id,
      facts: [reviewed(review)],
    })
    if (receipt.ok) return review
    await world.policies.refresh(tenant)
  }
  throw new Problem('overloaded', 'The gate moved faster than this could be written: try again', {
    retry_after_ms: 200,
  })
}

function reviewed({ tenant, by, key_id, at, ...row }: RolloutReview): Fact {
  const { review_id, rollout_id, review, phase, valid_until, clean, critical_incidents, evidence_hash, note } = row
  return {
    ...{ kind: 'gate.reviewed', tenant, at, actor: by, rollout_id, review_id, review, phase, valid_until, note },
    ...(key_id === null ? {} : { key_id }),
    ...(review === 'week' ? { clean, critical_incidents } : { evidence_hash }),
  }
}

async function assertMay(
  world: World,
  caller: Caller,
  rollout: RolloutRow,
  gate: Gate | null,
  said: Said,
): Promise<void> {
  const { status, phase } = rollout
  if (status !== 'running' && status !== 'paused')
    throw new Problem('illegal_transition', `A rollout that is ${status} is not reviewed`)
  const self = await partyOf(world.db, caller.tenant, { by: caller.principal })
  if (!isPerson(self)) return refused(world, caller, rollout, 'forbidden', 'Only people review a rollout')
  const declarer = await partyOf(world.db, caller.tenant, { by: rollout.declared_by })
  const overlap =
    caller.principal === rollout.declared_by ? 'Nobody signs for what they declared' : mayBeOne(declarer, self)
  // That a week was bad anybody may say.
  const isGood = said.review !== 'week' || said.clean
  if (isGood && overlap !== null) return refused(world, caller, rollout, 'self_approval', overlap)
  if (said.review === 'week') return assertWeek(said)
  if (said.phase !== phase)
    throw new Problem('evidence_stale', `You sign under phase ${said.phase}, the rollout is in ${phase}`)
  if (said.evidence_hash !== undefined) await assertSeen(world, rollout, said.evidence_hash)
  if (!(await isAsked(world, caller, rollout, gate)))
    return refused(world, caller, rollout, 'forbidden', `Phase ${phase} asks for the signature of somebody else`)
}

function assertWeek({ clean, critical_incidents }: Extract<Said, { review: 'week' }>): void {
  if (!clean || critical_incidents === 0) return
  const message = 'a week with critical incidents was not clean'
  throw new Problem('invalid', message, { faults: [{ path: '/clean', message }] })
}

/** Throws Problem `not_found`, `evidence_stale`. */
async function assertSeen(
  world: World,
  { tenant, rollout_id, phase }: RolloutRow,
  evidence_hash: string,
): Promise<void> {
  const found = await getEvidence(world.db, tenant, evidence_hash)
  if (found === null || found.rollout_id !== rollout_id)
    throw new Problem('not_found', 'No such evidence of this rollout')
  if (found.phase !== phase)
    throw new Problem('evidence_stale', `The evidence is of phase ${found.phase}, the rollout is in ${phase}`)
}

/** Whether the phase asks for this person, by words as an approval has them. */
async function isAsked(world: World, caller: Caller, rollout: RolloutRow, gate: Gate | null): Promise<boolean> {
  const { document, phase, declared_by: requested_by } = rollout
  const from = document.phases[phase]?.reviewers?.from
  if (from === undefined) return true
  const agent = document.subject.name ?? requested_by
  const none: Gate = { tenant: caller.tenant, snapshot: null, epoch: 0, file_digest: null }
  const people = await world.people.of(gate ?? none, [agent, requested_by])
  // Whom no directory knows speaks as their key does.
  const { principal, role, team } = people.persons.get(caller.principal) ?? caller
  const as = directoryWords(from, principal, { agent, requested_by }, people)
  return mayAnswer({ from }, { principal, role, team, as })
}

/** On record before it is answered; repeats are counted. */
async function refused(
  world: World,
  { tenant, principal }: Caller,
  { rollout_id }: RolloutRow,
  code: 'forbidden' | 'self_approval',
  reason: string,
): Promise<never> {
  const at = world.clock.now()
  const fact = { kind: 'gate.refused', tenant, actor: principal, rollout_id, reason } as const
  await world.refusals.onRecord(fact, at, () => world.ledger.record(tenant, [{ ...fact, at }]))
  throw new Problem(code, reason)
}
