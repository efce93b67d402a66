import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config.js'
import { proves } from '../requirements.js'
import { endAll, type Server, scratch, spawnUp, startServer, until } from '../support/server.js'

/** The policy on disk changes under a running server. */

const place = scratch('policy')
const rule = (id: string, more = '') =>
  `version: v1\nrules:\n  - { id: ${id}, match: { topic: job.p.${id} }, decision: ALLOW }\n${more}`
const BROKEN = 'version: v1\nrules:\n  - { id: a, match: { topc: job.x }, decision: ALOW }\n'
/** "Within a second" on an idle machine; here others are at work. */
const SOON_MS = 5000

let server: Server
const file = place.at('policies', 'policy.yaml')
const start = (policy = file) => startServer({ dataDir: place.at('data'), policy })

beforeAll(async () => {
  mkdirSync(place.at('policies'))
  writeFileSync(file, rule('first'))
  server = await start()
}, 60_000)
afterAll(async () => {
  await endAll()
  place.gone()
})

const snapshot = async () => (await server.client('admin').policy.get()).policy_snapshot
const activations = async () => {
  const items = []
  for (let cursor: string | undefined; ; ) {
    const page = await server
      .client('admin')
      .audit.list({ kind: 'policy.activated', limit: 100, ...(cursor ? { cursor } : {}) })
    items.push(...page.items)
    if (page.next_cursor === null) return items
    cursor = page.next_cursor
  }
}
const allows = async (id: string) => {
  const { decision } = await server
    .client('admin')
    .policy.evaluate({ job: { topic: `job.p.${id}`, agent: 'agent:first' } })
  return decision === 'ALLOW'
}
const becomes = (id: string) => until(`rule ${id} is active`, () => allows(id), SOON_MS)

describe(`${proves('D5')} a change on disk`, () => {
  test('is active within a moment, and audited with what it replaced', async () => {
    const before = await snapshot()
    writeFileSync(file, rule('second'))
    await becomes('second')
    expect(await allows('first')).toBe(false)
    const audited = await activations()
    expect(audited).toHaveLength(2)
    expect(audited[1]).toMatchObject({ actor: 'system:file', facts: { source: 'file' } })
    const replaced = String(audited[1]?.facts.before)
    expect(before).toBe(`v1:${replaced.slice(0, before.length - 3)}`) // the short form of it
  })

  test('is seen when an editor renames a new file over it, again and again', async () => {
    for (const id of ['third', 'fourth', 'fifth']) {
      writeFileSync(`${file}.new`, rule(id))
      renameSync(`${file}.new`, file)
      await becomes(id)
    }
  })

  test('is seen although something is always written beside it', async () => {
    const noise = setInterval(() => writeFileSync(place.at('policies', 'noise'), String(Math.random())), 20)
    try {
      writeFileSync(file, rule('sixth'))
      await becomes('sixth')
    } finally {
      clearInterval(noise)
    }
  })

  test('that is broken changes nothing and is logged with its faults; mended it is active', async () => {
    const before = await snapshot()
    const activated = (await activations()).length
    for (const text of [BROKEN, '', 'version: v1\nrules: [', '\u0000']) {
      const logged = server.log().length
      writeFileSync(file, text)
      const line = await until(
        'the log says so',
        () =>
          server
            .log()
            .slice(logged)
            .find(({ level }) => level === 50),
        SOON_MS,
      )
      expect(line).toMatchObject({ msg: 'the policy on disk is broken; the active one stays', file })
      expect((line.faults as unknown[]).length).toBeGreaterThan(0)
      expect(await snapshot()).toBe(before)
      expect((await fetch(`${server.url}/readyz`)).status).toBe(200)
    }
    rmSync(file)
    writeFileSync(file, rule('seventh'))
    await becomes('seventh')
    expect(await activations()).toHaveLength(activated + 1)
  })

  test('is read at SIGHUP, where the change itself could not be seen', async () => {
    // A link to a folder that nobody watches, as another file system would be.
    mkdirSync(place.at('elsewhere'))
    writeFileSync(place.at('elsewhere', 'policy.yaml'), rule('linked'))
    rmSync(file)
    symlinkSync(place.at('elsewhere', 'policy.yaml'), file)
    await becomes('linked')
    const logged = server.log().length
    writeFileSync(file, BROKEN)
    server.child.kill('SIGHUP')
    await until(
      'the log says so',
      () =>
        server
          .log()
          .slice(logged)
          .some(({ level }) => level === 50),
      SOON_MS,
    )
    expect(await allows('linked')).toBe(true)
    writeFileSync(file, rule('hung-up'))
    server.child.kill('SIGHUP')
    await becomes('hung-up')
  })
})

describe(`${proves('D5')} what was activated through the API`, () => {
  test('stays active over a restart with the same file, and gives way to a changed one', async () => {
    const { policy_snapshot } = await server
      .client('admin')
      .policy.create({ files: [{ path: 'api.yaml', text: rule('api') }], activate: true })
    expect(await allows('api')).toBe(true)
    await server.end('SIGKILL')
    server = await start()
    expect(await snapshot()).toBe(policy_snapshot)
    expect(await allows('api')).toBe(true)
    writeFileSync(file, rule('changed'))
    await becomes('changed')
  }, 60_000)

  test('stays active when the file was broken meanwhile', async () => {
    const before = await snapshot()
    await server.end('SIGTERM')
    writeFileSync(file, BROKEN)
    server = await start()
    expect(await snapshot()).toBe(before)
    expect(server.log().some(({ level, faults }) => level === 50 && Array.isArray(faults))).toBe(true)
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200)
  }, 60_000)
})

test(`${proves('D5')} a folder is one policy; files and folders that come later belong to it`, async () => {
  await server.end('SIGTERM')
  rmSync(file)
  writeFileSync(place.at('policies', 'a.yaml'), rule('in-a'))
  writeFileSync(place.at('policies', 'b.yml'), rule('in-b'))
  server = await start(place.at('policies'))
  expect(await allows('in-a')).toBe(true)
  expect(await allows('in-b')).toBe(true)
  mkdirSync(place.at('policies', 'team'))
  writeFileSync(place.at('policies', 'team', 'c.yaml'), rule('in-c'))
  await becomes('in-c')
  writeFileSync(place.at('policies', 'team', 'c.yaml'), rule('in-c-again'))
  await becomes('in-c-again')
  writeFileSync(place.at('policies', 'twice.yaml'), rule('in-a'))
  await until('the same id in two files is refused', () => server.log().some(({ level }) => level === 50), SOON_MS)
  expect(await allows('in-c-again')).toBe(true)
}, 60_000)

describe('a first start', () => {
  test(`${proves('D5', 'D10')} under a broken policy says every fault and leaves nothing behind`, async () => {
    writeFileSync(place.at('broken.yaml'), BROKEN)
    const { ended, out } = spawnUp({ dataDir: place.at('never'), policy: place.at('broken.yaml') })
    expect((await ended).code).toBe(1)
    const { error } = JSON.parse(out())
    expect(error).toMatchObject({ code: 'cannot_start' })
    const places = error.faults.map(({ path }: { path: string }) => path)
    expect(places.filter((path: string) => path.startsWith('broken.yaml:3:')).length).toBeGreaterThanOrEqual(2)
    expect(existsSync(place.at('never'))).toBe(false)
  })

  test('on a data directory that cannot be one says so', async () => {
    writeFileSync(place.at('a-file'), '')
    const { ended, out } = spawnUp({ dataDir: place.at('a-file') })
    expect((await ended).code).toBe(1)
    expect(JSON.parse(out()).error.message).toMatch(/^SALLYPORT_DATA_DIR names .*a-file.*Example: SALLYPORT_DATA_DIR=/)
  })

  test.each([
    ['SALLYPORT_PORT', '80x80', '8080'],
    ['SALLYPORT_PORT', '65536', '8080'],
    ['SALLYPORT_LOG_LEVEL', 'loud', 'info'],
    ['SALLYPORT_ADMIN_KEY', 'secret', 'sp_'],
    ['SALLYPORT_POLICY', '/no/such/file', './policy.yaml'],
    ['SALLYPORT_DATABASE_URL', 'postgres://db', 'postgresql://sallyport@'],
    ['SALLYPORT_NATS_URL', 'http://bus', 'nats://'],
  ])('with %s=%s names it, its fault and an example', (name, value, example) => {
    const fault = expect.stringMatching(new RegExp(`^${name} .+\\. Example: ${name}=`))
    expect(() => loadConfig({ [name]: value })).toThrow(expect.objectContaining({ message: fault }))
    expect(() => loadConfig({ [name]: value })).toThrow(example)
    if (name === 'SALLYPORT_ADMIN_KEY') expect(() => loadConfig({ [name]: value })).not.toThrow(value)
  })
})
