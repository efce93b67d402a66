import { Counter, collectDefaultMetrics, Gauge, Histogram, type Metric, Registry } from 'prom-client'

/**
 * What this process counted, in Prometheus' text form. Labels are bounded: no id, no text an agent, worker or person wrote; topics
 * and tenants up to a number, the rest as `other`. A stranger may make numbers grow, never their number.
 */

export const OTHER = 'other'
const MOST_TENANTS = 50
const MOST_TOPICS = 200
/** Of one tenant: its topics must not use up the places of the others. */
const MOST_TOPICS_OF_ONE = 50

/** Admits names up to a number and says what the others are shown as. */
export class BoundedLabels {
  readonly #topics = new Map<string, Set<string>>()
  #count = 0

  tenant(tenant: string): string {
    if (this.#topics.has(tenant)) return tenant
    if (this.#topics.size >= MOST_TENANTS) return OTHER
    this.#topics.set(tenant, new Set())
    return tenant
  }

  /** @param admits whether a new name may take a place: what was denied must not, or any agent could fill them all */
  topic(tenant: string, topic: string, admits: boolean): string {
    const known = this.#topics.get(this.tenant(tenant))
    if (known === undefined) return OTHER
    if (known.has(topic)) return topic
    if (!admits || known.size >= MOST_TOPICS_OF_ONE || this.#count >= MOST_TOPICS) return OTHER
    known.add(topic)
    this.#count++
    return topic
  }
}

/** From a memory hit to the longest long poll. */
const HTTP_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
const COMMIT_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10]
/** From a job nobody waits for to one that waited out an hour. */
const JOB_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600]
/** People: from ten seconds to three days. */
const ANSWER_SECONDS = [10, 30, 60, 300, 900, 1800, 3600, 4 * 3600, 8 * 3600, 86_400, 3 * 86_400]
const BATCH_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256]

const TOPIC = ['tenant', 'topic'] as const

/** The instruments by what they measure; whoever sees it happen writes to them. */
export class Metrics {
  readonly labels = new BoundedLabels()
  readonly #registry = new Registry()
  readonly #own = { registers: [this.#registry] }

  readonly http = new Histogram({
    ...this.#own,
    name: 'sallyport_http_request_duration_seconds',
    help: 'Time to answer a request, long polls included, by route',
    labelNames: ['route', 'method', 'status'],
    buckets: HTTP_SECONDS,
  })
  readonly jobs = new Counter({
    ...this.#own,
    name: 'sallyport_jobs_total',
    help: 'What happened to jobs: submitted, denied, leased, retried, succeeded, dead_lettered and the rest',
    labelNames: [...TOPIC, 'event'],
  })
  readonly decisions = new Counter({
    ...this.#own,
    name: 'sallyport_decisions_total',
    help: 'Decisions by door',
    labelNames: ['tenant', 'door', 'decision'],
  })
  readonly attempts = new Counter({
    ...this.#own,
    name: 'sallyport_attempts_total',
    help: 'Attempts that ended, by outcome; error_class is transient, terminal or none',
    labelNames: [...TOPIC, 'outcome', 'error_class'],
  })
  readonly results = new Counter({
    ...this.#own,
    name: 'sallyport_results_total',
    help: 'Results screened, by verdict',
    labelNames: ['tenant', 'verdict'],
  })
  readonly entries = new Counter({
    ...this.#own,
    name: 'sallyport_audit_entries_total',
    help: 'Audit entries committed by this node, by kind',
    labelNames: ['kind'],
  })
  readonly chainsRenewed = new Counter({
    ...this.#own,
    name: 'sallyport_audit_chains_renewed_total',
    help: 'Audit chains that ended before this process: fenced, torn (the store lost what it had acknowledged) or unknown',
    labelNames: ['reason'],
  })
  readonly jobsPruned = new Counter({
    ...this.#own,
    name: 'sallyport_jobs_pruned_total',
    help: 'Finished jobs removed by this node because they are no longer kept',
    labelNames: ['tenant'],
  })
  readonly jobSeconds = new Histogram({
    ...this.#own,
    name: 'sallyport_job_duration_seconds',
    help: 'From submit to the end of a job, waiting for people included, by how it ended',
    labelNames: ['status'],
    buckets: JOB_SECONDS,
  })
  readonly attemptSeconds = new Histogram({
    ...this.#own,
    name: 'sallyport_attempt_duration_seconds',
    help: 'From the lease to the end of an attempt',
    labelNames: ['outcome'],
    buckets: JOB_SECONDS,
  })
  readonly dispatchWait = new Histogram({
    ...this.#own,
    name: 'sallyport_dispatch_wait_seconds',
    help: 'From when a job was due to its lease',
    buckets: JOB_SECONDS,
  })
  readonly approvalWait = new Histogram({
    ...this.#own,
    name: 'sallyport_approval_wait_seconds',
    help: 'From asking to the last answer, by what came of it',
    labelNames: ['status'],
    buckets: ANSWER_SECONDS,
  })
  readonly batchSize = new Histogram({
    ...this.#own,
    name: 'sallyport_ledger_batch_size',
    help: 'Steps in one commit',
    buckets: BATCH_SIZES,
  })
  readonly commitSeconds = new Histogram({
    ...this.#own,
    name: 'sallyport_ledger_commit_duration_seconds',
    help: 'From sending a commit to its answer',
    buckets: COMMIT_SECONDS,
  })

  readonly ledgerDepth = this.#gauge('sallyport_ledger_queue_depth', 'Steps waiting for the next commit')
  readonly waitingWorkers = this.#gauge(
    'sallyport_dispatcher_waiting_workers',
    'Open claims of workers on this node, by a topic they wait for; one claim may name several',
    TOPIC,
  )
  readonly storeUp = this.#gauge('sallyport_store_up', '1 while the store answers; without it nothing below is shown')
  readonly queueDepth = this.#gauge(
    'sallyport_queue_depth',
    'Jobs that are due and wait for a worker, counted up to a bound',
    TOPIC,
  )
  readonly queueAge = this.#gauge(
    'sallyport_queue_oldest_age_seconds',
    'How long the job that is due for longest has waited',
    TOPIC,
  )
  readonly leasesLive = this.#gauge('sallyport_leases_live', 'Attempts under way, counted up to a bound')
  readonly approvalsPending = this.#gauge('sallyport_approvals_pending', 'Open questions to people', ['tenant'])
  readonly approvalsAge = this.#gauge('sallyport_approvals_oldest_age_seconds', 'Age of the oldest open question', [
    'tenant',
  ])
  readonly parked = this.#gauge(
    'sallyport_jobs_parked',
    'Jobs that wait for a person: ambiguous (an effect in doubt), dead_letter, quarantined',
    ['tenant', 'status'],
  )
  readonly integrationLag = this.#gauge(
    'sallyport_audit_integration_lag_seconds',
    'Age of the oldest audit entry that no signed head covers yet',
    ['tenant'],
  )
  readonly streamLagEntries = this.#gauge(
    'sallyport_event_stream_lag_entries',
    'Signed audit entries that are not in the event stream yet',
    ['tenant'],
  )
  readonly streamLag = this.#gauge(
    'sallyport_event_stream_lag_seconds',
    'Age of the oldest signed audit entry that is not in the event stream yet',
    ['tenant'],
  )
  readonly deliveries = this.#gauge(
    'sallyport_deliveries',
    'Messages to channels that wait or are dead, counted up to a bound; a tenant has at most 50 channels',
    ['tenant', 'channel', 'status'],
  )
  readonly busConnected = this.#gauge('sallyport_bus_connected', '1 while hints reach the other nodes')
  readonly busConnects = new Counter({
    ...this.#own,
    name: 'sallyport_bus_connects_total',
    help: 'Connections made to the bus: one, and one for each time it was lost',
  })
  readonly busHints = new Counter({
    ...this.#own,
    name: 'sallyport_bus_hints_total',
    help: 'Hints by what became of them; a dropped one costs at most a second',
    labelNames: ['result'],
  })
  readonly connections = this.#gauge('sallyport_db_connections', 'Connections to the database: most, connected', [
    'state',
  ])
  readonly openStatements = this.#gauge('sallyport_db_open_statements', 'Statements sent and not answered yet')
  readonly build = this.#gauge('sallyport_build_info', 'Always 1', ['version', 'node', 'engine'])

  #gauge(name: string, help: string, labelNames: readonly string[] = []): Gauge {
    return new Gauge({ ...this.#own, name, help, labelNames })
  }

  /** Takes away what was said of the store: where it does not answer, an old number or a zero would be taken for a true one. */
  forgetStore(): void {
    const queues = [
      this.queueDepth,
      this.queueAge,
      this.approvalsPending,
      this.approvalsAge,
      this.parked,
      this.deliveries,
    ]
    for (const each of [...queues, this.integrationLag, this.streamLagEntries, this.streamLag]) each.reset()
    this.leasesLive.remove()
  }

  /**
   * Everything, or what one tenant may see: its own series and those that name no tenant.
   * @returns text of Prometheus' exposition format 0.0.4
   */
  async text(tenant: string | null): Promise<string> {
    const own = tenant === null ? this.#registry : viewOf(this.#registry, tenant)
    // The library writes Nan, which Prometheus reads and the format does not know.
    return `${await own.metrics()}\n${await processRegistry().metrics()}`.replaceAll(/ Nan$/gm, ' NaN')
  }

  /** For what happens now: the seconds from here to the call. */
  stopwatch(): () => number {
    const from = performance.now()
    return () => (performance.now() - from) / 1000
  }
}

/** The same metrics with the series of other tenants left out; the library writes them, so that escaping is its own. */
function viewOf(registry: Registry, tenant: string): Registry {
  const view = new Registry()
  for (const metric of registry.getMetricsAsArray() as unknown as Readable[]) {
    const read = () => metric.getForPromString?.() ?? metric.get()
    const get = async () => {
      const found = await read()
      return { ...found, values: found.values.filter(({ labels }) => (labels.tenant ?? tenant) === tenant) }
    }
    view.registerMetric({ name: metric.name, get } as unknown as Metric)
  }
  return view
}

interface Found {
  values: { labels: Record<string, string | number> }[]
}
interface Readable {
  name: string
  get(): Promise<Found>
  getForPromString?(): Promise<Found>
}

let ofProcess: Registry | null = null

/** CPU, memory, event loop and collector belong to the process, not to a plane: one observer of them, however many planes it runs. */
function processRegistry(): Registry {
  if (ofProcess === null) {
    ofProcess = new Registry()
    collectDefaultMetrics({ register: ofProcess })
  }
  return ofProcess
}
