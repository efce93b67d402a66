import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { entryLine, type Fact } from './audit.js'
import { eventOf, shownEntry } from './event.js'

const fact: Fact = { kind: 'job.leased', tenant: 't', at: 5, actor: 'worker:one', topic: 'job.do.it', attempt: 1 }

describe('an event', () => {
  test('shows what the audit API shows, with version, tenant and place', () => {
    const line = entryLine(fact)
    const { body, ...rest } = eventOf('t', 7, line, 'wr_1', 3)
    expect(JSON.parse(body)).toEqual({ v: 1, tenant: 't', ...shownEntry(line, 'wr_1', 3, 7) })
    expect(rest).toEqual({
      tenant: 't',
      kind: 'job.leased',
      topic: 'job.do.it',
      id: expect.stringMatching(/^t:7:[0-9a-f]{16}$/),
    })
  })

  test('does so for every entry that can be written', () => {
    const field = fc.stringMatching(/^[a-z][a-z0-9_]{0,10}$/)
    const scalar = fc.oneof(fc.string({ unit: 'grapheme' }), fc.integer(), fc.boolean(), fc.constant(null))
    fc.assert(
      fc.property(fc.dictionary(field, scalar), fc.nat(), (fields, index) => {
        const line = entryLine({ ...fields, ...fact } as Fact)
        const shown = shownEntry(line, 'wr_1', 0, index)
        expect(JSON.parse(eventOf('t', index, line, 'wr_1', 0).body)).toEqual({ v: 1, tenant: 't', ...shown })
      }),
    )
  })

  test('has an id that tells the same entry from another in its place', () => {
    const line = entryLine(fact)
    const id = (index: number, text: string) => eventOf('t', index, text, 'wr_1', 0).id
    expect(id(7, line)).toBe(id(7, line))
    expect(id(7, line)).not.toBe(id(8, line))
    expect(id(7, line)).not.toBe(id(7, entryLine({ ...fact, at: 6 })))
  })

  test('of a line that is no entry says so', () => {
    for (const line of ['', 'x', '{}', '[]', 'null', '{"actor":"a","at":1,"kind":']) {
      const { kind, topic, body } = eventOf('t', 0, line, 'wr_1', 0)
      expect([kind, topic]).toEqual(['unreadable', null])
      expect(JSON.parse(body)).toMatchObject({ v: 1, tenant: 't', index: 0, kind: 'unreadable' })
    }
  })

  test('about no topic has none', () => {
    for (const topic of [undefined, '', null, 5])
      expect(eventOf('t', 0, entryLine({ ...fact, topic } as Fact), 'wr_1', 0).topic).toBeNull()
  })
})
