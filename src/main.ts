import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { type Config, ConfigError, DATABASE_EXAMPLE } from './config.js'
import type { Role } from './core/access.js'
import { originOf } from './core/audit/checkpoint.js'
import type { AuditSource } from './core/audit/export.js'
import { base64 } from './core/audit/hash.js'
import { formatVkey, readSigningKey, type SigningKey, signingKeyPem } from './core/audit/keys.js'
import { shortForm } from './core/binding.js'
import { Problem } from './errors.js'
import { Authenticator } from './http/auth.js'
import { auditEvents } from './http/events.js'
import { OpenCalls } from './http/open-calls.js'
import { allRoutes } from './http/routes/all.js'
import { accessOf } from './http/routes/metrics.js'
import { createServer } from './http/server.js'
import { activateFile, readPolicy } from './journey/activate.js'
import { closeWriters, WRITER_GRACE_MS } from './journey/integrate.js'
import { createKey, newKeyText } from './journey/keys.js'
import { checkpointKeeper } from './loops/checkpoints.js'
import { Dispatcher } from './loops/dispatcher.js'
import { DRIFT_MS, drift, sampleTime } from './loops/drift.js'
import { exposition } from './loops/gauges.js'
import { type Integrator, integrator } from './loops/integrator.js'
import type { Loop } from './loops/loop.js'
import { presence } from './loops/presence.js'
import { pressure } from './loops/pressure.js'
import { pruner } from './loops/pruner.js'
import { publisher } from './loops/publisher.js'
import { revocations } from './loops/revocations.js'
import { closer, rebinder, sweeper } from './loops/sweeper.js'
import { memoryBus } from './platform/bus/memory.js'
import { natsBus } from './platform/bus/nats.js'
import { ServerTooOld } from './platform/bus/nats-line.js'
import type { Bus } from './platform/bus/seam.js'
import { type Clock, type StoreClock, storeClock, systemClock } from './platform/clock.js'
import { lockDirectory } from './platform/db/lock.js'
import { DatabaseUrlFault, openPostgres } from './platform/db/pg.js'
import { openPglite, openPgliteThread } from './platform/db/pglite.js'
import type { Db } from './platform/db/seam.js'
import { type Ids, systemIds } from './platform/ids.js'
import { createLog, type Log } from './platform/log.js'
import { Metrics } from './platform/metrics.js'
import { openThreads } from './platform/threads.js'
import { watchPath } from './platform/watch.js'
import { auditTenants, newestHead, writerKeys } from './store/audit.js'
import { auditSource } from './store/audit-source.js'
import { Census } from './store/census.js'
import { Granted } from './store/granted.js'
import { listKeys } from './store/keys.js'
import { WriterChains } from './store/ledger/chain.js'
import { Ledger } from './store/ledger/queue.js'
import { countCommits } from './store/ledger/tally.js'
import { migrate } from './store/migrate.js'
import { Policies } from './store/policies.js'
import { Refusals } from './store/refusals.js'
import { type Screened, Screener, type Task } from './store/screener.js'
import { Sealer } from './store/sealer.js'
import { hold, Seat, writerName } from './store/seat.js'
import { getSnapshot } from './store/snapshots.js'
import { getGate, listGates } from './store/standing.js'
import type { World } from './store/world.js'

export type { Config } from './config.js'
export { ConfigError, loadConfig } from './config.js'
export { DirectoryLocked } from './platform/db/lock.js'

const DEFAULT_TENANT = 'default'
const FIRST_START = 'system:first-start'
/** One key of each at first start, so that a newcomer can submit, work and approve as three different principals. */
const FIRST_KEYS: Role[] = ['admin', 'agent', 'worker', 'approver']

/** Threads for large results: 2 MiB takes one about 0.1 s, so what waits behind sixteen others still ends within its caller's patience. */
const SCREENING = { threads: 2, waiting: 16, timeoutMs: 5_000, memoryMb: 256 }

/**
 * Connections that wait to be accepted. With Node's 511 a rush of 6,000 callers, as workers that all come back at once, found it full:
 * the kernel let their connections stand half made, and they were answered 23 s later or reset.
 */
const BACKLOG = 4096

/** What is under way when a stop is asked for gets this long: a reader that stopped reading must not hold it up for ever. */
const DRAIN_MS = 10_000

/** A running control plane. */
export interface Plane {
  url: string
  dataDir: string
  /** Files, 0600, that hold the first keys. */
  keyFiles: Record<string, string>
  policy: { snapshot: string; rules: number; warnings: number }
  world: World
  /** Reads the policy file again; a broken one is logged and changes nothing. Throws Problem `policy_invalid`. */
  reloadPolicy(): Promise<{ activated: boolean }>
  /** Resolves when the engine died under the plane: nothing is let through any more, and only a new start helps. */
  failed: Promise<Error>
  /** Stops taking work, finishes what is under way, closes the store. */
  stop(): Promise<void>
}

/** What a test may put in place of the real ones. */
export interface Seams {
  clock?: Clock
  ids?: Ids
  log?: Log
  /** In memory instead of on disk; nothing is locked or kept. */
  memory?: boolean
  /** `false`: the engine runs in this thread, slower under load and quicker to start. Otherwise in one of its own. */
  thread?: boolean
  /** Stands between the plane and its database, e.g. to see what is read. */
  watch?: (db: Db) => Db
}

/**
 * The composition root: the only place where seams, store, journeys, loops and server meet.
 * Throws ConfigError, DirectoryLocked, MigrationError, KeyError, Problem `policy_invalid`; then nothing is left running.
 */
export async function start(config: Config, seams: Seams = {}): Promise<Plane> {
  const own = seams.clock ?? systemClock
  const clock = storeClock(own)
  const ids = seams.ids ?? systemIds()
  const log = seams.log ?? createLog(config.logLevel)
  /** Ways back, run in reverse: by `stop`, and by a start that fails half way. */
  const closing: (() => Promise<unknown>)[] = []
  const unwind = once(async () => {
    for (const close of closing.reverse()) await close()
  })
  try {
    // Before a database is made, which takes seconds: at a first start there is no other policy that could stay active.
    if (config.databaseUrl === null && (seams.memory || !existsSync(pgdata(config))))
      readPolicy(policyFiles(config.policy))
    makeDataDir(config.dataDir)
    if (isEmbedded(config, seams)) closing.push((await lockDirectory(config.dataDir)).release)
    const bus = await openBus(config, log)
    closing.push(() => bus.close())
    let died: (error: Error) => void = () => {}
    const failed = new Promise<Error>((resolve) => {
      died = resolve
    })
    const opened = await openDb(config, seams, died, log)
    const db = seams.watch?.(opened) ?? opened
    closing.push(() => db.close())
    const shared = db.engine === 'postgres'
    if (shared) await sampleTime(db, own, clock)
    // One start at a time: of several nodes that come up together one migrates, activates the policy and makes the first keys.
    const starting = await hold(db, clock, 'start')
    closing.push(() => starting.release())
    await migrate(db, join(config.packageRoot, 'migrations'), clock.now())
    const { key, pem } = await signingKey(config, ids, db)
    const chains = new WriterChains(ids.id('wr', clock.now()), key)
    const seat = new Seat(db, writerName(chains.writer))
    await seat.taken()
    closing.push(() => seat.leave())
    const ledger = new Ledger(db, chains, clock, ids)
    closing.push(() => ledger.close())
    const version = packageVersion(config.packageRoot)
    const metrics = new Metrics()
    metrics.build.set({ version, node: process.versions.node, engine: db.engine }, 1)
    countCommits(ledger, metrics, log)
    const sealer = new Sealer(pem, ids)
    const threads = seams.memory || seams.thread === false ? null : screeners(clock)
    closing.push(async () => threads?.close())
    const world: World = {
      db,
      ledger,
      granted: new Granted(),
      policies: new Policies(db),
      refusals: new Refusals(),
      sealer,
      screener: new Screener(ids, sealer, threads),
      bus,
      clock,
      ids,
    }
    // The directory of an embedded engine is ours alone: every writer that is still open died without closing its chain.
    await closeWriters(world, clock.now() - (shared ? WRITER_GRACE_MS : 0))
    const reloadPolicy = inTurn(() => loadPolicy(world, config, log))
    await firstPolicy(world, reloadPolicy)
    const keyFiles = await firstKeys(world, config)
    await starting.release()

    const integrate = integrator(world, key, clock, log)
    const pruned = (name: string, n: number) => metrics.jobsPruned.inc({ tenant: metrics.labels.tenant(name) }, n)
    const loops: Loop[] = [
      integrate,
      sweeper(world, clock, log),
      rebinder(world, clock, log),
      closer(world, clock, log),
      presence(seat, () => writerName(chains.writer), clock, log),
    ]
    if (shared) loops.push(drift(world, own, clock, log))
    // Also where everything is kept: the embedded engine makes room for new rows only when it is told to.
    if (config.keepJobsMs !== null || !shared) loops.push(pruner(world, config.keepJobsMs, clock, log, pruned))
    if (config.checkpoints !== null) loops.push(checkpointKeeper(world, clock, log, config.checkpoints))
    if (bus.events !== null) {
      const publish = publisher(world, bus.events, clock, log)
      integrate.onIntegrated(publish.wake)
      loops.push(publish)
    }
    closing.push(() => Promise.all(loops.map((each) => each.stop())))
    closing.push(watchPath(config.policy, clock, () => void reloadPolicy().catch(() => {})))

    const auth = new Authenticator(world)
    const open = new OpenCalls(clock)
    const ending = revocations(open, world, clock, log)
    closing.push(() => ending.stop())
    const dispatcher = new Dispatcher(world, log)
    let draining = false
    const strain = pressure(() => ledger.strain, clock, log)
    closing.push(() => strain.stop())
    const health = { unready: async () => (strain.over ? 'overloaded' : unready(world, clock, () => draining)) }
    const census = new Census(db, clock)
    const ledgerDepth = () => ledger.depth
    const routes = allRoutes({
      world,
      auth,
      open,
      dispatcher,
      publicKey: key.publicKey,
      events: auditEvents(world, integrate),
      headOf: headKeeper(world, integrate),
      health,
      metrics: {
        access: accessOf(config.metrics, config.host, DEFAULT_TENANT),
        exposition: exposition(metrics, {
          census,
          dispatcher,
          clock,
          ledgerDepth,
          bus: () => bus.stats,
          db: opened.stats?.bind(opened),
        }),
        census,
      },
      version,
    })
    const app = createServer(
      routes,
      auth,
      open,
      log,
      () => ids.id('req', clock.now()),
      (route, method, status, seconds) => metrics.http.observe({ route, method, status }, seconds),
    )
    closing.push(async () => {
      const cancel = clock.after(DRAIN_MS, () => app.server.closeAllConnections())
      await app.close()
      cancel()
    })
    // Long polls end before the server waits for its requests: their workers ask another node.
    closing.push(() => dispatcher.stop())
    const address = await app.listen({ host: config.host, port: config.port, backlog: BACKLOG })
    const stop = async () => {
      draining = true
      await unwind()
    }
    return {
      url: address.replace('[::1]', 'localhost'),
      dataDir: config.dataDir,
      keyFiles,
      policy: await policyInfo(world),
      world,
      reloadPolicy,
      failed,
      stop,
    }
  } catch (error) {
    await unwind().catch((fault: unknown) => log.error({ err: fault }, 'closing after a failed start failed too'))
    throw error
  }
}

/** Whoever starts a node beside its database must not have to start them in order. */
const PATIENCE_MS = 30_000

function openDb(config: Config, seams: Seams, died: (error: Error) => void, log: Log): Promise<Db> {
  if (config.databaseUrl !== null) return openShared(config.databaseUrl, config.databasePool, log)
  if (seams.memory) return openPglite(null)
  return seams.thread === false ? openPglite(pgdata(config)) : openPgliteThread(pgdata(config), died)
}

async function openShared(url: string, pool: number, log: Log): Promise<Db> {
  const waiting = (why: string) => log.warn(`${why}; waiting for it, ${PATIENCE_MS / 1000} s at most`)
  try {
    return await openPostgres({ url, pool, patienceMs: PATIENCE_MS, waiting })
  } catch (error) {
    if (!(error instanceof DatabaseUrlFault)) throw error
    throw new ConfigError('SALLYPORT_DATABASE_URL', error.message, DATABASE_EXAMPLE)
  }
}

/** A NATS server that is away does not keep a node from starting: the rows are the truth, the bus only makes them heard sooner. */
async function openBus({ nats }: Config, log: Log): Promise<Bus> {
  if (nats === null) return memoryBus()
  try {
    return await natsBus(nats, log)
  } catch (error) {
    if (!(error instanceof ServerTooOld)) throw error
    throw new ConfigError('SALLYPORT_NATS_URL', error.message, 'nats://nats.internal:4222')
  }
}

const isEmbedded = (config: Config, seams: Seams) => config.databaseUrl === null && !seams.memory
const screeners = (clock: Clock) =>
  openThreads<Task, Screened>(new URL('./store/screener-thread.js', import.meta.url), SCREENING, clock)
const pgdata = (config: Config) => join(config.dataDir, 'pgdata')

function makeDataDir(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new ConfigError(
      'SALLYPORT_DATA_DIR',
      `names ${dir}, which cannot be made (${(error as NodeJS.ErrnoException).code})`,
      './.sallyport',
    )
  }
}

/**
 * The installation's key: made once, 0600. Whoever holds it can sign the log, so it never enters the database. Where there is a
 * log and no key, a new one would sign a history it cannot vouch for, and what is sealed could never be opened. On Postgres it is
 * never made: two nodes would make two.
 */
async function signingKey(config: Config, ids: Ids, db: Db): Promise<{ key: SigningKey; pem: string }> {
  const file = config.signingKey
  const wrong = (fault: string) => new ConfigError('SALLYPORT_SIGNING_KEY', `names ${file}: ${fault}`, './signing.key')
  const known = await writerKeys(db)
  try {
    if (!existsSync(file)) {
      if (known.length > 0) throw wrong('it is gone, and the log is signed with it; put it back')
      if (db.engine === 'postgres') throw wrong('there is no such file; `openssl genpkey -algorithm ed25519` makes one')
      // By rename: killed in between, it must not leave half a key.
      writeFileSync(`${file}.new`, signingKeyPem(ids.bytes(32)), { mode: 0o600 })
      renameSync(`${file}.new`, file)
    }
    if (db.engine === 'pglite') chmodSync(file, 0o600)
    const pem = readFileSync(file, 'utf8')
    const key = readSigningKey(pem)
    if (known.length > 0 && !known.includes(base64(key.publicKey)))
      throw wrong('it is not the key that the log in this database is signed with')
    return { key, pem }
  } catch (error) {
    if (error instanceof ConfigError) throw error
    throw wrong((error as Error).message)
  }
}

/** A file, or every .yaml and .yml of a folder in order of name. */
function policyFiles(path: string): { path: string; text: string }[] {
  if (!statSync(path).isDirectory()) return [{ path: path.split('/').at(-1) ?? path, text: readFileSync(path, 'utf8') }]
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.ya?ml$/.test(name))
    .sort()
    .map((name) => ({ path: relative(path, join(path, name)), text: readFileSync(join(path, name), 'utf8') }))
}

function headKeeper(world: World, integrate: Integrator): (tenant: string) => Promise<string | null> {
  const heads = new Map<string, string>()
  integrate.onIntegrated(({ tenant, head }) => heads.set(tenant, head.checkpoint))
  return async (tenant) => {
    const known = heads.get(tenant) ?? (await newestHead(world.db, tenant))?.checkpoint ?? null
    if (known !== null && !heads.has(tenant)) heads.set(tenant, known)
    return known
  }
}

/** Makes the policy on disk the active one if it changed. A broken one is logged, changes nothing and is thrown. */
async function loadPolicy(world: World, config: Config, log: Log): Promise<{ activated: boolean }> {
  try {
    const activated = (await activateFile(world, DEFAULT_TENANT, policyFiles(config.policy))) !== null
    if (activated) log.info({ file: config.policy }, 'the policy on disk is active')
    return { activated }
  } catch (error) {
    const faults = error instanceof Problem ? error.extra.faults : undefined
    log.error({ err: error, file: config.policy, faults }, 'the policy on disk is broken; the active one stays')
    throw error
  }
}

/** Without any active snapshot a broken file stops the start; with one, it is only reported. */
async function firstPolicy(world: World, load: () => Promise<unknown>): Promise<void> {
  try {
    await load()
  } catch (error) {
    const gate = await getGate(world.db, DEFAULT_TENANT)
    if (gate?.snapshot == null) throw error
  }
}

/**
 * Keys for a newcomer, each in a file of its own. A start that was killed among them is finished by the next one; a key of the
 * configuration that is not known yet becomes an admin's, so that it can be changed there. What was revoked stays revoked.
 */
async function firstKeys(world: World, config: Config): Promise<Record<string, string>> {
  const dir = join(config.dataDir, 'keys')
  const files = Object.fromEntries(FIRST_KEYS.map((role) => [role, join(dir, `${role}.key`)]))
  const keys = await listKeys(world.db, DEFAULT_TENANT)
  const made = keys.filter((key) => key.created_by === FIRST_START)
  const isMissing = (role: Role) => {
    if (role === 'admin' && config.adminKey !== null) return !keys.some((key) => isKeyOf(config.adminKey, key.key_id))
    return !made.some((key) => key.role === role) && (keys.length === 0 || made.length > 0)
  }
  for (const role of FIRST_KEYS.filter(isMissing)) {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    const text = role === 'admin' && config.adminKey !== null ? config.adminKey : newKeyText(world)
    // File first: a crash in between leaves a file that the next start writes again, never a key nobody has.
    writeFileSync(files[role] as string, `${text}\n`, { mode: 0o600 })
    const note = 'made at first start'
    await createKey(world, DEFAULT_TENANT, FIRST_START, { role: role as never, principal: `${role}:first`, note }, text)
  }
  return Object.fromEntries(Object.entries(files).filter(([, file]) => existsSync(file)))
}

const isKeyOf = (text: string | null, key_id: string) => text?.startsWith(`sp_${key_id.slice('key_'.length)}_`) ?? false

async function unready(world: World, clock: StoreClock, draining: () => boolean): Promise<string | null> {
  if (draining()) return 'draining'
  if (Math.abs(clock.offset) > DRIFT_MS) return `the clock of this machine is ${clock.offset} ms off the store's`
  try {
    const gates = await listGates(world.db)
    return gates.some((gate) => gate.snapshot !== null) ? null : 'no policy is active'
  } catch {
    return 'the store does not answer'
  }
}

async function policyInfo(world: World): Promise<Plane['policy']> {
  const { policy } = await world.policies.active(DEFAULT_TENANT)
  const row = await getSnapshot(world.db, DEFAULT_TENANT, policy.digest)
  return {
    snapshot: shortForm(policy.digest),
    rules: policy.document.rules.length,
    warnings: Array.isArray(row?.warnings) ? row.warnings.length : 0,
  }
}

function packageVersion(root: string): string {
  return (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | null = null
  return () => {
    done ??= work()
    return done
  }
}

/** Calls never overlap: one that comes during another runs after it, for it may be about what changed since. */
function inTurn<T>(work: () => Promise<T>): () => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return () => {
    const mine = last.then(work, work)
    last = mine.catch(() => {})
    return mine
  }
}

/** A log that no server holds open, for offline verification. Throws DirectoryLocked while one does. */
export interface AuditArchive {
  tenants(): Promise<string[]>
  source(tenant: string): Promise<AuditSource>
  /** Verifier key of the installation, as its signing key file says it. */
  key(tenant: string): string
  close(): Promise<void>
}

export async function openAudit(dataDir: string, signingKeyFile = join(dataDir, 'signing.key')): Promise<AuditArchive> {
  if (!existsSync(join(dataDir, 'pgdata'))) throw new Problem('not_found', `${dataDir} holds no database`)
  const { publicKey } = readSigningKey(readFileSync(signingKeyFile, 'utf8'))
  const lock = await lockDirectory(dataDir)
  try {
    const db = await openPglite(join(dataDir, 'pgdata'))
    return {
      tenants: () => auditTenants(db),
      source: (tenant) => auditSource(db, tenant, publicKey, systemClock.now()),
      key: (tenant) => formatVkey(originOf(tenant), publicKey),
      async close() {
        await db.close()
        await lock.release()
      },
    }
  } catch (error) {
    await lock.release()
    throw error
  }
}
