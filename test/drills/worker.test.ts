import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { proves } from '../requirements.js'
import { CLI, endAll, type Server, scratch, startServer, track, until } from '../support/server.js'

/** A real worker process is killed in the middle of a real command. */

const place = scratch('worker')
let server: Server
beforeAll(async () => {
  mkdirSync(place.at('work'))
  writeFileSync(
    place.at('policy.yaml'),
    `
version: v1
job_classes: [{ topic: job.exec.shell, timeout_ms: 60000, heartbeat_ms: 500, attempts: 3 }]
rules: [{ id: all, match: { topic: job.exec.shell }, decision: ALLOW }]
`,
  )
  server = await startServer({ dataDir: place.at('data'), policy: place.at('policy.yaml') })
}, 60_000)

const pidFile = place.at('work', 'pid')
const linesOf = () => readFileSync(place.at('work', 'lines'), 'utf8')

afterAll(async () => {
  await endAll()
  // The command outlives its killed worker, as it would anywhere.
  if (existsSync(pidFile)) {
    try {
      process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGKILL')
    } catch {}
  }
  place.gone()
})

function startWorker() {
  const child = spawn(process.execPath, [CLI, 'worker', '--workdir', place.at('work'), '--topics', 'job.exec.shell'], {
    cwd: tmpdir(),
    env: { PATH: process.env.PATH, SALLYPORT_URL: server.url, SALLYPORT_API_KEY: server.key('worker') },
    stdio: 'ignore',
  })
  return track(child)
}

test(`${proves('R4', 'R5', 'L3')} the job is parked, nobody runs it again, and a person's word ends it`, async () => {
  const agent = server.client('agent')
  const run = (command: string) => agent.jobs.submit({ topic: 'job.exec.shell', input: { command } })
  const first = startWorker()
  const { job_id } = await run('echo $$ > pid; echo once >> lines; exec sleep 120')
  await until('the command runs', () => existsSync(place.at('work', 'lines')) && linesOf() === 'once\n')
  first.kill('SIGKILL')
  await until('the job is parked', async () => (await agent.jobs.get(job_id)).status === 'ambiguous')

  startWorker()
  const other = await run('echo other')
  expect((await agent.jobs.wait(other.job_id, { timeoutMs: 30_000 })).status).toBe('succeeded')
  expect(await agent.jobs.get(job_id)).toMatchObject({ status: 'ambiguous', attempt: 1 })
  expect(linesOf()).toBe('once\n')

  const admin = server.client('admin')
  const { effects = [] } = await admin.jobs.get(job_id)
  const [effect] = effects
  expect(effect).toMatchObject({ key: 'run', status: 'begun' })
  const result = {
    exit_code: 0,
    signal: null,
    ended_by: 'exit',
    stdout: '',
    stderr: '',
    stdout_bytes: 0,
    stderr_bytes: 0,
    truncated: false,
    duration_ms: 120_000,
  }
  await admin.jobs.resolve(job_id, { effect_key: 'run', happened: true, result, note: 'the file has its line' })
  const ended = await agent.jobs.wait(job_id, { timeoutMs: 30_000 })
  expect(ended).toMatchObject({ status: 'succeeded', attempt: 2 })
  expect(linesOf()).toBe('once\n')
}, 90_000)
