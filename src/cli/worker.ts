import type { EventEmitter } from 'node:events'
import { Command, InvalidArgumentError } from 'commander'
import pc from 'picocolors'
import { SallyportError } from '../sdk/errors.js'
import { createWorker, type Handler, type Worker, type WorkerLog } from '../sdk/worker.js'
import { type Builtin, type BuiltinConfig, builtinHandlers } from '../worker/builtin.js'
import { type ConnectionFlags, DEFAULT_URL, findKey, serverUrl } from './connection.js'
import { CliError, EXIT, told, usage } from './exit.js'

/** The command's options as commander gives them. */
export interface WorkerFlags extends ConnectionFlags {
  topics?: string[]
  serves?: string[]
  repo?: string[]
  workdir?: string
  allowEnv?: string[]
  allowHost?: string[]
  allowPrivate?: string[]
  deployCommand?: string[]
  deployEnv?: string[]
  concurrency?: number
  grace?: number
}

type Environment = Readonly<Record<string, string | undefined>>

/** `sallyport worker`: serves the built-in topics until it is told to stop. Exit code 0 after a drain; else why it could not start (exit.ts). */
export function workerCommand(): Command {
  return new Command('worker')
    .description('run the built-in worker: git reads, shell commands, HTTP calls, deployments')
    .option('--url <url>', `the server (SALLYPORT_URL, else ${DEFAULT_URL})`)
    .option(
      '--key-file <file>',
      'file with the worker key (else SALLYPORT_API_KEY, else keys/worker.key in the data directory)',
    )
    .option('--topics <list>', 'topics to serve, with commas between; default: those that are configured', commaList)
    .option('--serves <version...>', 'versions it does the work of, NAME@VERSION: agent:support-bot@2.0', nameAtVersion)
    .option('--repo <dir...>', 'git repositories, or folders of them, that job.repo.read may read')
    .option('--workdir <dir>', 'folder in which job.exec.shell starts commands')
    .option('--allow-env <name...>', 'variables a shell job may set')
    .option('--allow-host <host...>', 'hosts job.integrations.call may call, within what the policy allows')
    .option('--allow-private <host:port...>', 'services on private addresses it may call', hostPort)
    .option('--deploy-command <command>', 'what job.deploy.apply runs: words, or a JSON array of them', argv)
    .option('--deploy-env <name...>', "variables of this worker's environment the deploy command gets")
    .option('--concurrency <n>', 'jobs at a time', wholeNumber)
    .option('--grace <seconds>', 'time running jobs get when the worker is told to stop', wholeNumber)
    .action(async (flags: WorkerFlags) => {
      process.exitCode = await runWorker(flags, process.env, { log: process.stderr, signals: process })
    })
}

/** What the flags and the environment make of the handlers. */
export function builtinConfig(flags: WorkerFlags, env: Environment): BuiltinConfig {
  const deployEnv: Record<string, string> = {}
  for (const name of flags.deployEnv ?? []) {
    const value = env[name]
    if (value === undefined) throw usage(`--deploy-env ${name}: there is no such variable`)
    deployEnv[name] = value
  }
  return {
    ...(flags.repo === undefined ? {} : { repo: { roots: flags.repo } }),
    ...(flags.workdir === undefined ? {} : { shell: { workdir: flags.workdir, allowedEnv: flags.allowEnv ?? [] } }),
    ...(flags.deployCommand === undefined ? {} : { deploy: { command: flags.deployCommand, env: deployEnv } }),
    integrations: {
      allowPrivate: flags.allowPrivate ?? [],
      ...(flags.allowHost === undefined ? {} : { allowedHosts: flags.allowHost }),
    },
    ...(flags.topics === undefined ? {} : { topics: flags.topics }),
  }
}

/** What the process gives the command. */
export interface WorkerProcess {
  log: { isTTY?: boolean; write(text: string): unknown }
  signals: EventEmitter
}

/** Runs until a signal ends it; returns the exit code. */
export async function runWorker(
  flags: WorkerFlags,
  env: Environment,
  { log, signals }: WorkerProcess,
): Promise<number> {
  const print = logTo(log)
  try {
    const worker = await createBuiltinWorker(flags, env, print)
    const drained = drainOnSignal(worker, (flags.grace ?? 30) * 1000, signals, print)
    // A signal before the first contact ends the attempt to start; that is a stop like any other.
    await worker.start().catch((error: unknown) => {
      if (!(error instanceof SallyportError && error.code === 'stopped')) throw error
    })
    await drained
    return EXIT.done
  } catch (error) {
    const { exit, code, message, help } = told(error)
    print({ level: 'error', event: 'cannot_start', code, message, ...(help === null ? {} : { help }) })
    return exit
  }
}

async function createBuiltinWorker(flags: WorkerFlags, env: Environment, log: (entry: WorkerLog) => void) {
  const url = serverUrl(flags, env)
  const { topics, enforces } = handlersOf(builtinConfig(flags, env))
  const apiKey = await findKey(flags, url, 'worker', env)
  if (apiKey === null)
    throw new CliError(
      EXIT.forbidden,
      'no_key',
      'no worker key',
      'Give one with --key-file or SALLYPORT_API_KEY, or start where the server on this machine has its data (SALLYPORT_DATA_DIR).',
    )
  return createWorker({
    url,
    apiKey,
    topics: logged(topics),
    enforces: [...enforces],
    ...(flags.serves === undefined ? {} : { serves: flags.serves }),
    ...(flags.concurrency === undefined ? {} : { concurrency: flags.concurrency }),
    log,
  })
}

function handlersOf(config: BuiltinConfig): Builtin {
  try {
    return builtinHandlers(config)
  } catch (error) {
    throw error instanceof RangeError ? usage(`--topics: ${error.message}`) : error
  }
}

/** Resolves when a first SIGINT or SIGTERM has drained the worker; a second one hurries it. */
function drainOnSignal(
  worker: Worker,
  graceMs: number,
  signals: EventEmitter,
  print: (entry: WorkerLog) => void,
): Promise<void> {
  return new Promise((resolve) => {
    const onSignal = (signal: NodeJS.Signals) => {
      print({ level: 'info', event: 'draining', signal, running: worker.stats.running })
      worker.stop({ graceMs }).then(() => {
        signals.off('SIGINT', onSignal).off('SIGTERM', onSignal)
        resolve()
      })
    }
    signals.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  })
}

/** The handlers with a line at the start and end of each job. Neither input nor result: the log is not screened. */
function logged(topics: Readonly<Record<string, Handler>>): Record<string, Handler> {
  const entries = Object.entries(topics).map(([topic, handler]): [string, Handler] => [
    topic,
    async (job, ctx) => {
      ctx.log('job_started')
      try {
        const result = await handler(job, ctx)
        ctx.log('job_succeeded')
        return result
      } catch (error) {
        ctx.log('job_failed', { code: (error as { code?: unknown } | null)?.code ?? 'handler_error' })
        throw error
      }
    },
  ])
  return Object.fromEntries(entries)
}

/** One JSON line an event when piped, a readable one on a terminal. */
export function logTo(stream: WorkerProcess['log']): (entry: WorkerLog) => void {
  if (!stream.isTTY) return (entry) => stream.write(`${JSON.stringify({ time: new Date().toISOString(), ...entry })}\n`)
  const colour = { info: pc.dim, warn: pc.yellow, error: pc.red }
  return ({ level, event, ...about }) => {
    const facts = Object.entries(about).map(
      ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
    )
    stream.write(`${colour[level](event.replaceAll('_', ' '))}  ${facts.join(' ')}\n`)
  }
}

function commaList(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

function wholeNumber(text: string): number {
  if (!/^[0-9]{1,6}$/.test(text)) throw new InvalidArgumentError('a whole number is needed.')
  return Number(text)
}

function hostPort(text: string, before: string[] = []): string[] {
  if (!/^.+:[0-9]{1,5}$/.test(text)) throw new InvalidArgumentError('host:port is needed, e.g. 127.0.0.1:9000.')
  return [...before, text]
}

function nameAtVersion(text: string, before: string[] = []): string[] {
  if (!/^[!-~]{1,300}@[!-~]{1,100}$/.test(text))
    throw new InvalidArgumentError('NAME@VERSION is needed, e.g. agent:support-bot@2.0.')
  if (before.length === 8) throw new InvalidArgumentError('at most 8.')
  return [...before, text]
}

/** A program and its arguments, split at blanks; where one holds a blank, a JSON array says so. There is no shell. */
export function argv(text: string): string[] {
  if (!text.trimStart().startsWith('[')) {
    const words = text.split(/\s+/).filter((word) => word !== '')
    if (words.length === 0) throw new InvalidArgumentError('a command is needed.')
    return words
  }
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    throw new InvalidArgumentError('this is no JSON array.')
  }
  if (!Array.isArray(parsed) || parsed.length === 0 || !parsed.every((part) => typeof part === 'string'))
    throw new InvalidArgumentError('a JSON array of strings is needed.')
  return parsed
}
