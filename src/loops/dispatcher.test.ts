import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { holdCommits, isCommit, openPlane, type Tenancy, type TestPlane, turns } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { LeasedJob } from '../contract/workers.js'
import type { Claiming } from '../journey/dispatch.js'
import { type Hub, memoryBus, memoryHub } from '../platform/bus/memory.js'
import { silentLog } from '../platform/log.js'
import { Dispatcher } from './dispatcher.js'

const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: do, match: { topic: job.do.* }, decision: ALLOW }
  - { id: one, match: { topic: job.one.* }, decision: ALLOW, limits: { concurrent: 1, per: rule } }
`

let plane: TestPlane
let dispatcher: Dispatcher
beforeAll(async () => {
  plane = await openPlane()
})
beforeEach(() => {
  dispatcher = new Dispatcher(plane.world, silentLog)
})
afterEach(async () => {
  plane.db.tap = null
  await dispatcher.stop()
})
afterAll(() => plane.close())

const claiming = (t: Tenancy, topics: string[], claim_id = `claim-${Math.random()}`): Claiming => ({
  tenant: t.tenant,
  principal: t.worker.principal,
  key: t.worker,
  worker: 'w',
  claim_id,
  topics,
  capacity: 1,
  enforces: [],
  serves: [],
  effects: 'recorded',
})
const never = new AbortController().signal
/** A long poll and what has become of it. */
function poll(
  t: Tenancy,
  topics: string[],
  options: { wait?: number; signal?: AbortSignal; claim_id?: string; at?: Dispatcher } = {},
) {
  const seen: { leases: LeasedJob[] | null } = { leases: null }
  const done = (options.at ?? dispatcher)
    .claim(
      claiming(t, topics, options.claim_id),
      options.wait ?? 30_000,
      options.signal ?? new AbortController().signal,
    )
    .then((leases) => {
      seen.leases = leases
      return leases
    })
  return { seen, done }
}
const waiting = (n: number) => turns(() => dispatcher.waiting === n)
/** Long enough for every look under way to have come to nothing. */
const quiet = async () => {
  for (let i = 0; i < 60; i++) await new Promise((next) => setImmediate(next))
}

describe('a claim', () => {
  test('repeated by many at once is given each of its leases once', async () => {
    const t = await plane.tenant(POLICY)
    await t.submit({ topic: 'job.do.it' })
    const [first] = await dispatcher.claim(claiming(t, ['job.do.it'], 'claim-again'), 0, never)
    const repeats = await Promise.all(
      [1, 2, 3].map(() => dispatcher.claim(claiming(t, ['job.do.it'], 'claim-again'), 0, never)),
    )
    expect(repeats.map((leases) => leases.map(({ lease }) => lease))).toEqual(Array(3).fill([first?.lease]))
  })

  test('whose name was used for topic after topic is told no more than an answer can hold', async () => {
    const t = await plane.tenant(POLICY)
    const topics = Array.from({ length: 5 }, (_, i) => `job.do.t${i}`)
    for (const topic of topics) {
      await Promise.all(Array.from({ length: 9 }, () => t.submit({ topic, input: 'x'.repeat(2_000_000) })))
      await dispatcher.claim({ ...claiming(t, [topic], 'claim-grown'), capacity: 9 }, 0, never)
    }
    const told = await dispatcher.claim({ ...claiming(t, topics, 'claim-grown'), capacity: 50 }, 0, never)
    expect(told.length).toBeGreaterThan(9)
    expect(JSON.stringify(told).length).toBeLessThan(68 * 2 ** 20)
  })

  test('hears a hint before others’ claims are looked at again in case one was lost', async () => {
    const t = await plane.tenant(POLICY)
    const gone = new AbortController()
    for (let i = 0; i < 60; i++) poll(t, [`job.none.n${i}`], { signal: gone.signal })
    await waiting(60)
    const { done } = poll(t, ['job.do.it'])
    await quiet()
    let looks = 0
    plane.db.tap = (sql, send) => {
      if (sql.includes('q.limit_keys')) looks++
      return send()
    }
    plane.clock.advance(1000)
    await turns(() => looks > 0)
    looks = 0
    await t.submit({ topic: 'job.do.it' })
    expect(await done).toHaveLength(1)
    expect(looks).toBeLessThan(20)
    gone.abort()
  })

  test('is answered at once when there is work, and at once with nothing when it does not wait', async () => {
    const t = await plane.tenant(POLICY)
    await t.submit({ topic: 'job.do.it' })
    expect(await dispatcher.claim(claiming(t, ['job.do.it']), 30_000, never)).toHaveLength(1)
    expect(await dispatcher.claim(claiming(t, ['job.do.it']), 0, never)).toEqual([])
    expect(dispatcher.waiting).toBe(0)
  })

  test('waits, and is woken by a submit of its topic and by no other', async () => {
    const t = await plane.tenant(POLICY)
    const { seen, done } = poll(t, ['job.do.it'])
    await waiting(1)
    await quiet()
    await t.submit({ topic: 'job.do.that' })
    await quiet()
    expect(seen.leases).toBeNull()
    const { job_id } = await t.submit({ topic: 'job.do.it' })
    expect((await done)[0]?.job.job_id).toBe(job_id)
  })

  test(`${proves('L3')} whose hint was lost finds the work by looking, within a second`, async () => {
    const t = await plane.tenant(POLICY)
    const { seen, done } = poll(t, ['job.do.it'])
    await waiting(1)
    await quiet()
    // Through another node, whose bus this one does not hear.
    await t.on(plane.node()).submit({ topic: 'job.do.it' })
    await quiet()
    expect(seen.leases).toBeNull()
    plane.clock.advance(1000)
    expect(await done).toHaveLength(1)
  })

  test('gets a job when it falls due', async () => {
    const t = await plane.tenant(POLICY)
    const { seen, done } = poll(t, ['job.do.it'])
    await waiting(1)
    await t.submit({ topic: 'job.do.it', not_before: plane.clock.now() + 5000 })
    for (let i = 0; i < 4; i++) {
      plane.clock.advance(1000)
      await quiet()
    }
    expect(seen.leases).toBeNull()
    plane.clock.advance(1000)
    await quiet()
    plane.clock.advance(1000)
    expect(await done).toHaveLength(1)
  })

  test('ends with nothing when its time is up', async () => {
    const t = await plane.tenant(POLICY)
    const { done } = poll(t, ['job.do.it'], { wait: 3000 })
    await waiting(1)
    await quiet()
    plane.clock.advance(3000)
    expect(await done).toEqual([])
    expect(dispatcher.waiting).toBe(0)
  })

  test('whose caller hangs up is given no work', async () => {
    const t = await plane.tenant(POLICY)
    const line = new AbortController()
    const { done } = poll(t, ['job.do.it'], { signal: line.signal })
    await waiting(1)
    await quiet()
    line.abort()
    expect(await done).toEqual([])
    await t.submit({ topic: 'job.do.it' })
    await quiet()
    expect(await t.rows('leases')).toEqual([])
  })

  test('whose time is up while its lease is being committed gets the lease, not an empty answer', async () => {
    const t = await plane.tenant(POLICY)
    await t.submit({ topic: 'job.do.it' })
    const hold = holdCommits(plane.db)
    const { seen, done } = poll(t, ['job.do.it'], { wait: 500 })
    await turns(() => hold.waiting() === 1)
    plane.clock.advance(500)
    await quiet()
    expect(seen.leases).toBeNull()
    hold.release()
    expect(await done).toHaveLength(1)
  })

  test('repeated gets what it was given', async () => {
    const t = await plane.tenant(POLICY)
    for (let i = 0; i < 3; i++) await t.submit({ topic: 'job.do.it' })
    const first = await poll(t, ['job.do.it'], { claim_id: 'claim-again' }).done
    const again = await poll(t, ['job.do.it'], { claim_id: 'claim-again' }).done
    expect(again.map((l) => l.lease)).toEqual(first.map((l) => l.lease))
    expect(await t.rows('leases')).toHaveLength(1)
  })

  test(`${proves('D7')} behind a full limit is served when a place becomes free`, async () => {
    const t = await plane.tenant(POLICY)
    for (let i = 0; i < 2; i++) await t.submit({ topic: 'job.one.it' })
    const [first] = await dispatcher.claim(claiming(t, ['job.one.it']), 0, never)
    const { seen, done } = poll(t, ['job.one.it'])
    await waiting(1)
    await quiet()
    expect(seen.leases).toBeNull()
    await t.succeed(first?.lease as string)
    expect(await done).toHaveLength(1)
  })
})

describe('many claims', () => {
  test('get each job once, the oldest claim first', async () => {
    const t = await plane.tenant(POLICY)
    const polls = []
    for (let i = 0; i < 4; i++) {
      polls.push(poll(t, ['job.do.it']))
      await waiting(i + 1)
    }
    await quiet()
    const first = await t.submit({ topic: 'job.do.it' })
    expect((await polls[0]?.done)?.[0]?.job.job_id).toBe(first.job_id)
    for (let i = 0; i < 3; i++) await t.submit({ topic: 'job.do.it' })
    const leases = (await Promise.all(polls.map((each) => each.done))).flat()
    expect(new Set(leases.map((l) => l.job.job_id)).size).toBe(4)
  })

  test('of a tenant with a slow look do not hold another tenant’s', async () => {
    const [slow, quick] = [await plane.tenant(POLICY), await plane.tenant(POLICY)]
    const polls = [poll(slow, ['job.do.it']), poll(quick, ['job.do.it'])]
    await waiting(2)
    await quiet()
    await slow.submit({ topic: 'job.do.it' })
    await quick.submit({ topic: 'job.do.it' })
    expect((await Promise.all(polls.map((each) => each.done))).map((leases) => leases.length)).toEqual([1, 1])
  })

  test('all end when the dispatcher stops, and later ones are answered with nothing', async () => {
    const t = await plane.tenant(POLICY)
    const polls = [poll(t, ['job.do.it']), poll(t, ['job.do.it'])]
    await waiting(2)
    await dispatcher.stop()
    expect(await Promise.all(polls.map((each) => each.done))).toEqual([[], []])
    await t.submit({ topic: 'job.do.it' })
    expect(await poll(t, ['job.do.it']).done).toEqual([])
    expect(await t.rows('leases')).toEqual([])
  })
})

describe('looks', () => {
  const MANY = 200
  /** How often work was looked for. */
  function looks() {
    const seen = { count: 0 }
    plane.db.tap = (sql, send) => {
      if (sql.includes('json_array_elements_text')) seen.count++
      return send()
    }
    return seen
  }

  test('are shared by claims that want the same, and none is given twice', async () => {
    const t = await plane.tenant(POLICY)
    const polls = Array.from({ length: MANY }, () => poll(t, ['job.do.it']))
    await waiting(MANY)
    await quiet()
    const seen = looks()
    await Promise.all(Array.from({ length: MANY }, () => t.submit({ topic: 'job.do.it' })))
    const leases = (await Promise.all(polls.map((each) => each.done))).flat()
    expect(new Set(leases.map((l) => l.job.job_id)).size).toBe(MANY)
    expect(seen.count).toBeLessThan(MANY / 10)
  })

  test('of other topics are none of a hint’s', async () => {
    const t = await plane.tenant(POLICY)
    const others = Array.from({ length: 20 }, (_, n) => poll(t, [`job.do.n${n}`]))
    const mine = poll(t, ['job.do.it'])
    await waiting(21)
    await quiet()
    const seen = looks()
    await t.submit({ topic: 'job.do.it' })
    expect(await mine.done).toHaveLength(1)
    expect(seen.count).toBe(1)
    expect(others.every(({ seen }) => seen.leases === null)).toBe(true)
  })

  test('follow one that was full while its leases are on their way', async () => {
    const t = await plane.tenant(POLICY)
    const polls = Array.from({ length: MANY }, () => poll(t, ['job.do.it']))
    await waiting(MANY)
    await quiet()
    // Through a node whose bus this one does not hear, so that all of it is found at once.
    const other = t.on(plane.node())
    await Promise.all(polls.map(() => other.submit({ topic: 'job.do.it' })))
    const seen = { jobs: 0 }
    const held: (() => void)[] = []
    plane.db.tap = async (sql, send) => {
      if (isCommit(sql)) await new Promise<void>((go) => held.push(go))
      const rows = await send()
      if (sql.includes('json_array_elements_text')) seen.jobs += rows.length
      return rows
    }
    plane.clock.advance(1000)
    await turns(() => seen.jobs >= MANY)
    expect(polls.every((each) => each.seen.leases === null)).toBe(true)
    plane.db.tap = null
    for (const go of held) go()
    const leases = (await Promise.all(polls.map((each) => each.done))).flat()
    expect(new Set(leases.map((l) => l.job.job_id)).size).toBe(MANY)
  })

  test('find what a repeat was given, however many wait for longer', async () => {
    const t = await plane.tenant(POLICY)
    await t.submit({ topic: 'job.do.it' })
    const first = await poll(t, ['job.do.it'], { claim_id: 'claim-behind-many' }).done
    for (let n = 0; n < MANY; n++) void poll(t, ['job.do.it'])
    await waiting(MANY)
    await quiet()
    const again = await poll(t, ['job.do.it'], { claim_id: 'claim-behind-many', wait: 0 }).done
    expect(again.map((l) => l.lease)).toEqual(first.map((l) => l.lease))
    expect(await poll(t, ['job.do.it'], { wait: 0 }).done).toEqual([])
  })

  test('that lose their jobs to another node go on, and find what is left', async () => {
    const t = await plane.tenant(POLICY)
    for (let n = 0; n < 2; n++) await t.submit({ topic: 'job.do.it' })
    const other = t.on(plane.node())
    const hold = holdCommits(plane.db)
    const mine = poll(t, ['job.do.it'], { wait: 0 })
    await turns(() => hold.waiting() === 1)
    plane.db.tap = null
    const [theirs] = await other.claim(['job.do.it'])
    hold.release()
    const [lease] = await mine.done
    expect(lease?.job.job_id).toBeDefined()
    expect(lease?.job.job_id).not.toBe(theirs?.job.job_id)
  })
})

describe('nodes that share a bus', () => {
  let hub: Hub
  const nodes: Dispatcher[] = []
  beforeEach(() => {
    hub = memoryHub()
  })
  afterEach(() => Promise.all(nodes.splice(0).map((each) => each.stop())))

  function node() {
    const world = { ...plane.node(), bus: memoryBus(hub) }
    const each = new Dispatcher(world, silentLog)
    nodes.push(each)
    return { world, dispatcher: each }
  }

  test('wake a claim on one for what is submitted on another, without a look', async () => {
    const [a, b] = [node(), node()]
    const t = await plane.tenant(POLICY)
    const { done } = poll(t, ['job.do.it'], { at: b.dispatcher })
    await turns(() => b.dispatcher.waiting === 1)
    await quiet()
    await t.on(a.world).submit({ topic: 'job.do.it' })
    expect(await done).toHaveLength(1)
  })

  test('prefer the worker that waits where the job came in', async () => {
    const [a, b] = [node(), node()]
    const t = await plane.tenant(POLICY)
    const there = poll(t, ['job.do.it'], { at: b.dispatcher })
    await turns(() => b.dispatcher.waiting === 1)
    const here = poll(t, ['job.do.it'], { at: a.dispatcher })
    await turns(() => a.dispatcher.waiting === 1)
    await quiet()
    await t.on(a.world).submit({ topic: 'job.do.it' })
    expect(await here.done).toHaveLength(1)
    expect(there.seen.leases).toBeNull()
  })

  test('pass on what the claims of the one that was told could not take', async () => {
    const [a, b, c] = [node(), node(), node()]
    const t = await plane.tenant(POLICY)
    const polls = [b, b, c, c].map((each) => poll(t, ['job.do.it'], { at: each.dispatcher }))
    await turns(() => b.dispatcher.waiting + c.dispatcher.waiting === 4)
    await quiet()
    const from = t.on(a.world)
    // In one batch, so that every hint finds the same node waiting.
    await Promise.all([1, 2, 3, 4].map(() => from.submit({ topic: 'job.do.it' })))
    const leases = (await Promise.all(polls.map((each) => each.done))).flat()
    expect(new Set(leases.map((lease) => lease.job.job_id)).size).toBe(4)
  })

  test('are told of a hint whose claim ended before it arrived', async () => {
    const [a, b, c] = [node(), node(), node()]
    const t = await plane.tenant(POLICY)
    const line = new AbortController()
    const left = poll(t, ['job.do.it'], { at: b.dispatcher, signal: line.signal })
    await turns(() => b.dispatcher.waiting === 1)
    const waits = poll(t, ['job.do.it'], { at: c.dispatcher })
    await turns(() => c.dispatcher.waiting === 1)
    await quiet()
    const hint = a.world.bus.hint.bind(a.world.bus)
    a.world.bus.hint = (tenant, topic) => {
      hint(tenant, topic)
      line.abort() // in the same turn: the hint is on its way to a node that waits no more
    }
    await t.on(a.world).submit({ topic: 'job.do.it' })
    expect(await waits.done).toHaveLength(1)
    expect(await left.done).toEqual([])
  })

  test('are told of a hint that came while the leases of all claims were on their way', async () => {
    const [a, b, c] = [node(), node(), node()]
    const t = await plane.tenant(POLICY)
    const first = poll(t, ['job.do.it'], { at: b.dispatcher })
    await turns(() => b.dispatcher.waiting === 1)
    const waits = poll(t, ['job.do.it'], { at: c.dispatcher })
    await turns(() => c.dispatcher.waiting === 1)
    await quiet()
    const passed: string[] = []
    const pass = b.world.bus.pass.bind(b.world.bus)
    // The first job's hint is passed on as soon as its lease is on its way; it gets lost, so that nobody races for that job.
    b.world.bus.pass = (tenant, topic) => {
      if (passed.push(topic) > 1) pass(tenant, topic)
    }
    const from = t.on(a.world)
    const held: (() => void)[] = []
    let commits = 0
    plane.db.tap = async (sql, send) => {
      // The second commit is that of the lease.
      if (isCommit(sql) && ++commits === 2) await new Promise<void>((go) => held.push(go))
      return send()
    }
    await from.submit({ topic: 'job.do.it' })
    await turns(() => held.length === 1)
    await from.submit({ topic: 'job.do.it' })
    await quiet()
    const before = passed.length
    for (const go of held) go()
    expect(await first.done).toHaveLength(1)
    expect(before).toBe(1)
    await turns(() => waits.seen.leases !== null)
    expect(await waits.done).toHaveLength(1)
  })

  test('go on looking where passing a hint on fails', async () => {
    const [a, b] = [node(), node()]
    const t = await plane.tenant(POLICY)
    const one = poll(t, ['job.do.it'], { at: b.dispatcher })
    const other = poll(t, ['job.do.that'], { at: b.dispatcher })
    await turns(() => b.dispatcher.waiting === 2)
    await quiet()
    let failed = 0
    b.world.bus.pass = () => {
      failed++
      throw new Error('the bus is gone')
    }
    await t.on(a.world).submit({ topic: 'job.do.it' })
    expect(await one.done).toHaveLength(1)
    expect(failed).toBe(1)
    await t.on(a.world).submit({ topic: 'job.do.that' })
    await turns(() => other.seen.leases !== null)
    expect(await other.done).toHaveLength(1)
  })

  test('hear nothing for a claim that has its answer', async () => {
    const [a, b] = [node(), node()]
    const t = await plane.tenant(POLICY)
    await t.submit({ topic: 'job.do.it' })
    await poll(t, ['job.do.it'], { at: b.dispatcher }).done
    await t.on(a.world).submit({ topic: 'job.do.it' })
    await quiet()
    expect(b.world.bus.stats.heard).toBe(0)
  })
})

test('a look that fails answers the claim with the fault and serves the next', async () => {
  const t = await plane.tenant(POLICY)
  await t.submit({ topic: 'job.do.it' })
  plane.db.tap = async (sql, send) => {
    if (sql.includes("status IN ('queued', 'retrying')")) throw new Error('no')
    return send()
  }
  await expect(dispatcher.claim(claiming(t, ['job.do.it']), 1000, never)).rejects.toThrow('no')
  plane.db.tap = null
  expect(await dispatcher.claim(claiming(t, ['job.do.it']), 1000, never)).toHaveLength(1)
})
