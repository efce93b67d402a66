import { describe, expect, it } from 'vitest'
import {
  type Checkpoint,
  CheckpointError,
  checkpointOpener,
  originOf,
  readCheckpoint,
  signCheckpoint,
} from './checkpoint.js'
import { leafHash } from './hash.js'
import { readSigningKey, signingKeyPem } from './keys.js'

const key = readSigningKey(signingKeyPem(Buffer.alloc(32, 7)))
const otherKey = readSigningKey(signingKeyPem(Buffer.alloc(32, 8)))
const origin = originOf('default')
const head: Checkpoint = {
  origin,
  size: 1204,
  root: leafHash('x'),
  at: 1_763_622_000_000,
  closed: [{ writer: 'wr_1', last_seq: 17 }],
}
const note = signCheckpoint(head, key)
const open = checkpointOpener(origin, [key.publicKey])

function faultOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof CheckpointError) return error.fault
    throw error
  }
  return 'none'
}

describe('a signed head', () => {
  it('has the lines of the checkpoint format', () => {
    const lines = note.split('\n')
    expect(lines.slice(0, 6)).toEqual([
      'sallyport/default',
      '1204',
      Buffer.from(head.root).toString('base64'),
      'at 1763622000000',
      'closed wr_1 17',
      '',
    ])
    expect(lines[6]).toMatch(/^\u2014 sallyport\/default [A-Za-z0-9+/]{90,92}={0,2}$/)
    expect(lines.slice(7)).toEqual([''])
  })

  it('opens to what was signed', () => {
    expect(open(note)).toEqual(head)
    const plain = { ...head, at: null, closed: [] }
    expect(open(signCheckpoint(plain, key))).toEqual(plain)
  })

  it('passes over signatures of witnesses and extension lines it does not know', () => {
    const witnessed = `${note}\u2014 witness.example/w ${Buffer.alloc(80, 1).toString('base64')}\n`
    expect(open(witnessed)).toEqual(head)
  })

  it('opens under any of several trusted keys', () => {
    expect(checkpointOpener(origin, [otherKey.publicKey, key.publicKey])(note)).toEqual(head)
  })

  it('is refused when anything signed is changed', () => {
    for (let i = 0; i < note.indexOf('\n\n'); i++) {
      const bad = `${note.slice(0, i)}${note[i] === '1' ? '2' : '1'}${note.slice(i + 1)}`
      expect(
        faultOf(() => open(bad)),
        bad,
      ).not.toBe('none')
    }
  })

  it('is refused with the reason', () => {
    expect(faultOf(() => checkpointOpener(origin, [otherKey.publicKey])(note))).toBe('unknown_key')
    expect(faultOf(() => checkpointOpener(originOf('acme'), [key.publicKey])(note))).toBe('wrong_origin')
    expect(faultOf(() => open(note.replace('1204', '1205')))).toBe('bad_signature')
    expect(faultOf(() => open(''))).toBe('malformed')
  })

  it.each([
    ['no blank line', note.replace('\n\n', '\n')],
    ['no last line break', note.slice(0, -1)],
    ['a size with leading zeros', note.replace('1204', '01204')],
    ['a size past 2^53', note.replace('1204', '9007199254740993')],
    ['a negative size', note.replace('1204', '-1')],
    ['a short root', note.replace(/\n[^\n]{44}\n/, '\nAAAA\n')],
    ['a root that is not the one encoding of its bytes', note.replace(/[^\n]=\nat/, 'B=\nat')],
    ['an empty line inside the text', note.replace('\nat', '\n\nat')],
    ['a control character', note.replace('at', 'a\tt')],
    ['a hyphen for the dash', note.replace('\u2014', '-')],
    ['a third word on a signature line', note.replace(/\n$/, ' x\n')],
    ['a lone surrogate', note.replace('at', '\ud800')],
    ['65 signatures', note + note.slice(note.indexOf('\u2014')).repeat(64)],
    ['a megabyte', note.replace('at', 'a'.repeat(1_000_000))],
  ])('is malformed with %s', (_, bad) => {
    expect(faultOf(() => readCheckpoint(bad))).toBe('malformed')
  })

  it('has no origin for a tenant that cannot stand in a key name', () => {
    for (const tenant of ['a b', 'a+b', 'a\nb']) expect(() => originOf(tenant)).toThrow(CheckpointError)
  })
})
