import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { account, LISTED, type Outcome, PROMISES, proves, tagsOf } from './requirements.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const passing = (file: string, title: string): Outcome => ({ file, title, passed: true })

describe('the tag in a title', () => {
  test('carries every id it was made of', () => {
    expect(tagsOf(`${proves('D3', 'L4')} a denied job leaves no row`)).toEqual(['D3', 'L4'])
  })

  test('is nothing else in brackets', () => {
    expect(tagsOf('[object Object] [constructor] [Z9] [D3 X] D4 [] [200]')).toEqual([])
  })
})

describe('the account of a run', () => {
  const listed = { D3: [{ kind: 'test' as const, name: 'a.test.ts' }] }

  test('is settled by a passing test in the named file', () => {
    expect(account(listed, [passing('a.test.ts', '[D3] denied')]).unproven).toEqual([])
  })

  test.each([
    ['no test at all', []],
    ['a failed or skipped one', [{ ...passing('a.test.ts', '[D3] denied'), passed: false }]],
    ['one in another file', [passing('b.test.ts', '[D3] denied')]],
    ['one for another promise', [passing('a.test.ts', '[D4] denied')]],
  ])('is open with %s', (_, outcomes) => {
    expect(account(listed, outcomes).unproven).toEqual(['D3 has no passing test in a.test.ts'])
  })

  test('wants a test beside a command, since a run cannot see a command pass', () => {
    expect(account({ W5: [{ kind: 'command', name: 'npm run demo' }] }, []).unproven).toHaveLength(1)
  })

  test('names what is proved but not listed, and everything still open', () => {
    const { unlisted, open } = account(listed, [passing('a.test.ts', '[L4] twice')])
    expect(unlisted).toEqual(['L4'])
    expect(open).toHaveLength(Object.keys(PROMISES).length - 1)
  })
})

test('every proof in the list can be found', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const lost: string[] = []
  for (const [id, proofs] of Object.entries(LISTED)) {
    for (const { kind, name } of proofs ?? []) {
      const script = /^npm run ([\w:-]+)/.exec(name)?.[1]
      if (kind === 'test' ? !existsSync(join(root, name)) : script && !scripts[script]) lost.push(`${id}: ${name}`)
    }
  }
  expect(lost).toEqual([])
})

/** A real run of vitest with the real reporter, over files planted in a folder of its own. */
describe('the reporter', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'sallyport-promises-'))
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  function runWith(tests: Record<string, string>, ...args: string[]) {
    for (const [name, body] of Object.entries(tests)) {
      writeFileSync(join(folder, name), `import { expect, test } from 'vitest'\n${body}`)
    }
    const reporter = join(root, 'test/promises.reporter.ts')
    const listed = { D3: [{ kind: 'test', name: 'a.test.ts' }] }
    const config = { test: { reporters: [[reporter, { listed }]], pool: 'threads', fileParallelism: false } }
    writeFileSync(join(folder, 'vitest.config.mjs'), `export default ${JSON.stringify(config)}`)
    const summary = join(folder, 'summary')
    const { status, stdout } = spawnSync(
      process.execPath,
      [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...args],
      { cwd: folder, encoding: 'utf8', env: { ...process.env, SALLYPORT_TEST_SUMMARY: summary } },
    )
    return { status, stdout, summary: existsSync(summary) ? readFileSync(summary, 'utf8') : '' }
  }

  const proof = { 'a.test.ts': "test('[D3] denied', () => expect(1).toBe(1))" }
  const other = { 'b.test.ts': "test('something else', () => expect(1).toBe(1))" }

  test('lets a run pass whose list is proved', () => {
    expect(runWith(proof)).toMatchObject({ status: 0, summary: '1 passed, 0 failed\n' })
  })

  test('fails a run that lost the proof though every test passed', () => {
    const run = runWith(other)
    expect(run).toMatchObject({ status: 1, summary: '1 passed, 1 failed\n' })
    expect(run.stdout).toContain('promise without proof: D3 has no passing test in a.test.ts')
  })

  test('takes no skipped test for a proof', () => {
    const skipped = { 'a.test.ts': "test('[D3] denied', (t) => t.skip('not here'))" }
    expect(runWith({ ...skipped, ...other })).toMatchObject({ status: 1, summary: '1 passed, 1 failed\n' })
  })

  test('does not blame a run over some of the files', () => {
    expect(runWith({ ...proof, ...other }, 'b.test.ts')).toMatchObject({ status: 0, summary: '1 passed, 0 failed\n' })
  })

  test('does not blame a run over some of the names', () => {
    expect(runWith({ ...proof, ...other }, '-t', 'something')).toMatchObject({ status: 0 })
  })

  test('counts a file that cannot be loaded as failed', () => {
    expect(runWith({ ...proof, 'c.test.ts': "throw new Error('broken')" })).toMatchObject({
      status: 1,
      summary: '1 passed, 1 failed\n',
    })
  })

  test('says which tests were skipped and why', () => {
    const { stdout } = runWith({ ...proof, 'c.test.ts': "test('on Postgres', (t) => t.skip('no server here'))" })
    expect(stdout).toContain('skipped: c.test.ts > on Postgres: no server here')
  })
})
