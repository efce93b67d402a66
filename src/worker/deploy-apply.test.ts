import { mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { testContext, testJob } from '../../test/worker/context.js'
import { deployApply } from './deploy-apply.js'

let cwd: string
beforeAll(() => {
  cwd = realpathSync(mkdtempSync(join(tmpdir(), 'sallyport-deploy-')))
})
afterAll(() => rmSync(cwd, { recursive: true, force: true }))

const sh = (script: string) => ['/bin/sh', '-c', script]

test('runs the configured command once: input on stdin, keys in the environment, nothing of the worker', async () => {
  process.env.SALLYPORT_API_KEY = 'sp_not_for_you'
  const command = sh('cat > input.json; env > env.txt; echo x >> times.txt; echo applied')
  const committed = new Map<string, unknown>()
  const input = { replicas: 3, image: '$(touch pwned) ; --flag' }
  try {
    const handler = deployApply({ command, cwd, env: { KUBE_TOKEN: 'from the operator' } })
    expect(await handler(testJob(input), testContext({ committed }))).toMatchObject({
      exit_code: 0,
      stdout: 'applied\n',
    })
    expect(await handler(testJob(input), testContext({ committed }))).toMatchObject({
      exit_code: 0,
      stdout: 'applied\n',
    })
  } finally {
    delete process.env.SALLYPORT_API_KEY
  }
  expect(JSON.parse(readFileSync(join(cwd, 'input.json'), 'utf8'))).toEqual(input)
  expect(readFileSync(join(cwd, 'times.txt'), 'utf8')).toBe('x\n')
  const env = readFileSync(join(cwd, 'env.txt'), 'utf8')
  expect(env).toContain('SALLYPORT_IDEMPOTENCY_KEY=idem-apply\n')
  expect(env).toContain('SALLYPORT_JOB_ID=job_0123456789\n')
  expect(env).toContain('KUBE_TOKEN=from the operator\n')
  expect(env).not.toContain('SALLYPORT_API_KEY')
})

test('a failed command is a terminal failure, and its end is recorded', async () => {
  const ctx = testContext()
  await expect(
    deployApply({ command: sh('echo no cluster >&2; exit 1'), cwd })(testJob({}), ctx),
  ).rejects.toMatchObject({
    name: 'TerminalError',
    code: 'exit_nonzero',
    message: expect.stringContaining('no cluster'),
  })
  expect(ctx.committed.get('apply')).toMatchObject({ exit_code: 1 })
})

test('a program that is not there is said to be so', async () => {
  await expect(deployApply({ command: ['/no/such/program'], cwd })(testJob({}), testContext())).rejects.toMatchObject({
    name: 'TerminalError',
    code: 'not_started',
  })
})

test('without a command, without its folder, or under a constraint it cannot keep, nothing begins', async () => {
  const cases = [
    [deployApply({}), {}, 'not_configured'],
    [deployApply({ command: [] }), {}, 'not_configured'],
    [deployApply({ command: sh('true'), cwd: '/no/such' }), {}, 'not_configured'],
    [deployApply({ command: sh('true'), cwd }), { allowed_hosts: [] }, 'constraint_not_enforced'],
  ] as const
  for (const [handler, constraints, code] of cases) {
    const ctx = testContext({ constraints })
    await expect(handler(testJob({}), ctx)).rejects.toMatchObject({ name: 'TerminalError', code })
    expect(ctx.begun).toEqual([])
  }
})
