import type { Approval } from '../../core/approval.js'
import type { Tile } from '../../core/audit/tile.js'
import type { Fact } from '../../core/audit.js'
import type { Autonomy } from '../../core/autonomy.js'
import type { Breaker } from '../../core/breaker.js'
import type { Channel } from '../../core/channel.js'
import type { DrillRun, DrillSchedule } from '../../core/drill.js'
import type { Absence } from '../../core/flow.js'
import type { RolloutReview } from '../../core/gates/review.js'
import type { GrantRow } from '../../core/grant.js'
import { decisionIdOf, type Job } from '../../core/job.js'
import type { Effect, Lease } from '../../core/lease.js'
import type { Principal, Team } from '../../core/principal.js'
import type { Attestation } from '../../core/readiness/facts.js'
import type { Replay } from '../../core/replay.js'
import type { Compensation, Recovery } from '../../core/rollout/compensation.js'
import { samplesOf } from '../../core/rollout/sample.js'
import type { Account, Subject } from '../../core/sign-on.js'
import type { Stop } from '../../core/stop.js'
import type { OpenedWorkflow } from '../../core/workflow.js'
import type { Db, Param } from '../../platform/db/seam.js'
import type { ArchiveFileRow } from '../archives.js'
import { type DecisionRow, verdictOf } from '../decisions.js'
import type { EvidenceRow } from '../evidence.js'
import type { IdempotencyRow } from '../idempotency.js'
import { jobRow, jobUpdate } from '../jobs.js'
import type { KeyRow } from '../keys.js'
import { leaseEnd, leaseRow } from '../leases.js'
import { ownPayload, type PayloadRow, pointerTo, salted } from '../payloads.js'
import type { RolloutStored } from '../rollouts.js'
import type { GroupRow } from '../sign-on.js'
import type { SnapshotRow } from '../snapshots.js'
import { textArray } from '../text-array.js'
import { COMMIT_ADMIN, commitOf, PART_NAMES, type PartName, type Statement } from './statement.js'

/** Rows one step wants written. An update carries version = the one it read + 1; another version in the table loses. */
export interface Rows {
  insertJobs?: Job[]
  updateJobs?: Job[]
  payloads?: PayloadRow[]
  /** Pointers whose text is erased (a redacted raw, an expired or discarded quarantine). The row stays, its body goes. */
  erase?: { tenant: string; ptr: string }[]
  decisions?: DecisionRow[]
  insertApprovals?: Approval[]
  updateApprovals?: Approval[]
  insertLeases?: Lease[]
  updateLeases?: Lease[]
  /** Only a live lease is beaten. */
  beats?: Pick<Lease, 'tenant' | 'lease_id' | 'beat_at' | 'expires_at' | 'progress'>[]
  effects?: Effect[]
  idempotency?: IdempotencyRow[]
  evidence?: EvidenceRow[]
  reviews?: RolloutReview[]
  /** A stored snapshot becomes the active one with the end of the job that asked for it; `epoch` follows the one the job was let through under. */
  activations?: { tenant: string; digest: string; replaced: string | null; epoch: number; at: number }[]
  compensations?: Compensation[]
  recoveries?: Recovery[]
}

/** Rare rows: they go in a batch of their own, so that the hot statement stays small. */
export interface AdminRows {
  snapshots?: SnapshotRow[]
  /** The gate moves: from its return nothing commits under the old values. */
  gates?: { tenant: string; snapshot: string | null; epoch: number; file_digest: string | null }[]
  keys?: KeyRow[]
  principals?: Principal[]
  teams?: Team[]
  removedTeams?: { tenant: string; team: string }[]
  archives?: ArchiveFileRow[]
  accounts?: Account[]
  subjects?: Subject[]
  removedSubjects?: Pick<Subject, 'tenant' | 'principal'>[]
  signOnGroups?: GroupRow[]
  removedSignOnGroups?: Pick<GroupRow, 'tenant' | 'group_name'>[]
  channels?: Channel[]
  removedChannels?: { tenant: string; channel: string }[]
  autonomy?: Autonomy[]
  workflows?: OpenedWorkflow[]
  stops?: Stop[]
  breakers?: Breaker[]
  attestations?: Attestation[]
  absences?: Absence[]
  grants?: GrantRow[]
  rollouts?: RolloutStored[]
  replays?: Replay[]
  drillRuns?: DrillRun[]
  drillSchedules?: DrillSchedule[]
}

export interface Spend {
  tenant: string
  key: string
  kind: 'rate' | 'held' | 'release'
  /** Refused when the count after this one would pass it. Release has none. */
  max: number
  /** For rate: start of the window and its length, ms. */
  window_start: number
  period_ms: number
  at: number
}

/** Places under `concurrent` limits given back. */
export function releases(tenant: string, keys: readonly string[], at: number): Spend[] {
  return keys.map((key) => ({ tenant, key, kind: 'release', max: 0, window_start: 0, period_ms: 1, at }))
}

export interface GateView {
  snapshot: string | null
  epoch: number
}

/** One intent as the statement sees it: `n` is its place in the batch. */
export interface Entry {
  n: number
  tenant: string
  gate: GateView | null
  rows: Rows
  spends: Spend[]
  facts: readonly Fact[]
}

export type Conflict = 'gate' | 'version' | 'idempotency' | 'limit'
export interface Loser {
  /** Place of the intent in the batch; -1 where the batch as a whole lost. */
  n: number
  /**
   * `fenced`: others took this process for dead and closed its chain; the batch is sealed anew under another name. `chain`: the
   * commit before this one did not happen, so its tile follows nothing.
   */
  why: Conflict | 'fenced' | 'chain'
}

export interface TileWrites {
  tiles: Tile[]
  writers: { tenant: string; writer: string; public_key: string; started_at: number }[]
}

/** Sends one batch; returns its losers, in which case nothing was written. */
export async function writeBatch(
  db: Db,
  batchId: string,
  at: number,
  entries: readonly Entry[],
  audit: TileWrites,
): Promise<Loser[]> {
  const all = <Name extends keyof Rows>(name: Name) =>
    entries.flatMap((e): NonNullable<Rows[Name]>[number][] => (e.rows[name] ?? []) as never)
  const tiles = new Map(audit.tiles.map((tile) => [tile.tenant, `${tile.writer}/${tile.seq} `]))
  const texts = new Texts()
  const views = new Views(entries)
  const rows: Record<string, readonly unknown[]> = {
    ...placed(entries, texts, (tenant) => tiles.get(tenant) ?? ''),
    spends: entries.flatMap((e) => e.spends.map((s) => ({ n: e.n, ...s }))),
    idempotency: entries.flatMap((e) => (e.rows.idempotency ?? []).map((row) => ({ n: e.n, ...row }))),
    approvals: all('insertApprovals'),
    answered: all('updateApprovals'),
    ended: all('updateLeases').map(leaseEnd),
    effects: all('effects'),
    beats: all('beats'),
    erase: all('erase'),
    evidence: all('evidence'),
    reviews: all('reviews'),
    activations: entries.flatMap((e) => (e.rows.activations ?? []).map((row) => ({ n: e.n, ...row }))),
    views: views.rows,
    compensations: entries.flatMap((e) => (e.rows.compensations ?? []).map((row) => ({ n: e.n, ...row }))),
    recoveries: entries.flatMap((e) => (e.rows.recoveries ?? []).map((row) => ({ n: e.n, ...row }))),
    rolloutTiles: rolloutTiles(
      entries.flatMap(({ facts }) => facts),
      audit,
    ),
    samples: sampled(entries, audit),
    ...tileRows(audit, texts),
  }
  const statement = commitOf(PART_NAMES.filter((part) => HOLDS[part].some((name) => rows[name]?.length)))
  const losers = await send(db, statement, batchId, at, rows, texts)
  return losers.flatMap((loser) => (loser.why === 'gate' ? views.holders(loser.n) : [loser]))
}

/** What a part writes: it is left out where there is none of it. */
const HOLDS: Record<PartName, readonly string[]> = {
  moved: ['moved'],
  jobs: ['jobs'],
  leases: ['leases'],
  ended: ['ended'],
  idempotency: ['idempotency'],
  spends: ['spends'],
  beats: ['beats'],
  effects: ['effects'],
  texts: ['payloads', 'decisions'],
  people: ['approvals', 'answered'],
  activations: ['activations'],
  undoing: ['compensations', 'recoveries'],
  gates: ['evidence', 'reviews'],
  samples: ['samples'],
  rare: ['writers', 'spoken', 'rolloutTiles', 'erase'],
}

/** What rollouts are measured by, each with the tile that its step's facts are in. */
function sampled(entries: readonly Entry[], { tiles }: TileWrites): object[] {
  const found: object[] = []
  for (const { rows, facts } of entries)
    for (const sample of samplesOf(rows, facts)) {
      const tile = tiles.find((each) => each.tenant === sample.tenant)
      if (tile !== undefined) found.push({ ...sample, writer: tile.writer, seq: tile.seq, n: found.length })
    }
  return found
}

/** Of the entries about rollouts themselves; those of their jobs are found by the jobs. */
function rolloutTiles(facts: readonly Fact[], { tiles }: TileWrites): object[] {
  const found = new Map<string, object>()
  for (const { kind, tenant, rollout_id } of facts) {
    if (!kind.startsWith('rollout.') || typeof rollout_id !== 'string') continue
    const tile = tiles.find((each) => each.tenant === tenant)
    if (tile !== undefined)
      found.set(`${tenant}/${rollout_id}`, { tenant, rollout_id, writer: tile.writer, seq: tile.seq })
  }
  return [...found.values()]
}

/** Under which values of their gate the steps were decided: a hundred of one tenant nearly always share theirs. */
class Views {
  readonly rows: { n: number; tenant: string; snapshot: string | null; epoch: number }[] = []
  readonly #holders: number[][] = []

  constructor(entries: readonly Entry[]) {
    const places = new Map<string, number>()
    for (const { n, tenant, gate } of entries) {
      if (gate === null) continue
      const name = `${tenant}/${gate.epoch}/${gate.snapshot}`
      const place = places.get(name) ?? this.rows.length
      if (place === this.rows.length) {
        places.set(name, place)
        this.rows.push({ n: place, tenant, snapshot: gate.snapshot, epoch: gate.epoch })
        this.#holders.push([])
      }
      this.#holders[place]?.push(n)
    }
  }

  /** The steps that lose with a view. */
  holders(place: number): Loser[] {
    return (this.#holders[place] ?? []).map((n) => ({ n, why: 'gate' }))
  }
}

/** Texts of any length, sent beside the rows: a row has the place of its text. */
class Texts {
  readonly #texts: string[] = []

  /** Counted from 1, as the engine does. */
  place(text: string | null): number | null {
    return text === null ? null : this.#texts.push(text)
  }

  get param(): Uint8Array {
    return textArray(this.#texts)
  }
}

const tileRows = ({ tiles, writers }: TileWrites, texts: Texts) => ({
  tiles: tiles.map((tile) => ({ first_index: null, ...tile, body: texts.place(tile.body) })),
  chain: tiles.map(({ tenant, writer, seq, prev_hash }) => ({ tenant, writer, seq, prev_hash })),
  writers,
})

function send(
  db: Db,
  { sql, params }: Statement,
  batchId: string,
  at: number,
  rows: Record<string, readonly unknown[] | undefined>,
  texts: Texts,
): Promise<Loser[]> {
  const own: Record<string, Param> = { batch: batchId, at, texts: texts.param }
  const values = params.map((name) => own[name] ?? (rows[name]?.length ? JSON.stringify(rows[name]) : '[]'))
  return db.query<Loser>(sql, values, 'ledger')
}

/** Rows where they stand: payloads and decisions with the job or lease they belong to, where there is one. */
function placed(entries: readonly Entry[], sent: Texts, tileOf: (tenant: string) => string) {
  const jobs: object[] = []
  const moved: object[] = []
  const leases: object[] = []
  const payloads: object[] = []
  const decisions: object[] = []
  const spoken = new Map<string, object>()
  for (const { n, rows, facts } of entries) {
    const texts = new Map<string, number | null>()
    for (const payload of rows.payloads ?? []) {
      if (ownPayload(payload.ptr) === null) payloads.push({ ...payload, body: sent.place(payload.body) })
      else texts.set(payload.ptr, sent.place(salted(payload)))
    }
    const verdicts = new Map((rows.decisions ?? []).map((row) => [row.decision_id, row]))
    const take = (id: string): DecisionRow => {
      const found = verdicts.get(decisionIdOf(id))
      if (found === undefined) throw new Error(`${id} comes without the decision that made it`)
      verdicts.delete(found.decision_id)
      return found
    }
    const said = new Set<string>()
    for (const job of rows.insertJobs ?? []) {
      said.add(job.job_id)
      jobs.push({
        input: texts.get(job.input_ptr ?? '') ?? null,
        context: texts.get(job.context_ptr ?? '') ?? null,
        tiles: tileOf(job.tenant),
        ...jobRow(job, verdictOf(take(job.job_id))),
      })
    }
    for (const job of rows.updateJobs ?? []) {
      said.add(job.job_id)
      moved.push({
        n,
        result: texts.get(pointerTo(job.job_id, 'result')) ?? null,
        tiles: tileOf(job.tenant),
        ...jobUpdate(job),
      })
    }
    for (const lease of rows.insertLeases ?? []) {
      const decided = take(lease.lease_id)
      leases.push(leaseRow(lease, { job_hash: decided.job_hash, ...verdictOf(decided) }))
    }
    for (const row of verdicts.values())
      decisions.push({ ...row, tile: row.job_id === null ? tileOf(row.tenant) : null })
    for (const { tenant, job_id } of facts)
      if (typeof job_id === 'string' && !said.has(job_id))
        spoken.set(`${tenant}/${job_id}`, { tenant, job_id, tiles: tileOf(tenant) })
  }
  for (const job of [...jobs, ...moved] as { tenant: string; job_id: string }[])
    spoken.delete(`${job.tenant}/${job.job_id}`)
  return { jobs, moved, leases, payloads, decisions, spoken: [...spoken.values()] }
}

export function writeAdmin(
  db: Db,
  batchId: string,
  at: number,
  rows: AdminRows,
  audit: TileWrites,
  facts: readonly Fact[] = [],
): Promise<Loser[]> {
  const texts = new Texts()
  const all = { ...rows, rolloutTiles: rolloutTiles(facts, audit), ...tileRows(audit, texts) }
  return send(db, COMMIT_ADMIN, batchId, at, all, texts)
}
