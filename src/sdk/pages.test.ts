import fc from 'fast-check'
import { expect, test } from 'vitest'
import { eachItem, eachLine } from './pages.js'

function streamOf(chunks: Uint8Array[]) {
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      const next = chunks.shift()
      if (next) controller.enqueue(next)
      else controller.close()
    },
  })
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

test('lines are the same however the bytes are cut', async () => {
  const line = fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('\n', ' '))
  await fc.assert(
    fc.asyncProperty(fc.array(line), fc.boolean(), fc.array(fc.nat(12)), async (lines, ended, cuts) => {
      const bytes = Buffer.from(`\uFEFF${lines.join('\n')}${ended ? '\n' : ''}`)
      const chunks: Uint8Array[] = []
      let at = 0
      for (const cut of cuts) {
        chunks.push(bytes.subarray(at, at + cut))
        at += cut
      }
      chunks.push(bytes.subarray(Math.min(at, bytes.length)))
      const expected = bytes.toString().split('\n')
      if (expected.at(-1) === '') expected.pop()
      expect(await collect(eachLine(streamOf(chunks)))).toEqual(expected)
    }),
    { verbose: 1 },
  )
})

test('bytes that are no UTF-8 are an error, not another log', async () => {
  await expect(collect(eachLine(streamOf([Uint8Array.of(0x61, 0xff, 0x0a)])))).rejects.toThrow(TypeError)
})

test('leaving early, or the signal, ends the stream', async () => {
  let cancelled = 0
  const endless = () =>
    new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new TextEncoder().encode('line\n')),
      cancel: () => void cancelled++,
    })
  for await (const line of eachLine(endless())) {
    expect(line).toBe('line')
    break
  }
  const controller = new AbortController()
  const reading = async () => {
    for await (const _ of eachLine(endless(), controller.signal)) controller.abort(new Error('enough'))
  }
  await expect(reading()).rejects.toThrow('enough')
  expect(cancelled).toBe(2)
})

test('pages are read only as far as items are taken', async () => {
  const asked: (string | undefined)[] = []
  const pages = eachItem(async (cursor) => {
    asked.push(cursor)
    return { items: [1, 2], next_cursor: `after-${cursor}` }
  })
  for await (const _ of pages) if (asked.length === 2) break
  expect(asked).toEqual([undefined, 'after-undefined'])
})
