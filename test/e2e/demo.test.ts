import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { proves } from '../requirements.js'

/** The demonstration as people run it: the built command, its exit code, and what it leaves behind. */
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const home = mkdtempSync(join(tmpdir(), 'sallyport-demo-test-'))
/** Under this the demonstration makes its folders, so that what is left over is seen. */
const scratch = join(home, 'tmp')
const started: ChildProcess[] = []
const LONG = 240_000

interface Step {
  title: string
  ok: boolean
  error?: string
  told: { check?: string; pass?: boolean }[]
}
interface Played {
  ok: boolean
  steps: Step[]
  kept: { url: string; folder: string; worker_pid: number } | null
}

function play(args: string[], root = ROOT) {
  const child = spawn(process.execPath, [join(root, 'dist/cli/main.js'), ...args], {
    cwd: home,
    // CI and FORCE_COLOR colour what some libraries print; piped output must stay plain all the same.
    env: { PATH: process.env.PATH, TMPDIR: scratch, CI: '1', FORCE_COLOR: '1' },
  })
  started.push(child)
  const seen = { out: '', err: '' }
  child.stdout.setEncoding('utf8').on('data', (text) => {
    seen.out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    seen.err += text
  })
  const ended = once(child, 'close').then(([code]) => code as number | null)
  /** Resolves as soon as `found` is something; fails when the command ends before. */
  const until = <T>(found: () => T | null) =>
    new Promise<T>((resolve, reject) => {
      const look = () => {
        const value = found()
        if (value !== null) resolve(value)
      }
      child.stdout.on('data', look)
      ended.then((code) => reject(new Error(`ended with ${code}: ${seen.out}${seen.err}`)))
    })
  return { child, seen, ended, until }
}

function document(text: string): Played | null {
  try {
    return JSON.parse(text) as Played
  } catch {
    return null
  }
}

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

beforeAll(() => {
  if (!existsSync(join(ROOT, 'dist/cli/main.js'))) throw new Error('dist/ is not built: npm run build')
  mkdirSync(scratch)
})

afterAll(async () => {
  for (const child of started) child.kill('SIGTERM')
  await Promise.all(started.map((child) => child.exitCode ?? child.signalCode ?? once(child, 'exit')))
  rmSync(home, { recursive: true, force: true })
})

test(
  `${proves('W5', 'R5', 'L5', 'C1')} every step shows what it promises; --keep leaves server and worker up until Ctrl-C`,
  async () => {
    const { child, seen, ended, until } = play(['demo', '--keep', '--json'])
    const { ok, steps, kept } = await until(() => document(seen.out))
    expect(steps.filter((step) => !step.ok)).toEqual([])
    expect(ok).toBe(true)
    expect(steps).toHaveLength(8)
    expect(steps.flatMap(({ told }) => told.filter(({ check }) => check !== undefined)).length).toBeGreaterThan(40)

    const { url, folder, worker_pid } = kept ?? { url: '', folder: '', worker_pid: 0 }
    expect((await fetch(`${url}/readyz`)).status).toBe(200)
    expect(isAlive(worker_pid)).toBe(true)
    const verify = ['audit', 'verify', '--json', '--key', join(folder, 'installation.pub')]
    const heads = ['--head', join(folder, 'heads.txt')]
    expect(await play([...verify, ...heads, '--export', join(folder, 'edited.jsonl')]).ended).toBe(1)
    expect(await play([...verify, '--export', join(folder, 'cut.jsonl')]).ended).toBe(3)
    expect(await play([...verify, ...heads, '--export', join(folder, 'cut.jsonl')]).ended).toBe(1)

    child.kill('SIGINT')
    expect(await ended).toBe(0)
    expect(isAlive(worker_pid)).toBe(false)
    await expect(fetch(url)).rejects.toThrow()
    expect(readdirSync(scratch)).toHaveLength(1)
    rmSync(folder, { recursive: true })
  },
  LONG,
)

test(
  'Ctrl-C in the middle ends everything it started and removes its folder',
  async () => {
    const { child, seen, ended, until } = play(['demo'])
    const pid = await until(() => (seen.out.includes(' 3  ') ? Number(/process (\d+)/.exec(seen.out)?.[1]) : null))
    child.kill('SIGINT')
    expect(await ended).toBe(130)
    expect(isAlive(pid)).toBe(false)
    expect(readdirSync(scratch)).toEqual([])
    expect(seen.out).not.toContain('\u001b')
    expect(seen.out).toContain('ALLOW_WITH_CONSTRAINTS')
  },
  LONG,
)

test(
  'where a promise does not hold it says which, and exits 1',
  async () => {
    // The package as installed, with a policy that lets every shell command through.
    const root = join(home, 'package')
    cpSync(join(ROOT, 'dist'), join(root, 'dist'), { recursive: true })
    for (const name of ['node_modules', 'migrations']) symlinkSync(join(ROOT, name), join(root, name))
    for (const name of ['package.json', 'examples/policies/demo.yaml']) cpSync(join(ROOT, name), join(root, name))
    const policy = readFileSync(join(ROOT, 'examples/policies/default.yaml'), 'utf8')
    const open = 'rules:\n  - { id: open-door, match: { topic: job.exec.shell }, decision: ALLOW }\n'
    const opened = policy.replace(/^rules:\n/m, open).replaceAll('decision: DENY\n', 'decision: ALLOW\n')
    writeFileSync(join(root, 'examples/policies/default.yaml'), opened)

    const { seen, ended } = play(['demo', '--json'], root)
    expect(await ended).toBe(1)
    const { ok, steps } = document(seen.out) as Played
    expect(ok).toBe(false)
    const failed = steps.filter((step) => !step.ok)
    expect(failed.map(({ title }) => title)).toEqual(['The agent tries a destructive command'])
    expect(failed[0]?.error).toBe('not so: denied with honest labels')
    expect(readdirSync(scratch)).toEqual([])
  },
  LONG,
)

test('without git it says so, before anything is started', async () => {
  const child = spawn(process.execPath, [join(ROOT, 'dist/cli/main.js'), 'demo', '--json'], {
    cwd: home,
    env: { PATH: home, TMPDIR: scratch },
  })
  started.push(child)
  let out = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    out += text
  })
  expect((await once(child, 'close'))[0]).toBe(1)
  expect(JSON.parse(out)).toMatchObject({ error: { code: 'no_git' } })
  expect(readdirSync(scratch)).toEqual([])
})
