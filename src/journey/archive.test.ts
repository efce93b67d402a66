import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { database } from '../../test/support/engines.js'
import { withArchive } from '../core/audit/archive.js'
import { type AuditRecord, readExport, recordLine, recordsOf } from '../core/audit/export.js'
import { tileLines } from '../core/audit/tile.js'
import { type VerifyReport, verifyExitCode, verifyLog } from '../core/audit/verify.js'
import type { FactKind } from '../core/audit.js'
import { type EventStream, type OutgoingEvent, StreamUnavailable } from '../platform/bus/seam.js'
import { openPostgres } from '../platform/db/pg.js'
import { openPglite } from '../platform/db/pglite.js'
import { type ArchiveFolder, archiveFolder, type Draft } from '../store/archive-folder.js'
import { emptyTiles, markEmptied, segmentEnd } from '../store/archives.js'
import { newestHead, placedTiles } from '../store/audit.js'
import { auditSource } from '../store/audit-source.js'
import type { World } from '../store/world.js'
import { archive } from './archive.js'
import { closeWriters, integrate } from './integrate.js'
import { publish } from './publish.js'
import { linesAfter, timeline } from './timeline.js'

const DAY = 86_400_000
const KEEP = 30 * DAY
const POLICY = 'version: v1\nrules:\n  - { id: do, match: { topic: job.> }, decision: ALLOW }\n'

const dirs: string[] = []
afterAll(() => {
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true })
})
function newFolder(): ArchiveFolder {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-archive-'))
  dirs.push(dir)
  return archiveFolder(dir)
}

describe.each([
  ['PGlite', () => openPglite(null)],
  ['Postgres', async () => openPostgres({ url: await database() })],
] as const)('on %s', (_, open) => {
  let plane: TestPlane
  let t: Tenancy
  let folder: ArchiveFolder
  let world: World
  beforeAll(async () => {
    plane = await openPlane(1, open)
  })
  const left: Draft[] = []
  afterAll(async () => {
    for (const draft of left) await draft.drop()
    await plane.close()
  })
  beforeEach(async () => {
    t = await plane.tenant(POLICY)
    folder = newFolder()
    world = { ...plane.world, archive: folder }
  })

  const bodiesLeft = async () =>
    (await placedTiles(plane.db, t.tenant, 0, 10_000)).filter((tile) => tile.body !== null).length
  const others = (tenant: string) => tenant !== t.tenant
  const run = (on: ArchiveFolder = folder) => archive(world, on, plane.key, KEEP, others)
  async function archived(on?: ArchiveFolder): Promise<void> {
    for (const { failed } of await run(on)) if (failed !== null) throw failed
  }
  const kinds = async (kind: FactKind) => (await entries()).filter((entry) => entry.kind === kind)
  async function entries(): Promise<Record<string, unknown>[]> {
    await integrate(plane.world, plane.key)
    const lines = await linesAfter(world, t.tenant, -1, 100_000)
    return lines.map(({ line }) => JSON.parse(line ?? '{"kind":"archived"}') as Record<string, unknown>)
  }
  async function exported(on: ArchiveFolder | null): Promise<AuditRecord[]> {
    await integrate(plane.world, plane.key)
    const source = await auditSource(plane.db, t.tenant, plane.key.publicKey, plane.clock.now(), on)
    const records: AuditRecord[] = []
    for await (const record of on === null ? recordsOf(source) : withArchive(recordsOf(source), on.open))
      records.push(record)
    return records
  }
  async function verified(on: ArchiveFolder | null = folder): Promise<VerifyReport> {
    const head = await newestHead(plane.db, t.tenant)
    const lines = (await exported(on)).map(recordLine)
    const outsideHeads = head === null ? [] : [head.checkpoint]
    return verifyLog(readExport(lines), { tenant: t.tenant, keys: [plane.key.publicKey], outsideHeads })
  }
  /** Some heads, then so long a time that all of it is old. */
  async function past(jobs = 6): Promise<string[]> {
    const ids: string[] = []
    for (let n = 0; n < jobs; n++) {
      ids.push((await t.submit({ topic: 'job.it', input: { n } })).job_id)
      if (n % 2 === 0) await integrate(plane.world, plane.key)
    }
    await integrate(plane.world, plane.key)
    plane.clock.advance(KEEP + 2 * DAY)
    return ids
  }

  test(`${proves('C1')} old entries go into a file, their bodies leave, and the log says so, reads on and verifies`, async () => {
    const [first] = await past()
    const before = await entries()
    await archived()
    expect(await bodiesLeft()).toBe(0)
    const [said] = await kinds('audit.archived')
    expect(said).toMatchObject({ actor: 'system:archiver', first: 0, size: before.length })
    const [file] = await folder.list(t.tenant)
    expect(said?.file).toBe(file)
    // The first file is a log that verifies by itself.
    const lines = gunzipSync(readFileSync(join(folder.dir, file as string)))
      .toString()
      .trimEnd()
      .split('\n')
    expect(await verifyLog(readExport(lines), { tenant: t.tenant, keys: [plane.key.publicKey] })).toMatchObject({
      ok: true,
      entries: before.length,
    })
    expect((await entries()).slice(0, before.length)).toEqual(before)
    expect((await timeline(world, t.tenant, { job_id: first as string }, undefined, 50)).items).toMatchObject([
      { kind: 'job.submitted', facts: { job_id: first } },
    ])
    const report = await verified()
    expect(report.faults).toEqual([])
    expect([verifyExitCode(report), report.archived]).toEqual([
      0,
      { files: 1, entries: before.length, not_checked: 0, unread: [] },
    ])
    // Nothing is due any more.
    expect(await run()).toEqual([])
  })

  test('further files follow the one before; exported with and without them the log is one', async () => {
    await past()
    await archived()
    await past(4)
    await archived()
    await past(3)
    const whole = (await entries()).length
    const report = await verified()
    expect(report).toMatchObject({ ok: true, archived: { files: 2, not_checked: 0 } })
    expect(report.entries).toBe(whole)
    const sizes = (await kinds('audit.archived')).map((entry) => [entry.first, entry.size])
    expect(sizes[1]?.[0]).toBe(sizes[0]?.[1])

    const alone = await verified(null)
    expect(alone).toMatchObject({ ok: true, entries: whole, archived: { files: 2, not_checked: sizes[1]?.[1] } })
    expect(alone.archived?.unread).toEqual([{ from: 0, to: (sizes[1]?.[1] as number) - 1 }])
    expect(verifyExitCode(alone)).toBe(3)
    const filled: AuditRecord[] = []
    for await (const record of withArchive(await exported(null), folder.open)) filled.push(record)
    expect(filled.map(recordLine)).toEqual((await exported(folder)).map(recordLine))
  })

  test('without the files a chain still has to end where it was closed, by the signed heads alone', async () => {
    await past()
    // Nobody holds a name here, so every writer is taken for gone and its chain is closed.
    await closeWriters(plane.world, plane.clock.now())
    await past()
    await archived()
    expect(await verified(null)).toMatchObject({ ok: true, archived: { files: 1 } })
    const closed = (await kinds('writer.closed')).find((entry) => entry.writer !== undefined)
    await plane.db.query('DELETE FROM audit_tiles WHERE tenant = $1 AND writer = $2 AND seq = $3', [
      t.tenant,
      closed?.writer as string,
      closed?.last_seq as number,
    ])
    const { faults } = await verified(null)
    expect(faults.map(({ code }) => code)).toEqual(expect.arrayContaining(['entries_missing', 'writer_cut']))
  })

  test('the list of files is the one the log speaks of', async () => {
    await past()
    await archived()
    await past(3)
    await archived()
    const broken = async (sql: string) => {
      const rows = await t.rows('audit_archives')
      await plane.db.query(sql, [t.tenant])
      const codes = (await verified(null)).faults.map(({ code }) => code)
      await plane.db.query('DELETE FROM audit_archives WHERE tenant = $1', [t.tenant])
      await plane.db.query(
        'INSERT INTO audit_archives SELECT * FROM json_populate_recordset(NULL::audit_archives, $1::json)',
        [JSON.stringify(rows)],
      )
      return codes
    }
    for (const sql of [
      'DELETE FROM audit_archives WHERE tenant = $1',
      'DELETE FROM audit_archives WHERE tenant = $1 AND first = 0',
      'DELETE FROM audit_archives WHERE tenant = $1 AND first > 0',
      "UPDATE audit_archives SET sha256 = repeat('0', 64) WHERE tenant = $1 AND first = 0",
      "UPDATE audit_archives SET archive_hash = repeat('0', 64) WHERE tenant = $1 AND first > 0",
      'UPDATE audit_archives SET size = size + 1 WHERE tenant = $1 AND first > 0',
      "UPDATE audit_archives SET file = '../../etc/passwd' WHERE tenant = $1 AND first = 0",
    ])
      expect([sql, await broken(sql)]).toEqual([sql, expect.arrayContaining(['archive_unvouched'])])
    expect(await verified(null)).toMatchObject({ ok: true })
  })

  test('what is not old enough stays, and a quiet log gets a file a day, not one a minute', async () => {
    await past(2)
    const old = (await entries()).length
    plane.clock.advance(-2 * DAY)
    await t.submit({ topic: 'job.it' })
    await integrate(plane.world, plane.key)
    expect(await run()).toEqual([])
    plane.clock.advance(DAY - 1)
    expect(await run()).toEqual([])
    plane.clock.advance(2)
    await archived()
    expect(await kinds('audit.archived')).toMatchObject([{ first: 0, size: old }])
    expect(await run()).toEqual([])
  })

  /** Dies at the n-th thing that is asked of the store, the ledger or the folder once it is armed. */
  function mortal(dies: number) {
    let asked = 0
    const calls: string[] = []
    const step = (what: string) => {
      calls.push(what)
      if (++asked === dies) throw new Error(`died at ${what}`)
    }
    const draft = (real: Draft): Draft => ({
      add: (text) => {
        step('add')
        return real.add(text)
      },
      keep: async (nameOf) => {
        step('before the file has its name')
        const kept = await real.keep(nameOf)
        step('after the file has its name')
        return kept
      },
      // A process that died cleans nothing up; what it had open is closed when the test is over.
      drop: async () => void left.push(real),
    })
    const on: ArchiveFolder = {
      ...folder,
      hashOf: (file) => {
        step('hashOf')
        return folder.hashOf(file)
      },
      draft: async (tenant, name) => {
        step('draft')
        return draft(await folder.draft(tenant, name))
      },
    }
    plane.db.tap = async (sql, send) => {
      if (/^\s*SELECT/.test(sql)) return send()
      step(`before ${sql.slice(0, 20)}`)
      const rows = await send()
      step(`after ${sql.slice(0, 20)}`)
      return rows
    }
    return { on, calls }
  }

  test('a death between any two steps loses nothing: the next round ends what was begun', async () => {
    let deaths = 0
    for (let dies = 1; ; dies++) {
      // Every try on a log of its own, one file long already.
      t = await plane.tenant(POLICY)
      await past()
      await archived()
      await past(3)
      const had = (await entries()).filter((entry) => entry.kind !== 'audit.archived')
      const { on, calls } = mortal(dies)
      const done = await run(on)
      plane.db.tap = null
      if (calls.length < dies) break
      expect(done).toMatchObject([{ failed: expect.any(Error) }])
      deaths++
      // As it was left: nothing is missing, nothing is taken for tampering.
      expect([calls.at(-1), (await verified()).faults]).toEqual([calls.at(-1), []])
      plane.clock.advance(60_000)
      await archived()
      const report = await verified()
      expect([calls.at(-1), report.faults]).toEqual([calls.at(-1), []])
      expect(report.archived).toMatchObject({ files: 2, not_checked: 0 })
      expect((await entries()).filter((entry) => entry.kind !== 'audit.archived')).toEqual(had)
      expect(
        await plane.db.query('SELECT 1 FROM audit_archives WHERE tenant = $1 AND emptied_at IS NULL', [t.tenant]),
      ).toEqual([])
      const full = (await placedTiles(plane.db, t.tenant, 0, 1000)).filter((tile) => tile.body !== null)
      expect(
        full.every((tile) =>
          tileLines({ body: tile.body as string }).some((line) => /audit.archived|writer/.test(line)),
        ),
      ).toBe(true)
      expect(readdirSync(join(folder.dir, t.tenant)).filter((name) => name.endsWith('.part'))).toEqual([])
    }
    console.log(`${deaths} deaths on ${plane.db.engine}`)
    expect(deaths).toBeGreaterThanOrEqual(10)
  }, 60_000)

  test('two nodes at it: one file counts, the other node loses its work', async () => {
    await past()
    const other = { ...plane.node(), archive: folder }
    const done = await Promise.all([run(), archive(other, folder, plane.key, KEEP, others)])
    expect(done.flat().filter(({ failed }) => failed === null)).toHaveLength(1)
    expect(await verified()).toMatchObject({ ok: true, archived: { files: 1, not_checked: 0 } })
    expect(await kinds('audit.archived')).toHaveLength(1)
  })

  test('a file is emptied only when no body of it is left, whoever says that nothing was there to take out', async () => {
    await past()
    // As it looks to this node while another has the same rows under way; which then dies before it commits.
    plane.db.tap = async (sql, send) => (sql.startsWith('WITH gone AS') ? [{ size: null }] : send())
    await archived()
    plane.db.tap = null
    const emptied = async () => (await t.rows<{ emptied_at: number | null }>('audit_archives'))[0]?.emptied_at
    expect([await emptied(), await bodiesLeft()]).toEqual([null, expect.any(Number)])
    await run()
    expect([await emptied(), (await placedTiles(plane.db, t.tenant, 0, 1))[0]?.body]).toEqual([
      expect.any(Number),
      null,
    ])
  })

  test(`a server's word about a file it lacks gives way to the file in the folder of who verifies`, async () => {
    await past()
    await archived()
    const lacking = await exported(newFolder())
    expect(lacking.filter(({ record }) => record === 'archive_fault')).toHaveLength(1)
    const options = { tenant: t.tenant, keys: [plane.key.publicKey] }
    expect((await verifyLog(withArchive(lacking, newFolder().open), options)).faults).toMatchObject([
      { code: 'archive_missing' },
    ])
    const report = await verifyLog(withArchive(lacking, folder.open), options)
    expect([report.faults, report.archived]).toMatchObject([[], { files: 1, not_checked: 0 }])
  })

  const UPDATE = 'UPDATE audit_tiles SET'
  const ONE = 'WHERE tenant = $1 AND seq = (SELECT min(seq) + 2 FROM audit_tiles WHERE tenant = $1)'
  test.each([
    ['an altered entry', `${UPDATE} body = replace(body, 'agent:bot', 'agent:b0t') ${ONE}`, /not as signed \(hash\)/],
    [
      'a signature of another',
      `${UPDATE} signature = (SELECT signature FROM audit_tiles WHERE tenant = $1 ORDER BY seq LIMIT 1) ${ONE}`,
      /not as signed \(sig/,
    ],
    ['a tile that is gone', `DELETE FROM audit_tiles ${ONE}`, /is not where it was|ends at entry/],
    ['a tile without its entries', `${UPDATE} body = NULL ${ONE}`, /is empty/],
    [
      'a writer with another key',
      "UPDATE audit_writers SET public_key = 'x' WHERE tenant = $1",
      /a key that is not ours/,
    ],
    [
      'a stored hash',
      'UPDATE audit_nodes SET hashes = set_byte(hashes, 40, 1) WHERE tenant = $1 AND level = 0',
      /stored hashes of entries/,
    ],
    [
      'a forged head',
      "UPDATE audit_heads SET checkpoint = replace(checkpoint, 'at 1', 'at 2') WHERE tenant = $1",
      /signature of key/,
    ],
  ])('%s is never archived, and nothing leaves', async (_what, sql, why) => {
    await past()
    const before = await bodiesLeft()
    await plane.db.query(sql, [t.tenant])
    const [done] = await run()
    expect(done?.failed?.message).toMatch(why)
    expect(done?.failed?.name).toBe('Unarchivable')
    expect(await folder.list(t.tenant)).toEqual([])
    expect(await bodiesLeft()).toBeGreaterThanOrEqual(before - 1)
    expect(await plane.db.query('SELECT 1 FROM audit_archives WHERE tenant = $1', [t.tenant])).toEqual([])
  })

  test('nothing is written into a folder that does not hold the file before, as one that is not mounted', async () => {
    await past()
    await archived()
    await past()
    const empty = newFolder()
    const [done] = await run(empty)
    expect(done?.failed?.message).toMatch(/the archive before, .* is not in/)
    expect(await empty.list(t.tenant)).toEqual([])
    await archived()
    expect(await verified()).toMatchObject({ ok: true, archived: { files: 2 } })
  })

  test('bodies leave only while their file is there', async () => {
    await past()
    plane.db.tap = async (sql, send) => {
      if (sql.startsWith('WITH gone AS (UPDATE audit_tiles')) throw new Error('the node died here')
      return send()
    }
    expect((await run())[0]?.failed?.message).toBe('the node died here')
    plane.db.tap = null
    const before = await bodiesLeft()
    const [file] = await folder.list(t.tenant)
    const path = join(folder.dir, file as string)
    const bytes = readFileSync(path)
    writeFileSync(path, bytes.subarray(0, -1))
    expect((await run())[0]?.failed?.message).toMatch(/nothing is taken out/)
    expect(await bodiesLeft()).toBe(before)
    writeFileSync(path, bytes)
    await archived()
    expect(await bodiesLeft()).toBeLessThan(before)
    expect(await verified()).toMatchObject({ ok: true })
  })

  test('where the folder is not seen, or a file is not what it was, the log says archived and why', async () => {
    const [first] = await past()
    await archived()
    const [file] = await folder.list(t.tenant)
    const path = join(folder.dir, file as string)
    const bytes = readFileSync(path)
    const blind = { ...world, archive: null }
    const shown = async (on: World, filter = {}) =>
      (await timeline(on, t.tenant, filter, undefined, 100)).items.map(({ kind, facts }) => [kind, facts.reason])
    expect(await shown(blind, { job_id: first as string })).toEqual([
      ['archived', `archive ${file}: this node has no SALLYPORT_AUDIT_ARCHIVE`],
    ])
    expect((await shown(blind, { kind: 'key.created' })).every(([kind]) => kind === 'archived')).toBe(true)
    expect((await linesAfter(blind, t.tenant, -1, 1000)).filter(({ line }) => line === null).length).toBeGreaterThan(2)
    rmSync(path)
    expect((await shown(world))[0]).toEqual(['archived', `archive ${file}: ENOENT`])
    const other = Buffer.from(bytes)
    other[bytes.length >> 1] = (other[bytes.length >> 1] as number) ^ 1
    writeFileSync(path, other)
    expect((await shown(world))[0]?.[0]).toBe('archived')
    // A file that is well formed, of this tenant, with an entry exchanged: it is not the one that was signed.
    writeFileSync(path, gzipSync(gunzipSync(bytes).toString().replaceAll('agent:bot', 'agent:b0t')))
    await plane.db.query("UPDATE audit_archives SET bytes = 1000000, parts = '[[0,0]]' WHERE tenant = $1", [t.tenant])
    expect((await shown(world, { job_id: first as string }))[0]).toEqual(['archived', 'its archive holds another one'])
  })

  test('statements find rows by their indexes, also when planned on empty tables', async () => {
    const plans: string[] = []
    const watching = {
      ...plane.db,
      query: async (sql: string, params?: readonly never[]) => {
        const plan = await plane.db.query<{ 'QUERY PLAN': string }>(`EXPLAIN (COSTS OFF) ${sql}`, params)
        plans.push(plan.map((row) => row['QUERY PLAN']).join('\n'))
        return []
      },
    } as never
    await segmentEnd(watching, 't', 1, { before: 1, bytes: 1, tiles: 5 })
    await emptyTiles(watching, 't', { first: 1 }, 1, 5)
    await markEmptied(watching, 't', { first: 1, size: 2 }, 1)
    for (const plan of plans) expect(plan).not.toMatch(/Seq Scan/)
    expect(plans[0]).toMatch(/audit_tiles_placed.*first_index >= .*audit_heads_pkey.*size <= /s)
    expect(plans[1]).toMatch(/first_index >= .*first_index < a.size.*Tid Scan/s)
    expect(plans[2]).toMatch(/audit_tiles_placed.*first_index >= .*first_index < /s)
  })
})

test('events are published from files; where those are not to be had they wait, and hold up no other tenant', async () => {
  const plane = await openPlane(2)
  try {
    const [t, later] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
    for (let n = 0; n < 5; n++) await t.submit({ topic: 'job.it' })
    await integrate(plane.world, plane.key)
    plane.clock.advance(KEEP + 2 * DAY)
    const folder = newFolder()
    const others = (tenant: string) => tenant !== t.tenant
    expect(await archive(plane.world, folder, plane.key, KEEP, others)).toMatchObject([{ failed: null }])
    await later.submit({ topic: 'job.it' })
    await integrate(plane.world, plane.key)
    const sent: { tenant: string; index: number }[] = []
    // As the one of NATS does: whatever is thrown while events are taken is a fault of the stream.
    const append = async (events: Iterable<OutgoingEvent>) => {
      try {
        for (const { body } of events) sent.push(JSON.parse(body))
      } catch (cause) {
        throw new StreamUnavailable('the event stream refuses', { cause })
      }
      return sent.length
    }
    const stream: EventStream = {
      state: async () => ({ instance: 'one', last: sent.length }),
      newest: async () => null,
      append,
    }
    const sentOf = ({ tenant }: Tenancy) => sent.filter((event) => event.tenant === tenant).map(({ index }) => index)
    const indexes = async (on: World, { tenant }: Tenancy) =>
      (await linesAfter(on, tenant, -1, 1000)).map(({ index }) => index)
    const publishAll = async (on: World) => {
      for (;;) {
        const done = await publish(on, stream)
        if (done.events === 0) return done
      }
    }
    const blind = await publishAll(plane.world)
    expect(blind.unreadable.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^entry 0 of t1 cannot be read: archive t1/),
    ])
    expect([sentOf(t), sentOf(later)]).toEqual([[], await indexes(plane.world, later)])
    expect(blind.behind).toBe((await newestHead(plane.db, t.tenant))?.size)

    const world = { ...plane.world, archive: folder }
    // What stands before an entry that cannot be read is published once.
    const at = 3
    await plane.db.query(
      "UPDATE audit_tiles SET hash = '-' || hash WHERE tenant = $1 AND first_index <= $2 AND first_index + count > $2",
      [t.tenant, at],
    )
    expect((await publishAll(world)).unreadable).toMatchObject([
      { message: expect.stringMatching(/of t1 cannot be read/) },
    ])
    const before = sentOf(t)
    expect(before.length).toBeGreaterThan(0)
    await publishAll(world)
    expect(sentOf(t)).toEqual(before)
    await plane.db.query("UPDATE audit_tiles SET hash = ltrim(hash, '-') WHERE tenant = $1", [t.tenant])
    expect(await publishAll(world)).toMatchObject({ behind: 0, unreadable: [] })
    expect(sentOf(t)).toEqual(await indexes(world, t))
  } finally {
    await plane.close()
  }
})
