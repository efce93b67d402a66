import type { Approval } from '../contract/approvals.js'
import type { Accepted, Job, Result, TimelineEntry } from '../contract/jobs.js'
import {
  type Colors,
  duration,
  fields,
  instant,
  jsonLine,
  jsonText,
  type Pair,
  printable,
  type Terminal,
  table,
} from './terminal.js'

/** The nouns of the API as people read them. Everything that came from outside goes through `fields`, `table` or `printable`. */

type Paint = (text: string) => string

export function paintWord(word: string, color: Colors): Paint {
  if (['succeeded', 'ALLOW', 'approved', 'active', 'ok', 'pass'].includes(word)) return color.green
  if (
    ['DENY', 'denied', 'rejected', 'dead_letter', 'quarantined', 'QUARANTINE', 'void', 'fail', 'error'].includes(word)
  )
    return color.red
  if (['REQUIRE_APPROVAL', 'pending_approval', 'pending', 'ambiguous', 'retrying', 'REDACT', 'warning'].includes(word))
    return color.yellow
  if (['ALLOW_WITH_CONSTRAINTS', 'running'].includes(word)) return color.cyan
  return (text) => text
}

const listed = (words: readonly string[]): string | null => (words.length === 0 ? null : words.join(', '))

/** `name=value` of each; null for none. A value that could be read as more than one of them is quoted. */
export function settings(values: Record<string, unknown> | null | undefined): string | null {
  const entries = Object.entries(values ?? {})
  if (entries.length === 0) return null
  return entries.map(([name, value]) => `${plain(name)}=${plain(value)}`).join('  ')
}

const plain = (value: unknown): string =>
  typeof value === 'string' && /^[^\s="]+$/.test(value) ? value : jsonLine(value)

/** JSON for a value that may be long; null where there is nothing. */
const block = (value: unknown): string | null => (value === null || value === undefined ? null : jsonText(value))

/** What the first door said about an accepted job. */
export function acceptedText(accepted: Accepted, { color }: Terminal): string {
  const approval: Pair[] =
    accepted.approval_id === undefined
      ? []
      : [
          ['approval', accepted.approval_id],
          ['grant hash', accepted.grant_hash],
        ]
  return fields(
    [
      ['decision', accepted.decision, paintWord(accepted.decision, color)],
      ['reason', accepted.reason],
      ['rules', listed(accepted.rules)],
      ['constraints', settings(accepted.constraints)],
      ['job', accepted.job_id],
      ['status', accepted.status, paintWord(accepted.status, color)],
      ['run', accepted.run_id],
      ...approval,
      ['policy', accepted.policy_snapshot],
    ],
    color,
  )
}

/** A denial at the first door, from its problem document. */
export function denialText(
  problem: { reason?: string; rules?: string[]; decision_id?: string; policy_snapshot?: string },
  { color }: Terminal,
): string {
  return fields(
    [
      ['decision', 'DENY', color.red],
      ['reason', problem.reason],
      ['rules', listed(problem.rules ?? []) ?? 'none matches'],
      ['record', problem.decision_id],
      ['policy', problem.policy_snapshot],
    ],
    color,
  )
}

export function jobText(job: Job, { color }: Terminal): string {
  const effects = (job.effects ?? []).map(
    (effect) => `${effect.key}  ${effect.status}  attempt ${effect.attempt}  ${instant(effect.begun_at)}`,
  )
  return fields(
    [
      ['job', job.job_id],
      ['topic', job.topic],
      ['status', job.status, paintWord(job.status, color)],
      ['why', job.status_reason],
      ['agent', job.agent === job.requested_by ? job.agent : `${job.agent} (asked for by ${job.requested_by})`],
      ['version', job.agent_version],
      ['rollout', job.rollout_id === null ? null : `${job.rollout_id} (${job.variant})`],
      ['labels', settings(job.labels)],
      ['risk tags', listed(job.risk_tags)],
      ['environment', job.environment],
      ['action', listed([job.action_type, job.capability, job.action].filter((word) => word !== null))],
      ['decision', job.decision, paintWord(job.decision, color)],
      ['reason', job.reason],
      ['rules', listed(job.rules)],
      ['constraints', settings(job.constraints)],
      ['high risk', job.high_risk ? 'yes' : null, color.yellow],
      ['policy', job.policy_snapshot],
      ['approval', job.approval_id],
      ['granted by', job.granted_by],
      ['revises', job.revises],
      ['feedback', job.feedback],
      ['attempt', `${job.attempt} of ${job.max_attempts}, ${duration(job.timeout_ms)} each`],
      ['effects', effects.join('\n')],
      ['progress', block(job.progress)],
      ['error', job.error === null ? null : `${job.error.code} (${job.error.class}): ${job.error.message}`, color.red],
      ['result', job.verdict, paintWord(job.verdict ?? '', color)],
      ['cancel', job.cancel_requested ? 'requested' : null, color.yellow],
      ['owner', job.owner],
      ['respond by', instant(job.respond_by)],
      ['run', job.workflow === null ? job.run_id : `${job.run_id} of ${job.workflow}`],
      ['created', instant(job.created_at)],
      ['finished', instant(job.finished_at)],
    ],
    color,
  )
}

export function jobTable(jobs: readonly Job[], terminal: Terminal): string {
  return table(
    jobs,
    [
      { title: 'JOB', of: (job) => job.job_id, whole: true },
      { title: 'STATUS', of: (job) => job.status, paint: (text, job) => paintWord(job.status, terminal.color)(text) },
      { title: 'TOPIC', of: (job) => job.topic },
      { title: 'AGENT', of: (job) => job.agent },
      { title: 'TRY', of: (job) => job.attempt, right: true },
      { title: 'CREATED', of: (job) => instant(job.created_at) },
      { title: 'WHY', of: (job) => job.status_reason ?? job.reason },
    ],
    terminal,
  )
}

/** The verdict, then what may be read of the output. */
export function resultText(result: Result, { color }: Terminal): string {
  const output = typeof result.output === 'string' ? result.output : jsonText(result.output)
  return fields(
    [
      ['verdict', result.verdict, paintWord(result.verdict, color)],
      ['findings', result.findings.map(jsonLine).join('\n')],
      ['released by', result.released_by],
      ['output', output],
    ],
    color,
  )
}

/** Facts that the line shows anyway, or that only machines read; `--json` has them all. */
const UNTOLD = new Set([
  'tenant',
  'job_id',
  'run_id',
  'topic',
  'agent',
  'budget_from',
  'due_at',
  'queue_deadline',
  'finished_at',
  'hard_end',
])
/** Hashes and ids prove, they do not tell. */
const PROOF = /(_hash|_id|^snapshot)$/

export function timelineLine(entry: TimelineEntry, { color }: Terminal): string {
  const tells = ([name, value]: [string, unknown]) =>
    !UNTOLD.has(name) && !PROOF.test(name) && value !== null && value !== '' && value !== false
  const facts = Object.entries(entry.facts).filter(tells)
  const told = facts.map(
    ([name, value]) =>
      `${color.dim(`${printable(name)}=`)}${printable(typeof value === 'string' ? value : jsonLine(value))}`,
  )
  return [color.dim(instant(entry.at) ?? ''), printable(entry.kind).padEnd(20), printable(entry.actor), ...told].join(
    '  ',
  )
}

/**
 * Everything a reviewer approves by approving: all that the job hash covers, because what is missing here would be approved
 * unseen. `record` is the job itself, which holds the parts that an approval does not repeat.
 */
export function approvalText(approval: Approval, record: Job | null, terminal: Terminal, now: number): string {
  const { color } = terminal
  const { job } = approval
  const asks = approval.specs.map(flowText)
  const answers = approval.answers.map(
    ({ by, for: absent, answer, at, note }) =>
      `${answer} by ${by}${absent === undefined ? '' : ` for ${absent}`}, ${instant(at)}${note ? `: ${note}` : ''}`,
  )
  const edits = approval.edits.map(
    ({ by, at, note, paths }) =>
      `${paths.join(', ') || 'input'} by ${by}, ${instant(at)}${note === null ? '' : `: ${note}`}`,
  )
  const left = approval.expires_at - now
  const expiry =
    approval.status === 'pending' && left > 0
      ? `${instant(approval.expires_at)} (in ${duration(left)})`
      : instant(approval.expires_at)
  return fields(
    [
      ['approval', approval.approval_id],
      ['status', approval.status, paintWord(approval.status, color)],
      ['topic', approval.topic],
      ['agent', approval.agent],
      ['asked by', approval.requested_by],
      ['asked at', instant(approval.requested_at)],
      ['expires', expiry],
      ['valid until', instant(approval.valid_until)],
      ['reason', approval.reason],
      ['rules', listed(approval.rules)],
      ['needs', asks.join('\n')],
      ['asked now', askedNow(approval), approval.open.some(isUnanswerable) ? color.red : undefined],
      ['constraints', settings(approval.constraints)],
      ['labels', settings(asRecord(job?.labels))],
      ['risk tags', Array.isArray(job?.risk_tags) ? listed(job.risk_tags.map(String)) : null],
      ['environment', block(job?.environment)],
      ['action type', block(job?.action_type)],
      ['capability', record?.capability],
      ['action', record?.action],
      ['workflow', record?.workflow],
      ['attempts', record === null ? null : `at most ${record.max_attempts}, ${duration(record.timeout_ms)} each`],
      ['input', block(job?.input)],
      ['context', block(job?.context)],
      ['edited', edits.join('\n')],
      ['answers', answers.join('\n')],
      ['job', approval.job_id],
      ['policy', approval.policy_snapshot],
      ['job hash', approval.job_hash],
      ['grant hash', `${approval.grant_hash}\n${approval.short_hash}`, color.bold],
    ],
    color,
  )
}

const isUnanswerable = ({ unanswerable_since }: Approval['open'][number]) => unanswerable_since !== undefined

/** Who is asked, and where that is too few, how many are missing: nobody waits long for an answer that cannot come. */
function askedNow({ status, asked_of, open }: Approval): string | null {
  if (status !== 'pending') return null
  const lacking = open.filter(isUnanswerable)
  const short = lacking.map(
    ({ flow, level, missing }) => `level ${level + 1} of flow ${flow + 1} needs ${missing} more`,
  )
  // Where a role is asked that nobody has, an admin may stand in.
  const names = listed(asked_of) ?? (short.length === 0 ? 'nobody by name' : 'nobody')
  return short.length === 0 ? names : `${names}: too few, ${short.join(', ')}`
}

/** One flow in a line: who, by when, and what then. */
function flowText(spec: Approval['specs'][number]): string {
  const asked = ({ need, from, within_ms }: { need: number; from: readonly string[]; within_ms: number }) =>
    `${need} of ${from.join(', ')} within ${duration(within_ms)}`
  const levels = (spec.levels ?? [spec]).map(asked).join(spec.order === 'parallel' ? ' and ' : ', then ')
  const rungs = (spec.ladder ?? []).map(({ from, after_ms }) => `${from.join(', ')} for ${duration(after_ms)}`)
  const late =
    spec.then === 'deny' ? 'else it expires' : `else escalate${rungs.length > 0 ? ` to ${rungs.join(', ')}` : ''}`
  return `${levels}, ${late}; good for ${duration(spec.valid_for_ms)}`
}

function asRecord(value: unknown): Record<string, unknown> | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null
}

/** Under a list that has more pages; null on the last. */
export function moreLine(next_cursor: string | null): string | null {
  return next_cursor === null ? null : `more: --cursor ${next_cursor}`
}
