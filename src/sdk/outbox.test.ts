import { expect, test } from 'vitest'
import { createOutbox } from './outbox.js'
import { succeeded } from './outcome.js'

test('whoever hears that the last report was answered sees an empty outbox, however large the batch', async () => {
  const sizes: number[] = []
  let batches = 0
  const outbox = createOutbox({
    async send(body) {
      batches++
      const reports = JSON.parse(body) as { lease: string }[]
      return { leases: reports.map(({ lease }) => ({ lease, answer: 'ok', job_id: null, status: null })) }
    },
    abandoned: new AbortController().signal,
    onAnswer: () => sizes.push(outbox.size),
    onTrouble: () => {},
  })
  for (let n = 0; n < 20; n++) outbox.put(succeeded(`lease_${n}`, n, undefined))
  await outbox.idle()
  expect(sizes).toEqual(Array.from({ length: 20 }, (_, n) => 19 - n))
  expect(batches).toBeLessThan(20)
})
