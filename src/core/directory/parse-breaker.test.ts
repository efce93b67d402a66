import { describe, expect, test } from 'vitest'
import { parseDirectory } from './parse.js'

const read = (breaker: string) =>
  parseDirectory({
    path: 'sallyport.yaml',
    text: `version: v1\nagents:\n  - { principal: agent:bot, breaker: ${breaker} }\n`,
  })
const terms = (breaker: string) => read(breaker).document?.principals[0]?.terms?.breaker
const fault = (breaker: string) => {
  const { document, faults } = read(breaker)
  return [document, faults[0]?.code, faults[0]?.line]
}

describe('breaker of an agent', () => {
  test('is as for every agent where the file leaves something out', () => {
    expect(terms('{ failures: 5 }')).toEqual({ failures: 5, rate: null, of: 20, cool_down_ms: 600_000 })
    expect(terms('{ rate: 0.25, of: 8, cool_down: 1h30m }')).toEqual({
      failures: 3,
      rate: 0.25,
      of: 8,
      cool_down_ms: 5_400_000,
    })
  })

  test('and absent where it names none', () => {
    const text = 'version: v1\nagents:\n  - { principal: agent:bot, version: v2 }\n'
    const { document } = parseDirectory({ path: 'sallyport.yaml', text })
    expect(document?.principals[0]?.terms).not.toHaveProperty('breaker')
  })

  test.each([
    ['{ failures: 0 }', 'wrong_type'],
    ['{ failures: 100000 }', 'bad_value'],
    ['{ failures: many }', 'wrong_type'],
    ['{ rate: 0 }', 'bad_value'],
    ['{ rate: 1.5 }', 'bad_value'],
    ['{ rate: half }', 'bad_value'],
    ['{ of: 20 }', 'missing_key'],
    ['{ cool_down: soon }', 'bad_value'],
    ['{ cool_down: 30d }', 'bad_value'],
    ['{ failure: 3 }', 'unknown_key'],
    ['3', 'wrong_type'],
  ])('%s is a fault: %s', (breaker, code) => {
    expect(fault(breaker)).toEqual([null, code, 3])
  })
})
