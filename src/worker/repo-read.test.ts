import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { testContext, testJob } from '../../test/worker/context.js'
import { type RepoReadResult, repoRead } from './repo-read.js'

let base: string
let root: string

function git(cwd: string, ...args: string[]): string {
  const env = {
    PATH: process.env.PATH ?? '',
    HOME: base,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_AUTHOR_DATE: '2024-03-01T10:00:00+02:00',
    GIT_COMMITTER_DATE: '2024-03-01T10:00:00+02:00',
  }
  return execFileSync(
    'git',
    ['-c', 'user.name=Ada Example', '-c', 'user.email=ada@example.test', '-c', 'init.defaultBranch=main', ...args],
    { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  )
}

function commit(cwd: string, files: Record<string, string | Buffer>, message: string): string {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(cwd, name, '..'), { recursive: true })
    writeFileSync(join(cwd, name), content)
  }
  git(cwd, 'add', '-A')
  git(cwd, 'commit', '-q', '-m', message)
  return git(cwd, 'rev-parse', 'HEAD').trim()
}

let first: string
let second: string

beforeAll(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), 'sallyport-repo-')))
  root = join(base, 'root')
  mkdirSync(root)
  git(root, 'init', '-q')
  first = commit(root, { 'README.md': 'hello\nworld\n', 'src/a.ts': 'export const answer = 42\n' }, 'First: say hello')
  second = commit(
    root,
    {
      'src/b.ts': 'import { answer } from "./a"\n',
      'src/-n.txt': 'dash answer\n',
      'logo.bin': Buffer.from([1, 0, 2]),
      'ünï.txt': 'x',
    },
    'Second: use the answer\n\nbody',
  )
  mkdirSync(join(root, 'nested'))
  git(join(root, 'nested'), 'init', '-q')
  commit(join(root, 'nested'), { 'inner.txt': 'inner\n'.repeat(20) }, 'Inner')
  const outside = join(base, 'outside')
  mkdirSync(outside)
  git(outside, 'init', '-q')
  commit(outside, { 'secret.txt': 'secret\n' }, 'Outside')
  symlinkSync(outside, join(root, 'link'))
  mkdirSync(join(root, 'fake'))
  writeFileSync(join(root, 'fake', 'HEAD'), 'ref: refs/heads/main\n')
  mkdirSync(join(root, 'pointer'))
  writeFileSync(join(root, 'pointer', '.git'), `gitdir: ${join(outside, '.git')}\n`)
})
afterAll(() => rmSync(base, { recursive: true, force: true }))

async function read<Op extends RepoReadResult['op']>(
  input: { op: Op } & Record<string, unknown>,
  maxBytes?: number,
): Promise<Extract<RepoReadResult, { op: Op }>> {
  const handler = repoRead({ roots: [root], ...(maxBytes === undefined ? {} : { maxBytes }) })
  return (await handler(testJob(input), testContext())) as Extract<RepoReadResult, { op: Op }>
}

describe('what it reads', () => {
  test('log: structured commits, newest first, limited', async () => {
    const all = await read({ op: 'log' })
    expect(all).toEqual({
      op: 'log',
      truncated: false,
      commits: [
        { hash: second, author: 'Ada Example', at: '2024-03-01T10:00:00+02:00', subject: 'Second: use the answer' },
        { hash: first, author: 'Ada Example', at: '2024-03-01T10:00:00+02:00', subject: 'First: say hello' },
      ],
    })
    const one = await read({ op: 'log', limit: 1 })
    expect(one.commits.map((c) => c.hash)).toEqual([second])
    expect(one.truncated).toBe(true)
    expect((await read({ op: 'log', path: 'README.md' })).commits.map((c) => c.hash)).toEqual([first])
    expect((await read({ op: 'log', ref: 'main~1' })).commits.map((c) => c.hash)).toEqual([first])
    expect((await read({ op: 'log', pattern: 'say hello' })).commits.map((c) => c.hash)).toEqual([first])
  })

  test('show: the commit and its patch', async () => {
    const shown = await read({ op: 'show', ref: second.slice(0, 10), path: 'src/b.ts' })
    expect(shown.commit.hash).toBe(second)
    expect(shown.patch).toContain('+import { answer } from "./a"')
    expect(shown.patch).not.toContain('logo.bin')
    expect((await read({ op: 'show', ref: first })).patch).toContain('+hello')
  })

  test('grep: plain text by default, places and lines', async () => {
    const found = await read({ op: 'grep', pattern: 'answer' })
    expect(found.matches).toEqual([
      { path: 'src/-n.txt', line: 1, text: 'dash answer' },
      { path: 'src/a.ts', line: 1, text: 'export const answer = 42' },
      { path: 'src/b.ts', line: 1, text: 'import { answer } from "./a"' },
    ])
    expect((await read({ op: 'grep', pattern: 'answer', limit: 2 })).truncated).toBe(true)
    expect((await read({ op: 'grep', pattern: 'answer =.*42' })).matches).toEqual([])
    expect((await read({ op: 'grep', pattern: 'answer =.*42', regex: true })).matches).toHaveLength(1)
    expect((await read({ op: 'grep', pattern: 'answer', ref: 'HEAD~1' })).matches.map((m) => m.path)).toEqual([
      'src/a.ts',
    ])
  })

  test('ls and cat: the tree at a commit, names as they are', async () => {
    const top = await read({ op: 'ls' })
    expect(top.entries.map((e) => `${e.type} ${e.path} ${e.size}`)).toEqual([
      'blob README.md 12',
      'blob logo.bin 3',
      'tree src null',
      'blob ünï.txt 1',
    ])
    expect((await read({ op: 'ls', path: 'src/' })).entries.map((e) => e.path)).toEqual([
      'src/-n.txt',
      'src/a.ts',
      'src/b.ts',
    ])
    expect(await read({ op: 'cat', path: 'README.md', ref: first })).toMatchObject({
      content: 'hello\nworld\n',
      encoding: 'utf8',
      truncated: false,
    })
    expect(await read({ op: 'cat', path: 'logo.bin' })).toMatchObject({
      content: Buffer.from([1, 0, 2]).toString('base64'),
      encoding: 'base64',
    })
    expect(await read({ op: 'cat', path: 'src/-n.txt' })).toMatchObject({ content: 'dash answer\n' })
  })

  test('a repository below the root, by name', async () => {
    expect((await read({ op: 'log', repo: 'nested' })).commits.map((c) => c.subject)).toEqual(['Inner'])
  })

  test('output past the limit is cut at a whole record and says so', async () => {
    const log = await read({ op: 'log' }, 150)
    expect(log).toMatchObject({ truncated: true })
    expect(log.commits.map((c) => c.hash)).toEqual([second])
    expect(await read({ op: 'cat', repo: 'nested', path: 'inner.txt' }, 60)).toMatchObject({
      content: 'inner\n'.repeat(10),
      truncated: true,
    })
  })
})

describe('what it refuses', () => {
  test.each([
    ['an option as ref', { op: 'log', ref: '--output=/tmp/x' }, 'invalid_input'],
    ['a range', { op: 'log', ref: 'HEAD~1..HEAD' }, 'invalid_input'],
    ['a range of branches', { op: 'log', ref: 'main..main' }, 'invalid_input'],
    ['rev:path', { op: 'show', ref: 'HEAD:README.md' }, 'invalid_input'],
    ['a reflog', { op: 'log', ref: 'HEAD@{1}' }, 'invalid_input'],
    ['a newline in a ref', { op: 'log', ref: 'HEAD\nmain' }, 'invalid_input'],
    ['a ref that is not there', { op: 'log', ref: 'nowhere' }, 'ref_not_found'],
    ['an absolute path', { op: 'cat', path: '/etc/passwd' }, 'invalid_input'],
    ['a path upwards', { op: 'cat', path: 'src/../../outside/secret.txt' }, 'invalid_input'],
    ['a path that is not there', { op: 'cat', path: 'src/c.ts' }, 'path_not_found'],
    ['cat of a folder', { op: 'cat', path: 'src' }, 'path_not_found'],
    ['ls of nothing', { op: 'ls', path: 'nothing' }, 'path_not_found'],
    ['a repository upwards', { op: 'log', repo: '../outside' }, 'repo_not_found'],
    ['an absolute repository', { op: 'log', repo: '/' }, 'repo_not_found'],
    ['a link out of the root', { op: 'log', repo: 'link' }, 'repo_not_found'],
    ['a gitdir file out of the root', { op: 'log', repo: 'pointer' }, 'repo_not_found'],
    ['a folder that is no repository (its parent is)', { op: 'log', repo: 'src' }, 'repo_not_found'],
    ['a folder that looks like a bare repository (its parent is one)', { op: 'log', repo: 'fake' }, 'ref_not_found'],
    [
      'an expression of great size',
      { op: 'grep', pattern: '((a{1,255}){1,255}){1,255}', regex: true },
      'invalid_input',
    ],
    ['a back-reference', { op: 'grep', pattern: '(a*)*\\1', regex: true }, 'invalid_input'],
    ['an unknown field', { op: 'log', '--exec': 'x' }, 'invalid_input'],
    ['no input', null, 'invalid_input'],
  ])('%s', async (_, input, code) => {
    const attempt = repoRead({ roots: [root] })(testJob(input), testContext())
    await expect(attempt).rejects.toMatchObject({ name: 'TerminalError', code })
  })

  test('pathspec magic is a literal name', async () => {
    expect((await read({ op: 'log', path: ':(exclude)README.md' })).commits).toEqual([])
    expect((await read({ op: 'grep', pattern: 'answer', path: '*.ts' })).matches).toEqual([])
  })

  test('without roots', async () => {
    await expect(repoRead({ roots: [] })(testJob({ op: 'log' }), testContext())).rejects.toMatchObject({
      code: 'not_configured',
    })
  })
})

describe('a hostile repository', () => {
  test('its configuration, attributes and hooks run nothing, and GIT_* of the worker is not seen', async () => {
    const evil = join(base, 'evil')
    mkdirSync(evil)
    git(evil, 'init', '-q')
    commit(evil, { '.gitattributes': '*.txt diff=evil\n', 'a.txt': 'one\n' }, 'One')
    commit(evil, { 'a.txt': 'two\n' }, 'Two')
    const marker = join(base, 'ran')
    const touch = join(base, 'touch.sh')
    writeFileSync(touch, `#!/bin/sh\necho x >> ${marker}\nexit 0\n`, { mode: 0o755 })
    for (const [key, value] of [
      ['core.fsmonitor', touch],
      ['core.pager', touch],
      ['core.sshCommand', touch],
      ['core.alternateRefsCommand', touch],
      ['diff.external', touch],
      ['diff.evil.textconv', touch],
      ['diff.evil.command', touch],
      ['gpg.program', touch],
      ['log.showSignature', 'true'],
      ['pager.log', touch],
      ['alias.log', `!${touch}`],
      ['grep.column', 'true'],
      ['protocol.ext.allow', 'always'],
      ['core.repositoryFormatVersion', '1'],
      ['extensions.partialClone', 'origin'],
      ['remote.origin.url', `ext::${touch}`],
      ['remote.origin.promisor', 'true'],
    ] as const)
      git(evil, 'config', key, value)
    const handler = repoRead({ roots: [evil] })
    process.env.GIT_DIR = join(root, '.git')
    process.env.GIT_EXTERNAL_DIFF = touch
    process.env.GIT_TRACE = marker
    try {
      const run = (input: unknown) => handler(testJob(input), testContext())
      expect(await run({ op: 'log' })).toMatchObject({ commits: [{ subject: 'Two' }, { subject: 'One' }] })
      expect((await run({ op: 'show' })) as { patch: string }).toMatchObject({ patch: expect.stringContaining('+two') })
      expect(await run({ op: 'grep', pattern: 'two' })).toMatchObject({
        matches: [{ path: 'a.txt', line: 1, text: 'two' }],
      })
      expect(await run({ op: 'cat', path: 'a.txt' })).toMatchObject({ content: 'two\n' })
      expect(await run({ op: 'ls' })).toMatchObject({ entries: [{ path: '.gitattributes' }, { path: 'a.txt' }] })
      // A missing object would be fetched from the promisor remote, which here is a program.
      await expect(run({ op: 'log', ref: '0123456789012345678901234567890123456789' })).rejects.toMatchObject({
        code: 'ref_not_found',
      })
    } finally {
      delete process.env.GIT_DIR
      delete process.env.GIT_EXTERNAL_DIFF
      delete process.env.GIT_TRACE
    }
    expect(() => realpathSync(marker)).toThrow(/ENOENT/)
  })

  test('an attempt that ended reads nothing more', async () => {
    const ctx = testContext()
    ctx.abort('cancel')
    await expect(repoRead({ roots: [root] })(testJob({ op: 'log' }), ctx)).rejects.toMatchObject({
      name: 'TransientError',
      code: 'aborted',
    })
  })
})
