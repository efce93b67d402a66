import type { IncomingHttpHeaders } from 'node:http'
import { MeasurementQuery, Measurements, MetricQuery, TopicStates } from '../../contract/metrics.js'
import type { Caller } from '../../core/access.js'
import {
  DEFAULT_WINDOW,
  isMetric,
  LONGEST_WINDOW_MS,
  METRIC_NAMES,
  type Measured,
  type MetricName,
  metricText,
  windowMs,
} from '../../core/metrics.js'
import { Problem } from '../../errors.js'
import { measure } from '../../journey/measure.js'
import type { Dispatcher } from '../../loops/dispatcher.js'
import type { Census } from '../../store/census.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

/** What the process says of itself in Prometheus' format; null tenant: of all. */
export interface Exposition {
  text(tenant: string | null): Promise<string>
}
const EXPOSITION = 'text/plain; version=0.0.4; charset=utf-8'

export interface MetricsAccess {
  /** Who may read them without a key: anybody, whoever is on this machine, or nobody. */
  without_key: 'anybody' | 'loopback' | 'nobody'
  /** The tenant of whoever names none. */
  tenant: string
}

/** As SALLYPORT_METRICS says; bound to loopback, whoever is on this machine. */
export function accessOf(setting: 'loopback' | 'open' | 'key', host: string, tenant: string): MetricsAccess {
  if (setting === 'open') return { without_key: 'anybody', tenant }
  const isLoopback = host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
  return { without_key: setting === 'loopback' && isLoopback ? 'loopback' : 'nobody', tenant }
}

const TEXT = 'text/plain; charset=utf-8'
const NEEDS = ['jobs:read'] as const

export interface MetricsServed {
  access: MetricsAccess
  exposition: Exposition
  census: Census
}

export function metricsRoutes(
  world: World,
  { access, exposition, census }: MetricsServed,
  dispatcher: Dispatcher,
): Route[] {
  const measured = new Measurer(world)
  const open = {
    method: 'GET',
    root: true,
    permission: NEEDS,
    keyless: (headers: IncomingHttpHeaders) => needsNoKey(access, headers),
    tag: 'metrics',
    errors: [],
  } as const
  return [
    {
      ...open,
      path: '/metrics',
      summary: 'What this node counted, for Prometheus',
      description:
        'Needs no key while the server is bound to loopback, or SALLYPORT_METRICS is open. A key is shown its own tenant.',
      success: { status: 200, description: 'Exposition format 0.0.4', contentType: 'text/plain' },
      async handler({ caller }) {
        const body = await exposition.text(isNobody(caller) ? null : caller.tenant)
        return { body, headers: { 'content-type': EXPOSITION } }
      },
    },
    {
      ...open,
      path: '/metrics/{metric}',
      summary: 'One number of the last minutes, computed from rows',
      description: `A plain decimal. One that is unknown or refused is answered with the worst it could be and X-Sallyport-Unknown: 1, whatever
the status, so that a gate that compares it blocks; X-Sallyport-Reason says why. A key as for /metrics. Metrics: ${METRIC_NAMES.join(', ')}.`,
      query: MetricQuery,
      success: { status: 200, description: 'The number', contentType: 'text/plain' },
      async handler({ caller, params, query }) {
        const own = isNobody(caller) ? null : caller.tenant
        const { window = DEFAULT_WINDOW, tenant = own ?? access.tenant } = query as MetricQuery
        if (own !== null && tenant !== own)
          throw new Problem('forbidden', 'tenant is not the tenant of this key', { needs: 'a key of that tenant' })
        const metric = params.metric ?? ''
        if (!isMetric(metric)) throw new Problem('not_found', 'There is no metric of this name')
        const [found] = await measured.of(tenant, [metric], spanOf(window))
        if (found === undefined) throw new Problem('internal')
        return { body: `${metricText(found)}\n`, headers: { 'content-type': TEXT, ...headersOf(found) } }
      },
    },
    {
      method: 'GET',
      path: '/measurements',
      permission: NEEDS,
      tag: 'metrics',
      summary: 'Every number of the last minutes, with what it is made of or why it is unknown',
      query: MeasurementQuery,
      success: { status: 200, schema: Measurements, description: 'The numbers' },
      errors: ['invalid', 'overloaded'],
      async handler({ caller, query }) {
        const { window = DEFAULT_WINDOW } = query as MetricQuery
        const [at, window_ms] = [world.clock.now(), spanOf(window)]
        const found = await measured.of(caller.tenant, METRIC_NAMES, window_ms)
        return { body: { window_ms, at, items: found.map((each) => ({ ...each, text: metricText(each) })) } }
      },
    },
    {
      method: 'GET',
      path: '/topics',
      permission: NEEDS,
      tag: 'metrics',
      summary: 'Topics with due work or waiting workers: how much, for how long, and who waits',
      success: { status: 200, schema: TopicStates, description: 'By name' },
      errors: [],
      handler: async ({ caller }) => ({ body: await topicStates(census, dispatcher, caller.tenant) }),
    },
  ]
}

async function topicStates(census: Census, dispatcher: Dispatcher, tenant: string): Promise<TopicStates> {
  const { topics, more, bound } = await census.tenant(tenant)
  const waiting = dispatcher.waitingFor(tenant)
  const counted = new Map(topics.map((each) => [each.topic, each]))
  const names = [...new Set([...counted.keys(), ...waiting.keys()])].sort()
  const items = names.map((topic) => {
    const { depth = 0, oldest_ms = 0 } = counted.get(topic) ?? {}
    return { topic, depth, bounded: depth >= bound, oldest_ms, waiting_workers: waiting.get(topic) ?? 0 }
  })
  return { items, more }
}

const isNobody = (caller: Caller) => caller.key_id === ''

/** A key that is presented is asked, also where none is needed: whoever names one wants to be seen as its tenant. */
function needsNoKey({ without_key }: MetricsAccess, headers: IncomingHttpHeaders): boolean {
  if (headers['x-api-key'] !== undefined || headers.authorization !== undefined) return false
  return without_key === 'anybody' || (without_key === 'loopback' && isOfThisMachine(headers))
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i
const PASSED_ON = ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via']

/**
 * What a proxy on this machine passes on arrives at loopback too, and so does a page in a browser here whose name was made to
 * point at it; neither asks by a name of this machine alone.
 */
function isOfThisMachine(headers: IncomingHttpHeaders): boolean {
  return LOOPBACK.test(headers.host ?? '') && !PASSED_ON.some((name) => headers[name] !== undefined)
}

function spanOf(window: string): number {
  const ms = windowMs(window)
  if (ms !== null) return ms
  const message = `must be at most ${LONGEST_WINDOW_MS / 86_400_000}d, e.g. 10m`
  throw new Problem('invalid', undefined, { faults: [{ path: '/window', message }] })
}

function headersOf({ unknown, samples, sampled }: Measured): Record<string, string> {
  return {
    'x-sallyport-samples': String(samples),
    ...(sampled ? { 'x-sallyport-sampled': '1' } : {}),
    ...(unknown === null ? {} : { 'x-sallyport-unknown': '1', 'x-sallyport-reason': unknown }),
  }
}

/** Measurements under way at once on this node; each reads up to some hundred thousand rows. */
const AT_ONCE = 8
/** A store that takes longer than this does not answer, and a gate that waits for ever decides nothing. */
const LONGEST_MS = 60_000

/** Lets equal questions share one answer while it is worked out, and only so many be worked out at once. */
class Measurer {
  readonly #world: World
  readonly #open = new Map<string, Promise<Measured[]>>()

  constructor(world: World) {
    this.#world = world
  }

  /** Throws Problem `overloaded`, `store_unavailable`; DbError. */
  async of(tenant: string, metrics: readonly MetricName[], ms: number): Promise<Measured[]> {
    const key = JSON.stringify([tenant, metrics, ms])
    const open = this.#open.get(key)
    if (open !== undefined) return open
    if (this.#open.size >= AT_ONCE) throw new Problem('overloaded', undefined, { retry_after_ms: 1000 })
    const work = measure(this.#world, tenant, metrics, ms)
    const found = this.#bounded(work)
    this.#open.set(key, found)
    // Not when its time is over: what is still being worked out still counts.
    const done = () => void this.#open.delete(key)
    work.then(done, done)
    return found
  }

  #bounded(found: Promise<Measured[]>): Promise<Measured[]> {
    return new Promise((resolve, reject) => {
      const cancel = this.#world.clock.after(LONGEST_MS, () => reject(new Problem('store_unavailable')))
      found.then(resolve, reject).finally(cancel)
    })
  }
}
