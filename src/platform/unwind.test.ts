import { expect, test } from 'vitest'
import { manualClock } from './clock.js'
import { unwinder } from './unwind.js'

const later = () => new Promise((turn) => setImmediate(turn))

test('undoes what was done, the newest first, and once', async () => {
  const done: string[] = []
  const unwind = unwinder(
    ['store', 'ledger', 'server'].map((name) => async () => void done.push(name)),
    manualClock(),
    1000,
  )
  await Promise.all([unwind(), unwind()])
  expect(done).toEqual(['server', 'ledger', 'store'])
})

test('does not wait for ever for one that hangs, nor undo what that one stands on', async () => {
  const clock = manualClock()
  const done: string[] = []
  const hangs = () => new Promise(() => {})
  const closing = [async () => void done.push('store'), hangs, async () => void done.push('server')]
  let end = 'open'
  void unwinder(closing, clock, 1000)().catch((error: Error) => {
    end = error.message
  })
  await later()
  clock.advance(999)
  await later()
  expect(end).toBe('open')
  clock.advance(1)
  await later()
  expect(end).toBe('Not everything was closed within 1 s')
  expect(done).toEqual(['server'])
})

test('goes on after one that fails, and throws its fault, the first, at the end', async () => {
  const done: string[] = []
  const fails = (name: string) => async () => {
    done.push(name)
    throw new Error(`${name} would not close`)
  }
  const closing = [
    async () => void done.push('lock'),
    fails('store'),
    fails('ledger'),
    async () => void done.push('server'),
  ]
  await expect(unwinder(closing, manualClock(), 1000)()).rejects.toThrow('ledger would not close')
  expect(done).toEqual(['server', 'ledger', 'store', 'lock'])
})
