import { describe, expect, test } from 'vitest'
import {
  type ArchiveFile,
  archiveFileName,
  archiveFolderOf,
  archiveHash,
  isArchiveFile,
  withArchive,
} from './archive.js'
import { type AuditRecord, recordLine } from './export.js'

const HASH = 'ab'.repeat(32)
const row = (first: number, size: number) => ({
  first,
  size,
  file: archiveFileName('t', first, size, HASH),
  sha256: HASH,
  archive_hash: HASH,
})
const tile = (first_index: number | null, body: string | null): AuditRecord => ({
  record: 'tile',
  tenant: 't',
  writer: 'wr_a',
  seq: first_index ?? 99,
  at: 1,
  count: 1,
  prev_hash: HASH,
  hash: HASH,
  signature: '',
  body,
  first_index,
  leaf_hashes: null,
})
const end: AuditRecord = { record: 'end', writers: 0, tiles: 0, entries: 0, heads: 0 }

/** A file of these records; `fails` instead of its end. */
function file(records: AuditRecord[], fails: string | null = null, hash = HASH): ArchiveFile {
  return {
    lines: (async function* () {
      for (const record of records) yield recordLine(record)
      if (fails !== null) throw new Error(fails)
    })(),
    sha256: () => hash,
  }
}

async function filled(records: AuditRecord[], files: Record<string, ArchiveFile>): Promise<string[]> {
  const shown: string[] = []
  for await (const record of withArchive(records, async (name) => files[name] ?? null))
    if (record.record === 'tile') shown.push(`${record.first_index} ${record.body}`)
    else if (record.record === 'archive_fault') shown.push(`${record.fault} ${record.file}: ${record.detail}`)
    else shown.push(record.record)
  return shown
}

describe('the name of a file', () => {
  test('is one path segment for the tenant, whatever that is called', () => {
    expect(archiveFolderOf('default')).toBe('default')
    expect(archiveFolderOf('../etc')).toBe('%2E%2E%2Fetc')
    expect(archiveFolderOf('acme.eu')).not.toBe(archiveFolderOf('acme%2Eeu'))
    expect(archiveFolderOf('ü'.repeat(200))).toMatch(/^[0-9a-f]{64}$/)
    for (const tenant of ['default', '..', 'a/b', 'ü'.repeat(200), '~ ~'])
      expect([tenant, isArchiveFile(archiveFileName(tenant, 0, 12, HASH))]).toEqual([tenant, true])
  })

  test.each([
    '../x/0-1.abababababababab.jsonl.gz',
    '/etc/passwd',
    't/../../0-1.abababababababab.jsonl.gz',
    '0-1.abababababababab.jsonl.gz',
    't/0-1.abababababababab.jsonl.gz/x',
    't/0-1.abababababababab.jsonl.gz\n',
    't\\x/0-1.abababababababab.jsonl.gz',
    't/0-1.ABABABABABABABAB.jsonl.gz',
  ])('%s is none', (name) => {
    expect(isArchiveFile(name)).toBe(false)
  })
})

test('the hash of a list differs with every field, the order and the tenant', () => {
  const [a, b] = [row(0, 5), row(5, 9)]
  const hashes = [
    archiveHash('t', null, a),
    archiveHash('u', null, a),
    archiveHash('t', HASH, a),
    archiveHash('t', null, b),
    archiveHash('t', null, { ...a, first: 1 }),
    archiveHash('t', null, { ...a, size: 6 }),
    archiveHash('t', null, { ...a, file: b.file }),
    archiveHash('t', null, { ...a, sha256: 'cd'.repeat(32) }),
  ]
  expect(new Set(hashes).size).toBe(hashes.length)
})

describe('bodies put back', () => {
  const [a, b] = [row(0, 2), row(2, 3)]
  const log: AuditRecord[] = [
    { record: 'archive', ...a },
    { record: 'archive', ...b },
    tile(0, null),
    tile(1, null),
    tile(2, null),
    tile(3, 'three'),
    tile(null, 'waits'),
    end,
  ]

  test('are those of the file that covers them; what is in both is left as it is', async () => {
    const files = { [a.file]: file([tile(0, 'zero'), tile(1, 'one'), end]), [b.file]: file([tile(2, 'two'), end]) }
    const shown = ['archive', 'archive', '0 zero', '1 one', '2 two', '3 three', 'null waits', 'end']
    expect(await filled(log, files)).toEqual(shown)
    const both = { [a.file]: file([tile(0, 'zero'), tile(1, 'other'), end]), [b.file]: file([tile(2, 'two')]) }
    expect(await filled(log.with(3, tile(1, 'one')), both)).toEqual(shown)
  })

  test('a file that is gone, cut, of another hash, or holds others is said behind its tiles', async () => {
    expect(await filled(log, { [b.file]: file([tile(2, 'two')], null, 'cd'.repeat(32)) })).toEqual([
      'archive',
      'archive',
      '0 null',
      '1 null',
      `missing ${a.file}: there is no such file`,
      '2 two',
      `damaged ${b.file}: its SHA-256 is ${'cd'.repeat(32)}, which is not the one in the log`,
      '3 three',
      'null waits',
      'end',
    ])
    const cut = await filled(log, { [a.file]: file([tile(0, 'zero')], 'unexpected end of file'), [b.file]: file([]) })
    expect(cut.slice(2, 6)).toEqual(['0 zero', '1 null', `damaged ${a.file}: unexpected end of file`, '2 null'])
    const others = { [a.file]: file([tile(2, 'two'), tile(1, 'one')]), [b.file]: file([tile(2, 'two')]) }
    expect((await filled(log, others)).slice(2, 4)).toEqual(['0 null', '1 null'])
  })

  test('a file whose entries are not in the log is read all the same, for it is in the list', async () => {
    const records: AuditRecord[] = [{ record: 'archive', ...a }, { record: 'archive', ...b }, end]
    expect(await filled(records, { [a.file]: file([], 'broken') })).toEqual([
      'archive',
      'archive',
      `damaged ${a.file}: broken`,
      `missing ${b.file}: there is no such file`,
      'end',
    ])
  })

  test('what was said of a file elsewhere gives way to what is found here; of a file that is not listed it stays', async () => {
    const said = (file: string): AuditRecord => ({
      record: 'archive_fault',
      file,
      fault: 'missing',
      detail: 'elsewhere',
    })
    const records = log.toSpliced(4, 0, said(a.file)).toSpliced(6, 0, said(b.file), said('t/other'))
    const files = { [a.file]: file([tile(0, 'zero'), tile(1, 'one'), end]) }
    expect(await filled(records, files)).toEqual([
      'archive',
      'archive',
      '0 zero',
      '1 one',
      '2 null',
      'missing t/other: elsewhere',
      `missing ${b.file}: there is no such file`,
      '3 three',
      'null waits',
      'end',
    ])
  })

  test('a file that cannot be opened is said, and whoever stops in the middle leaves none open', async () => {
    const shown: string[] = []
    const refuse = async () => {
      throw new Error('EACCES')
    }
    for await (const record of withArchive(log, refuse))
      if (record.record === 'archive_fault') shown.push(`${record.fault} ${record.detail}`)
    expect(shown).toEqual(['damaged EACCES', 'damaged EACCES'])

    let open = 0
    const lines = async function* () {
      open++
      try {
        yield recordLine(tile(0, 'zero'))
        yield recordLine(tile(1, 'one'))
      } finally {
        open--
      }
    }
    for await (const record of withArchive(log, async () => ({ lines: lines(), sha256: () => HASH }))) {
      if (record.record !== 'tile') continue
      expect(open).toBe(1)
      break
    }
    expect(open).toBe(0)
  })

  test('a name that leads out of the folder is never opened', async () => {
    const name = '../t/0-2.abababababababab.jsonl.gz'
    const shown = await filled([{ record: 'archive', ...a, file: name }, tile(0, null), end], {
      [name]: file([tile(0, 'zero')]),
    })
    expect(shown).toEqual(['archive', '0 null', `missing ${name}: there is no such file`, 'end'])
  })
})
