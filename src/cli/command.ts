import { type Command, CommanderError, InvalidArgumentError } from 'commander'
import type { Client } from '../sdk/client.js'
import { SallyportError } from '../sdk/errors.js'
import {
  type ConnectionFlags,
  connect,
  DEFAULT_URL,
  findPartKey,
  type LocalKey,
  noServer,
  type Part,
  serverUrl,
} from './connection.js'
import { EXIT, type Exit, told } from './exit.js'
import { createTerminal, type Terminal } from './terminal.js'

/** What a command works with. */
export interface Context {
  terminal: Terminal
  env: NodeJS.ProcessEnv
}
/** ... and one that speaks to a server. */
export interface ServerContext extends Context {
  client: Client
  url: string
  /** The key of another part, for a command that plays several. */
  keyOf(part: Part): Promise<string>
}

// biome-ignore lint/suspicious/noConfusingVoidType: an action that returns nothing has done what it should
type Ended = Exit | void

/** A command that needs no server. `run` gets the flags and then the arguments; what it returns is the exit code. */
export function offline<Flags extends object, Args extends unknown[]>(
  command: Command,
  run: (context: Context, flags: Flags, ...args: Args) => Promise<Ended> | Ended,
): Command {
  return withJson(command).action(async (...given: unknown[]) => {
    const { flags, args } = split<Flags, Args>(given)
    await perform(flags, (context) => run(context, flags, ...args))
  })
}

/** A command that speaks to a server, by default with the key of `role` on this machine. */
export function online<Flags extends object, Args extends unknown[]>(
  command: Command,
  role: LocalKey,
  run: (context: ServerContext, flags: Flags & ConnectionFlags, ...args: Args) => Promise<Ended> | Ended,
): Command {
  return withServer(withJson(command), role).action(async (...given: unknown[]) => {
    const { flags, args } = split<Flags & ConnectionFlags, Args>(given)
    await perform(flags, async (context) => run(await onlineContext(context, flags, role), flags, ...args))
  })
}

/** What an online command works with; for those that are online only sometimes. */
export async function onlineContext(context: Context, flags: ConnectionFlags, role: LocalKey): Promise<ServerContext> {
  const url = serverUrl(flags, context.env)
  const keyOf = (part: Part) => findPartKey(flags, url, part, context.env)
  return { ...context, client: await connect(flags, role, context.env), url, keyOf }
}

/** Options by which a command finds its server. `--data-dir` is left to those that mean more by it. */
export function withServer(command: Command, role: LocalKey): Command {
  return command
    .option('--url <url>', `the server (SALLYPORT_URL, else ${DEFAULT_URL})`)
    .option(
      '--key-file <file>',
      `file with the key (else SALLYPORT_API_KEY, else keys/${role}.key in the data directory)`,
    )
}

function withJson(command: Command): Command {
  return command.option('--json', 'one JSON document on stdout, errors too')
}

function split<Flags, Args extends unknown[]>(given: unknown[]): { flags: Flags; args: Args } {
  return { flags: given.at(-2) as Flags, args: given.slice(0, -2) as Args }
}

async function perform(flags: object, run: (context: Context) => Promise<Ended> | Ended): Promise<void> {
  const json = (flags as { json?: boolean }).json === true
  const terminal = createTerminal(process, process.env, { json, stdinTTY: process.stdin.isTTY === true })
  try {
    process.exitCode = (await run({ terminal, env: process.env })) ?? EXIT.done
  } catch (error) {
    if (error instanceof CommanderError) throw error
    const known =
      error instanceof SallyportError && error.code === 'unreachable'
        ? noServer(serverUrl(flags as ConnectionFlags, process.env))
        : error
    const end = told(known)
    terminal.error(end)
    if (end.exit === EXIT.fault && process.env.SALLYPORT_DEBUG) console.error(error)
    process.exitCode = end.exit
  }
}

// What options are made of. Each throws commander's own error, which names the option.

export function wholeNumber(from: number, to: number): (text: string) => number {
  return (text) => {
    const number = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
    if (number >= from && number <= to) return number
    throw new InvalidArgumentError(`a whole number from ${from} to ${to} is needed.`)
  }
}

export function oneOf<Word extends string>(...words: readonly Word[]): (text: string) => Word {
  return (text) => {
    if ((words as readonly string[]).includes(text)) return text as Word
    throw new InvalidArgumentError(`one of ${words.join(', ')} is needed.`)
  }
}

/** `name=value`, given once or more. */
export function keyValue(text: string, before: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('name=value is needed.')
  return Object.fromEntries([...Object.entries(before), [text.slice(0, at), text.slice(at + 1)]])
}

/** Given once or more, also with commas between. */
export function words(text: string, before: string[] = []): string[] {
  return [...before, ...text.split(',').map((word) => word.trim())].filter((word) => word !== '')
}

/** Given once or more, taken whole. */
export function collect(text: string, before: string[] = []): string[] {
  return [...before, text]
}

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `90s`, `15m`, `4h`, `30d` in ms. */
export function span(text: string): number {
  const [, count, unit = ''] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text) ?? []
  const size = UNITS[unit]
  if (count === undefined || size === undefined)
    throw new InvalidArgumentError('a time such as 90s, 15m, 4h or 30d is needed.')
  return Number(count) * size
}

/** As `span` takes it, in the largest unit that says it whole. */
export function asFlag(ms: number): string {
  const [unit, size] = Object.entries(UNITS)
    .sort(([, a], [, b]) => b - a)
    .find(([, each]) => ms >= each && ms % each === 0) ?? ['ms', 1]
  return `${ms / size}${unit}`
}
