import { appendFileSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { newestHead } from '../store/audit.js'
import { listGates } from '../store/standing.js'
import type { World } from '../store/world.js'
import { type Loop, loop } from './loop.js'

const PAUSE_MS = 60_000

/** Appends each tenant's newest signed head to a file outside the database once a minute: what was written there, a rewound log cannot deny. */
export function checkpointKeeper(world: World, clock: Clock, log: Log, file: string): Loop {
  const written = new Map<string, number>()
  mkdirSync(dirname(file), { recursive: true })
  return loop('checkpoints', clock, log, PAUSE_MS, async () => {
    for (const { tenant } of await listGates(world.db)) {
      const head = await newestHead(world.db, tenant)
      if (head === null || written.get(tenant) === head.size) continue
      appendFileSync(file, `${head.checkpoint}\n`)
      written.set(tenant, head.size)
    }
  })
}
