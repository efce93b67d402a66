import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type TestContextOptions, testContext, testJob } from '../../test/worker/context.js'
import { type ExecShellOptions, execShell } from './exec-shell.js'

let base: string
let workdir: string

beforeAll(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), 'sallyport-shell-')))
  workdir = join(base, 'work')
  mkdirSync(join(workdir, 'inner'), { recursive: true })
  mkdirSync(join(base, 'work-not'))
  symlinkSync(base, join(workdir, 'out'))
  symlinkSync(join(workdir, 'inner'), join(workdir, 'in'))
})
afterAll(() => rmSync(base, { recursive: true, force: true }))

function shell(input: unknown, options: ExecShellOptions = {}, context: TestContextOptions = {}) {
  return execShell({ workdir, ...options })(testJob(input), testContext(context))
}

describe('a command', () => {
  test('runs in the working folder and its result says everything', async () => {
    expect(await shell({ command: 'pwd; echo no >&2' })).toEqual({
      exit_code: 0,
      signal: null,
      ended_by: 'exit',
      stdout: `${workdir}\n`,
      stderr: 'no\n',
      stdout_bytes: workdir.length + 1,
      stderr_bytes: 3,
      truncated: false,
      duration_ms: expect.any(Number),
    })
    expect((await shell({ command: 'pwd', cwd: 'inner' })).stdout).toBe(`${workdir}/inner\n`)
    expect((await shell({ command: 'pwd', cwd: 'in' })).stdout).toBe(`${workdir}/inner\n`)
    expect((await shell({ command: 'cat', stdin: 'told' })).stdout).toBe('told')
  })

  test('sees nothing of the worker: no key, no variable, only what is made for it', async () => {
    process.env.SALLYPORT_API_KEY = 'sp_not_for_you'
    process.env.SOME_CLOUD_SECRET = 'nor this'
    try {
      const { stdout } = await shell({ command: 'env', env: { STAGE: 'qa' } }, { allowedEnv: ['STAGE'] })
      const names = stdout
        .trim()
        .split('\n')
        .map((line) => line.split('=')[0])
      // The shell itself adds PWD and, some of them, OLDPWD, SHLVL and _.
      expect(names.filter((name) => !['PWD', 'OLDPWD', 'SHLVL', '_'].includes(name ?? '')).sort()).toEqual([
        'HOME',
        'LANG',
        'PATH',
        'STAGE',
      ])
      expect(stdout).not.toMatch(/sp_not_for_you|nor this|SALLYPORT/)
      // Not by way of the parent either: its environment belongs to the account, so this only says what is inherited.
      expect(stdout).toContain(`HOME=${workdir}`)
    } finally {
      delete process.env.SALLYPORT_API_KEY
      delete process.env.SOME_CLOUD_SECRET
    }
  })

  test('that fails is a terminal failure with the end of its stderr, or a result where asked', async () => {
    await expect(shell({ command: 'echo broken >&2; exit 4' })).rejects.toMatchObject({
      name: 'TerminalError',
      code: 'exit_nonzero',
      message: expect.stringContaining('4: broken'),
    })
    expect(await shell({ command: 'exit 4', check: false })).toMatchObject({ exit_code: 4 })
    await expect(shell({ command: 'kill -9 $$' })).rejects.toMatchObject({ code: 'killed' })
    expect(await shell({ command: 'kill -9 $$', check: false })).toMatchObject({ exit_code: null, signal: 'SIGKILL' })
  })

  test('past its time is ended and known to be: the effect is committed, the job fails', async () => {
    const committed = new Map<string, unknown>()
    await expect(
      shell({ command: 'echo begun; exec sleep 1000', timeout_ms: 100, check: false }, {}, { committed }),
    ).rejects.toMatchObject({ name: 'TerminalError', code: 'timeout' })
    expect(committed.get('run')).toMatchObject({ ended_by: 'timeout', stdout: 'begun\n', signal: 'SIGTERM' })
  })

  test('that writes more than is kept: head, tail, and the count', async () => {
    const result = await shell({ command: 'yes | head -c 100000' }, { maxBytes: 100 })
    expect(result).toMatchObject({ truncated: true, stdout_bytes: 100_000 })
    expect(result.stdout.length).toBeLessThan(150)
  })

  test('output is text the plane accepts: no NUL, no broken UTF-8', async () => {
    expect((await shell({ command: "printf 'a\\000b\\377c'" })).stdout).toBe('a\uFFFDb\uFFFDc')
  })
})

describe('runs once', () => {
  test('an attempt that finds the run recorded does not run it again', async () => {
    const committed = new Map<string, unknown>()
    const input = { command: 'echo x >> once.txt; wc -l < once.txt' }
    const first = await shell(input, {}, { committed })
    const second = await shell(input, {}, { committed })
    expect(first.stdout.trim()).toBe('1')
    expect(second).toEqual(first)
  })

  test('a recorded result that is held back is a failure, never a second run', async () => {
    const committed = new Map<string, unknown>([['run', undefined]])
    await expect(shell({ command: 'echo x' }, {}, { committed })).rejects.toMatchObject({
      code: 'effect_result_withheld',
    })
  })

  test('an attempt that ended before the command began begins no effect', async () => {
    const ctx = testContext()
    ctx.abort('cancel')
    await expect(execShell({ workdir })(testJob({ command: 'true' }), ctx)).rejects.toMatchObject({ code: 'aborted' })
    expect(ctx.begun).toEqual([])
  })
})

describe('what it refuses, before anything begins', () => {
  test.each([
    ['a folder upwards', { command: 'true', cwd: '..' }, 'cwd_refused'],
    ['a neighbour whose name begins alike', { command: 'true', cwd: '../work-not' }, 'cwd_refused'],
    ['an absolute folder', { command: 'true', cwd: '/' }, 'cwd_refused'],
    ['a link out', { command: 'true', cwd: 'out' }, 'cwd_refused'],
    ['through a link out and back in by name', { command: 'true', cwd: 'out/work-not' }, 'cwd_refused'],
    ['a folder that is not there', { command: 'true', cwd: 'nowhere' }, 'cwd_refused'],
    ['a variable that is not allowed', { command: 'true', env: { LD_PRELOAD: '/x.so' } }, 'env_refused'],
    ['PATH', { command: 'true', env: { PATH: '/tmp' } }, 'env_refused'],
    ['NUL in the command', { command: 'true\0x' }, 'invalid_input'],
    ['no command', {}, 'invalid_input'],
    ['an unknown field', { command: 'true', shell: '/bin/bash' }, 'invalid_input'],
    ['__proto__ as a variable', JSON.parse('{"command":"true","env":{"__proto__":"x"}}'), 'env_refused'],
  ])('%s', async (_, input, code) => {
    const ctx = testContext()
    await expect(execShell({ workdir })(testJob(input), ctx)).rejects.toMatchObject({ name: 'TerminalError', code })
    expect(ctx.begun).toEqual([])
  })

  test('an absolute folder, also one inside', async () => {
    const attempt = shell({ command: 'true', cwd: join(workdir, 'inner') })
    await expect(attempt).rejects.toMatchObject({ code: 'cwd_refused' })
  })

  test('a constraint it cannot keep', async () => {
    await expect(
      shell({ command: 'true' }, {}, { constraints: { allowed_hosts: ['api.example.com'] } }),
    ).rejects.toMatchObject({ code: 'constraint_not_enforced' })
  })

  test('everything, without a working folder', async () => {
    await expect(execShell({})(testJob({ command: 'true' }), testContext())).rejects.toMatchObject({
      code: 'not_configured',
    })
    await expect(execShell({ workdir: '/no/such' })(testJob({ command: 'true' }), testContext())).rejects.toMatchObject(
      { code: 'not_configured' },
    )
  })
})
