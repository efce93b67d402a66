import { readFileSync, writeFileSync } from 'node:fs'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { withArchive } from '../../src/core/audit/archive.js'
import { originOf, readCheckpoint, signCheckpoint } from '../../src/core/audit/checkpoint.js'
import { readExport, recordLine, recordsOf } from '../../src/core/audit/export.js'
import { Frontier } from '../../src/core/audit/frontier.js'
import { base64, leafHash } from '../../src/core/audit/hash.js'
import { readSigningKey, signingKeyPem } from '../../src/core/audit/keys.js'
import { tileLines } from '../../src/core/audit/tile.js'
import { type VerifyReport, verifyExitCode, verifyLog } from '../../src/core/audit/verify.js'
import { storeSnapshot } from '../../src/journey/activate.js'
import { archive } from '../../src/journey/archive.js'
import { createKey } from '../../src/journey/keys.js'
import { loadConfig, openAudit, type Plane, start } from '../../src/main.js'
import { openPglite } from '../../src/platform/db/pglite.js'
import type { Db } from '../../src/platform/db/seam.js'
import { silentLog } from '../../src/platform/log.js'
import { createClient } from '../../src/sdk/client.js'
import { archiveFolder } from '../../src/store/archive-folder.js'
import { newestHead, placedTiles, type StoredTile } from '../../src/store/audit.js'
import { withBodies } from '../../src/store/tile-bodies.js'
import { proves } from '../requirements.js'
import { dice, endAll, sallyport, scratch, until } from '../support/server.js'

/**
 * Somebody with full rights on the database, but without the signing key, rewrites history. One database, a tenant for each
 * way to do it, so that a single run of the verifier answers for all of them.
 */
const TENANTS = [
  'whole',
  'edited',
  'longer',
  'middle',
  'cut',
  'emptied',
  'rewound',
  'reordered',
  'search',
  'signature',
  'headless',
  'beheaded',
  'writer',
  'nodes',
  'forged',
] as const
type Tenant = (typeof TENANTS)[number]

const POLICY = 'version: v1\nrules: [{ id: all, match: { topic: job.t.> }, decision: ALLOW }]\n'

/** @param archived with the first half of every log in files */
export function tampering(archived: boolean): void {
  const place = scratch('tampering')
  const dataDir = place.at('data')
  const folder = archiveFolder(place.dir)
  const config = loadConfig(archived ? { SALLYPORT_AUDIT_ARCHIVE: folder.dir } : {}, { dataDir, port: 0 })
  /** To the command line. */
  const withFiles = archived ? ['--archive', folder.dir] : []
  const keys = new Map<string, { admin: string; agent: string }>()
  /** What somebody outside kept: a head of each tenant from before the tampering. */
  const keptHeads = new Map<Tenant, { size: number; checkpoint: string }>()
  const firstHeads = new Map<Tenant, number>()
  const headsFile = place.at('heads')
  const bad = {} as Record<Tenant, number>

  const startPlane = (log = silentLog) => start(config, { thread: false, log })

  async function submitEverywhere(plane: Plane, times: number): Promise<void> {
    for (let n = 0; n < times; n++)
      await Promise.all(
        TENANTS.map(async (tenant) => {
          const agent = createClient({ url: plane.url, apiKey: keys.get(tenant)?.agent as string })
          await agent.jobs.submit({ topic: 'job.t.a', input: { n } })
        }),
      )
  }

  async function heads(plane: Plane): Promise<Map<Tenant, { size: number; checkpoint: string }>> {
    await until('all tiles are in their trees', async () => {
      const waiting = await plane.world.db.query('SELECT 1 FROM audit_tiles WHERE first_index IS NULL LIMIT 1')
      return waiting.length === 0
    })
    const found = new Map<Tenant, { size: number; checkpoint: string }>()
    for (const tenant of TENANTS) {
      const head = await newestHead(plane.world.db, tenant)
      if (head === null) throw new Error(`${tenant} has no head`)
      found.set(tenant, head)
    }
    return found
  }

  beforeAll(async () => {
    let plane = await startPlane()
    const { world } = plane
    for (const tenant of TENANTS) {
      const files = [{ path: 'policy.yaml', text: POLICY }]
      await storeSnapshot(world, tenant, 'person:root', files, { source: 'api', activate: true, note: null })
      const make = async (role: 'admin' | 'agent', principal: string) =>
        (await createKey(world, tenant, 'person:root', { role, principal })).key
      keys.set(tenant, { admin: await make('admin', 'person:root'), agent: await make('agent', 'agent:bot') })
    }
    await submitEverywhere(plane, 4)
    for (const [tenant, { size }] of await heads(plane)) firstHeads.set(tenant, size)
    if (archived) await putAway(plane)
    await submitEverywhere(plane, 4)
    for (const [tenant, head] of await heads(plane)) keptHeads.set(tenant, head)
    writeFileSync(headsFile, [...keptHeads.values()].map(({ checkpoint }) => checkpoint).join('\n'))
    await plane.stop()
    plane = await startPlane()
    await submitEverywhere(plane, 3)
    await heads(plane)
    await plane.stop()

    const db = await openPglite(place.at('data', 'pgdata'))
    for (const tenant of TENANTS) await tamper(db, tenant)
    await db.close()
  }, 120_000)

  /** All that was written so far goes into files. */
  async function putAway({ world }: Plane): Promise<void> {
    const key = readSigningKey(readFileSync(config.signingKey, 'utf8'))
    const done = await archive(world, folder, key, -2 * 86_400_000)
    expect(done.filter(({ failed }) => failed !== null)).toEqual([])
    for (const tenant of TENANTS) {
      const tiles = await placedTiles(world.db, tenant, 0, 1000)
      expect(tiles.slice(0, 7).map(({ body }) => body)).toEqual(Array(7).fill(null))
    }
  }

  afterAll(async () => {
    await endAll()
    place.gone()
  })

  const WHERE = 'WHERE tenant = $1 AND writer = $2 AND seq = $3'
  const at = (tile: StoredTile) => [tile.tenant, tile.writer, tile.seq]

  async function wholeTiles(db: Db, tenant: string): Promise<StoredTile[]> {
    const tiles = await withBodies({ db, archive: folder }, tenant, await placedTiles(db, tenant, 0, 1000))
    return tiles.map(({ absent: _, ...tile }) => ({ ...tile, body: tile.body as string }))
  }

  /** What is done to each tenant's log; `bad` says which entry the verifier must name. */
  async function tamper(db: Db, tenant: Tenant): Promise<void> {
    const tiles = await wholeTiles(db, tenant)
    const [sixth, seventh] = tiles.slice(5, 7) as [StoredTile, StoredTile]
    const index = (tile: StoredTile) => tile.first_index as number
    const size = keptHeads.get(tenant)?.size as number
    const edit = async (from: string, to: string) => {
      const line = tileLines(sixth).findIndex((text) => text.includes(from))
      expect(line).toBeGreaterThanOrEqual(0)
      bad[tenant] = index(sixth) + line
      await db.query(`UPDATE audit_tiles SET body = $4 ${WHERE}`, [...at(sixth), sixth.body.replace(from, to)])
    }
    const acts: Record<Tenant, () => Promise<unknown>> = {
      whole: async () => {},
      edited: () => edit('agent:bot', 'agent:b0t'),
      longer: () => edit('agent:bot', 'agent:somebody-else'),
      middle: async () => {
        bad.middle = index(sixth)
        await db.query(`DELETE FROM audit_tiles ${WHERE}`, at(sixth))
      },
      cut: async () => {
        bad.cut = size
        await db.query('DELETE FROM audit_tiles WHERE tenant = $1 AND first_index >= $2', [tenant, size])
      },
      emptied: async () => {
        bad.emptied = 0
        for (const table of ['tiles', 'writers', 'nodes', 'heads', 'archives'])
          await db.query(`DELETE FROM audit_${table} WHERE tenant = $1`, [tenant])
      },
      rewound: async () => {
        // Everything as it was when the earlier head was signed: no trace is left inside.
        const earlier = firstHeads.get(tenant) as number
        bad.rewound = earlier
        await db.query('DELETE FROM audit_tiles WHERE tenant = $1 AND first_index >= $2', [tenant, earlier])
        await db.query('DELETE FROM audit_heads WHERE tenant = $1 AND size > $2', [tenant, earlier])
        await db.query(
          'DELETE FROM audit_writers w WHERE tenant = $1 AND NOT EXISTS (SELECT 1 FROM audit_tiles t WHERE t.tenant = w.tenant AND t.writer = w.writer)',
          [tenant],
        )
        await db.query('UPDATE audit_writers SET closed_at = NULL WHERE tenant = $1', [tenant])
        if (archived) {
          await db.query('DELETE FROM audit_archives WHERE tenant = $1', [tenant])
          for (const tile of tiles)
            await db.query(`UPDATE audit_tiles SET body = $4 ${WHERE}`, [...at(tile), tile.body])
        }
      },
      reordered: async () => {
        expect([sixth.count, seventh.count]).toEqual([1, 1])
        bad.reordered = index(sixth)
        await db.query(`UPDATE audit_tiles SET first_index = $4 ${WHERE}`, [...at(sixth), index(seventh)])
        await db.query(`UPDATE audit_tiles SET first_index = $4 ${WHERE}`, [...at(seventh), index(sixth)])
      },
      search: () => db.query("UPDATE jobs SET tiles = '' WHERE tenant = $1", [tenant]),
      signature: async () => {
        bad.signature = index(sixth)
        await db.query(`UPDATE audit_tiles SET signature = $4 ${WHERE}`, [...at(sixth), seventh.signature])
      },
      headless: async () => {
        bad.headless = 0
        await db.query('DELETE FROM audit_heads WHERE tenant = $1', [tenant])
      },
      beheaded: async () => {
        bad.beheaded = size
        await db.query('DELETE FROM audit_heads WHERE tenant = $1 AND size > $2', [tenant, size])
      },
      writer: () =>
        db.query('UPDATE audit_writers SET public_key = $2 WHERE tenant = $1', [tenant, base64(stranger.publicKey)]),
      nodes: async () => {
        bad.nodes = 0
        await db.query(
          'UPDATE audit_nodes SET hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1) WHERE tenant = $1 AND level = 0',
          [tenant],
        )
      },
      forged: () => forge(db, tenant, tiles),
    }
    await acts[tenant]()
  }

  const stranger = readSigningKey(signingKeyPem(new Uint8Array(32).fill(9)))

  /** Two entries change places, and tree and newest head are made to fit; only the signature is another key's. */
  async function forge(db: Db, tenant: Tenant, tiles: StoredTile[]): Promise<void> {
    const [a, b] = tiles.slice(5, 7) as [StoredTile, StoredTile]
    bad.forged = a.first_index as number
    await db.query(`UPDATE audit_tiles SET first_index = $4 ${WHERE}`, [...at(a), b.first_index])
    await db.query(`UPDATE audit_tiles SET first_index = $4 ${WHERE}`, [...at(b), a.first_index])
    const moved = new Map([
      [a, b.first_index],
      [b, a.first_index],
    ])
    const placeOf = (tile: StoredTile) => moved.get(tile) ?? (tile.first_index as number)
    const leaves = [...tiles].sort((x, y) => placeOf(x) - placeOf(y)).flatMap((tile) => tileLines(tile).map(leafHash))
    expect(leaves.length).toBeLessThan(256) // so that one row is the whole tree
    const tree = new Frontier()
    for (const leaf of leaves) tree.push(leaf)
    await db.query("UPDATE audit_nodes SET hashes = decode($2, 'hex') WHERE tenant = $1 AND level = 0 AND idx = 0", [
      tenant,
      Buffer.concat(leaves).toString('hex'),
    ])
    const head = { origin: originOf(tenant), size: leaves.length, root: tree.root(), at: 1, closed: [] }
    await db.query('DELETE FROM audit_heads WHERE tenant = $1 AND size < $2', [tenant, leaves.length])
    await db.query('UPDATE audit_heads SET root = $2, checkpoint = $3 WHERE tenant = $1', [
      tenant,
      base64(head.root),
      signCheckpoint(head, stranger),
    ])
  }

  const codes = (report: VerifyReport) => [...new Set(report.faults.map(({ code }) => code))]

  describe(`${proves('C1', 'L6')} a log somebody tampered with in the database`, () => {
    let reports: Map<string, VerifyReport>

    test('is caught by `audit verify` on the data directory with a head kept outside', async () => {
      const ran = await sallyport([
        'audit',
        'verify',
        '--data-dir',
        dataDir,
        ...withFiles,
        '--head',
        headsFile,
        '--json',
      ])
      expect(ran.exit, ran.err).toBe(1)
      reports = new Map((ran.json.reports as VerifyReport[]).map((report) => [report.tenant, report]))
      const caught = [...reports].filter(([, { ok }]) => !ok).map(([tenant]) => tenant)
      expect(caught.sort()).toEqual(TENANTS.filter((tenant) => tenant !== 'whole' && tenant !== 'search').sort())
      expect(reports.get('default')).toMatchObject({ ok: true, truncation: 'NOT CHECKED' })
      for (const tenant of ['whole', 'search'])
        expect(reports.get(tenant)).toMatchObject({
          ok: true,
          truncation: 'CHECKED',
          truncation_checked_to: keptHeads.get(tenant as Tenant)?.size,
        })
    }, 60_000)

    test.each([
      ['edited', 'entry_altered', 'exact'],
      ['longer', 'entry_altered', 'exact'],
      ['middle', 'entries_missing', 'exact'],
      ['cut', 'tail_cut', 'exact'],
      ['emptied', 'truncated', 'exact'],
      ['rewound', 'truncated', 'exact'],
      ['reordered', 'writer_gap', 'within'],
      ['signature', 'tile_signature', 'within'],
      ['headless', 'head_missing', 'within'],
      ['beheaded', 'head_missing', 'within'],
      ['writer', 'key_refused', 'nowhere'],
      ['nodes', 'stored_hash_altered', 'exact'],
      ['forged', 'head_refused', 'within'],
    ] as const)('%s: %s, and the first bad entry is named', (tenant, code, how) => {
      const report = reports.get(tenant) as VerifyReport
      expect(codes(report)).toContain(code)
      const first = report.first_bad_entry
      if (how === 'nowhere') return
      expect(first?.index, JSON.stringify(report.faults)).toBeLessThanOrEqual(bad[tenant])
      expect(first?.to).toBeGreaterThanOrEqual(bad[tenant])
      if (how === 'exact') expect(first).toMatchObject({ index: bad[tenant], exact: true })
    })

    if (archived)
      test('is caught without the files as well: hashes and heads are not in them', async () => {
        const ran = await sallyport(['audit', 'verify', '--data-dir', dataDir, '--head', headsFile, '--json'])
        const alone = ran.json.reports as VerifyReport[]
        expect(alone.filter(({ ok }) => ok).map(({ tenant }) => tenant)).toEqual(['default', 'search', 'whole'])
        expect(verifyExitCode(alone.find(({ tenant }) => tenant === 'whole') as VerifyReport)).toBe(3)
      }, 60_000)

    test('the exit code says it: 0 whole, 1 tampered with, 3 where no head from outside could tell', async () => {
      const verify = (tenant: Tenant, ...more: string[]) =>
        sallyport(['audit', 'verify', '--data-dir', dataDir, '--tenant', tenant, ...withFiles, ...more])
      const edited = await verify('edited', '--head', headsFile)
      expect(edited.exit).toBe(1)
      expect(edited.out).toMatch(
        new RegExp(`result +TAMPERED WITH\nfirst bad +entry ${bad.edited}, tile \\d+ of writer wr_`),
      )
      expect((await verify('whole', '--head', headsFile)).exit).toBe(0)
      const rewound = await verify('rewound')
      expect(rewound.exit).toBe(3)
      expect(rewound.out).toMatch(/truncation +NOT CHECKED/)
      expect((await verify('emptied')).exit).toBe(4)
    }, 60_000)
  })

  describe(`${proves('C1')} a server started on it`, () => {
    let plane: Plane
    const logged: { tenant?: string; err?: { type: string } }[] = []
    beforeAll(async () => {
      const log = pino({ level: 'error' }, { write: (line: string) => void logged.push(JSON.parse(line)) })
      plane = await startPlane(log)
      await submitEverywhere(plane, 1)
    }, 60_000)
    afterAll(() => plane?.stop())

    const own = async (tenant: Tenant) => {
      const client = createClient({ url: plane.url, apiKey: keys.get(tenant)?.admin as string })
      return { client, head: await newestHead(plane.world.db, tenant) }
    }
    const overTheApi = async (tenant: Tenant) =>
      verifyLog(readExport((await own(tenant)).client.audit.export()), {
        outsideHeads: [keptHeads.get(tenant)?.checkpoint as string],
      })

    test.each([
      ['headless', 'HeadsMissing'],
      ['beheaded', 'HeadsMissing'],
      ['nodes', 'TreeMismatch'],
      ['forged', 'HeadForged'],
    ] as const)('%s: signs nothing more and says why: %s', async (tenant, type) => {
      const before = (await own(tenant)).head?.size ?? 0
      await until('it is logged', () => logged.some((line) => line.tenant === tenant && line.err?.type === type))
      await until(
        'others go on',
        async () => ((await own('whole')).head?.size ?? 0) > (keptHeads.get('whole')?.size ?? 0) + 5,
      )
      expect((await own(tenant)).head?.size ?? 0).toBe(before)
      expect(logged.filter((line) => line.tenant === tenant)).toHaveLength(1)
    })

    test('is caught through the API too, and no later head makes good what was done', async () => {
      await until(
        'the rewound log is continued',
        async () => ((await own('rewound')).head?.size ?? 0) > (firstHeads.get('rewound') ?? 0),
      )
      for (const tenant of TENANTS) {
        const report = await overTheApi(tenant)
        const expected = tenant === 'whole' || tenant === 'search' ? 0 : 1
        expect([tenant, verifyExitCode(report)], JSON.stringify(report.faults)).toEqual([tenant, expected])
      }
    }, 60_000)

    test('believes the tiles and not the search rows', async () => {
      const { client } = await own('search')
      const { items } = await client.audit.list({ limit: 500 })
      expect(items.filter(({ kind }) => kind === 'job.submitted').length).toBeGreaterThan(5)
      expect(items.filter(({ kind, actor }) => kind === 'job.denied' || actor === 'agent:innocent')).toEqual([])
    })
  })

  test(`${proves('C1')} an export with any record taken out, doubled, moved or altered is caught`, async () => {
    const chance = dice('tampering with an export')
    const opened = await openAudit(dataDir).catch(() => null)
    expect(opened).not.toBeNull()
    const lines: string[] = []
    const records = recordsOf(await (opened as NonNullable<typeof opened>).source('whole'))
    for await (const record of withArchive(records, folder.open)) lines.push(recordLine(record))
    await opened?.close()
    const outsideHeads = [keptHeads.get('whole')?.checkpoint as string]
    const passes = async (changed: string[]) => (await verifyLog(readExport(changed), { outsideHeads })).ok
    expect(await passes(lines)).toBe(true)
    expect(readCheckpoint(outsideHeads[0] as string).checkpoint.size).toBeGreaterThan(5)
    for (const [n, line] of lines.entries()) {
      expect([n, await passes(lines.toSpliced(n, 1))]).toEqual([n, false])
      expect([n, await passes(lines.toSpliced(n, 0, line))]).toEqual([n, false])
      if (!line.includes('"record":"tile"') && !line.includes('"record":"head"')) continue
      // Anywhere in what is signed or hashed.
      const from = line.search(/"(body|checkpoint)":"/) + 12
      const place = chance.whole(from, line.indexOf('"', from + 5) - 1)
      const other = line[place] === 'x' ? 'y' : 'x'
      expect([n, place, await passes(lines.with(n, line.slice(0, place) + other + line.slice(place + 1)))]).toEqual([
        n,
        place,
        false,
      ])
    }
    const tiles = lines.flatMap((line, n) => (line.includes('"record":"tile"') ? [n] : []))
    for (const [a, b] of tiles.slice(1).map((n, i) => [tiles[i], n] as [number, number])) {
      const swapped = lines.with(a, lines[b] as string).with(b, lines[a] as string)
      expect([a, b, await passes(swapped)]).toEqual([a, b, false])
    }
  }, 60_000)
}
