import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { manualClock } from './clock.js'
import { openThreads, type ThreadLimits, ThreadLost, type Threads } from './threads.js'

type Task = { say: string } | { end: 'exit' | 'throw' | 'memory' } | { loop: true }

const THREAD = `
import { parentPort } from 'node:worker_threads'
parentPort.on('message', (task) => {
  if (task.loop) for (;;) {}
  if (task.end === 'exit') process.exit(3)
  if (task.end === 'throw') throw new Error('planted')
  if (task.end === 'memory') for (const all = []; ; ) all.push(new Array(1000).fill(all.length))
  parentPort.postMessage(task.say)
})`

const dir = mkdtempSync(join(tmpdir(), 'sallyport-threads-'))
const file = pathToFileURL(join(dir, 'thread.mjs'))
beforeAll(() => writeFileSync(file, THREAD))
afterAll(() => rmSync(dir, { recursive: true }))

const LIMITS: ThreadLimits = { threads: 1, waiting: 2, timeoutMs: 1000, memoryMb: 16 }
const clock = manualClock()
const opened: Threads<Task, string>[] = []
function open(limits: Partial<ThreadLimits> = {}): Threads<Task, string> {
  const threads = openThreads<Task, string>(file, { ...LIMITS, ...limits }, clock)
  opened.push(threads)
  return threads
}
afterEach(async () => {
  for (const threads of opened.splice(0)) await threads.close()
})

/** What became of a call, as a value: a rejection that nobody waits for yet must not end the test. */
const fate = (call: Promise<string>) =>
  call.catch((error: unknown) => (error instanceof ThreadLost ? error.why : (error as { code: string }).code))

test('answers tasks in their order, as many as may wait', async () => {
  const threads = open()
  const calls = ['a', 'b', 'c'].map((say) => threads.run({ say }))
  expect(await Promise.all(calls)).toEqual(['a', 'b', 'c'])
  expect(await threads.run({ say: 'd' })).toBe('d')
})

test.each(['exit', 'throw', 'memory'] as const)(
  'a thread that ends by %s loses its own task and no other',
  async (end) => {
    const threads = open()
    const calls = [fate(threads.run({ end })), fate(threads.run({ say: 'next' }))]
    expect(await Promise.all(calls)).toEqual(['died', 'next'])
    expect(await threads.run({ say: 'later' })).toBe('later')
  },
)

test('a thread that is late is ended, and who waited behind it is served', async () => {
  const threads = open()
  const calls = [fate(threads.run({ loop: true })), fate(threads.run({ say: 'next' }))]
  clock.advance(LIMITS.timeoutMs)
  expect(await Promise.all(calls)).toEqual(['timeout', 'next'])
})

test('the time of a task begins when a thread takes it, not while it waits', async () => {
  const threads = open()
  const first = fate(threads.run({ loop: true }))
  clock.advance(LIMITS.timeoutMs - 1)
  const second = fate(threads.run({ loop: true }))
  clock.advance(1)
  expect(await first).toBe('timeout')
  clock.advance(LIMITS.timeoutMs - 1)
  const third = fate(threads.run({ say: 'still waiting' }))
  clock.advance(1)
  expect(await Promise.all([second, third])).toEqual(['timeout', 'still waiting'])
})

test('the time of an answered task is over', async () => {
  const threads = open()
  expect(await threads.run({ say: 'a' })).toBe('a')
  clock.advance(LIMITS.timeoutMs - 1)
  const next = fate(threads.run({ say: 'b' }))
  clock.advance(1)
  expect(await next).toBe('b')
})

test('one more than may wait is refused and nothing of it is begun', async () => {
  const threads = open()
  const held = fate(threads.run({ loop: true }))
  const waiting = ['a', 'b'].map((say) => fate(threads.run({ say })))
  expect(await fate(threads.run({ say: 'c' }))).toBe('overloaded')
  clock.advance(LIMITS.timeoutMs)
  expect(await Promise.all([held, ...waiting])).toEqual(['timeout', 'a', 'b'])
})

test('a task that never ends holds up one thread and not the others', async () => {
  const threads = open({ threads: 2 })
  const held = fate(threads.run({ loop: true }))
  expect(await Promise.all(['a', 'b'].map((say) => threads.run({ say })))).toEqual(['a', 'b'])
  clock.advance(LIMITS.timeoutMs)
  expect(await held).toBe('timeout')
})

test('what no thread can be sent is lost, not left waiting', async () => {
  const threads = open()
  expect(await fate(threads.run({ say: (() => {}) as unknown as string }))).toBe('died')
  expect(await threads.run({ say: 'next' })).toBe('next')
})

test('a file that is not there loses each task', async () => {
  const threads = openThreads<Task, string>(new URL('./none.mjs', file), LIMITS, clock)
  opened.push(threads)
  expect(await fate(threads.run({ say: 'a' }))).toBe('died')
  expect(await fate(threads.run({ say: 'b' }))).toBe('died')
})

test('closing loses what is under way, refuses what waits and what comes', async () => {
  const threads = open()
  const calls = [fate(threads.run({ loop: true })), fate(threads.run({ say: 'waits' }))]
  await threads.close()
  expect(await Promise.all([...calls, fate(threads.run({ say: 'late' }))])).toEqual(['died', 'draining', 'draining'])
})
