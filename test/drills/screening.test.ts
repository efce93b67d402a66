import { randomBytes } from 'node:crypto'
import { afterAll, expect, test } from 'vitest'
import type { Json } from '../../src/core/json.js'
import { defaultOutputPolicy } from '../../src/core/output.js'
import { systemClock } from '../../src/platform/clock.js'
import { seededIds } from '../../src/platform/ids.js'
import { openThreads, type Threads } from '../../src/platform/threads.js'
import { type Screened, Screener, type Task } from '../../src/store/screener.js'
import { Sealer } from '../../src/store/sealer.js'

/** The thread that is built and shipped, on results as large as the plane takes. */

const file = new URL('../../dist/store/screener-thread.js', import.meta.url)
const opened: Threads<Task, Screened>[] = []
afterAll(async () => {
  for (const threads of opened) await threads.close()
})

function screener(memoryMb: number): Screener {
  const limits = { threads: 1, waiting: 4, timeoutMs: 50_000, memoryMb }
  const threads = openThreads<Task, Screened>(file, limits, systemClock)
  opened.push(threads)
  const ids = seededIds(3)
  return new Screener(ids, new Sealer('secret', ids), threads)
}

const keep = (s: Screener, raw: Json) =>
  s.keep({ tenant: 'default', job_id: 'job_1' }, 'result', raw, defaultOutputPolicy, 0)
const records = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ id: i, note: `record ${i} of a large result` }))
const token = `ghp_${randomBytes(18).toString('hex')}`

test('screens a large result, and finds what is in it', async () => {
  const s = screener(256)
  const clean = records(30_000)
  const kept = await keep(s, clean)
  expect({ verdict: kept.verdict, body: kept.payload.body }).toEqual({ verdict: 'ALLOW', body: JSON.stringify(clean) })
  const leaky = await keep(s, [...clean, { id: -1, note: `use ${token}` }])
  expect(leaky.verdict).toBe('REDACT')
  expect(leaky.payload.body).not.toContain(token)
})

test('killed for its memory in the middle of one, it lets nothing through', async () => {
  const s = screener(8)
  const kept = await keep(s, records(60_000))
  expect({ verdict: kept.verdict, kind: kept.payload.kind }).toEqual({ verdict: 'QUARANTINE', kind: 'sealed' })
})
