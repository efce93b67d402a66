import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openPlane, type TestPlane, turns } from '../../test/plane.js'
import { archive } from '../journey/archive.js'
import { integrate } from '../journey/integrate.js'
import type { EventStream } from '../platform/bus/seam.js'
import { archiveFolder } from '../store/archive-folder.js'
import { publisher } from './publisher.js'

const DAY = 86_400_000
const POLICY = 'version: v1\nrules:\n  - { id: do, match: { topic: job.> }, decision: ALLOW }\n'
const dir = mkdtempSync(join(tmpdir(), 'sallyport-publisher-'))

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(async () => {
  await plane.close()
  rmSync(dir, { recursive: true })
})

test('what waits for a file is said once a minute and not with every try, while the events of other tenants go on', async () => {
  const [old, busy] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
  await integrate(plane.world, plane.key)
  plane.clock.advance(3 * DAY)
  const others = (tenant: string) => tenant !== old.tenant
  await archive(plane.world, archiveFolder(dir), plane.key, DAY, others)

  const tenants: string[] = []
  const stream: EventStream = {
    state: async () => ({ instance: 'one', last: tenants.length }),
    newest: async () => null,
    append: async (events) =>
      tenants.push(...[...events].map(({ body }) => (JSON.parse(body) as { tenant: string }).tenant)),
  }
  const said: { reason?: string; msg: string }[] = []
  const log = pino({ level: 'info' }, { write: (line: string) => void said.push(JSON.parse(line)) })
  const loop = publisher(plane.world, stream, plane.clock, log)
  for (let round = 1; round <= 5; round++) {
    await busy.submit({ topic: 'job.it' })
    await integrate(plane.world, plane.key)
    const had = tenants.length
    loop.wake()
    await turns(() => tenants.length > had, 100_000)
  }
  const waits = {
    reason: expect.stringMatching(/^entry 0 of .* cannot be read: archive/),
    msg: expect.stringMatching(/wait in the log$/),
  }
  expect(said).toMatchObject([waits])
  plane.clock.advance(60_000)
  await turns(() => said.length > 1, 100_000)
  await loop.stop()
  expect(said).toMatchObject([waits, waits])
  expect(new Set(tenants)).toEqual(new Set([busy.tenant]))
})
