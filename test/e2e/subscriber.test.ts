import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type NatsInstance, startNats } from '../../scripts/engines.mjs'
import { loadConfig } from '../../src/config.js'
import { type Plane, start } from '../../src/main.js'
import { type Client, createClient } from '../../src/sdk/client.js'
import { proves } from '../requirements.js'
import { scratch, until } from '../support/server.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const STREAM = 'SALLYPORT_EVENTS'
const place = scratch('subscriber')

let nats: NatsInstance
let plane: Plane
let admin: Client
let key: string
const running: ChildProcess[] = []

beforeAll(async () => {
  // The example imports the package by its name, so it runs what was built.
  expect(existsSync(`${ROOT}/dist/sdk.js`), 'dist/sdk.js is missing: npm run build').toBe(true)
  nats = await startNats()
  const config = loadConfig(
    { SALLYPORT_NATS_URL: nats.url },
    { dataDir: place.at('data'), port: 0, logLevel: 'silent' },
  )
  plane = await start(config, { memory: true })
  key = readFileSync(plane.keyFiles.admin as string, 'utf8').trim()
  admin = createClient({ url: plane.url, apiKey: key })
})
afterEach(async () => {
  await Promise.all(running.splice(0).map((child) => ended(child, 'SIGKILL')))
})
afterAll(async () => {
  nats?.discard() // first: a start that failed leaves no plane to stop
  await plane?.stop()
  place.gone()
})

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
  child.kill(signal)
  const [code] = await once(child, 'exit')
  return code
}

function follow(file: string, ...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [`${ROOT}/examples/subscriber/follow.mjs`, file, ...args], {
    env: { PATH: process.env.PATH, NATS_URL: nats.url, SALLYPORT_URL: plane.url, SALLYPORT_API_KEY: key },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  running.push(child)
  return child
}

/** Something that leaves a few entries; resolves when the whole log is signed, with its size. */
async function act(times: number): Promise<number> {
  for (let i = 0; i < times; i++) await admin.jobs.submit({ topic: 'job.nobody.allows' }).catch(() => {})
  return until('all entries are in the tree', async () => {
    const { items } = await admin.audit.list({ limit: 500 })
    return items.length > 0 && items.every((entry) => entry.index !== null) && items.length
  })
}
const published = (size: number) =>
  until('all are published', async () => {
    const [row] = await plane.world.db.query<{ next: number }>('SELECT next FROM published')
    return row?.next === size
  })
const entries = (file: string) =>
  existsSync(file)
    ? readFileSync(file, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Record<string, unknown>)
    : []
/** Until the file ends with the last entry of the log; then it must be the log, entry by entry. */
async function followed(file: string, size: number): Promise<void> {
  await until(`${file} ends with entry ${size - 1}`, () => entries(file).at(-1)?.index === size - 1)
  const { items } = await admin.audit.list({ limit: 500 })
  expect(entries(file).map(({ v: _, tenant: __, ...entry }) => entry)).toEqual(items)
}

test(`${proves('L1')} the example subscriber copies the log, and goes on where it was killed`, async () => {
  const file = place.at('one.jsonl')
  const first = follow(file, '--name', 'one')
  await followed(file, await act(3))
  await ended(first, 'SIGKILL')
  const size = await act(3)
  const second = follow(file, '--name', 'one')
  await followed(file, size)
  expect(await ended(second, 'SIGTERM')).toBe(0)
})

test('it reads what the stream lost from the audit log', async () => {
  const size = await act(5)
  await published(size)
  const connection = await connect({ servers: nats.url })
  const { streams } = await jetstreamManager(connection)
  const { state } = await streams.info(STREAM)
  for (const seq of [1, 2, state.last_seq - 2, state.last_seq - 1]) await streams.deleteMessage(STREAM, seq)
  await connection.close()
  const file = place.at('two.jsonl')
  follow(file, '--name', 'two', '--from', '0')
  await followed(file, size)
})

test('it replays from an index and from a time on', async () => {
  const size = await act(2)
  await published(size)
  const [late, recent] = [place.at('three.jsonl'), place.at('four.jsonl')]
  follow(late, '--name', 'three', '--from', String(size - 3))
  follow(recent, '--name', 'four', '--since', '1')
  for (const file of [late, recent]) await until(file, () => entries(file).at(-1)?.index === size - 1)
  expect(entries(late).map(({ index }) => index)).toEqual([size - 3, size - 2, size - 1])
  expect(entries(recent).length).toBeGreaterThan(3)
})

test(`${proves('R8')} nothing is missing or doubled after NATS lost its whole store`, async () => {
  const file = place.at('five.jsonl')
  follow(file, '--name', 'five', '--from', '0')
  await followed(file, await act(2))
  await nats.kill()
  nats.wipe()
  const denied = admin.jobs.submit({ topic: 'job.nobody.allows' })
  await expect(denied).rejects.toThrow() // by policy, at once: NATS is not in its way
  await nats.start()
  await followed(file, await act(2))
})
