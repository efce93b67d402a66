import type { Caller } from '../../src/core/access.js'
import type { Approval } from '../../src/core/approval.js'
import type { Job } from '../../src/core/job.js'
import type { Effect, Lease } from '../../src/core/lease.js'
import { activate } from '../../src/journey/activate.js'
import { decisionWithWhy, evaluateDry } from '../../src/journey/explain.js'
import { createKey } from '../../src/journey/keys.js'
import { rebaseLeases } from '../../src/journey/sweep.js'
import { timeline } from '../../src/journey/timeline.js'
import { type Attempt, type Cast, done, type Plan } from './cast.js'
import { MAIL, SECRET } from './policies.js'

/** One use case in one situation: what was there before, and the request whose every point is tried. */
export interface Scene {
  /** File of src/journey, then the situation. */
  name: string
  arrange?(on: Stage): Promise<unknown>
  act(on: Stage): Promise<unknown>
}

const BY_WORKER = /^(dispatch|effect|heartbeat|settle)/

/** The persons and things of a scene; whoever asks has a key that can be revoked. */
export class Stage {
  readonly cast: Cast
  readonly scene: string
  agent: Caller
  worker: Caller
  approver: Caller
  job = ''
  attempts: Attempt[] = []

  constructor(cast: Cast, scene: string) {
    this.cast = cast
    this.scene = scene
    this.agent = cast.seen.agent
    this.worker = cast.seen.worker
    this.approver = cast.seen.approver
  }

  async open(): Promise<void> {
    const { cast } = this
    await cast.activate('open')
    if (/^(submit|keys)/.test(this.scene)) this.agent = await cast.createKey(this.agent)
    if (BY_WORKER.test(this.scene)) this.worker = await cast.createKey(this.worker)
    if (this.scene.startsWith('approve')) this.approver = await cast.createKey(this.approver)
  }

  get attempt(): Attempt {
    const [first] = this.attempts
    if (first === undefined) throw new Error('nothing was leased here')
    return first
  }

  async submit(topic = 'job.do.it', key: string | null = null): Promise<void> {
    this.job =
      (await this.cast.submit({ topic, input: { n: key === null ? this.job.length : 0 } }, key, this.agent)) ?? this.job
  }
  async claim(capacity = 1, effects: 'recorded' | 'none' = 'recorded'): Promise<void> {
    this.attempts.push(...(await this.cast.claim(this.worker, capacity, effects)))
  }
  async lease(topic = 'job.do.it', effects: 'recorded' | 'none' = 'recorded'): Promise<void> {
    await this.submit(topic)
    await this.claim(1, effects)
  }
  async work(plan: Partial<Plan> = {}): Promise<void> {
    for (const attempt of this.attempts) await this.cast.work(attempt, { keys: [], result: null, ...plan })
  }
  async asked(): Promise<void> {
    await this.submit('job.ask.it')
  }
  async answer(yes = true, as = this.approver): Promise<void> {
    for (const approval of await this.pending()) await this.cast.answer(approval, as, yes)
  }
  async pending(): Promise<Approval[]> {
    return (await this.cast.rows<Approval>('approvals')).filter((each) => each.status === 'pending')
  }
  /** A lease that ended with an effect begun, and done or not. */
  async doubt(stops: number): Promise<void> {
    await this.lease()
    await this.work({ keys: ['pay'], stops })
    this.cast.sim.advance(31_000)
    await this.cast.sweep()
  }
  async only<Row>(table: string): Promise<Row | undefined> {
    return (await this.cast.rows<Row & Pick<Job, 'job_id'>>(table)).find((row) => row.job_id === this.job)
  }
}

const PAY: Partial<Plan> = { keys: ['pay'] }

export const SCENES: Scene[] = [
  { name: 'submit: allowed', act: (on) => on.submit() },
  { name: 'submit: with a key', act: (on) => on.submit('job.do.it', 'k') },
  {
    name: 'submit: with a key, again',
    arrange: (on) => on.submit('job.do.it', 'k'),
    act: (on) => on.submit('job.do.it', 'k'),
  },
  {
    name: 'submit: with a key, again, denied by now',
    arrange: async (on) => {
      await on.submit('job.do.it', 'k')
      await on.cast.activate('closed')
    },
    act: (on) => on.submit('job.do.it', 'k'),
  },
  { name: 'submit: denied', act: (on) => on.submit('job.no.it') },
  { name: 'submit: parked', act: (on) => on.asked() },
  {
    name: 'submit: the last place of a rate',
    arrange: async (on) => {
      await on.cast.activate('tight')
      await on.submit('job.idem.it')
      await on.submit('job.idem.it')
    },
    act: (on) => on.submit('job.idem.it'),
  },
  { name: 'dispatch: one', arrange: (on) => on.submit(), act: (on) => on.claim() },
  {
    name: 'dispatch: more than the limit holds',
    arrange: async (on) => {
      for (let n = 0; n < 3; n++) await on.submit()
    },
    act: (on) => on.claim(5),
  },
  {
    name: 'dispatch: approved',
    arrange: async (on) => {
      await on.asked()
      await on.answer()
    },
    act: (on) => on.claim(),
  },
  {
    name: 'dispatch: denied by now',
    arrange: async (on) => {
      await on.submit()
      await on.cast.activate('closed')
    },
    act: (on) => on.claim(),
  },
  {
    name: 'dispatch: its approval overtaken',
    arrange: async (on) => {
      await on.asked()
      await on.answer()
      await on.cast.activate('tight')
    },
    act: (on) => on.claim(),
  },
  {
    name: 'dispatch: again, with an effect committed',
    arrange: async (on) => {
      await on.lease()
      await on.work({ ...PAY, fails: 'transient' })
      on.attempts = []
      on.cast.sim.advance(5000)
    },
    act: (on) => on.claim(),
  },
  {
    name: 'heartbeat: with progress',
    arrange: (on) => on.lease(),
    act: (on) => on.cast.ask((t) => t.beat(on.attempt.leased.lease, MAIL, on.worker)),
  },
  { name: 'effect: begun, done, committed', arrange: (on) => on.lease(), act: (on) => on.work({ ...PAY, stops: 3 }) },
  {
    name: 'effect: under another snapshot that allows it',
    arrange: async (on) => {
      await on.lease()
      await on.cast.activate('same')
    },
    act: (on) => on.work({ ...PAY, stops: 1 }),
  },
  {
    name: 'effect: under a snapshot that denies it',
    arrange: async (on) => {
      await on.lease()
      await on.cast.activate('closed')
    },
    act: (on) => on.work({ ...PAY, stops: 1 }),
  },
  {
    name: 'effect: committed late',
    arrange: (on) => on.doubt(2),
    act: (on) => late(on),
  },
  { name: 'settle: succeeded', arrange: (on) => on.lease(), act: (on) => on.work() },
  { name: 'settle: redacted', arrange: (on) => on.lease(), act: (on) => on.work({ result: MAIL }) },
  { name: 'settle: quarantined', arrange: (on) => on.lease(), act: (on) => on.work({ result: SECRET }) },
  {
    name: 'settle: failed, to be tried again',
    arrange: (on) => on.lease(),
    act: (on) => on.work({ fails: 'transient' }),
  },
  { name: 'settle: failed for good', arrange: (on) => on.lease(), act: (on) => on.work({ fails: 'terminal' }) },
  {
    name: 'settle: with an effect open',
    arrange: async (on) => {
      await on.lease()
      await on.work({ ...PAY, stops: 2 })
    },
    act: (on) => on.work(),
  },
  {
    name: 'settle: cancelled meanwhile',
    arrange: async (on) => {
      await on.lease()
      await on.cast.cancel(on.job)
    },
    act: (on) => on.work({ fails: 'terminal' }),
  },
  { name: 'approve: by the one who is needed', arrange: (on) => on.asked(), act: (on) => on.answer() },
  {
    name: 'approve: by the second of two',
    arrange: async (on) => {
      await on.cast.activate('tight')
      await on.asked()
      await on.answer()
    },
    act: (on) => on.answer(true, on.cast.seen.otherApprover),
  },
  {
    name: 'approve: what is asked otherwise by now',
    arrange: async (on) => {
      await on.asked()
      await on.cast.activate('tight')
    },
    act: (on) => on.answer(),
  },
  {
    name: 'approve: what is denied by now',
    arrange: async (on) => {
      await on.asked()
      await on.cast.activate('closed')
    },
    act: (on) => on.answer(),
  },
  { name: 'approve: a no', arrange: (on) => on.asked(), act: (on) => on.answer(false) },
  {
    name: 'approve: with a wrong echo',
    arrange: (on) => on.asked(),
    act: async (on) => {
      for (const { approval_id } of await on.pending())
        await on.cast.answer({ approval_id, grant_hash: 'f'.repeat(64) }, on.approver)
    },
  },
  { name: 'cancel: queued', arrange: (on) => on.submit(), act: (on) => on.cast.cancel(on.job) },
  { name: 'cancel: parked', arrange: (on) => on.asked(), act: (on) => on.cast.cancel(on.job) },
  { name: 'cancel: running', arrange: (on) => on.lease(), act: (on) => on.cast.cancel(on.job) },
  { name: 'resolve: it happened', arrange: (on) => on.doubt(2), act: (on) => on.cast.resolve(on.job) },
  { name: 'resolve: it did not', arrange: (on) => on.doubt(1), act: (on) => on.cast.resolve(on.job) },
  {
    name: 'resolve: it did not, given up',
    arrange: (on) => on.doubt(1),
    act: (on) => on.cast.resolve(on.job, 'dead_letter'),
  },
  {
    name: 'resolve: a whole attempt',
    arrange: async (on) => {
      await on.lease('job.do.it', 'none')
      await on.work({ stops: 0 })
      on.cast.sim.advance(31_000)
      await on.cast.sweep()
    },
    act: (on) => on.cast.resolve(on.job),
  },
  ...(['release', 'discardResult'] as const).map(
    (act): Scene => ({
      name: `release: ${act}`,
      arrange: async (on) => {
        await on.lease()
        await on.work({ result: SECRET })
      },
      act: (on) => on.cast.judge(on.job, act),
    }),
  ),
  ...(['open', 'asking', 'closed', 'discard'] as const).map(
    (policy): Scene => ({
      name: `replay: ${policy}`,
      arrange: async (on) => {
        await on.lease()
        await on.work({ ...PAY, fails: 'terminal' })
        if (policy !== 'discard') await on.cast.activate(policy)
      },
      act: (on) => on.cast.judge(on.job, policy === 'discard' ? 'discard' : 'replay'),
    }),
  ),
  { name: 'activate: a new policy', arrange: (on) => on.asked(), act: (on) => on.cast.activate('closed') },
  {
    name: 'activate: a stored one',
    arrange: async (on) => {
      await on.submit()
      await on.cast.activate('same')
    },
    act: async (on) => {
      const [old] = await on.cast.rows<{ digest: string }>('policy_snapshots')
      const stored = await on.cast.ask((t) => activate(t.world, on.cast.tenant, 'person:root', old?.digest ?? ''))
      if (done(stored)) on.cast.history.expects('activation', { kind: 'policy.activated', snapshot: old?.digest })
    },
  },
  { name: 'keys: revoked', arrange: (on) => on.submit(), act: (on) => on.cast.revoke(on.agent) },
  {
    name: 'keys: made',
    act: (on) =>
      on.cast.ask((t) =>
        createKey(t.world, on.cast.tenant, 'person:root', { role: 'viewer', principal: 'person:new' }),
      ),
  },
  {
    name: 'rebind: two that wait',
    arrange: async (on) => {
      await on.asked()
      await on.asked()
      await on.cast.activate('same')
    },
    act: (on) => on.cast.rebind(),
  },
  {
    name: 'rebind: what is asked otherwise by now',
    arrange: async (on) => {
      await on.asked()
      await on.cast.activate('tight')
    },
    act: (on) => on.cast.rebind(),
  },
  ...sweeps(),
  {
    name: 'sweep: leases of a later time',
    arrange: async (on) => {
      on.cast.sim.advance(3_600_000)
      await on.lease()
      on.cast.sim.advance(-3_600_000)
    },
    act: (on) => on.cast.ask((t) => rebaseLeases(t.world)),
  },
  { name: 'integrate: waiting tiles', arrange: (on) => on.lease(), act: (on) => on.cast.integrate() },
  {
    name: 'integrate: after a head',
    arrange: async (on) => {
      await on.submit()
      await on.cast.integrate()
      await on.claim()
    },
    act: (on) => on.cast.integrate(),
  },
  {
    name: 'explain: a decision and a dry run',
    arrange: (on) => on.submit(),
    act: async (on) => {
      const job = await on.only<Job>('jobs')
      await on.cast.ask((t) => evaluateDry(t.world, on.agent, { topic: 'job.do.it' }, undefined))
      await on.cast.ask((t) => decisionWithWhy(t.world, on.agent, job?.decision_id ?? ''))
    },
  },
  {
    name: 'timeline: half integrated',
    arrange: async (on) => {
      await on.submit()
      await on.cast.integrate()
      await on.claim()
    },
    act: async (on) => {
      const told = await on.cast.ask((t) => timeline(t.world, on.cast.tenant, { job_id: on.job }, undefined, 100))
      const kinds = done(told) ? told.items.map((item) => item.kind) : []
      for (const kind of ['job.submitted', 'job.leased'])
        if (kinds.filter((each) => each === kind).length !== 1)
          on.cast.history.strange.push(
            `the timeline shows ${kind} ${kinds.filter((each) => each === kind).length} times`,
          )
    },
  },
]

function sweeps(): Scene[] {
  const after = (ms: number, name: string, before: (on: Stage) => Promise<unknown>): Scene => ({
    name: `sweep: ${name}`,
    arrange: async (on) => {
      await before(on)
      on.cast.sim.advance(ms)
    },
    act: (on) => on.cast.sweep(),
  })
  return [
    after(5000, 'a lease without a heartbeat', (on) => on.lease()),
    after(31_000, 'a lease with an effect open', async (on) => {
      await on.lease()
      await on.work({ ...PAY, stops: 2 })
    }),
    after(31_000, 'a lease that recorded nothing', async (on) => {
      await on.lease('job.do.it', 'none')
    }),
    after(61_000, 'a queue without a worker', (on) => on.submit()),
    after(601_000, 'an unanswered question', (on) => on.asked()),
    after(8 * 86_400_000, 'an expired text', async (on) => {
      await on.lease()
      await on.work({ result: SECRET })
    }),
    after(6000, 'refusals', async (on) => {
      await on.lease()
      await on.work()
      await on.cast.ask((t) =>
        t.complete({ lease: on.attempt.leased.lease, outcome: 'succeeded', result: 'other' }, on.worker),
      )
    }),
  ]
}

/** The worker that was given up for lost comes back and says that it did it. */
async function late(on: Stage): Promise<void> {
  const { lease, job } = on.attempt.leased
  const committed = await on.cast.ask((t) => t.commit(lease, 'pay', MAIL, on.worker))
  if (done(committed))
    on.cast.history.expects('late effect', { kind: ['effect.late', 'effect.committed'], job_id: job.job_id })
}

/** What somebody else may do in between, on whatever the scene has; `can` says whether it has that. */
export interface Step {
  can(on: Stage): Promise<boolean>
  act(on: Stage): Promise<unknown>
}

const always = async () => true
const asks =
  (...rooms: string[]) =>
  async (on: Stage) =>
    rooms.some((room) => on.scene.startsWith(room))
const job =
  (...statuses: string[]) =>
  async (on: Stage) =>
    statuses.includes((await on.only<Job>('jobs'))?.status ?? '')
const isAsked = async (on: Stage) => (await on.pending()).length > 0
const isInDoubt = async (on: Stage) => (await on.only<Effect>('effects'))?.status === 'begun'
const underLease = (act: (on: Stage, attempt: Attempt) => Promise<unknown>): Step => ({
  can: async (on) => (await live(on)) !== undefined,
  act: async (on) => {
    const attempt = await live(on)
    if (attempt !== undefined) await act(on, attempt)
  },
})

export const STEPS: Record<string, Step> = {
  'activates a denial': { can: always, act: (on) => on.cast.activate('closed') },
  'activates the same rules': {
    can: asks('submit', 'dispatch', 'effect', 'approve', 'replay', 'rebind', 'activate', 'keys'),
    act: (on) => on.cast.activate('same'),
  },
  'activates other questions': { can: always, act: (on) => on.cast.activate('tight') },
  'revokes the agent’s key': { can: asks('submit'), act: (on) => on.cast.revoke(on.agent) },
  'revokes the approver’s key': { can: asks('approve'), act: (on) => on.cast.revoke(on.approver) },
  'revokes the worker’s key': {
    can: asks('dispatch', 'effect', 'heartbeat', 'settle'),
    act: (on) => on.cast.revoke(on.worker),
  },
  'cancels the job': {
    can: job('queued', 'retrying', 'pending_approval', 'running'),
    act: (on) => on.cast.cancel(on.job),
  },
  approves: { can: isAsked, act: (on) => on.answer(true, on.cast.seen.otherApprover) },
  rejects: { can: isAsked, act: (on) => on.answer(false, on.cast.seen.otherApprover) },
  'puts the questions again': { can: isAsked, act: (on) => on.cast.rebind() },
  'claims for another worker': {
    can: job('queued', 'retrying'),
    act: async (on) => {
      for (const attempt of await on.cast.claim(on.cast.seen.otherWorker, 2))
        await on.cast.work(attempt, { keys: ['pay'], result: null, stops: 2 })
    },
  },
  'reports success': underLease((on, attempt) => on.cast.report(attempt, { result: { other: true } })),
  'reports failure': underLease((on, attempt) => on.cast.report(attempt, { fails: 'transient', result: null })),
  'begins an effect': underLease((on, attempt) => on.cast.work(attempt, { keys: ['ship'], result: null, stops: 1 })),
  beats: underLease((on, { leased, as }) => on.cast.ask((t) => t.beat(leased.lease, MAIL, as))),
  'tells of an effect': { can: job('ambiguous'), act: (on) => on.cast.resolve(on.job) },
  'comes back with an effect': {
    can: async (on) => (await isInDoubt(on)) && on.cast.history.happened.size > 0,
    act: (on) => late(on),
  },
  releases: { can: job('quarantined'), act: (on) => on.cast.judge(on.job, 'release') },
  'throws a result away': { can: job('quarantined'), act: (on) => on.cast.judge(on.job, 'discardResult') },
  replays: { can: job('dead_letter'), act: (on) => on.cast.judge(on.job, 'replay') },
  'gives up': { can: job('dead_letter'), act: (on) => on.cast.judge(on.job, 'discard') },
  integrates: { can: always, act: (on) => on.cast.integrate() },
  'sweeps 5 s later': { can: job('running', 'ambiguous'), act: (on) => later(on, 5000) },
  'sweeps 61 s later': { can: always, act: (on) => later(on, 61_000) },
  'sweeps 11 min later': { can: isAsked, act: (on) => later(on, 660_000) },
}

/** Whoever was frozen meanwhile goes on with what it had read. */
async function later(on: Stage, ms: number): Promise<void> {
  on.cast.sim.advance(ms)
  await on.cast.sweep()
}

/** The attempt under way, as its worker knows it. */
async function live(on: Stage): Promise<Attempt | undefined> {
  const leases = (await on.cast.rows<Lease>('leases')).filter((lease) => lease.ended_at === null)
  return on.attempts.find((attempt) => leases.some((lease) => lease.lease_id === attempt.leased.lease))
}
