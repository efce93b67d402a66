import { HttpPool } from '../http.mjs'
import { makeResults } from '../texts.mjs'

/** Reads what it needs of an answer by position: parsing 64 leases to find their numbers would cost as much as making them. */
const LEASE = '"lease":"'
const NUMBER = '"n":'

/**
 * Over HTTP, as any language would: submit, long poll for work, report in batches as the SDK's worker does. Jobs go to the
 * nodes and the first `tenants` tenants (`{agent, worker}` keys each) in turn; every tenant has workers of its own, each asking
 * for up to `capacity` jobs at a time.
 */
export async function open({ urls, tenants: all }) {
  let tenants = all
  const pools = urls.map((url) => new HttpPool(url))
  const results = makeResults().map((result) => JSON.stringify(result))
  const prefix = `bench-${process.pid}-${Date.now()}`
  let turn = 0
  let claims = 0
  let working = { on: false, loops: [] }
  const job = (n) =>
    `{"topic":"job.repo.read","labels":{"team":"web"},"input":{"op":"log","path":"src","limit":20,"n":${n}}}`

  async function claimer(state, node, key, worker, size, hooks) {
    while (state.on) {
      const body = await node.post(
        '/api/v1/workers/claim',
        key,
        `{"worker_id":"${worker}","claim_id":"${prefix}-${claims++}","topics":["job.repo.read"],"capacity":${size},"wait_ms":1000}`,
      )
      const leases = read(body.latin1Slice())
      if (leases.length === 0) continue
      for (const { n } of leases) hooks.onStart(n)
      const reports = leases.map(
        ({ lease, n }) =>
          `{"lease":"${lease}","outcome":"succeeded","result":${results[n % results.length]},"usage":{"tokens":7}}`,
      )
      const answer = await node.post('/api/v1/leases/complete', key, `[${reports.join(',')}]`)
      if (answer.includes('"lost"') || answer.includes('"conflict"')) throw new Error(answer.latin1Slice(0, 500))
      for (const { n } of leases) hooks.onDone(n)
    }
  }

  return {
    add: (n) => pools[n % pools.length].post('/api/v1/jobs', tenants[n % tenants.length].agent, job(n)),
    async addMany(from, count) {
      const jobs = Array.from({ length: count }, (_, i) => job(from + i))
      const to = turn++
      const { agent } = tenants[to % tenants.length]
      await pools[to % pools.length].post('/api/v1/jobs/batch', agent, `{"jobs":[${jobs.join(',')}]}`)
    },
    work(mode, hooks, { claimers = 4, capacity = 64, tenants: used = all.length } = {}) {
      tenants = all.slice(0, used)
      const state = { on: true, loops: [] }
      const count = Math.max(tenants.length, mode === 'alone' ? pools.length : claimers)
      const size = mode === 'batches' ? Math.max(100, capacity) : capacity
      for (let i = 0; i < count; i++) {
        const { worker } = tenants[i % tenants.length]
        state.loops.push(claimer(state, pools[i % pools.length], worker, `w${i}`, size, hooks))
      }
      for (const loop of state.loops) loop.catch(fail)
      working = state
    },
    async rest() {
      working.on = false
      await Promise.all(working.loops)
      for (const pool of pools) pool.close()
    },
    close() {
      for (const pool of pools) pool.close()
    },
  }
}

function read(text) {
  const leases = []
  for (let at = text.indexOf(LEASE); at >= 0; at = text.indexOf(LEASE, at)) {
    at += LEASE.length
    const lease = text.slice(at, text.indexOf('"', at))
    at = text.indexOf(NUMBER, at) + NUMBER.length
    leases.push({ lease, n: Number.parseInt(text.slice(at, at + 12), 10) })
  }
  return leases
}

/** A worker that failed would leave the round waiting for ever. */
function fail(error) {
  console.error(error)
  process.exit(1)
}
