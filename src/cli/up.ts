import { resolve } from 'node:path'
import type { Command } from 'commander'
import { Problem } from '../errors.js'
import type { Plane } from '../main.js'
import { type Context, offline, wholeNumber } from './command.js'
import { CliError, EXIT, type Exit, type FaultLine } from './exit.js'
import { fields, type Pair, type Terminal } from './terminal.js'

interface UpFlags {
  port?: number
  host?: string
  dataDir?: string
  policy?: string
}

export function registerUp(program: Command): void {
  const up = program
    .command('up')
    .description('run the control plane; Ctrl-C drains and stops it, a second one ends it at once')
    .option('--port <n>', 'SALLYPORT_PORT, else 8080', wholeNumber(0, 65_535))
    .option('--host <host>', 'SALLYPORT_HOST, else 127.0.0.1')
    .option('--data-dir <dir>', 'SALLYPORT_DATA_DIR, else .sallyport')
    .option('--policy <path>', 'policy file or folder; SALLYPORT_POLICY')
  offline<UpFlags, []>(up, serve)
}

async function serve({ terminal, env }: Context, flags: UpFlags): Promise<Exit> {
  // Loaded here: the other commands must not wait for the server's parts.
  const [{ loadConfig }, { start }] = await Promise.all([import('../config.js'), import('../main.js')])
  const stopping = stopSignals(terminal)
  let plane: Plane | undefined
  // From the beginning: by default SIGHUP would end a server that is still starting.
  const reload = () =>
    void plane?.reloadPolicy().catch((error: Error) => terminal.note(`the policy was not reloaded: ${error.message}`))
  process.on('SIGHUP', reload)
  try {
    plane = await start(loadConfig(env, flags))
  } catch (error) {
    stopping.off()
    process.off('SIGHUP', reload)
    throw cannotStart(error as Error & { code?: string })
  }
  terminal.show(documentOf(plane), () => welcome(plane, terminal))
  const failed = await Promise.race([stopping.asked, plane.failed])
  if (failed instanceof Error) {
    lingerNot()
    throw new CliError(EXIT.fault, 'store_lost', failed.message, 'Start it again: nothing acknowledged is lost.')
  }
  try {
    await plane.stop()
  } catch (error) {
    lingerNot()
    const steps = plane.world.ledger.unresolved
    const lost = `${steps} ${steps === 1 ? 'step is' : 'steps are'} unresolved: their callers were told neither yes nor no.`
    throw new CliError(EXIT.fault, 'stopped_early', `${(error as Error).message}. ${lost}`, REPEAT)
  }
  process.off('SIGHUP', reload)
  stopping.off()
  terminal.note('Stopped.')
  return EXIT.done
}

const REPEAT = 'What was sent with an Idempotency-Key may be repeated: it is done at most once.'

/** What still hangs, a connection or a thread, would keep the process alive after its end was told. */
function lingerNot(): void {
  setTimeout(() => process.exit(), 1000).unref()
}

/** The faults of a policy get a line each; everything else has a message for people already. */
export function cannotStart(error: Error & { code?: string }): CliError {
  const help = error.code === 'EADDRINUSE' ? 'Something has that port already; choose another with --port.' : null
  const faults =
    error instanceof Problem && Array.isArray(error.extra.faults) ? (error.extra.faults as FaultLine[]) : []
  return new CliError(EXIT.no, 'cannot_start', error.message, help, { faults })
}

/**
 * One Ctrl-C may come as two signals or three: the terminal sends it to the whole process group, and npm passes its own on.
 * What comes within this time of the first is the same press.
 */
const SAME_PRESS_MS = 1000

/** `asked` resolves at the first SIGINT or SIGTERM, also one that comes while it starts; a later one ends the process. */
function stopSignals(terminal: Terminal): { asked: Promise<void>; off(): void } {
  let off = () => {}
  const asked = new Promise<void>((resolve) => {
    let first: number | null = null
    const onSignal = () => {
      const now = performance.now()
      if (first !== null && now - first > SAME_PRESS_MS) process.exit(EXIT.interrupted)
      if (first !== null) return
      first = now
      terminal.note('Draining … once more ends it at once.')
      resolve()
    }
    process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
    off = () => void process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
  })
  return { asked, off: () => off() }
}

type Running = Pick<Plane, 'url' | 'dataDir' | 'keyFiles' | 'policy' | 'world'>

function documentOf({ url, dataDir, keyFiles, policy }: Running): unknown {
  return {
    url,
    api: `${url}/api/v1`,
    docs: `${url}/docs`,
    data_dir: dataDir,
    key_files: keyFiles,
    policy,
    pid: process.pid,
  }
}

function welcome({ url, dataDir, keyFiles, policy, world }: Running, { color }: Terminal): string {
  const keys = Object.entries(keyFiles).map(([role, file]): Pair => [`  ${role}`, resolve(file)])
  return [
    color.bold('Sallyport is running.'),
    '',
    fields(
      [
        ['API', `${url}/api/v1`],
        ['Docs', `${url}/docs`],
        ['Data', resolve(dataDir)],
        ['Policy', policyLine(policy)],
        ['Keys', keys.length === 0 ? 'as made before' : 'one for each role, readable by you only'],
        ...keys,
      ],
      color,
    ),
    '',
    world.db.engine === 'pglite'
      ? 'The embedded store survives a crash of this process, not a power cut.'
      : 'The state is in Postgres, and so as durable as that is.',
    color.dim('Ctrl-C drains and stops. In another terminal:'),
    ...(url === DEFAULT_URL ? [] : [color.dim(`  export SALLYPORT_URL=${url}`)]),
    color.dim(`  ${self()} jobs submit --topic job.repo.read`),
  ].join('\n')
}

const DEFAULT_URL = 'http://127.0.0.1:8080'

/** What the reader has to type: from a clone the command is not on the path. */
const self = () => (process.env.npm_lifecycle_event === undefined ? 'sallyport' : 'npm run --silent sallyport --')

function policyLine({ snapshot, rules, warnings }: Running['policy']): string {
  return `${snapshot}, ${rules} rules${warnings === 0 ? '' : `, ${warnings} warnings: see sallyport policy check`}`
}
