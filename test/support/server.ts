import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Client, createClient } from '../../src/sdk/client.js'

/** The built command: what is tested here is processes, their signals and their deaths. */
export const CLI = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

export type FirstRole = 'admin' | 'agent' | 'worker' | 'approver'

/** A control plane in a process of its own. */
export interface Server {
  url: string
  port: number
  dataDir: string
  pid: number
  child: ChildProcess
  /** The document `up --json` prints when it is ready. */
  ready: { url: string; key_files: Record<FirstRole, string>; policy: { snapshot: string; rules: number } }
  key(role: FirstRole): string
  client(role: FirstRole): Client
  /** What it wrote to stderr so far: log lines and notes. */
  stderr(): string
  /** Its log lines, parsed. */
  log(): Record<string, unknown>[]
  /** Sends a signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<Ended>
}

export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  /** From the signal to the end. */
  ms: number
  err: string
}

export interface UpOptions {
  dataDir: string
  policy?: string
  /** Free by default; a worker that outlives its server needs the same one again. */
  port?: number
  args?: readonly string[]
  env?: Record<string, string>
}

const alive = new Set<ChildProcess>()

/** Starts a process of which nothing is left behind when the tests end. */
export function track(child: ChildProcess): ChildProcess {
  alive.add(child)
  child.once('exit', () => alive.delete(child))
  return child
}
process.once('exit', killAll)

/** Ends everything that was started here; for `afterAll`. */
export async function endAll(): Promise<void> {
  const ends = [...alive].map((child) => once(child, 'exit'))
  killAll()
  await Promise.all(ends)
}

function killAll(): void {
  for (const child of alive) child.kill('SIGKILL')
}

/** `up` as it is, ready or not; `ended` when it is over. */
export function spawnUp({ dataDir, policy, port = 0, args = [], env = {} }: UpOptions): {
  child: ChildProcess
  out: () => string
  err: () => string
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
} {
  if (!existsSync(CLI)) throw new Error('dist/ is not built: npm run build')
  const flags = ['--data-dir', dataDir, '--port', String(port), ...(policy === undefined ? [] : ['--policy', policy])]
  const child = track(
    spawn(process.execPath, [CLI, 'up', '--json', ...flags, ...args], {
      cwd: tmpdir(),
      env: { PATH: process.env.PATH, SALLYPORT_LOG_LEVEL: 'info', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  )
  let [out, err] = ['', '']
  child.stdout?.setEncoding('utf8').on('data', (chunk) => {
    out += chunk
  })
  child.stderr?.setEncoding('utf8').on('data', (chunk) => {
    err += chunk
  })
  // 'close', not 'exit': by then all that it wrote has been read.
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal }))
  return { child, out: () => out, err: () => err, ended }
}

/** Starts a server and resolves when /readyz says so. Rejects with what it wrote when it ends instead. */
export async function startServer(options: UpOptions): Promise<Server> {
  const { child, out, err, ended } = spawnUp(options)
  const ready = await new Promise<Server['ready']>((resolve, reject) => {
    void ended.then(({ code, signal }) => reject(new Error(`up ended with ${code ?? signal}: ${out()}${err()}`)))
    child.stdout?.on('data', () => {
      try {
        resolve(JSON.parse(out()))
      } catch {}
    })
  })
  const answer = await fetch(`${ready.url}/readyz`)
  if (answer.status !== 200) throw new Error(`up said it is ready, /readyz answers ${answer.status}`)
  const key = (role: FirstRole) => readFileSync(ready.key_files[role], 'utf8').trim()
  return {
    url: ready.url,
    port: Number(new URL(ready.url).port),
    dataDir: options.dataDir,
    pid: child.pid as number,
    child,
    ready,
    key,
    client: (role) => createClient({ url: ready.url, apiKey: key(role) }),
    stderr: err,
    log: () => logLines(err()),
    async end(signal) {
      const from = performance.now()
      child.kill(signal)
      return { ...(await ended), ms: Math.round(performance.now() - from), err: err() }
    },
  }
}

let prepared: Promise<string> | null = null

/**
 * A data directory as a stopped server leaves it, copied from one that is made once in a test file: making a database costs
 * twice what a start does. Its policy is the example's.
 */
export async function preparedDataDir(dataDir: string): Promise<string> {
  prepared ??= (async () => {
    const { dir } = scratch('prepared')
    process.once('exit', () => rmSync(dir, { recursive: true, force: true }))
    const server = await startServer({ dataDir: join(dir, 'data') })
    await server.end('SIGTERM')
    return join(dir, 'data')
  })()
  cpSync(await prepared, dataDir, { recursive: true })
  return dataDir
}

function logLines(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
}

export interface Ran {
  exit: number | null
  out: string
  err: string
  // biome-ignore lint/suspicious/noExplicitAny: whatever the command prints
  json: any
}

/** One command to its end. `--json` gives `json`. */
export async function sallyport(args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  const child = track(
    spawn(process.execPath, [CLI, ...args], {
      cwd: tmpdir(),
      env: { PATH: process.env.PATH, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  )
  let [out, err] = ['', '']
  child.stdout?.setEncoding('utf8').on('data', (chunk) => {
    out += chunk
  })
  child.stderr?.setEncoding('utf8').on('data', (chunk) => {
    err += chunk
  })
  const [exit] = await once(child, 'close')
  const json = args.includes('--json') && out !== '' ? JSON.parse(out) : undefined
  return { exit, out, err, json }
}

/** A folder of its own below the temporary one; `gone` removes it. */
export function scratch(name: string): { dir: string; at(...names: string[]): string; gone(): void } {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), `sallyport-${name}-`)))
  return {
    dir,
    at: (...names) => join(dir, ...names),
    gone: () => rmSync(dir, { recursive: true, force: true }),
  }
}

/** Waits until `look` gives something other than null, undefined or false. Throws naming `what` when it does not within `ms`. */
export async function until<T>(
  what: string,
  look: () => T | null | undefined | false | Promise<T | null | undefined | false>,
  ms = 30_000,
): Promise<T> {
  const end = performance.now() + ms
  for (;;) {
    const found = await look()
    if (found !== null && found !== undefined && found !== false) return found
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`)
    await new Promise((again) => setTimeout(again, 10))
  }
}

export interface Dice {
  seed: number
  /** Whole, from `from` up to and with `to`. */
  whole(from: number, to: number): number
}

/** Chance that can be had again: SALLYPORT_SEED=… repeats a run. Says its seed. */
export function dice(drill: string, seed = Number(process.env.SALLYPORT_SEED ?? Date.now() % 1_000_000)): Dice {
  console.log(`${drill}: SALLYPORT_SEED=${seed}`)
  let state = seed >>> 0
  const fraction = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  return { seed, whole: (from, to) => from + Math.floor(fraction() * (to - from + 1)) }
}
