import { setTimeout as sleep } from 'node:timers/promises'
import type { DrillMade, DrillName, DrillRun } from '../contract/drills.js'
import { type Figure, MOST_CHECKS, MOST_DETAIL, MOST_NAME } from '../core/drill.js'
import { type Client, createClient } from '../sdk/client.js'
import { SallyportError } from '../sdk/errors.js'
import type { ServerContext } from './command.js'
import type { ConnectionFlags, Part } from './connection.js'
import { CliError, EXIT, type Exit } from './exit.js'
import type { JobFlags } from './job-flags.js'
import { duration, printable, type Terminal } from './terminal.js'

/** What a drill is told; each reads what is about it. */
export interface DrillFlags extends ConnectionFlags, JobFlags {
  /** False with --no-record. */
  record?: boolean
  within?: number
  run?: string
  out?: string
  firstKeyFile?: string
  secondKeyFile?: string
  backup?: string
  scratch?: string
  database?: string
  signingKey?: string
}

/** Records a step. What does not hold ends the drill: the steps after it would only tell what follows from it. */
export type Check = (step: string, holds: boolean, detail: string) => void

/** With which a drill is played: its steps, what it made, what it measured. */
export interface Play {
  check: Check
  /** For the server to look at itself. */
  made(ids: DrillMade): void
  measured(figure: Figure, ms: number): void
}

export type Player = (context: ServerContext, flags: DrillFlags, on: Play) => Promise<void>

interface Step {
  step: string
  pass: boolean
  detail: string
}

/** What a drill came to: as it was played, and as the server recorded it. */
export interface Ended {
  drill: DrillName
  ok: boolean
  steps: Step[]
  figures: Partial<Record<Figure, number>>
  recorded: DrillRun | null
}

class DrillFailed extends Error {}

/** Plays a drill, prints its steps and tells the server; exit 0 where all hold, on both sides. */
export async function runDrill(
  drill: DrillName,
  context: ServerContext,
  flags: DrillFlags,
  player: Player,
): Promise<Exit> {
  const { terminal } = context
  const ended = await playDrill(drill, context, flags, player)
  terminal.show(ended, () => endText(ended, terminal))
  return ended.ok ? EXIT.done : EXIT.no
}

export async function playDrill(
  drill: DrillName,
  context: ServerContext,
  flags: DrillFlags,
  player: Player,
): Promise<Ended> {
  const { terminal } = context
  const steps: Step[] = []
  const made: DrillMade = {}
  const figures: Ended['figures'] = {}
  const record = (step: string, pass: boolean, detail: string) => {
    steps.push({ step, pass, detail })
    terminal.line(stepLine({ step, pass, detail }, terminal))
  }
  const from = performance.now()
  try {
    await player(context, flags, {
      check(step, holds, detail) {
        record(step, holds, detail)
        if (!holds) throw new DrillFailed(step)
      },
      made: (ids) => Object.assign(made, ids),
      measured(figure, ms) {
        figures[figure] = Math.max(0, Math.round(ms))
      },
    })
  } catch (error) {
    // Without a server or a key nothing was tried; that is no failed drill.
    if (!(error instanceof DrillFailed)) {
      const told = saidNo(error)
      if (told === null) throw error
      record(told.step, false, told.detail)
    }
  }
  const took_ms = Math.round(performance.now() - from)
  const played = steps.length > 0 && steps.every(({ pass }) => pass)
  if (flags.record === false || steps.length === 0) return { drill, ok: played, steps, figures, recorded: null }
  const checks = steps.slice(-MOST_CHECKS).map(({ step, pass, detail }) => ({
    name: step.slice(0, MOST_NAME),
    pass,
    detail: detail.slice(0, MOST_DETAIL),
  }))
  const recorded = await context.client.drills.report(drill, { took_ms, made, checks, figures })
  for (const { by, name, pass, detail } of recorded.checks)
    if (by === 'server') terminal.line(stepLine({ step: `the server saw: ${name}`, pass, detail }, terminal))
  const ok = played && recorded.outcome === 'passed'
  return { drill, ok, steps, figures: { ...figures, ...recorded.figures }, recorded }
}

/** An answer that is a no, as a step; null where it is a fault of how the drill was called. */
function saidNo(error: unknown): { step: string; detail: string } | null {
  if (error instanceof CliError && error.exit === EXIT.no) return { step: error.code, detail: error.message }
  if (!(error instanceof SallyportError) || error.code === 'unreachable' || error.status === 401) return null
  return { step: 'the server does as asked', detail: `${error.code}: ${error.message}` }
}

function stepLine({ step, pass, detail }: Step, { color }: Terminal): string {
  const word = pass ? color.green('pass') : color.red('FAIL')
  return `${word}  ${step}${detail === '' ? '' : `  ${color.dim(printable(detail))}`}`
}

function endText({ drill, ok, figures, recorded }: Ended, { color }: Terminal): string {
  const times = Object.entries(figures).map(([name, ms]) => `${name.replace('_ms', '')} ${duration(ms)}`)
  const told = recorded === null ? 'not recorded' : recorded.drill_id
  const end = ok ? color.green(`drill ${drill} passed`) : color.red(`drill ${drill} failed`)
  return `${end}  ${color.dim([told, ...times].join(', '))}`
}

/** A client of the same server with the key of another part. */
export async function clientAs({ url, keyOf }: ServerContext, part: Part): Promise<Client> {
  return createClient({ url, apiKey: await keyOf(part), retries: 2 })
}

/** The first answer that is something, asked for until the time is over; null then. */
export async function eventually<T>(ask: () => Promise<T | undefined | null>, withinMs = 10_000): Promise<T | null> {
  const end = performance.now() + withinMs
  for (;;) {
    const found = await ask()
    if (found !== undefined && found !== null) return found
    if (performance.now() > end) return null
    await sleep(200)
  }
}

/** The refusal of a call that is to be refused; null where it was taken. */
export async function refusalOf(call: Promise<unknown>): Promise<SallyportError | null> {
  return await call.then(
    () => null,
    (error: unknown) => {
      if (error instanceof SallyportError && error.status >= 400 && error.status < 500) return error
      throw error
    },
  )
}

/** Whatever a drill submits to be refused or held must reach no worker where the control is broken: it is not due before it is cancelled. */
export const notYet = (): number => Date.now() + 3_600_000
