/** What a fault round saw, once it was quiet. */
export interface Observed {
  /** Jobs as the API lists them. */
  jobs: { job_id: string; run_id: string; status: string }[]
  /** Job id by run id of every submit answered 202; each run id is also its idempotency key. */
  acknowledged: ReadonlyMap<string, string>
  /** What was done outside: how often under each idempotency key, and where (`job/effect`). */
  executed: ReadonlyMap<string, { times: number; where: string }>
  /** Ends and recorded effects that a server acknowledged to a worker, and forks that one saw. */
  said: { what: string; job_id?: string; key?: string; kind?: string }[]
  /** Committed effects as `job/effect`, of the jobs that did not succeed. */
  committed: ReadonlySet<string>
}

/** Ended, or parked with a reason for a person to look at. */
const OVER = new Set(['succeeded', 'ambiguous', 'dead_letter', 'quarantined', 'expired', 'pending_approval'])

export const isOver = (status: string) => OVER.has(status)

/** The effects of every job that succeeds. */
export const EFFECTS = ['first', 'second'] as const

/** What must not be, a sentence each. */
export function judge(seen: Observed): string[] {
  const jobs = new Map(seen.jobs.map((job) => [job.job_id, job]))
  return [...lost(seen, jobs), ...doubled(seen), ...undone(seen)]
}

type Jobs = ReadonlyMap<string, Observed['jobs'][number]>

function* lost({ acknowledged, said, committed }: Observed, jobs: Jobs): Iterable<string> {
  for (const [run_id, job_id] of acknowledged)
    if (jobs.get(job_id)?.run_id !== run_id) yield `acknowledged and lost: ${job_id} of ${run_id}`
  for (const { what, job_id = '', key, kind } of said) {
    const status = jobs.get(job_id)?.status
    if (what === 'fork') yield `a worker saw a fork of the audit log: ${kind}`
    if (what === 'end' && status !== 'succeeded') yield `an acknowledged end was lost: ${job_id} is ${status}`
    // A job that succeeded has all its effects; `undone` looks at those.
    if (what === 'effect' && status !== 'succeeded' && !committed.has(`${job_id}/${key}`))
      yield `an acknowledged effect was lost: ${job_id}/${key}`
  }
}

function* doubled({ jobs, executed }: Observed): Iterable<string> {
  const runs = new Map<string, number>()
  for (const { run_id } of jobs) runs.set(run_id, (runs.get(run_id) ?? 0) + 1)
  for (const [run_id, times] of runs) if (times > 1) yield `${times} jobs under one idempotency key: ${run_id}`
  const keys = new Map<string, string>()
  for (const [key, { times, where }] of executed) {
    if (times > 1) yield `done ${times} times outside: ${where} under ${key}`
    if (keys.has(where)) yield `done under two idempotency keys outside: ${where}`
    keys.set(where, key)
  }
}

function* undone({ jobs, executed }: Observed): Iterable<string> {
  const done = new Set([...executed.values()].map(({ where }) => where))
  for (const { job_id, status } of jobs) {
    if (!isOver(status)) yield `neither ended nor parked: ${job_id} is ${status}`
    if (status !== 'succeeded') continue
    for (const key of EFFECTS) if (!done.has(`${job_id}/${key}`)) yield `succeeded without its effect: ${job_id}/${key}`
  }
}
