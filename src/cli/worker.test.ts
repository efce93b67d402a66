import { EventEmitter } from 'node:events'
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { problem, startStandIn, startWorkerPlane } from '../../test/stand-in.js'
import { argv, builtinConfig, logTo, runWorker, workerCommand } from './worker.js'

let folder: string
beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'sallyport-cli-')))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('settings', () => {
  test('flags become the configuration of the handlers; what is not given is not served', () => {
    expect(builtinConfig({}, {})).toEqual({ integrations: { allowPrivate: [] } })
    const flags = {
      repo: ['/r'],
      workdir: '/w',
      allowEnv: ['STAGE'],
      allowHost: ['a.test'],
      allowPrivate: ['127.0.0.1:1'],
      deployCommand: ['deploy'],
      deployEnv: ['TOKEN'],
    }
    expect(builtinConfig(flags, { TOKEN: 't', OTHER: 'o' })).toEqual({
      repo: { roots: ['/r'] },
      shell: { workdir: '/w', allowedEnv: ['STAGE'] },
      integrations: { allowPrivate: ['127.0.0.1:1'], allowedHosts: ['a.test'] },
      deploy: { command: ['deploy'], env: { TOKEN: 't' } },
    })
    expect(() => builtinConfig({ deployEnv: ['TOKEN'] }, {})).toThrow(/--deploy-env TOKEN/)
  })

  test('the deploy command is words, or an array where a word has a blank', () => {
    expect(argv(' kubectl  apply -f - ')).toEqual(['kubectl', 'apply', '-f', '-'])
    expect(argv('["/bin/sh", "-c", "echo $A"]')).toEqual(['/bin/sh', '-c', 'echo $A'])
    for (const text of ['', '[]', '["a", 1]', '["a"']) expect(() => argv(text)).toThrow()
  })

  test('a wrong option is refused with a word about it', async () => {
    for (const args of [
      ['--concurrency', 'many'],
      ['--allow-private', 'nohost'],
      ['--serves', 'no-version'],
      ['--what'],
    ]) {
      const said: string[] = []
      const command = workerCommand()
        .exitOverride()
        .configureOutput({ writeErr: (text) => said.push(text) })
      await expect(command.parseAsync(args, { from: 'user' })).rejects.toThrow()
      expect(said.join('')).toMatch(/error: /)
    }
  })
})

test('the log is JSON lines when piped and words on a terminal', () => {
  const lines: string[] = []
  logTo({ write: (text) => lines.push(text) })({ level: 'warn', event: 'lease_lost', job_id: 'job_1' })
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    time: expect.any(String),
    level: 'warn',
    event: 'lease_lost',
    job_id: 'job_1',
  })
  logTo({ isTTY: true, write: (text) => lines.push(text) })({
    level: 'info',
    event: 'lease_lost',
    job_id: 'job_1',
    running: 2,
  })
  expect(lines[1]).toMatch(/lease lost.* job_id=job_1 running=2\n$/)
})

describe('the command', () => {
  test('takes a job, does it, reports it, and drains when told', async () => {
    const plane = await startWorkerPlane()
    const lease = plane.offer({ job: { topic: 'job.exec.shell', input: { command: 'echo done' } } })
    const signals = new EventEmitter()
    const lines: string[] = []
    const log = { write: (text: string) => lines.push(text) }
    const flags = { url: plane.url, workdir: folder, serves: ['agent:bot@2'] }
    const ended = runWorker(flags, { SALLYPORT_API_KEY: 'sp_key' }, { log, signals })
    expect(await plane.report(lease)).toMatchObject({
      outcome: 'succeeded',
      result: { stdout: 'done\n', exit_code: 0 },
    })
    signals.emit('SIGTERM', 'SIGTERM')
    expect(await ended).toBe(0)
    const topics = ['job.exec.shell', 'job.integrations.call']
    expect(plane.claims.at(-1)).toMatchObject({
      ...{ topics, serves: ['agent:bot@2'], enforces: ['allowed_hosts'], effects: 'recorded' },
    })
    expect(plane.effects.map((effect) => `${effect.phase} ${effect.key}`)).toEqual(['begin run', 'commit run'])
    const events = ['started', 'job_started', 'job_succeeded', 'draining', 'stopped']
    expect(lines.map((line) => JSON.parse(line).event)).toEqual(expect.arrayContaining(events))
    expect(lines.join('')).not.toMatch(/sp_key|echo done/)
    expect(signals.listenerCount('SIGTERM')).toBe(0)
    await plane.close()
  })

  test('a second signal ends a job that does not end by itself', async () => {
    const plane = await startWorkerPlane()
    const lease = plane.offer({ job: { topic: 'job.exec.shell', input: { command: 'exec sleep 1000' } } })
    const signals = new EventEmitter()
    const ended = runWorker(
      { url: plane.url, workdir: folder, grace: 600 },
      { SALLYPORT_API_KEY: 'sp_key' },
      { log: { write: () => {} }, signals },
    )
    await plane.until(() => plane.effects[0])
    signals.emit('SIGINT', 'SIGINT')
    signals.emit('SIGINT', 'SIGINT')
    expect(await plane.report(lease)).toMatchObject({ outcome: 'failed', error: { code: 'worker_stopped' } })
    expect(await ended).toBe(0)
    await plane.close()
  })

  test('cannot start: a refused key, an unknown topic, a missing variable, no key', async () => {
    const server = await startStandIn(() => problem(401, 'unauthenticated'))
    const attempt = async (flags: object, env: Record<string, string>) => {
      const lines: string[] = []
      const log = { write: (text: string) => lines.push(text) }
      const exit = await runWorker({ url: server.url, ...flags }, env, { log, signals: new EventEmitter() })
      return { exit, ...JSON.parse(lines.at(-1) ?? '') }
    }
    const env = { SALLYPORT_API_KEY: 'sp_wrong' }
    const event = 'cannot_start'
    expect(await attempt({}, env)).toMatchObject({ event, exit: 5, code: 'unauthenticated' })
    expect(await attempt({ topics: ['job.mail.send'] }, env)).toMatchObject({ event, exit: 2, code: 'usage' })
    expect(await attempt({ deployEnv: ['NOT_THERE'] }, env)).toMatchObject({ event, exit: 2, code: 'usage' })
    expect(await attempt({}, { SALLYPORT_DATA_DIR: '/no/such' })).toMatchObject({ event, exit: 5, code: 'no_key' })
    expect(server.seen.length).toBe(1)
    await server.close()
  })
})
