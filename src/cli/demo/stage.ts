import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, rmSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { loadConfig, PACKAGE_ROOT } from '../../config.js'
import type { Plane } from '../../main.js'
import { type Client, createClient } from '../../sdk/client.js'
import { type LeakyRepository, makeLeakyRepository, newestCommit } from './repository.js'
import { openWarehouse, type Warehouse } from './warehouse.js'

/** Everything the demonstration plays with. All of it is real: the server, the worker process, the repository, the service. */
export interface Stage {
  plane: Plane
  /** Holds everything; gone afterwards. */
  folder: string
  /** The parts that are played, each with a key of its own. */
  agent: Client
  approver: Client
  operator: Client
  admin: Client
  warehouse: Warehouse
  /** The repository an agent reads, and its newest commit as git itself says. */
  repository: { path: string; head: string }
  leaky: LeakyRepository
  /** Where shell commands start; holds one file worth losing. */
  workdir: string
  /** What the deploy command writes a line to, each time it runs. */
  deployments(): Promise<string[]>
  /** What somebody outside keeps of the audit log: its public key, and a signed head now and then. */
  outside: { publicKey: string; heads: string[] }
  /** Starts `sallyport worker`. One at a time takes jobs: see `kill`. */
  startWorker(): Promise<WorkerProcess>
  /** The worker that was started last. */
  worker(): WorkerProcess
  /** Ends all of it. */
  close(): Promise<void>
}

export interface WorkerProcess {
  pid: number
  log: string
  /** SIGKILL: no drain, no last word. Resolves when it is gone. */
  kill(): Promise<void>
}

export const DATABASE = 'customers.db'
/** What a worker gets to drain before it is ended. */
const DRAIN_MS = 5000
const MAIN = fileURLToPath(new URL('../main.js', import.meta.url))

/** Deploys nothing, but truthfully: one line a run. */
const DEPLOY = `import { appendFileSync } from 'node:fs'
let input = ''
for await (const chunk of process.stdin) input += chunk
const { service, version, environment } = JSON.parse(input)
appendFileSync(process.argv[2], service + ' ' + version + ' to ' + environment + '\\n')
console.log(service + ' ' + version + ' is live in ' + environment)
`

/**
 * The folder goes with everything else unless it is to be kept, also when the process ends without closing the stage.
 * Throws what a server that cannot start throws, and CliError `no_git`; then nothing is left running.
 */
export async function openStage({ keepFolder }: { keepFolder: boolean }): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-demo-'))
  const workers: ChildProcess[] = []
  /** Ways back, run in reverse. */
  const closing: (() => Promise<unknown>)[] = []
  const abandon = () => {
    for (const worker of workers) worker.kill('SIGKILL')
    if (!keepFolder) rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
  process.once('exit', abandon)
  const close = async () => {
    await Promise.all(workers.map(drained))
    for (const each of closing.splice(0).reverse()) await each().catch(() => {})
    if (!keepFolder) await rm(folder, { recursive: true, force: true, maxRetries: 5 })
    process.off('exit', abandon)
  }
  try {
    const props = await buildProps(folder)
    const warehouse = await openWarehouse()
    closing.push(() => warehouse.close())
    // Loaded here: the other commands must not wait for the server's parts.
    const { start } = await import('../../main.js')
    const plane = await start(
      // Nobody's environment: a database or key that is configured for real work must not be played with.
      loadConfig({}, { port: 0, dataDir: join(folder, 'data'), policy: props.policy, logLevel: 'error' }),
    )
    closing.push(() => plane.stop())
    const clients = await clientsOf(plane)
    const startWorker = async () => {
      const log = join(folder, `worker-${workers.length + 1}.log`)
      const worker = spawnWorker({ plane, warehouse, props, folder, log })
      workers.push(worker)
      return processOf(worker, log)
    }
    let current = await startWorker()
    return {
      plane,
      folder,
      ...clients,
      warehouse,
      repository: props.repository,
      leaky: props.leaky,
      workdir: props.workdir,
      deployments: async () => (await readFile(props.deployLog, 'utf8').catch(() => '')).split('\n').filter(Boolean),
      outside: { publicKey: '', heads: [] },
      startWorker: async () => {
        current = await startWorker()
        return current
      },
      worker: () => current,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

interface Props {
  policy: string
  repositories: string
  repository: { path: string; head: string }
  leaky: LeakyRepository
  workdir: string
  deployScript: string
  deployLog: string
}

async function buildProps(folder: string): Promise<Props> {
  const at = (...names: string[]) => join(folder, ...names)
  for (const name of ['policy', 'repositories', 'workdir']) await mkdir(at(name))
  for (const name of ['default.yaml', 'demo.yaml'])
    await copyFile(join(PACKAGE_ROOT, 'examples/policies', name), at('policy', name))
  await writeFile(at('workdir', DATABASE), 'every customer there is\n')
  await writeFile(at('deploy.mjs'), DEPLOY)
  const leaky = await makeLeakyRepository(at('repositories'))
  return {
    policy: at('policy'),
    repositories: at('repositories'),
    repository: await repositoryToRead(at('repositories', leaky.name)),
    leaky,
    workdir: at('workdir'),
    deployScript: at('deploy.mjs'),
    deployLog: at('deployments.log'),
  }
}

/** This very checkout; an installed package is none, so then the one made for the demonstration. */
async function repositoryToRead(otherwise: string): Promise<{ path: string; head: string }> {
  const head = await newestCommit(PACKAGE_ROOT)
  if (head !== null) return { path: PACKAGE_ROOT, head }
  return { path: otherwise, head: (await newestCommit(otherwise)) ?? '' }
}

async function clientsOf({ url, keyFiles }: Plane): Promise<Pick<Stage, 'agent' | 'approver' | 'operator' | 'admin'>> {
  const as = async (role: string) => {
    const apiKey = (await readFile(keyFiles[role] ?? '', 'utf8')).trim()
    return createClient({ url, apiKey, retries: 2 })
  }
  const admin = await as('admin')
  const { key } = await admin.keys.create({ role: 'operator', principal: 'operator:first', note: 'demonstration' })
  const operator = createClient({ url, apiKey: key, retries: 2 })
  return { admin, operator, agent: await as('agent'), approver: await as('approver') }
}

interface WorkerSetting {
  plane: Plane
  warehouse: Warehouse
  props: Props
  folder: string
  log: string
}

/** The command as anybody would start it, with PATH and nothing else of this process's environment. */
function spawnWorker({ plane, warehouse, props, folder, log }: WorkerSetting): ChildProcess {
  const deploy = [process.execPath, props.deployScript, props.deployLog]
  const args = [
    ...['worker', '--url', plane.url, '--key-file', plane.keyFiles.worker ?? ''],
    ...['--repo', props.repository.path, props.repositories],
    ...['--workdir', props.workdir],
    ...['--allow-private', warehouse.address],
    ...['--deploy-command', JSON.stringify(deploy)],
    // One job at a time, so that the one behind the killed one is still waiting.
    ...['--concurrency', '1'],
  ]
  const output = openSync(log, 'a', 0o600)
  try {
    return spawn(process.execPath, [MAIN, ...args], {
      cwd: folder,
      env: { PATH: process.env.PATH },
      stdio: ['ignore', output, output],
    })
  } finally {
    closeSync(output)
  }
}

function processOf(worker: ChildProcess, log: string): WorkerProcess {
  return {
    pid: worker.pid ?? 0,
    log,
    async kill() {
      if (!isOver(worker) && worker.kill('SIGKILL')) await once(worker, 'exit')
    },
  }
}

async function drained(worker: ChildProcess): Promise<void> {
  if (isOver(worker)) return
  const gone = once(worker, 'exit')
  worker.kill('SIGTERM')
  const over = new AbortController()
  await Promise.race([gone, sleep(DRAIN_MS, null, { signal: over.signal }).catch(() => {})])
  over.abort()
  if (!isOver(worker) && worker.kill('SIGKILL')) await gone
}

const isOver = (child: ChildProcess): boolean =>
  child.pid === undefined || child.exitCode !== null || child.signalCode !== null
