import { existsSync, readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { type Config, DEFAULT_TENANT } from './config.js'
import type { SigningKey } from './core/audit/keys.js'
import { tokenKey } from './core/token.js'
import { Authenticator } from './http/auth.js'
import { siteOf } from './http/cookies.js'
import { SignOnDesk } from './http/desk.js'
import { auditEvents } from './http/events.js'
import { OpenCalls } from './http/open-calls.js'
import { allRoutes } from './http/routes/all.js'
import { accessOf } from './http/routes/metrics.js'
import { createServer } from './http/server.js'
import { readPolicy } from './journey/activate.js'
import { closeWriters, WRITER_GRACE_MS } from './journey/integrate.js'
import { PAST } from './journey/publish.js'
import { readingsFor, triggerSamples } from './journey/readings.js'
import { promoteBySystem, rollBackByTrigger } from './journey/rollouts.js'
import { beat } from './journey/stop.js'
import { writeRefusals } from './journey/sweep.js'
import { archiver } from './loops/archiver.js'
import { autonomy } from './loops/autonomy.js'
import { backlogs } from './loops/backlogs.js'
import { breakers } from './loops/breakers.js'
import { changer } from './loops/changer.js'
import { checkpointKeeper } from './loops/checkpoints.js'
import { confirmer, enforcer } from './loops/confirmer.js'
import { deliverer } from './loops/deliverer.js'
import { Dispatcher } from './loops/dispatcher.js'
import { DRIFT_MS, drift, sampleTime } from './loops/drift.js'
import { gates, triggers } from './loops/gates.js'
import { exposition } from './loops/gauges.js'
import { type Integrator, integrator } from './loops/integrator.js'
import { keyUses } from './loops/key-use.js'
import type { Loop } from './loops/loop.js'
import { notifier } from './loops/notifier.js'
import { presence } from './loops/presence.js'
import { pressure } from './loops/pressure.js'
import { pruner } from './loops/pruner.js'
import { publisher } from './loops/publisher.js'
import { reminders } from './loops/reminders.js'
import { replayer } from './loops/replayer.js'
import { revocations } from './loops/revocations.js'
import { recoverer } from './loops/rollouts.js'
import { closer, rebinder, sweeper } from './loops/sweeper.js'
import { type Clock, type StoreClock, storeClock, systemClock } from './platform/clock.js'
import { lockDirectory } from './platform/db/lock.js'
import type { Db } from './platform/db/seam.js'
import { type Ids, systemIds } from './platform/ids.js'
import { createLog, type Log } from './platform/log.js'
import { Metrics } from './platform/metrics.js'
import { oidcProvider } from './platform/oidc.js'
import { openCouriers } from './platform/open-couriers.js'
import { argon2Passwords } from './platform/passwords.js'
import { openThreads } from './platform/threads.js'
import { type Close, unwinder } from './platform/unwind.js'
import { watchPath } from './platform/watch.js'
import { type Embedding, makeDataDir, openBus, openDb, pgdata } from './start/engines.js'
import { firstKeys } from './start/first-keys.js'
import {
  firstPolicy,
  loadPolicy,
  type PolicyInfo,
  type PolicyLoaded,
  policyFiles,
  policyInfo,
} from './start/policy-file.js'
import { signingKey } from './start/signing-key.js'
import { Agents } from './store/agents.js'
import { archiveFolder } from './store/archive-folder.js'
import { newestHead } from './store/audit.js'
import { Census } from './store/census.js'
import { Granted } from './store/granted.js'
import { Grants } from './store/grants.js'
import { Halts } from './store/halts.js'
import { WriterChains } from './store/ledger/chain.js'
import { Ledger } from './store/ledger/queue.js'
import { countCommits } from './store/ledger/tally.js'
import { migrate } from './store/migrate.js'
import { Directories } from './store/people.js'
import { Policies } from './store/policies.js'
import { Refusals } from './store/refusals.js'
import { Rollouts } from './store/rollouts.js'
import { type Screened, Screener, type Task } from './store/screener.js'
import { Sealer } from './store/sealer.js'
import { hold, Seat, writerName } from './store/seat.js'
import { listGates } from './store/standing.js'
import { forgetNodes } from './store/stops.js'
import type { World } from './store/world.js'

export type { Config } from './config.js'
export { ConfigError, loadConfig } from './config.js'
export { DirectoryLocked } from './platform/db/lock.js'
export { type OfflineAudit, openAudit } from './start/offline-audit.js'
export { archiveFolder } from './store/archive-folder.js'

/** Threads for large results: 2 MiB takes one about 0.1 s, so what waits behind sixteen others still ends within its caller's patience. */
const SCREENING = { threads: 2, waiting: 16, timeoutMs: 5_000, memoryMb: 256 }

/**
 * Connections that wait to be accepted. With Node's 511 a rush of 6,000 callers, as workers that all come back at once, found it full:
 * the kernel let their connections stand half made, and they were answered 23 s later or reset.
 */
const BACKLOG = 4096

/** What is under way when a stop is asked for gets this long: a reader that stopped reading must not hold it up for ever. */
const DRAIN_MS = 10_000
/** After that the store gets this long to answer for what it was sent: a little more than a call on a dead connection takes. */
const STORE_MS = 15_000

/** A running control plane. */
export interface Plane {
  url: string
  dataDir: string
  /** Files, 0600, that hold the first keys. */
  keyFiles: Record<string, string>
  policy: PolicyInfo
  world: World
  /** Reads the policy file again; a broken one is logged and changes nothing. Throws Problem `policy_invalid`. */
  reloadPolicy(): Promise<PolicyLoaded>
  /** Resolves when the engine died under the plane: nothing is let through any more, and only a new start helps. */
  failed: Promise<Error>
  /** Stops taking work, finishes what is under way, closes the store. Rejects after 25 s with a store that answers nothing. */
  stop(): Promise<void>
}

/** What a test may put in place of the real ones. */
export interface Seams extends Embedding {
  clock?: Clock
  ids?: Ids
  log?: Log
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
  const closing: Close[] = []
  const unwind = unwinder(closing, clock, DRAIN_MS + STORE_MS)
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
    const people = new Directories(db)
    const policies = new Policies(db)
    const world: World = {
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
      screener: new Screener(ids, sealer, threads),
      archive: config.auditArchive === null ? null : archiveFolder(config.auditArchive),
      bus,
      clock,
      ids,
    }
    // After all that refuses has stopped, and before the ledger has: what is only counted yet would be gone with this process.
    closing.push(() => writeRefusals(world, true))
    // The directory of an embedded engine is ours alone: every writer that is still open died without closing its chain.
    await closeWriters(world, clock.now() - (shared ? WRITER_GRACE_MS : 0))
    if (!shared) await forgetNodes(db, Number.POSITIVE_INFINITY)
    const change = changer(world, clock, log)
    closing.push(() => change.stop())
    const reloadPolicy = inTurn(() => loadPolicy(change.file, config, log))
    await firstPolicy(world, reloadPolicy)
    const keyFiles = await firstKeys(world, config)
    await starting.release()

    const self = { node: ids.id('node', clock.now()), name: `${hostname()}/${process.pid}` }
    // Before it takes any work: whoever stops something waits for the word of this node too.
    await beat(world, self)
    const integrate = integrator(world, key, clock, log)
    const loops = [
      integrate,
      presence(seat, () => writerName(chains.writer), clock, log),
      confirmer(world, self, clock, log),
      ...(shared ? [drift(world, own, clock, log)] : []),
      ...loopsOf(world, config, key, integrate, metrics, clock, log),
    ]
    closing.push(() => Promise.all(loops.map((each) => each.stop())))
    closing.push(watchPath(config.policy, clock, () => void reloadPolicy().catch(() => {})))

    const couriers = openCouriers({ ...config.channels, publicUrl: config.publicUrl })
    const mailing = deliverer(world, couriers, clock, log)
    const noting = notifier(world, clock, log, mailing.wake)
    integrate.onIntegrated(noting.wake)
    loops.push(noting, mailing)

    const auth = new Authenticator(world, siteOf(config.publicUrl))
    const open = new OpenCalls(clock)
    const desk = new SignOnDesk(world, auth, open, log, {
      tenant: DEFAULT_TENANT,
      publicUrl: config.publicUrl,
      provider: config.oidc === null ? null : oidcProvider(config.oidc),
      passwords: argon2Passwords(),
    })
    const ending = revocations(open, world, clock, log)
    closing.push(() => ending.stop())
    const dispatcher = new Dispatcher(world, log)
    let draining = false
    const strain = pressure(() => ledger.strain, clock, log)
    closing.push(() => strain.stop())
    const health = { unready: async () => (strain.over ? 'overloaded' : unready(world, clock, () => draining)) }
    const census = new Census(db, clock, bus.events === null ? null : PAST)
    const replays = replayer(world, clock, log)
    loops.push(
      replays,
      autonomy(world, clock, log),
      backlogs(world, census, dispatcher, clock, log),
      keyUses(auth.uses, world, clock, log),
    )
    const ledgerDepth = () => ledger.depth
    const routes = allRoutes({
      world,
      auth,
      open,
      changer: change,
      dispatcher,
      replayer: replays,
      publicKey: key.publicKey,
      gate: { key, readings: readingsFor },
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
      couriers,
      desk,
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
      const fault = await unwind().catch((error: Error) => error)
      const { unresolved } = ledger
      if (!fault && unresolved === 0) return
      log.error({ err: fault, unresolved }, 'stopped before it was known what became of these steps')
      throw fault ?? new Error('The store did not say what became of all it was sent')
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

/** What one of the nodes does by itself, as the configuration asks for it. */
function loopsOf(
  world: World,
  config: Config,
  key: SigningKey,
  integrate: Integrator,
  metrics: Metrics,
  clock: Clock,
  log: Log,
): Loop[] {
  const { keepJobsMs, keepAuditMs, checkpoints } = config
  const loops = [sweeper(world, clock, log), rebinder(world, clock, log), closer(world, clock, log)]
  loops.push(enforcer(world, clock, log), breakers(world, clock, log), recoverer(world, clock, log))
  loops.push(reminders(world, clock, log))
  const steps = { rollBack: rollBackByTrigger, promote: promoteBySystem }
  loops.push(triggers(world, triggerSamples, steps, clock, log))
  loops.push(gates(world, { key, readings: readingsFor }, steps, clock, log))
  const pruned = (name: string, n: number) => metrics.jobsPruned.inc({ tenant: metrics.labels.tenant(name) }, n)
  // Also where everything is kept: sessions end, and the embedded engine makes room for new rows only when it is told to.
  loops.push(pruner(world, keepJobsMs, clock, log, pruned))
  if (keepAuditMs !== null && world.archive !== null)
    loops.push(archiver(world, world.archive, key, keepAuditMs, clock, log))
  if (checkpoints !== null) loops.push(checkpointKeeper(world, clock, log, checkpoints))
  if (world.bus.events !== null) {
    const publish = publisher(world, world.bus.events, clock, log)
    integrate.onIntegrated(publish.wake)
    loops.push(publish)
  }
  return loops
}

const isEmbedded = (config: Config, seams: Seams) => config.databaseUrl === null && !seams.memory
const screeners = (clock: Clock) =>
  openThreads<Task, Screened>(new URL('./store/screener-thread.js', import.meta.url), SCREENING, clock)

function headKeeper(world: World, integrate: Integrator): (tenant: string) => Promise<string | null> {
  const heads = new Map<string, string>()
  integrate.onIntegrated(({ tenant, head }) => heads.set(tenant, head.checkpoint))
  return async (tenant) => {
    const known = heads.get(tenant) ?? (await newestHead(world.db, tenant))?.checkpoint ?? null
    if (known !== null && !heads.has(tenant)) heads.set(tenant, known)
    return known
  }
}

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

function packageVersion(root: string): string {
  return (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version
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
