import { expect, test } from 'vitest'
import type { Approval } from '../../core/approval.js'
import type { Job } from '../../core/job.js'
import { Problem } from '../../errors.js'
import { answeredPage, askPage, isShownWhole, refusedPage } from './link.js'

const HOSTILE = '<script>alert(1)</script>"\'\u202egnp.exe\u0000\n<form action=//evil>'
const approval = {
  approval_id: 'apr_01m7vps2s1c6r0v9q4h8e7t2nd',
  agent: `agent:refunds ${HOSTILE}`,
  requested_by: 'agent:refunds',
  topic: 'job.payments.refund',
  reason: `refunds over 50 need finance ${HOSTILE}`,
  rules: ['refunds-over-50', HOSTILE],
  constraints: { timeout_ms: 15_000, allowed_hosts: [HOSTILE] },
  answers: [{ by: 'person:ben', answer: 'approve' }],
  expires_at: 1_795_152_740_374,
  grant_hash: '21107d51c4990eb0d377ed2cfe22967f13facd7e1b3fdfdcc8371a2e063bc866',
  job_hash: '276a9092ca496d610298154ade1118e4cc9857a824d04dc6f2fff77797c77eb6',
  status: 'pending',
} as unknown as Approval
const job = {
  capability: 'payments',
  action: null,
  workflow: null,
  agent_version: '2.1.0',
  asked_timeout_ms: null,
  asked_attempts: null,
  not_before: null,
  effective: {
    labels: { env: 'prod', [HOSTILE]: HOSTILE },
    risk_tags: ['money'],
    environment: 'production',
    action_type: 'refund',
  },
} as unknown as Job
const asked = {
  approval,
  job,
  input: { amount: 70, order: 'A-4711', note: HOSTILE, [HOSTILE]: [1, 2] },
  context: null,
  alike: [],
  nonce: `x"><script>`,
  principal: `person:ann ${HOSTILE}`,
}

/** What is left of a page when what is ours is taken out: others' words must have brought no tag, attribute or hidden character. */
function checked(body: string): void {
  expect(body).not.toMatch(/<script|<form action|\u202e/)
  expect(body).not.toContain('\u0000')
  const tags = [...body.matchAll(/<([a-z0-9]+)/g)].map(([, tag]) => tag)
  const ours =
    'html head meta title style body main h1 h2 p strong dl dt dd pre code br form fieldset legend input label textarea button'
  expect(tags.filter((tag) => !ours.split(' ').includes(tag as string))).toEqual([])
}

test('shows what is asked, whole, and lets nothing of it be more than text', () => {
  const { status, headers, body } = askPage(asked)
  expect(status).toBe(200)
  expect(headers['content-security-policy']).not.toMatch(/script|unsafe-eval|\*/)
  checked(body)
  for (const each of [
    approval.grant_hash,
    approval.job_hash,
    'v1:21107d5',
    '&lt;script&gt;',
    '\\u{202e}',
    '&quot;amount&quot;: 70',
  ])
    expect(body).toContain(each)
  expect(body.match(/<form method="post">/g)?.length).toBe(2)
  expect(body).not.toMatch(/method="get"|href=|src=/)
})

test('a refusal and an answer are pages of the same kind', () => {
  checked(refusedPage(new Problem('link_gone', HOSTILE)).body)
  expect(refusedPage(new Problem('link_gone')).status).toBe(410)
  expect(refusedPage(new Problem('approval_stale')).status).toBe(409)
  checked(answeredPage(approval, 'approve', []).body)
  expect(answeredPage(approval, 'approve', []).body).toContain('More people have to say yes')
})

test('what is too large to be shown whole cannot be approved here, only rejected', () => {
  const large = { ...asked, input: 'y'.repeat(3_000_000) }
  expect([isShownWhole(asked), isShownWhole(large)]).toEqual([true, false])
  const { body } = askPage(large)
  expect(body.length).toBeLessThan(400_000)
  expect(body).toContain('sallyport approvals show')
  expect(body.match(/<form method="post">/g)?.length).toBe(1)
  expect(body).not.toContain('value="approve"')
})

test('shows what it reads and writes, as its class derives it, and nobody approves what is not shown of it', () => {
  const use = (table: string) => ({ system: 'crm', table, fields: ['iban', HOSTILE], access: 'write' as const })
  const withData = (tables: number) => ({
    ...asked,
    job: { ...job, effective: { ...job.effective, data: Array.from({ length: tables }, (_, n) => use(`t${n}`)) } },
  })
  expect(askPage(asked).body).not.toContain('reads and writes')
  const { body } = askPage(withData(2))
  checked(body)
  for (const each of ['reads and writes', '&quot;system&quot;: &quot;crm&quot;', 't1', 'iban', '&quot;write&quot;'])
    expect(body).toContain(each)
  expect(isShownWhole(withData(2))).toBe(true)
  expect(isShownWhole(withData(2000))).toBe(false)
  expect(askPage(withData(2000)).body).not.toContain('value="approve"')
})

test('shows to its end what cannot be seen, which takes eight times the room', () => {
  const { body } = askPage({ ...asked, input: `${'\u200b'.repeat(199_000)}the end` })
  expect(body).toContain('the end&quot;')
})
