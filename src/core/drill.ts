import type { Fact } from './audit.js'

/**
 * Drills: that a control holds is shown on the running installation, by somebody, in time, or it counts as not shown (G6). Pure: what was
 * found comes in, whether it passed and how long that counts goes out.
 */
export const DRILL_NAMES = [
  'deny',
  'approval',
  'worker-crash',
  'rollback',
  'incident-replay',
  'stop',
  'restore',
] as const
export type DrillName = (typeof DRILL_NAMES)[number]

export const isDrill = (name: unknown): name is DrillName => (DRILL_NAMES as readonly unknown[]).includes(name)

const DAY_MS = 86_400_000

export interface Drill {
  title: string
  /** ms between two runs. An installation may ask for it more often, never less. */
  every_ms: number
}

/**
 * The first four cadences are the deployment guide's. Incident replay and restore need people as a rollback does, so they go with it.
 * The stop button has two: whoever needs it has no time to find out that it is stuck, and it costs minutes.
 */
export const DRILLS: Record<DrillName, Drill> = {
  deny: { title: 'A forbidden action is refused, recorded, and leaves no job', every_ms: 7 * DAY_MS },
  approval: { title: 'A risky action waits for a person, and for nobody else', every_ms: 7 * DAY_MS },
  'worker-crash': {
    title: 'A worker is killed in the middle of an effect, and nothing runs twice',
    every_ms: 14 * DAY_MS,
  },
  rollback: { title: 'A candidate is taken back, timed, and what it did is undone', every_ms: 30 * DAY_MS },
  'incident-replay': { title: 'A run of the past is reconstructed end to end from the record', every_ms: 30 * DAY_MS },
  stop: { title: 'Work is stopped on every node, and two people resume it', every_ms: 14 * DAY_MS },
  restore: { title: 'A backup is restored elsewhere, and its log is whole', every_ms: 30 * DAY_MS },
}

/** The least time between two runs that may be asked for: more often than that is no drill but load. */
export const LEAST_EVERY_MS = 3_600_000
/** A result counts a seventh longer than its cadence: a weekly run that comes a day late leaves no gate without one. */
const GRACE = 7

/** Until when a result of this instant counts. Kept with the result, so that another cadence later changes nothing of it. */
export const validUntil = (at: number, every_ms: number): number => at + every_ms + Math.floor(every_ms / GRACE)

/** Runs that drills make are named so: what the traffic of an agent comes to by itself is no drill. */
export const DRILL_RUN = /^drill-/

/** What a run names that the server can look at itself. */
export interface Made {
  decision_id?: string
  job_id?: string
  approval_id?: string
  stop_id?: string
  run_id?: string
  rollout_id?: string
  /** Signed heads: the log's before the loss, and that of the copy which went on by itself; and the proof that the one begins the other, hex. */
  head?: string
  restored_head?: string
  proof?: string[]
}

/** What each drill has to name. */
export const MAKES: Record<DrillName, readonly (keyof Made)[]> = {
  deny: ['decision_id'],
  approval: ['job_id', 'approval_id'],
  'worker-crash': ['job_id'],
  rollback: ['rollout_id', 'job_id', 'decision_id'],
  'incident-replay': ['run_id'],
  stop: ['stop_id', 'decision_id', 'job_id'],
  restore: ['head', 'restored_head', 'proof'],
}

/** What is of one drill and of no other. An incident is looked back at as often as people like, and a copy is told by its tree. */
export const ONCE: Partial<Record<DrillName, keyof Made>> = {
  deny: 'decision_id',
  approval: 'approval_id',
  'worker-crash': 'job_id',
  rollback: 'rollout_id',
  stop: 'stop_id',
}

/** Which of them a report leaves out. */
export const lackingOf = (drill: DrillName, made: Made): (keyof Made)[] =>
  MAKES[drill].filter((name) => made[name] === undefined)

/** ms. `rpo_ms`: how old what was restored is at the loss; `rto_ms`: from the loss until it serves again. */
export const FIGURES = ['detection_ms', 'stop_ms', 'compensation_ms', 'recovery_ms', 'rto_ms', 'rpo_ms'] as const
export type Figure = (typeof FIGURES)[number]
export type Figures = Partial<Record<Figure, number>>

/** What only who played it can have timed: a worker was killed, a candidate went wrong, a backup was brought up. */
const OWN_FIGURES: Partial<Record<DrillName, readonly Figure[]>> = {
  'worker-crash': ['detection_ms'],
  rollback: ['detection_ms'],
  restore: ['rto_ms', 'rpo_ms'],
}

/** Of the figures that somebody reports, those that nobody else can measure. */
export const ownFigures = (drill: DrillName, reported: Figures): Figures =>
  Object.fromEntries(
    (OWN_FIGURES[drill] ?? []).flatMap((name) => (reported[name] === undefined ? [] : [[name, reported[name]]])),
  )

/** One thing that has to hold. `by` the reporter, who played it, or the server, which looked for itself. */
export interface DrillCheck {
  by: 'reporter' | 'server'
  name: string
  pass: boolean
  detail: string
}

export const MOST_CHECKS = 50
export const MOST_NAME = 120
export const MOST_DETAIL = 500
/** What a drill made has to be of the last hour when it is reported, or one good day could be reported for ever. */
export const FRESH_MS = 3_600_000

/** A drill that was run. Never changed afterwards. */
export interface DrillRun {
  tenant: string
  drill_id: string
  drill: DrillName
  outcome: 'passed' | 'failed'
  /** When it was recorded, by the store's clock. */
  at: number
  valid_until: number
  took_ms: number
  made: Made
  checks: DrillCheck[]
  figures: Figures
  recorded_by: string
}

export type Reported = Omit<DrillCheck, 'by'>

/** What a run comes to: every check has to hold, those of both sides, and a side without any shows nothing. */
export function judged(
  reported: readonly Reported[],
  looked: readonly Reported[],
): Pick<DrillRun, 'outcome' | 'checks'> {
  const bounded = (by: DrillCheck['by'], all: readonly Reported[]): DrillCheck[] =>
    all.map(({ name, pass, detail }) => ({
      by,
      name: name.slice(0, MOST_NAME),
      pass,
      detail: detail.slice(0, MOST_DETAIL),
    }))
  const checks = [...bounded('reporter', reported), ...bounded('server', looked)]
  const holds = reported.length > 0 && looked.length > 0 && checks.every(({ pass }) => pass)
  return { outcome: holds ? 'passed' : 'failed', checks }
}

/** For the log: no word of the reporter's, but that it can be told whether a row was changed. */
export function runFact(run: DrillRun, run_hash: string): Fact {
  const { tenant, at, recorded_by, drill_id, drill, outcome, valid_until, took_ms, checks, figures } = run
  const failed = checks.filter(({ pass }) => !pass).length
  return {
    kind: 'drill.run',
    tenant,
    at,
    actor: recorded_by,
    ...{ drill_id, drill, outcome, valid_until, took_ms, checks: checks.length, failed, run_hash },
    ...figures,
  }
}

/** Who answers for a drill, and how often it is to be run. */
export interface DrillSchedule {
  tenant: string
  drill: DrillName
  /** A person, a team or a duty, as people call it. */
  owner: string
  every_ms: number
  /** Since when somebody answers for it, whoever that is by now. */
  since: number
  updated_at: number
  updated_by: string
}

export interface DrillStanding {
  passed: boolean
  at: number
  valid_until: number
  drill_id: string
}

/** What the newest result at this instant says; null where there is none. An older one that passed does not outlive a newer that failed. */
export function standingOf(runs: readonly DrillRun[], at: number): DrillStanding | null {
  let newest: DrillRun | null = null
  for (const run of runs)
    if (
      run.at <= at &&
      (newest === null || run.at > newest.at || (run.at === newest.at && run.drill_id > newest.drill_id))
    )
      newest = run
  if (newest === null) return null
  const { outcome, valid_until, drill_id } = newest
  return { passed: outcome === 'passed', at: newest.at, valid_until, drill_id }
}

/** Whether a gate that looks now is shown this drill. */
export const stands = (standing: DrillStanding | null, now: number): boolean =>
  standing?.passed === true && now < standing.valid_until

/** When the next run is due: at once after one that failed, and for a drill that somebody answers for and nobody ran. */
export function dueAt(standing: DrillStanding | null, schedule: DrillSchedule | null, name: DrillName): number | null {
  if (standing === null) return schedule?.since ?? null
  return standing.passed ? standing.at + (schedule?.every_ms ?? DRILLS[name].every_ms) : standing.at
}

/** From when on its owner is told that it was not run, or did not pass. Who is the first to own it gets one turn. */
export function overdueAt(lastPassed: number | null, { since, every_ms }: DrillSchedule): number {
  return Math.max(lastPassed ?? since, since) + every_ms
}
