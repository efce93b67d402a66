import { existsSync, readFileSync } from 'node:fs'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { splitNotes } from '../../src/cli/audit-log.js'
import { checkpointOpener, originOf } from '../../src/core/audit/checkpoint.js'
import { base64, hex, leafHash } from '../../src/core/audit/hash.js'
import { parsePublicKey } from '../../src/core/audit/keys.js'
import { verifyConsistency, verifyInclusion } from '../../src/core/audit/proof.js'
import { loadConfig, type Plane, start } from '../../src/main.js'
import { manualClock } from '../../src/platform/clock.js'
import { silentLog } from '../../src/platform/log.js'
import { type Client, createClient } from '../../src/sdk/client.js'
import { proves } from '../requirements.js'
import { dice, scratch, until } from '../support/server.js'

/** What the integrator makes of tiles, seen over the API of a running server. */

const place = scratch('heads')
let plane: Plane | null = null
afterEach(async () => {
  await plane?.stop()
  plane = null
})
afterAll(() => place.gone())

const config = (name: string) => loadConfig({}, { dataDir: place.at(name), port: 0 })
const client = (role: string): Client => {
  const file = plane?.keyFiles[role] as string
  return createClient({ url: plane?.url as string, apiKey: readFileSync(file, 'utf8').trim() })
}
const submit = (times: number) =>
  client('agent').jobs.submitBatch(
    Array.from({ length: times }, () => ({ topic: 'job.repo.read', input: { op: 'log' } })),
  )
const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'hex'))

test(`${proves('C1')} proofs over the API hold for every head and many sizes, and for nothing else`, async () => {
  const chance = dice('proofs')
  plane = await start(config('proofs'), { memory: true, log: silentLog })
  const audit = client('admin').audit
  const first = await until('a first head', () => audit.head().catch(() => null))
  const heads = [first]
  for (let round = 0; round < 6; round++) {
    await submit(chance.whole(20, 120))
    const { size } = heads.at(-1) as { size: number }
    const from = performance.now()
    heads.push(await until('a larger head', () => audit.head().then((head) => head.size > size && head)))
    console.log(`head of ${heads.at(-1)?.size} signed ${Math.round(performance.now() - from)} ms after the commit`)
  }
  const newest = heads.at(-1) as (typeof heads)[number]
  const open = checkpointOpener(originOf('default'), [parsePublicKey(newest.public_key)])
  const roots = new Map<number, Uint8Array>()
  for (const head of heads) {
    expect(open(head.checkpoint)).toMatchObject({ size: head.size })
    roots.set(head.size, open(head.checkpoint).root)
    expect(head.root).toBe(base64(open(head.checkpoint).root))
  }
  const sizes = [...roots.keys(), ...[1, 2, 3, 4, 7, 8, 9, 255, 256, 257].filter((size) => size <= newest.size)]
  for (let n = 0; n < 30; n++) sizes.push(chance.whole(1, newest.size))
  const rootOf = async (size: number) => roots.get(size) ?? bytes((await audit.consistency({ from: size })).from_root)
  for (const to of sizes) {
    const from = chance.whole(0, to)
    const proof = await audit.consistency({ from, to })
    const path = proof.path.map(bytes)
    const [a, b] = [from === 0 ? bytes(proof.from_root) : await rootOf(from), await rootOf(to)]
    expect([from, to, verifyConsistency(from, a, to, b, path)]).toEqual([from, to, true])
    if (from > 0 && from < to) expect(verifyConsistency(from, b, to, a, path)).toBe(false)

    const index = chance.whole(0, to - 1)
    const included = await audit.inclusion({ index, size: to })
    expect(included.leaf_hash).toBe(hex(leafHash(included.entry)))
    const steps = included.path.map(bytes)
    expect([index, to, verifyInclusion(bytes(included.leaf_hash), index, to, steps, b)]).toEqual([index, to, true])
    expect(verifyInclusion(leafHash(`${included.entry} `), index, to, steps, b)).toBe(false)
  }
  for (const query of [{ index: newest.size }, { index: 0, size: newest.size + 1000 }])
    await expect(audit.inclusion(query)).rejects.toMatchObject({ status: 422 })
  await expect(audit.consistency({ from: 2, to: 1 })).rejects.toMatchObject({ status: 422 })
}, 60_000)

interface Event {
  id: number
  kind: string
  data: string
}

/** Reads events until `enough`, then hangs up. */
async function listen(last: number | null, enough: (events: Event[]) => boolean): Promise<Event[]> {
  const hangUp = new AbortController()
  const key = readFileSync(plane?.keyFiles.admin as string, 'utf8').trim()
  const answer = await fetch(`${plane?.url}/api/v1/events`, {
    headers: { 'x-api-key': key, ...(last === null ? {} : { 'last-event-id': String(last) }) },
    signal: hangUp.signal,
  })
  expect(answer.headers.get('content-type')).toBe('text/event-stream')
  const events: Event[] = []
  let text = ''
  try {
    for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk)
      const blocks = text.split('\n\n')
      text = blocks.pop() ?? ''
      for (const block of blocks) {
        const [, id, kind, data] = /^id: (\d+)\nevent: (.+)\ndata: (.+)$/.exec(block) ?? []
        if (id !== undefined) events.push({ id: Number(id), kind: kind as string, data: data as string })
      }
      if (enough(events)) break
    }
  } finally {
    hangUp.abort()
  }
  return events
}

describe(`${proves('C1', 'L6')} events`, () => {
  test('resume after the last one seen without a gap or a repeat, also over a restart', async () => {
    plane = await start(config('events'), { thread: false, log: silentLog })
    const seen: Event[] = []
    const last = () => seen.at(-1)?.id ?? -1
    const head = await until('a first head', () =>
      client('admin')
        .audit.head()
        .catch(() => null),
    )
    seen.push(...(await listen(-1, (events) => events.length >= head.size)))
    for (let round = 0; round < 3; round++) {
      const from = last()
      const listening = listen(from, (events) => events.length >= 40)
      await submit(20)
      await until('they are in the tree, and told', async () => (await client('admin').audit.head()).size > from + 20)
      await submit(20)
      seen.push(...(await listening))
      // While nobody listens.
      await submit(15)
      if (round !== 1) continue
      await plane.stop()
      plane = await start(config('events'), { thread: false, log: silentLog })
    }
    const size = await until('all is signed', async () => {
      const { size } = await client('admin').audit.head()
      return size > last() + 15 && size
    })
    seen.push(...(await listen(last(), (events) => (events.at(-1)?.id ?? 0) >= size - 1)))
    expect(seen.map(({ id }) => id)).toEqual(seen.map((_, n) => n))
    for (const { id, kind, data } of [seen[0], seen[30], seen.at(-1)] as Event[]) {
      expect(JSON.parse(data).kind).toBe(kind)
      expect((await client('admin').audit.inclusion({ index: id })).entry).toBe(data)
    }
    // Without a last one seen they begin with what comes.
    const fresh = listen(null, (events) => events.length > 0)
    const began = (await client('admin').audit.head()).size
    await submit(1)
    expect((await fresh)[0]?.id).toBeGreaterThanOrEqual(size)
    expect(began).toBeGreaterThanOrEqual(size)
  }, 60_000)
})

test(`${proves('C1')} a signed head is written outside the database each minute that brought something`, async () => {
  const clock = manualClock()
  const file = place.at('outside', 'heads')
  const settings = loadConfig({ SALLYPORT_CHECKPOINTS: file }, { dataDir: place.at('checkpoints'), port: 0 })
  plane = await start(settings, { memory: true, log: silentLog, clock })
  const kept = () => (existsSync(file) ? splitNotes(readFileSync(file, 'utf8')) : [])
  const minute = (heads: number) =>
    until(`${heads} heads are kept`, () => {
      clock.advance(5000)
      return kept().length === heads
    })
  await minute(1)
  await submit(3)
  await minute(2)
  for (let n = 0; n < 60; n++) clock.advance(5000)
  await until('a round passed', () => clock.advance(60_000) === undefined)
  expect(kept()).toHaveLength(2)
  const { public_key } = await client('admin').audit.head()
  const open = checkpointOpener(originOf('default'), [parsePublicKey(public_key)])
  const sizes = kept().map((note) => open(note).size)
  expect(sizes[1]).toBeGreaterThan(sizes[0] as number)
}, 60_000)
