import type { BusStats } from '../platform/bus/seam.js'
import type { Clock } from '../platform/clock.js'
import type { DbStats } from '../platform/db/seam.js'
import type { Metrics } from '../platform/metrics.js'
import type { Census, TenantCount } from '../store/census.js'
import type { Dispatcher } from './dispatcher.js'

/** What is asked at a scrape and not counted as it happens. */
export interface Sources {
  census: Census
  dispatcher: Pick<Dispatcher, 'tenants' | 'waitingFor'>
  clock: Clock
  ledgerDepth(): number
  bus(): Readonly<BusStats>
  /** Undefined on an engine without connections. */
  db: (() => DbStats) | undefined
}

/** Of a tenant. */
const MOST_CHANNELS = 50
/** Tenants past the bound of labels; their channels have no name there. */
const OTHER = 'other'
/** A scraper gives up after ten seconds; by then it shall have what does not hang on the store. */
const STORE_MS = 4000

/** The exposition of this node, its gauges set anew for every scrape; those of the store only while it answers. */
export function exposition(metrics: Metrics, sources: Sources): { text(tenant: string | null): Promise<string> } {
  return {
    async text(tenant) {
      metrics.ledgerDepth.set(sources.ledgerDepth())
      setParts(metrics, sources)
      setWaiting(metrics, sources.dispatcher)
      try {
        const found = await within(STORE_MS, sources.clock, count(sources.census, tenant))
        metrics.forgetStore()
        setStore(metrics, found)
        metrics.storeUp.set(1)
      } catch {
        metrics.forgetStore()
        metrics.storeUp.set(0)
      }
      return metrics.text(tenant)
    },
  }
}

function setParts(metrics: Metrics, sources: Sources): void {
  const [bus, db] = [sources.bus(), sources.db]
  metrics.busConnected.set(bus.connected ? 1 : 0)
  // The bus counts by itself; a counter here is set by starting over.
  metrics.busConnects.reset()
  metrics.busConnects.inc(bus.connects)
  metrics.busHints.reset()
  for (const result of ['sent', 'heard', 'dropped'] as const) metrics.busHints.inc({ result }, bus[result])
  if (db === undefined) return
  const { lines, connected, open } = db()
  metrics.connections.set({ state: 'most' }, lines)
  metrics.connections.set({ state: 'connected' }, connected)
  metrics.openStatements.set(open)
}

async function count(census: Census, tenant: string | null): Promise<{ live: number; tenants: TenantCount[] }> {
  const tenants: TenantCount[] = []
  for (const name of tenant === null ? await census.tenants() : [tenant]) tenants.push(await census.tenant(name))
  return { live: await census.live(), tenants }
}

function setStore(metrics: Metrics, { live, tenants }: { live: number; tenants: readonly TenantCount[] }): void {
  metrics.leasesLive.set(live)
  for (const each of tenants) {
    const tenant = metrics.labels.tenant(each.tenant)
    const depths = new Map<string, { depth: number; oldest: number }>()
    for (const { topic, depth, oldest_ms } of each.topics) {
      const label = metrics.labels.topic(each.tenant, topic, true)
      const sum = depths.get(label) ?? { depth: 0, oldest: 0 }
      depths.set(label, { depth: sum.depth + depth, oldest: Math.max(sum.oldest, oldest_ms / 1000) })
    }
    for (const [topic, { depth, oldest }] of depths) {
      metrics.queueDepth.set({ tenant, topic }, depth)
      metrics.queueAge.set({ tenant, topic }, oldest)
    }
    metrics.approvalsPending.set({ tenant }, each.pending)
    metrics.approvalsAge.set({ tenant }, each.pending_oldest_ms / 1000)
    for (const [status, n] of Object.entries(each.parked)) metrics.parked.set({ tenant, status }, n)
    // Of the first channels by name, so that many tenants with many of them stay a bounded number of series.
    for (const { channel, status, n } of each.deliveries.slice(0, 2 * MOST_CHANNELS))
      metrics.deliveries.set({ tenant, channel: tenant === OTHER ? OTHER : channel, status }, n)
    metrics.integrationLag.set({ tenant }, each.lag_ms / 1000)
    if (each.unpublished === null) continue
    metrics.streamLagEntries.set({ tenant }, each.unpublished.entries)
    metrics.streamLag.set({ tenant }, each.unpublished.oldest_ms / 1000)
  }
}

/** A worker chooses the topics it asks for, so they take no label's place: only ones that jobs had are shown by name. */
function setWaiting(metrics: Metrics, dispatcher: Sources['dispatcher']): void {
  metrics.waitingWorkers.reset()
  for (const name of dispatcher.tenants) {
    const tenant = metrics.labels.tenant(name)
    for (const [topic, count] of dispatcher.waitingFor(name))
      metrics.waitingWorkers.inc({ tenant, topic: metrics.labels.topic(name, topic, false) }, count)
  }
}

function within<T>(ms: number, clock: Clock, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, () => reject(new Error('the store took too long')))
    work.then(resolve, reject).finally(cancel)
  })
}
