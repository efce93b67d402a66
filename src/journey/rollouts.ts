import { type Caller, may } from '../core/access.js'
import type { Fact } from '../core/audit.js'
import type { Evidence } from '../core/evidence.js'
import { aboutSnapshot } from '../core/facts.js'
import { isPerson, mayBeOne, stillCounts } from '../core/four-eyes.js'
import { governs } from '../core/policy/change.js'
import { declarationDigest, type RolloutDocument, type Subject } from '../core/rollout/document.js'
import { parseRollout } from '../core/rollout/parse.js'
import { draft, type GateEvidence, type RolloutEvent, type Stepped, step } from '../core/rollout/step.js'
import { Problem } from '../errors.js'
import { getEvidence } from '../store/evidence.js'
import { partyOf } from '../store/four-eyes.js'
import { stillSigning } from '../store/gate-basis.js'
import { assertNoToken, standingUnder } from '../store/keys.js'
import type { AdminRows } from '../store/ledger/write.js'
import { promotionHold, wasUncleanSince } from '../store/looks.js'
import {
  countDrafts,
  currentVersion,
  freeForAll,
  getRollout,
  liveAbout,
  type RolloutRow,
  rolloutStored,
} from '../store/rollouts.js'
import { getSnapshot } from '../store/snapshots.js'
import { type Gate, getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 12
/** Each is read with the gate. */
const MOST_DRAFTS = 100
/** Who does what goes by itself. */
export const ROLLOUTS = 'system:rollouts'

/** What somebody asks of a rollout. */
export type Asked =
  | { event: 'start' }
  | { event: 'pause'; reason: string }
  | { event: 'resume' }
  | { event: 'promote'; evidence_hash: string }
  | { event: 'override'; reason: string; evidence_hash: string | null }
  | { event: 'roll_back'; reason: string }

/** What the plane itself asks. */
type Own = { event: 'promote'; evidence_hash: string } | { event: 'roll_back'; reason: string; trigger: string }

/**
 * Keeps a declaration: a draft, of which nothing runs. Throws Problem `invalid` with every fault and its path, `not_found` for a snapshot that is not stored.
 * @param declaration as JSON gives it
 */
export async function declareRollout(world: World, caller: Caller, declaration: unknown): Promise<RolloutRow> {
  const document = await readDeclaration(world, caller.tenant, declaration)
  return moving(world, caller.tenant, async (gate) => {
    await standingUnder(world, gate, caller)
    if ((await countDrafts(world.db, caller.tenant, MOST_DRAFTS)) >= MOST_DRAFTS) {
      const message = `${MOST_DRAFTS} drafts are waiting: start some, or withdraw them with roll-back`
      throw new Problem('invalid', message, { faults: [{ path: '/declaration', message }] })
    }
    const now = world.clock.now()
    const { tenant, principal: declared_by } = caller
    const rollout_id = world.ids.id('rol', now)
    const digest = declarationDigest(document)
    const state = draft({ tenant, rollout_id, document, declaration: digest, declared_by })
    const { kind, name, candidate, stable } = document.subject
    const fact: Fact = {
      kind: 'rollout.declared',
      ...{ tenant, at: now, actor: declared_by, rollout_id, declaration: digest },
      ...{ rollout: document.rollout, subject_kind: kind, subject: name, candidate, stable },
    }
    return { next: { ...state, declared_at: now, started_at: null }, admin: {}, facts: [fact] }
  })
}

async function readDeclaration(world: World, tenant: string, declaration: unknown): Promise<RolloutDocument> {
  const { document, faults } = parseRollout(declaration)
  if (document === null)
    throw new Problem('invalid', `The declaration has ${faults.length} fault${faults.length === 1 ? '' : 's'}`, {
      faults: faults.map(({ path, message, hint }) => ({
        path: pointerTo(path),
        message: hint ? `${message}; ${hint}` : message,
      })),
    })
  const { kind, candidate } = document.subject
  if (kind === 'policy' && (document.phases[0]?.share_bp ?? 0) >= 10_000) {
    const message = 'the first phase of a policy is less than all of the work'
    throw new Problem('invalid', message, { faults: [{ path: '/declaration/phases/0/share', message }] })
  }
  if (kind === 'policy' && (await getSnapshot(world.db, tenant, candidate)) === null)
    throw new Problem('not_found', 'The candidate is no stored snapshot: store it first, without activating it')
  return document
}

/** As faults of any other body name their place: `phases[2].gate` → `/declaration/phases/2/gate`. */
const pointerTo = (path: string): string =>
  ['/declaration', ...path.split(/[.[\]]+/).filter((part) => part !== '')].join('/')

/**
 * The next step of a rollout, by somebody who may. From its return no work is drawn by the phase before. Throws Problem `not_found`,
 * `illegal_transition`, `gate_blocks`, `evidence_stale`, `self_approval`, `forbidden`.
 */
export async function stepRollout(world: World, caller: Caller, rollout_id: string, asked: Asked): Promise<RolloutRow> {
  return moving(world, caller.tenant, async (gate) => {
    await standingUnder(world, gate, caller)
    const found = await getRollout(world.db, caller.tenant, rollout_id)
    if (found === null) throw new Problem('not_found')
    const by = caller.principal
    const rollout = asked.event === 'override' ? await askedByAnother(world, caller, found) : found
    assertMayReplaceByRole(caller, rollout, asked)
    if (asked.event === 'start') await assertMayStart(world, gate, rollout)
    if (asked.event === 'override') await assertMayOverride(world, caller, rollout, asked.evidence_hash)
    const stepped = step(
      rollout,
      await eventOf(world, rollout, gate, asked, { by, key_id: caller.key_id, trigger: null }),
      world.clock.now(),
    )
    if (stepped.kind === 'refused') return refused(world, caller, rollout, stepped)
    return moved(world, rollout, stepped, gate)
  })
}

/**
 * A step that the plane takes by itself. Null where it is not to be taken any more: somebody else was quicker.
 * Throws Problem `overloaded`.
 */
export async function stepByItself(
  world: World,
  tenant: string,
  rollout_id: string,
  asked: Own,
): Promise<RolloutRow | null> {
  return moving(world, tenant, async (gate) => {
    const rollout = await getRollout(world.db, tenant, rollout_id)
    if (rollout === null) return null
    const trigger = asked.event === 'roll_back' ? asked.trigger : null
    const event = await eventOf(world, rollout, gate, asked, { by: ROLLOUTS, key_id: null, trigger })
    const stepped = step(rollout, event, world.clock.now())
    return stepped.kind === 'refused' ? null : moved(world, rollout, stepped, gate)
  })
}

export const rollBackByTrigger = (
  world: World,
  tenant: string,
  rollout_id: string,
  { trigger, reason }: { trigger: string; reason: string },
): Promise<RolloutRow | null> => stepByItself(world, tenant, rollout_id, { event: 'roll_back', trigger, reason })

export const promoteBySystem = (
  world: World,
  tenant: string,
  rollout_id: string,
  evidence_hash: string,
): Promise<RolloutRow | null> => stepByItself(world, tenant, rollout_id, { event: 'promote', evidence_hash })

interface Change {
  next: RolloutRow
  admin: Omit<AdminRows, 'rollouts' | 'gates'> & { snapshot?: string }
  facts: Fact[]
}

/** Commits what `decide` makes of the gate as it is, with the gate moved on: whatever was drawn under the one before is drawn again. */
async function moving<Kind extends Change | null>(
  world: World,
  tenant: string,
  decide: (gate: Gate) => Promise<Kind>,
): Promise<Kind extends null ? RolloutRow | null : RolloutRow> {
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = (await getGate(world.db, tenant)) ?? { tenant, snapshot: null, epoch: 0, file_digest: null }
    const change = await decide(gate)
    if (change === null) return null as Kind extends null ? null : never
    const { snapshot = gate.snapshot, ...admin } = change.admin
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: {
        ...admin,
        rollouts: [rolloutStored(change.next)],
        gates: [{ ...gate, snapshot, epoch: gate.epoch + 1 }],
      },
      facts: change.facts,
    })
    await world.policies.refresh(tenant)
    if (!receipt.ok) continue
    const { status, document } = change.next
    // After the gate: what was drawn before it is noted for workers of the candidate alone.
    if (status === 'promoted') await freeForAll(world.db, tenant, document.subject)
    return change.next
  }
  throw new Problem('overloaded', 'The gate moved faster than this could be written: try again', {
    retry_after_ms: 200,
  })
}

function eventOf(
  world: World,
  rollout: RolloutRow,
  gate: Gate,
  asked: Asked | Own,
  { by, key_id, trigger }: { by: string; key_id: string | null; trigger: string | null },
): Promise<RolloutEvent> | RolloutEvent {
  switch (asked.event) {
    case 'promote':
      return upwardEvidence(world, rollout, gate, asked.evidence_hash).then((evidence) => ({
        event: 'promote',
        by,
        evidence,
      }))
    case 'override':
      return { ...asked, by, key_id }
    case 'roll_back':
      return { ...asked, by, trigger }
    default:
      return { ...asked, by }
  }
}

/**
 * Evidence with the signatures that still count. Good only as long as nothing has changed since: the policy it was worked out under is active,
 * the gate has not said otherwise, and no trigger sees too much or nothing. Throws Problem `not_found`, `evidence_stale`, `gate_blocks`.
 */
async function upwardEvidence(
  world: World,
  rollout: RolloutRow,
  gate: Gate,
  evidence_hash: string,
): Promise<GateEvidence> {
  const { tenant, rollout_id } = rollout
  const row = await evidenceOf(world, tenant, evidence_hash)
  // What is of another rollout the step refuses by name.
  if (row.rollout_id !== rollout_id) return row
  const { basis } = JSON.parse(row.text) as Evidence
  if (basis.snapshot !== gate.snapshot)
    throw new Problem('evidence_stale', 'Another policy is active than when the gate was asked: ask it again')
  if (await wasUncleanSince(world.db, tenant, rollout_id, rollout.phase_at ?? 0, row.evaluated_at))
    throw new Problem('gate_blocks', 'The gate has said otherwise since; only its last word promotes')
  const hold = await promotionHold(world.db, rollout, world.clock.now(), false)
  if (hold !== null) throw new Problem('gate_blocks', hold)
  return { ...row, reviewed_by: await stillSigning(world.db, rollout, basis) }
}

/** Only what is stored, and so was worked out here, promotes. */
async function evidenceOf(world: World, tenant: string, evidence_hash: string) {
  const row = await getEvidence(world.db, tenant, evidence_hash)
  if (row === null) throw new Problem('not_found', 'No such evidence is stored: ask the gate first')
  return row
}

/** The rollout with the request to override that still counts. Two people, never a program, and never one person under two names. */
async function askedByAnother(world: World, caller: Caller, rollout: RolloutRow): Promise<RolloutRow> {
  const { tenant, principal } = caller
  const { request } = rollout
  const [self, first] = await Promise.all([
    partyOf(world.db, tenant, { by: principal }),
    request === null ? null : partyOf(world.db, tenant, request),
  ])
  if (!isPerson(self)) {
    await onRecord(world, caller, rollout, 'an override needs a person')
    throw new Problem('forbidden', 'Only people go on without a gate', { needs: 'a person' })
  }
  if (first === null || !stillCounts(first, (as) => !may(as, 'rollouts:write'))) return { ...rollout, request: null }
  const overlap = first.principal === principal ? null : mayBeOne(first, self)
  if (overlap === null) return rollout
  await onRecord(world, caller, rollout, overlap)
  throw new Problem('self_approval', overlap)
}

async function assertMayStart(world: World, gate: Gate, { tenant, document, status }: RolloutRow): Promise<void> {
  if (status !== 'draft') return
  const { subject } = document
  const other = await liveAbout(world.db, tenant, subject)
  if (other !== null) throw new Problem('illegal_transition', `${other} is about the same and runs: end it first`)
  const current = subject.kind === 'policy' ? undefined : await currentVersion(world.db, tenant, subject)
  // Else what was taken back would be the stable version of the next one by its word alone.
  if (current !== undefined && current !== subject.stable)
    throw new Problem(
      'gate_blocks',
      `The last rollout left ${current ?? 'no version'} as the current one, not ${subject.stable ?? 'none'}: declare that as stable`,
    )
  if (subject.kind === 'policy') await assertMayReplace(world, gate, subject)
}

/** A candidate policy decides beside the one it was declared against and beside no other, and goes round no rule about changes of policy. */
/** Who brings another policy in by stages does what activating it does. Throws Problem `forbidden`. */
function assertMayReplaceByRole(caller: Caller, { document }: RolloutRow, { event }: Asked): void {
  const isUpward = event === 'start' || event === 'promote' || event === 'override'
  if (document.subject.kind === 'policy' && isUpward && !may(caller, 'policy:write'))
    throw new Problem('forbidden', 'A rollout of a policy is taken on by who may activate it', {
      needs: 'policy:write',
    })
}

/** A token speaks for whoever minted it, and what they have seen has to be what stands before the rollout. Throws Problem `not_found`, `evidence_stale`. */
async function assertMayOverride(
  world: World,
  caller: Caller,
  { tenant, rollout_id, phase }: RolloutRow,
  evidence_hash: string | null,
): Promise<void> {
  await assertNoToken(world, caller)
  if (evidence_hash === null) return
  const seen = await evidenceOf(world, tenant, evidence_hash)
  if (seen.rollout_id !== rollout_id || seen.phase !== phase)
    throw new Problem('evidence_stale', 'The evidence is of another rollout, or of another phase')
}

async function assertMayReplace(world: World, gate: Gate, { candidate, stable }: Subject): Promise<void> {
  if (gate.snapshot === null || gate.snapshot !== stable)
    throw new Problem('gate_blocks', 'The stable snapshot of the declaration is not the active one: declare it anew')
  // Compiled before it decides anything: what was changed in the table is refused here.
  await world.policies.compiled(gate.tenant, candidate)
  const active = await world.policies.compiled(gate.tenant, gate.snapshot)
  if (governs(active, 'activate') || governs(active, 'rollback'))
    throw new Problem(
      'gate_blocks',
      'Rules of the active policy want to be asked about every activation: activate it that way',
    )
}

type Moved = Extract<Stepped, { kind: 'moved' }>

/** What the step writes. A policy that was promoted is the active one from the same commit on. */
async function moved(world: World, before: RolloutRow, { next, facts }: Moved, gate: Gate): Promise<Change> {
  const { declared_at } = before
  const row: RolloutRow = { ...next, declared_at, started_at: before.started_at ?? next.phase_at }
  const { subject } = next.document
  if (next.status !== 'promoted' || subject.kind !== 'policy') return { next: row, admin: {}, facts }
  await assertMayReplace(world, gate, subject)
  const { tenant, rollout_id, ended_at: at } = next
  const snapshot = await getSnapshot(world.db, tenant, subject.candidate)
  if (snapshot === null || at === null) throw new Problem('not_found', 'The candidate is no longer stored')
  const about = { ...aboutSnapshot(snapshot), before: gate.snapshot, source: snapshot.source, rollout_id }
  const activated: Fact = { kind: 'policy.activated', tenant, at, actor: facts[0]?.actor ?? ROLLOUTS, ...about }
  const admin = { snapshots: [{ ...snapshot, activated_at: at, replaced: gate.snapshot }], snapshot: snapshot.digest }
  return { next: row, admin, facts: [...facts, activated] }
}

async function refused(
  world: World,
  caller: Caller,
  rollout: RolloutRow,
  { code, detail }: Extract<Stepped, { kind: 'refused' }>,
): Promise<never> {
  if (code !== 'illegal_transition') await onRecord(world, caller, rollout, detail)
  throw new Problem(code, detail, { rollout_id: rollout.rollout_id, rollout_status: rollout.status })
}

async function onRecord(
  world: World,
  { tenant, principal }: Caller,
  { rollout_id }: RolloutRow,
  reason: string,
): Promise<void> {
  const at = world.clock.now()
  const refused = { kind: 'rollout.refused', tenant, actor: principal, rollout_id, reason } as const
  await world.refusals.onRecord(refused, at, () => world.ledger.record(tenant, [{ ...refused, at }]))
}
