import { parseEntry } from '../core/audit.js'
import { linesAfter } from '../journey/timeline.js'
import type { Integrator } from '../loops/integrator.js'
import type { World } from '../store/world.js'
import type { AuditEvents } from './routes/audit.js'

const PAGE = 500
const KEEP_ALIVE_MS = 15_000

/** Server-sent events over the log: everything after an index, then whatever each round of the integrator adds. */
export function auditEvents(world: World, integrator: Pick<Integrator, 'onIntegrated'>): AuditEvents {
  return {
    async *stream(tenant, after, signal) {
      let at = after
      yield ': connected\n\n'
      while (!signal.aborted) {
        const moved = nextMove(world, integrator, tenant, signal)
        const lines = await linesAfter(world, tenant, at, PAGE)
        for (const { index, line } of lines) {
          yield line === null
            ? `id: ${index}\nevent: archived\ndata: {}\n\n`
            : `id: ${index}\nevent: ${parseEntry(line)?.kind ?? 'unreadable'}\ndata: ${line}\n\n`
          at = index
        }
        if (lines.length > 0) continue
        if (!(await moved)) yield ': still here\n\n'
      }
    },
  }
}

/** True when the tenant's log grew, false after the keep-alive time or when the listener left. */
function nextMove(
  world: World,
  integrator: Pick<Integrator, 'onIntegrated'>,
  tenant: string,
  signal: AbortSignal,
): Promise<boolean> {
  return new Promise((resolve) => {
    const done = (moved: boolean) => {
      stop()
      cancel()
      signal.removeEventListener('abort', left)
      resolve(moved)
    }
    const left = () => done(false)
    const stop = integrator.onIntegrated((each) => each.tenant === tenant && done(true))
    const cancel = world.clock.after(KEEP_ALIVE_MS, () => done(false))
    signal.addEventListener('abort', left, { once: true })
  })
}
