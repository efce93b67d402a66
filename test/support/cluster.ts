import type { ChildProcess } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import pg from 'pg'
import { freePort, type NatsInstance, type PostgresInstance, startNats, startPostgres } from '../../scripts/engines.mjs'
import { type Client, createClient } from '../../src/sdk/client.js'
import { type Ended, type FirstRole, scratch, spawnUp, until } from './server.js'

/** A node: a control plane in a process of its own, on the database and bus it shares with the others. */
export interface Node {
  name: string
  url: string
  port: number
  readonly pid: number
  readonly alive: boolean
  client(role: FirstRole, options?: { retries?: number; timeoutMs?: number }): Client
  stderr(): string
  /** Again, after it ended: same port, same folder. Resolves when it is ready. */
  start(): Promise<void>
  /** SIGTERM, as an operator would. */
  stop(): Promise<Ended>
  /** SIGKILL, as a crash would. */
  kill(): Promise<void>
  freeze(): void
  thaw(): void
}

export interface NodeOptions {
  /** Where it finds Postgres or NATS, when not directly. */
  databaseUrl?: string
  natsUrl?: string
  env?: Record<string, string>
}

/** Postgres, NATS and nodes, each of which can be killed, frozen and started again. */
export interface Cluster {
  postgres: PostgresInstance
  nats: NatsInstance | null
  databaseUrl: string
  /** The database through another port of this machine. */
  through(port: number): string
  nodes: Node[]
  add(options?: NodeOptions): Promise<Node>
  key(role: FirstRole): string
  /** One statement on the database, past every node. */
  sql<Row>(text: string, values?: unknown[]): Promise<Row[]>
  /** Another tenant with this policy, and its keys. The API makes keys only in the tenant of the key that asks, so the first is a row. */
  tenant(name: string, policy: string): Promise<Record<FirstRole, string>>
  activate(policy: string, at?: Node): Promise<string>
  at(...names: string[]): string
  gone(): Promise<void>
}

export interface ClusterOptions {
  nodes?: number
  nats?: boolean
  policy: string
  /** A setting of Postgres, e.g. max_connections. */
  settings?: Record<string, string | number>
}

/** Starts engines and nodes. The first node makes the database and the first keys, so it starts alone. */
export async function startCluster(name: string, options: ClusterOptions): Promise<Cluster> {
  const place = scratch(name)
  writeFileSync(place.at('policy.yaml'), options.policy)
  const signing = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' })
  writeFileSync(place.at('signing.key'), signing, { mode: 0o600 })
  const [postgres, nats] = await Promise.all([
    startPostgres(options.settings === undefined ? {} : { settings: options.settings }),
    options.nats === false ? null : startNats(),
  ])
  const databaseUrl = await postgres.database('sallyport')
  const nodes: Node[] = []
  const key = (role: FirstRole) => readFileSync(place.at('n0', 'keys', `${role}.key`), 'utf8').trim()
  const cluster: Cluster = {
    postgres,
    nats,
    databaseUrl,
    through: (port) => databaseUrl.replace(/:\d+\//, `:${port}/`),
    nodes,
    async add({ databaseUrl: database = databaseUrl, natsUrl = nats?.url, env = {} } = {}) {
      const id = `n${nodes.length}`
      const node = createNode(id, place.at(id), place.at('policy.yaml'), await freePort(), key, {
        SALLYPORT_DATABASE_URL: database,
        SALLYPORT_SIGNING_KEY: place.at('signing.key'),
        ...(natsUrl === undefined ? {} : { SALLYPORT_NATS_URL: natsUrl }),
        ...env,
      })
      nodes.push(node)
      await node.start()
      return node
    },
    key,
    async sql(text, values = []) {
      const client = new pg.Client(databaseUrl)
      await client.connect()
      try {
        return (await client.query(text, values)).rows
      } finally {
        await client.end()
      }
    },
    async tenant(tenant, policy) {
      const admin = await seedKey(cluster, tenant)
      const client = createClient({ url: (nodes[0] as Node).url, apiKey: admin })
      await client.policy.create({ files: [{ path: 'policy.yaml', text: policy }], activate: true })
      const made = async (role: FirstRole) => (await client.keys.create({ role, principal: `${role}:${tenant}` })).key
      return { admin, agent: await made('agent'), worker: await made('worker'), approver: await made('approver') }
    },
    async activate(policy, at = nodes[0] as Node) {
      const files = [{ path: 'policy.yaml', text: policy }]
      return (await at.client('admin').policy.create({ files, activate: true })).policy_snapshot
    },
    at: place.at,
    async gone() {
      await Promise.all(nodes.map((node) => node.kill()))
      postgres.discard()
      nats?.discard()
      place.gone()
    },
  }
  try {
    for (let n = 0; n < Math.min(1, options.nodes ?? 2); n++) await cluster.add()
    await Promise.all(Array.from({ length: (options.nodes ?? 2) - 1 }, () => cluster.add()))
  } catch (error) {
    await cluster.gone()
    throw error
  }
  return cluster
}

/** An admin key as its row, copied from the one that the first start made. Its text is the first one's with another id. */
async function seedKey(cluster: Cluster, tenant: string): Promise<string> {
  const secret = cluster.key('admin').slice('sp_'.length + 26 + 1)
  const id = Array.from({ length: 26 }, () => Math.floor(Math.random() * 36).toString(36)).join('')
  await cluster.sql(
    `INSERT INTO keys SELECT (jsonb_populate_record(k, jsonb_build_object('tenant', $1::text, 'key_id', $2::text, 'principal', $3::text))).*
     FROM keys k WHERE role = 'admin' AND tenant = 'default' LIMIT 1`,
    [tenant, `key_${id}`, `admin:${tenant}`],
  )
  return `sp_${id}_${secret}`
}

function createNode(
  name: string,
  dataDir: string,
  policy: string,
  port: number,
  key: (role: FirstRole) => string,
  env: Record<string, string>,
): Node {
  let up: ReturnType<typeof spawnUp> | null = null
  const child = (): ChildProcess => {
    if (up === null) throw new Error(`${name} was never started`)
    return up.child
  }
  const url = `http://127.0.0.1:${port}`
  const isAlive = () => up !== null && up.child.exitCode === null && up.child.signalCode === null
  return {
    name,
    url,
    port,
    get pid() {
      return child().pid as number
    },
    get alive() {
      return isAlive()
    },
    client: (role, options = {}) => createClient({ url, apiKey: key(role), ...options }),
    stderr: () => up?.err() ?? '',
    async start() {
      const mine = spawnUp({ dataDir, policy, port, env })
      up = mine
      let ended = false
      void mine.ended.then(() => {
        ended = true
      })
      await until(
        `${name} is ready`,
        async () => {
          if (ended) throw new Error(`${name} ended: ${mine.out()}${mine.err()}`)
          return (await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(2000) }).catch(() => null))?.status === 200
        },
        60_000,
      )
    },
    async stop() {
      const mine = up as ReturnType<typeof spawnUp>
      const from = performance.now()
      mine.child.kill('SIGTERM')
      return { ...(await mine.ended), ms: Math.round(performance.now() - from), err: mine.err() }
    },
    async kill() {
      if (!isAlive()) return
      child().kill('SIGKILL')
      await up?.ended
    },
    freeze: () => void child().kill('SIGSTOP'),
    thaw: () => void child().kill('SIGCONT'),
  }
}

export interface Answer {
  status: number
  // biome-ignore lint/suspicious/noExplicitAny: whatever the route answers
  body: any
  headers: Record<string, string | string[] | undefined>
  ms: number
}

/** One call as it is, without repeats; many at once share an agent. Rejects when no whole answer came. */
export function call(
  url: string,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  options: { key?: string; body?: unknown; headers?: Record<string, string>; agent?: Agent; timeoutMs?: number } = {},
): Promise<Answer> {
  const from = performance.now()
  const text = options.body === undefined ? undefined : JSON.stringify(options.body)
  return new Promise((resolve, reject) => {
    const sent = request(
      `${url}${path}`,
      {
        method,
        agent: options.agent ?? shared,
        headers: {
          ...(options.key === undefined ? {} : { 'x-api-key': options.key }),
          ...(text === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
          ...options.headers,
        },
      },
      (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk) => chunks.push(chunk))
        answer.on('error', reject)
        answer.on('end', () => {
          const read = Buffer.concat(chunks).toString()
          const isJson = String(answer.headers['content-type']).includes('json')
          const body = isJson ? JSON.parse(read) : read
          resolve({ status: answer.statusCode ?? 0, body, headers: answer.headers, ms: performance.now() - from })
        })
      },
    )
    sent.on('error', reject)
    if (options.timeoutMs !== undefined)
      sent.setTimeout(options.timeoutMs, () => sent.destroy(new Error(`no answer within ${options.timeoutMs} ms`)))
    sent.end(text)
  })
}

const shared = new Agent({ keepAlive: true, maxSockets: 512 })

/** Resident memory in bytes and CPU time in ms of a process, as the kernel counts them. */
export function usage(pid: number): { rss: number; cpu_ms: number } {
  if (!existsSync(`/proc/${pid}`)) return { rss: 0, cpu_ms: 0 }
  const rss = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0'
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  // utime and stime in ticks of 10 ms, user and kernel.
  return { rss: Number(rss) * 1024, cpu_ms: (Number(fields[11]) + Number(fields[12])) * 10 }
}
