import { appendFileSync, writeFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { balanced } from '../support/balance.mjs'
import type { Cluster } from '../support/cluster.js'

export const TOPIC = 'job.fault.work'

export interface Load {
  /** Job id by run id, of every submit that was answered 202. */
  acknowledged: Map<string, string>
  /** More than one job for one idempotency key. */
  doubled: string[]
  /** Ends when what was sent has its answer; `now` does not wait for that. */
  stop(now?: boolean): Promise<void>
}

/** Submits one after another, each repeated under its key until it is taken, and a reviewer who says yes to every question. */
export function startLoad(cluster: Cluster, submitters = 4): Load {
  const urls = cluster.nodes.map((node) => node.url)
  const send = balanced(urls, { timeoutMs: 6_000 })
  const acknowledged = new Map<string, string>()
  const doubled: string[] = []
  let stopping = false
  let abandoned = false
  const one = async (run_id: string, ask: boolean) => {
    const body = JSON.stringify({ topic: TOPIC, run_id, input: { run_id }, labels: ask ? { ask: 'yes' } : {} })
    const headers = { 'content-type': 'application/json', 'x-api-key': cluster.key('agent'), 'idempotency-key': run_id }
    while (!abandoned) {
      try {
        const answer = await send('http://any/api/v1/jobs', { method: 'POST', headers, body })
        const { job_id } = (await answer.json()) as { job_id: string }
        if (answer.status === 202) {
          acknowledged.set(run_id, job_id)
          return
        }
      } catch {
        // no answer: nobody knows, so it is asked again under the same key
      }
      await pause(50)
    }
  }
  const submitter = async (name: number) => {
    for (let n = 0; !stopping; n++) {
      await one(`run-${name}-${n}`, n % 8 === 7)
      // The same again now and then, as a caller does whose answer was lost: it must be the same job.
      if (n % 16 === 3) {
        const first = acknowledged.get(`run-${name}-${n}`)
        await one(`run-${name}-${n}`, false)
        if (first !== acknowledged.get(`run-${name}-${n}`)) doubled.push(`run-${name}-${n}`)
      }
      await pause(25)
    }
  }
  const reviewer = async () => {
    const headers = { 'content-type': 'application/json', 'x-api-key': cluster.key('approver') }
    while (!stopping) {
      try {
        const list = await send('http://any/api/v1/approvals?status=pending&limit=20', { headers })
        const { items } = (await list.json()) as { items: { approval_id: string; grant_hash: string }[] }
        for (const { approval_id, grant_hash } of items) {
          const body = JSON.stringify({ grant_hash })
          await (
            await send(`http://any/api/v1/approvals/${approval_id}/approve`, { method: 'POST', headers, body })
          ).text()
        }
      } catch {
        // asked again
      }
      await pause(200)
    }
  }
  const all = Promise.all([...Array.from({ length: submitters }, (_, n) => submitter(n)), reviewer()])
  return {
    acknowledged,
    doubled,
    async stop(now = false) {
      stopping = true
      abandoned = now
      await all
    },
  }
}

/** Signed heads in a file outside the database, from whichever node answers: what they say, the log can never unsay. */
export function keepHeads(cluster: Cluster) {
  const file = cluster.at('heads.txt')
  writeFileSync(file, '')
  let stopping = false
  let kept = 0
  const running = (async () => {
    while (!stopping) {
      for (const node of cluster.nodes) {
        const head = await node
          .client('admin', { retries: 0, timeoutMs: 2_000 })
          .audit.head()
          .catch(() => null)
        if (head !== null) {
          appendFileSync(file, `${head.checkpoint}\n`)
          kept++
        }
      }
      await pause(500)
    }
  })()
  return {
    file,
    kept: () => kept,
    async stop() {
      stopping = true
      await running
    },
  }
}
