import { type Decision, decide, type Standing } from '../door.js'
import type { Claim } from '../job.js'
import type { Json, JsonObject } from '../json.js'
import type { CompiledPolicy } from '../policy/compile.js'
import type { DecisionWord } from '../policy/document.js'
import { heldAction } from '../policy/evaluate.js'
import { fixtureClaim } from '../policy/fixtures.js'
import type { Variation } from './document.js'
import { isDoneAlone, MOST_FINDINGS } from './run.js'
import { variantsOf } from './vary.js'

/** A submit as it was decided then, with all that was read for it. */
export interface RecordedSubmit {
  decision_id: string
  at: number
  run_id: string | null
  decision: DecisionWord
  high_risk: boolean
  /** Without its salted parts: two submits of the same thing have the same. */
  job_hash: string
  standing: Standing
}

/**
 * `bypass`: a person was asked, or it was refused, and now it is done alone; or it is high risk and done alone. `duplicate`: the same was
 * submitted again by an agent that may have lost the answer, and now both are done.
 */
export interface RecordedFinding {
  decision_id: string
  /** Null: the submit as it was. */
  variant: string | null
  agent: string
  topic: string
  critical: boolean
  fault: 'bypass' | 'duplicate'
  before: DecisionWord
  after: DecisionWord
  rules: string[]
  reason: string
  /** Of a duplicate: the other one, which came before it. */
  of: string | null
}

/** A denial as the audit log would have it. */
export interface RecordedEntry {
  kind: 'job.denied'
  decision_id: string
  variant: string | null
  agent: string
  topic: string
  decision: 'DENY'
  reason: string
  rules: string[]
  snapshot: string
  job_hash: string
  high_risk: boolean
}

export interface RecordedReplayed {
  looked_at: number
  /** Their payload was erased: nobody can decide them again. */
  undecidable: number
  /** Recorded submits, and variants of them. */
  runs: number
  decided: Record<DecisionWord, number>
  logged: number
  critical_bypasses: number
  bypasses: number
  unsafe_duplicates: number
  findings: RecordedFinding[]
}

/**
 * Two of the same within this time are one asked twice, if they are of one run or of none: an agent that lost an answer asks again at
 * once, with backoff within minutes. Later it is the next round of something periodic.
 */
export const AGAIN_MS = 10 * 60_000
/** Kinds of refused and asked work of which variants are tried: by agent, topic, word and rules. A year of traffic has hundreds. */
const MOST_KINDS = 300

/**
 * Recorded submits, newest first, put to the door of a snapshot with everything that was read then; nothing is done. A critical bypass is
 * an action that the snapshot lets pass with nobody asked, and that was refused when it was recorded, or is high risk by what was
 * recorded or by what the snapshot says.
 */
export class RecordedReplay {
  readonly done: RecordedReplayed
  readonly #policy: CompiledPolicy
  readonly #vary: readonly Variation[]
  readonly #log: (entry: RecordedEntry) => void
  readonly #kinds = new Set<string>()
  /** Done alone and not idempotent, by what makes two the same; the newest first, and so the oldest seen so far. */
  readonly #seen = new Map<string, Pick<RecordedSubmit, 'decision_id' | 'at' | 'decision'>>()

  /** @param vary ways in which what the snapshot refuses or asks about is asked otherwise too */
  constructor(policy: CompiledPolicy, vary: readonly Variation[], log: (entry: RecordedEntry) => void) {
    this.#policy = policy
    this.#vary = vary
    this.#log = log
    this.done = {
      looked_at: 0,
      undecidable: 0,
      runs: 0,
      decided: { DENY: 0, REQUIRE_APPROVAL: 0, ALLOW_WITH_CONSTRAINTS: 0, ALLOW: 0 },
      logged: 0,
      critical_bypasses: 0,
      bypasses: 0,
      unsafe_duplicates: 0,
      findings: [],
    }
  }

  /** @param claim null where its payload was erased */
  *look(row: RecordedSubmit, claim: Claim | null): Generator<void, void> {
    this.done.looked_at++
    if (claim === null) {
      this.done.undecidable++
      return
    }
    const decision = this.#decide(row, null, claim)
    if (isDoneAlone(decision.decision)) {
      this.#alone(row, claim, decision)
      return
    }
    yield* this.#otherwise(row, claim, decision)
  }

  #decide(row: RecordedSubmit, variant: string | null, claim: Claim): Decision {
    const decision = decide(this.#policy, claim, row.standing)
    this.done.runs++
    this.done.decided[decision.decision]++
    if (decision.decision === 'DENY') {
      const { reason, rules, snapshot, job_hash, evaluation } = decision
      const about = { decision_id: row.decision_id, variant, agent: claim.agent, topic: claim.topic }
      this.#log({
        kind: 'job.denied',
        ...about,
        decision: 'DENY',
        reason,
        rules,
        snapshot,
        job_hash,
        high_risk: evaluation.high_risk,
      })
      this.done.logged++
    }
    return decision
  }

  #alone(row: RecordedSubmit, claim: Claim, decision: Decision): void {
    const isHigh = row.high_risk || decision.evaluation.high_risk
    if (!isDoneAlone(row.decision) || isHigh)
      this.#find('bypass', row, claim, decision, { critical: isHigh || row.decision === 'DENY' })
    if (decision.evaluation.job_class.idempotent) return
    // What only reads is done twice without harm, where the server itself holds that it is a read.
    if (heldAction(this.#policy, claim, row.standing.now) === 'read') return
    const key = `${row.run_id ?? ''}/${row.job_hash}`
    const later = this.#seen.get(key)
    const { decision_id, at, decision: before } = row
    this.#seen.set(key, { decision_id, at, decision: before })
    if (later !== undefined && later.at - row.at <= AGAIN_MS)
      this.#find('duplicate', later, claim, decision, { critical: false, of: row.decision_id })
  }

  /** What is kept back must be kept back in other words too. */
  *#otherwise(row: RecordedSubmit, claim: Claim, decision: Decision): Generator<void, void> {
    if (this.#vary.length === 0 || this.#kinds.size >= MOST_KINDS) return
    const kind = JSON.stringify([claim.agent, claim.topic, decision.decision, decision.rules])
    if (this.#kinds.has(kind)) return
    this.#kinds.add(kind)
    const critical = decision.decision === 'DENY' || row.high_risk || decision.evaluation.high_risk
    for (const { name, job } of variantsOf(jobOf(claim), this.#vary)) {
      yield
      const other = this.#decide(row, name, { ...fixtureClaim(job), ...unvaried(claim) })
      if (isDoneAlone(other.decision))
        this.#find('bypass', row, claim, other, { critical, variant: name, before: decision.decision })
    }
  }

  #find(
    fault: RecordedFinding['fault'],
    row: Pick<RecordedSubmit, 'decision_id' | 'decision'>,
    { agent, topic }: Claim,
    { decision, rules, reason }: Decision,
    more: Partial<RecordedFinding> & Pick<RecordedFinding, 'critical'>,
  ): void {
    const { done } = this
    if (fault === 'duplicate') done.unsafe_duplicates++
    else done.bypasses++
    if (fault === 'bypass' && more.critical) done.critical_bypasses++
    if (done.findings.length === MOST_FINDINGS) return
    const { decision_id, decision: before } = row
    const about = { decision_id, variant: null, agent, topic, fault, before, after: decision, rules, reason, of: null }
    done.findings.push({ ...about, ...more })
  }
}

/** What it says of itself, as a body has it: what it left out is left out. */
function jobOf({ labels, risk_tags, input, context, ...claim }: Claim): JsonObject {
  const { topic, environment, action_type, capability, action, workflow } = claim
  const said = Object.entries({ topic, environment, action_type, capability, action, workflow, input, context })
  const job: Record<string, Json> = Object.fromEntries(said.filter(([, value]) => value !== null))
  if (Object.keys(labels).length > 0) job.labels = labels
  if (risk_tags.length > 0) job.risk_tags = risk_tags
  return job
}

/** What the server knows of it, and what no variation is about. */
const unvaried = ({ tenant, agent, agent_version, team, timeout_ms, max_attempts, not_before }: Claim) => ({
  tenant,
  agent,
  agent_version,
  team,
  timeout_ms,
  max_attempts,
  not_before,
})
