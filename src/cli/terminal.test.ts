import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CliError, EXIT, told } from './exit.js'
import {
  colorsFor,
  createTerminal,
  duration,
  fields,
  instant,
  jsonText,
  printable,
  type Stream,
  table,
} from './terminal.js'

const ESC = '\u001b'
const RLO = '\u202e'

function stream(isTTY: boolean, columns?: number): Stream & { text: string } {
  return {
    isTTY,
    ...(columns === undefined ? {} : { columns }),
    text: '',
    write(text) {
      this.text += text
    },
  }
}

const plain = colorsFor(stream(false), {})
const wide = { color: plain, width: null }

describe('colour', () => {
  const painted = (isTTY: boolean, env: Record<string, string>) => colorsFor(stream(isTTY), env).red('x') !== 'x'

  test.each([
    ['on a terminal', true, {}, true],
    ['piped', false, {}, false],
    ['piped in CI', false, { CI: '1' }, false],
    ['piped with FORCE_COLOR', false, { FORCE_COLOR: '1' }, false],
    ['with NO_COLOR', true, { NO_COLOR: '1' }, false],
    ['with an empty NO_COLOR, which says nothing', true, { NO_COLOR: '' }, true],
    ['on a dumb terminal', true, { TERM: 'dumb' }, false],
  ])('%s', (_where, isTTY, env, wanted) => expect(painted(isTTY, env as Record<string, string>)).toBe(wanted))
})

describe('json mode', () => {
  const open = (json: boolean) => {
    const [stdout, stderr] = [stream(false), stream(true)]
    return { stdout, stderr, terminal: createTerminal({ stdout, stderr }, {}, { json, stdinTTY: true }) }
  }

  test('one document on stdout and nothing else anywhere', () => {
    const { stdout, stderr, terminal } = open(true)
    terminal.line('a line')
    terminal.note('a note')
    terminal.progress().say('10 %')
    terminal.show({ a: 1 }, () => 'for people')
    expect(JSON.parse(stdout.text)).toEqual({ a: 1 })
    expect(stderr.text).toBe('')
    expect(terminal.interactive).toBe(false)
  })

  test('an error is the document', () => {
    const { stdout, terminal } = open(true)
    terminal.error(told(new CliError(EXIT.notFound, 'not_found', 'no such job', 'look', { details: { job_id: 'j' } })))
    expect(JSON.parse(stdout.text)).toEqual({
      error: { code: 'not_found', message: 'no such job', exit: 4, help: 'look', job_id: 'j' },
    })
  })

  test('for people, errors and notes go to stderr', () => {
    const { stdout, stderr, terminal } = open(false)
    terminal.note('a note')
    terminal.error(told(new Error('broken')))
    expect(stdout.text).toBe('')
    expect(stderr.text).toContain('a note')
    expect(stderr.text).toContain('broken')
  })

  test('progress is silent where stderr is no terminal', () => {
    const stderr = stream(false)
    createTerminal({ stdout: stream(false), stderr }, {}, { json: false, stdinTTY: false })
      .progress()
      .say('10 %')
    expect(stderr.text).toBe('')
  })
})

describe('text from outside', () => {
  test('neither moves the cursor nor hides', () => {
    expect(printable(`a${ESC}[2Jb${RLO}c\u200bd\u009be\nf`)).toBe('a\\u001b[2Jb\\u202ec\\u200bd\\u009be\\u000af')
    expect(printable('\u{e0041}')).toBe('\\udb40\\udc41')
    expect(printable('Grüße, 世界 🎉')).toBe('Grüße, 世界 🎉')
  })

  test('JSON says the same after it was made safe', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.string({ unit: 'binary' }), (value, text) => {
        const shown = jsonText({ value, [text]: text })
        expect(JSON.parse(shown)).toEqual(JSON.parse(JSON.stringify({ value, [text]: text })))
        expect(shown).not.toMatch(/[\p{Cf}\u2028\u2029\u007f-\u009f]/u)
      }),
    )
  })

  test('a value of several lines cannot pose as the next field', () => {
    const shown = fields(
      [
        ['reason', 'fine\ngrant hash  v1:fake'],
        ['grant hash', 'v1:real'],
      ],
      plain,
    )
    expect(shown.split('\n').filter((line) => line.startsWith('grant hash'))).toEqual(['grant hash  v1:real'])
  })
})

describe('tables', () => {
  const rows = [
    { id: 'job_0123456789', note: 'a long note that has to give way' },
    { id: 'job_x', note: `${ESC}[31mred` },
  ]
  const columns = [
    { title: 'JOB', of: (row: { id: string }) => row.id, whole: true as const },
    { title: 'NOTE', of: (row: { note: string }) => row.note },
  ]

  test('piped, nothing is cut and nothing is painted', () => {
    expect(table(rows, columns, wide)).toBe(
      [
        'JOB             NOTE',
        'job_0123456789  a long note that has to give way',
        'job_x           \\u001b[31mred',
      ].join('\n'),
    )
  })

  test('on a terminal they fit, and ids stay whole', () => {
    const lines = table(rows, columns, { color: plain, width: 24 }).split('\n')
    for (const line of lines) expect([...line].length).toBeLessThanOrEqual(24)
    expect(lines[1]).toMatch(/^job_0123456789 {2}a long …$/)
  })
})

test.each([
  [0, '0 ms'],
  [999, '999 ms'],
  [45_000, '45 s'],
  [3_600_000, '1 h'],
  [12_000_000, '3 h 20 min'],
  [90_061_000, '1 d 1 h'],
])('%i ms is %s', (ms, text) => expect(duration(ms)).toBe(text))

test('instants are in one zone', () => {
  expect(instant(0)).toBe('1970-01-01 00:00:00Z')
  expect(instant(null)).toBeNull()
})
