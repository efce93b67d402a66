import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  closingsIn,
  EntryError,
  entryLine,
  FACT_KINDS,
  type Fact,
  joined,
  listOf,
  MAX_FIELD,
  parseEntry,
} from './audit.js'
import { sha256 } from './canonical.js'

const fact: Fact = { kind: 'job.submitted', tenant: 'default', at: 1, actor: 'agent:a' }

describe('entryLine', () => {
  it('is one line of sorted flat scalars', () => {
    const line = entryLine({
      ...fact,
      job_id: 'job_1',
      attempt: 2,
      note: 'two\nlines',
      reason: null,
      count: 3,
      late: true,
    })
    expect(line).toBe(
      '{"actor":"agent:a","at":1,"attempt":2,"count":3,"job_id":"job_1","kind":"job.submitted","late":true,"note":"two\\nlines","reason":null,"tenant":"default"}',
    )
  })

  it('leaves out what is undefined', () => {
    expect(entryLine({ ...fact, job_id: undefined })).toBe(entryLine(fact))
  })

  it.each<[string, Record<string, unknown>]>([
    ['a nested value', { labels: { env: 'prod' } }],
    ['a list', { rules: ['a'] }],
    ['a field name with a quote', { 'a"b': 1 }],
    ['__proto__', JSON.parse('{"__proto__": 1}')],
    ['a lone surrogate', { note: 'x\ud800' }],
  ])('refuses %s', (_, fields) => {
    const bad = Object.assign(Object.create(null), fact)
    for (const [name, value] of Object.entries(fields)) Object.defineProperty(bad, name, { value, enumerable: true })
    expect(() => entryLine(bad)).toThrow(EntryError)
  })

  it('abridges long text with its hash, never inside a surrogate pair', () => {
    for (const text of ['n'.repeat(MAX_FIELD + 1), `${'n'.repeat(2999)}${'\u{1f600}'.repeat(3000)}`]) {
      const note = parseEntry(entryLine({ ...fact, note: text }))?.note as string
      expect(note.length).toBeLessThan(3100)
      expect(note.endsWith(`… sha256:${sha256(text)}`)).toBe(true)
    }
    const fits = 'n'.repeat(MAX_FIELD)
    expect(parseEntry(entryLine({ ...fact, note: fits }))?.note).toBe(fits)
  })

  it('is read back as it was, whatever it holds', () => {
    const scalar = fc.oneof(fc.string({ unit: 'binary' }), fc.integer(), fc.boolean(), fc.constant(null))
    const fields = fc.dictionary(fc.stringMatching(/^[a-z][a-z0-9_]{0,20}$/), scalar)
    fc.assert(
      fc.property(fields, fc.constantFrom(...FACT_KINDS), (more, kind) => {
        const line = entryLine({ ...more, ...fact, kind })
        expect(line).not.toContain('\n')
        expect(parseEntry(line)).toEqual({ ...more, ...fact, kind })
      }),
    )
  })
})

describe('parseEntry', () => {
  it.each(['', 'x', '[]', 'null', '{"b":1,"a":1}', '{"a": 1}', '{"a":{}}', '{"a":1,"a":1}', '{"a":"\\ud800"}'])(
    'refuses %s',
    (line) => {
      expect(parseEntry(line)).toBeNull()
    },
  )
})

describe('closingsIn', () => {
  it('finds the writer.closed entries that are whole', () => {
    const closed = { ...fact, kind: 'writer.closed', writer: 'w1', last_seq: 4, last_hash: 'ab' } as const
    const mention = { ...fact, note: 'writer.closed', error_code: 'writer.closed' }
    const lines = [fact, mention, closed, { ...closed, last_hash: undefined }].map((each) => entryLine(each))
    expect(closingsIn(lines.join('\n'), lines)).toEqual([
      { at: 2, closing: { writer: 'w1', last_seq: 4, last_hash: 'ab' } },
    ])
    expect(closingsIn('x', ['x'])).toEqual([])
  })
})

it('joins lists without ambiguity', () => {
  expect(joined(['b', 'a,c', 'd%2Ce'])).toBe('a%2Cc,b,d%252Ce')
  expect(listOf(joined(['b', 'a,c', 'd%2Ce']))).toEqual(['a,c', 'b', 'd%2Ce'])
  expect([listOf(''), listOf(null), listOf(undefined)]).toEqual([[], [], []])
  expect(joined(['a', 'c'])).not.toBe(joined(['a,c']))
})
