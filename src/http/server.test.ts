import { once } from 'node:events'
import { type ClientRequest, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import Type from 'typebox'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { openPlane, type TestPlane, turns } from '../../test/plane.js'
import { createKey } from '../journey/keys.js'
import { silentLog } from '../platform/log.js'
import { Authenticator } from './auth.js'
import { BODY_LIMIT } from './body-budget.js'
import { OpenCalls } from './open-calls.js'
import type { Route } from './route.js'
import { createServer } from './server.js'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

/** What the handlers of the waiting routes are held by. */
let held: (() => void)[] = []
let app: ReturnType<typeof createServer>
let url: string
let key: string
beforeEach(async () => {
  const t = await plane.tenant('version: v1\nrules: []\n')
  key = (await createKey(plane.world, t.tenant, 'person:root', { role: 'worker' }))?.key as string
  const answer = async () => ({ body: {} })
  const wait = async () => {
    await new Promise<void>((go) => held.push(go))
    return answer()
  }
  const open = new OpenCalls(plane.clock)
  const routes = [
    route('POST', '/now', answer),
    route('POST', '/later', wait),
    { ...route('GET', '/later', wait), body: undefined } as Route,
  ]
  app = createServer(routes, new Authenticator(plane.world), open, silentLog, () => 'req_1')
  await app.listen({ port: 0, host: '127.0.0.1' })
  url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}/api/v1`
})
afterEach(async () => {
  plane.db.tap = null
  for (const go of held) go()
  held = []
  app.server.closeAllConnections()
  await app.close()
})

const route = (method: Route['method'], path: string, handler: Route['handler']): Route => ({
  method,
  path,
  permission: ['work:claim'],
  tag: 'test',
  summary: 'test',
  body: Type.Object({}),
  success: { status: 200, description: 'done' },
  errors: [],
  handler,
})

function send(method: string, path: string, size: Record<string, string | number>): ClientRequest {
  const headers = { 'x-api-key': key, 'content-type': 'application/json', ...size }
  const sending = request(url + path, { method, headers, agent: false }).on('error', () => {})
  sending.flushHeaders()
  return sending
}
/** Eight of these would be all that one key may send at once. */
const eight = (one: () => ClientRequest) => Array.from({ length: 8 }, one)

async function small(): Promise<number | undefined> {
  const sending = send('POST', '/now', { 'content-length': 2 })
  sending.end('{}')
  const [answer] = await once(sending, 'response')
  answer.resume()
  return answer.statusCode
}

test('room for bodies whose senders hang up while their key is looked up is given back', async () => {
  let [reads, gone] = [0, 0]
  let look = () => {}
  plane.db.tap = async (sql, through) => {
    if (sql.includes('WHERE k.key_id = $1')) {
      reads++
      await new Promise<void>((go) => {
        look = go
      })
    }
    return through()
  }
  let begun = 0
  app.server.on('request', ({ socket }) => {
    begun++
    socket.once('close', () => gone++)
  })
  const sending = eight(() => send('POST', '/now', { 'content-length': BODY_LIMIT }))
  await turns(() => begun === 8 && reads === 1)
  for (const each of sending) each.destroy()
  await turns(() => gone === 8)
  plane.db.tap = null
  look()
  expect(await small()).toBe(200)
})

test('a body in chunks that has been read takes the room of its length, however long its answer takes', async () => {
  for (const each of eight(() => send('POST', '/later', { 'transfer-encoding': 'chunked' }))) each.end('{}')
  await turns(() => held.length === 8)
  expect(await small()).toBe(200)
})

test('what nobody reads takes no room', async () => {
  eight(() => send('GET', '/later', { 'transfer-encoding': 'chunked' }))
  await turns(() => held.length === 8)
  expect(await small()).toBe(200)
})
