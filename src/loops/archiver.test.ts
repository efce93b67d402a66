import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { openPlane, type Tenancy, type TestPlane, turns } from '../../test/plane.js'
import { integrate } from '../journey/integrate.js'
import { type ArchiveFolder, archiveFolder } from '../store/archive-folder.js'
import type { World } from '../store/world.js'
import { archiver } from './archiver.js'

const DAY = 86_400_000
const MINUTE = 60_000
/** Turns, about 2 s of them: 100,000 were over in 0.1 s, and a busy disk took longer to flush a file. */
const ON_DISK = 2_000_000
const POLICY = 'version: v1\nrules:\n  - { id: do, match: { topic: job.> }, decision: ALLOW }\n'

let plane: TestPlane
let t: Tenancy
let folder: ArchiveFolder
const dirs: string[] = []
beforeAll(async () => {
  plane = await openPlane()
})
beforeEach(async () => {
  t = await plane.tenant(POLICY)
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-archiver-'))
  dirs.push(dir)
  folder = archiveFolder(dir)
})
afterAll(async () => {
  await plane.close()
  for (const dir of dirs) rmSync(dir, { recursive: true })
})

/** Entries of a day and more ago. */
async function past(): Promise<void> {
  await t.submit({ topic: 'job.it' })
  await integrate(plane.world, plane.key)
  plane.clock.advance(3 * DAY)
}

function begin(world: World) {
  const said: { tenant?: string; msg: string; at: number }[] = []
  const write = (line: string) => void said.push({ ...JSON.parse(line), at: plane.clock.now() })
  const log = pino({ level: 'info' }, { write })
  const loop = archiver(world, folder, plane.key, DAY, plane.clock, log)
  const of = (word: string) => said.filter(({ tenant, msg }) => tenant === t.tenant && msg.includes(word)).length
  return { of, said, stop: loop.stop }
}

test('what is old is archived within a minute, by one of two nodes; when that one stops the other goes on', async () => {
  await past()
  const [first, second] = [begin(plane.world), begin(plane.node())]
  plane.clock.advance(MINUTE)
  await turns(() => first.of('were archived') + second.of('were archived') === 1, ON_DISK)
  const [one, other] = first.of('were archived') === 1 ? [first, second] : [second, first]
  await one.stop()
  await past()
  await turns(() => {
    plane.clock.advance(MINUTE)
    return other.of('were archived') === 1
  }, ON_DISK)
  await other.stop()
  expect(await folder.list(t.tenant)).toHaveLength(2)
})

test('a log that does not verify is said and left alone for a while; others go on', async () => {
  const bad = t
  await past()
  await plane.db.query("UPDATE audit_tiles SET body = replace(body, 'agent:bot', 'agent:b0t') WHERE tenant = $1", [
    bad.tenant,
  ])
  t = await plane.tenant(POLICY)
  await past()
  const { of, said, stop } = begin(plane.world)
  plane.clock.advance(MINUTE)
  await turns(() => of('were archived') === 1, ON_DISK)
  t = bad
  await turns(() => {
    plane.clock.advance(MINUTE)
    return of('could not be archived') === 2
  }, ON_DISK)
  await stop()
  const [first, second] = said.filter(({ tenant }) => tenant === bad.tenant).map(({ at }) => at)
  expect((second as number) - (first as number)).toBeGreaterThanOrEqual(10 * MINUTE)
  expect(await folder.list(bad.tenant)).toEqual([])
})
