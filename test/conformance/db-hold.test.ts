import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { openPostgres, type PostgresOptions } from '../../src/platform/db/pg.js'
import { lockKey, STALE_MS } from '../../src/platform/db/pg-holds.js'
import type { Db, Hold } from '../../src/platform/db/seam.js'
import { database, sqlOn } from '../support/engines.js'
import { track, until } from '../support/server.js'
import { startWire } from '../support/wire.js'

/** Names held among nodes on Postgres: one holder, whatever becomes of processes and connections. */

/** From the moment a holder falls silent: stale after ten seconds, noticed by whoever asks next; room for a slow machine. */
const FAIL_OVER_MS = STALE_MS + 15_000

let url: string
beforeAll(async () => {
  url = await database()
})

const ending: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end()
})
const children: ChildProcess[] = []
afterAll(() => {
  for (const child of children) child.kill('SIGKILL')
})

async function node(at = url, limits: PostgresOptions['limits'] = {}): Promise<Db> {
  const db = await openPostgres({ url: at, pool: 3, limits })
  ending.push(() => db.close())
  return db
}
async function held(db: Db, name: string): Promise<Hold> {
  return until(`${name} is taken`, () => db.hold(name), FAIL_OVER_MS)
}

test('of two nodes one has a name; the other gets it when it is given back, or its node ends', async () => {
  const [a, b] = [await node(), await openPostgres({ url, pool: 3 })]
  const first = await held(a, 'turns')
  expect(await b.hold('turns')).toBe(null)
  await first.release()
  const second = await held(b, 'turns')
  expect([first.held, second.held, await a.hold('turns')]).toEqual([false, true, null])
  await b.close()
  expect(second.held).toBe(false)
  expect((await held(a, 'turns')).held).toBe(true)
})

test('with its connection a name is lost, and may be taken again', async () => {
  const [a, b] = [await node(), await node()]
  const [first, kept] = [await held(a, 'lost'), await held(b, 'kept')]
  await endHolder('lost')
  await until('its holder knows', () => !first.held)
  expect(kept.held).toBe(true)
  const second = await held(b, 'lost')
  await until('all connections are there again', () => a.stats?.().connected === 3)
  // The old hold is nobody's: giving it back must not take the name from the new one.
  await first.release()
  expect([second.held, await a.hold('lost')]).toEqual([true, null])
  await second.release()
  expect((await held(a, 'lost')).held).toBe(true)
})

test('all that a process holds survives the loss of another process', async () => {
  const [a, b] = [await node(), await node()]
  const holds = await Promise.all(['one', 'two', 'three'].map((name) => held(a, name)))
  const other = await held(b, 'four')
  await endHolder('four')
  await until('its holder knows', () => !other.held)
  expect(holds.map((hold) => hold.held)).toEqual([true, true, true])
})

test('a holder that is idle keeps its name, and strangers that are idle their locks', async () => {
  const [a, b] = [await node(), await node()]
  const hold = await held(a, 'idle')
  // Locks whose keys differ from the name's in one half only must not be taken for it.
  const stranger = new pg.Client({ connectionString: url })
  await stranger.connect()
  ending.push(() => stranger.end())
  const key = BigInt(lockKey('idle'))
  for (const other of [key ^ 1n, key ^ (1n << 33n)]) await stranger.query(`SELECT pg_advisory_lock(${other})`)
  const end = performance.now() + STALE_MS + 2_000
  // Asked all the time, for longer than a silent holder would keep it.
  while (performance.now() < end) {
    expect(await b.hold('idle')).toBe(null)
    expect(hold.held).toBe(true)
    await new Promise((again) => setTimeout(again, 250))
  }
  expect((await stranger.query('SELECT 1 AS v')).rows).toEqual([{ v: 1 }])
})

describe('a holder that falls silent', () => {
  test('frozen, it loses the name to another within seconds, and knows when it thaws', async () => {
    const child = holder('frozen')
    await until('the child holds it', () => child.last() === 'held true')
    const other = await node()
    expect(await other.hold('frozen')).toBe(null)
    child.process.kill('SIGSTOP')
    const from = performance.now()
    const hold = await held(other, 'frozen')
    console.log(`fail-over from a frozen holder took ${Math.round(performance.now() - from)} ms`)
    child.process.kill('SIGCONT')
    const thawed = await until('it says what it knows', () => child.since('thawed')?.[0])
    expect(thawed).toBe('held false')
    expect(hold.held).toBe(true)
    expect(child.all().slice(child.all().indexOf('thawed') + 1)).not.toContain('held true')
  })

  test('half open, it knows before another may have the name', async () => {
    const wire = await startWire(Number(new URL(url).port))
    ending.push(() => wire.close())
    // Its connection would be given up later than its name: what it has not heard is enough.
    const cut = await node(wire.through(url), { silence: 3_600_000 })
    const hold = await held(cut, 'half open')
    const other = await node()
    wire.goSilent()
    let both = false
    const taken = await until(
      'the other has it',
      async () => {
        const mine = await other.hold('half open')
        both ||= mine !== null && hold.held
        return mine
      },
      FAIL_OVER_MS,
    )
    expect([taken.held, hold.held, both]).toEqual([true, false, false])
    wire.cut()
  })
})

/** Ends the session that holds a name, as an operator or a restart would. */
async function endHolder(name: string): Promise<void> {
  const key = BigInt(lockKey(name))
  const ended = await sqlOn(
    url,
    `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = ${key >> 32n} AND objid = ${key & 0xffffffffn}
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  )
  expect(ended).toHaveLength(1)
}

/** A process of its own that holds a name and says every 100 ms whether it still has it, first thing when it thaws. */
function holder(name: string) {
  const built = new URL('../../dist/platform/db/pg.js', import.meta.url)
  if (!existsSync(built)) throw new Error('dist/ is not built: npm run build')
  const program = `
    const { openPostgres } = await import(${JSON.stringify(built.href)})
    const db = await openPostgres({ url: ${JSON.stringify(url)}, pool: 3 })
    const hold = await db.hold(${JSON.stringify(name)})
    let last = Date.now()
    setInterval(() => {
      if (Date.now() - last > 3000) console.log('thawed')
      last = Date.now()
      console.log('held ' + hold.held)
    }, 100)`
  const child = track(
    spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] }),
  )
  children.push(child)
  let out = ''
  child.stdout?.setEncoding('utf8').on('data', (chunk) => {
    out += chunk
  })
  const all = () => out.trim().split('\n')
  return {
    process: child,
    all,
    last: () => all().at(-1),
    since(word: string): string[] | null {
      const at = all().indexOf(word)
      return at < 0 || all().length === at + 1 ? null : all().slice(at + 1)
    },
  }
}
