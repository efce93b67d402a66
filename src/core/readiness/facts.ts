import type { Role } from '../access.js'
import type { DrillName } from '../drill.js'
import type { TriggerName } from '../gates/trigger.js'
import type { Kind } from '../principal.js'
import type { RolloutStatus } from '../rollout/step.js'

/**
 * What an installation shows of itself at one instant: all that readiness is judged by. Read from rows and from the log, of samples of a
 * stated size; nobody's word is in it but the attestations, and those stand apart. Instants are epoch ms.
 */
export interface Facts {
  tenant: string
  policy: PolicyFacts | null
  /** The newest result of each; null: nobody ran it. */
  drills: DrillFacts
  /** Jobs, newest first, each asked for the decision of the first door. */
  submits: Doors
  /** Leases, newest first, each asked for the decision of the second. */
  dispatches: Doors
  /** High-risk work that ran without an approval. */
  risks: Risks
  approvals: ApprovalFacts
  record: RecordFacts
  credentials: CredentialFacts
  /** Topics that work was asked for on, drills' and the plane's own left out. */
  topics: readonly TopicFacts[]
  /** Topics on which work that carried no list of hosts was leased, and how many leases those were. */
  egress: EgressFacts
  output: OutputFacts
  failures: FailureFacts
  deadLetters: DeadLetterFacts
  watchdog: WatchdogFacts
  /** Newest first, drafts too. */
  rollouts: readonly RolloutFacts[]
  costs: CostFacts
  store: StoreFacts
  people: PeopleFacts
  /** Channels that tell of a rollback. */
  rollbackChannels: readonly string[]
}

export interface DrillFact {
  passed: boolean
  at: number
  /** A result counts before it. */
  valid_until: number
  drill_id: string
  /** Who answers for the drill, where somebody does. */
  owner?: string | null
}
export type DrillFacts = Readonly<Record<DrillName, DrillFact | null>>

export interface PolicyFacts {
  snapshot: string
  activated_at: number | null
  rules: number
  /** Rules that say REQUIRE_APPROVAL. */
  asking: number
  default_decision: string
  /** What `policy check` warns of. */
  warnings: readonly { code: string; at: string; message: string }[]
  /** Rules that permit calls to the outside; `open`: those of them that no list of hosts binds. */
  egress: { rules: readonly string[]; open: readonly string[] }
  output_rules: number
  /** Output rules that let a whole class of findings through: `RULE CLASS`. */
  letting: readonly string[]
}

/** What is wrong with one row. */
export interface Wrong {
  id: string
  why: string
}

export interface Doors {
  sampled: number
  newest_at: number | null
  /** Of the oldest that was looked at: what lies before it was not. */
  oldest_at?: number | null
  wrong: readonly Wrong[]
}

export interface Risks {
  value: number | null
  unknown: string | null
  /** Leases that were judged. */
  samples: number
  window_ms: number
  at: number
}

export interface ApprovalFacts extends Doors {
  answered: number
  /** People who may answer as approver or admin. */
  approvers: number
}

export interface RecordFacts extends Doors {
  /** Finished jobs whose entries are in a file that is not to be had here. */
  unreadable: number
  newest_run: string | null
  /** Of those with a result, how many name where it is. */
  results: number
  pointed: number
  head: { size: number; at: number } | null
  /** When the oldest entry that has no place yet was written; null: none waits. */
  waiting_since: number | null
}

export interface CredentialFacts {
  /** Credentials of principals who may submit as an agent, each with the agents it stands or stood for. */
  submitting: readonly SubmitterFact[]
  /** Keys that open something, sessions left out. */
  keys: number
  /** Of these, past 90 days. */
  overdue: readonly string[]
  oldest_at: number | null
  /** Keys that have a successor, and when the newest of these was made. */
  rotated: number
  rotated_at: number | null
}

export interface SubmitterFact {
  principal: string
  kind: Kind
  role: Role
  keys: number
  /** Agents: itself where it is one, whom its keys may act as, and as whom it asked. */
  agents: readonly string[]
  /** Whether every key of it, or its terms, names topics. */
  scoped: boolean
}

export interface TopicFacts {
  topic: string
  jobs: number
  /** Of the classes that name the topic, the one that says the tightest timeout; null: none does. */
  timeout: { pattern: string; ms: number } | null
  schema: boolean
  owner: string | null
  respond_within_ms: number | null
}

export interface EgressFacts {
  leases: number
  /** Leases of work with the tag `egress` or on the built-in worker's topic that carried no list of hosts. */
  unbound: readonly Wrong[]
  /** Topics whose leases carried no list of hosts: what their workers call, the plane does not know. */
  unlisted: readonly string[]
  newest_at: number | null
}

export interface OutputFacts {
  /** Results, newest first. */
  sampled: number
  ALLOW: number
  REDACT: number
  QUARANTINE: number
  wrong: readonly Wrong[]
  newest_at: number | null
}

export interface FailureFacts {
  leases: number
  transient: number
  terminal: number
  lost: number
  newest_at: number | null
}

export interface DeadLetterFacts {
  open: number
  /** Past the time within which somebody had to answer. */
  overdue: number
  /** More were there than were looked at. */
  more: boolean
}

export interface WatchdogFacts {
  live: number
  /** Leases a minute or more past their end that nothing ended. */
  stale: readonly string[]
  /** Jobs that a person has to settle. */
  in_doubt: number
}

export interface RolloutFacts {
  rollout_id: string
  name: string
  status: RolloutStatus
  declared_at: number
  /** Of what it is in now, or its end. */
  since: number
  phase: number
  phases: number
  overridden: boolean
  /** Phases left on evidence. */
  promoted: number
  /** Names of everything any of its gates looks at. */
  metrics: readonly string[]
  triggers: readonly TriggerName[]
  owners: { reliability: string; governance: string; cost: string }
  stakeholders: readonly string[]
}

export interface CostFacts {
  /** Finished jobs. */
  sampled: number
  /** Of these, how many said what they cost. */
  told: number
  cost: number
}

export interface StoreFacts {
  engine: 'postgres' | 'pglite'
  /** Settings of Postgres; null on the embedded engine. */
  fsync: string | null
  synchronous_commit: string | null
}

export interface PeopleFacts {
  teams: readonly string[]
  /** Teams with somebody on call. */
  on_call: readonly string[]
}

/** A person's word for what no row shows. The newest of each for a subject counts, while it lasts and they stand. */
export interface Attestation {
  tenant: string
  attestation_id: string
  /** Id of a control or an item. */
  subject: string
  attested_by: string
  key_id: string
  note: string
  link: string | null
  at: number
  expires_at: number
}
