import { describe, expect, test } from 'vitest'
import { aClaim, aJob } from '../../test/rows.js'
import { admit } from './admit.js'
import { decide, type Standing } from './door.js'
import { fold, type Job, LIFECYCLE } from './job.js'
import { compilePolicy } from './policy/compile.js'
import { parsePolicy } from './policy/parse.js'
import { rebind } from './rebind.js'

const NOW = 1_700_000_000_000
const standing: Standing = { door: 'approve', now: NOW, counters: {}, grant: null }

function policy(rules: string) {
  const { document, faults } = parsePolicy([
    { path: 'p.yaml', text: `version: v1\ndefault_decision: DENY\nrules:\n${rules}\n` },
  ])
  if (document === null) throw new Error(JSON.stringify(faults))
  return compilePolicy(document)
}
const ASK = '  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL }'
const OTHER = '  - { id: other, match: { topic: job.other }, decision: ALLOW }'
const made = { approval_id: 'apr_2', decision_id: 'dec_2' }

function asked(rules = ASK) {
  const claim = aClaim({ topic: 'job.ask.it' })
  const ids = {
    job_id: 'job_1',
    run_id: 'run_1',
    decision_id: 'dec_1',
    approval_id: 'apr_1',
    requested_by: 'agent:bot',
    priority: 5,
    input_ptr: null,
    context_ptr: null,
    input_hash: null,
  }
  const { job, approval, facts } = admit(claim, decide(policy(rules), claim, standing), standing, ids)
  if (approval === null) throw new Error('nothing was asked')
  return { claim, job, approval, facts }
}

describe('what a new snapshot makes of a pending approval', () => {
  const cases: [what: string, rules: string, status: Job['status'], approval: string, opened: boolean][] = [
    ['another rule for others: rebound', `${ASK}\n${OTHER}`, 'pending_approval', 'pending', false],
    [
      'a constraint of its own: void and asked again',
      ASK.replace('APPROVAL }', 'APPROVAL, constraints: { timeout_ms: 5 } }'),
      'pending_approval',
      'void',
      true,
    ],
    [
      'another rule that matches: void and asked again',
      `${ASK}\n  - { id: also, match: { topic: 'job.>' }, decision: ALLOW }`,
      'pending_approval',
      'void',
      true,
    ],
    [
      'more people wanted: void and asked again',
      ASK.replace('REQUIRE_APPROVAL', 'REQUIRE_APPROVAL, approval: { from: [role:approver], need: 2 }'),
      'pending_approval',
      'void',
      true,
    ],
    ['denied now', `${ASK}\n  - { id: no, match: { topic: job.ask.it }, decision: DENY }`, 'denied', 'void', false],
    ['allowed now', '  - { id: ask, match: { topic: job.ask.* }, decision: ALLOW }', 'queued', 'void', false],
  ]

  test.each(cases)('%s', (_, rules, status, approvalStatus, opened) => {
    const { claim, job, approval, facts } = asked()
    const next = decide(policy(rules), claim, standing)
    const result = rebind(approval, job, next, made, NOW + 1)
    expect(result.job.status).toBe(status)
    expect(result.approval.status).toBe(approvalStatus)
    expect(result.opened !== null).toBe(opened)
    expect(result.job.snapshot).toBe(next.snapshot)
    expect(result.approval.version).toBe(approval.version + 1)
    // What the job waits for is what its row names, with the hash of the new snapshot.
    if (result.job.status === 'pending_approval') {
      const open = result.opened ?? result.approval
      expect(result.job.approval_id).toBe(open.approval_id)
      expect([open.status, open.grant_hash, open.snapshot]).toEqual(['pending', next.grant_hash, next.snapshot])
    }
    const row = fold([...facts, ...result.facts])
    for (const column of LIFECYCLE) expect(row[column]).toEqual(result.job[column])
  })

  test('rebound, it keeps its answers and its deadline; asked again, it has neither', () => {
    const { claim, job, approval } = asked()
    const answered = {
      ...approval,
      answers: [
        { by: 'p', role: 'approver', team: null, key_id: 'key_1', answer: 'approve' as const, at: 1, note: null },
      ],
    }
    const rebound = rebind(answered, job, decide(policy(`${ASK}\n${OTHER}`), claim, standing), made, NOW + 5000)
    expect(rebound.approval).toMatchObject({ answers: answered.answers, expires_at: approval.expires_at })
    const wider = `${ASK}\n  - { id: also, match: { topic: 'job.>' }, decision: ALLOW }`
    const again = rebind(answered, job, decide(policy(wider), claim, standing), made, NOW + 5000)
    expect(again.opened).toMatchObject({ answers: [], expires_at: NOW + 5000 + 86_400_000 })
  })

  test('answers for every job that waits', () => {
    const waiting = aJob({ status: 'pending_approval', approval_id: 'apr_1', topic: 'job.ask.it' })
    const { approval } = asked()
    for (const rules of [ASK, OTHER, ASK.replace('REQUIRE_APPROVAL', 'ALLOW'), ASK.replace('REQUIRE_APPROVAL', 'DENY')])
      expect(() =>
        rebind(approval, waiting, decide(policy(rules), aClaim({ topic: 'job.ask.it' }), standing), made, NOW),
      ).not.toThrow()
  })
})
