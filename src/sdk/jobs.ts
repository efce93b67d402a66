import { randomUUID } from 'node:crypto'
import type {
  Accepted,
  BatchAnswer,
  Job,
  JobPage,
  JobQuery,
  JobStatus,
  ResolveJob,
  Result,
  Shadowed,
  SubmitBatch,
  SubmitJob,
  Timeline,
} from '../contract/jobs.js'
import type { PageQuery } from '../contract/scalars.js'
import { pause } from './backoff.js'
import { SallyportError } from './errors.js'
import { eachItem } from './pages.js'
import { segment, type Transport } from './transport.js'

export interface SubmitOptions {
  /** Printable ASCII, at most 200. Left out, a fresh one: repeats by the SDK are then safe, repeats by you are new jobs. */
  idempotencyKey?: string
  signal?: AbortSignal
}

export interface WaitOptions {
  /** Stops waiting with the signal's reason. The job goes on; `jobs.cancel` ends it. */
  signal?: AbortSignal
  /** Stops waiting after this long with the code `wait_timeout`; without it, as long as it takes: an approval may take days. */
  timeoutMs?: number
}

/** Thrown by `jobs.run` when the job ended, but not well. `code` is `job_<status>`: `job_rejected`, `job_dead_letter` … */
export class JobFailedError extends SallyportError {
  readonly job: Job
  constructor(job: Job) {
    const why = job.error?.message ?? job.status_reason ?? job.reason
    super(`job_${job.status}`, `${job.job_id} is ${job.status}: ${why}`)
    this.name = 'JobFailedError'
    this.job = job
  }
}

export interface Jobs {
  /**
   * Asks for one action. Answers once it is recorded: `queued`, or `pending_approval` with an `approval_id`.
   * Throws `SallyportError`: `policy_denied` (403; `problem.reason`, `.rules`, `.decision_id`; nothing was recorded but the denial),
   * `invalid` (422; `problem.faults`), `idempotency_conflict` (409), `rate_limited` (429), `no_policy`, `outcome_unknown` (503).
   * `shadowed` (200): the agent is in the shadow, so what would have been is recorded and nothing runs.
   * Lost answers and 429/503 are repeated with the same idempotency key, so it happens at most once.
   */
  submit(job: SubmitJob, options?: SubmitOptions): Promise<Accepted>
  /** Up to 1,000 at once, each with its own answer at the same place: 202 with the body of `submit`, else a problem. Never throws for one of them. */
  submitBatch(jobs: SubmitBatch['jobs'], options?: { signal?: AbortSignal }): Promise<BatchAnswer['items']>
  /**
   * Submits, waits to the end and returns the result: `{ verdict, output, findings }`, where REDACT means placeholders in `output`.
   * Throws what `submit` throws, `JobFailedError` when the job ends any other way than `succeeded`, `wait_timeout` after `timeoutMs`.
   */
  run(job: SubmitJob, options?: SubmitOptions & WaitOptions): Promise<Result>
  /**
   * Polls until the job has ended (20 ms at first, growing to 2 s) and returns it, whatever its end.
   * An `ambiguous` job has not ended: a person has to say what happened.
   */
  wait(jobId: string, options?: WaitOptions): Promise<Job>
  get(jobId: string): Promise<Job>
  /** One page, newest first. */
  list(query?: JobQuery): Promise<JobPage>
  /** Every job that fits, page after page. */
  all(query?: JobQuery): AsyncIterable<Job>
  /** What happened to it, from the audit log: decisions, approvals, leases, effects, outcome. */
  timeline(jobId: string, query?: PageQuery): Promise<Timeline>
  /** Throws `result_not_ready` (409) before its end, `result_quarantined` (403) while it is held back. */
  result(jobId: string): Promise<Result>
  /** Waiting work ends at once; running work is told at its next heartbeat and may still have finished first. */
  cancel(jobId: string, reason?: string): Promise<Job>
  /** Says whether an effect of an `ambiguous` job happened. `effect_not_decidable` (409) while it still could. */
  resolve(jobId: string, what: ResolveJob): Promise<Job>
  /** Lets a quarantined result out, under your name in the audit log. */
  release(jobId: string, reason: string): Promise<Job>
  /** Destroys a quarantined result. */
  discard(jobId: string, reason: string): Promise<Job>
}

export function jobsOf(http: Transport): Jobs {
  const at = (jobId: string, rest = '') => `/api/v1/jobs/${segment(jobId)}${rest}`
  const get = (jobId: string, signal?: AbortSignal) => http.request<Job>('GET', at(jobId), { signal })
  const list = (query?: JobQuery) => http.request<JobPage>('GET', '/api/v1/jobs', { query })
  const result = (jobId: string) => http.request<Result>('GET', at(jobId, '/result'))

  async function submit(job: SubmitJob, { idempotencyKey = randomUUID(), signal }: SubmitOptions = {}) {
    const headers = { 'Idempotency-Key': idempotencyKey }
    const answer = await http.request<Accepted | Shadowed>('POST', '/api/v1/jobs', { body: job, headers, signal })
    // No job to follow: whoever goes on as if there were one would wait for ever.
    if (answer.status === 'shadowed')
      throw new SallyportError('shadowed', `In the shadow (${answer.decision_id}): it is recorded, and nothing runs`, {
        status: 200,
      })
    return answer
  }

  async function wait(jobId: string, { signal, timeoutMs = Number.POSITIVE_INFINITY }: WaitOptions = {}) {
    const end = performance.now() + timeoutMs
    for (let interval = 20; ; interval = Math.min(2_000, interval * 1.5)) {
      const job = await get(jobId, signal)
      if (hasEnded(job.status)) return job
      const left = end - performance.now()
      if (left <= 0) throw new SallyportError('wait_timeout', `${jobId} is still ${job.status} after ${timeoutMs} ms`)
      await pause(Math.min(interval, left), signal)
    }
  }

  return {
    submit,
    wait,
    list,
    result,
    async submitBatch(jobs, { signal } = {}) {
      const keyed = jobs.map((job) => ({ idempotency_key: randomUUID(), ...job }))
      const call = { body: { jobs: keyed }, signal, repeatable: true }
      return (await http.request<BatchAnswer>('POST', '/api/v1/jobs/batch', call)).items
    },
    async run(job, options = {}) {
      const { job_id } = await submit(job, options)
      const ended = await wait(job_id, options)
      if (ended.status !== 'succeeded') throw new JobFailedError(ended)
      return await result(job_id)
    },
    get: (jobId) => get(jobId),
    all: (query) => eachItem((cursor) => list(cursor === undefined ? query : { ...query, cursor })),
    timeline: (jobId, query) => http.request('GET', at(jobId, '/timeline'), { query }),
    cancel: (jobId, reason) =>
      http.request('POST', at(jobId, '/cancel'), { body: reason === undefined ? {} : { reason } }),
    resolve: (jobId, what) => http.request('POST', at(jobId, '/resolve'), { body: what }),
    release: (jobId, reason) => http.request('POST', at(jobId, '/result/release'), { body: { note: reason } }),
    discard: (jobId, reason) => http.request('POST', at(jobId, '/result/discard'), { body: { note: reason } }),
  }
}

/** The states that are left by themselves; the compiler complains here when the contract gets another one. */
const UNDER_WAY: Record<JobStatus, boolean> = {
  pending_approval: true,
  queued: true,
  running: true,
  retrying: true,
  ambiguous: true,
  succeeded: false,
  quarantined: false,
  rejected: false,
  expired: false,
  cancelled: false,
  dead_letter: false,
  discarded: false,
  denied: false,
}

function hasEnded(status: JobStatus): boolean {
  return UNDER_WAY[status] === false
}
