import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from './config.js'
import { type Plane, type Seams, start } from './main.js'
import { silentLog } from './platform/log.js'

export { manualClock } from './platform/clock.js'
export { seededIds } from './platform/ids.js'

export interface TestPlane extends Plane {
  /** The first keys, by role. */
  keys: Record<'admin' | 'agent' | 'worker' | 'approver', string>
}

/** A whole control plane in memory on a free port, for tests of agents and workers. `stop` leaves nothing behind. */
export async function startSallyport(
  options: { policy?: string; seams?: Seams; env?: Record<string, string> } = {},
): Promise<TestPlane> {
  const dataDir = mkdtempSync(join(tmpdir(), 'sallyport-test-'))
  let policy: string | undefined
  if (options.policy !== undefined) {
    policy = join(dataDir, 'policy.yaml')
    writeFileSync(policy, options.policy)
  }
  const config = loadConfig(options.env ?? {}, {
    dataDir,
    port: Number(options.env?.SALLYPORT_PORT ?? 0),
    logLevel: 'silent',
    ...(policy === undefined ? {} : { policy }),
  })
  const plane = await start(config, { memory: true, log: silentLog, ...options.seams })
  const key = (role: string) => readFileSync(plane.keyFiles[role] as string, 'utf8').trim()
  return {
    ...plane,
    keys: { admin: key('admin'), agent: key('agent'), worker: key('worker'), approver: key('approver') },
    async stop() {
      await plane.stop()
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}
