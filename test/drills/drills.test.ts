import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findProgram } from '../../scripts/engines.mjs'
import { signingKeyPem } from '../../src/core/audit/keys.js'
import type { Client } from '../../src/sdk/client.js'
import { proves } from '../requirements.js'
import { database } from '../support/engines.js'
import { endAll, preparedDataDir, type Ran, type Server, sallyport, scratch, startServer } from '../support/server.js'

/** Drills as an operator runs them, against a server in a process of its own; each also where its control is broken. */

const place = scratch('drills')
let server: Server
let admin: Client

beforeAll(async () => {
  server = await startServer({ dataDir: await preparedDataDir(place.at('data')) })
  admin = server.client('admin')
  for (const name of ['first', 'second']) {
    const { key } = await admin.keys.create({ role: 'operator', principal: `person:${name}` })
    writeFileSync(place.at(`${name}.key`), key)
  }
})
afterAll(async () => {
  await endAll()
  place.gone()
})

const drill = (args: string[], env: Record<string, string> = {}): Promise<Ran> =>
  sallyport(['drill', ...args, '--json'], { SALLYPORT_URL: server.url, SALLYPORT_DATA_DIR: server.dataDir, ...env })
const failing = (ran: Ran): string[] =>
  [...(ran.json?.steps ?? []), ...(ran.json?.recorded?.checks ?? [])].flatMap(({ pass, step, name }) =>
    pass ? [] : [step ?? name],
  )
const two = () => ['--first-key-file', place.at('first.key'), '--second-key-file', place.at('second.key')]
const newest = async (name: string) => (await admin.drills.get(name)).newest

/** Passes, is recorded as passed, and leaves no work behind. */
async function passes(name: string, ...args: string[]): Promise<Ran> {
  const ran = await drill(['run', name, ...args])
  expect(failing(ran), ran.out + ran.err).toEqual([])
  expect(ran).toMatchObject({ exit: 0, json: { drill: name, ok: true, recorded: { outcome: 'passed' } } })
  expect(await newest(name)).toEqual(ran.json.recorded)
  const { items } = await admin.jobs.list({ limit: 500 })
  expect(items.filter(({ finished_at }) => finished_at === null)).toEqual([])
  return ran
}

/** Fails at this step, and is recorded so. */
async function fails(step: string, name: string, ...args: string[]): Promise<Ran> {
  const ran = await drill(['run', name, ...args])
  expect(failing(ran), ran.out + ran.err).toContain(step)
  expect(ran).toMatchObject({ exit: 1, json: { ok: false, recorded: { outcome: 'failed' } } })
  expect((await admin.drills.get(name)).stands).toBe(false)
  return ran
}

describe(`${proves('G6', 'W5')} drills against a server`, () => {
  test('deny', async () => {
    await fails('job.drill.effect is answered 403', 'deny', '--topic', 'job.drill.effect')
    await passes('deny')
  })

  test('approval', async () => {
    await fails('job.drill.effect is taken and waits for a person', 'approval', '--topic', 'job.drill.effect')
    await passes('approval')
  })

  test('worker-crash', async () => {
    // The loss is to be noticed within three missed heartbeats; here nobody looks for so long.
    await fails('the job is parked: nobody knows whether it happened', 'worker-crash', '--within', '500ms')
    const { json } = await passes('worker-crash')
    expect(json.figures).toEqual({ detection_ms: expect.any(Number), recovery_ms: expect.any(Number) })
  })

  test('incident-replay: the newest run of real work, or the one that is named', async () => {
    const { json } = await passes('incident-replay', '--out', place.at('postmortem.md'))
    expect(existsSync(place.at('postmortem.md'))).toBe(true)
    expect(json.recorded.made.run_id).toMatch(/^drill-/)
    const agent = server.client('agent')
    const { job_id } = await agent.jobs.submit({ topic: 'job.repo.read', input: { op: 'log' }, run_id: 'goes-on' })
    await fails('it is over', 'incident-replay', '--run', 'goes-on')
    await admin.jobs.cancel(job_id, 'over')
  })

  test('stop: two people resume it; one alone cannot, and what stands then is said', async () => {
    const { json } = await passes('stop', ...two())
    expect(Object.keys(json.figures).sort()).toEqual(['detection_ms', 'recovery_ms', 'stop_ms'])
    const alone = ['--first-key-file', place.at('first.key'), '--second-key-file', place.at('first.key')]
    const failed = await fails('the server does as asked', 'stop', ...alone)
    const { stop_id } = failed.json.recorded.made
    expect(await admin.stops.get(stop_id)).toMatchObject({ ended_at: null, scope: { topic: 'job.drill.effect' } })
    for (const stage of ['trial', 'full'] as const)
      for (const name of ['first', 'second'])
        await sallyport(
          ['resume', stop_id, '--stage', stage, '--note', 'drill', '--key-file', place.at(`${name}.key`)].concat(
            stage === 'trial' ? ['--for', '0s'] : [],
          ),
          { SALLYPORT_URL: server.url },
        )
    expect((await admin.stops.list({ active: true })).items).toEqual([])
    await passes('stop', ...two())
  })

  test('rollback: the candidate is refused, ended and undone; where policy denies the undoing it fails', async () => {
    const { json } = await passes('rollback')
    expect(Object.keys(json.figures).sort()).toEqual(['compensation_ms', 'detection_ms', 'recovery_ms', 'stop_ms'])
    const { files } = await admin.policy.snapshot((await admin.policy.get()).digest)
    const denies = `version: v1
rules:
  - { id: keep, match: { topic: job.drill.effect }, when: has(input.part) && input.part == 'undo', decision: DENY }
`
    const all = [...(files ?? []), { path: 'keep.yaml', text: denies }]
    expect(await admin.policy.create({ files: all, activate: true })).toMatchObject({ active: true })
    await fails('what it did is undone, once', 'rollback', '--within', '3s')
    await admin.policy.rollBack()
  }, 60_000)

  test('--no-record tells the server nothing', async () => {
    const before = await newest('deny')
    const ran = await drill(['run', 'deny', '--no-record'])
    expect(ran).toMatchObject({ exit: 0, json: { ok: true, recorded: null } })
    expect(await newest('deny')).toEqual(before)
  })

  test('due plays what somebody owns, and nothing twice', async () => {
    expect((await drill(['due'])).json).toEqual({ ok: true, drills: [] })
    expect((await drill(['schedule', 'approval', '--owner', 'team:sre', '--every', '1h'])).exit).toBe(0)
    await drill(['run', 'approval', '--topic', 'job.drill.effect'])
    const ran = await drill(['due'])
    expect(ran.json.drills.map((each: { drill: string }) => each.drill)).toEqual(['approval'])
    expect(ran.exit).toBe(0)
    expect((await drill(['due'])).json.drills).toEqual([])
    expect((await drill(['schedule', 'deny', '--owner', 'x', '--every', '30d'])).exit).toBe(2)
  })
})

describe(`${proves('R9')} restore`, () => {
  const left = () => readdirSync(tmpdir()).filter((name) => name.startsWith('sallyport-restore-'))

  test('embedded: a copy of a store at work comes up elsewhere with its whole log', async () => {
    const before = left()
    const agent = server.client('agent')
    const load = (async () => {
      for (let n = 0; n < 300; n++)
        await agent.jobs.submit({ topic: 'job.repo.read', input: { op: 'log' }, run_id: `load-${n}` }).catch(() => {})
    })()
    const ran = await drill(['run', 'restore'])
    await load
    expect(failing(ran), ran.out + ran.err).toEqual([])
    expect(ran.json.figures).toEqual({ rto_ms: expect.any(Number), rpo_ms: expect.any(Number) })
    expect(ran.exit).toBe(0)
    expect(left()).toEqual(before)
  }, 90_000)

  test('Postgres: dumped, restored into a database that is made for it and dropped', async () => {
    const env = {
      PATH: [process.env.PATH, findProgram('pg_dump')?.replace(/\/pg_dump$/, '')].join(':'),
      SALLYPORT_DATABASE_URL: await database(),
      SALLYPORT_SIGNING_KEY: place.at('signing.key'),
    }
    writeFileSync(place.at('signing.key'), signingKeyPem(Buffer.alloc(32, 3)), { mode: 0o600 })
    const shared = await startServer({ dataDir: place.at('shared'), env })
    const own = { ...env, SALLYPORT_URL: shared.url, SALLYPORT_DATA_DIR: shared.dataDir }
    const ran = await drill(['run', 'restore'], own)
    expect(failing(ran), ran.out + ran.err).toEqual([])
    expect(ran.json.recorded).toMatchObject({ outcome: 'passed', figures: { rto_ms: expect.any(Number) } })
    const into = ['run', 'restore', '--scratch', await database()]
    expect(await drill(into, own)).toMatchObject({ exit: 0, json: { ok: true } })
    // Now it holds something; and the store that runs is none to restore into.
    expect(await drill(into, own)).toMatchObject({ exit: 2, json: { error: { code: 'usage' } } })
    expect((await drill(['run', 'restore', '--scratch', env.SALLYPORT_DATABASE_URL], own)).exit).toBe(2)
    await shared.end('SIGTERM')
  }, 120_000)
})
