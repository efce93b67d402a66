import { describe, expect, test } from 'vitest'
import { aJob, aLease, anApproval } from '../../../test/rows.js'
import type { Answer } from '../approval.js'
import type { Fact } from '../audit.js'
import { jobFact } from '../facts.js'
import { type Job, type JobEvent, type Moved, move, touch } from '../job.js'
import { type SampledRows, samplesOf } from './sample.js'

const own = { rollout_id: 'rol_1', variant: 'candidate' } as const
const job = (given: Partial<Job> = {}) => aJob({ ...own, created_at: 1000, ...given })
const said = (moved: Moved, at: number): Fact => jobFact('job.succeeded', moved.job, at, 'x', moved.changed)
/** What a move of this job leaves behind. */
function leaves(before: Job, event: JobEvent, at: number, patch: Partial<Job> = {}) {
  const moved = move(before, event, at, patch)
  return { job: moved.job, samples: samplesOf({ updateJobs: [moved.job] }, [said(moved, at)]) }
}
const ended = (before: Job, event: JobEvent, at: number, patch: Partial<Job> = {}) => {
  const [sample, ...more] = leaves(before, event, at, patch).samples
  expect(more).toEqual([])
  return sample
}
const running = job({ status: 'running', attempt: 1, lease_id: 'lease_1' })

describe('samples of a step', () => {
  test('are none outside rollouts, and none of entries about a rollout itself', () => {
    const free = move(aJob({ status: 'running' }), 'succeed', 5)
    expect(samplesOf({ updateJobs: [free.job] }, [said(free, 5)])).toEqual([])
    const about = { kind: 'rollout.started', tenant: 't', at: 1, actor: 'x', rollout_id: 'rol_1' } as const
    expect(samplesOf({}, [about])).toEqual([])
  })

  test('say what the first door said, of a job and of what became none', () => {
    const asked = { tenant: 't', at: 7, actor: 'x', ...own, decision_id: 'dec_9', decision: 'DENY', run_id: 'run_2' }
    const submitted = jobFact('job.submitted', job(), 7, 'x', { decision: 'ALLOW', version: 1, status: 'queued' })
    const samples = samplesOf({ insertJobs: [job()] }, [{ kind: 'job.denied', ...asked }, submitted])
    expect(samples.map(({ kind, ref, word, run_id, at }) => [kind, ref, word, run_id, at])).toEqual([
      ['decided', 'dec_9', 'DENY', 'run_2', 7],
      ['decided', 'job_1', 'ALLOW', 'run_1', 7],
    ])
    // A slice that nobody is compared with: people do it, or it is only recorded.
    for (const variant of ['manual', 'shadow', 'stable', 'refused', 'withdrawn'])
      expect(samplesOf({}, [{ kind: 'job.shadowed', ...asked, variant }])).toEqual([])
  })

  test('of a lease say how long the job was due; of an attempt stand where it ended', () => {
    const due = { ...running, due_at: 900 }
    const lease = aLease({ granted_at: 1500 })
    const leased = jobFact('job.leased', due, 1500, 'x', { version: 2, status: 'running' })
    expect(samplesOf({ insertLeases: [lease], updateJobs: [due] }, [leased])).toMatchObject([
      { kind: 'leased', at: 1500, ref: 'lease_1', ms: 600 },
    ])
    const moved = move(due, 'retry', 9000)
    const rows = { updateJobs: [moved.job], updateLeases: [{ ...lease, ended_at: 9000, outcome: 'lost' }] }
    expect(samplesOf(rows, [said(moved, 9000)])).toMatchObject([
      { kind: 'attempt', at: 9000, ref: 'lease_1', word: 'lost', ms: 7500 },
    ])
  })

  test.each<[JobEvent, Partial<Job>, boolean]>([
    ['succeed', {}, true],
    ['quarantine', {}, true],
    ['exhaust', {}, true],
    ['cancel', {}, true],
  ])('count the end by %s, with what it took', (event, patch, counts) => {
    expect(ended(running, event, 4000, patch)).toMatchObject({ kind: 'outcome', at: 4000, counts, ms: 3000 })
  })

  test('do not count what people decided before any worker had it', () => {
    const parked = job({ status: 'pending_approval', asked_at: 1000 })
    for (const event of ['reject', 'approval_expired', 'deny', 'cancel'] as const)
      expect(ended(parked, event, 4000)).toMatchObject({ kind: 'outcome', counts: false, ms: null })
    const late = job({ status: 'queued' })
    expect(ended(late, 'queue_timeout', 4000, { status_reason: 'no_worker' })).toMatchObject({ counts: true })
    expect(ended(late, 'queue_timeout', 4000, { status_reason: 'stopped' })).toMatchObject({ counts: false })
  })

  test('leave the time of people out, every question of it', () => {
    const queued = move(job({ status: 'pending_approval', asked_at: 1000 }), 'approve', 61_000).job
    expect(queued).toMatchObject({ asked_ms: 60_000, asked_at: null })
    const again = move(queued, 'park', 62_000).job
    expect(again).toMatchObject({ asked_ms: 60_000, asked_at: 62_000 })
    const same = move(again, 'approval_voided', 65_000).job
    const done = move(move(same, 'approve', 92_000).job, 'lease', 92_500).job
    expect(ended(done, 'succeed', 93_000)).toMatchObject({ ms: 92_000 - 90_000 })
  })

  test('do not end a job twice: what is said of one that has ended is no end', () => {
    const { job: dead } = leaves(running, 'exhaust', 4000)
    const moved = touch(dead, 4000, { reminded_at: 4000 })
    const fact = jobFact('job.overdue', moved.job, 4000, 'x', moved.changed)
    expect(samplesOf({ updateJobs: [moved.job] }, [fact])).toEqual([])
  })

  test('count how it went by itself, whatever people make of it later', () => {
    const dead = leaves(running, 'exhaust', 4000, { cost: 2 })
    expect(dead.samples).toMatchObject([{ word: 'dead_letter', counts: true, cost: 2_000_000 }])
    const again = move(dead.job, 'replay', 5000, { budget_from: 1 }).job
    const done = move(move(again, 'lease', 5000, { attempt: 2 }).job, 'succeed', 6000, { verdict: 'ALLOW', cost: 3 })
    const replayed = samplesOf({ updateJobs: [done.job] }, [said(done, 6000)])
    expect(replayed).toMatchObject([{ word: 'succeeded', counts: false, ms: null, verdict: null, cost: null }])

    const held = leaves(running, 'quarantine', 4000, { verdict: 'QUARANTINE' })
    expect(held.samples).toMatchObject([{ word: 'quarantined', counts: true, verdict: 'QUARANTINE' }])
    const out = ended(held.job, 'release', 9000, { released_by: 'ann' })
    expect(out).toMatchObject({ word: 'succeeded', counts: false, verdict: null })
    expect(ended(held.job, 'discard', 9000)).toMatchObject({ word: 'discarded', counts: false, verdict: null })
  })

  test('count a doubt once, and not what comes of it', () => {
    const doubt = leaves(running, 'doubt', 4000)
    expect(doubt.samples).toMatchObject([{ word: 'ambiguous', counts: true, ms: null }])
    expect(ended(doubt.job, 'settle_succeeded', 9000)).toMatchObject({ counts: false })
    const again = move(move(doubt.job, 'requeue', 9000).job, 'lease', 9000).job
    expect(ended(again, 'doubt', 9500)).toMatchObject({ word: 'ambiguous', counts: false })
    expect(ended(again, 'succeed', 9500)).toMatchObject({ word: 'succeeded', counts: false })
  })

  test('run again by a person, count what is held back and nothing that would thin it out', () => {
    const again = job({ status: 'running', attempt: 2, budget_from: 1 })
    expect(ended(again, 'quarantine', 5, { verdict: 'QUARANTINE' })).toMatchObject({
      counts: false,
      verdict: 'QUARANTINE',
    })
  })

  test('round costs up, and take any number a worker says', () => {
    expect(ended(running, 'succeed', 5, { cost: 0.0000001 })).toMatchObject({ cost: 1 })
    expect(ended(running, 'succeed', 5, { cost: 1e300 })?.cost).toBe(Number.MAX_SAFE_INTEGER)
    expect(ended(running, 'succeed', 5)).toMatchObject({ cost: null })
  })

  test('open a question once and close it once', () => {
    const parked = job({ status: 'pending_approval' })
    const requested = jobFact('approval.requested', parked, 1000, 'x', { approval_id: 'apr_1' })
    expect(samplesOf({}, [requested])).toMatchObject([{ kind: 'asked', at: 1000, ref: 'apr_1' }])
    const about = jobFact('approval.approved', parked, 6000, 'ann', { approval_id: 'apr_1' })
    const closing = (given: Parameters<typeof anApproval>[0]) => {
      const rows: SampledRows = { updateApprovals: [anApproval({ requested_at: 1000, expires_at: 8000, ...given })] }
      return samplesOf(rows, [about]).map(({ kind, at, word, counts, ms }) => [kind, at, word, counts, ms])
    }
    const answers: Answer[] = [
      { by: 'ann', role: 'approver', team: null, key_id: 'k', answer: 'approve', at: 5000, note: null },
    ]
    expect(closing({ answers: answers })).toEqual([])
    const approved = { answers, status: 'approved' as const, valid_until: 9000 }
    expect(closing(approved)).toEqual([['answered', 5000, 'approved', true, 4000]])
    expect(closing({ ...approved, status: 'void' })).toEqual([])
    expect(closing({ answers: answers, status: 'void' })).toEqual([['answered', 6000, 'void', false, 5000]])
    expect(closing({ status: 'expired' })).toEqual([['answered', 8000, 'expired', true, 7000]])
  })
})
