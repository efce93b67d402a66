import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AuditFaultCode } from '../../src/core/audit/faults.js'
import { readSigningKey } from '../../src/core/audit/keys.js'
import { type VerifyReport, verifyExitCode } from '../../src/core/audit/verify.js'
import { storeSnapshot } from '../../src/journey/activate.js'
import { archive } from '../../src/journey/archive.js'
import { createKey } from '../../src/journey/keys.js'
import { loadConfig, type Plane, start } from '../../src/main.js'
import { openPglite } from '../../src/platform/db/pglite.js'
import type { Db } from '../../src/platform/db/seam.js'
import { silentLog } from '../../src/platform/log.js'
import { createClient } from '../../src/sdk/client.js'
import { archiveFolder } from '../../src/store/archive-folder.js'
import { newestHead, placedTiles } from '../../src/store/audit.js'
import { proves } from '../requirements.js'
import { endAll, sallyport, scratch, until } from '../support/server.js'

/** Somebody tampers with files of old entries, with the list of them, or with both. A tenant for each way, each with two files. */
const WAYS = [
  'whole',
  'bit',
  'cut',
  'lost',
  'swapped',
  'partner',
  'rewritten',
  'doubled',
  'extra',
  'row',
  'unlisted',
  'none_listed',
  'invented',
  'emptied',
] as const
type Way = (typeof WAYS)[number]

const POLICY = 'version: v1\nrules: [{ id: all, match: { topic: job.t.> }, decision: ALLOW }]\n'
const place = scratch('archive')
const dataDir = place.at('data')
const folder = archiveFolder(place.dir)
const keys = new Map<string, { admin: string; agent: string }>()
const headsFile = place.at('heads')
const config = loadConfig({ SALLYPORT_AUDIT_ARCHIVE: place.dir }, { dataDir, port: 0 })
const startPlane = (over = config) => start(over, { thread: false, log: silentLog })

async function submitEverywhere({ url, world }: Plane): Promise<void> {
  for (let n = 0; n < 2; n++)
    for (const tenant of WAYS) {
      const agent = createClient({ url, apiKey: keys.get(tenant)?.agent as string })
      await agent.jobs.submit({ topic: 'job.t.a', input: { n } })
    }
  await until('all tiles are in their trees', async () => {
    return (await world.db.query('SELECT 1 FROM audit_tiles WHERE first_index IS NULL LIMIT 1')).length === 0
  })
}

/** All that is there goes into a file. */
async function putAway({ world }: Plane): Promise<void> {
  const key = readSigningKey(readFileSync(config.signingKey, 'utf8'))
  for (const { failed } of await archive(world, folder, key, -2 * 86_400_000)) if (failed !== null) throw failed
}

const files = new Map<Way, [string, string]>()
/** The entry that was altered in a file. */
let altered = -1

beforeAll(async () => {
  let plane = await startPlane()
  for (const tenant of WAYS) {
    const policy = [{ path: 'policy.yaml', text: POLICY }]
    await storeSnapshot(plane.world, tenant, 'person:root', policy, { source: 'api', activate: true, note: null })
    const make = async (role: 'admin' | 'agent', principal: string) =>
      (await createKey(plane.world, tenant, 'person:root', { role, principal })).key
    keys.set(tenant, { admin: await make('admin', 'person:root'), agent: await make('agent', 'agent:bot') })
  }
  await submitEverywhere(plane)
  await plane.stop()
  // Chains that end in the first file.
  plane = await startPlane()
  await submitEverywhere(plane)
  await putAway(plane)
  await submitEverywhere(plane)
  await putAway(plane)
  await submitEverywhere(plane)
  const heads = await Promise.all(WAYS.map((tenant) => newestHead(plane.world.db, tenant)))
  writeFileSync(headsFile, heads.map((head) => head?.checkpoint).join('\n'))
  await plane.stop()
  for (const tenant of WAYS) files.set(tenant, (await folder.list(tenant)) as [string, string])

  const db = await openPglite(place.at('data', 'pgdata'))
  for (const tenant of WAYS) await tamper(db, tenant)
  await db.close()
}, 120_000)

afterAll(async () => {
  await endAll()
  place.gone()
})

async function tamper(db: Db, way: Way): Promise<void> {
  const [one, two] = (files.get(way) as string[]).map((file) => join(place.dir, file)) as [string, string]
  const bytes = readFileSync(one)
  const acts: Record<Way, () => unknown> = {
    whole: () => {},
    bit: () => {
      const at = bytes.length >> 1
      bytes[at] = (bytes[at] as number) ^ 1
      writeFileSync(one, bytes)
    },
    cut: () => writeFileSync(one, bytes.subarray(0, -20)),
    lost: () => rmSync(one),
    swapped: () => {
      const partner = join(place.dir, files.get('partner')?.[0] as string)
      renameSync(one, `${one}.moved`)
      renameSync(partner, one)
      renameSync(`${one}.moved`, partner)
    },
    partner: () => {},
    rewritten: () => {
      const lines = gunzipSync(bytes).toString().split('\n')
      const at = lines.findIndex((line) => line.includes('job.submitted'))
      altered = (JSON.parse(lines[at] as string) as { first_index: number }).first_index
      lines[at] = lines[at]?.replace('agent:bot', 'agent:b0t') as string
      writeFileSync(one, gzipSync(lines.join('\n')))
    },
    doubled: () => writeFileSync(one, readFileSync(two)),
    extra: () => writeFileSync(join(one, '..', '0-9.0123456789abcdef.jsonl.gz'), bytes),
    row: () =>
      db.query("UPDATE audit_archives SET file = replace(file, '0-', '1-') WHERE tenant = $1 AND first = 0", [way]),
    unlisted: () => db.query('DELETE FROM audit_archives WHERE tenant = $1 AND first > 0', [way]),
    none_listed: () => db.query('DELETE FROM audit_archives WHERE tenant = $1', [way]),
    invented: async () => {
      const [{ size }] = (await db.query<{ size: number }>(
        'SELECT max(size) AS size FROM audit_archives WHERE tenant = $1',
        [way],
      )) as [{ size: number }]
      const [tile] = await placedTiles(db, way, size, 1)
      const past = size + (tile?.count ?? 0)
      await db.query('UPDATE audit_tiles SET body = NULL WHERE tenant = $1 AND first_index = $2', [way, size])
      await db.query(
        `INSERT INTO audit_archives SELECT tenant, $2::bigint, $3::bigint, replace(file, first || '-', $4::text), sha256, archive_hash, bytes, parts, at, at
           FROM audit_archives WHERE tenant = $1 AND first > 0`,
        [way, size, past, `${size}-`],
      )
    },
    emptied: () =>
      db.query(
        'UPDATE audit_tiles SET body = NULL WHERE tenant = $1 AND first_index = (SELECT max(first_index) FROM audit_tiles WHERE tenant = $1)',
        [way],
      ),
  }
  await acts[way]()
}

type Shown = VerifyReport & { strays: string[] }
const FILES = ['--archive', place.dir]

describe(`${proves('C1')} a log with old entries in files`, () => {
  let reports: Map<string, Shown>
  const verify = (...more: string[]) =>
    sallyport(['audit', 'verify', '--data-dir', dataDir, '--head', headsFile, ...more])

  test('is caught by `audit verify --archive` whatever was done to the files or to the list of them', async () => {
    const ran = await verify(...FILES, '--json')
    expect(ran.exit, ran.err).toBe(1)
    reports = new Map((ran.json.reports as Shown[]).map((report) => [report.tenant, report]))
    const caught = [...reports].filter(([, { ok }]) => !ok).map(([tenant]) => tenant)
    expect(caught.sort()).toEqual(WAYS.filter((way) => way !== 'whole' && way !== 'extra').sort())
    expect(reports.get('whole')).toMatchObject({ archived: { files: 2, not_checked: 0 }, strays: [] })
  }, 60_000)

  test.each<[Way, AuditFaultCode, 0 | 1]>([
    ['bit', 'archive_damaged', 0],
    ['cut', 'archive_damaged', 0],
    ['lost', 'archive_missing', 0],
    ['swapped', 'archive_damaged', 0],
    ['partner', 'archive_damaged', 0],
    ['rewritten', 'archive_damaged', 0],
    ['doubled', 'archive_damaged', 0],
    ['row', 'archive_unvouched', 0],
    ['unlisted', 'archive_unvouched', 1],
    ['none_listed', 'archive_unvouched', 0],
    ['invented', 'archive_unvouched', 1],
    ['emptied', 'tile_emptied', 1],
  ])('%s: %s', (way, code, at) => {
    const { faults, first_bad_entry } = reports.get(way) as Shown
    const fault = faults.find((each) => each.code === code)
    expect(fault, JSON.stringify(faults)).toBeDefined()
    expect(first_bad_entry?.index).not.toBeNull()
    if (code === 'archive_damaged' || code === 'archive_missing') expect(fault?.message).toContain(files.get(way)?.[at])
  })

  test('an entry that was exchanged in a file is named', () => {
    const { faults, first_bad_entry } = reports.get('rewritten') as Shown
    expect(faults.map(({ code }) => code)).toContain('entry_altered')
    expect(first_bad_entry).toMatchObject({ index: altered, exact: true })
  })

  test('a file that the log does not name is said and believed for nothing', () => {
    const { ok, strays } = reports.get('extra') as Shown
    expect([ok, strays]).toEqual([true, ['extra/0-9.0123456789abcdef.jsonl.gz']])
  })

  test('exit codes: 0 with the files, 3 without, 1 for what is wrong; and what was not checked is said', async () => {
    const whole = await verify('--tenant', 'whole', ...FILES)
    expect([whole.exit, whole.out]).toEqual([
      0,
      expect.stringMatching(/archive +CHECKED 2 files with entries 0 to \d+\n(.|\n)*result +WHOLE/),
    ])
    const alone = await verify('--tenant', 'whole')
    expect([alone.exit, alone.out]).toEqual([
      3,
      expect.stringMatching(/archive +NOT CHECKED entries 0 to \d+, of 2 files/),
    ])
    expect(alone.err).toMatch(/--archive/)
    // Of what is in the files nothing can be said without them; of the list of them, it can.
    const all = (await verify('--json')).json.reports as Shown[]
    const exits = new Map(all.map((report) => [report.tenant, verifyExitCode(report)]))
    for (const way of ['lost', 'bit', 'rewritten', 'whole']) expect([way, exits.get(way)]).toEqual([way, 3])
    for (const way of ['row', 'unlisted', 'none_listed', 'invented', 'emptied'])
      expect([way, exits.get(way)]).toEqual([way, 1])
    expect((await verify('--archive', place.at('nosuch'))).exit).toBe(2)
    // The folder is looked at before a log is opened, so that none is left open.
    const nosuch = place.at('nosuch')
    expect((await sallyport(['audit', 'verify', '--data-dir', nosuch, '--archive', nosuch])).exit).toBe(2)
  }, 120_000)
})

describe(`${proves('C1')} a server with its archive`, () => {
  test.each([true, false])(
    'is verified over the API; it sees the folder: %s',
    async (sees) => {
      const plane = await startPlane(sees ? config : { ...config, auditArchive: null })
      try {
        const keyFile = place.at('whole.key')
        writeFileSync(keyFile, keys.get('whole')?.admin as string)
        const online = ['--url', plane.url, '--key-file', keyFile]
        const verify = (...more: string[]) => sallyport(['audit', 'verify', ...online, '--head', headsFile, ...more])
        expect((await verify()).exit).toBe(sees ? 0 : 3)
        expect((await verify(...FILES)).exit).toBe(0)
        const out = place.at(`export-${sees}`)
        expect((await sallyport(['audit', 'export', ...online, ...FILES, '--out', out])).exit).toBe(0)
        expect((await sallyport(['audit', 'verify', '--export', out, '--head', headsFile])).exit).toBe(0)

        const client = createClient({ url: plane.url, apiKey: keys.get('whole')?.admin as string })
        const proof = client.audit.inclusion({ index: 3 })
        const kinds = (await client.audit.list({ limit: 500 })).items.map(({ kind }) => kind)
        if (sees) {
          expect((await proof).entry).toContain('"tenant":"whole"')
          expect(kinds).not.toContain('archived')
        } else {
          await expect(proof).rejects.toMatchObject({ status: 503, code: 'archived' })
          expect(kinds).toContain('archived')
        }
      } finally {
        await plane.stop()
      }
    },
    60_000,
  )
})
