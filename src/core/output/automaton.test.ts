import fc from 'fast-check'
import { expect, test } from 'vitest'
import { COLUMN_BITS, noneOf, oneOf, Patterns } from './automaton.js'

const WORD = 1
const OPTIONAL = 2
const JOINED = 4
const COUNTED = 8

function made() {
  const patterns = new Patterns()
  const { root } = patterns
  patterns.accept(patterns.literal(root, 'aba'), WORD)
  patterns.accept(patterns.then(patterns.upTo(2, patterns.literal(root, 'b'), oneOf('c')), oneOf('d')), OPTIONAL)
  const a = patterns.then(root, oneOf('a'))
  patterns.loop(a, oneOf('-_'))
  patterns.accept(patterns.then(a, oneOf('d')), JOINED)
  patterns.accept(patterns.exactly(3, patterns.then(root, noneOf('abcd')), oneOf('cd')), COUNTED)
  return patterns.compile()
}

/** The same patterns, asked of everything up to a character. */
const EXPECTED: [number, RegExp][] = [
  [WORD, /aba$/i],
  [OPTIONAL, /bc{0,2}d$/i],
  [JOINED, /a[-_]*d$/i],
  [COUNTED, /(^|[^abcd])[cd]{3}$/i],
]

test('says at every character what each pattern by itself would say', () => {
  const { next, columns, says, firstSaying, start } = made()
  const char = fc.constantFrom(...'aabbccddABCD-_. é€\0')
  fc.assert(
    fc.property(fc.array(char, { maxLength: 40 }), (chars) => {
      let state = start
      const text = chars.join('')
      for (let i = 0; i < text.length; i++) {
        state = next[(state << COLUMN_BITS) | (columns[Math.min(text.charCodeAt(i), 128)] as number)] as number
        const seen = text.slice(0, i + 1)
        const expected = EXPECTED.reduce((bits, [bit, pattern]) => (pattern.test(seen) ? bits | bit : bits), 0)
        expect({ seen, says: says[state] }).toEqual({ seen, says: expected })
        expect(state >= firstSaying).toBe(expected !== 0)
      }
    }),
    { numRuns: 2000 },
  )
})

test('refuses more kinds of characters than a row has places for', () => {
  const patterns = new Patterns()
  for (let code = 33; code < 33 + (1 << COLUMN_BITS); code++)
    patterns.then(patterns.root, oneOf(String.fromCharCode(code)))
  for (const c of 'ABCDEFGHIJKLMNOPQRSTUVWXYZ') {
    const lower = oneOf('')
    lower[c.toLowerCase().charCodeAt(0)] = 1
    patterns.then(patterns.root, lower)
  }
  expect(() => patterns.compile()).toThrow(/kinds of characters/)
})
