import type { Approval } from './approval.js'
import { CheckpointError, checkpointOpener, originOf } from './audit/checkpoint.js'
import { sameHash } from './audit/hash.js'
import { verifyConsistency } from './audit/proof.js'
import { DRILL_RUN, type Figures, FRESH_MS, type Made, type Reported } from './drill.js'
import { fold, isFinished, type Job, LIFECYCLE } from './job.js'
import type { Effect } from './lease.js'
import type { Stop } from './stop.js'

/**
 * What the server sees for itself of a drill that is reported: no gate is fed by the word of who played it. Each function gets what rows
 * and log say and gives checks; what is not there is a check that does not hold.
 */
export interface Proof {
  checks: Reported[]
  /** Measured from the record; they stand over what the reporter measured. */
  figures: Figures
}

/** An entry of the log, flat. */
export type ToldEntry = Readonly<Record<string, unknown>>

/** A recorded decision, and what came of deciding it again from what it read, under its snapshot. */
export interface Remade {
  decision_id: string
  door: string
  decision: string
  job_id: string | null
  at: number
  /** Bytes are the same; null where its payload was erased, and nobody can know. */
  same: boolean | null
  /** Of a denial: the code it is refused with, and the stop it is for. */
  code: string | null
  stop_id: string | null
  run_id: string | null
  /** Of what was drawn by a rollout. */
  rollout_id: string | null
}

const check = (name: string, pass: boolean, detail: string): Reported => ({ name, pass, detail })
const kindsOf = (told: readonly ToldEntry[]) => told.map(({ kind }) => String(kind))
const atOf = (told: readonly ToldEntry[], kind: string, last = false): number | null => {
  const found = told.filter((entry) => entry.kind === kind).map(({ at }) => Number(at))
  return found.length === 0 ? null : last ? Math.max(...found) : Math.min(...found)
}
const between = (from: number | null, to: number | null): number | null =>
  from === null || to === null ? null : Math.max(0, to - from)
/** Figures that could be measured. */
const measured = (figures: Record<string, number | null>): Figures =>
  Object.fromEntries(Object.entries(figures).filter(([, ms]) => ms !== null))

function fresh(what: string, at: number | null, now: number): Reported {
  if (at === null) return check(`${what} is of now`, false, 'it is not there')
  const age = now - at
  return check(`${what} is of now`, age >= 0 && age <= FRESH_MS, `${Math.round(age / 1000)} s old`)
}

function denied(name: string, remade: Remade | null, code: string): Reported {
  if (remade === null) return check(name, false, 'no such decision')
  const holds = remade.decision === 'DENY' && remade.same === true && remade.code === code
  return check(name, holds, `${remade.decision}, ${remade.code ?? 'no code'}, ${again(remade)}`)
}

const again = ({ same }: Pick<Remade, 'same'>) =>
  same === true ? 'decided again the same' : same === null ? 'its input was erased' : 'decided again it is another'

export interface DenyFound {
  now: number
  decision: Remade | null
  /** Of the tile that was committed with the decision. */
  told: readonly ToldEntry[]
}

export function denyProof({ now, decision, told }: DenyFound): Proof {
  const entry = told.find((each) => each.kind === 'job.denied' && each.decision_id === decision?.decision_id)
  return {
    figures: {},
    checks: [
      fresh('the decision', decision?.at ?? null, now),
      denied('policy denied it at the first door', decision?.door === 'submit' ? decision : null, 'policy_denied'),
      check(
        'a drill asked for it',
        DRILL_RUN.test(decision?.run_id ?? ''),
        decision === null ? 'no such decision' : (decision.run_id ?? 'it is of no run'),
      ),
      check('it left no job', decision !== null && decision.job_id === null, decision?.job_id ?? 'none'),
      check('the log has the denial', entry !== undefined, entry === undefined ? 'no entry names it' : 'job.denied'),
    ],
  }
}

export interface ApprovalFound {
  now: number
  job: Job | null
  approval: Approval | null
  decision: Remade | null
  told: readonly ToldEntry[]
}

export function approvalProof({ now, job, approval, decision, told }: ApprovalFound): Proof {
  const kinds = kindsOf(told)
  const answers = approval?.answers ?? []
  const own = answers.filter(({ by }) => [approval?.requested_by, approval?.raised_by, approval?.agent].includes(by))
  const isBound =
    approval !== null && job !== null && approval.job_id === job.job_id && approval.job_hash === job.job_hash
  const yes = atOf(
    told.filter(({ approval_id, complete }) => approval_id === approval?.approval_id && complete !== false),
    'approval.approved',
  )
  const leased = atOf(told, 'job.leased')
  const isHeld =
    job !== null &&
    (leased === null ? job.attempt === 0 : approval?.status === 'approved' && yes !== null && leased >= yes)
  return {
    figures: {},
    checks: [
      fresh('the question', approval?.requested_at ?? null, now),
      check(
        'the door asked for a person',
        decision?.decision === 'REQUIRE_APPROVAL' && decision.same === true,
        decision === null ? 'no such decision' : `${decision.decision}, ${again(decision)}`,
      ),
      check('the question is bound to the job', isBound, approval?.job_hash ?? 'no such approval'),
      check(
        'another answered than asked',
        answers.length > 0 && own.length === 0,
        answers.map(({ by }) => by).join(', ') || 'nobody answered',
      ),
      check(
        'nothing ran without a yes',
        isHeld,
        job === null ? 'no such job' : `${job.status}, ${job.attempt} attempts`,
      ),
      check(
        'the log tells it',
        kinds.includes('approval.requested') && kinds.some((kind) => /^approval\.(approved|rejected)$/.test(kind)),
        kinds.join(', '),
      ),
    ],
  }
}

export interface CrashFound {
  now: number
  job: Job | null
  effects: readonly Effect[]
  told: readonly ToldEntry[]
}

/** Begun twice is done twice, as far as anybody can know; unless a person said in between that it had not happened. */
export function repeated(told: readonly ToldEntry[]): string[] {
  const begun = new Map<string, number>()
  for (const { kind, effect_key, happened } of told) {
    const key = String(effect_key)
    if (kind === 'effect.begun') begun.set(key, (begun.get(key) ?? 0) + 1)
    if (kind === 'effect.resolved' && happened === false) begun.set(key, (begun.get(key) ?? 0) - 1)
  }
  return [...begun].filter(([, times]) => times > 1).map(([key]) => key)
}

/** The effect that a lost lease left open, and whether the job was parked with it until somebody said what had come of it. */
function doubtOf(told: readonly ToldEntry[]): { begun: string | null; settled: boolean } {
  const lost = told.findIndex(({ kind }) => kind === 'lease.lost')
  const { lease_id } = told[lost] ?? {}
  const open = told.slice(0, Math.max(0, lost)).filter((entry) => entry.lease_id === lease_id)
  const of = (key: unknown) => (kind: string) => open.some((entry) => entry.kind === kind && entry.effect_key === key)
  const begun = open.find(({ kind, effect_key }) => kind === 'effect.begun' && !of(effect_key)('effect.committed'))
  if (begun === undefined) return { begun: null, settled: false }
  const after = told.slice(lost + 1)
  const parked = after.findIndex(({ kind }) => kind === 'job.ambiguous')
  const resolved = after.findIndex((entry) => entry.kind === 'effect.resolved' && entry.effect_key === begun.effect_key)
  const leased = after.findIndex(({ kind }) => kind === 'job.leased')
  return { begun: String(begun.effect_key), settled: parked >= 0 && resolved > parked && leased > resolved }
}

export function crashProof({ now, job, effects, told }: CrashFound): Proof {
  const kinds = kindsOf(told)
  const leases = new Set(told.filter(({ kind }) => kind === 'job.leased').map(({ lease_id }) => lease_id)).size
  const lost = atOf(told, 'lease.lost')
  const twice = repeated(told)
  const doubt = doubtOf(told)
  return {
    figures: measured({ recovery_ms: between(lost, job?.finished_at ?? null) }),
    checks: [
      fresh('the job', job?.created_at ?? null, now),
      check('its worker was lost', lost !== null, kinds.join(', ') || 'no such job'),
      check(
        'it was lost in the middle of an effect',
        doubt.begun !== null,
        doubt.begun ?? 'its lost lease had begun nothing that was left open',
      ),
      check(
        'nobody went on before a person had said what happened',
        doubt.settled,
        doubt.settled ? 'parked, then resolved' : 'not parked, or not resolved by a person',
      ),
      check('another lease finished it', job?.status === 'succeeded' && leases > 1, `${job?.status}, ${leases} leases`),
      check(
        'what it did is known',
        effects.length > 0 && effects.every(({ status }) => status === 'committed'),
        effects.map(({ effect_key, status }) => `${effect_key} ${status}`).join(', ') || 'no effect',
      ),
      check('no effect was begun twice', effects.length > 0 && twice.length === 0, twice.join(', ') || 'each once'),
    ],
  }
}

export interface StopFound {
  now: number
  stop: (Stop & { refused_ms: number | null; enforced_at: number | null }) | null
  /** When each node said that it had read the gate since; null: it lives and has not. */
  nodes: readonly (number | null)[]
  leases: { total: number; open: number; last_ended: number | null }
  decision: Remade | null
  job: Job | null
  told: readonly ToldEntry[]
}

export function stopProof({ now, stop, nodes, leases, decision, job, told }: StopFound): Proof {
  const raised = stop?.raised_at ?? null
  const heard = nodes.filter((at): at is number => at !== null)
  const last = Math.max(stop?.enforced_at ?? 0, leases.last_ended ?? 0, ...heard)
  // The plane names the stop in it, and asks nothing of what is not in its scope.
  const asked = atOf(
    told.filter(({ stop_id }) => stop !== null && stop_id === stop.stop_id),
    'job.cancel_requested',
  )
  const ended = job !== null && isFinished(job.status) && raised !== null && (job.finished_at ?? 0) >= raised
  const isOfStop = decision !== null && decision.stop_id === stop?.stop_id && decision.at >= (raised ?? now)
  const two = stop?.steps.every(({ asked_by, by }) => asked_by !== by) === true && stop.steps.length >= 2
  return {
    figures: measured({
      detection_ms: stop?.refused_ms ?? null,
      stop_ms: last === 0 ? null : between(raised, last),
      recovery_ms: between(raised, stop?.ended_at ?? null),
    }),
    checks: [
      fresh('the stop', raised, now),
      denied('work in its scope was refused', isOfStop ? decision : null, 'stopped'),
      check('running work was asked to end', asked !== null && asked >= (raised ?? now), kindsOf(told).join(', ')),
      check('it ended', ended, job?.status ?? 'no such job'),
      check(
        'every node has confirmed',
        nodes.length > 0 && heard.length === nodes.length && stop?.enforced_at != null,
        `${heard.length} of ${nodes.length}`,
      ),
      check(
        'no lease is open',
        leases.total > 0 && leases.open === 0,
        `${leases.total - leases.open} of ${leases.total}`,
      ),
      check(
        'two people resumed it',
        two && stop?.ended_at != null,
        stop?.steps.map(({ stage, asked_by, by }) => `${stage}: ${asked_by}, ${by}`).join('; ') || 'it stands',
      ),
    ],
  }
}

/** A job of a run that is looked back at, with all that is on record of it. */
export interface PastJob {
  job: Job
  told: readonly ToldEntry[]
  /** Whether every tile that speaks of it has its place under the newest signed head. */
  placed: boolean
  decisions: readonly Remade[]
  /** Ids that the log names and no row has. */
  missing: readonly string[]
}
export interface IncidentFound {
  jobs: readonly PastJob[]
  /** Denials of the run, which left no job. */
  denials: readonly Remade[]
  /** There are more than were looked at. */
  more: boolean
}

export function incidentProof({ jobs, denials, more }: IncidentFound): Proof {
  const all = [...jobs.flatMap(({ decisions }) => decisions), ...denials]
  const other = all.filter(({ same }) => same !== true)
  const lost = jobs.flatMap(({ missing }) => missing)
  const twice = jobs.flatMap(({ told, job }) => repeated(told).map((key) => `${job.job_id} ${key}`))
  const unfolded = jobs.filter(({ job, told }) => !foldsTo(job, told)).map(({ job }) => job.job_id)
  const unplaced = jobs.filter(({ placed }) => !placed).map(({ job }) => job.job_id)
  const open = jobs.filter(({ job }) => !isFinished(job.status)).map(({ job }) => job.job_id)
  const none = (ids: readonly string[], well: string) => (ids.length === 0 ? well : ids.slice(0, 10).join(', '))
  return {
    figures: {},
    checks: [
      check(
        'the run is over',
        jobs.length > 0 && open.length === 0 && !more,
        more ? 'too many jobs' : none(open, `${jobs.length} jobs`),
      ),
      check(
        'every decision is made again, byte for byte',
        all.length > 0 && other.length === 0,
        none(
          other.map((each) => `${each.decision_id} ${again(each)}`),
          `${all.length} decisions`,
        ),
      ),
      check('every decision that the log names is on record', lost.length === 0, none(lost, 'all')),
      check('no effect was begun twice', jobs.length > 0 && twice.length === 0, none(twice, 'each once')),
      check(
        'the log tells how each job came to stand as it does',
        jobs.length > 0 && unfolded.length === 0,
        none(unfolded, 'its entries fold to its row'),
      ),
      check(
        'all of it stands under the signed head',
        jobs.length > 0 && unplaced.length === 0,
        none(unplaced, 'integrated'),
      ),
    ],
  }
}

function foldsTo(job: Job, told: readonly ToldEntry[]): boolean {
  const row = fold(told as Record<string, unknown>[])
  return LIFECYCLE.every((column) => row[column] === job[column])
}

export interface RestoreFound {
  now: number
  tenant: string
  made: Made
  /** Public keys that writers of this log ever signed with. */
  keys: readonly Uint8Array[]
  /** Roots of this log's own tree at the sizes that the two heads name; null: it has none, or is smaller. */
  ownRoot: Uint8Array | null
  ownLater: Uint8Array | null
  /** When the last restore was shown; null: there was none. */
  last: number | null
}

/** A backup that is older shows little of what a loss tomorrow would take. */
const BACKUP_MS = 7 * 86_400_000

/**
 * That a copy was brought up can be told from afar: it signed a head with this log's key, of a tree that begins with the head kept outside
 * and then goes another way than this log did. Whoever has no copy and no key has no such head. A copy that was shown before went its own
 * way before that was recorded here; one that begins with a later head of this log is another.
 */
export function restoreProof({ now, tenant, made, keys, ownRoot, ownLater, last }: RestoreFound): Proof {
  const open = checkpointOpener(originOf(tenant), keys)
  const read = (note: string | undefined) => {
    try {
      return note === undefined ? null : open(note)
    } catch (error) {
      if (error instanceof CheckpointError) return null
      throw error
    }
  }
  const [head, copy] = [read(made.head), read(made.restored_head)]
  const path = (made.proof ?? []).map((hex) => Buffer.from(hex, 'hex'))
  const follows = head !== null && copy !== null && verifyConsistency(head.size, head.root, copy.size, copy.root, path)
  const isOther = copy !== null && (ownLater === null || !sameHash(ownLater, copy.root))
  return {
    figures: {},
    checks: [
      check(
        'the head kept outside is of this log',
        head !== null && head.size > 0 && ownRoot !== null && sameHash(ownRoot, head.root),
        head === null ? 'no key of this log signed it' : `${head.size} entries`,
      ),
      check(
        'the backup is of these days',
        head?.at != null && now - head.at <= BACKUP_MS,
        head?.at == null ? 'no head' : `${Math.round((now - head.at) / 3_600_000)} h old`,
      ),
      check(
        'the copy is none that was shown before',
        head?.at != null && (last === null || head.at > last),
        last === null ? 'the first' : 'the head kept outside has to be younger than the last restore that was shown',
      ),
      fresh('the head of the copy', copy?.at ?? null, now),
      check('the copy begins with that head', follows, copy === null ? 'no head' : `${copy.size} entries`),
      check(
        'the copy went on by itself',
        head !== null && copy !== null && copy.size > head.size && isOther,
        isOther ? 'its tree is another than this one' : 'its head is one of this log',
      ),
    ],
  }
}

export interface RollbackFound {
  now: number
  rollout: { rollout_id: string; status: string; ended_at: number | null } | null
  /** A job of the candidate that waited when it was taken back, and the decision that refused it. */
  decision: Remade | null
  /** The candidate's job that had an effect to be undone. */
  job: Job | null
  told: readonly ToldEntry[]
  /** When each node said that it had read the gate since; null: it lives and has not. */
  nodes: readonly (number | null)[]
  /** Of its jobs, those that are not over. */
  open: number
  leases: { total: number; ended_at: number | null }
  compensations: readonly { job_id: string; effect_key: string; status: string; ended_at: number | null }[]
  recovered_at: number | null
}

export function rollbackProof(found: RollbackFound): Proof {
  const { now, rollout, decision, job, told, nodes, open, leases, compensations, recovered_at } = found
  const since = rollout?.ended_at ?? null
  const undone = compensations.filter(({ status }) => status === 'done')
  const last = undone.length === 0 ? null : Math.max(...undone.map(({ ended_at }) => ended_at ?? now))
  const heard = nodes.filter((at): at is number => at !== null)
  const isAfter =
    decision !== null && since !== null && decision.at >= since && decision.rollout_id === rollout?.rollout_id
  const isOurs = job !== null && job.rollout_id === rollout?.rollout_id && job.variant === 'candidate'
  return {
    figures: measured({
      stop_ms: isAfter ? between(since, Math.max(decision.at, ...heard)) : null,
      compensation_ms: between(since, last),
      recovery_ms: between(since, recovered_at),
    }),
    checks: [
      check('it was rolled back', rollout?.status === 'rolled_back', rollout?.status ?? 'no such rollout'),
      fresh('the rollback', since, now),
      check(
        'the candidate had done something',
        isOurs && kindsOf(told).includes('effect.committed'),
        kindsOf(told).join(', ') || 'no such job',
      ),
      denied('its waiting work was refused', isAfter ? decision : null, 'rolled_back'),
      check(
        'every node has confirmed',
        heard.length > 0 && heard.length === nodes.length,
        `${heard.length} of ${nodes.length}`,
      ),
      check('its running work has ended', leases.total > 0 && leases.ended_at !== null, `${leases.total} leases`),
      check('none of its work is open', rollout !== null && open === 0, `${open} open`),
      check(
        'what it did was undone',
        undone.length === compensations.length && compensations.some(({ job_id }) => job_id === job?.job_id),
        compensations.map(({ effect_key, status }) => `${effect_key} ${status}`).join(', ') || 'nothing was registered',
      ),
      check('the rollback is over', recovered_at !== null, recovered_at === null ? 'it goes on' : 'recovered'),
    ],
  }
}
