import { fileURLToPath } from 'node:url'
import type { Accepted, ResolveJob, SubmitJob } from '../src/contract/jobs.js'
import type { Completion, EffectAnswer, HeartbeatAnswer, LeasedJob } from '../src/contract/workers.js'
import type { Caller, Role } from '../src/core/access.js'
import type { Approval } from '../src/core/approval.js'
import { readSigningKey, type SigningKey, signingKeyPem } from '../src/core/audit/keys.js'
import type { Tile } from '../src/core/audit/tile.js'
import type { Job } from '../src/core/job.js'
import type { Json } from '../src/core/json.js'
import type { Effect, Lease } from '../src/core/lease.js'
import { tokenKey } from '../src/core/token.js'
import { DbError, Problem } from '../src/errors.js'
import { storeSnapshot } from '../src/journey/activate.js'
import { approve, reject } from '../src/journey/approve.js'
import { cancel } from '../src/journey/cancel.js'
import { dispatch } from '../src/journey/dispatch.js'
import { effect } from '../src/journey/effect.js'
import { heartbeat } from '../src/journey/heartbeat.js'
import { rebindPending } from '../src/journey/rebind.js'
import { discardResult, release } from '../src/journey/release.js'
import { discard, replay } from '../src/journey/replay.js'
import { resolve } from '../src/journey/resolve.js'
import { type Settlement, settle } from '../src/journey/settle.js'
import { type Admitted, submit } from '../src/journey/submit.js'
import { sweep } from '../src/journey/sweep.js'
import { memoryBus } from '../src/platform/bus/memory.js'
import { manualClock } from '../src/platform/clock.js'
import { openPglite } from '../src/platform/db/pglite.js'
import type { Db, On, Param } from '../src/platform/db/seam.js'
import { type Ids, seededIds } from '../src/platform/ids.js'
import { Agents } from '../src/store/agents.js'
import { getApproval } from '../src/store/approvals.js'
import { Granted } from '../src/store/granted.js'
import { Grants } from '../src/store/grants.js'
import { Halts } from '../src/store/halts.js'
import { getJob } from '../src/store/jobs.js'
import { effectsOfJob, getLease } from '../src/store/leases.js'
import { WriterChains } from '../src/store/ledger/chain.js'
import { Ledger } from '../src/store/ledger/queue.js'
import { COMMIT_ADMIN } from '../src/store/ledger/statement.js'
import { migrate } from '../src/store/migrate.js'
import { Directories } from '../src/store/people.js'
import { Policies } from '../src/store/policies.js'
import { Refusals } from '../src/store/refusals.js'
import { Rollouts } from '../src/store/rollouts.js'
import { Screener } from '../src/store/screener.js'
import { Sealer } from '../src/store/sealer.js'
import type { World } from '../src/store/world.js'
import { tableOf } from './tables.js'

/** Sees every statement on its way to the store; `send` lets it through. */
export type Tap = (sql: string, send: () => Promise<unknown[]>) => Promise<unknown[]>

/** The real store with a place to hold, fail or lose a statement. */
export interface TappedDb extends Db {
  tap: Tap | null
  /** Names of audit tiles, `tenant/writer/seq`, in the order their commits ended: several nodes' clocks cannot say it. */
  readonly committed: Map<string, number>
}

/** When a commit ended, by the engine itself: of two on two connections the first may be heard of second. */
const ENDED = `SELECT (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint AS at FROM batches WHERE batch_id = $1`

function tapped(db: Db, committed = new Map<string, number>()): TappedDb {
  const placeOf = async (params: readonly Param[]): Promise<number> => {
    if (db.engine === 'pglite') return committed.size
    const batch = params.find((p) => typeof p === 'string' && p.startsWith('batch_')) as string
    const [ended] = await db.query<{ at: number | null }>(ENDED, [batch])
    if (ended?.at == null) throw new Error(`when ${batch} was committed is not known: track_commit_timestamp is off`)
    return ended.at
  }
  return {
    engine: db.engine,
    tap: null,
    committed,
    query<Row>(sql: string, params: readonly Param[] = [], on?: On) {
      const send = async () => {
        const rows = await db.query<Row>(sql, params, on)
        if (isCommit(sql) && rows.length === 0) {
          const place = await placeOf(params)
          for (const tile of tilesOf(params)) committed.set(tileName(tile), place)
        }
        return rows
      }
      return this.tap === null ? send() : (this.tap(sql, send) as Promise<Row[]>)
    },
    script: (sql) => db.script(sql),
    hold: (name) => db.hold(name),
    close: () => db.close(),
  }
}

type TileName = Pick<Tile, 'tenant' | 'writer' | 'seq'>
export const tileName = ({ tenant, writer, seq }: TileName) => `${tenant}/${writer}/${seq}`

/** The tiles among a commit's parameters, wherever they stand in it. */
function tilesOf(params: readonly Param[]): TileName[] {
  const tiles = params.find((p) => typeof p === 'string' && p.startsWith('[{') && p.includes('"prev_hash":'))
  return tiles === undefined ? [] : (JSON.parse(tiles as string) as TileName[])
}

export const isCommit = (sql: string) => sql.startsWith('WITH views AS') || sql === COMMIT_ADMIN.sql
/** The statement that asks whether a batch was applied. */
export const isTombstone = (sql: string) => sql.includes('INSERT INTO batches') && !isCommit(sql)

export type ManualClock = ReturnType<typeof manualClock>

/** A world without HTTP on one in-memory store, its clock in the test's hand. Tests share it and take a tenant each. */
export interface TestPlane {
  db: TappedDb
  /** The same store as different nodes reach it: on connections of their own, where the engine has any. */
  lines: readonly [TappedDb, ...TappedDb[]]
  clock: ManualClock
  ids: Ids
  key: SigningKey
  world: World
  /** A further node on the same store: its own ledger, caches and audit writer, and if wanted seams of its own. */
  node(seams?: NodeSeams): World
  /** The name under which a node signs its tiles now. */
  writerOf(world: World): string
  /** A tenant of its own under this policy, so that tests cannot meet. */
  tenant(policy: string, on?: World): Promise<Tenancy>
  close(): Promise<void>
}

/** `abreast`: commits on their way at once; `second`: so many must wait for one to be sent behind another. */
export type NodeSeams = Partial<
  Pick<World, 'db' | 'clock' | 'ids' | 'bus' | 'archive'> & { abreast: number; second: number }
>

/**
 * @param open the engine to stand on; embedded and in memory unless said
 * @param lines how many sets of connections to it
 */
export async function openPlane(
  seed = 1,
  open: () => Promise<Db> = () => openPglite(null),
  lines = 1,
): Promise<TestPlane> {
  const clock = manualClock()
  const ids = seededIds(seed)
  const db = tapped(await open())
  const others: TappedDb[] = []
  while (others.length + 1 < lines) others.push(tapped(await open(), db.committed))
  await migrate(db, fileURLToPath(new URL('../migrations', import.meta.url)), clock.now())
  const pem = signingKeyPem(ids.bytes(32))
  const key = readSigningKey(pem)
  const worlds: World[] = []
  const writers = new WeakMap<World, WriterChains>()
  const own = { db, clock, ids }
  const node = (seams: NodeSeams = {}): World => {
    const { db, clock, ids, abreast = worlds.length % 2 === 0 ? 1 : 2, second = 1 } = { ...own, ...seams }
    const chains = new WriterChains(ids.id('wr', clock.now()), key)
    // Every second node sends commits behind one another, as on Postgres.
    const ledger = new Ledger(db, chains, clock, ids, { abreast, second })
    const sealer = new Sealer(pem, ids)
    const people = new Directories(db)
    const policies = new Policies(db)
    const world = {
      db,
      ledger,
      granted: new Granted(),
      policies,
      agents: new Agents(db),
      people,
      grants: new Grants(db, people),
      halts: new Halts(db),
      rollouts: new Rollouts(db, policies),
      refusals: new Refusals(),
      sealer,
      tokens: tokenKey(pem),
      screener: new Screener(ids, sealer, null),
      archive: seams.archive ?? null,
      bus: seams.bus ?? memoryBus(),
      clock,
      ids,
    }
    // Whoever brings a store of its own sees to its end: a node that "died" would keep a close waiting for ever.
    if (seams.db === undefined) worlds.push(world)
    writers.set(world, chains)
    return world
  }
  const world = node()
  let tenants = 0
  return {
    db,
    lines: [db, ...others],
    clock,
    ids,
    key,
    world,
    node,
    writerOf: (world) => (writers.get(world) as WriterChains).writer,
    async tenant(policy, on = world) {
      const tenancy = new Tenancy(on, on.clock as ManualClock, `t${++tenants}`)
      await tenancy.activate(policy)
      return tenancy
    },
    async close() {
      db.tap = null
      for (const each of worlds) await each.ledger.close()
      await Promise.all([db, ...others].map((each) => each.close()))
    },
  }
}

export interface ClaimOptions {
  capacity?: number
  enforces?: string[]
  serves?: string[]
  effects?: 'recorded' | 'none'
  claim_id?: string
  worker?: Caller
}

/** One tenant, with a person or machine for each part, and every use case at hand. */
export class Tenancy {
  readonly tenant: string
  readonly clock: ManualClock
  world: World
  readonly agent: Caller
  readonly otherAgent: Caller
  readonly worker: Caller
  readonly otherWorker: Caller
  readonly approver: Caller
  readonly otherApprover: Caller
  readonly operator: Caller
  readonly admin: Caller
  #claims = 0

  constructor(world: World, clock: ManualClock, tenant: string) {
    this.world = world
    this.clock = clock
    this.tenant = tenant
    this.agent = this.caller('agent', 'agent:bot')
    this.otherAgent = this.caller('agent', 'agent:other')
    this.worker = this.caller('worker', 'worker:one')
    this.otherWorker = this.caller('worker', 'worker:two')
    this.approver = this.caller('approver', 'person:ann')
    this.otherApprover = this.caller('approver', 'person:ben')
    this.operator = this.caller('operator', 'person:olga')
    this.admin = this.caller('admin', 'person:root')
  }

  caller(role: Role, principal: string, more: Partial<Caller> = {}): Caller {
    return {
      tenant: this.tenant,
      principal,
      role,
      team: null,
      key_id: `key_${principal}`,
      topics: null,
      act_as: [],
      permissions: null,
      leads: [],
      expires_at: null,
      ...more,
    }
  }

  /** The same tenant through another node. */
  on(world: World): Tenancy {
    return new Tenancy(world, this.clock, this.tenant)
  }

  activate(text: string) {
    return storeSnapshot(this.world, this.tenant, 'person:root', [{ path: 'policy.yaml', text }], {
      source: 'api',
      activate: true,
      note: null,
    })
  }
  rebind() {
    return rebindPending(this.world, this.tenant).then((done) => done.rebound)
  }
  sweep() {
    return sweep(this.world)
  }

  trySubmit(body: SubmitJob, key: string | null = null, as = this.agent): Promise<Admitted> {
    // Agents of these tests are in no shadow.
    return submit(this.world, as, body, key) as Promise<Admitted>
  }
  async submit(body: SubmitJob, key: string | null = null, as = this.agent): Promise<Accepted> {
    return (await this.trySubmit(body, key, as)).answer
  }
  async claim(topics: string[], options: ClaimOptions = {}): Promise<LeasedJob[]> {
    return (await this.look(topics, options)).leases
  }
  async look(topics: string[], options: ClaimOptions = {}) {
    const worker = options.worker ?? this.worker
    const claiming = {
      tenant: this.tenant,
      principal: worker.principal,
      key: worker,
      worker: worker.principal,
      claim_id:
        options.claim_id ?? `claim-${this.tenant}-${++this.#claims}-${this.world.ids.id('c', this.clock.now())}`,
      topics,
      capacity: options.capacity ?? 1,
      enforces: options.enforces ?? [],
      serves: options.serves ?? [],
      effects: options.effects ?? 'recorded',
    }
    const { given, ...rest } = await dispatch(this.world, [claiming])
    return { ...rest, leases: (await given[0]) ?? [] }
  }
  /** Submits and leases one job; returns its lease. */
  async lease(body: SubmitJob, options: ClaimOptions = {}): Promise<LeasedJob> {
    const { job_id } = await this.submit(body)
    const leases = await this.claim([body.topic], options)
    const mine = leases.find((each) => each.job.job_id === job_id)
    if (mine === undefined)
      throw new Error(`the submitted job was not leased: ${JSON.stringify(await this.job(job_id))}`)
    return mine
  }
  async complete(completion: Completion, as = this.worker): Promise<Settlement> {
    return (await settle(this.world, as, [completion]))[0] as Settlement
  }
  succeed(lease: string, result?: Json, as = this.worker) {
    return this.complete({ lease, outcome: 'succeeded', ...(result === undefined ? {} : { result }) }, as)
  }
  fail(lease: string, cls: 'transient' | 'terminal' = 'transient', message = 'no') {
    return this.complete({ lease, outcome: 'failed', error: { class: cls, code: 'failed', message } })
  }
  async beat(lease: string, progress?: Json, as = this.worker): Promise<HeartbeatAnswer['leases'][number]> {
    const { leases } = await heartbeat(this.world, as, {
      leases: [{ lease, ...(progress === undefined ? {} : { progress }) }],
    })
    return leases[0] as HeartbeatAnswer['leases'][number]
  }
  begin(lease: string, key: string, as = this.worker): Promise<EffectAnswer> {
    return effect(this.world, as, { lease, key, phase: 'begin' })
  }
  commit(lease: string, key: string, result: Json = null, as = this.worker): Promise<EffectAnswer> {
    return effect(this.world, as, { lease, key, phase: 'commit', result })
  }
  async approve(approval_id: string, as = this.approver, grant_hash?: string): Promise<Approval> {
    return approve(this.world, as, approval_id, {
      grant_hash: grant_hash ?? (await this.approval(approval_id)).grant_hash,
    })
  }
  reject(approval_id: string, as = this.approver): Promise<Approval> {
    return reject(this.world, as, approval_id, { reason: 'no' })
  }
  cancel(job_id: string, as = this.agent): Promise<Job> {
    return cancel(this.world, as, job_id, null)
  }
  resolve(
    job_id: string,
    effect_key: string,
    happened: boolean,
    next?: ResolveJob['then'],
    result?: Json,
  ): Promise<Job> {
    const body: ResolveJob = { effect_key, happened, note: 'looked', ...(result === undefined ? {} : { result }) }
    if (next !== undefined) body.then = next
    return resolve(this.world, this.operator, job_id, body)
  }
  release(job_id: string, as = this.operator): Promise<Job> {
    return release(this.world, as, job_id, null)
  }
  discardResult(job_id: string): Promise<Job> {
    return discardResult(this.world, this.operator, job_id, null)
  }
  replay(job_id: string): Promise<Job> {
    return replay(this.world, this.operator, job_id, null)
  }
  discard(job_id: string): Promise<Job> {
    return discard(this.world, this.operator, job_id, 'given up')
  }

  async job(job_id: string): Promise<Job> {
    const job = await getJob(this.world.db, this.tenant, job_id)
    if (job === null) throw new Error(`there is no job ${job_id}`)
    return job
  }
  async approval(approval_id: string | undefined | null): Promise<Approval> {
    const approval = await getApproval(this.world.db, this.tenant, approval_id ?? '')
    if (approval === null) throw new Error(`there is no approval ${approval_id}`)
    return approval
  }
  async storedLease(lease_id: string): Promise<Lease> {
    return (await getLease(this.world.db, this.tenant, lease_id)) as Lease
  }
  effects(job_id: string): Promise<Effect[]> {
    return effectsOfJob(this.world.db, this.tenant, job_id)
  }
  /** Rows of a table that belong to this tenant. */
  rows<Row = Record<string, unknown>>(table: string): Promise<Row[]> {
    return tableOf<Row>(this.world.db, table, this.tenant)
  }
  /** Kinds of what the log says, in order of the tiles. */
  async kinds(job_id?: string): Promise<string[]> {
    return (await this.facts())
      .filter((fact) => job_id === undefined || fact.job_id === job_id)
      .map((fact) => String(fact.kind))
  }
  async facts(): Promise<Record<string, unknown>[]> {
    const tiles = await this.world.db.query<{ body: string }>(
      'SELECT body FROM audit_tiles WHERE tenant = $1 ORDER BY at, writer, seq',
      [this.tenant],
    )
    return tiles.flatMap((tile) =>
      tile.body
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    )
  }
}

/** The code of the Problem this ends in, or what else became of it. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'done'
  } catch (error) {
    return error instanceof Problem ? error.code : String(error)
  }
}

/** Lets everything that is under way take `turns` of the event loop. Not a wait for time: a bound on how long to look. */
export async function turns(until: () => boolean, most = 2000): Promise<void> {
  for (let turn = 0; turn < most && !until(); turn++) await new Promise((next) => setImmediate(next))
  if (!until()) throw new Error('what the test waits for did not come')
}

/** Holds every commit at the door of the store. `release` lets those waiting and all later ones through, in order. */
export function holdCommits(db: TappedDb): { waiting(): number; release(): void } {
  const held: (() => void)[] = []
  db.tap = async (sql, send) => {
    if (isCommit(sql)) await new Promise<void>((go) => held.push(go))
    return send()
  }
  return {
    waiting: () => held.length,
    release() {
      db.tap = null
      for (const go of held.splice(0)) go()
    },
  }
}

/** The store's connection breaks at the next commit: before it was applied, or after, with its answer. */
export function breakCommit(db: TappedDb, when: 'before' | 'after'): void {
  db.tap = async (sql, send) => {
    if (!isCommit(sql)) return send()
    db.tap = null
    if (when === 'after') await send()
    throw new DbError('connection reset by peer', '08006')
  }
}

/** The Problem this ends in; anything else fails the test. */
export async function problemOf(work: Promise<unknown>): Promise<Problem> {
  try {
    await work
  } catch (error) {
    if (error instanceof Problem) return error
    throw error
  }
  throw new Error('this was let through')
}
