import type { Fact } from './audit.js'
import type { Variation } from './scenario/document.js'
import type { RecordedReplayed } from './scenario/recorded.js'
import type { Replayed } from './scenario/run.js'

/** What a replay found counts for so long; then history and policy are others. */
export const VALID_MS = 7 * 86_400_000
/** Recorded submits looked at where nobody says, and at most: some ten seconds of a core. */
export const USUAL_RECORDED = 10_000
export const MOST_RECORDED = 100_000
/** The parser takes about a second for each MB and holds the node as long; the suite that comes along has 13 kB. */
export const MOST_TEXT = 131_072
/** A node that dies of a replay must not die of it for ever. Orderly restarts count too. */
export const MOST_TRIES = 10

/** What somebody wants put to a snapshot's door. */
export interface ReplayAsked {
  scenarios: { path: string; text: string }[]
  /** Submits recorded in [from, to), the newest `limit` of them. */
  recorded: { from: number | null; to: number; limit: number } | null
  /** How what the snapshot keeps back is asked otherwise: its own tests, and one of each kind of recorded submits. */
  generated: Variation[]
}

export interface ReplayProgress {
  scenario_runs: number
  recorded: number
}

export interface ReplayOutcome {
  /** Of the suite and of the policy's tests; null where neither was asked for. */
  suite: Replayed | null
  recorded: RecordedReplayed | null
}

/** Scenarios through a snapshot, with no side effects: asked for, worked out by the server, kept with its log. */
export interface Replay {
  tenant: string
  replay_id: string
  status: 'running' | 'done' | 'failed'
  digest: string
  active: string | null
  rollout_id: string | null
  candidate: string
  asked: ReplayAsked
  asked_by: string
  asked_at: number
  tries: number
  progress: ReplayProgress
  finished_at: number | null
  valid_until: number | null
  voided_at: number | null
  outcome: ReplayOutcome | null
  log_hash: string | null
  log_parts: number
  log_entries: number
  reason: string | null
}

/** What a gate reads of it. */
export interface ReplayCounts {
  /** Written ones alone: those of traffic would let the process that is judged say how much it was tried. */
  scenarios: number
  runs: number
  /** Recorded submits looked at. */
  recorded: number
  denied: number
  critical_bypasses: number
  bypasses: number
  overblocked: number
  unsafe_duplicates: number
}

export function countsOf({ suite, recorded }: ReplayOutcome): ReplayCounts {
  const sum = (of: (one: Replayed | RecordedReplayed) => number) =>
    [suite, recorded].reduce((total, one) => total + (one === null ? 0 : of(one)), 0)
  return {
    scenarios: suite?.scenarios ?? 0,
    runs: sum(({ runs }) => runs),
    recorded: recorded?.looked_at ?? 0,
    denied: sum(({ decided }) => decided.DENY),
    critical_bypasses: sum((one) => one.critical_bypasses),
    bypasses: sum(({ bypasses }) => bypasses),
    overblocked: suite?.overblocked ?? 0,
    unsafe_duplicates: sum((one) => one.unsafe_duplicates),
  }
}

export interface ReplayLog {
  hash: string
  parts: number
  entries: number
}

export interface ReplayStep {
  next: Replay
  facts: Fact[]
}

/** It ran to its end. A log that lacks an entry of a denial is a fault of the plane, and nothing is said by such a run. */
export function finish(replay: Replay, outcome: ReplayOutcome, log: ReplayLog, now: number, actor: string): ReplayStep {
  const counts = countsOf(outcome)
  if (log.entries !== counts.denied)
    return fail(replay, `the log has ${log.entries} entries of ${counts.denied} denials`, now, actor)
  const next: Replay = {
    ...replay,
    status: 'done',
    finished_at: now,
    valid_until: now + VALID_MS,
    outcome,
    progress: { scenario_runs: outcome.suite?.runs ?? 0, recorded: counts.recorded },
    log_hash: log.hash,
    log_parts: log.parts,
    log_entries: log.entries,
  }
  const { replay_id, asked_by, digest: snapshot, candidate, rollout_id, tenant } = replay
  const about = { replay_id, asked_by, snapshot, candidate, ...(rollout_id === null ? {} : { rollout_id }) }
  const logged = { log_hash: log.hash, log_entries: log.entries, valid_until: next.valid_until }
  return { next, facts: [{ kind: 'replay.run', tenant, at: now, actor, ...about, ...counts, ...logged }] }
}

export function fail(replay: Replay, reason: string, now: number, actor: string): ReplayStep {
  const next: Replay = { ...replay, status: 'failed', finished_at: now, reason }
  const { replay_id, asked_by, digest: snapshot, tenant } = replay
  return { next, facts: [{ kind: 'replay.failed', tenant, at: now, actor, replay_id, asked_by, snapshot, reason }] }
}
