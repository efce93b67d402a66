import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../../test/invariants.js'
import {
  breakCommit,
  codeOf,
  holdCommits,
  isCommit,
  isTombstone,
  openPlane,
  type Tenancy,
  type TestPlane,
  turns,
} from '../../../test/plane.js'
import { proves } from '../../../test/requirements.js'
import type { Fact } from '../../core/audit.js'
import { DbError } from '../../errors.js'
import type { Intent } from './inbox.js'

const ALLOW = `
version: v1
default_decision: DENY
rules:
  - { id: do, match: { topic: job.do.* }, decision: ALLOW }
`

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const fact = (tenant: string, more: Partial<Fact> = {}): Fact => ({
  kind: 'drill.run',
  tenant,
  at: plane.clock.now(),
  actor: 'person:x',
  ...more,
})
const note = (tenant: string, more: Partial<Intent> = {}): Intent => ({
  tenant,
  gate: null,
  alone: [],
  rows: {},
  facts: [fact(tenant)],
  ...more,
})
const held = async (t: Tenancy) => expect(await violations(plane, t.tenant)).toEqual([])
const batches = async () => (await plane.db.query<{ n: number }>('SELECT count(*)::int AS n FROM batches'))[0]?.n ?? 0

describe('a batch', () => {
  test('is everything that came during the commit before it', async () => {
    const t = await plane.tenant(ALLOW)
    plane.clock.advance(5000) // so that nobody asks beside it
    const before = await batches()
    const hold = holdCommits(plane.db)
    const first = plane.world.ledger.commit(note(t.tenant))
    await turns(() => hold.waiting() === 1)
    const rest = Array.from({ length: 50 }, () => plane.world.ledger.commit(note(t.tenant)))
    hold.release()
    await Promise.all([first, ...rest])
    expect((await batches()) - before).toBe(2)
  })

  test('takes tenants in turn: a flood of one leaves another’s step in the next batch', async () => {
    const [loud, quiet] = [await plane.tenant(ALLOW), await plane.tenant(ALLOW)]
    const hold = holdCommits(plane.db)
    const done: string[] = []
    const flood = Array.from({ length: 1500 }, () =>
      plane.world.ledger.commit(note(loud.tenant)).then(() => done.push('loud')),
    )
    flood.push(plane.world.ledger.commit(note(quiet.tenant)).then(() => done.push('quiet')))
    await turns(() => hold.waiting() === 1)
    hold.release()
    await Promise.all(flood)
    expect(done.indexOf('quiet')).toBeLessThan(2 * 256)
  })

  test('holds no more than its share of one tenant while another asks too, and all of it when nobody does', async () => {
    const [loud, quiet] = [await plane.tenant(ALLOW), await plane.tenant(ALLOW)]
    const rest = async (beside: string[]) => {
      plane.clock.advance(5000)
      const hold = holdCommits(plane.db)
      const work = [loud.tenant, ...beside, ...Array.from({ length: 100 }, () => loud.tenant)]
      const done = work.map((tenant) => plane.world.ledger.commit(note(tenant)))
      await turns(() => hold.waiting() === 1)
      hold.release()
      await Promise.all(done)
      const tiles = await loud.rows<{ at: number; count: number }>('audit_tiles')
      return Math.max(...tiles.filter(({ at }) => at === plane.clock.now()).map(({ count }) => count))
    }
    expect(await rest([quiet.tenant])).toBe(32)
    expect(await rest([])).toBe(101)
  })

  test('of whoever is not in a crowded one goes behind it at once, and without the crowd', async () => {
    const [loud, quiet] = [await plane.tenant(ALLOW), await plane.tenant(ALLOW)]
    const { ledger } = plane.node({ abreast: 2, second: 32 })
    const hold = holdCommits(plane.db)
    const done: string[] = []
    const commit = (t: Tenancy, name: string) => ledger.commit(note(t.tenant)).then(() => done.push(name))
    const crowd = Array.from({ length: 20 }, () => commit(loud, 'crowd'))
    await turns(() => hold.waiting() === 1)
    const rest = [...Array.from({ length: 5 }, () => commit(loud, 'rest')), commit(quiet, 'quiet')]
    await turns(() => hold.waiting() === 2)
    hold.release()
    await Promise.all([...crowd, ...rest])
    expect(done.slice(20)).toEqual(['quiet', 'rest', 'rest', 'rest', 'rest', 'rest'])
  })

  test('waits for one that is not crowded', async () => {
    const [few, quiet] = [await plane.tenant(ALLOW), await plane.tenant(ALLOW)]
    const { ledger } = plane.node({ abreast: 2, second: 32 })
    const before = await batches()
    const hold = holdCommits(plane.db)
    const first = Array.from({ length: 3 }, () => ledger.commit(note(few.tenant)))
    await turns(() => hold.waiting() === 1)
    const rest = [ledger.commit(note(quiet.tenant)), ledger.commit(note(few.tenant))]
    hold.release()
    await Promise.all([...first, ...rest])
    expect((await batches()) - before).toBe(2)
  })

  test('leaves nobody out for good: with more tenants than fit one batch the next begins with those left out', async () => {
    const hold = holdCommits(plane.db)
    const order: string[] = []
    const work = Array.from({ length: 2 }, () => Array.from({ length: 300 }, (_, i) => `many${i}`))
      .flat()
      .map((tenant) => plane.world.ledger.commit(note(tenant)).then(() => order.push(tenant)))
    await turns(() => hold.waiting() === 1)
    hold.release()
    await Promise.all(work)
    expect(order.indexOf('many299')).toBeLessThan(2 * 256)
  })

  test('an activation does not wait behind a backlog', async () => {
    const [loud, t] = [await plane.tenant(ALLOW), await plane.tenant(ALLOW)]
    const hold = holdCommits(plane.db)
    const done: string[] = []
    const flood = Array.from({ length: 1500 }, () =>
      plane.world.ledger.commit(note(loud.tenant)).then(() => done.push('loud')),
    )
    await turns(() => hold.waiting() === 1)
    const activated = plane.world.ledger.commit(note(t.tenant, { admin: {} })).then(() => done.push('admin'))
    hold.release()
    await Promise.all([...flood, activated])
    expect(done.indexOf('admin')).toBeLessThan(2 * 256)
  })

  test('holds no two steps that need the same thing alone', async () => {
    const t = await plane.tenant(ALLOW)
    const before = await batches()
    await Promise.all(
      Array.from({ length: 5 }, () => plane.world.ledger.commit(note(t.tenant, { alone: ['the same'] }))),
    )
    expect((await batches()) - before).toBe(5)
  })
})

describe('a poisonous step', () => {
  test('whose row a constraint refuses fails alone, its neighbours are written', async () => {
    const t = await plane.tenant(ALLOW)
    const bodies = Array.from({ length: 9 }, (_, i) => ({ topic: 'job.do.it', priority: i === 4 ? 99 : 5 }))
    const codes = await Promise.all(bodies.map((body) => codeOf(t.submit(body))))
    expect(codes).toEqual(bodies.map((body) => (body.priority === 99 ? 'internal' : 'done')))
    expect(await t.rows('jobs')).toHaveLength(8)
    await held(t)
  })

  test('whose fact cannot be written fails alone too', async () => {
    const t = await plane.tenant(ALLOW)
    const bad = note(t.tenant, { facts: [fact(t.tenant, { note: '\ud800' })] })
    const codes = await Promise.all(
      [note(t.tenant), bad, note(t.tenant)].map((each) => codeOf(plane.world.ledger.commit(each))),
    )
    expect([codes[0], codes[2]]).toEqual(['done', 'done'])
    expect(codes[1]).toContain('EntryError')
    await held(t)
  })
})

describe('a conflict', () => {
  test('takes out the loser and nobody else', async () => {
    const t = await plane.tenant(ALLOW)
    const stale = { snapshot: 'another', epoch: 77 }
    const { gate } = await plane.world.policies.active(t.tenant)
    const receipts = await Promise.all(
      [gate, stale, null, gate].map((each) => plane.world.ledger.commit(note(t.tenant, { gate: each }))),
    )
    expect(receipts).toEqual([{ ok: true }, { ok: false, why: 'gate' }, { ok: true }, { ok: true }])
    expect((await t.kinds()).filter((kind) => kind === 'drill.run')).toHaveLength(3)
    await held(t)
  })
})

describe('two commits on their way', () => {
  /** The first commit is held; what comes then is sent behind it. */
  async function behind(first: Intent[], second: Intent[], later?: (sent: number) => void) {
    const { ledger } = plane.node({ abreast: 2 })
    const sent: (() => void)[] = []
    plane.db.tap = async (sql, send) => {
      if (!isCommit(sql)) return send()
      const place = sent.length
      await new Promise<void>((go) => sent.push(go))
      later?.(place)
      return send()
    }
    const one = first.map((intent) => ledger.commit(intent))
    await turns(() => sent.length === 1)
    const two = second.map((intent) => ledger.commit(intent))
    await turns(() => sent.length === 2)
    plane.db.tap = null
    for (const go of sent) go()
    return { one: await Promise.allSettled(one), two: await Promise.allSettled(two) }
  }
  const ok = (n: number) => Array.from({ length: n }, () => ({ status: 'fulfilled', value: { ok: true } }))

  test('are both written, and the chain holds', async () => {
    const t = await plane.tenant(ALLOW)
    const notes = () => Array.from({ length: 3 }, () => note(t.tenant))
    expect(await behind(notes(), notes())).toEqual({ one: ok(3), two: ok(3) })
    await held(t)
  })

  test('when somebody in the first loses, the second is sent again behind what is left of it', async () => {
    const t = await plane.tenant(ALLOW)
    const stale = note(t.tenant, { gate: { snapshot: 'another', epoch: 77 } })
    const { one, two } = await behind([note(t.tenant), stale, note(t.tenant)], [note(t.tenant), note(t.tenant)])
    expect(one[1]).toEqual({ status: 'fulfilled', value: { ok: false, why: 'gate' } })
    expect([one[0], one[2], ...two]).toEqual(ok(4))
    expect((await t.kinds()).filter((kind) => kind === 'drill.run')).toHaveLength(4)
    await held(t)
  })

  test('when the answer to the first is lost, both are settled', async () => {
    const t = await plane.tenant(ALLOW)
    const lost = (place: number) => {
      if (place === 0) throw new DbError('no connection', '08006')
    }
    const { one, two } = await behind([note(t.tenant)], [note(t.tenant)], lost)
    expect(one[0]).toMatchObject({ status: 'rejected', reason: { code: 'store_unavailable' } })
    expect(two).toEqual(ok(1))
    expect((await t.kinds()).filter((kind) => kind === 'drill.run')).toHaveLength(1)
    await held(t)
  })

  test('what comes in the moment in which the first is found to have losers is answered like all else', async () => {
    const t = await plane.tenant(ALLOW)
    const { ledger } = plane.node({ abreast: 2 })
    for (let ticks = 0; ticks < 16; ticks++) {
      const late: Promise<unknown>[] = []
      plane.db.tap = async (sql, send) => {
        const rows = await send()
        if (isCommit(sql) && late.length === 0) {
          let soon = Promise.resolve()
          for (let tick = 0; tick < ticks; tick++) soon = soon.then(() => {})
          late.push(soon.then(() => ledger.commit(note(t.tenant))))
        }
        return rows
      }
      const stale = note(t.tenant, { gate: { snapshot: 'another', epoch: 77 } })
      const first = await Promise.all([ledger.commit(note(t.tenant)), ledger.commit(stale)])
      expect(first).toEqual([{ ok: true }, { ok: false, why: 'gate' }])
      expect(await Promise.all(late), `${ticks} ticks`).toEqual([{ ok: true }])
    }
    await held(t)
  })

  test('never hold the same thing alone', async () => {
    const t = await plane.tenant(ALLOW)
    const { ledger } = plane.node({ abreast: 2 })
    const hold = holdCommits(plane.db)
    const both = [ledger.commit(note(t.tenant, { alone: ['it'] }))]
    await turns(() => hold.waiting() === 1)
    both.push(ledger.commit(note(t.tenant, { alone: ['it'] })))
    await turns(() => hold.waiting() > 1, 50).catch(() => {})
    expect(hold.waiting()).toBe(1)
    hold.release()
    expect(await Promise.all(both)).toEqual([{ ok: true }, { ok: true }])
  })
})

test('a doubt that is left at the end is asked about once more', async () => {
  const t = await plane.tenant(ALLOW)
  const { ledger } = plane.node()
  plane.db.tap = async (sql, send) => {
    if (!isCommit(sql) && !isTombstone(sql)) return send()
    if (isCommit(sql)) await send()
    throw new DbError('no connection', '08006')
  }
  expect(await codeOf(ledger.commit(note(t.tenant)))).toBe('outcome_unknown')
  expect(ledger.unresolved).toBe(1)
  plane.db.tap = null
  await ledger.close()
  expect(ledger.unresolved).toBe(0)
  await held(t)
})

test('a doubt that nobody asked about until its row was pruned ends the chain, and the next step is written once', async () => {
  const t = await plane.tenant(ALLOW)
  const { ledger } = plane.node()
  await ledger.commit(note(t.tenant))
  plane.db.tap = async (sql, send) => {
    if (!isCommit(sql) && !isTombstone(sql)) return send()
    if (isCommit(sql)) await send()
    throw new DbError('no connection', '08006')
  }
  expect(await codeOf(ledger.commit(note(t.tenant)))).toBe('outcome_unknown')
  plane.db.tap = null
  plane.clock.advance(3_600_000)
  await plane.db.query('DELETE FROM batches')
  expect(await ledger.commit(note(t.tenant))).toEqual({ ok: true })
  expect((await t.kinds()).filter((kind) => kind === 'drill.run')).toHaveLength(3)
  await held(t)
})

test('a store that was set back ends the chain and not the node: it goes on under another name', async () => {
  const [t, other] = [await plane.tenant(ALLOW), await plane.tenant(ALLOW)]
  const { ledger } = plane.node()
  await ledger.commit(note(t.tenant))
  await ledger.commit(note(t.tenant))
  let commits = 0
  plane.db.tap = (sql, send) => {
    if (isCommit(sql)) commits++
    return send()
  }
  const heard: unknown[] = []
  ledger.renewed = (...said) => void heard.push(said)
  const [{ writer: torn } = { writer: '' }] = await plane.db.query<{ writer: string }>(
    'SELECT writer FROM audit_tiles WHERE tenant = $1 AND first_index IS NULL ORDER BY seq DESC LIMIT 1',
    [t.tenant],
  )
  // What a failover to a replica that was a commit behind leaves.
  await plane.db.query(
    'DELETE FROM audit_tiles a WHERE tenant = $1 AND at = $2 AND seq = (SELECT max(seq) FROM audit_tiles b WHERE b.tenant = a.tenant AND b.writer = a.writer)',
    [t.tenant, plane.clock.now()],
  )
  expect(await Promise.all([ledger.commit(note(t.tenant)), ledger.commit(note(other.tenant))])).toEqual([
    { ok: true },
    { ok: true },
  ])
  expect(commits).toBeLessThan(6)
  const writers = await plane.db.query<{ n: number }>(
    'SELECT count(DISTINCT writer)::int AS n FROM audit_tiles WHERE tenant = $1',
    [t.tenant],
  )
  expect(writers[0]?.n).toBe(2)
  // Told once, whoever else was in the batch: somebody has to learn that the store lost what it had acknowledged.
  expect(heard).toEqual([['torn', torn]])
})

describe('bounds', () => {
  test(`${proves('D10')} a full queue says overloaded at once and writes nothing of it`, async () => {
    const t = await plane.tenant(ALLOW)
    const hold = holdCommits(plane.db)
    const waiting = [plane.world.ledger.commit(note(t.tenant))]
    await turns(() => hold.waiting() === 1)
    for (let i = 0; i < 4096; i++) waiting.push(plane.world.ledger.commit(note(t.tenant)))
    expect(plane.world.ledger.depth).toBe(4096)
    expect(await codeOf(t.submit({ topic: 'job.do.it' }))).toBe('overloaded')
    hold.release()
    await Promise.all(waiting)
    expect(await t.rows('jobs')).toEqual([])
    expect(await codeOf(t.submit({ topic: 'job.do.it' }))).toBe('done')
  })

  test('a closing ledger finishes what it has and refuses the rest', async () => {
    const t = await plane.tenant(ALLOW)
    const { ledger } = plane.node()
    const hold = holdCommits(plane.db)
    const under = [ledger.commit(note(t.tenant)), ledger.commit(note(t.tenant))]
    await turns(() => hold.waiting() === 1)
    under.push(ledger.commit(note(t.tenant)))
    const closed = ledger.close()
    expect(await codeOf(ledger.commit(note(t.tenant)))).toBe('draining')
    hold.release()
    await closed
    expect(await Promise.all(under)).toEqual([{ ok: true }, { ok: true }, { ok: true }])
  })
})

describe('a lost answer', () => {
  test('is settled by the batch id: applied is done, not applied is refused and can never be applied later', async () => {
    const t = await plane.tenant(ALLOW)
    breakCommit(plane.db, 'after')
    expect(await plane.world.ledger.commit(note(t.tenant))).toEqual({ ok: true })
    breakCommit(plane.db, 'before')
    expect(await codeOf(plane.world.ledger.commit(note(t.tenant)))).toBe('store_unavailable')
    expect((await t.kinds()).filter((kind) => kind === 'drill.run')).toHaveLength(1)
    await held(t)
  })

  test.each(['before', 'after'] as const)(
    'that cannot be settled either is outcome_unknown; the chain waits for it (broken %s)',
    async (when) => {
      const t = await plane.tenant(ALLOW)
      await plane.world.ledger.commit(note(t.tenant))
      let dead = true
      plane.db.tap = async (sql, send) => {
        if (!dead || !(isCommit(sql) || isTombstone(sql))) return send()
        if (isCommit(sql) && when === 'after') await send()
        throw new DbError('no connection', '08006')
      }
      expect(await codeOf(t.submit({ topic: 'job.do.it' }))).toBe('outcome_unknown')
      // While nobody knows, nothing follows; what comes is told so.
      expect(await codeOf(t.submit({ topic: 'job.do.it' }))).toBe('store_unavailable')
      dead = false
      expect(await codeOf(t.submit({ topic: 'job.do.it' }))).toBe('done')
      expect(await t.rows('jobs')).toHaveLength(when === 'after' ? 2 : 1)
      await held(t)
    },
  )

  test('with an idempotency key the repeat after outcome_unknown is done once', async () => {
    const t = await plane.tenant(ALLOW)
    let dead = true
    plane.db.tap = async (sql, send) => {
      if (!dead || !(isCommit(sql) || isTombstone(sql))) return send()
      if (isCommit(sql)) await send()
      throw new DbError('no connection', '08006')
    }
    expect(await codeOf(t.submit({ topic: 'job.do.it' }, 'k'))).toBe('outcome_unknown')
    dead = false
    expect((await t.trySubmit({ topic: 'job.do.it' }, 'k')).replayed).toBe(true)
    expect(await t.rows('jobs')).toHaveLength(1)
  })
})
