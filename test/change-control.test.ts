import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startSallyport, type TestPlane } from '../src/testing.js'
import { API, call } from './hostile/attacker.js'
import { proves } from './requirements.js'

/** What changes policy, as the running server does it: who stands behind a snapshot, what it would have changed, and the way back. */
const rules = (...more: string[]) => `
version: v1
default_decision: DENY
rules:
  - { id: reads, match: { topic: job.read.* }, decision: ALLOW }
${more.join('\n')}`
const WRITES = "  - { id: writes, match: { topic: job.write.* }, when: 'input.amount < 50', decision: ALLOW }"
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

  test('gives way to the one before it in one call, and comes back in another', async () => {
    const second = (await admin('GET', '/policy')).body.digest
    expect((await submit('job.write.order', 10)).status).toBe(403)
    const first = await admin('POST', '/policy/rollback')
    expect(first.body.digest).not.toBe(second)
    expect((await submit('job.write.order', 10)).status).toBe(202)
    expect((await admin('POST', '/policy/rollback')).body.digest).toBe(second)
  })
})

test('where nothing else was ever active there is nothing to go back to', async () => {
  const fresh = await startSallyport({ policy: rules() })
  expect((await call(fresh, fresh.keys.admin, 'POST', `${API}/policy/rollback`)).status).toBe(404)
  await fresh.stop()
})
