import type { Caller } from '../../src/core/access.js'
import type { Approval } from '../../src/core/approval.js'
import type { Job } from '../../src/core/job.js'
import { type Attempt, type Cast, done, type Plan } from './cast.js'
import { MAIL } from './policies.js'

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
  /** Secrets that people were mailed. */
  links: { token: string; nonce: string }[] = []
  /** What the buttons say that stand in Slack. */
  buttons: string[] = []
  invitation = ''

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
  /** The worker that was given up for lost comes back and says that it did it. */
  async late(): Promise<void> {
    const { lease, job } = this.attempt.leased
    const committed = await this.cast.ask((t) => t.commit(lease, 'pay', MAIL, this.worker))
    if (done(committed))
      this.cast.history.expects('late effect', { kind: ['effect.late', 'effect.committed'], job_id: job.job_id })
  }
  async only<Row>(table: string): Promise<Row | undefined> {
    return (await this.cast.rows<Row & Pick<Job, 'job_id'>>(table)).find((row) => row.job_id === this.job)
  }
}
