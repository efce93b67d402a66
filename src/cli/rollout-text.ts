import type { Assignment, Rollout, RolloutStep, RolloutSummary } from '../contract/rollouts.js'
import type { RolloutDocument } from '../core/rollout/document.js'
import { duration, fields, instant, type Pair, type Terminal, table } from './terminal.js'

type Painted = Pick<Terminal, 'color' | 'width'>

const CELLS = 20

/** `█████···············`: a share that is not nothing shows at least one cell, and one that is not all never fills it. */
export function bar(percent: number): string {
  const least = percent > 0 ? 1 : 0
  const most = percent < 100 ? CELLS - 1 : CELLS
  const full = Math.min(most, Math.max(least, Math.round((percent / 100) * CELLS)))
  return '█'.repeat(full) + '·'.repeat(CELLS - full)
}

const percentText = (percent: number) => `${percent} %`

/** `agent agent:support-bot 1.9 → 2.0`; of a policy the short forms of its snapshots. */
function subjectText({ kind, name, candidate, stable }: RolloutSummary['subject']): string {
  const short = (version: string) => (kind === 'policy' ? `v1:${version.slice(0, 7)}` : version)
  const from = stable === null ? 'nothing' : short(stable)
  return `${kind} ${name === null ? '' : `${name} `}${from} → ${short(candidate)}`
}

const STATUS: Record<RolloutSummary['status'], string> = {
  draft: 'draft',
  running: 'running',
  paused: 'paused',
  promoted: 'promoted',
  rolled_back: 'rolled back',
}

function paintStatus(status: RolloutSummary['status'], { color }: Painted): (text: string) => string {
  if (status === 'promoted') return color.green
  if (status === 'rolled_back') return color.red
  if (status === 'paused') return color.yellow
  return status === 'running' ? color.cyan : (text) => text
}

export function rolloutTable(rollouts: readonly RolloutSummary[], terminal: Painted): string {
  return table(
    rollouts,
    [
      { title: 'ROLLOUT', of: ({ rollout_id }) => rollout_id, whole: true },
      { title: 'NAME', of: ({ rollout }) => rollout },
      { title: 'SUBJECT', of: ({ subject }) => subjectText(subject) },
      {
        title: 'STATUS',
        of: ({ status }) => STATUS[status],
        paint: (text, { status }) => paintStatus(status, terminal)(text),
      },
      { title: 'PHASE', of: ({ phase }) => `${phase.name} (${phase.n + 1} of ${phase.of})` },
      { title: 'SHARE', of: ({ share }) => percentText(share), right: true },
      { title: 'LEFT', of: (rollout) => leftText(rollout) },
    ],
    terminal,
  )
}

/** Of the minimum duration of the phase. */
function leftText({ phase: { left_ms } }: RolloutSummary): string | null {
  if (left_ms === null) return null
  return left_ms === 0 ? 'long enough' : `${duration(left_ms)} left`
}

/** Where it is and how it came there. Whatever was gone on with without its gate stands in it for good. */
export function rolloutText(rollout: Rollout, terminal: Painted): string {
  const { color } = terminal
  const { document, request } = rollout
  const { reliability, governance, cost } = document.owners
  const pairs: Pair[] = [
    ['rollout', `${rollout.rollout_id} ${rollout.rollout}`],
    ['subject', subjectText(rollout.subject)],
    ['status', STATUS[rollout.status], paintStatus(rollout.status, terminal)],
    ['because', rollout.ended_reason, color.red],
    ['share', `${percentText(rollout.share)} of ${riskText(rollout.phase.risk)}, drawn by ${document.routing}`],
    ['rest', document.rest],
    ['declared', `${instant(rollout.declared_at)} by ${rollout.declared_by}`],
    ['started', instant(rollout.started_at)],
    ['ended', instant(rollout.ended_at)],
    ['owners', `${reliability} (reliability), ${governance} (governance), ${cost} (cost)`],
    ['told', document.stakeholders.join(', ')],
    ['overridden', rollout.overridden ? 'yes: a phase was left without its gate' : null, color.yellow],
    [
      'asked for',
      request === null
        ? null
        : `to go on without the gate, by ${request.by} until ${instant(request.until)}: ${request.reason}`,
      color.yellow,
    ],
  ]
  return `${fields(pairs, color)}\n\n${phaseTable(rollout, terminal)}`
}

const riskText = (risk: RolloutSummary['phase']['risk']) => (risk === 'mixed' ? 'all work' : `${risk} work`)

interface PhaseLine {
  mark: string
  name: string
  share: number
  risk: string
  lasts: number
  state: string | null
}

function phaseTable(rollout: Rollout, terminal: Painted): string {
  const { status, phase, document, steps } = rollout
  const lines = document.phases.map(({ name, share_bp, risk, min_duration_ms: lasts }, n): PhaseLine => {
    const step = steps.find((each) => each.phase === n)
    const isHere = n === phase.n && status !== 'draft' && step === undefined
    const mark = step !== undefined ? '✓' : !isHere ? '' : status === 'rolled_back' ? '✗' : '▶'
    const state = step !== undefined ? stepText(step) : isHere ? hereText(rollout) : null
    return { mark, name, share: share_bp / 100, risk, lasts, state }
  })
  return phaseLines(lines, terminal)
}

function hereText(rollout: Rollout): string | null {
  if (rollout.status === 'rolled_back') return 'rolled back here'
  const left = leftText(rollout)
  return rollout.status === 'paused' ? `paused, ${left}` : left
}

function stepText({ how, by, asked_by, reason, evidence_hash }: RolloutStep): string {
  if (how === 'override') return `overridden by ${asked_by} and ${by}: ${reason}`
  return `on evidence ${evidence_hash?.slice(0, 8)} by ${by}`
}

function phaseLines(lines: readonly PhaseLine[], terminal: Painted): string {
  const { color } = terminal
  const paint = (text: string, { mark, state }: PhaseLine) => {
    if (mark === '✗') return color.red(text)
    if (state?.startsWith('overridden')) return color.yellow(text)
    return mark === '▶' ? color.cyan(text) : mark === '✓' ? color.green(text) : color.dim(text)
  }
  const isDrawn = lines.some(({ mark }) => mark !== '')
  const columns = [
    { title: '', of: ({ mark }: PhaseLine) => mark, paint, whole: true as const },
    { title: 'PHASE', of: ({ name }: PhaseLine) => name },
    { title: 'SHARE', of: ({ share }: PhaseLine) => bar(share), paint, whole: true as const },
    { title: '', of: ({ share }: PhaseLine) => percentText(share), right: true as const },
    { title: 'RISK', of: ({ risk }: PhaseLine) => risk },
    { title: 'LASTS', of: ({ lasts }: PhaseLine) => duration(lasts) },
    { title: '', of: ({ state }: PhaseLine) => state ?? '' },
  ]
  // Of what has not begun there is nothing to mark and nothing to tell.
  return table(lines, isDrawn ? columns : columns.slice(1, -1), terminal)
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}

/** What a declaration would be: before there is a rollout of it. */
export function documentText(document: RolloutDocument, digest: string, terminal: Painted): string {
  const head = fields(
    [
      ['rollout', document.rollout],
      ['subject', subjectText(document.subject)],
      ['declaration', digest],
    ],
    terminal.color,
  )
  const lines = document.phases.map(
    ({ name, share_bp, risk, min_duration_ms: lasts }): PhaseLine => ({
      ...{ mark: '', name, share: share_bp / 100, risk, lasts, state: null },
    }),
  )
  return `${head}\n\n${phaseLines(lines, terminal)}`
}

export function assignmentText(assignment: Assignment, { color }: Painted): string {
  const { variant, version, beyond, bucket, key, reason, risk } = assignment
  const who = (one: Pick<Assignment, 'variant' | 'version'>) =>
    one.version === null ? one.variant : `${one.variant} ${one.version}`
  const isSame = beyond.variant === variant
  return fields(
    [
      ['key', key],
      ['goes to', who({ variant, version }), variant === 'candidate' ? color.cyan : undefined],
      ['bucket', bucket],
      ['because', reason],
      ['other work', isSame ? null : `what is not ${risk} goes to ${who(beyond)}`],
    ],
    color,
  )
}
