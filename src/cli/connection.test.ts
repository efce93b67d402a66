import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { SallyportError } from '../sdk/errors.js'
import { connect, findKey, findPartKey, isLoopback, serverUrl } from './connection.js'
import { EXIT, told } from './exit.js'

const LOCAL = 'http://127.0.0.1:8080'
const dir = mkdtempSync(join(tmpdir(), 'sallyport-connection-'))
mkdirSync(join(dir, 'keys'))
for (const role of ['admin', 'agent']) writeFileSync(join(dir, 'keys', `${role}.key`), `sp_${role}\n`)
writeFileSync(join(dir, 'other.key'), 'sp_other\n')
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const env = { SALLYPORT_DATA_DIR: dir }

test('the server is the flag, else the environment, else this machine', () => {
  expect(serverUrl({ url: 'http://a' }, { SALLYPORT_URL: 'http://b' })).toBe('http://a')
  expect(serverUrl({}, { SALLYPORT_URL: 'http://b' })).toBe('http://b')
  expect(serverUrl({}, { SALLYPORT_URL: '' })).toBe(LOCAL)
})

describe('the key', () => {
  test('is the flag, else the environment, else the one of the role in the data directory', async () => {
    const keyFile = join(dir, 'other.key')
    expect(await findKey({ keyFile }, LOCAL, 'admin', { ...env, SALLYPORT_API_KEY: 'sp_env' })).toBe('sp_other')
    expect(await findKey({}, LOCAL, 'admin', { ...env, SALLYPORT_API_KEY: 'sp_env' })).toBe('sp_env')
    expect(await findKey({}, LOCAL, 'agent', env)).toBe('sp_agent')
    expect(await findKey({}, LOCAL, 'approver', env)).toBeNull()
  })

  test.each([
    'http://example.com',
    'https://127.0.0.1.example.com',
    'http://10.0.0.1:8080',
    'http://localhost.example.com',
  ])('of this machine never goes to %s', async (url) => expect(await findKey({}, url, 'admin', env)).toBeNull())

  test('of a part is not the one key in the environment while it has its own', async () => {
    const both = { ...env, SALLYPORT_API_KEY: 'sp_env' }
    expect(await findPartKey({}, LOCAL, 'agent', both)).toBe('sp_agent')
    expect(await findPartKey({ agentKeyFile: join(dir, 'other.key') }, LOCAL, 'agent', both)).toBe('sp_other')
    expect(await findPartKey({}, LOCAL, 'approver', both)).toBe('sp_env')
    await expect(findPartKey({}, LOCAL, 'approver', env)).rejects.toMatchObject({
      code: 'no_key',
      exit: EXIT.forbidden,
    })
  })

  test('that cannot be read is an error that names the file', async () => {
    await expect(findKey({ keyFile: join(dir, 'nosuch') }, LOCAL, 'admin', env)).rejects.toThrow(
      /nosuch cannot be read \(ENOENT\)/,
    )
  })
})

test.each([
  ['http://localhost:1', true],
  ['http://[::1]:1', true],
  ['http://127.8.9.1', true],
  ['http://127.0.0.1.nip.io', false],
  ['nonsense', false],
])('%s is this machine: %s', (url, wanted) => expect(isLoopback(url)).toBe(wanted))

describe('without a key', () => {
  test('a server that is not there is told first', async () => {
    await expect(connect({ url: 'http://127.0.0.1:1', dataDir: join(dir, 'none') }, 'admin', {})).rejects.toMatchObject(
      {
        code: 'no_server',
        exit: EXIT.noServer,
      },
    )
  })

  test('one that is there asks for the key', async () => {
    const server = createServer((_request, answer) => answer.writeHead(404).end()).listen(0, '127.0.0.1')
    await new Promise((listening) => server.once('listening', listening))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    try {
      await expect(connect({ url, dataDir: join(dir, 'none') }, 'admin', {})).rejects.toMatchObject({
        code: 'no_key',
        exit: EXIT.forbidden,
      })
    } finally {
      server.close()
      server.closeAllConnections()
    }
  })
})

test.each([
  ['policy_denied', 403, EXIT.no],
  ['result_quarantined', 403, EXIT.no],
  ['forbidden', 403, EXIT.forbidden],
  ['self_approval', 403, EXIT.forbidden],
  ['unauthenticated', 401, EXIT.forbidden],
  ['not_found', 404, EXIT.notFound],
  ['approval_stale', 409, EXIT.no],
  ['invalid', 422, EXIT.usage],
  ['rate_limited', 429, EXIT.later],
  ['overloaded', 503, EXIT.later],
  ['wait_timeout', 0, EXIT.later],
  ['unreachable', 0, EXIT.noServer],
  ['internal', 500, EXIT.no],
])('%s (%i) ends with %i', (code, status, exit) =>
  expect(told(new SallyportError(code, 'x', { status })).exit).toBe(exit),
)
