import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { backoffMs } from './backoff.js'
import { TerminalError, TransientError } from './errors.js'
import { AttemptAborted, failed, RESULT_BYTES, succeeded } from './outcome.js'

const read = (report: { text: string }) => JSON.parse(report.text)

describe('a result', () => {
  test('is any JSON; nothing is null', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const report = succeeded('lease_1', value)
        expect(read(report)).toEqual({
          lease: 'lease_1',
          outcome: 'succeeded',
          result: JSON.parse(JSON.stringify(value)),
        })
        expect(report.bytes).toBe(Buffer.byteLength(report.text))
      }),
    )
    for (const nothing of [undefined, () => 1]) expect(read(succeeded('lease_1', nothing)).result).toBeNull()
  })

  test('may be as large as the limit, in bytes, and no larger', () => {
    const fits = 'ü'.repeat((RESULT_BYTES - 2) / 2)
    expect(succeeded('lease_1', fits).outcome).toBe('succeeded')
    expect(read(succeeded('lease_1', `${fits}x`)).error).toMatchObject({ class: 'terminal', code: 'result_too_large' })
  })
})

describe('a failure', () => {
  test('after an abort is named by its reason, unless the handler knows better', () => {
    const aborted = new AttemptAborted('stop')
    expect(read(failed('l', new Error('echo'), aborted)).error).toMatchObject({
      class: 'transient',
      code: 'worker_stopped',
    })
    expect(read(failed('l', new TerminalError('bad', 'm'), aborted)).error).toMatchObject({
      class: 'terminal',
      code: 'bad',
    })
  })

  test('has a message that the contract takes: 8 KiB, well-formed, without NUL', () => {
    const parts = fc.array(fc.constantFrom('a', 'ü', '😀', '\ud83d', '\0', 'x'.repeat(4_000)))
    fc.assert(
      fc.property(parts, (list) => {
        const { message } = read(failed('l', new Error(list.join('')))).error
        expect(Buffer.byteLength(message)).toBeLessThanOrEqual(8_192)
        expect(message.isWellFormed()).toBe(true)
        expect(message).not.toContain('\0')
      }),
    )
    expect(read(failed('l', new Error('y'.repeat(9_000)))).error.message).toBe('y'.repeat(8_192))
  })

  test('tells the cause, since "fetch failed" alone tells nothing', () => {
    const error = new Error('fetch failed', { cause: new Error('connect ECONNREFUSED 127.0.0.1:1') })
    expect(read(failed('l', error)).error.message).toBe('fetch failed: connect ECONNREFUSED 127.0.0.1:1')
  })

  test('has a code that the contract takes', () => {
    fc.assert(
      fc.property(fc.string(), (code) => {
        expect(new TransientError(code, 'm').code).toMatch(/^[A-Za-z0-9_.-]{1,100}$/)
      }),
    )
  })
})

test('a wait lies between floor and cap and never overflows', () => {
  const share = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
  fc.assert(
    fc.property(fc.nat(2_000), share, (attempt, random) => {
      const ms = backoffMs(attempt, { floorMs: 100, baseMs: 200, capMs: 5_000 }, random)
      expect(ms).toBeGreaterThanOrEqual(100)
      expect(ms).toBeLessThanOrEqual(5_000)
    }),
  )
  expect(backoffMs(0, { baseMs: 100, capMs: 5_000 }, 0.5)).toBe(50)
  expect(backoffMs(3, { baseMs: 100, capMs: 5_000 }, 0.5)).toBe(400)
})
