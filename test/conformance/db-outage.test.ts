import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type PostgresInstance, startPostgres } from '../../scripts/engines.mjs'
import { openPostgres, type PostgresOptions } from '../../src/platform/db/pg.js'
import type { Db, On } from '../../src/platform/db/seam.js'
import { sqlOn } from '../support/engines.js'
import { until } from '../support/server.js'
import { startWire, type Wire } from '../support/wire.js'

/** Postgres stops, dies, freezes, and the network between goes dead. Every call ends, and later ones work again. */

/** A tenth of the real ones, so that what takes a quarter of a minute takes a second and a half. */
const LIMITS = { connect: 500, statement: 1_000, silence: 1_500 }
/** When silence has been noticed and everything that hung on it has ended, with room for a slow machine. */
const BOUND_MS = 10_000

let postgres: PostgresInstance
let wire: Wire
beforeAll(async () => {
  postgres = await startPostgres({ settings: { deadlock_timeout: '50ms' } })
  wire = await startWire(postgres.port)
  await sqlOn(postgres.url(), 'CREATE TABLE words (id bigserial PRIMARY KEY, word text UNIQUE)')
})
afterAll(() => {
  wire?.close()
  postgres?.discard()
})

const opened: Db[] = []
async function open(options: Partial<PostgresOptions> = {}): Promise<Db> {
  const db = await openPostgres({ url: wire.through(postgres.url()), limits: LIMITS, ...options })
  opened.push(db)
  return db
}
afterEach(async () => {
  await Promise.all(opened.splice(0).map((db) => db.close()))
})

const stateOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'done',
    (error) => error.state ?? String(error),
  )
const works = (db: Db) =>
  until('every kind of call works again', async () => {
    const kinds: On[] = ['reads', 'reads', 'reads', 'reads', 'ledger', 'fresh']
    const states = await Promise.all([
      ...kinds.map((on) => stateOf(db.query('SELECT 1', [], on))),
      stateOf(db.hold('probe').then((hold) => hold?.release())),
      stateOf(db.script('SELECT 1')),
    ])
    return states.every((state) => state === 'done')
  })

let loads = 0
/** Calls of every kind, one after another on each of many threads of work, until it is told to end. */
function load(db: Db) {
  const states = new Map<string, number>()
  const written = new Map<string, string>()
  const name = `load ${++loads}`
  let [ended, longest, n] = [false, 0, 0]
  const kinds: On[] = ['reads', 'ledger', 'fresh']
  const thread = async (on: On) => {
    while (!ended) {
      const from = performance.now()
      const sql = on === 'ledger' ? 'INSERT INTO words (word) VALUES ($1)' : 'SELECT $1::text AS v'
      const word = `${name} ${n++}`
      const state = await stateOf(db.query(sql, [word], on))
      if (on === 'ledger') written.set(word, state)
      longest = Math.max(longest, performance.now() - from)
      states.set(state, (states.get(state) ?? 0) + 1)
      await new Promise((turn) => setImmediate(turn))
    }
  }
  const threads = kinds.flatMap((on) => Array.from({ length: on === 'fresh' ? 1 : 8 }, () => thread(on)))
  return {
    states,
    /** What each insert was told. */
    written,
    longest: () => longest,
    async end() {
      ended = true
      await Promise.all(threads)
    },
  }
}

const ABSENT = /^(done|08001|08006|57014|57P03)$/

describe('under load', () => {
  const blows: Record<string, () => Promise<void>> = {
    'is stopped and started': async () => {
      await postgres.stop()
      await postgres.start()
    },
    'is killed and started': async () => {
      await postgres.kill()
      await postgres.start()
    },
    'is away for a while': async () => {
      await postgres.kill()
      await new Promise((later) => setTimeout(later, 1_000)) // not a wait: how long it is gone
      await postgres.start()
    },
    'freezes and thaws': async () => {
      postgres.freeze()
      await new Promise((later) => setTimeout(later, 3_000))
      postgres.thaw()
    },
    'loses every session': async () => {
      await sqlOn(
        postgres.url(),
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1',
        ['sallyport'],
      )
    },
    'is cut off by the network, which says so': async () => wire.cut(),
    'is cut off by the network, which says nothing': async () => {
      wire.goSilent()
      await new Promise((later) => setTimeout(later, 3_000))
      wire.cut()
    },
  }
  test.each(Object.entries(blows))('Postgres %s: every call ends and later ones work', async (_, blow) => {
    const db = await open()
    const work = load(db)
    await until('the load runs', () => (work.states.get('done') ?? 0) > 200)
    await blow()
    await works(db)
    await work.end()
    expect([...work.states.keys()].filter((state) => !ABSENT.test(state))).toEqual([])
    // What was said to be done is there; what was said never to have arrived is not; only 08006 leaves it open.
    const there = new Set((await db.query<{ word: string }>('SELECT word FROM words')).map((row) => row.word))
    const told = (state: string) => [...work.written].filter(([, what]) => what === state).map(([word]) => word)
    expect(told('done').filter((word) => !there.has(word))).toEqual([])
    expect(told('08001').filter((word) => there.has(word))).toEqual([])
    expect(work.longest()).toBeLessThan(BOUND_MS)
    console.log(`longest call ${Math.round(work.longest())} ms`, Object.fromEntries(work.states))
  })
})

describe('a connection that is half open', () => {
  test('hangs nothing, whatever is under way on it or comes later', async () => {
    const db = await open()
    const held = await db.hold('half open')
    const hold = held as NonNullable<typeof held>
    await works(db)
    wire.goSilent()
    const calls = [
      ...Array.from({ length: 50 }, () => db.query('SELECT 1')),
      ...Array.from({ length: 5 }, () => db.query('SELECT 1', [], 'ledger')),
      ...Array.from({ length: 4 }, () => db.query('SELECT 1', [], 'fresh')),
      db.hold('another'),
      db.script('SELECT 1'),
      hold.release(),
    ]
    const all = Promise.all(calls.map(stateOf))
    for (const state of (await within(all, BOUND_MS)).slice(0, -1)) expect(state).toMatch(/^0800[16]$/)
    expect(hold.held).toBe(false)
    wire.cut()
    await works(db)
  })

  test('does not keep a close waiting', async () => {
    const db = await open({ limits: { ...LIMITS, silence: 3_600_000 } })
    wire.goSilent()
    const call = stateOf(db.query('SELECT 1'))
    await within(db.close(), BOUND_MS)
    expect(await call).toMatch(/^0800[16]$/)
    wire.cut()
  })
})

/** The same answer; throws when it does not come. */
async function within<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`still not ended after ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

describe('while Postgres is away', () => {
  test('calls fail at once with 08001, and only a few attempts are made', async () => {
    const db = await open()
    await until('all is up', async () => wire.open() >= 6)
    await new Promise((later) => setTimeout(later, 1_100)) // not a wait: connections as old as in life
    wire.refuse(true)
    wire.cut()
    await until('the loss is noticed', async () => (await stateOf(db.query('SELECT 1'))) === '08001')
    const before = wire.met()
    const states: string[] = []
    const end = performance.now() + 1_500
    while (performance.now() < end) {
      const kinds: On[] = ['reads', 'reads', 'ledger']
      states.push(...(await Promise.all(kinds.map((on) => stateOf(db.query('SELECT 1', [], on))))))
      await new Promise((turn) => setImmediate(turn))
    }
    expect(new Set(states)).toEqual(new Set(['08001']))
    expect(states.length).toBeGreaterThan(1_000)
    // Six connections, each after 50, 100, 200 … ms.
    expect(wire.met() - before).toBeLessThan(60)
    wire.refuse(false)
    await works(db)
  })

  test('one connection that cannot be made again takes no reads from those that are there', async () => {
    const db = await open({ pool: 4 })
    await works(db)
    wire.refuse(true)
    const [victim] = await db.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    await sqlOn(postgres.url(), 'SELECT pg_terminate_backend($1)', [victim?.pid])
    await until('one is down', () => db.stats?.().connected === 3)
    const states = await Promise.all(Array.from({ length: 100 }, () => stateOf(db.query('SELECT 1'))))
    expect(new Set(states)).toEqual(new Set(['done']))
    wire.refuse(false)
    await works(db)
  })
})

describe('the pool', () => {
  test('is as large as it was told, however much is asked', async () => {
    const db = await open({ pool: 5 })
    const sessions = async () =>
      (
        await sqlOn(
          postgres.url(),
          "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'sallyport'",
        )
      )[0].n
    await until('older ones are gone', async () => (await sessions()) === 5)
    const asked = Array.from({ length: 3000 }, (_, i) => db.query('SELECT $1::int', [i]))
    const fresh = Array.from({ length: 30 }, () => db.query('SELECT pg_sleep(0.01)', [], 'fresh'))
    const seen: number[] = []
    const looking = (async () => {
      while (seen.length < 10) seen.push(await sessions())
    })()
    await Promise.all([...asked, ...fresh, looking])
    // A connection that is being closed still counts for a moment: one more than the two that may be made.
    expect(Math.max(...seen)).toBeLessThanOrEqual(5 + 3)
    expect(await until('those made for one statement are gone', async () => (await sessions()) === 5)).toBe(true)
  })

  test('takes no more than can be answered one day', async () => {
    const db = await open({ pool: 3 })
    wire.goSilent()
    const states = await Promise.all(Array.from({ length: 6000 }, () => stateOf(db.query('SELECT 1'))))
    expect(states.filter((state) => state === '53400')).toHaveLength(6000 - 4096)
    wire.cut()
  })
})

describe('a statement', () => {
  test('that takes too long is ended by the server, and its connection goes on', async () => {
    const db = await open({ limits: { ...LIMITS, statement: 200 } })
    expect(await stateOf(db.query('SELECT pg_sleep(60)', [], 'ledger'))).toBe('57014')
    expect(await stateOf(db.query('SELECT 1', [], 'ledger'))).toBe('done')
  })

  test('is sent before the one ahead of it is answered', async () => {
    const db = await open()
    const gate = await open()
    await gate.query('SELECT pg_advisory_lock(5)', [], 'ledger')
    const first = db.query('SELECT pg_advisory_xact_lock(5)', [], 'ledger')
    const second = db.query('SELECT $1::text', ['sent behind it'], 'ledger')
    await until('the second is on the wire', () => wire.heard('sent behind it'), 900)
    await gate.query('SELECT pg_advisory_unlock(5)', [], 'ledger')
    await Promise.all([first, second])
  })

  test('caught in a deadlock fails with 40P01, and its rival succeeds', async () => {
    const db = await open()
    await db.query("INSERT INTO words (word) VALUES ('left'), ('right')")
    const both = (a: string, b: string) => `DO $$ BEGIN
      PERFORM 1 FROM words WHERE word = '${a}' FOR UPDATE; PERFORM pg_sleep(0.1); PERFORM 1 FROM words WHERE word = '${b}' FOR UPDATE;
      END $$`
    const states = await Promise.all([
      stateOf(db.query(both('left', 'right'), [], 'ledger')),
      stateOf(db.query(both('right', 'left'), [], 'fresh')),
    ])
    expect(states.sort()).toEqual(['40P01', 'done'])
  })

  test('prepared before a migration of a newer node works after it', async () => {
    const db = await open()
    await db.script('CREATE TABLE grown (a int); INSERT INTO grown VALUES (1)')
    const read = () => db.query('SELECT * FROM grown', [], 'ledger')
    expect(await read()).toEqual([{ a: 1 }])
    await sqlOn(postgres.url(), 'ALTER TABLE grown ADD COLUMN b int NOT NULL DEFAULT 2')
    expect(await Promise.all([read(), read(), read()])).toEqual(Array.from({ length: 3 }, () => [{ a: 1, b: 2 }]))
    await sqlOn(postgres.url(), 'ALTER TABLE grown DROP COLUMN a')
    expect(await read()).toEqual([{ b: 2 }])
  })

  test('that a session has forgotten is prepared again', async () => {
    const db = await open()
    const read = () => db.query('SELECT $1::int AS v', [3], 'ledger')
    await read()
    await db.query('DEALLOCATE ALL', [], 'ledger').catch(() => {})
    expect(await read()).toEqual([{ v: 3 }])
  })

  test('runs under our settings, whatever the database says', async () => {
    await sqlOn(postgres.url(), 'CREATE DATABASE odd')
    for (const setting of [
      "bytea_output = 'escape'",
      "default_transaction_isolation = 'serializable'",
      'enable_seqscan = on',
      "timezone = 'Asia/Tokyo'",
      "datestyle = 'German'",
    ])
      await sqlOn(postgres.url(), `ALTER DATABASE odd SET ${setting}`)
    const db = await open({ url: wire.through(postgres.url('odd')) })
    const [row] = await db.query(
      `SELECT decode('00ff', 'hex') AS bytes, current_setting('transaction_isolation') AS isolation, current_setting('enable_seqscan') AS seqscan,
       '2024-02-29 12:00:00+00'::timestamptz::text AS at`,
    )
    expect(row).toEqual({
      bytes: new Uint8Array([0, 255]),
      isolation: 'read committed',
      seqscan: 'off',
      at: '2024-02-29 12:00:00+00',
    })
  })
})
