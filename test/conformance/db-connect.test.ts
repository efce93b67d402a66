import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, chownSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { freePort, type PostgresInstance, startPostgres } from '../../scripts/engines.mjs'
import { DbError } from '../../src/errors.js'
import { DatabaseUrlFault, openPostgres, type PostgresOptions } from '../../src/platform/db/pg.js'
import { postgresAccess } from '../../src/platform/db/pg-url.js'
import { sqlOn } from '../support/engines.js'
import { scratch, until } from '../support/server.js'

/** How a connection comes about, or what is said when it does not: always what to mend, never the URL or the password. */

const PASSWORD = 'p@ss/w:rd?#%25 \'"\\ü&='
const place = scratch('connect')
let postgres: PostgresInstance
const ending: (() => unknown)[] = []

beforeAll(async () => {
  certificates()
  postgres = await startPostgres()
  const data = join(postgres.home, 'data')
  const { uid, gid } = statSync(data)
  for (const name of ['server.crt', 'server.key']) {
    writeFileSync(join(data, name), readFileSync(place.at(name)), { mode: 0o600 })
    chownSync(join(data, name), uid, gid)
  }
  await sqlOn(postgres.url(), `CREATE ROLE "o'dd @user/?" LOGIN PASSWORD '${PASSWORD.replaceAll("'", "''")}'`)
  await sqlOn(postgres.url(), "CREATE ROLE few LOGIN CONNECTION LIMIT 2; CREATE ROLE stranger LOGIN PASSWORD 'x'")
  await sqlOn(postgres.url(), 'CREATE DATABASE "o\'dd name?"')
  await sqlOn(postgres.url(), "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
  await sqlOn(postgres.url(), 'CREATE DATABASE read_only')
  await sqlOn(postgres.url(), 'ALTER DATABASE read_only SET default_transaction_read_only = on')
  await sqlOn(postgres.url(), "ALTER SYSTEM SET ssl = 'on'")
  const hba = [
    'hostssl tls_only all 127.0.0.1/32 trust',
    'host tls_only all 127.0.0.1/32 reject',
    'host all sallyport,few 127.0.0.1/32 trust',
    'host all all 127.0.0.1/32 scram-sha-256',
  ]
  writeFileSync(join(data, 'pg_hba.conf'), `${hba.join('\n')}\n`)
  await postgres.stop()
  await postgres.start()
})
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end()
})
afterAll(() => {
  postgres?.discard()
  place.gone()
})

/** A CA and a certificate for `localhost`, another CA that vouched for nothing here. */
function certificates(): void {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: place.dir, stdio: 'pipe' })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  for (const name of ['ca', 'other'])
    openssl('req', '-x509', ...key, '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.crt`)
  openssl('req', ...key.slice(0, -2), '-subj', '/CN=localhost', '-keyout', 'server.key', '-out', 'server.csr')
  writeFileSync(place.at('names'), 'subjectAltName=DNS:localhost')
  openssl(
    'x509',
    '-req',
    '-in',
    'server.csr',
    '-CA',
    'ca.crt',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    'names',
    '-out',
    'server.crt',
  )
}

async function open(url: string, more: Partial<PostgresOptions> = {}) {
  const db = await openPostgres({ url, pool: 3, ...more })
  ending.push(() => db.close())
  return db
}

/** What opening says; checked for secrets on the way. */
async function fault(url: string, more: Partial<PostgresOptions> = {}): Promise<string> {
  const error = await open(url, more).then(
    () => null,
    (error: Error) => error,
  )
  if (error === null) return 'opened'
  const said = [error.message, error.stack, JSON.stringify(error), String((error as DbError).cause)].join('\n')
  for (const secret of [PASSWORD, encodeURIComponent(PASSWORD), 'wr0ng-passw0rd', url])
    expect(said).not.toContain(secret)
  if (error instanceof DatabaseUrlFault) return error.message
  expect(error).toBeInstanceOf(DbError)
  expect((error as DbError).state).toBe('08001')
  return error.message
}

const at = (user: string, database = 'postgres', query = '', host = '127.0.0.1') =>
  `postgresql://${user}@${host}:${postgres.port}/${database}${query}`
const odd = (password = PASSWORD, ...rest: string[]) =>
  at(`${encodeURIComponent("o'dd @user/?")}:${encodeURIComponent(password)}`, ...rest)

describe('a URL', () => {
  test('may hold any character in user, password and database', async () => {
    const db = await open(odd(PASSWORD, encodeURIComponent("o'dd name?")))
    expect(await db.query('SELECT current_user::text AS who, current_database()::text AS database')).toEqual([
      { who: "o'dd @user/?", database: "o'dd name?" },
    ])
  })

  test.each([
    ['postgresql://u:hunter2@db/x', /sslmode=verify-full.*sslmode=disable/],
    [
      'postgresql://u:hunter2@db/x?sslmode=prefer',
      /an sslmode that is not one of disable, require, verify-ca, verify-full/,
    ],
    ['postgresql://u:hunter2@db/x?sslmode=verify-ca', /without sslrootcert/],
    ['postgresql://u:hunter2@db/x?sslmode=verify-full&sslrootcert=/no/such.pem', /\/no\/such\.pem.*ENOENT/],
    ['postgresql://u:hunter2@127.0.0.1/x?sslrootcert=/etc/hostname', /TLS files without/],
    ['postgresql://u:hunter2@127.0.0.1/x?options=-c%20a=b', /a parameter that is not one of/],
    ['postgresql://u:hunter2@127.0.0.1', /host and a database/],
    ['postgresql://u:hunter2@127.0.0.1/', /host and a database/],
    ['mysql://u:hunter2@127.0.0.1/x', /not a Postgres URL/],
    ['postgresql://u:hunt#er2@127.0.0.1/x', /%23/],
    ['postgresql://u:hunt%er2@127.0.0.1/x', /%25/],
    ['postgresql://u:hunter2@a:1,b:2/x', /not a Postgres URL/],
    ['hunter2', /not a Postgres URL/],
  ])('%s is refused with what to mend', (url, why) => {
    expect(() => postgresAccess(url)).toThrow(DatabaseUrlFault)
    expect(() => postgresAccess(url)).toThrow(why)
    expect(() => postgresAccess(url)).not.toThrow(/hunt/)
  })

  test.each([
    ['postgres://u@localhost/x', { host: 'localhost', port: 5432, database: 'x', user: 'u', password: '', ssl: false }],
    ['postgres://[::1]:6000/x', { host: '::1', port: 6000, user: undefined, ssl: false }],
    ['postgres://u@h/x?host=/run/postgresql', { host: '/run/postgresql', ssl: false }],
    ['postgres://u@db/x?sslmode=disable', { host: 'db', ssl: false }],
    ['postgres://u@db/x?sslmode=verify-full', { ssl: {} }],
    ['postgres://u@db/x?sslmode=require', { ssl: { rejectUnauthorized: false } }],
  ])('%s is read', (url, expected) => {
    expect(postgresAccess(url)).toMatchObject(expected)
  })

  test('may name a Unix socket', async () => {
    appendFileSync(join(postgres.home, 'data', 'pg_hba.conf'), 'local all sallyport trust\n')
    await sqlOn(postgres.url(), 'SELECT pg_reload_conf()')
    const db = await open(at('sallyport', 'postgres', `?host=${postgres.home}`))
    expect(await db.query('SELECT inet_client_addr() AS v')).toEqual([{ v: null }])
  })
})

describe('what is wrong is told', () => {
  test.each<[string, () => string, RegExp]>([
    ['a wrong password', () => odd('wr0ng-passw0rd'), /refused the user or password \(28P01\)/],
    ['no password', () => at('stranger'), /asks for a password and the URL has none/],
    ['an unknown user', () => at('nobody:wr0ng-passw0rd'), /refused the user or password/],
    ['a missing database', () => at('sallyport', 'missing'), /no database of this name \(3D000\)/],
    ['a database that only TLS may enter', () => at('sallyport', 'tls_only'), /pg_hba\.conf, which may ask for TLS/],
    ['a database in another encoding', () => at('sallyport', 'latin'), /not encoded in UTF8/],
    ['a database that takes no writes', () => at('sallyport', 'read_only'), /replica, or read only/],
    ['a user with fewer connections than the pool', () => at('few'), /no connection left for us.*53300/],
    [
      'a host that does not exist',
      () => at('u', 'x', '?sslmode=disable', 'no-such-host.invalid'),
      /(not known|could not be looked up)/,
    ],
  ])('%s', async (_, url, why) => {
    expect(await fault(url())).toMatch(why)
  })

  test('a port where nothing listens', async () => {
    expect(await fault(`postgresql://u:wr0ng-passw0rd@127.0.0.1:${await freePort()}/x`)).toMatch(
      /nothing listens there/,
    )
  })

  test.each<[string, (socket: Socket) => void, RegExp]>([
    [
      'is starting up',
      (socket) => void socket.write(fatal('57P03', 'the database system is starting up')),
      /starting up.*57P03/,
    ],
    ['is full', (socket) => void socket.write(fatal('53300', 'sorry, too many clients already')), /no connection left/],
    ['hangs up', (socket) => void socket.end(), /cut the connection/],
    ['is no Postgres', (socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'), /cannot be used/],
    ['says nothing', () => {}, /did not answer in time/],
    [
      'refuses and quotes what it was told',
      (socket) => void socket.write(fatal('XX000', 'wr0ng-passw0rd')),
      /could not be spoken with \(XX000\)/,
    ],
  ])('a server that %s', async (_, speak, why) => {
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => speak(socket))
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    ending.push(() => server.close())
    const { port } = server.address() as AddressInfo
    const url = `postgresql://u:wr0ng-passw0rd@127.0.0.1:${port}/x`
    expect(await fault(url, { limits: { connect: 300 } })).toMatch(why)
  })

  function fatal(code: string, message: string): Buffer {
    const body = Buffer.from(`SFATAL\0C${code}\0M${message}\0\0`)
    const head = Buffer.from('E\0\0\0\0')
    head.writeInt32BE(body.length + 4, 1)
    return Buffer.concat([head, body])
  }
})

describe('a start before its database', () => {
  test('waits, says once why, and goes on when it is there', async () => {
    await postgres.stop()
    const said: string[] = []
    const opening = open(at('sallyport'), {
      patienceMs: 60_000,
      waiting: (why) => {
        said.push(why)
        if (said.length === 1) void postgres.start()
      },
    })
    expect(await (await opening).query('SELECT 1 AS v')).toEqual([{ v: 1 }])
    expect(said[0]).toMatch(/nothing listens there/)
    expect(new Set(said).size).toBe(said.length)
  })

  test('does not wait for what only a person can mend', async () => {
    const said: string[] = []
    const waiting = (why: string) => void said.push(why)
    for (const url of [odd('wr0ng-passw0rd'), at('sallyport', 'missing'), at('sallyport', 'latin')])
      await fault(url, { patienceMs: 3_600_000, waiting })
    expect(said).toEqual([])
  })

  test('waits no longer than it was told', async () => {
    const url = `postgresql://u@127.0.0.1:${await freePort()}/x`
    expect(await fault(url, { patienceMs: 700 })).toMatch(/nothing listens there/)
  })
})

describe('what was acknowledged is on disk', () => {
  test('also where server, database or user would not wait for that', async () => {
    await sqlOn(postgres.url(), "CREATE ROLE hasty LOGIN PASSWORD 'x'; ALTER ROLE hasty SET synchronous_commit = 'off'")
    await sqlOn(postgres.url(), 'CREATE DATABASE hasty')
    await sqlOn(postgres.url(), "ALTER DATABASE hasty SET synchronous_commit = 'local'")
    for (const url of [at('hasty:x', 'postgres'), at('sallyport', 'hasty')]) {
      const db = await open(url)
      for (const on of ['ledger', 'reads', 'fresh'] as const)
        expect(await db.query("SELECT current_setting('synchronous_commit') AS said", [], on)).toEqual([{ said: 'on' }])
    }
  })

  test('or a start says which setting of the server is against it', async () => {
    const heard = async (url: string) => {
      const said: string[] = []
      await open(url, { warn: (what) => void said.push(what) })
      return said
    }
    expect(await heard(at('sallyport'))).toEqual([expect.stringMatching(/fsync = off/)])
    const torn = await startPostgres({ durable: true, settings: { full_page_writes: 'off' } })
    ending.push(() => torn.discard())
    expect(await heard(torn.url())).toEqual([expect.stringMatching(/full_page_writes = off/)])
  })
})

describe('TLS', () => {
  const encrypted = async (query: string, host = 'localhost') => {
    const db = await open(at('sallyport', 'postgres', query, host))
    const rows = await db.query<{ ssl: boolean }>('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')
    return rows[0]?.ssl
  }

  test('verify-full takes the server whose certificate the CA signed for this name', async () => {
    expect(await encrypted(`?sslmode=verify-full&sslrootcert=${place.at('ca.crt')}`)).toBe(true)
  })

  test.each([
    [
      'another CA',
      () => `?sslmode=verify-full&sslrootcert=${place.at('other.crt')}`,
      'localhost',
      /not from a known CA/,
    ],
    ['no CA of ours', () => '?sslmode=verify-full', 'localhost', /not from a known CA/],
    [
      'another CA, also where the name does not matter',
      () => `?sslmode=require&sslrootcert=${place.at('other.crt')}`,
      'localhost',
      /not from a known CA/,
    ],
    ['another name', () => `?sslmode=verify-full&sslrootcert=${place.at('ca.crt')}`, '127.0.0.1', /another host name/],
  ])('a certificate for or from %s is refused', async (_, query, host, why) => {
    expect(await fault(at('sallyport:wr0ng-passw0rd', 'postgres', query(), host))).toMatch(why)
  })

  test('the other modes are what they are in libpq', async () => {
    expect(await encrypted(`?sslmode=verify-ca&sslrootcert=${place.at('ca.crt')}`, '127.0.0.1')).toBe(true)
    expect(await encrypted('?sslmode=require', '127.0.0.1')).toBe(true)
    expect(await encrypted('?sslmode=disable', '127.0.0.1')).toBe(false)
  })

  test('that the server does not speak is refused, not given up', async () => {
    const plain = await startPostgres()
    ending.push(() => plain.discard())
    expect(await fault(`${plain.url()}?sslmode=require`)).toMatch(/does not speak TLS/)
  })

  test('lines that are cut come back encrypted', async () => {
    const db = await open(
      at('sallyport', 'postgres', `?sslmode=verify-full&sslrootcert=${place.at('ca.crt')}`, 'localhost'),
    )
    await new Promise((later) => setTimeout(later, 1_100)) // not a wait: connections as old as in life
    await sqlOn(
      postgres.url(),
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sallyport'",
    )
    const answer = await until('it answers again', () =>
      db.query<{ ssl: boolean }>('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()').catch(() => null),
    )
    expect(answer).toEqual([{ ssl: true }])
  })
})
