import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Cluster } from '../support/cluster.js'
import { track } from '../support/server.js'
import type { Observed } from './faults-judge.js'
import { TOPIC } from './faults-load.js'

/** A worker process of the drills: what it says of itself, and the end and standstill that it can be brought to. */
export class DrillWorker {
  readonly said: Observed['said'] = []
  readonly #cluster: Cluster
  readonly #outside: string
  #child: ChildProcess | null = null

  constructor(cluster: Cluster, outside: string) {
    this.#cluster = cluster
    this.#outside = outside
  }

  get alive(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null
  }

  async start(): Promise<void> {
    if (this.alive) return
    const about = {
      urls: this.#cluster.nodes.map((node) => node.url),
      key: this.#cluster.key('worker'),
      outside: this.#outside,
      topic: TOPIC,
      concurrency: 8,
    }
    const file = fileURLToPath(new URL('./faults-worker.mjs', import.meta.url))
    const env = { PATH: process.env.PATH, DRILL_WORKER: JSON.stringify(about) }
    const child = track(spawn(process.execPath, [file], { env, stdio: ['ignore', 'pipe', 'inherit'] }))
    let rest = ''
    child.stdout?.setEncoding('utf8').on('data', (chunk) => {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) this.said.push(JSON.parse(line))
    })
    this.#child = child
  }

  /** Resolves when it is gone: started again before, it was taken for the one that still lived. */
  async kill(): Promise<void> {
    if (!this.alive) return
    const ended = once(this.#child as ChildProcess, 'exit')
    this.#child?.kill('SIGKILL')
    await ended
  }
  freeze(): void {
    this.#child?.kill('SIGSTOP')
  }
  thaw(): void {
    this.#child?.kill('SIGCONT')
  }

  async stop(): Promise<void> {
    if (!this.alive) return
    const ended = once(this.#child as ChildProcess, 'close')
    this.#child?.kill('SIGTERM')
    await ended
  }
}

/** Counts what is done to it, by idempotency key. It knows no repeats: each call is an execution. */
export async function outsideWorld() {
  const executed = new Map<string, { times: number; where: string }>()
  const server = createServer((request, response) => {
    const key = String(request.headers['idempotency-key'])
    const known = executed.get(key) ?? { times: 0, where: String(request.url).slice(1) }
    executed.set(key, { ...known, times: known.times + 1 })
    request.resume()
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ n: executed.size }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    executed,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}
