import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { aJob } from '../../test/rows.js'
import {
  birth,
  fold,
  IllegalTransition,
  isFinished,
  JOB_EVENTS,
  JOB_STATUSES,
  type JobEvent,
  type JobStatus,
  LIFECYCLE,
  move,
  TRANSITIONS,
  touch,
  transition,
} from './job.js'

const ENDS = ['succeeded', 'rejected', 'expired', 'cancelled', 'discarded', 'denied']

describe('the state table', () => {
  test('speaks of every status, and of known events and statuses only', () => {
    expect(Object.keys(TRANSITIONS).sort()).toEqual([...JOB_STATUSES].sort())
    for (const moves of Object.values(TRANSITIONS))
      for (const [event, next] of Object.entries(moves)) {
        expect(JOB_EVENTS).toContain(event)
        expect(JOB_STATUSES).toContain(next)
      }
  })

  test('is total: every status answers every event with a status or an IllegalTransition', () => {
    for (const status of JOB_STATUSES)
      for (const event of JOB_EVENTS) {
        const job = aJob({ status })
        const next = TRANSITIONS[status][event]
        if (next === undefined) {
          expect(transition(status, event)).toBeNull()
          expect(() => move(job, event, 1)).toThrow(IllegalTransition)
        } else expect(move(job, event, 1).job.status).toBe(next)
      }
  })

  test('leads every status to an end, and out of none', () => {
    for (const status of JOB_STATUSES) {
      const seen = new Set<JobStatus>([status])
      for (const from of seen) for (const to of Object.values(TRANSITIONS[from])) seen.add(to)
      expect([...seen].some((each) => ENDS.includes(each))).toBe(true)
    }
    for (const status of ENDS) expect(TRANSITIONS[status as JobStatus]).toEqual({})
  })

  test('uses every event somewhere', () => {
    const used = new Set(Object.values(TRANSITIONS).flatMap((moves) => Object.keys(moves)))
    expect([...used].sort()).toEqual([...JOB_EVENTS].sort())
  })

  test('lets a worker have nothing that waits for a person', () => {
    for (const status of JOB_STATUSES)
      expect(transition(status, 'lease') !== null).toBe(status === 'queued' || status === 'retrying')
  })

  test('and the CHECK constraints of the schema name the same statuses', () => {
    const sql = readFileSync(new URL('../../migrations/0001_spine.sql', import.meta.url), 'utf8')
    const listed = (after: string) => {
      const at = sql.indexOf(after)
      expect(at).toBeGreaterThan(0)
      return [...sql.slice(at, sql.indexOf(')', at)).matchAll(/'(\w+)'/g)].map((m) => m[1] as string)
    }
    expect(listed('CHECK (status IN (').sort()).toEqual([...JOB_STATUSES].sort())
    expect(listed('CHECK ((status IN (').sort()).toEqual(JOB_STATUSES.filter(isFinished).sort())
  })
})

describe('a move', () => {
  const walk = fc.array(
    fc.record({ event: fc.constantFrom(...JOB_EVENTS), at: fc.nat(1_000_000), reason: fc.string() }),
    { maxLength: 40 },
  )

  test('keeps lease, limits, cancel, finish and version in step with the status, whatever happens', () => {
    fc.assert(
      fc.property(fc.constantFrom('queued' as const, 'pending_approval' as const), walk, (status, steps) => {
        let job = aJob({ status })
        const facts: Record<string, unknown>[] = [birth(job)]
        for (const { event, at, reason } of steps) {
          if (transition(job.status, event) === null) continue
          const before = job
          const patch =
            event === 'lease'
              ? { lease_id: `lease_${job.version}`, held_limits: ['a|rule|'], cancel_requested: at % 2 === 0 }
              : { status_reason: reason }
          const moved = move(before, event as JobEvent, at, patch)
          job = moved.job
          facts.push(moved.changed)
          expect(job.version).toBe(before.version + 1)
          expect(job.lease_id !== null).toBe(job.status === 'running')
          expect(job.finished_at).toBe(isFinished(job.status) ? at : null)
          if (job.status !== 'running') expect(job.held_limits).toEqual([])
          if (isFinished(job.status)) expect(job.cancel_requested).toBe(false)
          expect(moved.released).toEqual(before.status === 'running' ? before.held_limits : [])
        }
        // The facts alone, in any order, give the row back.
        const row = fold([...facts].reverse())
        for (const column of LIFECYCLE) expect(row[column]).toEqual(job[column])
      }),
    )
  })

  test('remembers a cancel through the doubt about an effect, and forgets it when the rest is run again', () => {
    const running = aJob({ status: 'running', lease_id: 'lease_1', cancel_requested: true })
    const doubted = move(running, 'doubt', 1).job
    expect(doubted.cancel_requested).toBe(true)
    expect(move(doubted, 'requeue', 2).job.cancel_requested).toBe(false)
  })

  test('a touch changes version and what it says, never the status', () => {
    const job = aJob({ status: 'running', lease_id: 'lease_1' })
    const { job: next, changed, released } = touch(job, 5, { cancel_requested: true, status: 'succeeded' })
    expect(next).toEqual({ ...job, version: job.version + 1, updated_at: 5, cancel_requested: true })
    expect(changed).toEqual({ version: job.version + 1, cancel_requested: true })
    expect(released).toEqual([])
  })
})

describe('folding facts', () => {
  test('takes only facts that carry the row’s version: a refused lease says nothing about the job', () => {
    const born = birth(aJob({ status: 'queued' }))
    const stray = { kind: 'lease.refused', lease_id: 'lease_9', attempt: 9, verdict: 'REDACT', error_code: 'x' }
    expect(fold([born, stray])).toEqual(fold([born]))
  })

  test('goes by version, not by place in the log', () => {
    const job = aJob({ status: 'queued' })
    const leased = move(job, 'lease', 1, { lease_id: 'lease_1', attempt: 1 })
    const done = move(leased.job, 'succeed', 2, { verdict: 'ALLOW' })
    const facts = [done.changed, birth(job), leased.changed]
    expect(fold(facts)).toMatchObject({ status: 'succeeded', lease_id: null, attempt: 1, verdict: 'ALLOW' })
  })
})
