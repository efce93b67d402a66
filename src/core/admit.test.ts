import fc from 'fast-check'
import { expect, test } from 'vitest'
import { aClaim } from '../../test/rows.js'
import { admit, terms } from './admit.js'
import { decide, type Standing } from './door.js'
import { fold, LIFECYCLE } from './job.js'
import { compilePolicy } from './policy/compile.js'
import { parsePolicy } from './policy/parse.js'

const NOW = 1_700_000_000_000
const standing: Standing = { door: 'submit', now: NOW, counters: {}, grant: null }
const made = {
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
const policy = (timeout: number, attempts: number, bound: number, decision = 'ALLOW_WITH_CONSTRAINTS') => {
  const text = `version: v1
default_decision: DENY
job_classes: [{ topic: job.do.*, timeout_ms: ${timeout}, attempts: ${attempts}, heartbeat_ms: 900, queue_timeout_ms: 7000 }]
rules: [{ id: do, match: { topic: job.do.* }, decision: ${decision}, constraints: { timeout_ms: ${bound} } }]
`
  const { document, faults } = parsePolicy([{ path: 'p.yaml', text }])
  if (document === null) throw new Error(JSON.stringify(faults))
  return compilePolicy(document)
}

test('a claim may only shorten what class and constraints give', () => {
  const ms = fc.integer({ min: 1000, max: 600_000 })
  const count = fc.integer({ min: 1, max: 20 })
  fc.assert(
    fc.property(ms, count, ms, fc.option(ms), fc.option(count), (timeout, attempts, bound, asked, wanted) => {
      const claim = aClaim({ timeout_ms: asked, max_attempts: wanted })
      const given = terms(claim, decide(policy(timeout, attempts, bound), claim, standing))
      expect(given.timeout_ms).toBe(Math.min(timeout, bound, asked ?? timeout))
      expect(given.max_attempts).toBe(Math.min(attempts, wanted ?? attempts))
      expect(given.heartbeat_ms).toBeLessThanOrEqual(Math.max(50, given.timeout_ms / 2))
      expect(given.heartbeat_ms).toBeLessThanOrEqual(900)
    }),
    { numRuns: 60 },
  )
})

test('a new job is due at its not_before, and its queue time runs from there, not while it waits for people', () => {
  const claim = aClaim({ not_before: NOW + 500 })
  const queued = admit(claim, decide(policy(5000, 1, 5000), claim, standing), standing, made)
  expect(queued.job).toMatchObject({
    status: 'queued',
    due_at: NOW + 500,
    queue_deadline: NOW + 7500,
    approval_id: null,
  })
  const parked = admit(claim, decide(policy(5000, 1, 5000, 'REQUIRE_APPROVAL'), claim, standing), standing, made)
  expect(parked.job).toMatchObject({ status: 'pending_approval', queue_deadline: null, approval_id: 'apr_1' })
  expect(parked.approval).toMatchObject({
    job_id: 'job_1',
    grant_hash: parked.job.grant_hash,
    requested_by: 'agent:bot',
  })
  for (const { job, facts } of [queued, parked]) {
    const row = fold(facts)
    for (const column of LIFECYCLE) expect(row[column]).toEqual(job[column])
  }
})
