import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, createClient } from '../sdk/client.js'
import { SallyportError } from '../sdk/errors.js'
import type { ServerContext } from './command.js'
import type { Part } from './connection.js'
import { EXIT, type Exit } from './exit.js'
import { printable } from './terminal.js'

/** Records a step. What does not hold ends the drill: the steps after it would only tell what follows from it. */
export type Check = (step: string, holds: boolean, detail: string) => void

interface Step {
  step: string
  pass: boolean
  detail: string
}

class DrillFailed extends Error {}

/** Plays a drill and prints its steps; exit 0 where all of them hold. */
export async function runDrill(
  drill: string,
  { terminal }: ServerContext,
  play: (check: Check) => Promise<void>,
): Promise<Exit> {
  const steps: Step[] = []
  const record = (step: string, pass: boolean, detail: string) => {
    steps.push({ step, pass, detail })
    const word = pass ? terminal.color.green('pass') : terminal.color.red('FAIL')
    terminal.line(`${word}  ${step}${detail === '' ? '' : `  ${terminal.color.dim(printable(detail))}`}`)
  }
  try {
    await play((step, holds, detail) => {
      record(step, holds, detail)
      if (!holds) throw new DrillFailed(step)
    })
  } catch (error) {
    // Without a server or a key nothing was tried; that is no failed drill.
    if (!(error instanceof DrillFailed)) {
      if (!(error instanceof SallyportError) || error.code === 'unreachable' || error.status === 401) throw error
      record('the server does as asked', false, `${error.code}: ${error.message}`)
    }
  }
  const ok = steps.length > 0 && steps.every(({ pass }) => pass)
  terminal.show({ drill, ok, steps }, () =>
    ok ? terminal.color.green(`drill ${drill} passed`) : terminal.color.red(`drill ${drill} failed`),
  )
  return ok ? EXIT.done : EXIT.no
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
