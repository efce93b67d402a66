import { cpSync, writeFileSync } from 'node:fs'
import { freePort, startPostgres } from '../../scripts/engines.mjs'
import { type Client, createClient } from '../../src/sdk/client.js'
import { TerminalError } from '../../src/sdk/errors.js'
import { createWorker, type Handler, type WorkerOptions } from '../../src/sdk/worker.js'
import { signingKeyFile, sqlOn } from '../support/engines.js'
import type { Known } from '../support/runbook.js'
import { type Server, startServer, until } from '../support/server.js'

/** What was so before whoever is on call came to the page, and what the alarm told them: all else the page has them read off. */
export type Scene = (stage: Stage) => Promise<Told>

export interface Told {
  known: Known
  /** What befalls the machine between two steps, by the name that a page marks the second with. */
  world?: Record<string, () => Promise<void>>
  gone?(): Promise<void>
}

export interface Stage {
  server: Server
  at(...names: string[]): string
  /** Key of a person, agent or worker of this name. Made when first asked for. */
  keyOf(name: string): Promise<string>
  client(name: string): Promise<Client>
  /** Of whoever types a command that a page marks with `as`. */
  environment(as: string, known: Known): Promise<Record<string, string>>
  /** Ends every stop that a page left. */
  lift(): Promise<void>
}

const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: '>', owner: team:finance, respond_within: 4h, attempts: 2, timeout_ms: 60000, heartbeat_ms: 500 }
  - { topic: job.invoices.*, attempts: 1 }
rules:
  - id: allow
    match: { topic: [job.refunds.pay, job.mails.*, job.reports.*, job.invoices.*, job.sales.*, job.exec.shell, job.drill.effect] }
    decision: ALLOW
  - { id: ask, match: { topic: job.contracts.sign }, decision: REQUIRE_APPROVAL, approval: { from: [team:legal], within: 4h } }
`

const DIRECTORY = `
version: v1
teams:
  - { team: legal, leads: [person:lea], on_call: [person:lea] }
  - { team: sales }
people:
  - { principal: person:lea, role: approver, team: legal }
  - { principal: person:max, role: approver, team: sales }
`

/** People by the word that a page's command is marked with. */
const PEOPLE = {
  operator: { role: 'operator', principal: 'person:ann' },
  second: { role: 'operator', principal: 'person:ben' },
  admin: { role: 'admin', principal: 'person:cleo' },
  'person:max': { role: 'approver', principal: 'person:max', team: 'sales' },
} as const

export async function stage(at: Stage['at']): Promise<Stage> {
  writeFileSync(at('policy.yaml'), POLICY)
  const server = await startServer({ dataDir: at('data'), policy: at('policy.yaml') })
  const admin = server.client('admin')
  await admin.directory.apply({ path: 'sallyport.yaml', text: DIRECTORY })
  const keys = new Map<string, Promise<string>>()
  const made = async (name: string): Promise<string> => {
    const who = PEOPLE[name as keyof typeof PEOPLE] ?? { role: name.split(':')[0], principal: name }
    return (await admin.keys.create(who as Parameters<typeof admin.keys.create>[0])).key
  }
  const keyOf = (name: string) => {
    if (!keys.has(name)) keys.set(name, made(name))
    return keys.get(name) as Promise<string>
  }
  return {
    server,
    at,
    keyOf,
    client: async (name) => createClient({ url: server.url, apiKey: await keyOf(name) }),
    environment: async (as, known) => ({
      SALLYPORT_URL: known.SALLYPORT_URL ?? server.url,
      SALLYPORT_API_KEY: known.SALLYPORT_API_KEY ?? (await keyOf(as)),
    }),
    async lift() {
      const [one, other] = await Promise.all([keyOf('operator'), keyOf('second')])
      for (const { stop_id } of (await admin.stops.list({ active: true })).items)
        for (const stage of ['trial', 'full'] as const)
          for (const apiKey of [one, other])
            await createClient({ url: server.url, apiKey }).stops.resume(stop_id, {
              stage,
              note: 'the next page',
              ...(stage === 'trial' ? { trial_ms: 1 } : {}),
            })
    },
  }
}

/** A worker that says nothing more: it took the job, began an effect where one is named, and is gone. */
async function lost(stage: Stage, topic: string, effect?: string, name = 'worker:gone') {
  const { worker } = await stage.client(name)
  const claimed = await until(`work of ${topic}`, async () => {
    const claim = {
      worker_id: 'w1',
      claim_id: `claim-${performance.now()}`,
      topics: [topic],
      capacity: 1,
      wait_ms: 2000,
    }
    return (await worker.claim(claim)).leases[0]
  })
  if (effect !== undefined) await worker.effect({ lease: claimed.lease, key: effect, phase: 'begin' })
  return claimed.lease
}

/** A worker that lives for as long as the tests. */
async function works(
  stage: Stage,
  topics: Record<string, Handler>,
  more: Partial<Pick<WorkerOptions, 'serves'>> = {},
): Promise<void> {
  const worker = createWorker({
    url: stage.server.url,
    apiKey: await stage.keyOf('worker:first'),
    waitMs: 2000,
    log: () => {},
    topics,
    ...more,
  })
  await worker.start()
  workers.push(worker)
}
const workers: { stop(how: { graceMs: number }): Promise<void> }[] = []
export const workersGone = () => Promise.all(workers.splice(0).map((worker) => worker.stop({ graceMs: 0 })))

const ended = async (stage: Stage, job_id: string, status: string) =>
  until(`${job_id} is ${status}`, async () => (await stage.server.client('admin').jobs.get(job_id)).status === status)

const headOf = (server: Server) =>
  until('a signed head', () =>
    server
      .client('admin')
      .audit.head()
      .catch(() => null),
  )

async function stop(stage: Stage): Promise<Told> {
  const agent = await stage.client('agent:refund-bot')
  await agent.jobs.submit({ topic: 'job.refunds.pay', run_id: 'ticket-4711', input: { order: 'A-1', amount: 40 } })
  const lease = await lost(stage, 'job.refunds.pay', 'refund')
  // It lives until the stop asks it to end, and says nothing to that.
  const { worker } = await stage.client('worker:gone')
  const beat = async (): Promise<void> => {
    const { leases } = await worker.heartbeat({ leases: [{ lease }] })
    if (leases[0]?.answer === 'ok') setTimeout(() => void beat().catch(() => {}), 200)
  }
  await beat()
  return { known: { AGENT: 'agent:refund-bot', RUN: 'ticket-4711', TRIAL: '1ms', ME: 'person:ann' } }
}

async function isolate(stage: Stage): Promise<Told> {
  const agent = await stage.client('agent:writer')
  const { job_id } = await agent.jobs.submit({ topic: 'job.reports.write', run_id: 'report-1' })
  const [WORKER, SERVICE] = ['worker:strange', 'worker:printer']
  await stage.keyOf(SERVICE)
  await lost(stage, 'job.reports.write', undefined, WORKER)
  await ended(stage, job_id, 'retrying')
  await agent.jobs.cancel(job_id)
  return { known: { AGENT: 'agent:writer', RUN: 'report-1', WORKER, SERVICE, TRIAL: '1ms' } }
}

/** The first letter printed and could not be sent; the second is about nothing. */
async function deadLetters(stage: Stage, run_id: string, orders: readonly string[]): Promise<void> {
  const agent = await stage.client(`agent:${run_id}`)
  const topic = `job.invoices.${run_id}`
  let isOn = false
  await works(stage, {
    [topic]: async (job, ctx) => {
      if ((job.input as { order: string }).order === 'none') throw new TerminalError('no_such_order', 'there is none')
      await ctx.effect('print', () => ({ pages: 2 }))
      const wasOn = isOn
      isOn = true
      if (!wasOn) throw new TerminalError('printer_off', 'the printer is off')
      return { sent: true }
    },
  })
  for (const order of orders) {
    const { job_id } = await agent.jobs.submit({ topic, run_id, input: { order } })
    await ended(stage, job_id, 'dead_letter')
  }
}

async function letters(stage: Stage): Promise<Told> {
  await deadLetters(stage, 'invoice-7', ['A-1', 'none'])
  return { known: { RUN: 'invoice-7', OWNER: 'team:finance' } }
}

/** A worker died between doing and saying so, and nobody is left for what is due. */
async function workerLoss(stage: Stage): Promise<Told> {
  const agent = await stage.client('agent:builder')
  const { job_id } = await agent.jobs.submit({ topic: 'job.refunds.pay', run_id: 'build-9', input: { order: 'A-2' } })
  await lost(stage, 'job.refunds.pay', 'refund')
  await agent.jobs.submit({ topic: 'job.exec.shell', run_id: 'build-9', input: { command: 'true' } })
  await ended(stage, job_id, 'ambiguous')
  return { known: { RUN: 'build-9' } }
}

/** Who is asked is away. */
async function backlog(stage: Stage): Promise<Told> {
  const agent = await stage.client('agent:lawyer')
  for (const contract of ['B', 'A'])
    await agent.jobs.submit({ topic: 'job.contracts.sign', run_id: 'contracts', input: { contract } })
  return { known: { RUN: 'contracts', UNTIL: new Date(Date.now() + 86_400_000).toISOString().slice(0, 10) } }
}

async function leak(stage: Stage): Promise<Told> {
  const key = await stage.keyOf('agent:leaky')
  const agent = await stage.client('agent:leaky')
  await agent.tokens.create({ minutes: 5 })
  await agent.jobs.submit({ topic: 'job.reports.build', run_id: 'leak-1' })
  writeFileSync(stage.at('leaked.key'), key)
  const { checkpoint } = await headOf(stage.server)
  writeFileSync(stage.at('kept-heads.txt'), checkpoint)
  return { known: { KEY: `key_${key.split('_')[1]}`, LEAKED: 'leaked.key', HEADS: 'kept-heads.txt', RUN: 'leak-1' } }
}

/** A run of which a part failed, after an effect of it had happened. */
async function incident(stage: Stage): Promise<Told> {
  const run_id = 'order-12'
  await deadLetters(stage, run_id, ['A-1'])
  writeFileSync(stage.at('fixed.yaml'), POLICY.replace('job.mails.*', 'job.mails.one'))
  writeFileSync(
    stage.at('incident.yaml'),
    `version: v1
scenarios:
  - { id: mail-to-all, about: a mail to all customers, kind: bulk_mail, critical: true, job: { topic: job.mails.all }, expect: DENY }
`,
  )
  await works(stage, { 'job.mails.all': () => ({ sent: 4000 }) })
  const { job_id } = await (await stage.client(`agent:${run_id}`)).jobs.submit({ topic: 'job.mails.all', run_id })
  await ended(stage, job_id, 'succeeded')
  return { known: { RUN: run_id, FIXED: 'fixed.yaml', SCENARIOS: 'incident.yaml' } }
}

/** A candidate that did something, and an undoing of it that fails the first time. */
async function rollback(stage: Stage): Promise<Told> {
  const [AGENT, RUN] = ['agent:seller', 'customer-7']
  const operator = await stage.client('operator')
  const { rollout_id } = await operator.rollouts.declare({
    rollout: 'seller-2',
    subject: { kind: 'agent', name: AGENT, candidate: '2.0', stable: '1.9' },
    owners: { reliability: 'sre', governance: 'governance', cost: 'finops' },
    stakeholders: ['team:sales'],
    phases: [
      {
        ...{ name: 'all', share: 100, risk: 'mixed', min_duration: '1d' },
        gate: { checks: { success_rate_pct: { target_gte: 99 } } },
      },
    ],
  })
  await operator.rollouts.start(rollout_id)
  const undo = { topic: 'job.sales.undo', input: { customer: 7 } }
  const sell: Handler = (_job, ctx) => ctx.effect('discount', () => ({ percent: 20 }), { compensate: undo })
  await works(stage, { 'job.sales.discount': sell }, { serves: [`${AGENT}@2.0`] })
  let isOn = false
  await works(stage, {
    'job.sales.undo': () => {
      const wasOn = isOn
      isOn = true
      if (!wasOn) throw new TerminalError('shop_closed', 'the shop does not answer')
      return { undone: true }
    },
  })
  const { job_id } = await (await stage.client(AGENT)).jobs.submit({ topic: 'job.sales.discount', run_id: RUN })
  await ended(stage, job_id, 'succeeded')
  return { known: { AGENT, RUN } }
}

/** A node on a Postgres of its own that goes away, comes back and is lost. */
async function storeLoss(stage: Stage): Promise<Told> {
  const [PORT, postgres] = await Promise.all([freePort(), startPostgres()])
  const signing = signingKeyFile(stage.at('signing.key'))
  const databaseUrl = await postgres.database('sallyport')
  const env = { SALLYPORT_DATABASE_URL: databaseUrl, SALLYPORT_SIGNING_KEY: signing }
  const node = await startServer({ dataDir: stage.at('node'), policy: stage.at('policy.yaml'), port: PORT, env })
  const submit = () => node.client('agent').jobs.submit({ topic: 'job.reports.build' })
  await submit()
  return {
    known: {
      ...env,
      SALLYPORT_URL: node.url,
      SALLYPORT_API_KEY: node.key('admin'),
      SALLYPORT_DATA_DIR: stage.at('node'),
      SALLYPORT_POLICY: stage.at('policy.yaml'),
      POSTGRES_URL: postgres.url(),
      RESTORED_URL: postgres.url('restored'),
      PORT: String(PORT),
    },
    world: {
      away: () => postgres.kill(),
      back: () => postgres.start(),
      async lost() {
        const before = (await headOf(node)).size
        await Promise.all(Array.from({ length: 20 }, submit))
        const { checkpoint } = await until('what will be lost is under a head', async () => {
          const head = await headOf(node)
          return head.size >= before + 20 && head
        })
        writeFileSync(stage.at('newest-heads.txt'), checkpoint)
        await node.end('SIGTERM')
        await sqlOn(postgres.url(), 'DROP DATABASE sallyport')
      },
    },
    gone: async () => postgres.discard(),
  }
}

/** The server of all pages before, stopped; the copy of last night, and a head that was kept with it. So this page comes last. */
async function embedded({ server, at }: Stage): Promise<Told> {
  const { checkpoint } = await headOf(server)
  writeFileSync(at('embedded-heads.txt'), checkpoint)
  await workersGone()
  await server.end('SIGTERM')
  cpSync(server.dataDir, `${server.dataDir}.backup`, { recursive: true })
  return { known: { DATA: server.dataDir, HEADS: 'embedded-heads.txt', PORT: String(server.port) } }
}

export const SCENES: Record<string, Scene> = {
  'stop.md': stop,
  'isolate.md': isolate,
  'dead-letters.md': letters,
  'worker-loss.md': workerLoss,
  'approval-backlog.md': backlog,
  'key-leak.md': leak,
  'replay.md': incident,
  'rollback.md': rollback,
  'store-loss.md': storeLoss,
  'store-loss-embedded.md': embedded,
}
