import { canonical, isWellFormed, sha256, sorted } from './canonical.js'

/**
 * Everything that is ever recorded. A journey's step returns facts; the ledger turns them into entries in the same commit.
 * The word is the entry's `kind` for good: renaming one breaks every query over retained history.
 */
export const FACT_KINDS = [
  'job.submitted',
  'job.denied', // at the first door: there is no job row, only the decision
  'job.shadowed', // at the first door, of an agent in the shadow: what would have been; there is no job row
  'job.queued',
  'job.parked', // waits for an approval
  'job.refused', // at the second door
  'job.leased',
  'job.succeeded',
  'job.quarantined',
  'job.retried',
  'job.dead_lettered',
  'job.overdue', // a dead letter: by `respond_by` somebody had to have answered for it
  'job.ambiguous',
  'job.resolved',
  'job.requeued',
  'job.replayed',
  'job.rejected',
  'job.expired',
  'job.cancel_requested',
  'job.cancelled',
  'job.discarded',
  'lease.lost',
  'lease.refused', // a stale fence
  'effect.begun',
  'effect.committed',
  'effect.late', // evidence from a lease that had ended
  'effect.resolved',
  'approval.requested',
  'approval.approved',
  'approval.rejected',
  'approval.expired',
  'approval.voided',
  'approval.rebound',
  'approval.escalated', // a level's time is over, or it has nobody: the next rung is asked too
  'approval.unanswerable', // for `level` of `flow` too few are left who may answer: it waits for nobody until `expires_at`
  'approval.reminded', // half of a level's time is over: those of `asked_of` have not answered
  'approval.rerouted', // others are asked: somebody left or is back, or the directory says otherwise
  'approval.edited', // the input was replaced: hashes before and after, and which paths
  'approval.refused', // a stale echo, self-approval, or somebody it was not asked of
  'grant.created', // approvals given beforehand: `uses` of them
  'grant.revoked',
  'grant.refused', // somebody who may not: what they grant they could ask for themselves
  'absence.declared', // from when until when, and who answers meanwhile
  'absence.refused',
  'result.redacted',
  'result.released',
  'result.discarded',
  'result.read',
  'policy.stored',
  'policy.activated',
  'policy.refused',
  'key.created',
  'key.rotated', // `key_id` ends at `until`, `successor` follows it
  'key.due', // it nears 90 days, is past them, or expires within a week
  'key.revoked',
  'key.refused', // it opened nothing, or somebody asked to hand on more than they have
  'token.minted',
  'sign_on.declared', // what members of the provider's groups are
  'session.opened', // `way`: oidc or password
  'session.closed', // `reason`: signed_off, password_changed, account_closed, too_many, no_group
  'session.refused', // a sign-on that failed, a forged form, a request of another site
  'account.invited', // to set a password until `until`
  'account.changed', // its password was set
  'account.linked', // `principal` signs on as `subject` of `issuer` from now on
  'account.closed', // no password and no subject of a provider signs on as `principal` any more
  'principal.declared', // made, or changed: what it is from now on
  'principal.disabled',
  'team.declared',
  'team.removed',
  'directory.refused', // somebody who may not write it, or who hands out or takes away more than they have
  'autonomy.declared', // an agent is managed from now on, or its spot check or whom it asks is another
  'autonomy.offered', // every criterion of the next stage holds: a person may propose it
  'autonomy.proposed', // a promotion, with the numbers it stands on, or less of people's eyes
  'autonomy.promoted', // confirmed by another person
  'autonomy.demoted', // by a person, or by its numbers
  'autonomy.adjusted', // reviewer load moved the spot check inside its bounds
  'autonomy.refused', // somebody who may not, or one person alone
  'workflow.opened', // a bounded workflow: its jobs are let through from now on
  'workflow.proven', // it ran well for a week
  'workflow.closed',
  'approvals.low', // people said no to more than a tenth of what an agent asked in a week
  'stop.raised',
  'stop.resume_requested',
  'stop.resumed', // to the stage `stage`; `full` ends it
  'stop.refused', // somebody who may not, or one person alone
  'breaker.opened', // its agent is out until `retry_at`; `team` owns it
  'breaker.closed',
  'channel.declared', // who is told of what, from now on
  'channel.removed',
  'channel.tested',
  'channel.down', // `failures` in a row
  'channel.up',
  'delivery.failed', // its tries are used up; it is sent again when somebody says so
  'delivery.retried',
  'chat.refused', // a click in Slack: forged, late, replayed, of nobody we know, stale, or on what is closed
  'link.refused', // a link of a mail: forged, used, expired, stale, or not from its page
  'limit.refused', // in aggregate: `count` refusals between `from` and `at`
  'payload.erased', // its retention ended
  'queue.backlogged', // work has been due for a minute and nobody took it
  'queue.recovered',
  'jobs.pruned', // in aggregate: `count` finished jobs, no longer kept; `jobs_hash` over their sorted ids, a line each
  'records.pruned', // the same of `grants`, `stops`, `absences`, `sessions` and `replays` that were over; `records_hash` over `grant ID`, …
  'decisions.pruned', // the same of denials at the first door, which leave no job; `decisions_hash` over their sorted ids
  'audit.archived', // entries from `first` to `size` are in `file` too, and may leave the database
  'audit.exported',
  'drill.run', // `outcome` of `drill`, of `checks` so many `failed`; `run_hash` over the row
  'drill.scheduled', // `owner` answers for it, `every_ms`
  'drill.overdue', // by `due_at` it should have passed again
  'drill.refused', // reported by an agent or a worker
  'rollout.declared', // a draft: nothing of it runs
  'rollout.started',
  'rollout.paused', // its slice stays as it is
  'rollout.resumed',
  'rollout.advanced', // to `phase`, on the evidence `evidence_hash`
  'rollout.override_requested', // to go on without a gate that passes: another person has to say so too
  'rollout.overridden', // `asked_by` and the actor went on without it; it stays on the rollout for good
  'rollout.promoted', // the candidate is the stable version from now on
  'rollout.rolled_back', // by a person, or by `trigger`
  'rollout.leases_ended', // nothing of the candidate that was rolled back runs any more
  'rollout.compensation_asked', // what undoes `effect_key` of `job_id` is the job `compensation_job_id`
  'rollout.compensated', // and is done
  'rollout.compensation_blocked', // it was refused or failed, or waits for something: `reason`
  'rollout.compensation_retried', // somebody wants it asked again
  'rollout.compensation_settled', // somebody says that it needs no job any more
  'rollout.recovered', // everything that the candidate did is undone, or somebody answers for it
  'rollout.refused', // somebody who may not, one person alone, a gate that blocks, or evidence that is stale
  'readiness.attested', // a person's word for what no row shows, until `until`
  'readiness.refused', // somebody attested who may not
  'rollout.blind', // nothing is seen of `trigger` since `since`: nothing goes on by itself
  'gate.evaluated', // the evidence `evidence_hash` says `outcome`
  'gate.reviewed', // somebody signed under `phase`, or said what a week was like
  'gate.refused', // somebody who may not sign, or was not asked to
  'replay.asked', // scenarios or recorded submits are put to the door of `snapshot`; nothing is done
  'replay.run', // what came of it, and `log_hash` over the log of its denials
  'replay.failed',
  'writer.started',
  'writer.closed', // by the integrator, of `writer`, whose chain ends at `last_seq` and `last_hash`
] as const
export type FactKind = (typeof FACT_KINDS)[number]

export type Scalar = string | number | boolean | null

/** The fields that are known by name. More may be added freely, as long as they are flat; `undefined` is left out of the entry. */
interface KnownFields {
  job_id?: string
  run_id?: string | null
  topic?: string
  agent?: string
  decision_id?: string
  approval_id?: string
  lease_id?: string
  decision?: string
  reason?: string | null
  /** Rule ids, joined: see `joined`. */
  rules?: string
  snapshot?: string
  job_hash?: string
  grant_hash?: string
  /** Salted: `saltedHash` in core/canonical.ts. */
  input_hash?: string
  result_hash?: string
  status?: string
  attempt?: number
  worker?: string
  effect_key?: string
  verdict?: string
  error_class?: string
  error_code?: string
  note?: string | null
  /** Of `writer.closed`: the writer that stopped and where its chain ends. */
  writer?: string
  last_seq?: number
  last_hash?: string
}

/** One thing that happened. `at` is epoch ms of the store's clock, `actor` the principal who caused it (`system:sweeper` for loops). */
export interface Fact extends KnownFields {
  kind: FactKind
  tenant: string
  at: number
  actor: string
  [field: string]: Scalar | undefined
}

/** A fact that cannot be written down: a nested value, a field name out of form, or text without a UTF-8 form. A bug of the caller. */
export class EntryError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'EntryError'
  }
}

/** Characters of one field. Beyond it the field is abridged, never refused: a refused entry would refuse the action it records. */
export const MAX_FIELD = 4096
const KEPT = 3000
const FIELD_NAME = /^[a-z][a-z0-9_]{0,63}$/

/** The fact as its one line of the log: canonical JSON (RFC 8785) of flat scalars, without a line break. Throws EntryError. */
export function entryLine(fact: Fact): string {
  const fields = sorted(Object.keys(fact))
  let line = '{'
  for (const field of fields) {
    const value = fact[field]
    if (value === undefined) continue
    if (typeof value === 'object' && value !== null) throw new EntryError(`field ${field} of ${fact.kind} is not flat`)
    line += line.length > 1 ? ',' : ''
    line += `${named(field)}${canonical(typeof value === 'string' ? abridged(value, field) : value)}`
  }
  return `${line}}`
}

/** Field names that passed, as they are written. They are words of this program, so it stays small. */
const NAMES = new Map<string, string>()

function named(field: string): string {
  const known = NAMES.get(field)
  if (known !== undefined) return known
  if (!FIELD_NAME.test(field)) throw new EntryError(`"${field}" is no field name of an entry`)
  const name = `"${field}":`
  NAMES.set(field, name)
  return name
}

function abridged(text: string, field: string): string {
  if (!isWellFormed(text)) throw new EntryError(`field ${field} has a lone surrogate`)
  if (text.length <= MAX_FIELD) return text
  const head = text.slice(0, KEPT)
  const whole = isWellFormed(head) ? head : text.slice(0, KEPT - 1) // never half a pair
  return `${whole}… sha256:${sha256(text)}`
}

/** A list as one flat field: sorted, comma between; a comma or percent sign inside an item is percent-encoded. */
export function joined(items: readonly string[]): string {
  return items
    .map((item) => item.replaceAll('%', '%25').replaceAll(',', '%2C'))
    .sort()
    .join(',')
}

/** What `joined` joined. */
export function listOf(field: Scalar | undefined): string[] {
  if (typeof field !== 'string' || field === '') return []
  return field.split(',').map((item) => item.replaceAll('%2C', ',').replaceAll('%25', '%'))
}

/** The entry a line holds, or null where it is not the canonical line of a flat object. For lines from outside. */
export function parseEntry(line: string): Record<string, Scalar> | null {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return null
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null
  const entry = value as Record<string, Scalar>
  for (const field of Object.values(entry)) if (typeof field === 'object' && field !== null) return null
  try {
    return canonical(entry) === line ? entry : null
  } catch {
    return null
  }
}

/** What a `writer.closed` entry says: whose chain ends, and with which tile. */
export interface Closing {
  writer: string
  last_seq: number
  last_hash: string
}

/** The closings among the lines of one tile, with their place in it. */
export function closingsIn(body: string, lines: readonly string[]): { at: number; closing: Closing }[] {
  if (!body.includes(CLOSED)) return [] // one search for the whole tile: parsing every entry costs more than hashing it
  const found: { at: number; closing: Closing }[] = []
  for (const [at, line] of lines.entries()) {
    const closing = line.includes(CLOSED) ? closingOf(line) : null
    if (closing) found.push({ at, closing })
  }
  return found
}

const CLOSED = '"writer.closed"'

/** What an `audit.archived` entry says: how far files hold the log, and the hash of the list of them. */
export interface Archiving {
  size: number
  archive_hash: string
}

/** The newest archiving among the lines of one tile. */
export function archivingIn(body: string, lines: readonly string[]): Archiving | null {
  if (!body.includes(ARCHIVED)) return null
  let newest: Archiving | null = null
  for (const line of lines) {
    const entry = line.includes(ARCHIVED) ? parseEntry(line) : null
    if (entry?.kind !== 'audit.archived') continue
    const { size, archive_hash } = entry
    if (typeof size === 'number' && typeof archive_hash === 'string' && size > (newest?.size ?? 0))
      newest = { size, archive_hash }
  }
  return newest
}

const ARCHIVED = '"audit.archived"'

function closingOf(line: string): Closing | null {
  const entry = parseEntry(line)
  if (entry?.kind !== 'writer.closed') return null
  const { writer, last_seq, last_hash } = entry
  if (typeof writer !== 'string' || typeof last_seq !== 'number' || typeof last_hash !== 'string') return null
  return { writer, last_seq, last_hash }
}
