import { type ChildProcess, fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Client } from '../sdk/client.js'
import type { ServerContext } from './command.js'
import { type Check, clientAs, eventually, type Player } from './drill-steps.js'
import type { DrillWorkerSays } from './drill-worker.js'
import { CliError, EXIT } from './exit.js'

/** A lease that nobody keeps alive ends after three heartbeats; of an ordinary class that is half a minute. */
const CLEAN_MS = 60_000

export const DRILL_TOPIC = 'job.drill.effect'

/** The rule a server's policy needs for it, told to whoever has another policy. */
export const DRILL_NEEDED = `the policy has to allow ${DRILL_TOPIC} for the agent's key: { id: allow-drills, match: { topic: job.drill.* }, decision: ALLOW }`

/**
 * Starts a real worker, kills it with SIGKILL between the two halves of an effect, and looks at what the server makes of it: the job
 * must be parked as ambiguous, given to nobody, and after a person's word finished without the effect being run again.
 */
export const workerCrash: Player = async (context, { within: withinMs = 90_000 }, { check, made, measured }) => {
  const { client } = context
  const agent = await clientAs(context, 'agent')
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-drill-'))
  const file = join(folder, 'effects')
  const nonce = randomUUID()
  const workers: ChildProcess[] = []
  const start = async (mode: 'hang' | 'finish') => {
    const worker = await startWorker(context, { mode, file, nonce })
    workers.push(worker)
    return worker
  }
  let job_id: string | null = null
  try {
    const accepted = await agent.jobs
      .submit({ topic: DRILL_TOPIC, run_id: `drill-${nonce}`, input: { nonce } })
      .catch((error: unknown) => {
        check('the drill job is queued', false, `${(error as Error).message}; ${DRILL_NEEDED}`)
        throw error
      })
    job_id = accepted.job_id
    made({ job_id })
    check(
      'the drill job is queued',
      accepted.status === 'queued',
      accepted.status === 'queued' ? job_id : `${accepted.decision}; ${DRILL_NEEDED}`,
    )
    const first = await start('hang')
    const acted = await says(first, 'acted', withinMs)
    check('a worker began its effect and did it', acted && (await lines(file)) === 1, `worker process ${first.pid}`)
    const killed = performance.now()
    first.kill('SIGKILL')
    check('it was killed before it could say so', await exited(first), 'SIGKILL')
    const parked = await eventually(
      () => statusIf(client, accepted.job_id, ['ambiguous', 'retrying', 'dead_letter', 'succeeded']),
      withinMs,
    )
    check(
      'the job is parked: nobody knows whether it happened',
      parked === 'ambiguous',
      parked ?? `not noticed within ${withinMs} ms`,
    )
    measured('detection_ms', performance.now() - killed)
    await finishWithoutRepeating(context, accepted.job_id, nonce, file, () => start('finish'), check)
  } finally {
    for (const worker of workers) worker.kill('SIGKILL')
    if (job_id !== null) await cleanedUp(context, job_id, nonce, file)
    await rm(folder, { recursive: true, force: true })
  }
}

/** Also where the drill failed half way: its job must not wait for a worker, or for a person to say what only the drill knows. */
async function cleanedUp(
  { client, terminal }: ServerContext,
  job_id: string,
  nonce: string,
  file: string,
): Promise<void> {
  await client.jobs.cancel(job_id, 'drill').catch(() => {})
  const left = await eventually(async () => {
    const job = await client.jobs.get(job_id)
    if (job.finished_at !== null) return job.status
    const key = job.status === 'ambiguous' ? job.effects?.find(({ status }) => status === 'begun')?.key : undefined
    if (key !== undefined) {
      const happened = (await lines(file)) > 0
      const note = 'drill: cleaned up'
      await client.jobs.resolve(job_id, { effect_key: key, happened, note, ...(happened ? { result: { nonce } } : {}) })
    }
    return null
  }, CLEAN_MS).catch(() => null)
  if (left === null) terminal.note(`The drill's job ${job_id} is still there: see sallyport jobs show ${job_id}`)
}

async function finishWithoutRepeating(
  { client }: ServerContext,
  job_id: string,
  nonce: string,
  file: string,
  startWorker: () => Promise<ChildProcess>,
  check: Check,
): Promise<void> {
  const second = await startWorker()
  const waiting = await client.jobs.get(job_id)
  check(
    'another worker is there and is not given it',
    waiting.status === 'ambiguous' && waiting.attempt === 1,
    `worker process ${second.pid}`,
  )
  const key = waiting.effects?.find(({ status }) => status === 'begun')?.key ?? ''
  await client.jobs.resolve(job_id, {
    effect_key: key,
    happened: true,
    result: { nonce },
    note: 'drill: the file has its line',
  })
  check('a person says that it happened', true, key)
  const ended = await client.jobs.wait(job_id, { timeoutMs: 60_000 })
  check(
    'the other worker finishes the job',
    ended.status === 'succeeded' && ended.attempt === 2,
    `${ended.status}, attempt ${ended.attempt}`,
  )
  const count = await lines(file)
  check('the effect ran once', count === 1, `${count} line${count === 1 ? '' : 's'} in the file`)
  const kinds = (await client.jobs.timeline(job_id, { limit: 500 })).items.map(({ kind }) => kind)
  const begun = kinds.filter((kind) => kind === 'effect.begun').length
  const told = ['lease.lost', 'job.ambiguous', 'effect.resolved', 'job.succeeded'].every((kind) => kinds.includes(kind))
  check('the audit log tells it', told && begun === 1, kinds.join(', '))
}

async function startWorker(
  { env, url, keyOf }: ServerContext,
  drill: { mode: string; file: string; nonce: string },
): Promise<ChildProcess> {
  const worker = fork(fileURLToPath(new URL('./drill-worker.js', import.meta.url)), [], {
    env: { PATH: env.PATH, SALLYPORT_URL: url, SALLYPORT_API_KEY: await keyOf('worker'), DRILL: JSON.stringify(drill) },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  if (!(await says(worker, 'started', 30_000))) {
    worker.kill('SIGKILL')
    throw new CliError(EXIT.no, 'worker_failed', 'The drill worker did not start')
  }
  return worker
}

/** Whether the worker says this word in time; false too when it ends first. */
async function says(worker: ChildProcess, word: DrillWorkerSays, withinMs: number): Promise<boolean> {
  const over = AbortSignal.timeout(withinMs)
  return await new Promise<boolean>((resolve) => {
    const end = (heard: boolean) => {
      worker.off('message', onMessage).off('exit', onExit)
      resolve(heard)
    }
    const onMessage = (message: unknown) => message === word && end(true)
    const onExit = () => end(false)
    worker.on('message', onMessage).on('exit', onExit)
    over.addEventListener('abort', onExit)
  })
}

async function exited(worker: ChildProcess): Promise<boolean> {
  if (worker.exitCode === null && worker.signalCode === null) await once(worker, 'exit')
  return worker.signalCode === 'SIGKILL'
}

async function statusIf(client: Client, job_id: string, wanted: readonly string[]): Promise<string | null> {
  const { status } = await client.jobs.get(job_id)
  return wanted.includes(status) ? status : null
}

async function lines(file: string): Promise<number> {
  return (await readFile(file, 'utf8').catch(() => '')).split('\n').length - 1
}
