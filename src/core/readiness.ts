import type { Attestation, Facts } from './readiness/facts.js'
import { type Attestable, type Finding, type Judge, type ReadyState, worst } from './readiness/finding.js'
import * as governance from './readiness/governance.js'
import * as operations from './readiness/operations.js'
import * as reliability from './readiness/reliability.js'
import * as security from './readiness/security.js'

/**
 * Whether this installation may carry a launch: the checklist's 20 controls and the guide's ten go-live items, each judged by facts (G9).
 * Pure. Nobody can set one: what is not seen is unknown, and unknown holds a launch up as what is wrong does.
 */

export const READY_AREAS = ['Governance', 'Security', 'Reliability', 'Operations', 'Compliance'] as const
export type ReadyArea = (typeof READY_AREAS)[number]

interface Subject {
  /** Stable: attestations name it. */
  id: string
  title: string
  /** What would have to be seen. */
  signal: string
  judge: Judge
}
interface Control extends Subject {
  area: ReadyArea
}

const all =
  (...judges: Judge[]): Judge =>
  (facts, at) =>
    judges.flatMap((judge) => judge(facts, at))

/** In the checklist's order: their place is their number. */
const CONTROLS: readonly Control[] = [
  {
    id: 'submit_check',
    area: 'Governance',
    title: 'Policy is asked before a job is stored',
    signal: 'Denials and questions are answered before anything is queued',
    judge: governance.submitPath,
  },
  {
    id: 'dispatch_check',
    area: 'Governance',
    title: 'Policy is asked again before a worker gets a job',
    signal: 'No lease without a decision under the policy that is active then',
    judge: governance.dispatchPath,
  },
  {
    id: 'approval_routing',
    area: 'Governance',
    title: 'High-risk work is put to people',
    signal: 'Production writes, destructive and money actions wait for a yes',
    judge: governance.approvalRouting,
  },
  {
    id: 'approval_binding',
    area: 'Governance',
    title: 'An approval is bound to job and policy snapshot',
    signal: 'Each approval holds both hashes, and they can be worked out again',
    judge: governance.approvalBinding,
  },
  {
    id: 'decision_timeline',
    area: 'Governance',
    title: 'The record of decisions is whole and cannot be changed',
    signal: 'Request, decision, approver and outcome are found by id in the signed log',
    judge: governance.decisionTimeline,
  },
  {
    id: 'agent_identity',
    area: 'Security',
    title: 'Every agent has a credential of its own',
    signal: 'No credential stands for two agents',
    judge: security.agentIdentity,
  },
  {
    id: 'key_rotation',
    area: 'Security',
    title: 'Credentials are rotated',
    signal: 'A rotation on record, and no key older than 90 days',
    judge: security.keyRotation,
  },
  {
    id: 'egress_allowlist',
    area: 'Security',
    title: 'Calls to the outside go to listed hosts',
    signal: 'Whatever calls out carries allowed_hosts',
    judge: security.egressAllowlist,
  },
  {
    id: 'input_schemas',
    area: 'Security',
    title: 'Input is checked before it reaches a tool',
    signal: 'Every topic in use has a schema',
    judge: security.inputSchemas,
  },
  {
    id: 'output_safety',
    area: 'Security',
    title: 'Results are screened before anybody reads them',
    signal: 'Every result has a verdict: ALLOW, REDACT or QUARANTINE',
    judge: security.outputSafety,
  },
  {
    id: 'retry_classes',
    area: 'Reliability',
    title: 'Failures that pass and failures that stay are told apart',
    signal: 'Both kinds on record',
    judge: reliability.retryClasses,
  },
  {
    id: 'timeout_budgets',
    area: 'Reliability',
    title: 'Each kind of work has its own time',
    signal: 'Timeouts come from classes, and not all from one',
    judge: reliability.timeoutBudgets,
  },
  {
    id: 'dead_letter_owners',
    area: 'Reliability',
    title: 'Dead letters belong to somebody',
    signal: 'Owner and time to answer for every topic in use, nothing overdue',
    judge: reliability.deadLetterOwners,
  },
  {
    id: 'heartbeat_watchdog',
    area: 'Reliability',
    title: 'A lost worker is noticed',
    signal: 'No lease past its end, and one that was lost and taken back',
    judge: reliability.heartbeatWatchdog,
  },
  {
    id: 'idempotent_effects',
    area: 'Reliability',
    title: 'A second attempt does nothing twice',
    signal: 'A worker was killed in the middle of an effect, and it happened once',
    judge: reliability.idempotentEffects,
  },
  {
    id: 'canary_gates',
    area: 'Operations',
    title: 'A promotion waits for its gate',
    signal: 'A rollout with gates, none of them overridden',
    judge: operations.canaryGates,
  },
  {
    id: 'trigger_matrix',
    area: 'Operations',
    title: 'What takes a candidate back is written down',
    signal: 'Triggers for latency, errors and governance',
    judge: operations.triggerMatrix,
  },
  {
    id: 'cost_budgets',
    area: 'Operations',
    title: 'Work has a ceiling of what it may cost',
    signal: 'A budget for each workflow, and somebody is told',
    judge: operations.costBudgets,
  },
  {
    id: 'on_call_runbook',
    area: 'Operations',
    title: 'Those on call know what to do',
    signal: 'A runbook for stop, isolate, replay and telling people',
    judge: operations.onCallRunbook,
  },
  {
    id: 'incident_replay',
    area: 'Compliance',
    title: 'An incident can be told from the record',
    signal: 'One run was reconstructed from end to end, lately',
    judge: operations.incidentReplay,
  },
]

/** "If one of those fails, do not launch": by number. */
const BLOCKS_LAUNCH = [1, 2, 3, 4, 5, 6, 10, 13, 16, 17]

/** In the guide's order. None may be left open, so all of them block. */
const ITEMS: readonly Subject[] = [
  {
    id: 'both_doors',
    title: 'Policy stands before dispatch, at submit and at dispatch',
    signal: 'Controls 1 and 2',
    judge: all(governance.submitPath, governance.dispatchPath),
  },
  {
    id: 'approvals_bound',
    title: 'High-risk actions go to people, bound to a snapshot that cannot change',
    signal: 'Controls 3 and 4',
    judge: all(governance.approvalRouting, governance.approvalBinding),
  },
  {
    id: 'run_state',
    title: 'The state of runs is durable, can be asked for, and points at context and results',
    signal: 'An engine that writes to disk before it answers; runs and results found by id',
    judge: reliability.durableState,
  },
  {
    id: 'retries_tried',
    title: 'Retry and timeout were tried by killing a worker',
    signal: 'The worker-crash drill, and no lease past its end',
    judge: all(operations.crashDrill, reliability.heartbeatWatchdog),
  },
  {
    id: 'output_visible',
    title: 'Verdicts on results are seen in logs and metrics',
    signal: 'Control 10, and entries that carry the verdict',
    judge: all(security.outputSafety, (facts) => [governance.recordFinding(facts)]),
  },
  {
    id: 'dead_letters_owned',
    title: 'Dead letters have an owner and a way to replay them',
    signal: 'Control 13',
    judge: reliability.deadLetterOwners,
  },
  {
    id: 'credentials_scoped',
    title: 'Credentials are of one agent, bound to topics, and rotated',
    signal: 'Controls 6 and 7, and topics on every key',
    judge: all(security.agentIdentity, security.credentialScope, security.keyRotation),
  },
  {
    id: 'gates_automatic',
    title: 'Gates look at success, latency, queues and policy by themselves',
    signal: 'Control 16, with a check of each kind',
    judge: all(operations.canaryGates, operations.automatedGates),
  },
  {
    id: 'rollback_told',
    title: 'A rollback is practised, and those concerned are told',
    signal: 'The rollback drill, stakeholders, and a channel to them',
    judge: operations.rollbackRunbook,
  },
  {
    id: 'on_call_answers',
    title: 'Those on call can say what ran, why, and who approved it',
    signal: 'Control 5, the incident-replay drill, and somebody on call',
    judge: all(governance.decisionTimeline, operations.incidentReplay, governance.onCall),
  },
]

/** Ids in order, for whoever names one by its number. */
export const CONTROL_IDS: readonly string[] = CONTROLS.map(({ id }) => id)
export const ITEM_IDS: readonly string[] = ITEMS.map(({ id }) => id)

export interface ReadyEntry {
  id: string
  number: number
  area: ReadyArea | null
  title: string
  signal: string
  blocks_launch: boolean
  state: ReadyState
  /** In words, with figures: what is wrong, else what is not known, else what shows it. */
  reason: string
  /** Where the fact that decided it can be read. */
  link: string
  findings: Finding[]
  /** Who answers for it; null where nobody is named. */
  owner: string | null
  /** Of the oldest fact that decided it. */
  at: number | null
  /** When the first of its facts stops counting. */
  expires_at: number | null
  /** As what a person may attest what is unknown here; null where nobody may. */
  attestable: Attestable | null
  /** The newest word for it, also one that has expired. `counts`: it fills what is unknown. */
  attestation: (Omit<Attestation, 'tenant' | 'key_id'> & { counts: boolean }) | null
}

export interface Readiness {
  ready: boolean
  at: number
  tenant: string
  /** Of the active policy; null where there is none. */
  snapshot: string | null
  controls: ReadyEntry[]
  items: ReadyEntry[]
  /** Ids of what holds the launch up. */
  blocked_by: string[]
}

/** @param attestations the newest of each subject and person, expired ones too */
export function readiness(facts: Facts, attestations: readonly Attestation[], at: number): Readiness {
  const entry = (subject: Subject, number: number, area: ReadyArea | null, blocks_launch: boolean) =>
    judged(subject, { number, area, blocks_launch, facts, attestations, at })
  const controls = CONTROLS.map((control, n) => entry(control, n + 1, control.area, BLOCKS_LAUNCH.includes(n + 1)))
  const items = ITEMS.map((item, n) => entry(item, n + 1, null, true))
  const blocked_by = [...controls, ...items]
    .filter(({ blocks_launch, state }) => blocks_launch && state !== 'pass')
    .map(({ id }) => id)
  const snapshot = facts.policy?.snapshot ?? null
  return { ready: blocked_by.length === 0, at, tenant: facts.tenant, snapshot, controls, items, blocked_by }
}

interface Judging extends Pick<ReadyEntry, 'number' | 'area' | 'blocks_launch'> {
  facts: Facts
  attestations: readonly Attestation[]
  at: number
}

function judged({ id, title, signal, judge }: Subject, { facts, attestations, at, ...place }: Judging): ReadyEntry {
  const seen = unlike(judge(facts, at))
  const attestable = seen.find((finding) => finding.attestable !== null)?.attestable ?? null
  const said = attestations
    .filter(({ subject }) => subject === (attestable ?? id))
    .toSorted((a, b) => b.at - a.at || (a.attestation_id < b.attestation_id ? 1 : -1))
  const word = said[0] ?? null
  const words = said.filter(({ expires_at }) => expires_at > at)
  const wanted = place.blocks_launch ? 2 : 1
  const counts = words.length >= wanted && attestable !== null
  const findings = seen.map((finding) => attested(finding, words, wanted))
  const state = worst(findings)
  const deciding = findings.filter((finding) => finding.state === state)
  const ends = findings.flatMap(({ expires_at }) => (expires_at === null || expires_at <= at ? [] : [expires_at]))
  const dates = deciding.flatMap((finding) => finding.at ?? [])
  return {
    ...{ id, ...place, title, signal, state, findings },
    reason: deciding.map(({ reason }) => reason).join('; '),
    link: deciding[0]?.link ?? '',
    owner: deciding.find(({ owner }) => owner !== null)?.owner ?? ownerOf(facts, place.area, id),
    at: dates.length === 0 ? null : Math.min(...dates),
    expires_at: ends.length === 0 ? null : Math.min(...ends),
    attestable,
    attestation: word === null ? null : shown(word, counts),
  }
}

/**
 * A person's word fills what no row shows; it never stands against one. What holds a launch up takes two people, as an override does: then
 * it lasts as long as both.
 * @param words of different people, the newest first
 */
function attested(finding: Finding, words: readonly Attestation[], wanted: number): Finding {
  const [newest] = words
  if (finding.attestable === null || newest === undefined) return finding
  const by = words.map(({ attested_by, attestation_id }) => `${attested_by} attests it (${attestation_id})`).join(', ')
  if (words.length < wanted)
    return { ...finding, reason: `${by}, and one person more has to. Without that: ${finding.reason}` }
  const expires_at = words.map((word) => word.expires_at).toSorted((a, b) => b - a)[wanted - 1] ?? newest.expires_at
  const { at, link, attested_by: owner } = newest
  const reason = `${by}. Without that: ${finding.reason}`
  return { ...finding, state: 'pass', reason, link: link ?? finding.link, at, expires_at, owner }
}

function shown({ tenant: _tenant, key_id: _key, ...word }: Attestation, counts: boolean) {
  return { ...word, counts }
}

/** Items are made of controls, which share facts: each is said once. */
function unlike(findings: readonly Finding[]): Finding[] {
  const said = new Set<string>()
  return findings.filter(({ reason }) => !said.has(reason) && said.add(reason))
}

/** Whom the newest rollout that is no draft names for the area. */
function ownerOf({ rollouts }: Facts, area: ReadyArea | null, id: string): string | null {
  const owners = rollouts.find(({ status }) => status !== 'draft')?.owners ?? null
  if (owners === null) return null
  if (id === 'cost_budgets') return owners.cost
  return area === 'Reliability' || area === 'Operations' ? owners.reliability : owners.governance
}
