import { writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TerminalError } from '../../src/sdk/errors.js'
import { createWorker, type Worker } from '../../src/sdk/worker.js'
import { proves } from '../requirements.js'
import { endAll, type Ran, type Server, sallyport, scratch, startServer, until } from '../support/server.js'

/** The stop button and breakers as an operator meets them: the built command against a server with all its loops. */

const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: all, match: { topic: job.e2e.* }, decision: ALLOW }
`
const place = scratch('stop-cli')
let server: Server
let worker: Worker
beforeAll(async () => {
  writeFileSync(place.at('policy.yaml'), POLICY)
  server = await startServer({ dataDir: place.at('data'), policy: place.at('policy.yaml') })
  worker = createWorker({
    url: server.url,
    apiKey: server.key('worker'),
    waitMs: 2_000,
    log: () => {},
    topics: {
      'job.e2e.fails': async () => {
        throw new TerminalError('impossible', 'it cannot be done')
      },
      'job.e2e.works': async () => ({ fine: true }),
    },
  })
  await worker.start()
})
afterAll(async () => {
  await worker?.stop({ graceMs: 0 })
  await endAll()
  place.gone()
})

const run = (args: string[], key = server.key('admin')): Promise<Ran> =>
  sallyport(args, { SALLYPORT_URL: server.url, SALLYPORT_API_KEY: key })
const keyOf = async (role: 'agent' | 'admin' | 'viewer', principal: string) =>
  (await server.client('admin').keys.create({ role, principal })).key
const submit = (key: string, topic: string) => run(['jobs', 'submit', '--topic', topic, '--json'], key)

describe('sallyport stop', () => {
  test(`${proves('A10')} stops an agent, says what was measured, and two people resume it`, async () => {
    const agent = await keyOf('agent', 'agent:halted')
    const [first, second] = [await keyOf('admin', 'person:first'), await keyOf('admin', 'person:second')]
    const stop = ['stop', 'agent', 'agent:halted', '--reason', 'pays twice']
    const raised = await run([...stop, '--json'])
    expect([raised.exit, raised.json.state, raised.json.leases.open, raised.json.open_effects_total]).toEqual([
      0,
      'confirmed',
      0,
      0,
    ])
    expect(raised.json.nodes).toHaveLength(1)
    const { stop_id } = raised.json
    const refused = await submit(agent, 'job.e2e.works')
    expect([refused.exit, refused.json.error?.code ?? refused.json.code]).toEqual([1, 'stopped'])
    const dry = (more: string[] = []) =>
      run(['policy', 'evaluate', '--topic', 'job.e2e.works', '--agent', 'agent:halted', ...more])
    const asked = await dry()
    expect([asked.exit, asked.out]).toEqual([1, expect.stringMatching(`submit now +refused, stopped, by ${stop_id}`)])
    expect((await dry(['--json'])).json).toMatchObject({ decision: 'DENY', submit: { status: null, stop_id } })
    const shown = await run(['stops', 'show', stop_id])
    for (const line of [/what +agent agent:halted/, /state +confirmed after/, /nodes +1 of 1/, /effects +none open/])
      expect(shown.out).toMatch(line)
    expect((await run(['stops', 'list', '--active'])).out).toContain(stop_id)
    const resume = (stage: string, key: string) =>
      run(['resume', stop_id, '--stage', stage, '--note', 'looked', '--for', '1ms'], key)
    const told = `another person does it: sallyport resume ${stop_id} --stage trial --for 1ms --limit 10`
    expect((await resume('trial', first)).out).toContain(told)
    expect((await resume('trial', first)).exit).toBe(5)
    // The admin made the keys of both, and so could have asked as the first.
    expect((await resume('trial', server.key('admin'))).exit).toBe(5)
    expect((await resume('trial', second)).out).toMatch(/stage +trial/)
    expect((await submit(agent, 'job.e2e.works')).exit).toBe(0)
    await resume('full', second)
    expect((await resume('full', first)).out).toMatch(/stage +ended/)
    expect([(await dry()).exit, (await dry()).out]).toEqual([0, expect.stringMatching(/submit now +queued/)])
    expect((await run(['stops', 'list', '--active'])).out).toContain('nothing is stopped')
  })

  test('is refused to who may not, and to a command that is none', async () => {
    const stop = ['stop', 'tenant', '--reason', 'why', '--json']
    expect((await run(stop, await keyOf('viewer', 'person:viewer'))).exit).toBe(5)
    expect((await run(stop, server.key('agent'))).exit).toBe(5)
    expect((await run(['stop', 'agent', '--reason', 'why'])).exit).toBe(2)
    expect((await run(['stop', 'planet', '--reason', 'why'])).exit).toBe(2)
    expect((await run(['stop', 'tenant'])).exit).toBe(2)
    expect((await run(['stops', 'show', 'stop_01m7vps2w4k8r1y6t3z9b5n7qc'])).exit).toBe(4)
  })
})

describe('sallyport breakers', () => {
  test(`${proves('A9')} show an agent that failed three times; it is refused until it is taken back`, async () => {
    const agent = await keyOf('agent', 'agent:clumsy')
    for (let n = 0; n < 3; n++) expect((await submit(agent, 'job.e2e.fails')).exit).toBe(0)
    const from = performance.now()
    await until('its breaker opens', async () => {
      const { items } = await server.client('admin').breakers.list()
      return items.some((each) => each.agent === 'agent:clumsy' && each.state === 'open')
    })
    console.log(`the breaker was open ${(performance.now() - from).toFixed(0)} ms after the last submit`)
    const refused = await submit(agent, 'job.e2e.works')
    expect([refused.exit, refused.json.error?.code ?? refused.json.code]).toEqual([75, 'breaker_open'])
    expect((await run(['breakers', 'list'])).out).toMatch(/agent:clumsy +open +3/)
    expect((await run(['breakers', 'close', 'agent:clumsy'])).out).toMatch(/agent:clumsy +closed/)
    expect((await submit(agent, 'job.e2e.works')).exit).toBe(0)
    expect((await run(['breakers', 'close', 'agent:nobody'])).exit).toBe(4)
  })
})
