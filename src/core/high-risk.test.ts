import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { aClaim, anApproval } from '../../test/rows.js'
import type { Approval } from './approval.js'
import { boundHash } from './binding.js'
import { type GrantedLease, riskNeedsInput, riskOf, wasApproved } from './high-risk.js'
import type { Claim } from './job.js'
import { type CompiledPolicy, compilePolicy } from './policy/compile.js'
import { evaluate } from './policy/evaluate.js'
import { parsePolicy } from './policy/parse.js'

function compiled(text: string): CompiledPolicy {
  const { document, faults } = parsePolicy([{ path: 'p.yaml', text }])
  if (document === null) throw new Error(JSON.stringify(faults))
  return compilePolicy(document)
}

const PLAIN = compiled('version: v1\nrules:\n  - { id: do, match: { topic: ">" }, decision: ALLOW }\n')
const CLASSES = compiled(`version: v1
high_risk:
  - { action_type: [delete, refund] }
  - { risk_tags: { all: [money, eu] } }
  - { topic: job.pay.*, labels: { env: [prod, "prod-*"] } }
  - { environment: production, agent: "agent:*-bot" }
job_classes:
  - { topic: job.pay.refund, set: { action_type: refund } }
  - { topic: job.pay.*, derive: { labels: { env: 'has(input.env) ? input.env : "unstated"' } } }
  - { topic: job.do.it, derive: { risk_tags: { money: 'has(input.amount)' } } }
rules:
  - { id: do, match: { topic: ">" }, decision: ALLOW }
`)

describe('risk', () => {
  test('as the agent says it, and as the server holds it', () => {
    const high = (claim: Partial<Claim>, policy = PLAIN) => riskOf(policy, aClaim(claim), 0).high
    expect(high({})).toBe(false)
    expect(high({ action_type: 'delete' })).toBe(true)
    expect(high({ risk_tags: ['money'] })).toBe(true)
    expect(high({ action_type: 'write', labels: { env: 'prod' } })).toBe(true)
    expect(high({ action_type: 'write', labels: { env: 'dev' } })).toBe(false)
    expect(high({ topic: 'job.pay.refund', action_type: 'read' }, CLASSES)).toBe(true)
    expect(high({ topic: 'job.pay.out', input: { env: 'prod-eu' } }, CLASSES)).toBe(true)
    expect(high({ topic: 'job.pay.out', input: { env: 'dev' }, labels: { env: 'prod' } }, CLASSES)).toBe(true)
    expect(high({ topic: 'job.pay.out', input: { env: 'dev' } }, CLASSES)).toBe(false)
  })

  test('knows which topics are judged by what a job carries', () => {
    expect(riskNeedsInput(PLAIN, 'job.pay.refund')).toBe(false)
    expect(riskNeedsInput(CLASSES, 'job.pay.out')).toBe(true)
    expect(riskNeedsInput(CLASSES, 'job.do.it')).toBe(true)
    expect(riskNeedsInput(CLASSES, 'job.do.other')).toBe(false)
  })

  test('agrees with the flag that decisions store, which is worked out another way', () => {
    const word = (...words: string[]) => fc.constantFrom(...words)
    const claims = fc.record({
      topic: word('job.pay.refund', 'job.pay.out', 'job.do.it', 'job.do.other'),
      agent: word('agent:pay-bot', 'agent:other'),
      action_type: fc.option(word('delete', 'refund', 'read', 'write')),
      environment: fc.option(word('production', 'staging')),
      risk_tags: fc.uniqueArray(word('money', 'eu', 'x')),
      labels: fc.dictionary(word('env', '__proto__', 'x'), word('prod', 'prod-eu', 'dev')),
      input: fc.option(fc.record({ env: word('prod', 'prod-eu', 'dev'), amount: fc.integer() }, { requiredKeys: [] })),
    })
    fc.assert(
      fc.property(claims, fc.constantFrom(PLAIN, CLASSES), (given, policy) => {
        const claim = aClaim(given as Partial<Claim>)
        expect(riskOf(policy, claim, 0).high).toBe(evaluate(policy, claim, 0).high_risk)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('approved', () => {
  const view = { labels: {}, risk_tags: [], environment: null, action_type: 'refund' }
  const specs = [{ from: ['role:approver'], need: 1, within_ms: 1000, then: 'deny' as const, valid_for_ms: 1000 }]
  const decision = { decision: 'REQUIRE_APPROVAL', rules: ['ask'], constraints: { timeout_ms: 5 }, job_hash: 'hash' }
  const lease: GrantedLease = { job_id: 'job_1', granted_at: 500, decision }
  const answer = {
    by: 'person:ann',
    role: 'approver',
    team: null,
    key_id: 'k',
    answer: 'approve' as const,
    at: 400,
    note: null,
  }
  const boundOf = (approval: unknown[]) =>
    boundHash({ ...decision, approval: approval as never, effective: view as never })
  const bound_hash = boundOf(specs)
  const approval = anApproval({ status: 'approved', specs, answers: [answer], valid_until: 1400, bound_hash })

  test('by one that binds it', () => {
    expect(wasApproved(lease, view, [approval])).toBe(true)
    // Overtaken later, e.g. by a new policy at a retry: what it let through then was let through rightly.
    expect(wasApproved(lease, view, [{ ...approval, status: 'void' }])).toBe(true)
  })

  const wrong: [string, Partial<Approval>][] = [
    ['pending', { status: 'pending' }],
    ['rejected', { status: 'rejected' }],
    ['expired', { status: 'expired' }],
    ['of another job', { job_id: 'job_2' }],
    ['of another claim', { job_hash: 'other' }],
    ['bound to something else', { bound_hash: 'other' }],
    ['asked of somebody else', { specs: [{ ...specs[0]!, from: ['team:finance'] }] }],
    ['given after the lease', { answers: [{ ...answer, at: 501 }] }],
    ['given by nobody', { answers: [] }],
    ['asked of nobody', { specs: [], bound_hash: boundOf([]) }],
    ['given by who asked', { answers: [{ ...answer, by: 'agent:bot' }] }],
    ['given by who replayed it', { raised_by: 'person:ann' }],
    ['run out by then', { valid_until: 500 }],
    ['without an end', { valid_until: null }],
  ]
  test.each(wrong)('not by one that is %s', (_, change) => {
    expect(wasApproved(lease, view, [{ ...approval, ...change }])).toBe(false)
  })

  test('not where the decision asked for none, is gone, or held something else true', () => {
    expect(wasApproved({ ...lease, decision: { ...decision, decision: 'ALLOW' } }, view, [approval])).toBe(false)
    expect(wasApproved({ ...lease, decision: null }, view, [approval])).toBe(false)
    expect(wasApproved({ ...lease, decision: { ...decision, rules: ['ask', 'more'] } }, view, [approval])).toBe(false)
    expect(wasApproved({ ...lease, decision: { ...decision, constraints: {} } }, view, [approval])).toBe(false)
    expect(wasApproved(lease, { ...view, action_type: 'delete' }, [approval])).toBe(false)
    expect(wasApproved(lease, view, [])).toBe(false)
  })
})
