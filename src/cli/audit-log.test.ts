import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { signCheckpoint } from '../core/audit/checkpoint.js'
import { base64, EMPTY_ROOT, hex, leafHash, nodeHash } from '../core/audit/hash.js'
import { formatVkey, readSigningKey, signingKeyPem } from '../core/audit/keys.js'
import { headTexts, publicKey, splitNotes } from './audit-log.js'
import { checkProof } from './audit-proof.js'
import { EXIT } from './exit.js'

const key = readSigningKey(signingKeyPem(new Uint8Array(32).fill(7)))
const origin = 'sallyport/default'
const head = (size: number, root = EMPTY_ROOT) =>
  signCheckpoint({ origin, size, root, at: 1, closed: [{ writer: 'wr_a', last_seq: 2 }] }, key)

const dir = mkdtempSync(join(tmpdir(), 'sallyport-heads-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const file = (name: string, text: string) => {
  writeFileSync(join(dir, name), text)
  return join(dir, name)
}

describe('heads kept elsewhere', () => {
  test('one after another, with and without blank lines between, also from Windows', () => {
    const notes = [head(1), head(2), head(3)]
    expect(splitNotes(notes.join(''))).toEqual(notes)
    expect(splitNotes(`\n\n${notes.join('\n\n')}\n`)).toEqual(notes)
    expect(splitNotes(notes.join('').replaceAll('\n', '\r\n'))).toEqual(notes)
  })

  test('a head with several signatures stays one', () => {
    const witnessed = `${head(1)}\u2014 witness AAAAAAAA\n`
    expect(splitNotes(witnessed + head(2))).toEqual([witnessed, head(2)])
  })

  test('from a file, as text, or as the JSON of `audit head --json`', async () => {
    expect(await headTexts(file('heads', head(1) + head(2)))).toHaveLength(2)
    expect(await headTexts(head(4))).toEqual([head(4)])
    expect(await headTexts(file('head.json', JSON.stringify({ size: 4, checkpoint: head(4) })))).toEqual([head(4)])
  })

  test.each([
    ['no such file', join(dir, 'nosuch')],
    ['an empty one', file('empty', '\n')],
    ['JSON without a checkpoint', file('other.json', '{"size":1}')],
  ])('%s is wrong usage, never "no head given"', async (_what, given) =>
    expect(headTexts(given)).rejects.toMatchObject({ exit: EXIT.usage }),
  )
})

test('a public key is text or a file', async () => {
  const vkey = formatVkey(origin, key.publicKey)
  expect(hex(await publicKey(vkey))).toBe(hex(key.publicKey))
  expect(hex(await publicKey(file('vkey', `${vkey}\n`)))).toBe(hex(key.publicKey))
  await expect(publicKey('nonsense')).rejects.toMatchObject({ exit: EXIT.usage })
  await expect(publicKey(file('bad', 'nonsense'))).rejects.toMatchObject({ exit: EXIT.usage })
})

describe('a proof', () => {
  const [left, right] = [leafHash('{"a":1}'), leafHash('{"b":2}')]
  const root = nodeHash(left, right)
  const good = {
    index: 1,
    size: 2,
    leaf_hash: hex(right),
    entry: '{"b":2}',
    path: [hex(left)],
    root: hex(root),
    checkpoint: head(2, root),
  }
  const check = (change: Partial<typeof good>, index = 1) => checkProof({ ...good, ...change }, index, key.publicKey)

  test('holds in hex and in base64', () => {
    const all = { entry: true, path: true, head: true }
    expect(check({})).toEqual(all)
    expect(check({ leaf_hash: base64(right), path: [base64(left)], root: base64(root) })).toEqual(all)
  })

  test('of another entry, path, root or head does not', () => {
    expect(check({ entry: '{"b":3}' }).entry).toBe(false)
    expect(check({ path: [hex(right)] }).path).toBe(false)
    expect(check({ path: ['zz'] }).path).toBe(false)
    expect(check({ checkpoint: head(2) }).head).toBe(false)
    expect(check({ checkpoint: head(3, root) }).head).toBe(false)
    expect(check({ checkpoint: 'nonsense' }).head).toBe(false)
    expect(checkProof({ ...good, checkpoint: null }, 1, key.publicKey).head).toBeNull()
  })

  test('of another place than was asked for does not', () => {
    expect(check({}, 0).path).toBe(false)
    expect(check({ index: 5 }).path).toBe(false)
  })

  test('under another key does not', () => {
    const other = readSigningKey(signingKeyPem(new Uint8Array(32).fill(8)))
    expect(checkProof(good, 1, other.publicKey).head).toBe(false)
  })
})
