import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CanonicalError, canonical, digestOf, isWellFormed, saltedHash, sha256, sorted } from './canonical.js'
import type { Json } from './json.js'

describe('canonical', () => {
  it('sorts keys by UTF-16 code units at every level', () => {
    // U+1F600 begins with 0xD83D and so comes before U+FB33, though its code point is larger: the example of RFC 8785 section 3.2.3.
    const value = { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\u{1f600}': 5, '\u0080': 6, '\u00f6': { b: 1, a: 2 } }
    expect(canonical(value)).toBe(
      '{"\\r":2,"1":4,"\u0080":6,"\u00f6":{"a":2,"b":1},"\u20ac":1,"\u{1f600}":5,"\ufb33":3}',
    )
  })

  it('sorts few keys and many as a list sorts itself', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ unit: 'binary', maxLength: 4 }), { maxLength: 90 }), (keys) => {
        expect(sorted([...keys])).toEqual([...keys].sort())
      }),
    )
  })

  it.each([
    [0, '0'],
    [-0, '0'],
    [1e21, '1e+21'],
    [333333333.3333333, '333333333.3333333'],
    [1e-7, '1e-7'],
    [4.5, '4.5'],
    [2e-3, '0.002'],
  ])('writes the number %d as ECMAScript does', (value, text) => {
    expect(canonical(value)).toBe(text)
  })

  it('escapes only what it must', () => {
    expect(canonical('\u20ac$\u000f\nA\'B"\\\\"/\u007f')).toBe('"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\u007f"')
  })

  it.each<[string, unknown]>([
    ['a lone surrogate', ['\ud800']],
    ['a lone surrogate in a key', { 'a\udfff': 1 }],
    ['NaN', { a: Number.NaN }],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['undefined', { a: undefined }],
    ['a bigint', 1n],
    ['20,000 levels', JSON.parse(`${'['.repeat(20_000)}${']'.repeat(20_000)}`)],
  ])('refuses %s', (_, value) => {
    expect(() => canonical(value as Json)).toThrow(CanonicalError)
  })

  it('keeps __proto__ as a key like any other', () => {
    expect(canonical(JSON.parse('{"b":1,"__proto__":{"x":1}}'))).toBe('{"__proto__":{"x":1},"b":1}')
  })

  it('says the same value when read back, and says it once only', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
        const text = canonical(value as Json)
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)))
        expect(canonical(JSON.parse(text))).toBe(text)
      }),
    )
  })

  it('does not depend on the order keys were written in', () => {
    const keys = fc.uniqueArray(fc.string({ unit: 'binary' }), { maxLength: 20 })
    fc.assert(
      fc.property(keys, fc.func(fc.nat()), (names, order) => {
        const shuffled = [...names].sort((a, b) => order(a) - order(b))
        const of = (list: string[]) => canonical(Object.fromEntries(list.map((name) => [name, name])))
        expect(of(shuffled)).toBe(of(names))
      }),
    )
  })
})

describe('digests', () => {
  it('hash the UTF-8 of the text', () => {
    expect(sha256('grün')).toBe(createHash('sha256').update(Buffer.from('grün', 'utf8')).digest('hex'))
  })

  it('differ by domain', () => {
    expect(digestOf('job', { a: 1 })).toBe(createHash('sha256').update('sallyport/job/v1\n{"a":1}').digest('hex'))
    expect(digestOf('job', { a: 1 })).not.toBe(digestOf('grant', { a: 1 }))
  })

  it('differ by salt, and want one worth the name', () => {
    const [one, two] = ['0'.repeat(32), '1'.repeat(32)]
    expect(saltedHash(one, 'x')).not.toBe(saltedHash(two, 'x'))
    expect(saltedHash(one, 'x')).toBe(saltedHash(one, 'x'))
    for (const salt of ['', 'abc', '0'.repeat(31), 'Z'.repeat(32), `${'0'.repeat(32)}\n`]) {
      expect(() => saltedHash(salt, 'x')).toThrow(CanonicalError)
    }
  })
})

it('tells lone surrogates from pairs', () => {
  expect(isWellFormed('a\u{1f600}b\ufffd')).toBe(true)
  expect(isWellFormed('a\ud83d')).toBe(false)
  expect(isWellFormed('\ude00\ud83d')).toBe(false)
})
