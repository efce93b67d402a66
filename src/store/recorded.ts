import { type Claim, claimOf } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { Clock } from '../platform/clock.js'
import type { Db } from '../platform/db/seam.js'
import { DECISION_COLUMNS, type DecisionRow, decisionOfJob } from './decisions.js'
import { JOB_COLUMNS, type JobRow, jobOf } from './jobs.js'
import { idAt } from './metrics.js'
import { bodyOf, loadTexts, ownPayload } from './payloads.js'

/** A decision of the first door as it was made. */
export interface Recorded {
  row: DecisionRow
  run_id: string | null
  /** With its payloads; null where one was erased. */
  claim: Claim | null
}

/** Decisions from `from` on, and before `to` (epoch ms) or the decision `before`, whichever is older. */
export interface RecordedWindow {
  from?: number | null
  to?: number | null
  /** The id of a decision without its prefix. */
  before?: string | null
}

type Held = JobRow & { input: string | null; context: string | null }

const JOBS = `SELECT ${JOB_COLUMNS.columns}, input, context FROM jobs WHERE tenant = $1 AND job_id < $2 AND job_id >= $3
  ORDER BY job_id DESC LIMIT $4`
const DENIED = `SELECT ${DECISION_COLUMNS} FROM decisions WHERE tenant = $1 AND decision_id < $2 AND decision_id >= $3
  AND door = 'submit' AND job_id IS NULL ORDER BY decision_id DESC LIMIT $4`
const OLDEST_JOB = 'SELECT created_at AS at FROM jobs WHERE tenant = $1 ORDER BY job_id LIMIT 1'
const OLDEST_DENIED = `SELECT at FROM decisions WHERE tenant = $1 AND door = 'submit' AND job_id IS NULL ORDER BY decision_id LIMIT 1`

/**
 * Rows of one statement. The engine and this thread take some 5 ms for 64 with small payloads, which is what a submit may wait behind them;
 * with 500 it was 40 ms. At 2 MiB each, the most a submit may carry, they are 128 MiB.
 */
const PAGE = 64
/** Sorts after every id. */
const LAST = '~'

/**
 * Decisions of the first door, newest first: those of jobs, and those that made none. What else this thread has to do has its turn in
 * between, so a caller may do some ms of work with each.
 */
export async function* recordedSubmits(
  { db, clock }: { db: Db; clock: Clock },
  tenant: string,
  { from = null, to = null, before = null }: RecordedWindow,
): AsyncGenerator<Recorded, void> {
  const slices = new Slices(clock)
  const until = [to === null ? LAST : tailOf(to), before ?? LAST].sort()[0] as string
  const since = from === null ? '' : tailOf(from)
  const page = <Row>(sql: string, prefix: string, tail: (row: Row) => string) =>
    new Pages<Row>(until, tail, (end) => db.query<Row>(sql, [tenant, prefix + end, prefix + since, PAGE]))
  const jobs = page<Held>(JOBS, 'job_', ({ job_id }) => job_id.slice('job_'.length))
  const denied = page<DecisionRow>(DENIED, 'dec_', ({ decision_id }) => decision_id.slice('dec_'.length))
  let texts = new Map<string, string>()
  for (;;) {
    const job = jobs.first ?? (await jobs.next())
    let denial = denied.first
    if (denial === undefined) {
      denial = await denied.next()
      const ptrs = denial === undefined ? [] : denied.rows.flatMap((row) => [row.input_ptr, row.context_ptr])
      texts = await loadTexts(db, tenant, ptrs)
    }
    if (job === undefined && denial === undefined) return
    await slices.between()
    if (denial === undefined || (job !== undefined && jobs.tail > denied.tail)) {
      jobs.take()
      yield ofJob(job as Held)
    } else {
      denied.take()
      if (denial.claim !== null) yield ofDenial(denial, texts)
    }
  }
}

const tailOf = (at: number) => idAt('', at).slice(1)

/** How long ago the oldest decision was made that is still kept; null where there is none. */
export async function oldestRecorded(db: Db, tenant: string): Promise<number | null> {
  const found = await Promise.all([OLDEST_JOB, OLDEST_DENIED].map((sql) => db.query<{ at: number }>(sql, [tenant])))
  const instants = found.flat().map(({ at }) => at)
  return instants.length === 0 ? null : Math.min(...instants)
}

/** One of the two kinds of rows, in pages. */
class Pages<Row> {
  rows: Row[] = []
  #at = 0
  #end: string
  #over = false
  readonly #tailOf: (row: Row) => string
  readonly #read: (end: string) => Promise<Row[]>

  constructor(end: string, tailOf: (row: Row) => string, read: (end: string) => Promise<Row[]>) {
    this.#end = end
    this.#tailOf = tailOf
    this.#read = read
  }

  get first(): Row | undefined {
    return this.rows[this.#at]
  }

  /** Of the first one, its id without what it is of: by it both kinds are in one order. */
  get tail(): string {
    return this.first === undefined ? '' : this.#tailOf(this.first)
  }

  take(): void {
    this.#at++
  }

  /** The first row of the next page, where there is one. */
  async next(): Promise<Row | undefined> {
    if (this.#over) return undefined
    this.rows = await this.#read(this.#end)
    this.#at = 0
    this.#over = this.rows.length < PAGE
    const last = this.rows.at(-1)
    if (last !== undefined) this.#end = this.#tailOf(last)
    return this.first
  }
}

function ofJob(row: Held): Recorded {
  const decision = decisionOfJob(row)
  const [input, context] = [
    own(decision.input_ptr, row.input, 'input'),
    own(decision.context_ptr, row.context, 'context'),
  ]
  const claim = input === undefined || context === undefined ? null : claimOf(jobOf(row), { input, context })
  return { row: decision, run_id: row.run_id, claim }
}

/** Undefined where it was erased. */
function own(ptr: string | null, text: string | null, kind: 'input' | 'context'): Json | undefined {
  if (ptr === null) return null
  const body = ownPayload(ptr)?.kind === kind ? bodyOf(text) : null
  return body === null ? undefined : (JSON.parse(body) as Json)
}

function ofDenial(row: DecisionRow, texts: ReadonlyMap<string, string>): Recorded {
  const [input, context] = [row.input_ptr, row.context_ptr].map((ptr) => (ptr === null ? 'null' : texts.get(ptr)))
  const isWhole = row.claim !== null && input !== undefined && context !== undefined
  const claim = isWhole ? ({ ...row.claim, input: JSON.parse(input), context: JSON.parse(context) } as Claim) : null
  return { row, run_id: row.run_id, claim }
}

/** Work done before others have their turn, ms: a request takes several turns of this thread, and waits for one slice in each. */
const SLICE_MS = 2

/** Cuts long work into slices. */
export class Slices {
  readonly #clock: Clock
  #begun: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#begun = clock.now()
  }

  /** To be asked between two pieces of it. */
  async between(): Promise<void> {
    if (Math.abs(this.#clock.now() - this.#begun) < SLICE_MS) return
    await this.#clock.turn()
    this.#begun = this.#clock.now()
  }
}
