import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { proves } from '../requirements.js'
import { until } from '../support/server.js'

/** The built command line as people run it: a process of its own, its exit code, and what it wrote where. */
const CLI = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const DEFAULT_POLICY = fileURLToPath(new URL('../../examples/policies/default.yaml', import.meta.url))
const ESC = '\u001b'

const home = mkdtempSync(join(tmpdir(), 'sallyport-cli-'))
const at = (...names: string[]) => join(home, ...names)
const data = at('data')
let server: ChildProcess
let url: string

interface Ran {
  exit: number | null
  out: string
  err: string
  // biome-ignore lint/suspicious/noExplicitAny: whatever document the command printed
  json: any
}

async function cli(
  args: readonly string[],
  { env = {}, input = '' }: { env?: Record<string, string>; input?: string } = {},
): Promise<Ran> {
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd: home,
    // CI and FORCE_COLOR colour what some libraries print; piped output must stay plain all the same.
    env: { PATH: process.env.PATH, SALLYPORT_URL: url, SALLYPORT_DATA_DIR: data, CI: '1', FORCE_COLOR: '1', ...env },
  })
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk) => {
    out += chunk
  })
  child.stderr.on('data', (chunk) => {
    err += chunk
  })
  child.stdin.end(input)
  const [exit] = (await once(child, 'close')) as [number | null]
  let json: unknown
  try {
    json = JSON.parse(out)
  } catch {}
  return { exit, out, err, json }
}

/** Starts `up` and resolves with the document it prints when it is ready. */
async function up(
  args: readonly string[],
): Promise<{ child: ChildProcess; ready: { url: string; policy: { rules: number } } }> {
  const child = spawn(process.execPath, [CLI, 'up', '--json', '--port', '0', ...args], {
    cwd: home,
    env: { PATH: process.env.PATH, SALLYPORT_LOG_LEVEL: 'error' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [out, err] = ['', '']
  child.stderr?.on('data', (chunk) => {
    err += chunk
  })
  return await new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`up ended with ${code}: ${out}${err}`)))
    child.stdout?.on('data', (chunk) => {
      out += chunk
      try {
        resolve({ child, ready: JSON.parse(out) })
      } catch {}
    })
  })
}

beforeAll(async () => {
  if (!existsSync(CLI)) throw new Error('dist/ is not built: npm run build')
  mkdirSync(at('policy'))
  copyFileSync(DEFAULT_POLICY, at('policy', 'default.yaml'))
  // One more file, so that pushing, comparing and activating have a difference to show.
  writeFileSync(
    at('drills.yaml'),
    `version: v1
rules:
  - { id: allow-effect-drill, match: { topic: job.drill.effect }, decision: ALLOW }
`,
  )
  const started = await up(['--data-dir', data, '--policy', at('policy')])
  server = started.child
  url = started.ready.url
})

afterAll(async () => {
  if (server?.exitCode === null) {
    server.kill('SIGKILL')
    await once(server, 'exit')
  }
  rmSync(home, { recursive: true, force: true })
})

describe('usage', () => {
  test('help and version are done, anything unknown is 2', async () => {
    expect((await cli(['--help'])).exit).toBe(0)
    const { version } = JSON.parse(readFileSync(fileURLToPath(new URL('../../package.json', import.meta.url)), 'utf8'))
    expect((await cli(['--version'])).out).toBe(`${version}\n`)
    for (const args of [[], ['nosuch'], ['jobs'], ['jobs', 'lst'], ['jobs', 'get'], ['jobs', 'list', '--limit', 'x']])
      expect((await cli(args)).exit, args.join(' ')).toBe(2)
  })

  test('in JSON mode a wrong option is a document too, and alone', async () => {
    const ran = await cli(['jobs', 'list', '--bogus', '--json'])
    expect(ran).toMatchObject({ exit: 2, err: '', json: { error: { code: 'usage', exit: 2 } } })
  })

  test('where no server answers it says how to start one', async () => {
    const env = { SALLYPORT_URL: 'http://127.0.0.1:1' }
    const ran = await cli(['jobs', 'list'], { env })
    expect(ran.exit).toBe(69)
    expect(ran.err).toContain('No server answers at http://127.0.0.1:1')
    expect(ran.err).toContain('sallyport up')
    expect((await cli(['jobs', 'list', '--json'], { env })).json.error).toMatchObject({ code: 'no_server', exit: 69 })
  })

  test('a key on the command line is not taken', async () => {
    expect((await cli(['jobs', 'list', '--api-key', 'sp_x'])).exit).toBe(2)
    expect((await cli(['jobs', 'list'], { env: { SALLYPORT_API_KEY: 'sp_wrong' } })).exit).toBe(5)
    expect((await cli(['jobs', 'get', 'job_0000000000'])).exit).toBe(4)
  })
})

describe(`${proves('W5')} jobs and approvals`, () => {
  test('an allowed action is queued, listed, followed and cancelled', async () => {
    const submitted = await cli(['jobs', 'submit', '--topic', 'job.repo.read', '--input', '-', '--json'], {
      input: '{"op":"log"}',
    })
    expect(submitted).toMatchObject({ exit: 0, json: { decision: 'ALLOW', status: 'queued' } })
    const id = submitted.json.job_id
    const listed = await cli(['jobs', 'list', '--topic', 'job.repo.read'])
    expect(listed.out).toContain(id)
    expect(listed.out).not.toContain(ESC)
    expect((await cli(['jobs', 'watch', id, '--for', '1ms'])).exit).toBe(75)
    expect((await cli(['jobs', 'result', id])).exit).toBe(1)
    expect((await cli(['jobs', 'cancel', id, '--reason', 'enough'])).exit).toBe(0)
    const watched = await cli(['jobs', 'watch', id, '--json'])
    expect(watched).toMatchObject({ exit: 1, json: { job: { status: 'cancelled' } } })
    expect(watched.json.timeline.map(({ kind }: { kind: string }) => kind)).toEqual(['job.submitted', 'job.cancelled'])
  })

  test('a repeat with the same idempotency key is the same job', async () => {
    const args = ['jobs', 'submit', '--topic', 'job.repo.read', '--idempotency-key', 'once', '--json']
    const [first, second] = [await cli(args), await cli(args)]
    expect(second.json.job_id).toBe(first.json.job_id)
  })

  test('a denial says why and is exit 1, in words and as JSON', async () => {
    const args = [
      'jobs',
      'submit',
      '--topic',
      'job.exec.shell',
      '--label',
      'env=prod',
      '--label',
      'command_class=destructive',
    ]
    const ran = await cli(args)
    expect(ran.exit).toBe(1)
    expect(ran.out).toMatch(
      /decision +DENY\nreason +destructive shell action blocked in production\nrules +deny-destructive-prod-shell/,
    )
    const { error } = (await cli([...args, '--json'])).json
    expect(error).toMatchObject({ code: 'policy_denied', decision: 'DENY', status: 403, exit: 1 })
  })

  test('approving takes the hash of what was seen, and what was seen is everything and cannot pose', async () => {
    const input = { service: 'checkout', note: `${ESC}[2J\u202eevil` }
    const args = [
      'jobs',
      'submit',
      '--topic',
      'job.deploy.apply',
      '--label',
      'env=prod',
      '--input',
      JSON.stringify(input),
      '--json',
    ]
    const { approval_id, grant_hash, job_id } = (await cli(args)).json
    expect((await cli(['approvals', 'list'])).out).toContain(approval_id)
    const shown = await cli(['approvals', 'show', approval_id])
    expect(shown.out).not.toMatch(new RegExp(`[${ESC}\u202e]`, 'u'))
    expect(shown.out).toContain('\\u001b[2J\\u202eevil')
    for (const part of ['require-approval-prod-deploy', 'env=prod', 'role:approver', grant_hash, 'expires'])
      expect(shown.out).toContain(part)

    const blind = await cli(['approvals', 'approve', approval_id])
    expect(blind.exit).toBe(2)
    expect(blind.err).toContain('--grant-hash')
    const stale = await cli(['approvals', 'approve', approval_id, '--grant-hash', 'v1:0000000', '--json'])
    expect(stale).toMatchObject({ exit: 1, json: { error: { code: 'approval_stale' } } })
    const approved = await cli([
      'approvals',
      'approve',
      approval_id,
      '--grant-hash',
      grant_hash,
      '--note',
      'seen',
      '--json',
    ])
    expect(approved).toMatchObject({ exit: 0, json: { status: 'approved' } })
    expect((await cli(['jobs', 'get', job_id, '--json'])).json.status).toBe('queued')
  })

  test('rejecting needs a reason', async () => {
    const { approval_id } = (
      await cli(['jobs', 'submit', '--topic', 'job.deploy.apply', '--label', 'env=prod', '--json'])
    ).json
    expect((await cli(['approvals', 'reject', approval_id])).exit).toBe(2)
    expect((await cli(['approvals', 'reject', approval_id, '--reason', 'not today'])).out).toContain('rejected')
    expect((await cli(['dlq', 'list'])).exit).toBe(0)
  })
})

describe(`${proves('W5')} keys`, () => {
  test('a key goes into a file of its owner only, works, and ends when revoked', async () => {
    const file = at('viewer.key')
    const made = await cli([
      'keys',
      'create',
      '--role',
      'viewer',
      '--principal',
      'person:viewer',
      '--out',
      file,
      '--json',
    ])
    expect(made.exit).toBe(0)
    expect(made.out).not.toContain(readFileSync(file, 'utf8').trim())
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect((await cli(['jobs', 'list', '--key-file', file])).exit).toBe(0)
    expect((await cli(['keys', 'list', '--key-file', file])).exit).toBe(5)
    expect((await cli(['keys', 'create', '--role', 'viewer', '--out', file])).exit).toBe(2)
    expect((await cli(['keys', 'revoke', made.json.key_id])).exit).toBe(0)
    expect((await cli(['jobs', 'list', '--key-file', file])).exit).toBe(5)
  })

  test(`${proves('S2')} a key is narrowed, told of when it is due, and rotated with an overlap`, async () => {
    const [old, next] = [at('old.key'), at('next.key')]
    const bound = ['--role', 'viewer', '--permissions', 'jobs:read,keys:read', '--expires-in', '3d']
    expect((await cli(['keys', 'create', ...bound])).err).toContain('keys:read')
    const made = await cli(['keys', 'create', '--role', 'auditor', ...bound.slice(2), '--out', old, '--json'])
    expect(made.json).toMatchObject({ permissions: ['jobs:read', 'keys:read'], due: ['expiry'] })
    expect((await cli(['audit', 'list', '--key-file', old])).exit).toBe(5)
    const due = await cli(['keys', 'list', '--due', '--json', '--key-file', old])
    expect(due.json.items.map((key: { key_id: string }) => key.key_id)).toEqual([made.json.key_id])
    const rotated = await cli(['keys', 'rotate', made.json.key_id, '--overlap', '5m', '--out', next, '--json'])
    expect(rotated.json).toMatchObject({ key_file: next, rotates: { key_id: made.json.key_id } })
    expect((await cli(['keys', 'rotate', made.json.key_id])).exit).toBe(1)
    expect((await cli(['keys', 'rotate', readFileSync(old, 'utf8').trim()])).exit).toBe(2)
    for (const file of [old, next]) expect((await cli(['keys', 'list', '--key-file', file])).exit).toBe(0)
    expect(
      (await cli(['keys', 'list', '--due', '--json'])).json.items.map((key: { key_id: string }) => key.key_id),
    ).toEqual([rotated.json.key_id])
  })

  test(`${proves('S3')} a token of a key does what it is narrowed to`, async () => {
    const file = at('run.token')
    const made = await cli(['tokens', 'create', '--minutes', '5', '--run', 'run-cli', '--out', file, '--json'])
    expect(made.json).toMatchObject({ run_id: 'run-cli', token_file: file })
    const submit = (...more: string[]) =>
      cli(['jobs', 'submit', '--topic', 'job.repo.read', '--input', '{"op":"log"}', '--key-file', file, ...more])
    expect((await submit('--run', 'run-cli')).exit).toBe(0)
    expect((await submit()).exit).toBe(5)
    const shown = await cli(['tokens', 'create'])
    expect(shown.out).toMatch(/eyJ\S+\.\S+\.\S+/)
    expect((await cli(['tokens', 'create', '--minutes', '61'])).exit).toBe(2)
  })
})

describe(`${proves('O2')} runs`, () => {
  test(`${proves('C3')} shows everything of a run in order, each entry proven here, and drafts its postmortem`, async () => {
    const one = [
      'jobs',
      'submit',
      '--topic',
      'job.repo.read',
      '--input',
      '{"op":"log"}',
      '--run',
      'run-of-two',
      '--json',
    ]
    const first = await cli(one)
    const second = await cli(one)
    await cli(['jobs', 'cancel', second.json.job_id])
    const shown = await cli(['runs', 'show', 'run-of-two', '--json'])
    expect(shown.json).toMatchObject({ jobs: 2, by_status: { cancelled: 1 } })
    // 3 until the newest entries are under a head.
    const proven = await until('all is proven', async () => {
      const ran = await cli(['runs', 'timeline', 'run-of-two', '--prove', '--json'])
      return ran.exit === 0 && ran
    })
    const items = proven.json.items as { kind: string; proven: boolean; facts: { job_id: string } }[]
    expect(items.map(({ kind, facts }) => [kind, facts.job_id])).toEqual([
      ['job.submitted', first.json.job_id],
      ['job.submitted', second.json.job_id],
      ['job.cancelled', second.json.job_id],
    ])
    expect(items.every((item) => item.proven)).toBe(true)
    const draft = await cli(['runs', 'postmortem', 'run-of-two', '--prove', '--out', at('postmortem.md')])
    expect(draft.exit).toBe(0)
    expect(readFileSync(at('postmortem.md'), 'utf8')).toMatch(/3 entries, each proven to stand under the signed head/)
    expect((await cli(['runs', 'show', 'no-such-run'])).exit).toBe(4)
  })
})

describe(`${proves('W5')} policy`, () => {
  test('replay puts the shipped scenarios to a file and to the active snapshot, and ends with 1 on a finding', async () => {
    const loose = at('loose.yaml')
    const rule = '{ id: refunds, match: { topic: job.payments.refund }, decision: ALLOW }'
    writeFileSync(loose, `version: v1\ndefault_decision: DENY\nrules:\n  - ${rule}\n`)
    const found = await cli(['policy', 'replay', loose])
    expect(found.exit).toBe(1)
    expect(found.out).toMatch(/critical bypass {2}small-refund +written \+ \d+ +ALLOW +>= REQUIRE_APPROVAL +refunds/)
    const clean = await cli(['policy', 'replay', 'active', '--log', at('replay.jsonl'), '--json'])
    expect(clean).toMatchObject({ exit: 0, json: { critical_bypasses: 0, unsafe_duplicates: 0, findings: [] } })
    const entries = readFileSync(at('replay.jsonl'), 'utf8').trim().split('\n')
    expect(entries).toHaveLength(clean.json.decided.DENY)
    writeFileSync(at('none.yaml'), 'version: v1\nscenarios: []\n')
    expect((await cli(['policy', 'replay', loose, '--scenarios', at('none.yaml')])).exit).toBe(1)
  })

  test('check names every fault with its place; strict makes warnings fail', async () => {
    const bad = at('bad.yaml')
    writeFileSync(bad, 'version: v1\nrules:\n  - id: a\n    match: { topc: job.x }\n    decision: ALOW\n')
    const ran = await cli(['policy', 'check', bad])
    expect(ran.exit).toBe(1)
    expect(ran.out).toMatch(/bad\.yaml:4:14 {2}error {2}.*topc.*did you mean 'topic'/)
    expect(ran.out).toMatch(/bad\.yaml:5:15 {2}error {2}.*ALOW/)
    expect((await cli(['policy', 'check', bad, '--json'])).json).toMatchObject({
      ok: false,
      policy_snapshot: null,
    })
    const noVersion = at('no-version.yaml')
    writeFileSync(noVersion, 'rules: []\n')
    expect((await cli(['policy', 'check', noVersion])).exit).toBe(0)
    expect((await cli(['policy', 'check', noVersion, '--strict'])).exit).toBe(1)
    expect((await cli(['policy', 'check', at('nosuch.yaml')])).exit).toBe(4)
  })

  test('test runs the tests, and none is no pass', async () => {
    expect((await cli(['policy', 'test', DEFAULT_POLICY, '--json'])).json).toMatchObject({ ok: true, failed: 0 })
    expect((await cli(['policy', 'test', at('drills.yaml')])).exit).toBe(1)
  })

  test('explain and evaluate give the same answer, with the why', async () => {
    const job = [
      '--topic',
      'job.exec.shell',
      '--label',
      'command_class=safe',
      '--input',
      '{"command":"rm -rf /"}',
      '--json',
    ]
    const [file, asked] = [
      await cli(['policy', 'explain', at('policy'), ...job]),
      await cli(['policy', 'evaluate', ...job]),
    ]
    expect(file.exit).toBe(1)
    expect(asked.exit).toBe(1)
    for (const part of ['decision', 'reason', 'rules', 'policy_snapshot'])
      expect(asked.json[part]).toEqual(file.json[part])
    expect(asked.json.why.overruled).toContainEqual({
      key: 'labels.command_class',
      claimed: 'safe',
      held: 'destructive',
    })
  })

  test('a snapshot is pushed, compared with the one before, and taken back', async () => {
    const before = (await cli(['policy', 'snapshots', '--json'])).json.items[0].policy_snapshot
    const pushed = await cli(['policy', 'push', at('policy'), at('drills.yaml'), '--activate', '--json'])
    expect(pushed).toMatchObject({ exit: 0, json: { active: true } })
    const diff = await cli(['policy', 'diff', before, 'active', '--exit-code', '--json'])
    expect(diff.exit).toBe(1)
    expect(diff.json.changes.map(({ id }: { id: string }) => id)).toContain('allow-effect-drill')
    expect((await cli(['policy', 'diff', 'active', 'active', '--exit-code'])).exit).toBe(0)
    expect((await cli(['policy', 'activate', before, '--json'])).json.active).toBe(true)
    expect((await cli(['policy', 'activate', pushed.json.policy_snapshot])).exit).toBe(0)
  })
})

describe(`${proves('W5')} drills`, () => {
  test.each([['deny'], ['approval'], ['worker-crash']])('%s holds on this server', async (drill) => {
    const ran = await cli(['drill', drill, '--json'], {
      env: { SALLYPORT_API_KEY: readFileSync(join(data, 'keys', 'admin.key'), 'utf8').trim() },
    })
    expect(ran.json, ran.out + ran.err).toMatchObject({ drill, ok: true })
    expect(ran.exit).toBe(0)
  })

  test('a drill fails where the control does not hold', async () => {
    const allowed = await cli(['drill', 'deny', '--topic', 'job.repo.read'])
    expect(allowed.exit).toBe(1)
    expect(allowed.out).toContain('FAIL  job.repo.read is answered 403')
    expect((await cli(['drill', 'approval', '--topic', 'job.repo.read'])).exit).toBe(1)
  })
})

// Last: these stop the server.
describe(`${proves('C1', 'W5')} audit`, () => {
  test('without a head from outside the tail is not checked; with one the log is whole', async () => {
    const blind = await cli(['audit', 'verify'])
    expect(blind.exit).toBe(3)
    expect(blind.out).toMatch(/truncation +NOT CHECKED/)
    expect((await cli(['audit', 'head', '--append', at('heads')])).exit).toBe(0)
    expect(await cli(['audit', 'verify', '--head', at('heads'), '--json'])).toMatchObject({
      exit: 0,
      json: { ok: true, truncation: 'CHECKED' },
    })
    expect((await cli(['audit', 'proof', '0'])).exit).toBe(0)
    expect((await cli(['audit', 'proof', '-1'])).exit).toBe(2)
    expect((await cli(['audit', 'proof', '99999999'])).exit).toBe(2)
  })

  test('an export verifies elsewhere; altered or cut it does not', async () => {
    const file = at('export.jsonl')
    expect(await cli(['audit', 'export', '--out', file, '--json'])).toMatchObject({ exit: 0, json: { file } })
    expect((await cli(['audit', 'verify', '--export', file, '--head', at('heads')])).exit).toBe(0)
    const whole = readFileSync(file, 'utf8')
    const edited = at('edited.jsonl')
    writeFileSync(edited, whole.replace('agent:first', 'agent:fir5t'))
    const caught = await cli(['audit', 'verify', '--export', edited, '--head', at('heads')])
    expect(caught.exit).toBe(1)
    expect(caught.out).toMatch(/first bad +entry \d+, tile \d+ of writer wr_/)
    writeFileSync(edited, `${whole.split('\n').slice(0, -3).join('\n')}\n`)
    expect((await cli(['audit', 'verify', '--export', edited, '--head', at('heads')])).exit).toBe(1)
    expect((await cli(['audit', 'verify', '--export', at('nosuch')])).exit).toBe(2)
    expect((await cli(['audit', 'verify', '--head', at('nosuch')])).exit).toBe(2)
    expect((await cli(['audit', 'verify', '--export', '-', '--head', at('heads')], { input: whole })).exit).toBe(0)
  })

  test('a second server on the directory is refused; SIGTERM drains; then the directory itself verifies', async () => {
    const second = await cli(['up', '--data-dir', data, '--port', '0', '--json'])
    expect(second).toMatchObject({ exit: 1, json: { error: { code: 'cannot_start' } } })
    expect((await cli(['audit', 'verify', '--data-dir', data])).exit).toBe(1)
    server.kill('SIGTERM')
    expect(await once(server, 'exit')).toEqual([0, null])
    expect(await cli(['audit', 'verify', '--data-dir', data, '--head', at('heads'), '--json'])).toMatchObject({
      exit: 0,
      json: { ok: true, tenant: 'default', truncation: 'CHECKED' },
    })
    expect((await cli(['audit', 'verify', '--data-dir', at('nosuch')])).exit).toBe(4)
    expect((await cli(['audit', 'export', '--data-dir', data])).out).toMatch(/"record":"end"/)
  })

  test('a wrong policy or setting stops the start with its fault', async () => {
    const broken = await cli(['up', '--data-dir', at('other'), '--port', '0', '--policy', at('bad.yaml')])
    expect(broken.exit).toBe(1)
    expect(broken.err).toMatch(/bad\.yaml:4:14/)
    const setting = await cli(['up', '--data-dir', at('other')], { env: { SALLYPORT_PORT: 'abc' } })
    expect(setting.exit).toBe(1)
    expect(setting.err).toContain('SALLYPORT_PORT is "abc"')
  })
})
