import { eventually } from '../drill-steps.js'
import { PATIENCE_MS, refusal, succeeded } from './asking.js'
import type { Stage } from './stage.js'
import type { Scene, Tell } from './story.js'
import { parcelOf } from './warehouse.js'

const ORDERS = ['A-1001', 'A-1002', 'A-1003'] as const
const [FIRST, DOUBTFUL, LAST] = ORDERS
const CALL = 'job.integrations.call'
type Order = (typeof ORDERS)[number]

export const crash: Scene = {
  title: 'The worker dies in the middle of an effect',
  why: 'Three parcels are to leave a warehouse. The second has left when the worker is killed, before it could hear so. Nobody can know from inside whether it happened, so nothing is repeated: the job waits for a person who looks.',
  async play(stage, tell) {
    const { agent, operator, warehouse } = stage
    const left = warehouse.holdAnswer(DOUBTFUL)
    const jobs = await sendAll(tell, stage)
    await succeeded(tell, agent, jobs[FIRST])
    await within(left, `${DOUBTFUL} leaves the warehouse`)
    const running = await agent.jobs.get(jobs[DOUBTFUL])
    tell.check(`${DOUBTFUL} has left, and its job is still running`, running.status === 'running', counted(stage))

    const { pid } = stage.worker()
    tell.ask('somebody', `kill -9 ${pid}`)
    await stage.worker().kill()
    const next = await stage.startWorker()
    tell.answer({ word: 'started', why: `another worker, process ${next.pid}` })
    const parked = await eventually(async () => {
      const job = await operator.jobs.get(jobs[DOUBTFUL])
      return job.status === 'running' ? null : job
    }, PATIENCE_MS)
    const begun = parked?.effects?.find(({ status }) => status === 'begun')
    tell.answer({
      word: parked?.status ?? 'running',
      why: `effect ${begun?.key} begun in attempt ${begun?.attempt}, its end not recorded`,
    })
    tell.check('after three missed heartbeats the job is parked as ambiguous', parked?.status === 'ambiguous')
    await succeeded(tell, agent, jobs[LAST])
    const waiting = await operator.jobs.get(jobs[DOUBTFUL])
    tell.check(
      'the new worker does the next job, and is not given this one',
      waiting.status === 'ambiguous' && waiting.attempt === 1,
      counted(stage),
    )
    await decide(tell, stage, jobs[DOUBTFUL], begun?.key ?? '')
  },
}

/** A person says what happened; then the new worker does the rest. */
async function decide(tell: Tell, stage: Stage, job_id: string, effect_key: string): Promise<void> {
  const { agent, operator } = stage
  tell.say('A person in a hurry says that it did not happen. The request could still be on its way.')
  const hasty = operator.jobs.resolve(job_id, { effect_key, happened: false, note: 'surely not' })
  const refused = await refusal(tell, 'operator', `resolve ${job_id}: did not happen`, hasty)
  tell.check('that is refused until the attempt’s time is over', refused === 'effect_not_decidable')

  tell.say('A person looks into the books of the warehouse and says that it did.')
  tell.ask('operator', `resolve ${job_id}: happened`, { note: `it is ${parcelOf(DOUBTFUL)}` })
  const body = JSON.stringify({ order: DOUBTFUL, parcel: parcelOf(DOUBTFUL) })
  const answer = {
    status: 201,
    headers: { 'content-type': 'application/json' },
    body,
    encoding: 'utf8',
    truncated: false,
  }
  await operator.jobs.resolve(job_id, { effect_key, happened: true, result: answer, note: 'it is in the books' })
  const ended = await succeeded(tell, agent, job_id)
  const { output } = await agent.jobs.result(job_id)
  tell.answer({ word: ended.status, why: `in attempt ${ended.attempt}: ${(output as { body?: string }).body}` })
  tell.check('the new worker finishes the job from what was recorded', ended.attempt === 2)
  const once = ORDERS.every((order) => stage.warehouse.parcels.get(order) === 1)
  tell.check('every parcel left the warehouse exactly once', once, counted(stage))
  const { items } = await operator.jobs.timeline(job_id, { limit: 500 })
  const kinds = items.map(({ kind }) => kind)
  tell.check(
    'the audit log tells it',
    ['effect.begun', 'lease.lost', 'job.ambiguous', 'effect.resolved', 'job.succeeded'].every((k) => kinds.includes(k)),
    kinds.join(', '),
  )
}

async function sendAll(tell: Tell, { agent, warehouse }: Stage): Promise<Record<Order, string>> {
  const jobs = { [FIRST]: '', [DOUBTFUL]: '', [LAST]: '' }
  const decisions = new Set<string>()
  for (const order of ORDERS) {
    const input = { method: 'POST', url: `${warehouse.url}/parcels`, body: { order } }
    tell.ask('agent', CALL, { input })
    const { job_id, decision, rules } = await agent.jobs.submit({ topic: CALL, input })
    jobs[order] = job_id
    decisions.add(`${decision} ${rules.join(', ')}`)
  }
  tell.answer({ status: 202, word: [...decisions].join('; '), why: 'each of them' })
  return jobs
}

function counted({ warehouse }: Stage): string {
  return `parcels: ${ORDERS.map((order) => `${order} ×${warehouse.parcels.get(order) ?? 0}`).join(', ')}`
}

async function within(happening: Promise<void>, what: string): Promise<void> {
  let has = false
  happening.then(() => {
    has = true
  })
  const seen = await eventually(async () => has || null, PATIENCE_MS)
  if (seen === null) throw new Error(`waited ${PATIENCE_MS} ms: ${what}`)
}
