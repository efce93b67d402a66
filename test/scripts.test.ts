import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const script = (name: string) => pathToFileURL(join(root, 'scripts', name)).href

describe('which packages are missing', () => {
  // The scripts are plain JavaScript, since they run before anything is installed; hence the import without types.
  const missing = async (wanted: object, installed: object, system = { platform: 'linux', arch: 'x64' }) =>
    (await import(script('install.mjs'))).missingPackages(wanted, installed, system)

  const a = { version: '1.0.0', integrity: 'sha512-a' }

  test('none when every wanted one is there', async () => {
    expect(await missing({ '': {}, 'node_modules/a': a }, { 'node_modules/a': a, 'node_modules/b': a })).toEqual([])
  })

  test.each([
    ['nothing is installed', {}],
    ['another version is', { 'node_modules/a': { ...a, version: '1.0.1' } }],
    ['other bytes are', { 'node_modules/a': { ...a, integrity: 'sha512-b' } }],
  ])('one when %s', async (_, installed) => {
    expect(await missing({ 'node_modules/a': a }, installed)).toEqual(['node_modules/a'])
  })

  test('a binary counts on its own system only', async () => {
    const binary = { ...a, optional: true, os: ['darwin'], cpu: ['arm64'] }
    expect(await missing({ 'node_modules/a': binary }, {})).toEqual([])
    expect(await missing({ 'node_modules/a': binary }, {}, { platform: 'darwin', arch: 'arm64' })).toHaveLength(1)
  })
})

describe('the lock around install and build', () => {
  let folder: string
  let lock: string
  let children: ChildProcess[]
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'sallyport-lock-'))
    lock = join(folder, 'lock')
    children = []
  })
  afterEach(() => {
    for (const child of children) child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  })

  function holder(body: string) {
    const code = `
      import { mkdirSync, rmdirSync } from 'node:fs'
      import { withLock } from ${JSON.stringify(script('lock.mjs'))}
      const inside = ${JSON.stringify(join(folder, 'inside'))}
      const options = { waiting: () => console.log('waiting') }
      await withLock(${JSON.stringify(lock)}, async (share) => { ${body} }, options)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['pipe', 'pipe', 'inherit'] })
    children.push(child)
    return child
  }

  /** Makes and removes one folder while inside: mkdir throws, and the process fails, if anyone else is inside too. */
  const exclusive =
    'mkdirSync(inside); for (let i = 0; i < 500; i++) await new Promise((r) => setImmediate(r)); rmdirSync(inside)'
  const stay = "console.log('in'); await new Promise((r) => process.stdin.once('end', r).resume())"
  const said = (child: ChildProcess) => once(child.stdout as NonNullable<ChildProcess['stdout']>, 'data')
  const ended = async (child: ChildProcess) => (await once(child, 'exit'))[0]

  test('lets eight at once through one by one', async () => {
    const codes = await Promise.all(Array.from({ length: 8 }, () => ended(holder(exclusive))))
    expect(codes).toEqual(Array(8).fill(0))
    expect(existsSync(lock)).toBe(false)
  })

  test('waits for a living holder', async () => {
    const first = holder(stay)
    await said(first)
    const second = holder("console.log('in')")
    expect(String((await said(second))[0])).toBe('waiting\n')
    first.stdin?.end()
    expect(String((await said(second))[0])).toBe('in\n')
    expect(await ended(second)).toBe(0)
  })

  test('is taken over, by one at a time, from a holder that was killed', async () => {
    const first = holder(stay)
    await said(first)
    first.kill('SIGKILL')
    await once(first, 'exit')
    expect(existsSync(lock)).toBe(true)
    const codes = await Promise.all(Array.from({ length: 8 }, () => ended(holder(exclusive))))
    expect(codes).toEqual(Array(8).fill(0))
  })

  test('stays with the child of a holder that was killed', async () => {
    const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'inherit'] })
    children.push(child)
    const first = holder(`share(${child.pid}); ${stay}`)
    await said(first)
    first.kill('SIGKILL')
    await once(first, 'exit')
    const second = holder("console.log('in')")
    expect(String((await said(second))[0])).toBe('waiting\n')
    child.stdin?.end()
    expect(String((await said(second))[0])).toBe('in\n')
  })

  test('is taken over when the pid lives on as another process', async ({ skip }) => {
    skip(!existsSync('/proc/self/stat'), 'no /proc here, so the start of a process is unknown')
    mkdirSync(lock)
    writeFileSync(join(lock, 'holders'), JSON.stringify([{ pid: process.pid, started: '1' }]))
    expect(await ended(holder(exclusive))).toBe(0)
  })
})

describe('the verbs', () => {
  test('an unknown one fails and names those there are', () => {
    const { status, stderr } = spawnSync(process.execPath, ['scripts/run.mjs', 'constructor'], {
      cwd: root,
      encoding: 'utf8',
    })
    expect(status).toBe(1)
    expect(stderr).toContain('no such verb: constructor')
    expect(stderr).toMatch(/^ {2}bench /m)
  })

  // `exec` because npm signals the shell it started: without it SIGTERM ends the shell and leaves the server behind
  test('every script of package.json is one, and takes the place of its shell', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>
    }
    const { stderr } = spawnSync(process.execPath, ['scripts/run.mjs'], { cwd: root, encoding: 'utf8' })
    for (const line of Object.values(scripts)) {
      expect(stderr).toMatch(new RegExp(`^ {2}${line.replace(/^exec node (--\S+ )?scripts\/run\.mjs /, '')} `, 'm'))
    }
  })
})
