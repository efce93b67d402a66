import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Bus } from '../../src/platform/bus/seam.js'

/** A medium that several nodes share, each with its own end of it. */
export interface Medium {
  node(): Promise<Bus>
  close(): Promise<void>
}

/** A node and what it heard. */
export interface Ear {
  bus: Bus
  heard: { tenant: string; topic: string; how: string }[]
  unhear(): void
}

let probes = 0

/**
 * Resolves when all that `from` sent so far has arrived at `to`, and all that `to` subscribed to so far is in force: a probe takes
 * the same way and no medium lets it overtake. So a test can say that something was not heard without waiting for a while. Twice,
 * because a bus may hold back what follows closely on the same: the second probe leaves after all that was held back before it.
 */
export async function settled(from: Bus, to: Bus): Promise<void> {
  const topic = `probe.${++probes}`
  const release = to.interest('probe', [topic])
  let heard = 0
  await new Promise<void>((resolve) => {
    const again = setInterval(() => from.pass('probe', topic), 5)
    const stop = to.onHint((_, about) => {
      if (about !== topic || ++heard < 2) return
      clearInterval(again)
      stop()
      resolve()
    })
    from.pass('probe', topic)
    from.pass('probe', topic)
  })
  release()
}

/** Names that mean something to a subject, to a line of a protocol, or to a careless encoding. */
const HOSTILE = [
  '*',
  '>',
  'a.b',
  'a',
  'b',
  'a b',
  'a\tb',
  '',
  '.',
  '..',
  '%',
  '%2E',
  '%2A',
  'ü',
  '\u{1f512}',
  '$SYS',
  '_INBOX',
]
const LINES = ['x\r\nPUB a 0\r\n\r\n', 'x'.repeat(5000), `${'x'.repeat(4999)}y`, '.'.repeat(3000), 'ü'.repeat(800)]
const NAMES = [...HOSTILE, ...LINES]

export function busConformance(name: string, open: () => Promise<Medium>): void {
  describe(`a bus: ${name}`, () => {
    let medium: Medium
    let open_: Ear[] = []
    beforeAll(async () => {
      medium = await open()
    })
    afterEach(async () => {
      await Promise.all(open_.splice(0).map(({ bus }) => bus.close()))
    })
    afterAll(() => medium.close())

    async function ear(): Promise<Ear> {
      const bus = await medium.node()
      const heard: Ear['heard'] = []
      const unhear = bus.onHint((tenant, topic, how) => {
        if (tenant !== 'probe') heard.push({ tenant, topic, how })
      })
      const made = { bus, heard, unhear }
      open_ = [...open_, made]
      return made
    }
    const ears = (n: number) => Promise.all(Array.from({ length: n }, ear))
    /** All that any of them sent has arrived at all. */
    async function quiet(...all: Ear[]): Promise<void> {
      for (const from of all) for (const to of all) if (from !== to) await settled(from.bus, to.bus)
    }
    const HINTED = { tenant: 't', topic: 'job.do.it', how: 'hinted' }
    const PASSED = { ...HINTED, how: 'passed' }

    test('brings a hint to a node that waits for its topic', async () => {
      const [a, b] = (await ears(2)) as [Ear, Ear]
      b.bus.interest('t', ['job.do.it'])
      await quiet(a, b)
      a.bus.hint('t', 'job.do.it')
      await quiet(a, b)
      expect(b.heard).toEqual([HINTED])
      expect(a.heard).toEqual([])
    })

    test('never tells inside the caller’s stack', async () => {
      const [a] = (await ears(1)) as [Ear]
      a.bus.interest('t', ['job.do.it'])
      a.bus.hint('t', 'job.do.it')
      expect(a.heard).toEqual([])
      await Promise.resolve()
      expect(a.heard).toEqual([HINTED])
    })

    test('brings a hint to the node itself when it waits, and then to no other', async () => {
      const [a, b] = (await ears(2)) as [Ear, Ear]
      for (const { bus } of [a, b]) bus.interest('t', ['job.do.it'])
      await quiet(a, b)
      for (let i = 0; i < 20; i++) a.bus.hint('t', 'job.do.it')
      await quiet(a, b)
      expect(a.heard).toHaveLength(20)
      expect(b.heard).toEqual([])
    })

    test('tells one of several', async () => {
      const [a, ...others] = (await ears(4)) as [Ear, Ear, Ear, Ear]
      for (const { bus } of others) bus.interest('t', ['job.do.it'])
      await quiet(a, ...others)
      for (let round = 1; round <= 20; round++) {
        a.bus.hint('t', 'job.do.it')
        await Promise.all(others.map(({ bus }) => settled(a.bus, bus)))
        expect(others.flatMap(({ heard }) => heard)).toHaveLength(round)
      }
      expect(new Set(others.flatMap(({ heard }) => heard).map(({ how }) => how))).toEqual(new Set(['hinted']))
    })

    test('tells nobody who does not wait', async () => {
      const [a, b] = (await ears(2)) as [Ear, Ear]
      b.bus.interest('t', ['job.do.that'])
      await quiet(a, b)
      a.bus.hint('t', 'job.do.it')
      a.bus.hint('u', 'job.do.that')
      a.bus.pass('t', 'job.do.it')
      await quiet(a, b)
      expect([...a.heard, ...b.heard]).toEqual([])
    })

    test('finds the node that still waits when others have just stopped', async () => {
      const [a, b, c] = (await ears(3)) as [Ear, Ear, Ear]
      const release = b.bus.interest('t', ['job.do.it'])
      c.bus.interest('t', ['job.do.it'])
      await quiet(a, b, c)
      release()
      for (let round = 1; round <= 20; round++) {
        a.bus.hint('t', 'job.do.it')
        await settled(a.bus, b.bus)
        await settled(b.bus, c.bus)
        await settled(a.bus, c.bus)
        expect(c.heard.length).toBe(round)
      }
      expect(b.heard).toEqual([])
    })

    test('passes on to every other node that waits', async () => {
      const [a, b, c] = (await ears(3)) as [Ear, Ear, Ear]
      for (const { bus } of [a, b, c]) bus.interest('t', ['job.do.it'])
      await quiet(a, b, c)
      a.bus.pass('t', 'job.do.it')
      await quiet(a, b, c)
      expect([a.heard, b.heard, c.heard]).toEqual([[], [PASSED], [PASSED]])
    })

    test('does not pass on what was passed to a node that waits no more', async () => {
      const [a, b, c] = (await ears(3)) as [Ear, Ear, Ear]
      b.bus.interest('t', ['job.do.it'])()
      c.bus.interest('t', ['job.do.it'])
      await quiet(a, b, c)
      a.bus.pass('t', 'job.do.it')
      await quiet(a, b, c)
      expect(c.heard).toEqual([PASSED])
    })

    test('listens as long as one of several claims waits', async () => {
      const [a, b] = (await ears(2)) as [Ear, Ear]
      const first = b.bus.interest('t', ['job.do.it'])
      b.bus.interest('t', ['job.do.that', 'job.do.it'])
      first()
      first() // a second time changes nothing
      await quiet(a, b)
      a.bus.hint('t', 'job.do.it')
      await quiet(a, b)
      expect(b.heard).toEqual([HINTED])
    })

    test('says no more to a listener that left, and goes on saying it to others', async () => {
      const [a, b] = (await ears(2)) as [Ear, Ear]
      const also: string[] = []
      b.bus.onHint((tenant, topic) => {
        if (tenant !== 'probe') also.push(topic)
      })
      b.bus.interest('t', ['job.do.it'])
      await quiet(a, b)
      b.unhear()
      a.bus.hint('t', 'job.do.it')
      await quiet(a, b)
      expect(b.heard).toEqual([])
      expect(also).toEqual(['job.do.it'])
    })

    test('keeps tenants and topics apart, whatever they are called', async () => {
      const [a, b] = (await ears(2)) as [Ear, Ear]
      for (const tenant of NAMES) b.bus.interest(tenant, NAMES)
      await quiet(a, b)
      for (const tenant of NAMES)
        for (const topic of NAMES) {
          b.heard.length = 0
          a.bus.hint(tenant, topic)
          a.bus.pass(tenant, topic)
          await settled(a.bus, b.bus)
          expect(b.heard).toEqual([
            { tenant, topic, how: 'hinted' },
            { tenant, topic, how: 'passed' },
          ])
        }
    })

    test('hears nothing of a topic by waiting for a wildcard', async () => {
      const [a, b] = (await ears(2)) as [Ear, Ear]
      for (const tenant of ['t', '*', '>', 't.job', 't.>', ''])
        b.bus.interest(tenant, ['*', '>', 'job.*.it', 'job.>', 'do.it', 'job.do.it.', ''])
      await quiet(a, b)
      a.bus.hint('t', 'job.do.it')
      a.bus.pass('t', 'job.do.it')
      await quiet(a, b)
      expect(b.heard).toEqual([])
    })

    test('is silent and harmless when it is closed, as often as it likes', async () => {
      const [a, b] = (await ears(2)) as [Ear, Ear]
      const release = b.bus.interest('t', ['job.do.it'])
      await quiet(a, b)
      await b.bus.close()
      await b.bus.close()
      a.bus.hint('t', 'job.do.it')
      b.bus.hint('t', 'job.do.it')
      b.bus.pass('t', 'job.do.it')
      b.bus.interest('t', ['job.do.it'])()
      release()
      const other = await ear()
      await quiet(a, other)
      expect([...a.heard, ...b.heard]).toEqual([])
      expect(b.bus.stats).toMatchObject({ connected: false, dropped: 0 })
    })
  })
}
