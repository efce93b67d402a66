import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { archiveFileName } from '../core/audit/archive.js'
import { sha256 } from '../core/canonical.js'
import { type ArchiveFolder, archiveFolder } from './archive-folder.js'

const dir = mkdtempSync(join(tmpdir(), 'sallyport-archive-folder-'))
afterAll(() => rmSync(dir, { recursive: true }))
let n = 0
let folder: ArchiveFolder
beforeEach(() => {
  const own = join(dir, String(n++))
  mkdirSync(own)
  folder = archiveFolder(own)
})

async function made(parts: string[], tenant = 'a b') {
  const draft = await folder.draft(tenant, 'one')
  const offsets: number[] = []
  for (const part of parts) offsets.push(await draft.add(part))
  const kept = await draft.keep((hash) => archiveFileName(tenant, 0, 9, hash))
  return { ...kept, offsets, path: join(folder.dir, kept.file) }
}
async function read(file: string): Promise<{ lines: string[]; hash: string }> {
  const opened = await folder.open(file)
  const lines: string[] = []
  for await (const line of opened?.lines ?? []) lines.push(line)
  return { lines, hash: opened?.sha256() ?? '' }
}
const PARTS = ['one\ntwö\n', 'three\n']

test('a file is written whole, named by its hash, and read by zcat, line by line, or a part at a time', async () => {
  const { file, sha256: hash, bytes, offsets, path } = await made(PARTS)
  expect(file).toBe(`a%20b/0-9.${hash.slice(0, 16)}.jsonl.gz`)
  expect([sha256(readFileSync(path)), statSync(path).size, statSync(path).mode & 0o777]).toEqual([hash, bytes, 0o600])
  expect(gunzipSync(readFileSync(path)).toString()).toBe(PARTS.join(''))
  expect(await read(file)).toEqual({ lines: ['one', 'twö', 'three'], hash })
  expect(await folder.part(file, 0, offsets[1] as number)).toBe(PARTS[0])
  expect(await folder.part(file, offsets[1] as number, bytes)).toBe(PARTS[1])
  expect(await folder.hashOf(file)).toBe(hash)
  expect(await folder.list('a b')).toEqual([file])
})

test('the same text gives the same file, whenever it is written; what an earlier try left is gone', async () => {
  const left = await folder.draft('a b', 'left')
  await left.add('half of it')
  const first = await made(PARTS)
  const second = await made(PARTS)
  expect(second).toEqual(first)
  expect(readdirSync(dirname(first.path))).toHaveLength(1)
  // Whoever was frozen while he wrote finds his draft gone, and nothing is in its place.
  await expect(left.keep((hash) => archiveFileName('a b', 0, 5, hash))).rejects.toThrow(/ENOENT/)
  expect(await folder.list('a b')).toEqual([first.file])
})

test('a draft that was dropped leaves nothing', async () => {
  const draft = await folder.draft('t', 'one')
  await draft.add('x')
  await draft.drop()
  expect(await folder.list('t')).toEqual([])
})

test('what is not there is null, not a fault', async () => {
  const file = archiveFileName('t', 0, 1, 'ab'.repeat(32))
  expect([await folder.open(file), await folder.hashOf(file), await folder.list('t')]).toEqual([null, null, []])
  writeFileSync(join(folder.dir, 't'), 'a file where a folder should be')
  expect(await folder.open(file)).toBeNull()
  await expect(folder.part(file, 0, 9)).rejects.toThrow(/^archive t\/.*: ENOTDIR$/)
})

function asFolder(path: string): void {
  rmSync(path)
  mkdirSync(path)
}

describe('what cannot be read is said with the name of the file', () => {
  test.each<[string, (path: string, bytes: Buffer) => void, RegExp]>([
    ['cut short', (path, bytes) => writeFileSync(path, bytes.subarray(0, -5)), /unexpected end of file/],
    [
      'a byte of it',
      (path, bytes) => writeFileSync(path, bytes.fill(~bytes.readUInt8(11), 11, 12)),
      /incorrect|invalid/,
    ],
    ['something else', (path) => writeFileSync(path, 'no gzip at all'), /incorrect header check/],
    ['a line without end', (path) => writeFileSync(path, gzipSync(Buffer.alloc(70_000_000))), /a line has no end/],
    ['a folder', asFolder, /EISDIR/],
  ])('%s', async (_what, spoil, why) => {
    const { file, path } = await made(PARTS)
    spoil(path, readFileSync(path))
    await expect(read(file)).rejects.toThrow(why)
    await expect(read(file)).rejects.toThrow(`archive ${file}: `)
    await expect(folder.part(file, 0, 200)).rejects.toThrow(`archive ${file}: `)
  })

  test('but for what only its hash tells', async () => {
    const { file, path, sha256: hash } = await made(PARTS)
    writeFileSync(path, gzipSync(PARTS.join(''), { level: 1 }))
    const { lines, hash: found } = await read(file)
    expect(lines).toEqual(['one', 'twö', 'three'])
    expect(found).not.toBe(hash)
    expect(await folder.hashOf(file)).not.toBe(hash)
  })
})

test.each(['../a/0-9.0123456789abcdef.jsonl.gz', '/etc/passwd', 'a/b/0-9.0123456789abcdef.jsonl.gz'])(
  '%s is never opened',
  async (name) => {
    await expect(folder.open(name)).rejects.toThrow('no name')
    await expect(folder.hashOf(name)).rejects.toThrow('no name')
    await expect(folder.part(name, 0, 1)).rejects.toThrow('no name')
  },
)
