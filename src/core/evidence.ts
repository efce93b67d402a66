import { shortForm } from './binding.js'
import { canonical, digestOf } from './canonical.js'
import type { CheckResult, Outcome, Reading } from './gates/check.js'
import {
  evaluateGate,
  type Gate,
  type GateResult,
  looksThatCount,
  type PastLook,
  type WholePhase,
} from './gates/gate.js'
import type { Json } from './json.js'
import { declarationDigest, type Owners, type RolloutDocument, shareText } from './rollout/document.js'

/** The signed head of the tenant's log when the gate was asked: what the measurements were taken of was in it. */
export interface EvidenceHead {
  size: number
  /** Base64, as the head says it. */
  root: string
  /** The signed note, which a witness can check; null where no head was signed yet. */
  note: string | null
}

/** All that a gate's answer rests on. Whoever has it can ask again and gets the same bytes. */
export interface EvidenceBasis {
  rollout_id: string
  rollout: string
  /** Digest of the declaration, whose phase holds the gate. */
  declaration: string
  phase: number
  /** How many there are. */
  phases: number
  share_bp: number
  gate: Gate
  owners: Owners
  /** Full digest of the active snapshot. */
  snapshot: string
  reviewed_by: string[]
  now: number
  to: number
  phase_at: number
  candidate: Reading[]
  control: Reading[]
  /** Earlier looks of this rollout; those that do not count are left out. */
  past: PastLook[]
  /** Rates of the phase; left out where the window is all of it, or passes nothing anyhow. */
  whole?: WholePhase | null
  tree_head: EvidenceHead
}

/** One check, as both published forms write it. */
export interface EvidenceCheck {
  value: number | boolean | null
  target_gte?: number | boolean | null
  target_lte?: number | boolean | null
  target_eq?: number | boolean | null
  pass: boolean
}

/** What the published forms do not have: how each number came about, and what it was made of. */
interface Behind {
  outcome: Outcome
  reason: string
  window_from: number
  window_to: number
  details: CheckResult[]
  basis: EvidenceBasis
}

/** The guide's `rollout-gate-evidence.json`, field by field (G3), and what stands behind it. */
export interface GateEvidenceDocument extends Behind {
  gate_id: string
  traffic_slice: string
  checks: Record<string, EvidenceCheck>
  policy_snapshot: string
  reviewed_by: string | null
  decision: string
}

/** The checklist's `launch-gate-contract.json`, field by field (G3), and what stands behind it. */
export interface LaunchContract extends Behind {
  gate_id: string
  window: string
  blockers: Record<string, EvidenceCheck>
  owners: Owners
  decision: 'allow_promotion_to_next_stage' | 'block_promotion'
}

export type Evidence = GateEvidenceDocument | LaunchContract

/** Asks the gate and writes down what it said (G3). Equal input, in whatever order, gives equal bytes. Throws CanonicalError. */
export function gateEvidence(given: EvidenceBasis): GateEvidenceDocument {
  const basis = settled(given)
  const result = evaluateGate(basis)
  const { rollout, phase, phases, share_bp, snapshot, reviewed_by, now } = basis
  return {
    gate_id: `${rollout}-phase-${phase}-${dayOf(now)}`,
    traffic_slice: shareText(share_bp),
    checks: written(result.checks),
    policy_snapshot: shortForm(snapshot),
    reviewed_by: reviewed_by.length === 0 ? null : reviewed_by.join(', '),
    decision: decisionOf(result, phase, phases),
    ...behind(result, basis),
  }
}

/** The same gate in the checklist's form. */
export function launchContract(given: EvidenceBasis): LaunchContract {
  const basis = settled(given)
  const result = evaluateGate(basis)
  return {
    gate_id: `${basis.rollout}-launch-${dayOf(basis.now)}`,
    window: basis.gate.window,
    blockers: written(result.checks),
    owners: basis.owners,
    decision: result.outcome === 'pass' ? 'allow_promotion_to_next_stage' : 'block_promotion',
    ...behind(result, basis),
  }
}

/** Canonical JSON (RFC 8785), of which hash and signature are made. */
export const evidenceText = (evidence: Evidence): string => canonical(evidence as unknown as Json)
/** Hex; what a promotion points at. */
export const evidenceHash = (evidence: Evidence): string => digestOf('gate-evidence', evidence as unknown as Json)

/** What is signed: with a kind of its own in front, as everything that the log's key signs, so that it is never taken for anything else. */
export const evidenceMessage = (evidence: Evidence): Uint8Array =>
  Buffer.from(`sallyport gate evidence v1\n${evidenceText(evidence)}`)

/** More is no evidence: that of a gate of thirty checks is about 30 kB. */
const MOST_TEXT = 4_000_000

/**
 * What is wrong with evidence that somebody hands over, in words; empty where it follows from what it says it rests on. Who made it,
 * its signature says; whether the numbers are true, the log does.
 * @param declaration the rollout's, where it is at hand: then the gate has to be that of its phase
 */
export function faultsOfEvidence(text: string, declaration: RolloutDocument | null = null): string[] {
  if (text.length > MOST_TEXT) return ['it is too long']
  try {
    const given = JSON.parse(text) as Evidence
    const again = 'blockers' in given ? launchContract(given.basis) : gateEvidence(given.basis)
    const faults = differences(given as unknown as Fields, again as unknown as Fields)
    if (declaration !== null) faults.push(...strangers(given.basis, declaration))
    return faults
  } catch (error) {
    return [`it cannot be worked out again (${(error as Error).name})`]
  }
}

type Fields = Record<string, Json>

function differences(given: Fields, again: Fields): string[] {
  const keys = new Set([...Object.keys(given), ...Object.keys(again)])
  return [...keys]
    .filter((key) => {
      const [one, other] = [given, again].map((each) =>
        Object.hasOwn(each, key) ? canonical(each[key] as Json) : null,
      )
      return one !== other
    })
    .map((key) => `${key.slice(0, 60)} does not follow from its basis`)
}

function strangers(
  { declaration, phase, phases, gate, owners, share_bp }: EvidenceBasis,
  document: RolloutDocument,
): string[] {
  if (declaration !== declarationDigest(document)) return ['it is of another declaration']
  const declared = document.phases[phase]
  const same = (a: unknown, b: unknown) => canonical(a as Json) === canonical(b as Json)
  if (declared === undefined || phases !== document.phases.length || share_bp !== declared.share_bp)
    return ['its phase is not one of the declaration']
  return [
    ...(same(gate, declared.gate) ? [] : ['its gate is not the one that was declared']),
    ...(same(owners, document.owners) ? [] : ['its owners are not those that were declared']),
  ]
}

function behind(result: GateResult, basis: EvidenceBasis): Behind {
  const { outcome, reason, from, to, checks } = result
  return { outcome, reason, window_from: from, window_to: to, details: checks, basis }
}

/**
 * What is no number stays none: as `null` it is refused by the gate, now and when it is asked again. Lists in one
 * order, and of the looks only those that count.
 */
function settled(given: EvidenceBasis): EvidenceBasis {
  const basis = JSON.parse(JSON.stringify({ ...given, past: looksThatCount(given) })) as EvidenceBasis
  const byText = <Item>(items: readonly Item[]): Item[] =>
    items
      .map((item) => ({ item, text: canonical(item as Json) }))
      .sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0))
      .map(({ item }) => item)
  return {
    ...basis,
    reviewed_by: [...new Set(basis.reviewed_by)].sort(),
    candidate: byText(basis.candidate),
    control: byText(basis.control),
    ...(basis.whole == null
      ? {}
      : {
          whole: {
            ...basis.whole,
            candidate: byText(basis.whole.candidate),
            control: byText(basis.whole.control),
          },
        }),
  }
}

function written(checks: readonly CheckResult[]): Record<string, EvidenceCheck> {
  const entries = checks.map(({ metric, op, value, target, pass }): [string, EvidenceCheck] => [
    metric,
    { value, [`target_${op}`]: target, pass },
  ])
  return Object.fromEntries(entries)
}

function decisionOf({ outcome }: GateResult, phase: number, phases: number): string {
  if (outcome !== 'pass') return `hold_at_phase_${phase}`
  return phase + 1 < phases ? `promote_to_phase_${phase + 1}` : 'complete_rollout'
}

const dayOf = (now: number): string => new Date(now).toISOString().slice(0, 10)
