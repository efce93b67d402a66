import { expect, test } from 'vitest'
import { jobFact } from './facts.js'
import type { Job } from './job.js'

test('a field says something of the job, never whose it is, what happened, when, or by whom', () => {
  const job = { tenant: 't', job_id: 'job_a', run_id: 'run_a', topic: 'job.a' } as Job
  const own = {
    tenant: 't',
    kind: 'job.queued',
    at: 7,
    actor: 'agent:a',
    job_id: 'job_a',
    run_id: 'run_a',
    topic: 'job.a',
  }
  const other = { tenant: 'u', kind: 'job.denied', at: 8, actor: 'agent:b', job_id: 'j', run_id: 'r', topic: 'job.b' }
  expect(jobFact('job.queued', job, 7, 'agent:a', { ...other, note: 'n' })).toEqual({ ...own, note: 'n' })
})
