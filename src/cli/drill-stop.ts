import { randomUUID } from 'node:crypto'
import type { Stop } from '../contract/stops.js'
import { type Client, createClient } from '../sdk/client.js'
import { TerminalError } from '../sdk/errors.js'
import { createWorker } from '../sdk/worker.js'
import type { ServerContext } from './command.js'
import { findKey } from './connection.js'
import { DRILL_NEEDED, DRILL_TOPIC } from './drill-crash.js'
import { clientAs, type DrillFlags, eventually, notYet, type Play, type Player, refusalOf } from './drill-steps.js'
import { duration } from './terminal.js'

/** As long as POST /stops waits for nodes and leases at most. */
const CONFIRM_MS = 30_000

/**
 * Stops the drill's own topic while a worker of the drill is at work on it: new work is refused, the running one is asked to end, every
 * node confirms, and two people resume it. Nothing else is in the stop's scope.
 */
export const stop: Player = async (context, flags, on) => {
  const { client } = context
  const { check } = on
  const topic = flags.topic ?? DRILL_TOPIC
  const agent = await clientAs(context, 'agent')
  const work = await workerOn(context, topic)
  const jobs: string[] = []
  try {
    const running = await agent.jobs
      .submit({ topic, run_id: `drill-${work.nonce}`, input: { nonce: work.nonce } })
      .catch((error: Error) => {
        check('the drill job is queued', false, `${error.message}; ${DRILL_NEEDED}`)
        throw error
      })
    const { job_id } = running
    jobs.push(job_id)
    check('the drill job is queued', running.status === 'queued', `${running.decision}; ${running.reason}`)
    const begun = await eventually(async () => work.started() || null, flags.within ?? CONFIRM_MS)
    check('a worker has it', begun !== null, job_id)
    const raised = await client.stops.raise({ scope: { topic }, reason: 'drill', wait_ms: CONFIRM_MS })
    on.made({ stop_id: raised.stop_id, job_id })
    let open = true
    try {
      await refused(agent, topic, raised, jobs, on)
      confirmed(raised, job_id, on)
      const ended = await client.jobs.get(job_id)
      check('the running job has ended', ended.status === 'cancelled' && work.aborted(), ended.status)
      await work.end()
      await resumed(context, flags, raised, on)
      open = false
    } finally {
      if (open) standing(context, raised, topic)
    }
    const after = await agent.jobs.submit({ topic, not_before: notYet() })
    jobs.push(after.job_id)
    check('work is taken again', after.status === 'queued', after.status)
  } finally {
    await work.end()
    for (const job_id of jobs) await client.jobs.cancel(job_id, 'drill').catch(() => {})
  }
}

async function refused(agent: Client, topic: string, raised: Stop, jobs: string[], { check, made }: Play) {
  const refusal = await refusalOf(
    agent.jobs.submit({ topic, not_before: notYet() }).then(({ job_id }) => jobs.push(job_id)),
  )
  const decision_id = refusal?.problem?.decision_id
  if (decision_id !== undefined) made({ decision_id })
  const isOurs = refusal?.code === 'stopped' && refusal.problem?.stop_id === raised.stop_id
  check('new work of its scope is refused', isOurs, refusal?.code ?? 'accepted')
}

function confirmed(raised: Stop, job_id: string, { check, measured }: Play) {
  const { nodes, leases, open_effects, refused_ms, confirmed_ms } = raised
  const open = open_effects.filter((effect) => effect.job_id === job_id).length
  const missing = nodes.filter((node) => node.confirmed_ms === null).map(({ node }) => node)
  check(
    'every node has confirmed',
    nodes.length > 0 && missing.length === 0,
    `${nodes.length - missing.length} of ${nodes.length}`,
  )
  check('every lease has ended', leases.total > 0 && leases.open === 0, `${leases.ended} of ${leases.total}`)
  check('no effect of it is open', open === 0, `${open} open`)
  check('the stop is confirmed', raised.state === 'confirmed', `after ${duration(confirmed_ms ?? 0)}`)
  if (refused_ms !== null) measured('detection_ms', refused_ms)
  if (confirmed_ms !== null) measured('stop_ms', confirmed_ms)
}

/** What of it only people can put right is said, whatever ended the drill. */
function standing({ terminal }: ServerContext, { stop_id }: Stop, topic: string): void {
  terminal.note(
    `The stop ${stop_id} of ${topic} still stands. Two people resume it: sallyport resume ${stop_id} --stage trial …`,
  )
}

const STEPS = ['trial', 'full'] as const
/** A person has to read what another asks for. */
const PATIENCE_MS = 600_000

async function resumed(context: ServerContext, flags: DrillFlags, { stop_id }: Stop, on: Play): Promise<void> {
  const { check } = on
  const from = performance.now()
  const first = await clientWith(context, flags.firstKeyFile)
  const second = flags.secondKeyFile === undefined ? null : await clientWith(context, flags.secondKeyFile)
  for (const stage of STEPS) {
    const how = { stage, note: 'drill', ...(stage === 'trial' ? { trial_ms: 0, trial_limit: 1 } : {}) }
    const asked = await first.stops.resume(stop_id, how)
    check(`one person asks for ${stage}, and it stands`, asked.resume?.stage === stage, asked.stage)
    if (stage === 'trial') {
      const alone = await refusalOf(first.stops.resume(stop_id, how))
      check('alone they cannot', alone?.code === 'self_approval', alone?.code ?? 'carried out')
    }
    if (second !== null) await second.stops.resume(stop_id, how)
    else
      context.terminal.note(
        `Another person carries it out: sallyport resume ${stop_id} --stage ${stage}${stage === 'trial' ? ' --for 0s --limit 1' : ''} --note drill`,
      )
    const stands = await eventually(async () => {
      const now = await context.client.stops.get(stop_id)
      return now.stage === stage ? now : null
    }, flags.within ?? PATIENCE_MS)
    check(`another carries it out`, stands !== null, stage)
  }
  on.measured('recovery_ms', performance.now() - from)
}

async function clientWith(context: ServerContext, file: string | undefined): Promise<Client> {
  if (file === undefined) return context.client
  const key = await findKey({ keyFile: file }, context.url, 'admin', context.env)
  return createClient({ url: context.url, apiKey: key ?? '', retries: 2 })
}

/** A worker in this process, which holds what it is given until it is told to end. */
async function workerOn({ url, keyOf }: ServerContext, topic: string) {
  const nonce = randomUUID()
  let [started, aborted, over] = [false, false, false]
  const worker = createWorker({
    url,
    apiKey: await keyOf('worker'),
    concurrency: 1,
    log: () => {},
    topics: {
      [topic]: async (job, { signal }) => {
        if ((job.input as { nonce?: unknown } | null)?.nonce !== nonce)
          throw new TerminalError('another_drill', 'this worker plays another drill')
        started = true
        await new Promise<void>((told) => signal.addEventListener('abort', () => told(), { once: true }))
        aborted = true
        throw signal.reason
      },
    },
  })
  await worker.start()
  return {
    nonce,
    started: () => started,
    aborted: () => aborted,
    async end() {
      if (over) return
      over = true
      await worker.stop({ graceMs: 1000 })
    },
  }
}
