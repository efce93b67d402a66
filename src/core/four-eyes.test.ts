import { describe, expect, test } from 'vitest'
import { isPerson, mayBeOne, type Party, stillCounts } from './four-eyes.js'

const party = (principal: string, more: Partial<Party> = {}): Party => ({
  ...{ tenant: 't', principal, kind: 'person', role: 'operator', permissions: null, leads: [] },
  ...{ ended: false, makers: [] },
  ...more,
})
const [ann, ben] = [party('person:ann'), party('person:ben')]

describe('two', () => {
  test('are two where nothing ties them together, in whichever order', () => {
    expect(mayBeOne(ann, ben)).toBeNull()
    expect(
      mayBeOne(party('person:ann', { makers: ['person:root'] }), party('person:ben', { makers: ['person:root'] })),
    ).toBeNull()
  })

  test('may be one by name, and where either made a key of the other', () => {
    expect(mayBeOne(ann, ann)).toContain('another person')
    const made = party('person:ben', { makers: ['system:start', 'person:ann'] })
    for (const pair of [
      [ann, made],
      [made, ann],
    ] as const)
      expect(mayBeOne(...pair)).toBe('person:ann made a key of person:ben: a third person is needed')
  })
})

describe('what was said', () => {
  test('counts while who said it might still', () => {
    const nothing = () => false
    expect(stillCounts(ann, nothing)).toBe(true)
    expect(stillCounts(ann, ({ role }) => role === 'operator')).toBe(false)
    expect(stillCounts(party('person:ann', { ended: true }), nothing)).toBe(false)
    expect(stillCounts(party('service:ops', { kind: 'service' }), nothing)).toBe(false)
    // Nobody is removed from the directory: of whom it never knew nothing is known against them.
    expect(stillCounts(party('person:old', { kind: null, role: null }), () => true)).toBe(true)
  })

  test('is said by people', () => {
    const kinds = [null, 'person', 'service', 'agent', 'worker'] as const
    expect(kinds.map((kind) => isPerson({ kind }))).toEqual([true, true, false, false, false])
  })
})
