import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MAX_DEPTH, MAX_VALUES, parseStrict } from './json.js'

const parse = (text: string) => parseStrict(Buffer.from(text))
/** Texts with what makes a scanner lose its place: quotes, backslashes, brackets, escapes in a row. */
const tricky = fc.string({
  unit: fc.constantFrom('"', '\\', '{', '}', '[', ']', ',', ':', 'a', 'é', '😀', '\n'),
  maxLength: 12,
})
const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    tricky,
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(tricky, tie('value'), { maxKeys: 4 }),
  ),
})).value

describe('strict JSON', () => {
  test('takes what JSON.stringify writes, with or without white space', () => {
    fc.assert(
      fc.property(value, fc.constantFrom(0, 2), (value, indent) => {
        const text = JSON.stringify(value, null, indent)
        expect(parse(text)).toEqual(JSON.parse(text))
      }),
      { numRuns: 500 },
    )
  })

  test('finds a repeated key wherever it stands, also in other letters', () => {
    fc.assert(
      fc.property(tricky, value, fc.array(tricky, { maxLength: 3 }), fc.boolean(), (key, inner, before, escaped) => {
        const again = escaped
          ? `"${[...Array(key.length).keys()].map((i) => `\\u${key.charCodeAt(i).toString(16).padStart(4, '0')}`).join('')}"`
          : JSON.stringify(key)
        const text = `{"w":${JSON.stringify(before)},"v":{${JSON.stringify(key)}:${JSON.stringify(inner)},${again}:1}}`
        expect(() => parse(text)).toThrow(/repeated key/)
      }),
      { numRuns: 500 },
    )
  })

  test.each([
    ['"\\u0000"', /NUL/],
    ['{"a":"\\\\\\u0000"}', /NUL/],
    ['["\\\\","\\ud800"]', /surrogate/],
    ['["plain","\\udc00\\ud800"]', /surrogate/],
    ['{"__proto__":1}', /__proto__/],
    ['{"\\u005f_proto__":1}', /__proto__/],
    ['[1e999]', /out of range/],
    ['"open', /JSON/],
    ['["a\\"]', /JSON/],
    ['\\"a":"b"', /JSON/],
    ['['.repeat(MAX_DEPTH + 1), /Nested/],
    [`[${'[],'.repeat(MAX_VALUES / 2)}0]`, /values/],
    [`[${'1,'.repeat(MAX_VALUES)}1]`, /values/],
  ])('refuses %s', (text, why) => {
    expect(() => parse(text)).toThrow(why)
  })

  test('takes as many values as it says', () => {
    expect(parse(`[${'1,'.repeat(MAX_VALUES - 3)}1]`)).toHaveLength(MAX_VALUES - 2)
  })

  test('takes a pair of surrogates and a backslash before a quote', () => {
    expect(parse('["\\ud83d\\ude00","\\\\","\\""]')).toEqual(['😀', '\\', '"'])
  })
})
