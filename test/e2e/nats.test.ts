import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest'
import { freePort, startNats } from '../../scripts/engines.mjs'
import { proves } from '../requirements.js'
import { endAll, preparedDataDir, scratch, spawnUp, startServer, until } from '../support/server.js'
import { testCertificate } from '../worker/certificate.js'

const ending: (() => unknown)[] = []
let place: ReturnType<typeof scratch>
beforeEach(() => {
  place = scratch('nats')
})
afterEach(async () => {
  for (const end of ending.splice(0)) await end()
  place.gone()
})
afterAll(endAll)

const up = async (url: string, env: Record<string, string> = {}) =>
  startServer({ dataDir: await preparedDataDir(place.at('data')), env: { SALLYPORT_NATS_URL: url, ...env } })

test(`${proves('R8')} a node starts without its NATS server, says so, and is ready`, async () => {
  const server = await up(`nats://sallyport:hunter2@127.0.0.1:${await freePort()}`)
  const line = await until('it says so', () => server.log().find(({ reason }) => reason === 'ECONNREFUSED'))
  expect(line.msg).toMatch(/no connection to NATS; this node works without, and keeps trying/)
  expect((await fetch(`${server.url}/readyz`)).status).toBe(200)
  const agent = server.client('agent')
  await expect(agent.jobs.submit({ topic: 'job.repo.read', input: { op: 'log' } })).resolves.toMatchObject({
    status: 'queued',
  })
  expect(server.stderr()).not.toContain('hunter2')
  expect((await server.end('SIGTERM')).code).toBe(0)
})

test('a server that is too old stops the start and names the setting', async () => {
  const old = createServer((socket) => {
    socket.on('error', () => {})
    socket.write('INFO {"server_id":"x","version":"2.8.4","proto":1,"max_payload":1048576}\r\n')
  })
  await once(old.listen(0, '127.0.0.1'), 'listening')
  ending.push(() => old.close())
  const url = `nats://sallyport:hunter2@127.0.0.1:${(old.address() as AddressInfo).port}`
  const { ended, out, err } = spawnUp({ dataDir: place.at('data'), env: { SALLYPORT_NATS_URL: url } })
  expect((await ended).code).toBe(1)
  expect(JSON.parse(out()).error.message).toMatch(
    /^SALLYPORT_NATS_URL names .*2\.8\.4; it needs 2\.9 or newer. Example: /,
  )
  expect(out() + err()).not.toContain('hunter2')
})

test('tls:// takes a server whose certificate is trusted and names it, by that name only', async () => {
  const { cert, key } = testCertificate('localhost')
  writeFileSync(place.at('cert.pem'), cert)
  writeFileSync(place.at('key.pem'), key)
  const nats = await startNats({ args: ['--tls', '--tlscert', place.at('cert.pem'), '--tlskey', place.at('key.pem')] })
  ending.push(() => nats.discard())
  const trust = { NODE_EXTRA_CA_CERTS: place.at('cert.pem') }
  const named = await up(`tls://localhost:${nats.port}`, trust)
  expect(named.log().map(({ msg }) => msg)).toContain('connected to NATS')
  await named.end('SIGTERM')
  const otherwise = await up(`tls://127.0.0.1:${nats.port}`, trust)
  expect(otherwise.log().map(({ msg }) => msg)).not.toContain('connected to NATS')
  await until('it says why', () => otherwise.log().some(({ reason }) => /certificate/.test(String(reason))))
})
