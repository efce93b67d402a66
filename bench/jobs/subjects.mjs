import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { startNats, startPostgres, startRedis } from '../../scripts/engines.mjs'
import { startPlane } from '../plane.mjs'
import { cpuOf } from '../processes.mjs'

const DRIVER = fileURLToPath(new URL('./driver.mjs', import.meta.url))

/** `gap_ms` is how far apart single jobs are sent: at least as long as a poll, where there is one. */
const SUBJECTS = [
  { name: 'sallyport, embedded', ours: true, needs: [], start: () => governed({}) },
  {
    name: 'sallyport, Postgres + NATS',
    ours: true,
    needs: ['postgres', 'nats'],
    start: (engines) => durablePlane(engines, 'one_node', 1),
  },
  {
    name: 'sallyport, Postgres + NATS, 2 nodes',
    ours: true,
    needs: ['postgres', 'nats'],
    start: (engines) => durablePlane(engines, 'two_nodes', 2),
  },
  {
    name: 'pg-boss',
    needs: ['postgres'],
    gap_ms: 500,
    start: async ({ postgres }) => queue('pg-boss', { databaseUrl: await postgres.database('pg_boss') }, { postgres }),
  },
  {
    name: 'graphile-worker',
    needs: ['postgres'],
    start: async ({ postgres }) =>
      queue('graphile-worker', { databaseUrl: await postgres.database('graphile') }, { postgres }),
  },
  {
    name: 'BullMQ, appendfsync always',
    needs: ['redis'],
    start: ({ redis }) => queue('bullmq', { redisUrl: redis.url }, { redis }),
  },
]

const ENGINES = {
  postgres: () => startPostgres({ durable: true }),
  nats: startNats,
  redis: startRedis,
}

/** Brings up the subjects whose name `wanted` takes, and the engines they need. What does not start is told of and left out. */
export async function bringUp(wanted, say) {
  const engines = {}
  const subjects = []
  const faults = []
  const down = async () => {
    for (const each of subjects) await each.stop().catch(() => {})
    for (const engine of Object.values(engines)) engine.discard()
  }
  try {
    for (const { start, needs, gap_ms = 20, ...about } of SUBJECTS.filter(({ name }) => wanted(name))) {
      say(`starting ${about.name}`)
      try {
        for (const need of needs) engines[need] ??= await ENGINES[need]()
        subjects.push({ ...about, gap_ms, ...(await start(engines)) })
      } catch (error) {
        faults.push(`${about.name}: ${error.message}`)
      }
    }
  } catch (error) {
    await down()
    throw error
  }
  return { subjects, faults, down }
}

async function durablePlane({ postgres, nats }, database, nodes) {
  return governed({ databaseUrl: await postgres.database(database), natsUrl: nats.url, nodes }, { postgres, nats })
}

/** A control plane of its own and the process that loads it. For `settings` see queues/sallyport.mjs. */
export async function governed(options, engines = {}, settings = {}) {
  const plane = await startPlane(options)
  try {
    const driver = await drive('sallyport', { urls: plane.urls, tenants: [plane.keys], ...settings })
    return {
      plane,
      processes: { node: plane.pids, ...pidsOf(engines), load: [driver.pid] },
      call: driver.call,
      said: plane.said,
      async stop() {
        await driver.stop()
        await plane.stop()
      },
    }
  } catch (error) {
    plane.discard()
    throw error
  }
}

/** A bare queue lives in the process that uses it: there is no server of its own to count apart from the load. */
async function queue(adapter, settings, engines) {
  const driver = await drive(adapter, settings)
  return { processes: { client: [driver.pid], ...pidsOf(engines) }, call: driver.call, stop: driver.stop }
}

const pidsOf = (engines) => Object.fromEntries(Object.entries(engines).map(([name, { pid }]) => [name, [pid]]))

/** Microseconds of processor time so far, by the name of a process. */
export const cpuBy = (processes) =>
  Object.fromEntries(
    Object.entries(processes).map(([name, pids]) => [name, pids.reduce((sum, p) => sum + cpuOf(p), 0)]),
  )

async function drive(adapter, settings) {
  const child = fork(DRIVER, [adapter], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const open = new Map()
  let ids = 0
  let gone = null
  child.on('message', ({ id, value, fault }) => {
    const { resolve, reject } = open.get(id)
    open.delete(id)
    if (fault === undefined) resolve(value)
    else reject(new Error(fault))
  })
  child.on('exit', (code, signal) => {
    gone = new Error(`the driver of ${adapter} ended with ${signal ?? code}`)
    for (const { reject } of open.values()) reject(gone)
  })
  const call = (command, rest = {}) =>
    new Promise((resolve, reject) => {
      if (gone !== null) return reject(gone)
      const id = ids++
      open.set(id, { resolve, reject })
      child.send({ id, command, ...rest })
    })
  await call('open', { settings })
  return {
    pid: child.pid,
    call,
    async stop() {
      const hard = setTimeout(() => child.kill('SIGKILL'), 5000)
      await call('close').catch(() => {})
      clearTimeout(hard)
    },
  }
}
