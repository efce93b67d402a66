import type { Claim, Job } from '../core/job.js'
import type { CompiledPolicy } from '../core/policy/compile.js'
import type { OnRollback, Rest, RiskFilter, RolloutDocument, Subject } from '../core/rollout/document.js'
import {
  type Drawn,
  draw,
  drawnOf,
  isCurrent,
  isUnderCandidate,
  type RolloutSlice,
  servesText,
} from '../core/rollout/draw.js'
import type { Rollout, RolloutStatus } from '../core/rollout/step.js'
import type { Db } from '../platform/db/seam.js'
import { decodeCursor, type Page, page } from './cursor.js'
import type { Active, Policies } from './policies.js'
import type { Gate } from './standing.js'

/** A rollout with when it was declared and begun. */
export interface RolloutRow extends Rollout {
  declared_at: number
  started_at: number | null
}

/** As it is stored: what the doors read of it in columns of its own. */
export interface RolloutStored {
  tenant: string
  rollout_id: string
  version: number
  name: string
  kind: Subject['kind']
  subject: string | null
  candidate: string
  stable: string | null
  status: RolloutStatus
  phase: number
  share_bp: number
  risk: RiskFilter
  rest: Rest
  routing: RolloutDocument['routing']
  on_rollback: OnRollback
  document: RolloutDocument
  declaration: string
  declared_by: string
  declared_at: number
  started_at: number | null
  ended_at: number | null
  state: Pick<
    Rollout,
    | 'phase_at'
    | 'served_ms'
    | 'since'
    | 'steps'
    | 'request'
    | 'overridden'
    | 'ended_reason'
    | 'ended_by'
    | 'ended_trigger'
  >
}

const S = 'rollout_id, kind, subject, candidate, stable, status, share_bp, risk, rest, routing, on_rollback'
export const ROLLOUT_COLUMNS = `tenant, rollout_id, version, name, kind, subject, candidate, stable, status, phase, share_bp, risk, rest, routing, on_rollback, document,
    declaration, declared_by, declared_at, started_at, ended_at, state`
export const ROLLOUT_MUTABLE = 'version, status, phase, share_bp, risk, started_at, ended_at, state'
const C = ROLLOUT_COLUMNS
const GET = `SELECT ${C} FROM rollouts WHERE tenant = $1 AND rollout_id = $2`
const LIST = `SELECT ${C} FROM rollouts WHERE tenant = $1 AND rollout_id < $2 AND ($3::text IS NULL OR status = $3)
  ORDER BY rollout_id DESC LIMIT $4`
/** Live ones of a subject: there is one at most. */
const OF_SUBJECT = `SELECT rollout_id FROM rollouts WHERE tenant = $1 AND kind = $2 AND coalesce(subject, '') = $3 AND status IN ('running', 'paused')`
const LIVE = `SELECT ${C} FROM rollouts WHERE status IN ('running', 'paused') AND rollout_id > '' ORDER BY rollout_id`
/** All that were begun, so no draft that was withdrawn: what an old one said of its subject holds until a newer one says otherwise. Of drafts, which bind nothing yet, the newest. */
const SLICES = `SELECT ${S}, started_at FROM rollouts WHERE tenant = $1 AND rollout_id > '' AND started_at IS NOT NULL
  UNION ALL (SELECT ${S}, started_at FROM rollouts WHERE tenant = $1 AND rollout_id < $2 AND status = 'draft' ORDER BY rollout_id DESC LIMIT 100)`
const DRAFTS = `SELECT count(*)::int AS n FROM (SELECT 1 FROM rollouts WHERE tenant = $1 AND rollout_id > '' AND status = 'draft' LIMIT $2) d`
/** What ended last of those that were begun about a subject. */
const LAST_ENDED = `SELECT status, candidate, stable FROM rollouts WHERE tenant = $1 AND kind = $2 AND subject = $3 AND started_at IS NOT NULL
  AND ended_at IS NOT NULL ORDER BY started_at DESC LIMIT 1`
/** Noted for workers of a version that is current now: any that do ordinary work may have it. */
const FOR_ALL = `UPDATE jobs SET needs = CASE WHEN split_part(needs, ' ', 2) = '' THEN '' ELSE split_part(needs, ' ', 1) || ' ' || split_part(needs, ' ', 2) END
  WHERE tenant = $1 AND status IN ('queued', 'retrying') AND right(needs, length($2)) = $2`

/** Sorts after every id. */
const LAST = '~'

function rolloutOf({
  tenant,
  rollout_id,
  version,
  document,
  declaration,
  declared_by,
  declared_at,
  ...row
}: RolloutStored): RolloutRow {
  const { status, phase, started_at, ended_at, state } = row
  const said = { tenant, rollout_id, version, document, declaration, declared_by, declared_at }
  return { ...said, status, phase, started_at, ended_at, ...state }
}

/** Its row, for the ledger. */
export function rolloutStored(rollout: RolloutRow): RolloutStored {
  const { tenant, rollout_id, version, document, declaration, declared_by, declared_at, status, phase, ended_at } =
    rollout
  const { started_at, phase_at, served_ms, since, steps, request, overridden, ended_reason, ended_by, ended_trigger } =
    rollout
  const { kind, name, candidate, stable } = document.subject
  const { share_bp = 0, risk = 'read_only' } = document.phases[phase] ?? {}
  return {
    tenant,
    rollout_id,
    version,
    name: document.rollout,
    kind,
    subject: name,
    candidate,
    stable,
    status,
    phase,
    share_bp,
    risk,
    rest: document.rest,
    routing: document.routing,
    on_rollback: document.on_rollback,
    document,
    declaration,
    declared_by,
    declared_at,
    started_at,
    ended_at,
    state: { phase_at, served_ms, since, steps, request, overridden, ended_reason, ended_by, ended_trigger },
  }
}

export async function getRollout(db: Db, tenant: string, rollout_id: string): Promise<RolloutRow | null> {
  const row = (await db.query<RolloutStored>(GET, [tenant, rollout_id]))[0]
  return row === undefined ? null : rolloutOf(row)
}

export async function listRollouts(
  db: Db,
  tenant: string,
  {
    status,
    cursor,
    limit = 50,
  }: { status?: RolloutStatus | undefined; cursor?: string | undefined; limit?: number | undefined },
): Promise<Page<RolloutRow>> {
  const rows = await db.query<RolloutStored>(LIST, [
    tenant,
    decodeCursor(cursor)?.[1] ?? LAST,
    status ?? null,
    limit + 1,
  ])
  return page(rows.map(rolloutOf), limit, ({ declared_at, rollout_id }) => [declared_at, rollout_id])
}

/** The one that runs or is paused about this subject. */
export async function liveAbout(db: Db, tenant: string, { kind, name }: Subject): Promise<string | null> {
  return (await db.query<{ rollout_id: string }>(OF_SUBJECT, [tenant, kind, name ?? '']))[0]?.rollout_id ?? null
}

/** Drafts of a tenant, counted up to `most`. */
export async function countDrafts(db: Db, tenant: string, most: number): Promise<number> {
  return (await db.query<{ n: number }>(DRAFTS, [tenant, most]))[0]?.n ?? 0
}

/** The version that the newest ended rollout of this subject left as the current one; undefined where there was none. */
export async function currentVersion(
  db: Db,
  tenant: string,
  { kind, name }: Subject,
): Promise<string | null | undefined> {
  const [last] = await db.query<Pick<RolloutStored, 'status' | 'candidate' | 'stable'>>(LAST_ENDED, [
    tenant,
    kind,
    name,
  ])
  if (last === undefined) return undefined
  return last.status === 'promoted' ? last.candidate : last.stable
}

/** Jobs that wait for workers of this version wait for nobody in particular from now on. */
export async function freeForAll(db: Db, tenant: string, { kind, name, candidate }: Subject): Promise<void> {
  if (kind !== 'policy' && name !== null) await db.query(FOR_ALL, [tenant, ` ${servesText(kind, name, candidate)}`])
}

/** Running or paused, of all tenants. */
export async function liveRollouts(db: Db): Promise<RolloutRow[]> {
  return (await db.query<RolloutStored>(LIVE)).map(rolloutOf)
}

/** What a door reads of a rollout for a piece of work. */
export interface Drawing {
  drawn: Drawn
  slice: RolloutSlice
  /** Of the agent that does it; undefined where no rollout was about that. */
  version: string | null | undefined
}
interface DrawAsked {
  run_id: string | null
  said: string | null
  now: number
}

interface Known {
  epoch: number
  /** By what they are about: those that run or are paused, and the newest of those that are over. */
  live: ReadonlyMap<string, RolloutSlice>
  over: ReadonlyMap<string, RolloutSlice>
  policy: RolloutSlice | null
  byId: ReadonlyMap<string, RolloutSlice>
  /** Of the policy rollout that runs. */
  compiled: CompiledPolicy | null
  /** Whose candidates do no ordinary work yet. */
  drafts: readonly RolloutSlice[]
}

/**
 * What the doors read of rollouts, from memory. Every change of one moves its tenant's gate, so what was read under an epoch is good while
 * the gate has it: a commit under an older one is refused by the gate row. Of a tenant without any, asking costs a look into a map.
 */
export class Rollouts {
  readonly #db: Db
  readonly #policies: Policies
  readonly #known = new Map<string, Promise<Known>>()

  constructor(db: Db, policies: Policies) {
    this.#db = db
    this.#policies = policies
  }

  /** Everything that is drawn or held under this gate, without further waiting. */
  async under({ gate, policy }: Active): Promise<Drawings> {
    return new Drawings(await this.#under(gate), policy)
  }

  async #under({ tenant, epoch }: Gate): Promise<Known> {
    const kept = this.#known.get(tenant)
    const known = await kept
    // A step that still holds the gate of before loses its commit; what it reads must not stand beside the new.
    if (known !== undefined && known.epoch >= epoch) return known
    // Several steps that find it outdated share one read.
    if (this.#known.get(tenant) !== kept) return this.#under({ tenant, epoch } as Gate)
    const reading = this.#read(tenant, epoch)
    this.#known.set(tenant, reading)
    reading.catch(() => {
      if (this.#known.get(tenant) === reading) this.#known.delete(tenant)
    })
    return reading
  }

  async #read(tenant: string, epoch: number): Promise<Known> {
    type Row = Pick<RolloutStored, keyof RolloutSlice & keyof RolloutStored> &
      Pick<RolloutStored, 'subject' | 'started_at'>
    const rows = await this.#db.query<Row>(SLICES, [tenant, LAST])
    rows.sort((a, b) => (b.started_at ?? 0) - (a.started_at ?? 0))
    const slices = rows.map(
      ({ subject, started_at: _at, ...row }): RolloutSlice => ({
        ...row,
        name: subject,
        has_stable: row.stable !== null,
      }),
    )
    const begun = slices.filter(({ status }) => status !== 'draft')
    const policy = begun.find((slice) => slice.kind === 'policy' && isLive(slice)) ?? null
    return {
      epoch,
      live: newest(begun.filter(isLive)),
      over: newest(begun.filter((slice) => !isLive(slice))),
      policy,
      byId: new Map(begun.map((slice) => [slice.rollout_id, slice])),
      compiled: policy === null ? null : await this.#policies.compiled(tenant, policy.candidate),
      drafts: slices.filter(({ status }) => status === 'draft'),
    }
  }
}

const isLive = ({ status }: RolloutSlice) => status === 'running' || status === 'paused'

/** An agent and a workflow may have the same name. */
const subjectKey = (kind: 'agent' | 'workflow', name: string) => `${kind} ${name}`

function newest(slices: readonly RolloutSlice[]): Map<string, RolloutSlice> {
  const found = new Map<string, RolloutSlice>()
  for (const slice of slices) {
    if (slice.kind === 'policy' || slice.name === null) continue
    const key = subjectKey(slice.kind, slice.name)
    if (!found.has(key)) found.set(key, slice)
  }
  return found
}

/** What rollouts make of work, under one reading of the gate. */
export class Drawings {
  readonly #known: Known
  readonly #active: CompiledPolicy

  constructor(known: Known, active: CompiledPolicy) {
    this.#known = known
    this.#active = active
  }

  /**
   * Of new work; null where no rollout is about it. A job is in one at most, so that one thing changes at a time: its agent's, else its
   * workflow's, else the policy's. What is over only says which version is current, or that there is none any more.
   */
  of(claim: Claim, asked: DrawAsked): Drawing | null {
    const { live, over } = this.#known
    const [agent, workflow] = [subjectKey('agent', claim.agent), subjectKey('workflow', claim.workflow ?? '')]
    const own = live.get(agent)
    if (own !== undefined) return this.#drawn(claim, own, asked)
    const past = [over.get(agent), over.get(workflow)].flatMap((slice) =>
      slice === undefined ? [] : [this.#drawn(claim, slice, asked)],
    )
    const barred = past.find(({ drawn }) => drawn.variant !== 'stable')
    if (barred !== undefined) return barred
    const slice = live.get(workflow) ?? this.#policyRollout()
    const current = past.find((each) => each.slice.kind === 'agent') ?? null
    if (slice === null) return current ?? past[0] ?? null
    return { ...this.#drawn(claim, slice, asked), version: current?.drawn.version }
  }

  #drawn(claim: Claim, slice: RolloutSlice, asked: DrawAsked): Drawing {
    const drawn = draw(this.#active, claim, slice, asked)
    return { slice, drawn, version: slice.kind === 'agent' ? drawn.version : undefined }
  }

  /** The one that is held against what is active now: was another activated meanwhile, nothing is drawn for it. */
  #policyRollout(): RolloutSlice | null {
    const { policy } = this.#known
    return policy?.stable === this.#active.digest ? policy : null
  }

  /** Of a job that was drawn before; null where it is in no rollout. */
  held(job: Pick<Job, 'rollout_id' | 'variant' | 'serves' | 'agent_version'>): Drawn | null {
    return job.rollout_id === null ? null : drawnOf(job, this.#known.byId.get(job.rollout_id))
  }

  /** Of a job that runs: where its rollout drains what was begun, that goes on to its end. */
  running(job: Pick<Job, 'rollout_id' | 'variant' | 'serves' | 'agent_version'>): Drawn | null {
    const drawn = this.held(job)
    const drains = this.#known.byId.get(job.rollout_id ?? '')?.on_rollback === 'drain'
    return drawn?.variant === 'withdrawn' && drains ? { ...drawn, variant: 'candidate' } : drawn
  }

  /**
   * The snapshot that decides about it: the active one, but for the candidate's work of a policy rollout that runs. Was another activated
   * meanwhile, the candidate was never held against it, and decides nothing.
   */
  policyFor(drawn: Drawn | null): CompiledPolicy {
    const [policy, { compiled }] = [this.#policyRollout(), this.#known]
    if (policy === null || compiled === null) return this.#active
    return drawn?.rollout_id === policy.rollout_id && isUnderCandidate(policy, drawn) ? compiled : this.#active
  }

  /** Whether a worker that declares these versions is given ordinary work too. */
  servesOrdinary(serves: readonly string[]): boolean {
    return serves.every((text) => this.#isCurrent(text))
  }

  #isCurrent(text: string): boolean {
    const { live, over, drafts } = this.#known
    const { key, version } = servedBy(text)
    const slice = live.get(key) ?? over.get(key)
    if (slice !== undefined) return isCurrent(version, slice)
    return !drafts.some(
      ({ kind, name, candidate }) => name !== null && kind !== 'policy' && servesText(kind, name, candidate) === text,
    )
  }
}

/** `workflow:refunds@7` is of the workflow refunds, all else of an agent. */
function servedBy(text: string): { key: string; version: string } {
  const cut = text.lastIndexOf('@')
  const [name, version] = [text.slice(0, cut), text.slice(cut + 1)]
  const workflow = name.startsWith('workflow:') ? name.slice('workflow:'.length) : null
  return { key: workflow === null ? subjectKey('agent', name) : subjectKey('workflow', workflow), version }
}
