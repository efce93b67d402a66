import { describe, expect, test } from 'vitest'
import type { Json } from '../json.js'
import { TooMuchWork } from './cel-meter.js'
import { activation, compileExpression } from './expression.js'
import { fixtureClaim } from './fixtures.js'

const VIEW = { labels: {}, risk_tags: [], environment: null, action_type: null }
const run = (text: string, input: Json = {}) =>
  compileExpression(text).run(activation(fixtureClaim({ input }), VIEW, 0))
const ones = (count: number) => `[${Array(count).fill('1').join(',')}]`
const numbers = (count: number) => Array.from({ length: count }, (_, n) => n)
/** `cel.bind(v1, …v0…, cel.bind(v2, …v1…, …))`: each is made of the one before. */
const chain = (first: string, next: (of: string) => string, length: number, last: (of: string) => string): string => {
  const bound = numbers(length).map((n) => `cel.bind(v${n}, ${n === 0 ? first : next(`v${n - 1}`)}, `)
  return `${bound.join('')}${last(`v${length - 1}`)}${')'.repeat(length)}`
}

const wide = Object.fromEntries(numbers(50_000).map((n) => [`k${n}`, n]))

describe('what no condition may cost is an error', () => {
  test.each<[string, string, Json?]>([
    [
      'literal lists in each other',
      `${ones(90)}.all(a, ${ones(90)}.all(b, ${ones(90)}.all(c, ${ones(90)}.all(d, true))))`,
    ],
    ['lists made of a text', `input.s.split('').all(a, input.s.split('').all(b, true))`, { s: 'x'.repeat(8000) }],
    ['a list that doubles', `[[1]]${'.map(a, a + a)'.repeat(24)}[0].size() > 0`],
    [
      'a list that doubles without any pass',
      chain(
        '[1]',
        (of) => `${of} + ${of}`,
        24,
        (of) => `${of}.size() > 0`,
      ),
    ],
    [
      'a text that doubles',
      chain(
        '"xx"',
        (of) => `${of} + ${of}`,
        24,
        (of) => `${of} != ""`,
      ),
    ],
    [
      'texts joined again and again',
      chain(
        '"x"',
        (of) => `[${Array(30).fill(of)}].join()`,
        6,
        (of) => `${of} == ""`,
      ),
    ],
    [
      'two lists short to make and long to compare',
      `${chain(
        '[1]',
        (of) => `[${of}, ${of}]`,
        24,
        (of) => of,
      )} == ${chain(
        '[1]',
        (of) => `[${of}, ${of}]`,
        24,
        (of) => of,
      )}`,
    ],
    [
      'a key looked for in a wide map for each',
      'input.l.all(a, input.k in input.m)',
      { l: numbers(100), k: 'k1', m: wide },
    ],
    ['a wide map compared with nothing for each', 'input.l.all(a, input.m != null)', { l: numbers(100), m: wide }],
    ['a wide map taken for a truth for each', 'input.l.all(a, !input.m || true)', { l: numbers(100), m: wide }],
    ['a wide map in a list compared for each', 'input.l.all(a, input.n != 1)', { l: numbers(100), n: [wide] }],
    ['a wide map looked at again and again', Array(90).fill('input.m != null').join(' && '), { m: wide }],
    ['two wide maps compared for each', 'input.l.all(a, {} != input.m && input.m != {})', { l: numbers(100), m: wide }],
    ['a list looked through for each of another', 'input.l.all(a, a in input.l)', { l: numbers(2000) }],
    ['keys listed for each of a list', 'input.l.all(a, input.m.exists(k, true))', { l: numbers(100), m: wide }],
    ['keys counted for each of a list', 'input.l.all(a, input.m.size() > a)', { l: numbers(100), m: wide }],
    ['much written in each round', `input.l.exists(a, ${Array(190).fill('a < 0').join(' || ')})`, { l: numbers(3000) }],
    [
      'patterns compiled for each',
      'input.l.exists(p, topic.matches(p))',
      { l: numbers(1000).map((n) => `x[a-f]+${n}`) },
    ],
    [
      'a text matched for each',
      `input.l.all(a, input.s.matches('^(a|aa)+$'))`,
      { l: numbers(100), s: 'a'.repeat(60_000) },
    ],
    ['zones asked for each', `input.l.all(a, now.getHours('Europe/Berlin') > 30 || true)`, { l: numbers(1000) }],
    ['errors gone past for each', 'input.l.exists(a, a.x > 1)', { l: numbers(100_000) }],
    ['errors gone past in each', 'input.l.all(a, a.x > 1 || a.y > 1 || true)', { l: numbers(2000) }],
    [
      'a long text looked for in a longer',
      'input.s.contains(input.p)',
      { s: 'a'.repeat(60_000), p: `${'a'.repeat(2000)}b${'a'.repeat(2000)}` },
    ],
    ['and from its end', 'input.s.lastIndexOf(input.p) > 0', { s: 'a'.repeat(60_000), p: `${'a'.repeat(4000)}b` }],
    [
      'and where the library goes on past errors',
      `${ones(90)}.exists(a, ${ones(90)}.all(b, ${ones(90)}.all(c, true)) && false) || true`,
    ],
  ])('%s', (_what, text, input) => {
    expect(() => run(text, input)).toThrow(TooMuchWork)
  })
})

test('what the largest job needs is none, and one run owes nothing to another', () => {
  expect(() => run(`${ones(90)}.all(a, ${ones(90)}.all(b, ${ones(90)}.all(c, true)))`)).toThrow(TooMuchWork)
  expect(run('input.l.all(a, a >= 0) && !input.l.exists(a, a < 0)', { l: numbers(100_000) })).toBe(true)
  expect(run('input.l.all(a, input.l.exists(b, b == a))', { l: numbers(600) })).toBe(true)
  expect(run(`input.s.contains('needle') || input.s.matches('^x+$')`, { s: 'x'.repeat(200_000) })).toBe(true)
  const prices = Object.fromEntries(numbers(1000).map((n) => [`k${n}`, n]))
  expect(run('input.l.all(a, a in input.m)', { l: Object.keys(prices), m: prices })).toBe(true)
  const few = Object.fromEntries(Object.entries(wide).slice(0, 20_000))
  expect(run('input.m.all(k, input.m[k] >= 0) && input.m.size() == 20000', { m: few })).toBe(true)
  expect(run('input.l != [] && input.l.size() == 100000', { l: numbers(100_000) })).toBe(true)
  expect(run(`input.l.all(a, a.startsWith('ab') && a in ['abc', 'abd'])`, { l: Array(20_000).fill('abc') })).toBe(true)
})
