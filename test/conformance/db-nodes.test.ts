import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startPostgres } from '../../scripts/engines.mjs'
import { proves } from '../requirements.js'
import { database, signingKeyFile, sqlOn } from '../support/engines.js'
import { endAll, type Server, scratch, spawnUp, startServer, until } from '../support/server.js'

/** Starts of nodes on Postgres: many at once, before their database, on one that does not fit. */

const place = scratch('nodes')
let signingKey: string
beforeAll(() => {
  signingKey = signingKeyFile(place.at('signing.key'))
})
afterAll(async () => {
  await endAll()
  place.gone()
})

let nodes = 0
const settings = (url: string) => ({
  dataDir: place.at(`node-${++nodes}`),
  env: { SALLYPORT_DATABASE_URL: url, SALLYPORT_SIGNING_KEY: signingKey, SALLYPORT_LOG_LEVEL: 'warn' },
})

describe.each([2, 5])('%i nodes that start at once on an empty database', (count) => {
  test(`${proves('L2')} make one database: each migration once, one policy, one set of keys; and all of them serve`, async () => {
    const url = await database()
    const servers = await Promise.all(Array.from({ length: count }, () => startServer(settings(url))))

    const migrations = await sqlOn(url, 'SELECT version, count(*)::int AS n FROM schema_migrations GROUP BY version')
    expect(migrations.filter(({ n }) => n !== 1)).toEqual([])
    const gates = await sqlOn(url, 'SELECT tenant, epoch::int FROM gates')
    expect(gates).toEqual([{ tenant: 'default', epoch: expect.any(Number) }])
    expect(await sqlOn(url, 'SELECT count(*)::int AS n FROM policy_snapshots')).toEqual([{ n: 1 }])
    const facts = (await sqlOn(url, 'SELECT body FROM audit_tiles')).flatMap(({ body }) => body.trim().split('\n'))
    const kinds = facts.map((line) => JSON.parse(line).kind as string)
    expect(kinds.filter((kind) => kind === 'policy.activated')).toHaveLength(1)
    expect(kinds.filter((kind) => kind === 'key.created')).toHaveLength(4)
    const keys = await sqlOn(url, 'SELECT role FROM keys ORDER BY role')
    expect(keys).toEqual(['admin', 'agent', 'approver', 'worker'].map((role) => ({ role })))

    const made = servers.filter((server) => Object.keys(server.ready.key_files).length > 0)
    expect(made).toHaveLength(1)
    const agent = readFileSync((made[0] as Server).ready.key_files.agent as string, 'utf8').trim()
    const statuses = await Promise.all(
      servers.map(async (server) => {
        const headers = { 'content-type': 'application/json', 'x-api-key': agent }
        const body = JSON.stringify({ topic: 'job.repo.read', input: { op: 'log' } })
        return (await fetch(`${server.url}/api/v1/jobs`, { method: 'POST', headers, body })).status
      }),
    )
    expect(statuses).toEqual(servers.map(() => 202))
    await Promise.all(servers.map((server) => server.end('SIGTERM')))
  })
})

describe('a schema that is not this version’s', () => {
  /** A start that must fail; what it said. */
  const refused = async (url: string) => {
    const { ended, err, out } = spawnUp(settings(url))
    const { code } = await ended
    return { code, said: out() + err() }
  }

  test('newer than the code, or changed after it was applied, stops the start and says so', async () => {
    const url = await database()
    const server = await startServer(settings(url))
    await server.end('SIGTERM')

    await sqlOn(url, "INSERT INTO schema_migrations VALUES (9999, '9999_future.sql', 'x', 0)")
    const newer = await refused(url)
    expect([newer.code, newer.said]).toEqual([1, expect.stringMatching(/9999_future\.sql.*newer than the code/)])

    await sqlOn(url, 'DELETE FROM schema_migrations WHERE version = 9999')
    await sqlOn(url, "UPDATE schema_migrations SET checksum = 'x' WHERE version = 1")
    const changed = await refused(url)
    expect([changed.code, changed.said]).toEqual([1, expect.stringMatching(/0001_spine\.sql.*must not change/)])
  })
})

describe('up, when its database', () => {
  test('is not there yet, says so and waits for it', async () => {
    const postgres = await startPostgres()
    try {
      await postgres.stop()
      const { child, err, out, ended } = spawnUp(settings(postgres.url()))
      await until('it says that it waits', () => err().includes('nothing listens there (ECONNREFUSED); waiting for it'))
      await postgres.start()
      await until('it is ready', () => out().includes('"url"'))
      child.kill('SIGTERM')
      expect((await ended).code).toBe(0)
    } finally {
      postgres.discard()
    }
  })

  test.each<[string, Partial<URL>, RegExp]>([
    ['does not exist', { pathname: '/missing' }, /no database of this name/],
    ['is on another machine and no mode is named', { hostname: 'db.internal' }, /sslmode=verify-full/],
    [
      'is named by a wrong URL',
      { search: '?sslmode=prefer' },
      /SALLYPORT_DATABASE_URL has an sslmode that is not one of/,
    ],
  ])('%s, ends at once with what to mend', async (_, spoiled, why) => {
    const url = Object.assign(new URL(await database()), { password: 'hunter2-4711' }, spoiled)
    const { ended, err, out } = spawnUp(settings(url.href))
    expect((await ended).code).toBe(1)
    expect(out() + err()).toMatch(why)
    expect(out() + err()).not.toMatch(/hunter2|waiting for it/)
  })
})

describe('a node whose database', () => {
  test(`${proves('D10')} is gone refuses everything with 503 and Retry-After, says so at /readyz, stays healthy, and goes on when it is back`, async () => {
    const postgres = await startPostgres()
    try {
      const server = await startServer(settings(postgres.url()))
      const key = server.key('agent')
      const ask = async (path: string, body?: unknown) => {
        const answer = await fetch(`${server.url}${path}`, {
          headers: { 'x-api-key': key, 'content-type': 'application/json' },
          ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
        })
        const text = await answer.text()
        const { code } = text.startsWith('{') ? JSON.parse(text) : { code: undefined }
        return { status: answer.status, code, retryAfter: answer.headers.get('retry-after') }
      }
      const submit = () => ask('/api/v1/jobs', { topic: 'job.repo.read', input: { op: 'log' } })
      expect((await submit()).status).toBe(202)

      await postgres.kill()
      const gone = { status: 503, code: 'store_unavailable', retryAfter: '1' }
      await until('it is noticed', async () => (await submit()).code === 'store_unavailable')
      expect([await submit(), await ask('/api/v1/jobs')]).toEqual([gone, gone])
      expect([(await ask('/readyz')).status, (await ask('/healthz')).status]).toEqual([503, 200])

      await postgres.start()
      await until('it takes submits again', async () => (await submit()).status === 202)
      expect((await ask('/readyz')).status).toBe(200)
      expect(server.stderr()).not.toMatch(/postgresql:/)
      await server.end('SIGTERM')
    } finally {
      postgres.discard()
    }
  })
})
