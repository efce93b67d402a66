import fc from 'fast-check'
import { expect, test } from 'vitest'
import { token, tokens } from './subject.js'

const anything = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom('.', '*', '>', ' ', '%', 'a', 'ü', '\r', '\n') }),
)

test('an ordinary name is its own token', () => {
  for (const name of ['default', 'ACME', 'a_b-c', '0']) expect(token(name)).toBe(name)
  expect(tokens('job.deploy.apply')).toBe('job.deploy.apply')
})

test('any text is one token of letters, digits and percent signs', () => {
  fc.assert(fc.property(anything, (text) => /^[A-Za-z0-9_%-]{1,600}$/.test(token(text))))
})

test('different texts are different tokens', () => {
  const names = [
    '',
    '%',
    '%h',
    'a.b',
    'a',
    '*',
    '%2A',
    '%2a',
    'x'.repeat(700),
    'x'.repeat(701),
    'ü'.repeat(200),
    'ü'.repeat(201),
  ]
  expect(new Set(names.map(token)).size).toBe(names.length)
  const wellFormed = fc.string({ unit: 'grapheme' })
  fc.assert(fc.property(wellFormed, wellFormed, (a, b) => (token(a) === token(b)) === (a === b)))
})

test('a topic keeps its segments, and every subject fits a line', () => {
  expect(tokens('a..b.')).toBe('a.%.b.%')
  expect(tokens('*.>.a b')).toBe('%2A.%3E.a%20b')
  fc.assert(fc.property(anything, (text) => /^[A-Za-z0-9_%-]+(\.[A-Za-z0-9_%-]+)*$/.test(tokens(text))))
  for (const long of ['ü'.repeat(1000), '.'.repeat(2000), `${'ü.'.repeat(700)}`])
    expect(tokens(long).length).toBeLessThan(1501)
})
