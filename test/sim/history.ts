import type { Json } from '../../src/core/json.js'

/** One answer that somebody was given, and how the log must bear it out. */
export interface Acknowledged {
  said: string
  kept(log: Log): boolean
}

/** What the store holds in the end, as the checkers of a history read it. */
export interface Log {
  facts: Record<string, unknown>[]
  rows: Record<'jobs' | 'leases' | 'effects' | 'decisions', Record<string, Json>[]>
}

/** What the world outside the store knows of a run: the answers it was given, and what was really done. */
export class History {
  readonly answers: Acknowledged[] = []
  /** How often each outside action was done, by its idempotency key. Nothing outside removes a repeat: two is two. */
  readonly done = new Map<string, number>()
  /** What was done, as a person who looks would call it. */
  readonly happened = new Set<string>()
  /** Leases that came with effects an earlier attempt had committed. */
  takenUp = 0
  /** Requests that were given up after many tries. */
  unanswered = 0
  /** Answers that no state of the plane explains. */
  readonly strange: string[] = []
  readonly #jobs = new Map<string, string>()
  readonly #reports = new Map<string, string>()

  acknowledged(said: string, kept: (log: Log) => boolean): void {
    this.answers.push({ said, kept })
  }

  /** The fact that must be in the log when this was answered. */
  expects(said: string, fact: Record<string, unknown>): void {
    const fields = Object.entries(fact)
    this.acknowledged(said, ({ facts }) =>
      facts.some((each) =>
        fields.every(([name, value]) => (Array.isArray(value) ? value.includes(each[name]) : each[name] === value)),
      ),
    )
  }

  /** Whoever sends the same key twice must be given the same job. */
  gotJob(principal: string, key: string | null, job_id: string): void {
    this.expects(`job ${job_id} was accepted`, { kind: 'job.submitted', job_id })
    this.acknowledged(`job ${job_id} was accepted`, ({ rows }) => rows.jobs.some((job) => job.job_id === job_id))
    if (key === null) return
    const earlier = this.#jobs.get(`${principal} ${key}`)
    if (earlier !== undefined && earlier !== job_id) this.strange.push(`key ${key} gave ${earlier} and then ${job_id}`)
    this.#jobs.set(`${principal} ${key}`, job_id)
  }

  /** A report that was answered `ok`: it ended the attempt, and no other report of this lease may be answered so. */
  reported(lease: string, outcome: string, text: string): void {
    const earlier = this.#reports.get(lease)
    if (earlier !== undefined && earlier !== text) this.strange.push(`two reports of ${lease} were both taken`)
    this.#reports.set(lease, text)
    this.acknowledged(`the report of ${lease} was taken`, ({ rows }) =>
      rows.leases.some(
        (row) => row.lease_id === lease && row.outcome === outcome && typeof row.report_hash === 'string',
      ),
    )
    this.expects(`the report of ${lease} was taken`, { ended_lease: lease })
  }

  /** The outside action itself. @param name what a person who looks would call it: job and effect */
  act(idempotency_key: string, name: string): void {
    this.happened.add(name)
    this.done.set(idempotency_key, (this.done.get(idempotency_key) ?? 0) + 1)
  }
}
