import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { withArchive } from '../../src/core/audit/archive.js'
import { readExport, recordLine, recordsOf } from '../../src/core/audit/export.js'
import { verifyExitCode, verifyLog } from '../../src/core/audit/verify.js'
import { archive } from '../../src/journey/archive.js'
import { integrate } from '../../src/journey/integrate.js'
import { archiveFolder } from '../../src/store/archive-folder.js'
import { newestHead } from '../../src/store/audit.js'
import { auditSource } from '../../src/store/audit-source.js'
import { openPlane, type TestPlane } from '../plane.js'
import { proves } from '../requirements.js'

const DAY = 86_400_000
const dir = mkdtempSync(join(tmpdir(), 'sallyport-moved-'))
let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(async () => {
  await plane.close()
  rmSync(dir, { recursive: true })
})

test(`${proves('C1')} two emptied tiles that change places are missed in their file`, async () => {
  const t = await plane.tenant('version: v1\nrules:\n  - { id: do, match: { topic: job.> }, decision: ALLOW }\n')
  const folder = archiveFolder(dir)
  const verified = async () => {
    await integrate(plane.world, plane.key)
    const head = await newestHead(plane.db, t.tenant)
    const source = await auditSource(plane.db, t.tenant, plane.key.publicKey, plane.clock.now(), folder)
    const lines: string[] = []
    for await (const record of withArchive(recordsOf(source), folder.open)) lines.push(recordLine(record))
    const trusted = { tenant: t.tenant, keys: [plane.key.publicKey], outsideHeads: [head?.checkpoint as string] }
    return verifyLog(readExport(lines), trusted)
  }
  const two = t.on(plane.node())
  for (let n = 0; n < 6; n++) {
    await (n % 2 ? two : t).submit({ topic: 'job.it' })
    plane.clock.advance(5)
    await integrate(plane.world, plane.key)
  }
  plane.clock.advance(32 * DAY)
  for (const { failed } of await archive({ ...plane.world, archive: folder }, folder, plane.key, 30 * DAY))
    expect(failed).toBe(null)
  expect(verifyExitCode(await verified())).toBe(0)

  const emptied = await plane.db.query<{ writer: string; seq: number; first_index: number }>(
    'SELECT writer, seq, first_index FROM audit_tiles WHERE tenant = $1 AND body IS NULL AND count = 1 ORDER BY first_index DESC',
    [t.tenant],
  )
  const [one] = emptied
  const other = emptied.find(({ writer }) => writer !== one?.writer)
  const move = (tile: typeof one, to: number | undefined) =>
    plane.db.query('UPDATE audit_tiles SET first_index = $4 WHERE tenant = $1 AND writer = $2 AND seq = $3', [
      t.tenant,
      tile?.writer ?? '',
      tile?.seq ?? -1,
      to ?? -1,
    ])
  await move(one, -1)
  await move(other, one?.first_index)
  await move(one, other?.first_index)

  const report = await verified()
  expect(verifyExitCode(report)).toBe(1)
  expect(report.faults.map(({ code }) => code)).toEqual(['archive_damaged'])
  expect(report.faults[0]?.message).toContain(`writer ${one?.writer}`)
})
