import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadConfig } from '../src/config.js'
import { start } from '../src/main.js'
import { silentLog } from '../src/platform/log.js'
import { startSallyport, type TestPlane } from '../src/testing.js'
import { API, call } from './hostile/attacker.js'
import { proves } from './requirements.js'
import { scratch, until } from './support/server.js'

/** What changes policy, as the running server does it: who stands behind a snapshot, what it would have changed, and the way back. */
const rules = (...more: string[]) => `
version: v1
default_decision: DENY
rules:
  - { id: reads, match: { topic: job.read.* }, decision: ALLOW }
${more.join('\n')}`
const WRITES = "  - { id: writes, match: { topic: job.write.* }, when: 'input.amount < 50', decision: ALLOW }"
const place = scratch('change-control')
afterAll(() => place.gone())
let plane: TestPlane
beforeAll(async () => {
  plane = await startSallyport({ policy: rules(WRITES) })
})
afterAll(() => plane.stop())

const admin = (method: string, path: string, body?: unknown) => call(plane, plane.keys.admin, method, API + path, body)
const submit = (topic: string, amount: number) =>
  call(plane, plane.keys.agent, 'POST', `${API}/jobs`, { topic, input: { amount } })
const files = (text: string) => [{ path: 'policy.yaml', text }]

describe(`${proves('D9')} impact`, () => {
  beforeAll(async () => {
    for (const amount of [10, 20, 80]) await submit('job.write.order', amount)
    await submit('job.read.order', 1)
  })

  test('decides again what was recorded, denials too, and shows what lets more through first', async () => {
    const text = rules(WRITES.replace('< 50', '> 15'))
    const { status, body } = await admin('POST', '/policy/impact', { files: files(text) })
    expect(status).toBe(200)
    expect(body).toMatchObject({ looked_at: 4, unchanged: 2, undecidable: 0, next: null })
    const words = body.changes.map(({ before, after, effect, count }: Record<string, unknown>) => [
      before,
      after,
      effect,
      count,
    ])
    expect(words).toEqual([
      ['DENY', 'ALLOW', 'looser', 1],
      ['ALLOW', 'DENY', 'tighter', 1],
    ])
    expect(body.changes[0].examples).toEqual([
      expect.objectContaining({ job_id: null, agent: 'agent:first', topic: 'job.write.order' }),
    ])
  })

  test('goes on where the call before ended, and leaves nothing out', async () => {
    let [before, looked, calls]: [string | null, number, number] = [null, 0, 0]
    do {
      const asked = { files: files(rules()), most: 1, ...(before === null ? {} : { before }) }
      const { body } = await admin('POST', '/policy/impact', asked)
      looked += body.looked_at
      before = body.next
      calls++
    } while (before !== null && calls < 20)
    expect(looked).toBe(4)
  })

  test('of files of one’s own is for who may write policy, of what is stored for every reader', async () => {
    const { key } = (await admin('POST', '/keys', { role: 'viewer' })).body
    const ask = (body: unknown) => call(plane, key, 'POST', `${API}/policy/impact`, body)
    expect(await ask({ files: files(rules()) })).toMatchObject({
      status: 403,
      body: { code: 'forbidden', needs: 'policy:write' },
    })
    const [{ policy_snapshot }] = (await admin('GET', '/policy/snapshots')).body.items
    expect(await ask({ policy_snapshot })).toMatchObject({ status: 200, body: { looked_at: 4 } })
  })

  test('records nothing, and is not for agents', async () => {
    const size = async () => (await admin('GET', '/audit?kind=job.denied')).body.items.length
    const was = await size()
    await admin('POST', '/policy/impact', { files: files(rules()) })
    expect(await size()).toBe(was)
    const asked = { files: files(rules()) }
    expect((await call(plane, plane.keys.agent, 'POST', `${API}/policy/impact`, asked)).status).toBe(403)
    expect((await admin('POST', '/policy/impact', {})).status).toBe(422)
    expect((await admin('POST', '/policy/impact', { files: files('rules: 1') })).body.code).toBe('policy_invalid')
  })
})

describe(`${proves('C5')} a snapshot`, () => {
  test('says who stands behind it, and so does the log', async () => {
    const about = {
      author: 'person:author',
      source_commit: '3f2c1a9',
      reviewers: ['person:b', 'person:a'],
      note: 'why',
    }
    const { body } = await admin('POST', '/policy/snapshots', { files: files(rules()), ...about, activate: true })
    expect(body).toMatchObject({ ...about, active: true })
    const { items } = (await admin('GET', '/audit?kind=policy.activated')).body
    expect(items.at(-1).facts).toMatchObject({
      author: 'person:author',
      source_commit: '3f2c1a9',
      reviewers: 'person:a,person:b',
    })
  })

  test('gives way to the one before it in one call, and that to the one before that', async () => {
    const push = async (text: string) =>
      (await admin('POST', '/policy/snapshots', { files: files(text), activate: true })).body.digest
    const back = async () => (await admin('POST', '/policy/rollback')).body.digest
    const line = (n: number) => rules(WRITES, `  - { id: r${n}, match: { topic: job.r${n} }, decision: ALLOW }`)
    const [a, b] = [await push(line(1)), await push(line(2))]
    await push(rules())
    expect((await submit('job.write.order', 10)).status).toBe(403)
    expect(await back()).toBe(b)
    expect((await submit('job.write.order', 10)).status).toBe(202)
    const d = await push(line(4))
    // Not to what was gone back from.
    expect([await back(), await back()]).toEqual([b, a])
    expect((await admin('POST', `/policy/snapshots/${d}/activate`)).body.active).toBe(true)
    expect(await back()).toBe(a)
  })
})

test('where nothing else was ever active there is nothing to go back to', async () => {
  const fresh = await startSallyport({ policy: rules() })
  expect((await call(fresh, fresh.keys.admin, 'POST', `${API}/policy/rollback`)).status).toBe(404)
  await fresh.stop()
})

describe(`${proves('C5')} where the active policy has a say in what comes after it`, () => {
  const asks = (rest: string) =>
    rules(
      `  - { id: changes, match: { topic: sallyport.policy.activate }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver] } }${rest}`,
    )
  let governed: TestPlane
  beforeAll(async () => {
    governed = await startSallyport({ policy: asks('') })
  })
  afterAll(() => governed.stop())
  const as = (key: string) => (method: string, path: string, body?: unknown) =>
    call(governed, key, method, API + path, body)
  const root = (method: string, path: string, body?: unknown) => as(governed.keys.admin)(method, path, body)
  const answer = async (approval_id: string, word: 'approve' | 'reject') => {
    const { body } = await root('GET', `/approvals/${approval_id}`)
    const said = word === 'approve' ? { grant_hash: body.grant_hash } : { reason: 'no' }
    return (await as(governed.keys.approver)('POST', `/approvals/${approval_id}/${word}`, said)).status
  }
  const isActive = (digest: string) =>
    until('it is active', async () => (await root('GET', '/policy')).body.digest === digest)

  test('a call asks, an approver answers, and the plane does it', async () => {
    const before = (await root('GET', '/policy')).body.digest
    const text = asks('\n  - { id: more, match: { topic: job.more }, decision: ALLOW }')
    const pushed = await root('POST', '/policy/snapshots', {
      files: files(text),
      activate: true,
      reviewers: ['person:b'],
    })
    expect(pushed).toMatchObject({ status: 202, body: { active: false, asked: { status: 'pending_approval' } } })
    expect((await root('GET', '/policy')).body.digest).toBe(before)
    const { digest, asked } = pushed.body
    const shown = (await root('GET', `/jobs/${asked.job_id}`)).body
    expect(shown).toMatchObject({ topic: 'sallyport.policy.activate', requested_by: 'admin:first' })
    expect(await answer(asked.approval_id, 'approve')).toBe(200)
    await isActive(digest)
    expect((await root('GET', `/jobs/${asked.job_id}`)).body.status).toBe('succeeded')
  })

  test('so is the file of the configuration, once: no as an answer holds over the next look at it', async () => {
    const before = (await root('GET', '/policy')).body.digest
    const file = join(governed.dataDir, 'policy.yaml')
    writeFileSync(file, asks('\n  - { id: other, match: { topic: job.other }, decision: ALLOW }'))
    const { activated, approval_id } = await governed.reloadPolicy()
    // The watcher of the file may have been there first.
    const open = (await root('GET', '/approvals?status=pending')).body.items
    expect([activated, open.length]).toEqual([false, 1])
    expect(approval_id === null || approval_id === open[0].approval_id).toBe(true)
    expect(await answer(open[0].approval_id, 'reject')).toBe(200)
    expect(await governed.reloadPolicy()).toEqual({ activated: false, approval_id: null })
    expect((await root('GET', '/approvals?status=pending')).body.items).toEqual([])
    expect((await root('GET', '/policy')).body.digest).toBe(before)
  })
})

test('a policy that lets nothing come after it gives way to whoever starts the server and says so', async () => {
  const file = place.at('policy.yaml')
  const on = async (text: string, env: Record<string, string>) => {
    writeFileSync(file, text)
    const config = loadConfig({ SALLYPORT_POLICY: file, ...env }, { dataDir: place.at('data'), port: 0 })
    const node = await start(config, { thread: false, log: silentLog })
    const key = readFileSync(node.keyFiles.admin as string, 'utf8').trim()
    const { body } = await call(node, key, 'GET', `${API}/policy`)
    const log = await call(node, key, 'GET', `${API}/audit?kind=policy.activated`)
    await node.stop()
    const entries = log.body.items as { facts: { forced?: boolean } }[]
    return { text: body.files[0].text as string, forced: entries.map(({ facts }) => facts.forced) }
  }
  const shut = rules("  - { id: never, match: { topic: 'sallyport.>' }, decision: DENY }")
  expect((await on(shut, {})).text).toBe(shut)
  expect((await on(rules(), {})).text).toBe(shut)
  expect(await on(rules(), { SALLYPORT_FORCE_POLICY: 'true' })).toEqual({ text: rules(), forced: [undefined, true] })
}, 60_000)
