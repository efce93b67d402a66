import type { Caller } from '../core/access.js'
import { checkpointOpener, originOf } from '../core/audit/checkpoint.js'
import { base64, hex } from '../core/audit/hash.js'
import { formatVkey, type SigningKey } from '../core/audit/keys.js'
import type { Fact } from '../core/audit.js'
import {
  type Evidence,
  type EvidenceBasis,
  type EvidenceHead,
  evidenceHash,
  evidenceMessage,
  evidenceText,
  gateEvidence,
  launchContract,
} from '../core/evidence.js'
import type { PastLook } from '../core/gates/gate.js'
import { step } from '../core/rollout/step.js'
import { Problem } from '../errors.js'
import { coveredBy, type EvidenceForm, type EvidenceItem, type EvidenceRow, newestEvidence } from '../store/evidence.js'
import { type GateMoment, gateBasis, type Readings, stillSigning } from '../store/gate-basis.js'
import { standingUnder } from '../store/keys.js'
import { askNotBefore, keepLook, promotionHold, watchOf } from '../store/looks.js'
import { getRollout, type RolloutRow } from '../store/rollouts.js'
import { type Gate, getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

/** What a gate is asked with. */
export interface GateAsked {
  readings: Readings
  /** The log's: evidence is signed with it. */
  key: SigningKey
}

const TRIES = 6
/** Who looks by itself. */
const GATES = 'system:gates'

/**
 * A window ends so long before its tiles do. An entry says when a step was decided, its tile when it was committed: some milliseconds
 * later, and up to two seconds where the ledger is as full as it takes anything in (store/ledger/inbox.ts). What is later still is in
 * none of the windows that end before it was signed, but in every later look whose window holds its instant: looks are 10 s apart and
 * a window is at least minutes long, and one look that is not clean ends the row.
 */
const LATE_MS = 2_000

/**
 * The window ends where the signed log does: with all of it signed that is now, with a tile that waits it is before that tile. A log that
 * nobody signs any more so leaves every reading behind, until it is stale.
 */
export const windowEnd = (now: number, waiting_at: number | null): number => Math.min(now, waiting_at ?? now) - LATE_MS

/** The head of a log in which nothing was signed: the hash of nothing. */
const EMPTY: EvidenceHead = { size: 0, root: '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=', note: null }

/**
 * Asks the gate of a rollout now, and keeps what it says, signed. Throws Problem `not_found`, `illegal_transition` where no phase runs,
 * `no_policy`, `overloaded`.
 */
export async function evaluateGateNow(
  world: World,
  asked: GateAsked,
  caller: Caller,
  rollout_id: string,
  form: EvidenceForm = 'gate',
): Promise<EvidenceRow> {
  const { tenant } = caller
  const row = await keeping(world, tenant, caller.key_id, async (gate) => {
    await standingUnder(world, gate, caller)
    const rollout = await getRollout(world.db, tenant, rollout_id)
    if (rollout === null) throw new Problem('not_found')
    const basis = await basisNow(world, asked, rollout, gate)
    return { row: sealed(asked.key, tenant, form, basis), actor: caller.principal }
  })
  // Whoever asks looks too: what was not clean when they asked is not forgotten.
  await keepLook(world.db, [tenant, rollout_id], lookOf(JSON.parse(row.text) as Evidence), world.clock.now())
  return row
}

const lookOf = ({ details, window_from: from, window_to: to }: Evidence): PastLook => ({
  ...{ from, to, clean: details.length > 0 && details.every(({ pass }) => pass) },
})

/** Throws Problem `illegal_transition`, `no_policy`. */
async function basisNow(
  world: World,
  asked: GateAsked,
  rollout: RolloutRow,
  gate: Gate | null,
): Promise<EvidenceBasis> {
  const { tenant, status, phase, phase_at } = rollout
  if ((status !== 'running' && status !== 'paused') || phase_at === null)
    throw new Problem('illegal_transition', `A rollout that is ${status} has no gate to ask`)
  if (gate?.snapshot == null) throw new Problem('no_policy')
  // The time before the head: what is committed in between only makes the head larger than it need be.
  const now = world.clock.now()
  const { head, waiting_at } = await coveredBy(world.db, tenant)
  if (head !== null) assertSigned(asked.key, tenant, head)
  const moment: GateMoment = {
    ...{ now, to: windowEnd(now, waiting_at), phase, phase_at },
    ...{ head: head ?? EMPTY, snapshot: gate.snapshot },
  }
  const basis = await gateBasis(world, asked.readings, rollout, moment)
  return { ...basis, reviewed_by: await stillSigning(world.db, rollout, basis) }
}

/** Evidence vouches for its head, so that has to be one that was signed here. Throws CheckpointError. */
function assertSigned(key: SigningKey, tenant: string, { size, root, note }: EvidenceHead & { note: string }): void {
  const head = checkpointOpener(originOf(tenant), [key.publicKey])(note)
  if (head.size !== size || base64(head.root) !== root)
    throw new Error(
      `the head of ${tenant} that is stored as one of ${size} entries was signed over ${head.size}, ${hex(head.root)}`,
    )
}

const written = (form: EvidenceForm, basis: EvidenceBasis): Evidence =>
  form === 'launch' ? launchContract(basis) : gateEvidence(basis)

function sealed(key: SigningKey, tenant: string, form: EvidenceForm, basis: EvidenceBasis): EvidenceRow {
  const evidence = written(form, basis)
  const { rollout_id, declaration, phase, reviewed_by, now } = evidence.basis
  return {
    ...{ tenant, evidence_hash: evidenceHash(evidence), rollout_id, declaration, phase },
    ...{ outcome: evidence.outcome, evaluated_at: now, reviewed_by, form, text: evidenceText(evidence) },
    signature: base64(key.sign(evidenceMessage(evidence))),
    public_key: formatVkey(originOf(tenant), key.publicKey),
  }
}

interface Kept {
  row: EvidenceRow
  actor: string
}

/** Under the gate that it was worked out under: evidence names the snapshot that is active when it is kept. Throws Problem `overloaded`. */
async function keeping(
  world: World,
  tenant: string,
  key_id: string | null,
  work: (gate: Gate | null) => Promise<Kept>,
): Promise<EvidenceRow> {
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    const { row, actor } = await work(gate)
    const receipt = await world.ledger.commit({
      tenant,
      gate,
      alone: [],
      rows: { evidence: [row] },
      ...(key_id === null ? {} : { by: key_id }),
      facts: [evaluated(row, actor)],
    })
    if (receipt.ok) return row
    await world.policies.refresh(tenant)
  }
  throw new Problem('overloaded', 'The policy changed while the gate was asked: try again', { retry_after_ms: 200 })
}

function evaluated({ tenant, ...row }: EvidenceRow, actor: string): Fact {
  const { evidence_hash, rollout_id, declaration, phase, form, outcome, evaluated_at } = row
  return {
    ...{ kind: 'gate.evaluated', tenant, at: evaluated_at, actor, rollout_id, declaration, phase },
    ...{ evidence_hash, form, outcome },
  }
}

/**
 * Works evidence out again from rows, as of the head that it names. The same text, unless a row that it rests on is another or gone.
 * Throws Problem `not_found` where its rollout is.
 */
export async function recomputeEvidence(world: World, readings: Readings, row: EvidenceRow): Promise<string> {
  const rollout = await getRollout(world.db, row.tenant, row.rollout_id)
  if (rollout === null) throw new Problem('not_found')
  const { basis } = JSON.parse(row.text) as Evidence
  const { now, to, tree_head: head, snapshot } = basis
  const { phase } = row
  const begun = phase === 0 ? rollout.started_at : rollout.steps.find((each) => each.phase === phase - 1)?.at
  const again = await gateBasis(world, readings, rollout, {
    now,
    to,
    phase,
    phase_at: begun ?? Number.NaN,
    head,
    snapshot,
  })
  // Who signed stands in rows; that somebody was left out because they no longer may, the evidence says.
  const reviewed_by = again.reviewed_by.filter((who) => basis.reviewed_by.includes(who))
  return evidenceText(written(row.form, { ...again, reviewed_by }))
}

/** Evidence of a gate that goes on saying the same is kept this often. */
const KEPT_MS = 600_000
/** And where it passes: one that is good for a promotion is then always at hand. */
const PASS_MS = 300_000
/** An outcome that flickers does not fill the log. */
const FLICKER_MS = 60_000
/** A gate that is slow to answer has the store for a twentieth of the time. */
const SHARE = 20

export interface Looked {
  outcome: Evidence['outcome']
  reason: string
  /** What was kept; null where only a line was. */
  kept: string | null
  /** Evidence on which it may go on by itself now. */
  promotes: string | null
}

/**
 * A look at the gate of a rollout, as one node makes it every ten seconds; null where it was slow and is not due again. Keeps a line of
 * each, and the evidence where it says something else than before, where it is to be acted on, and now and then.
 * @param every_ms between looks
 */
export async function lookAtGate(
  world: World,
  asked: GateAsked,
  rollout: RolloutRow,
  every_ms: number,
): Promise<Looked | null> {
  const { tenant, rollout_id } = rollout
  const of = [tenant, rollout_id] as const
  const begun = world.clock.now()
  const { gate_at } = await watchOf(world.db, of)
  if (begun < gate_at) return null
  const basis = await basisNow(world, asked, rollout, await getGate(world.db, tenant))
  const evidence = gateEvidence(basis)
  const { outcome, reason } = evidence
  await keepLook(world.db, of, lookOf(evidence), world.clock.now())
  const slow_ms = SHARE * (world.clock.now() - begun)
  if (slow_ms > every_ms) await askNotBefore(world.db, of, begun + slow_ms)
  const row = sealed(asked.key, tenant, 'gate', basis)
  const isReady = outcome === 'pass' && (await goesOn(world, rollout, row))
  const isWanted = isReady || isDue(await newestEvidence(world.db, tenant, rollout_id), row)
  if (!isWanted) return { outcome, reason, kept: null, promotes: null }
  const { evidence_hash } = await keeping(world, tenant, null, async (gate) => {
    if (gate?.snapshot === basis.snapshot) return { row, actor: GATES }
    const again = await basisNow(world, asked, rollout, gate)
    return { row: sealed(asked.key, tenant, 'gate', again), actor: GATES }
  })
  // One that had to be worked out again is not what was judged: the next look judges it.
  return {
    outcome,
    reason,
    kept: evidence_hash,
    promotes: isReady && evidence_hash === row.evidence_hash ? evidence_hash : null,
  }
}

/** Whether the plane takes this step upward by itself: declared so, everything there that a person would need, and nothing unseen. */
async function goesOn(world: World, rollout: RolloutRow, row: EvidenceRow): Promise<boolean> {
  const { document } = rollout
  if (document.promotion !== 'auto') return false
  const { evaluated_at: now } = row
  if (step(rollout, { event: 'promote', by: GATES, evidence: row }, now).kind === 'refused') return false
  return (await promotionHold(world.db, rollout, now, true)) === null
}

function isDue(last: EvidenceItem | null, row: EvidenceRow): boolean {
  if (last === null || last.phase !== row.phase) return true
  const age = row.evaluated_at - last.evaluated_at
  if (age >= (row.outcome === 'pass' ? PASS_MS : KEPT_MS)) return true
  const isOther = last.outcome !== row.outcome || last.reviewed_by.join() !== row.reviewed_by.join()
  return isOther && age >= FLICKER_MS
}
