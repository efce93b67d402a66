import { afterAll, beforeAll, expect, test } from 'vitest'
import { createWorker, type Worker } from '../src/sdk/worker.js'
import { startSallyport, type TestPlane } from '../src/testing.js'
import { API, call } from './hostile/attacker.js'
import { proves } from './requirements.js'
import { type MailServer, type Receiver, startMailServer, startReceiver } from './support/post-office.js'
import { until } from './support/server.js'

/** A rollback from one end to the other: real server, workers, mail server and webhook receiver. */
const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: do, match: { topic: job.ticket.open }, decision: ALLOW }
  - { id: close, match: { topic: job.ticket.close }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver] } }
`
const NAME = 'agent:first'
let plane: TestPlane
let office: MailServer
let receiver: Receiver
const workers: Worker[] = []

beforeAll(async () => {
  office = await startMailServer()
  receiver = await startReceiver()
  plane = await startSallyport({
    policy: POLICY,
    env: {
      SALLYPORT_SMTP_URL: office.url,
      SALLYPORT_CHANNEL_HOOK: 'a key that both ends know',
      SALLYPORT_WEBHOOK_PRIVATE_HOSTS: receiver.host,
    },
  })
})
afterAll(async () => {
  await Promise.all(workers.map((each) => each.stop({ graceMs: 0 })))
  await plane?.stop()
  await office?.stop()
  await receiver?.stop()
})

const admin = async (method: string, path: string, body?: unknown) =>
  (await call(plane, plane.keys.admin, method, API + path, body)).body
const worker = async (options: Pick<Parameters<typeof createWorker>[0], 'topics' | 'serves'>) => {
  const made = createWorker({ url: plane.url, apiKey: plane.keys.worker, waitMs: 500, log: () => {}, ...options })
  workers.push(made)
  await made.start()
}

test(`${proves('G4', 'G10', 'R7')} what a candidate did is undone through both doors, and its stakeholders hear why and when it is over`, async () => {
  const events = ['rollout.rolled_back', 'rollout.recovered']
  await admin('PUT', '/teams/support', {})
  await admin('PUT', '/principals/person:sue', {
    kind: 'person',
    role: 'viewer',
    email: 'sue@example.com',
    team: 'support',
  })
  await admin('PUT', '/channels/mail', { kind: 'email', settings: { from: 'plane@example.com' }, events })
  const hook = { url: receiver.url, secret_env: 'SALLYPORT_CHANNEL_HOOK', allow_private: true }
  await admin('PUT', '/channels/hook', { kind: 'webhook', settings: hook, events })
  const gate = { window: '1d', checks: { success_rate_pct: { target_gte: 99 } } }
  const declaration = {
    rollout: 'first-2',
    subject: { kind: 'agent', name: NAME, candidate: '2.0', stable: '1.9' },
    owners: { reliability: 'sre-oncall', governance: 'ai-governance', cost: 'finops' },
    stakeholders: ['team:support'],
    phases: [{ name: 'all', share: 100, risk: 'mixed', min_duration: '1h', gate }],
  }
  const { rollout_id } = await admin('POST', '/rollouts', { declaration })
  await admin('POST', `/rollouts/${rollout_id}/start`)

  const world: string[] = []
  await worker({
    serves: [`${NAME}@2.0`],
    topics: {
      async 'job.ticket.open'({ input }, ctx) {
        const { title } = input as { title: string }
        for (const n of [1, 2])
          await ctx.effect(`open-${n}`, () => world.push(`${title}-${n}`), {
            compensate: (place) => ({ topic: 'job.ticket.close', input: { ticket: `${title}-${n}`, place } }),
          })
        return { opened: 2 }
      },
    },
  })
  await worker({
    topics: {
      'job.ticket.close': ({ input }, ctx) =>
        ctx.effect('close', () => world.push(`closed ${(input as { ticket: string }).ticket}`)),
    },
  })
  const { job_id } = (
    await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, { topic: 'job.ticket.open', input: { title: 'leak' } })
  ).body
  await until('the job is done', async () => (await admin('GET', `/jobs/${job_id}`)).status === 'succeeded')
  expect(world).toEqual(['leak-1', 'leak-2'])

  await admin('POST', `/rollouts/${rollout_id}/roll-back`, { reason: 'it opens everything twice' })
  const refused = await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, {
    topic: 'job.ticket.open',
    agent_version: '2.0',
  })
  expect([refused.status, refused.body.code]).toEqual([403, 'version_refused'])
  for (let n = 0; n < 2; n++) {
    const pending = await until('a question', async () => {
      const { items } = await admin('GET', '/approvals?status=pending')
      return (items as { approval_id: string; grant_hash: string; requested_by: string }[])[0]
    })
    expect(pending.requested_by).toBe('system:rollouts')
    await call(plane, plane.keys.approver, 'POST', `${API}/approvals/${pending.approval_id}/approve`, {
      grant_hash: pending.grant_hash,
    })
    await until('it is closed', () => world.length === 3 + n)
  }
  expect(world).toEqual(['leak-1', 'leak-2', 'closed leak-2', 'closed leak-1'])

  const over = await until('the mail that it is over', () =>
    office.mails.find(({ headers }) => headers.subject?.[0]?.startsWith('Recovered')),
  )
  expect(over.to).toEqual(['sue@example.com'])
  const first = office.mails.find(({ headers }) => headers.subject?.[0] === 'Rolled back: first-2')
  for (const words of [
    'it opens everything twice',
    'agent agent:first',
    'sre-oncall',
    'undone, last first',
    rollout_id,
  ])
    expect(first?.text).toContain(words)
  const hooks = await until('both webhooks', () => (receiver.posts.length >= 2 ? receiver.posts : undefined))
  expect(hooks.map(({ body }) => JSON.parse(body).event)).toEqual(events)

  const report = await admin('GET', `/rollouts/${rollout_id}/report`)
  expect(report.compensations).toMatchObject({
    total: 2,
    by_status: { done: 2 },
    items: [
      {
        effect_key: 'open-2',
        decision: { decision: 'REQUIRE_APPROVAL' },
        approval: { answers: [{ answer: 'approve' }] },
      },
      { effect_key: 'open-1' },
    ],
  })
  expect(report.stop.nodes).toHaveLength(1)
  expect(report.stop.confirmed_ms).not.toBeNull()
  expect(report.told.map(({ event, status }: { event: string; status: string }) => `${event} ${status}`)).toContain(
    'rollout.rolled_back sent',
  )
  const text = await call(plane, plane.keys.admin, 'GET', `${API}/rollouts/${rollout_id}/report.md`)
  expect(text.text).toContain('# Rollback of first&#45;2')
})
