import { randomUUID } from 'node:crypto'
import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Job } from '../contract/jobs.js'
import type { Client } from '../sdk/client.js'
import { TerminalError } from '../sdk/errors.js'
import { createWorker, type Handler } from '../sdk/worker.js'
import type { ServerContext } from './command.js'
import { DRILL_NEEDED, DRILL_TOPIC } from './drill-crash.js'
import { clientAs, eventually, type Play, type Player } from './drill-steps.js'

const CANDIDATE = '2'
const PATIENCE_MS = 60_000

/** What the drill's work is: `pay` has an effect that can be undone, `hold` runs until it is told to end, `undo` undoes. */
interface DrillInput {
  nonce: string
  part: 'pay' | 'hold' | 'wait' | 'undo'
}

/**
 * Declares a small rollout of a workflow that only this drill knows, lets its candidate act, takes it back, and looks: waiting work is
 * refused, running work is asked to end, what was done is undone by the way its worker registered, and all of it is over.
 */
export const rollback: Player = async (context, flags, on) => {
  const { client } = context
  const { check, made, measured } = on
  const within = flags.within ?? PATIENCE_MS
  const stage = await staged(context, flags.topic ?? DRILL_TOPIC, within)
  try {
    const { rollout_id } = await client.rollouts.declare(declaration(stage.workflow))
    stage.rollout_id = rollout_id
    made({ rollout_id })
    const started = await client.rollouts.start(rollout_id)
    check('a rollout of the drill has started', started.status === 'running', rollout_id)

    const pay = await stage.submit('pay').catch((error: Error) => {
      check('the candidate is given work', false, `${error.message}; ${DRILL_NEEDED}`)
      throw error
    })
    made({ job_id: pay })
    const paid = await client.jobs.wait(pay, { timeoutMs: within })
    check('the candidate did it', paid.status === 'succeeded' && (await stage.lines()) === 'do', paid.status)
    const wrong = performance.now()
    const hold = await stage.submit('hold')
    check('the candidate is at work', (await eventually(async () => stage.holds() || null, within)) !== null, hold)
    const wait = await stage.submit('wait')
    check('more of its work waits', (await client.jobs.get(wait)).status === 'queued', wait)

    const rolled = performance.now()
    measured('detection_ms', rolled - wrong)
    const back = await client.rollouts.rollBack(rollout_id, 'drill')
    check('it is rolled back', back.status === 'rolled_back', rollout_id)
    const refused = await ended(client, wait, within)
    const { decision_id, code } = await refusalIn(client, wait)
    if (decision_id !== null) made({ decision_id })
    check('its waiting work is refused', refused?.status === 'denied', `${refused?.status}, ${code}`)
    measured('stop_ms', performance.now() - rolled)
    const told = await ended(client, hold, within)
    check('its running work has ended', told?.status === 'cancelled' && stage.told(), told?.status ?? 'goes on')
    const undone = await eventually(async () => ((await stage.lines()) === 'do,undo' ? 'undone' : null), within)
    check('what it did is undone, once', undone !== null, await stage.lines())
    measured('compensation_ms', performance.now() - rolled)
    stage.over = await recovered(client, rollout_id, within)
    check('all of it is over', stage.over, rollout_id)
    measured('recovery_ms', performance.now() - rolled)
    await stableAgain(client, stage, on)
  } finally {
    await stage.end()
  }
}

/** Work of the same workflow is the stable version's again. */
async function stableAgain(client: Client, stage: Stage, { check }: Play): Promise<void> {
  const job = await client.jobs.get(await stage.submit('wait', false))
  check('new work goes to the stable version', job.status === 'queued' || job.attempt > 0, job.status)
}

async function ended(client: Client, job_id: string, within: number): Promise<Job | null> {
  return await eventually(async () => {
    const job = await client.jobs.get(job_id)
    return job.finished_at === null ? null : job
  }, within)
}

async function refusalIn(client: Client, job_id: string): Promise<{ decision_id: string | null; code: string }> {
  const { items } = await client.jobs.timeline(job_id, { limit: 500 })
  const refusal = items.findLast(({ kind }) => kind === 'job.refused')?.facts
  return {
    decision_id: typeof refusal?.decision_id === 'string' ? refusal.decision_id : null,
    code: String(refusal?.reason ?? 'no refusal'),
  }
}

async function recovered(client: Client, rollout_id: string, within: number): Promise<boolean> {
  const query = { kind: 'rollout.recovered' }
  const entry = await eventually(async () => {
    let cursor: string | undefined
    do {
      const page = await client.audit.list({ ...query, limit: 500, ...(cursor === undefined ? {} : { cursor }) })
      const found = page.items.find(({ facts }) => facts.rollout_id === rollout_id)
      if (found !== undefined) return found
      cursor = page.next_cursor ?? undefined
    } while (cursor !== undefined)
    return null
  }, within)
  return entry !== null
}

/** One phase with all of the work, which nothing promotes: the drill ends it. */
function declaration(workflow: string): Record<string, unknown> {
  return {
    rollout: workflow,
    subject: { kind: 'workflow', name: workflow, candidate: CANDIDATE, stable: '1' },
    on_rollback: 'cancel',
    owners: { reliability: 'drill', governance: 'drill', cost: 'drill' },
    stakeholders: [`principal:${workflow}`],
    phases: [
      {
        name: 'all',
        share: 100,
        risk: 'mixed',
        min_duration: '1d',
        gate: { checks: { success_rate_pct: { target_gte: 99 } } },
      },
    ],
  }
}

interface Stage {
  workflow: string
  rollout_id: string | null
  /** Nothing of the rollback is left to do. */
  over: boolean
  submit(part: DrillInput['part'], now?: boolean): Promise<string>
  /** What was done and undone, in order. */
  lines(): Promise<string>
  holds(): boolean
  told(): boolean
  end(): Promise<void>
}

/** Two workers in this process, one of the candidate and one of the stable version, and a file that they write to. */
async function staged(context: ServerContext, topic: string, within: number): Promise<Stage> {
  const { client, url, keyOf } = context
  const agent = await clientAs(context, 'agent')
  const nonce = randomUUID()
  const workflow = `drill-${nonce}`
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-drill-'))
  const file = join(folder, 'effects')
  const jobs: string[] = []
  let [holds, told] = [false, false]
  const handler: Handler = async (job, ctx) => {
    const { part, nonce: own } = (job.input ?? {}) as Partial<DrillInput>
    if (own !== nonce) throw new TerminalError('another_drill', 'this worker plays another drill')
    if (part === 'hold') {
      holds = true
      await new Promise<void>((abort) => ctx.signal.addEventListener('abort', () => abort(), { once: true }))
      told = true
      throw ctx.signal.reason
    }
    const write = async () => await appendFile(file, part === 'undo' ? 'undo\n' : 'do\n')
    const compensate = { topic, input: { nonce, part: 'undo' } satisfies DrillInput }
    await ctx.effect(part ?? 'none', write, part === 'pay' ? { compensate } : {})
    return { part }
  }
  const apiKey = await keyOf('worker')
  const workers = [[`workflow:${workflow}@${CANDIDATE}`], []].map((serves) =>
    createWorker({ url, apiKey, serves, concurrency: 2, log: () => {}, topics: { [topic]: handler } }),
  )
  const stage: Stage = {
    workflow,
    rollout_id: null,
    over: false,
    async submit(part, now = true) {
      const input: DrillInput = { nonce, part }
      // What is to wait is not due before the drill is over.
      const later = part === 'wait' || !now ? { not_before: Date.now() + 3_600_000 } : {}
      const { job_id } = await agent.jobs.submit({ topic, workflow, run_id: `${workflow}-${part}`, input, ...later })
      jobs.push(job_id)
      return job_id
    },
    lines: async () => (await readFile(file, 'utf8').catch(() => '')).trim().split('\n').join(','),
    holds: () => holds,
    told: () => told,
    async end() {
      if (stage.rollout_id !== null && !stage.over) {
        await client.rollouts.rollBack(stage.rollout_id, 'drill').catch(() => {})
        // What undoes needs the drill's workers: without them it would be told as blocked.
        await recovered(client, stage.rollout_id, Math.min(within, PATIENCE_MS / 6)).catch(() => false)
      }
      for (const job_id of jobs) await client.jobs.cancel(job_id, 'drill').catch(() => {})
      await Promise.all(workers.map((worker) => worker.stop({ graceMs: 1000 })))
      await rm(folder, { recursive: true, force: true })
    },
  }
  try {
    for (const worker of workers) await worker.start()
  } catch (error) {
    await stage.end()
    throw error
  }
  return stage
}
