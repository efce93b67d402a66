import { describe, expect, it } from 'vitest'
import { screen } from '../output.js'
import { scan } from './scan.js'

/**
 * Steps, not time: every character the scanner looks at goes through one of these, so counting their work shows a quadratic path
 * on any machine. (One was found this way: `lastIndexOf` walked back to the beginning of the text for every @.)
 */
function steps(run: () => void): number {
  const proto = String.prototype
  const { charCodeAt, indexOf, lastIndexOf, includes } = proto
  let count = 0
  proto.charCodeAt = function (at) {
    count++
    return charCodeAt.call(this, at)
  }
  for (const [name, original] of Object.entries({ indexOf, lastIndexOf, includes }) as [string, typeof indexOf][]) {
    Object.defineProperty(proto, name, {
      configurable: true,
      writable: true,
      value(this: string, what: string, at?: number) {
        const found = name === 'includes' ? -1 : original.call(this, what, at)
        // Forwards from `at` to the find, backwards from `at` down to it; at worst the whole text.
        if (name === 'indexOf') count += (found < 0 ? this.length : found) - Math.min(at ?? 0, this.length)
        else if (name === 'lastIndexOf') count += Math.min(at ?? this.length, this.length) - Math.max(found, 0)
        else count += this.length
        return original.call(this, what, at)
      },
    })
  }
  try {
    run()
  } finally {
    Object.assign(proto, { charCodeAt })
    for (const [name, value] of Object.entries({ indexOf, lastIndexOf, includes }))
      Object.defineProperty(proto, name, { value, configurable: true, writable: true })
  }
  return count
}

const UNITS = [
  'a', '@', 'a@', 'a@a.', 'a.a@a-', ':', '=', '>', 'password=', 'password="\'', 'token: ', 'secret=example-value ', '://', 'https://a:', 'a://b:c@',
  'eyJ', 'eyJhbGciOiJ.', 'sk-', 'ghp_', 'sk-ant-', 'AKIA', 'sp_aaaa_', '-', '----- ', '-----BEGIN RSA ', '-----BEGIN RSA PRIVATE KEY-----',
  '4', '4111 1111 1111 1112 ', '1-', '(415) 155-2671 ', '+1 ', 'DE89 3704 0044 ', '%41', '%25', '%', '\\', '\\u0041', '\\\\"', 'a\u200b', '\uff41', '&#65;', '&',
  'QUFBQUFBQUFBQUFBQUFB/', 'aGVsbG8gd29ybGQ=', '68656c6c6f', 'Bearer ', 'Basic QTpC ', '--password ', 'SG.', '123456789:AA', 'PuTTY-User-Key-File-',
] // biome-ignore format: a list of words

/** The price of one character, at worst: a bound, not a goal. The dearest mixture measured 171: values that pass for passwords. */
const STEPS_PER_CHARACTER = 60
const STEPS_PER_CHARACTER_MIXED = 200

describe('the pass is linear', () => {
  it.each(UNITS)('in %j', (unit) => {
    const cost = (length: number) => {
      const text = unit.repeat(Math.ceil(length / unit.length))
      return steps(() => scan(text)) / text.length
    }
    const [small, large] = [cost(4_000), cost(32_000)]
    expect(large).toBeLessThan(STEPS_PER_CHARACTER)
    expect(large).toBeLessThan(small * 1.5 + 1)
  })

  it.each(UNITS)('in arrays of %j', (unit) => {
    const policy = { action: () => 'REDACT' as const }
    const cost = (count: number) => {
      const items = Array.from({ length: count }, () => unit)
      return steps(() => screen(items, policy)) / (count * (unit.length + 3))
    }
    const [small, large] = [cost(300), cost(2_400)]
    expect(large).toBeLessThan(3 * STEPS_PER_CHARACTER)
    expect(large).toBeLessThan(small * 1.5 + 1)
  })

  it('in two units mixed, each the other one’s wall', () => {
    let dearest = { cost: 0, units: '' }
    for (const a of UNITS) {
      for (const b of UNITS) {
        const text = (a.repeat(8) + b).repeat(Math.ceil(6_000 / (a.length * 8 + b.length)))
        const cost = steps(() => scan(text)) / text.length
        if (cost > dearest.cost) dearest = { cost, units: JSON.stringify([a, b]) }
      }
    }
    console.log(`dearest mixture: ${dearest.units} at ${dearest.cost.toFixed(1)} steps a character`)
    expect(dearest.cost).toBeLessThan(STEPS_PER_CHARACTER_MIXED)
  })
})
