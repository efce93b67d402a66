import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { withArchive } from '../core/audit/archive.js'
import { recordsOf } from '../core/audit/export.js'
import { type VerifyReport, verifyLog } from '../core/audit/verify.js'
import { archiveFolder } from '../store/archive-folder.js'
import { newestHead } from '../store/audit.js'
import { auditSource } from '../store/audit-source.js'
import { archive } from './archive.js'
import { closeWriters, integrate } from './integrate.js'
import { linesAfter } from './timeline.js'

const DAY = 86_400_000
const KEEP = DAY
const POLICY = 'version: v1\nrules:\n  - { id: do, match: { topic: job.> }, decision: ALLOW }\n'

const dir = mkdtempSync(join(tmpdir(), 'sallyport-archive-any-'))
const folder = archiveFolder(dir)
let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane(5)
})
afterAll(async () => {
  await plane.close()
  rmSync(dir, { recursive: true })
})

const ACTS: Record<string, (t: Tenancy) => Promise<unknown>> = {
  submit: (t) => t.submit({ topic: 'job.it', input: { n: 1 } }),
  burst: (t) => Promise.all([1, 2, 3].map((n) => t.submit({ topic: 'job.it', input: { n } }))),
  denied: (t) => t.submit({ topic: 'none' }).catch(() => {}),
  sign: () => integrate(plane.world, plane.key),
  // Nobody holds a name here, so every writer is taken for gone: its chain is closed, and it goes on under another name.
  close: () => closeWriters(plane.world, plane.clock.now()),
  days: async () => plane.clock.advance(2 * DAY + 1),
  archive: async (t) => {
    const done = await archive(plane.world, folder, plane.key, KEEP, (tenant) => tenant !== t.tenant)
    expect(done.map(({ failed }) => failed?.message ?? null)).toEqual(done.map(() => null))
  },
}

async function verified(t: Tenancy, whole: boolean): Promise<VerifyReport> {
  const source = await auditSource(plane.db, t.tenant, plane.key.publicKey, plane.clock.now())
  const head = await newestHead(plane.db, t.tenant)
  const options = { keys: [plane.key.publicKey], outsideHeads: head === null ? [] : [head.checkpoint] }
  return verifyLog(whole ? withArchive(recordsOf(source), folder.open) : recordsOf(source), options)
}

test('whatever happened in whatever order, the log verifies with and without its files, and says what it said', async () => {
  const seen = { files: 0, closed: 0 }
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom(...Object.keys(ACTS)), { minLength: 10, maxLength: 40 }),
      async (acts) => {
        const t = await plane.tenant(POLICY)
        const world = { ...plane.world, archive: folder }
        let said: string[] = []
        for (const act of acts) {
          await ACTS[act]?.(t)
          if (act !== 'sign' && act !== 'archive') continue
          const lines = (await linesAfter(world, t.tenant, -1, 10_000)).map(({ line }) => line as string)
          expect(lines.slice(0, said.length)).toEqual(said)
          said = lines
        }
        await integrate(plane.world, plane.key)
        const [whole, alone] = [await verified(t, true), await verified(t, false)]
        expect([whole.faults, alone.faults]).toEqual([[], []])
        expect(whole.archived?.not_checked ?? 0).toBe(0)
        expect(alone.archived?.not_checked ?? 0).toBe(whole.archived?.entries ?? 0)
        seen.files += whole.archived?.files ?? 0
        if ((whole.archived?.files ?? 0) > 0 && acts.indexOf('close') > 0) seen.closed++
      },
    ),
    { numRuns: 30 },
  )
  expect(seen.files).toBeGreaterThan(4)
  expect(seen.closed).toBeGreaterThan(2)
}, 60_000)
