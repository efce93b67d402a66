import type { ResolveJob, SubmitJob } from '../../src/contract/jobs.js'
import type { Completion, LeasedJob } from '../../src/contract/workers.js'
import type { Caller } from '../../src/core/access.js'
import type { Approval } from '../../src/core/approval.js'
import type { Job } from '../../src/core/job.js'
import type { Json } from '../../src/core/json.js'
import { EFFECT_FLOOR_MS, type Effect } from '../../src/core/lease.js'
import { isOwn } from '../../src/core/policy/change.js'
import type { Stop } from '../../src/core/stop.js'
import { isAbsent, Problem } from '../../src/errors.js'
import { closeWriters, integrate, WRITER_GRACE_MS } from '../../src/journey/integrate.js'
import { createKey, revokeKey } from '../../src/journey/keys.js'
import { resumeStop } from '../../src/journey/resume.js'
import { raiseStop } from '../../src/journey/stop.js'
import { changer } from '../../src/loops/changer.js'
import { silentLog } from '../../src/platform/log.js'
import { leasesFor } from '../../src/store/claim-answers.js'
import { CHECKERS, type Checker, everyJobEnded, violations } from '../invariants.js'
import { Tenancy, type TestPlane } from '../plane.js'
import {
  acknowledgedIsKept,
  closedIsOut,
  effectsOnce,
  fencesHeld,
  ratesAreHeld,
  revokedIsOut,
  rowsAsLogged,
  staleLeases,
  stopsAreHeld,
  tryStale,
} from './checkers.js'
import { History } from './history.js'
import { POLICIES, TOPICS } from './policies.js'
import { NodeDied, type SimNode, type Simulation } from './simulation.js'

/** Answers that are right in some state; anything else is a finding. */
const EXPECTED = new Set([
  'policy_denied',
  'rate_limited',
  'illegal_transition',
  'approval_closed',
  'approval_stale',
  'self_approval',
  'idempotency_conflict',
  'lease_lost',
  'key_closed',
  'stopped',
  'approval_frozen',
  'effect_refused',
  'effect_not_decidable',
  'not_found',
  'unauthenticated',
  'link_gone',
  'invitation_closed',
  'sign_on_failed',
  'out_of_scope',
  'breaker_open',
])
/** Answers upon which a client sends the same again. */
const AGAIN = new Set(['store_unavailable', 'outcome_unknown', 'overloaded', 'snapshot_conflict', 'draining'])
const TRIES = 20
const DAY = 86_400_000

/** Everyone outside the plane, as careful as a client has to be: what was not answered is asked again, elsewhere if need be. */
export class Cast {
  readonly sim: Simulation
  readonly plane: TestPlane
  readonly history = new History()
  /** The tenant as somebody sees it who stands beside the nodes, past all seams. */
  readonly seen: Tenancy
  choose: () => SimNode

  constructor(sim: Simulation, tenant: string, choose: () => SimNode) {
    this.sim = sim
    this.plane = sim.plane
    const clock = { now: sim.now, after: () => () => {}, turn: () => Promise.resolve(), advance: () => {} }
    this.seen = new Tenancy({ ...sim.plane.world, db: sim.beside() }, clock, tenant)
    this.choose = choose
  }

  get tenant(): string {
    return this.seen.tenant
  }

  /**
   * One request, sent again until it is answered. Null: nobody ever answered. Nobody is asked for a key at the door: a node may
   * have read it just before it was revoked, so the steps themselves have to hold against that.
   * @param also problems that are right here and nowhere else
   */
  async ask<T>(work: (t: Tenancy) => Promise<T>, also: readonly string[] = []): Promise<T | Problem | null> {
    for (let tries = 0; tries < TRIES; tries++) {
      try {
        return await this.choose().run((world) => work(this.seen.on(world)))
      } catch (error) {
        if (error instanceof Problem && !AGAIN.has(error.code)) {
          if (!EXPECTED.has(error.code) && !also.includes(error.code))
            this.history.strange.push(`${error.code}: ${error.cause ?? error.message}`)
          return error
        }
        if (!(error instanceof Problem || error instanceof NodeDied || isAbsent(error))) {
          this.history.strange.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
          return null
        }
        await this.sim.pause()
      }
    }
    this.history.unanswered++
    return null
  }

  // Those who want something done

  async submit(body: SubmitJob, key: string | null = null, as = this.seen.agent): Promise<string | null> {
    const answer = await this.ask((t) => t.submit(body, key, as))
    if (answer === null) return null
    if (!(answer instanceof Problem)) {
      this.history.gotJob(as.principal, key, answer.job_id)
      return answer.job_id
    }
    const { decision_id } = answer.extra
    if (answer.code === 'policy_denied')
      this.history.expects(`denial ${decision_id}`, { kind: 'job.denied', decision_id })
    return null
  }

  async cancel(job_id: string): Promise<void> {
    const answer = await this.ask((t) => t.cancel(job_id))
    if (done(answer))
      this.history.expects(`cancel of ${job_id}`, { kind: ['job.cancelled', 'job.cancel_requested'], job_id })
  }

  // Workers

  async claim(as: Caller, capacity: number, effects: 'recorded' | 'none' = 'recorded'): Promise<Attempt[]> {
    const claim_id = `claim-${this.sim.random()}`
    const asked = this.sim.now()
    const leases = await this.ask(async (t) => {
      const earlier = await leasesFor(t.world, {
        tenant: this.tenant,
        principal: as.principal,
        claim_id,
        topics: TOPICS,
      })
      return earlier.length > 0 ? earlier : t.claim(TOPICS, { claim_id, worker: as, capacity, effects })
    })
    if (!done(leases)) return []
    for (const { lease, job } of leases)
      this.history.expects(`lease ${lease}`, { kind: 'job.leased', lease_id: lease, job_id: job.job_id })
    this.history.takenUp += leases.filter(({ effects }) => effects.length > 0).length
    return leases.map((leased) => ({ leased, effects, as, ends: asked + leased.remaining_ms }))
  }

  /**
   * One attempt as the SDK makes it: each effect begun, done and committed, none done that is committed already, none with
   * less than 2 s left. `stops` is the number of steps after which this worker is never heard of again.
   */
  async work(attempt: Attempt, plan: Plan): Promise<void> {
    const { leased, as } = attempt
    const { lease, job } = leased
    let left = plan.stops ?? Number.POSITIVE_INFINITY
    const gone = () => left-- <= 0
    if (plan.beats) await this.ask((t) => t.beat(lease, plan.result, as))
    if (attempt.effects === 'none') {
      if (plan.fails === undefined && this.#hasTime(attempt)) {
        if (!job.topic.startsWith('job.idem.'))
          this.history.act(`${job.job_id} whole`, `${job.job_id} attempt:${leased.attempt}`)
      } else if (plan.fails === undefined) return
    } else
      for (const key of plan.keys) {
        if (leased.effects.some((e) => e.key === key)) continue
        if (gone()) return
        const over = await this.#effect(attempt, key, plan.result, gone)
        if (over) return
      }
    if (gone()) return
    await this.report(attempt, plan)
  }

  async #effect(attempt: Attempt, key: string, result: Json, gone: () => boolean): Promise<boolean> {
    const { as } = attempt
    const { lease, job } = attempt.leased
    const asked = this.sim.now()
    const begun = await this.ask((t) => t.begin(lease, key, as))
    if (!done(begun)) return true
    attempt.ends = Math.min(attempt.ends, asked + begun.remaining_ms)
    if (begun.status === 'committed') return false
    if (gone() || !this.#hasTime(attempt)) return true
    this.history.act(begun.idempotency_key, `${job.job_id} ${key}`)
    if (gone()) return true
    const committed = await this.ask((t) => t.commit(lease, key, result, as))
    if (!done(committed)) return true
    const kind = ['effect.committed', 'effect.late']
    this.history.expects(`effect ${key} of ${job.job_id}`, { kind, job_id: job.job_id, effect_key: key })
    return false
  }

  async report(attempt: Attempt, { fails, result }: Pick<Plan, 'fails' | 'result'>): Promise<void> {
    const { as, leased } = attempt
    const report: Completion =
      fails === undefined
        ? { lease: leased.lease, outcome: 'succeeded', result }
        : { lease: leased.lease, outcome: 'failed', error: { class: fails, code: 'failed', message: 'no' } }
    const answer = await this.ask((t) => t.complete(report, as))
    if (done(answer) && answer.answer === 'ok')
      this.history.reported(leased.lease, report.outcome, JSON.stringify(report))
  }

  #hasTime(attempt: Attempt): boolean {
    return this.sim.now() + EFFECT_FLOOR_MS <= attempt.ends
  }

  // People

  async answer(approval: Pick<Approval, 'approval_id' | 'grant_hash'>, as: Caller, yes = true): Promise<void> {
    const { approval_id, grant_hash } = approval
    const answer = await this.ask((t) => (yes ? t.approve(approval_id, as, grant_hash) : t.reject(approval_id, as)))
    const kind = yes ? 'approval.approved' : 'approval.rejected'
    if (done(answer)) this.history.expects(`answer to ${approval_id}`, { kind, approval_id, actor: as.principal })
  }

  async activate(policy: keyof typeof POLICIES): Promise<void> {
    const stored = await this.ask((t) => t.activate(POLICIES[policy]))
    if (!done(stored)) return
    const { snapshot, activated } = stored
    const kind = activated ? 'policy.activated' : 'policy.stored'
    this.history.expects(`activation of ${policy}`, { kind, snapshot: snapshot.digest })
  }

  async createKey(of: Caller): Promise<Caller> {
    const made = await this.ask((t) =>
      createKey(t.world, this.tenant, 'person:root', { role: of.role as 'agent', principal: of.principal }),
    )
    if (!done(made)) return of
    this.history.expects(`key ${made.row.key_id}`, { kind: 'key.created', key_id: made.row.key_id })
    return { ...of, key_id: made.row.key_id }
  }

  async revoke(of: Caller): Promise<void> {
    const row = await this.ask((t) => revokeKey(t.world, this.tenant, 'person:root', of.key_id))
    if (done(row)) this.history.expects(`revocation of ${of.principal}`, { kind: 'key.revoked', key_id: of.key_id })
  }

  async stop(): Promise<void> {
    const raising = { scope: 'tenant', target: null, reason: 'it went wrong' } as const
    const stop = await this.ask((t) => raiseStop(t.world, t.operator, raising))
    if (done(stop)) this.history.expects('a stop', { kind: 'stop.raised', stop_id: stop.stop_id })
  }
  async resume(stage: 'trial' | 'full', as: Caller): Promise<void> {
    const stop = (await this.rows<Stop>('stops')).find(({ ended_at }) => ended_at === null)
    if (stop === undefined) return
    const asked = { stage, note: 'looked', trial_ms: 0, trial_limit: null }
    await this.ask((t) => resumeStop(t.world, as, stop.stop_id, asked))
  }

  /** Tells the truth about an effect in doubt, once it can be told: it was done, or its time is over on every clock. */
  async resolve(job_id: string, then?: ResolveJob['then']): Promise<void> {
    const key = (await this.seen.effects(job_id)).find((e) => e.status === 'begun' && this.#isDecidable(e))?.effect_key
    if (key === undefined) return
    const happened = this.history.happened.has(`${job_id} ${key}`)
    const answer = await this.ask((t) => t.resolve(job_id, key, happened, happened ? undefined : then))
    if (done(answer))
      this.history.expects(`resolution of ${job_id}`, { kind: 'effect.resolved', job_id, effect_key: key })
  }

  #isDecidable(effect: Effect): boolean {
    return this.history.happened.has(`${effect.job_id} ${effect.effect_key}`) || this.sim.now() >= effect.hard_end + 500
  }

  async judge(job_id: string, act: keyof typeof JUDGED): Promise<void> {
    const answer = await this.ask((t) => t[act](job_id))
    if (done(answer)) this.history.expects(`${act} of ${job_id}`, { kind: JUDGED[act], job_id })
  }

  // What every node does by itself

  sweep() {
    return this.ask((t) => t.sweep())
  }
  rebind() {
    return this.ask((t) => t.rebind())
  }
  async integrate(): Promise<void> {
    const rounds = await this.ask((t) => integrate(t.world, this.plane.key))
    if (!done(rounds)) return
    for (const { tenant, refused, failed } of rounds.filter((round) => round.tenant === this.tenant)) {
      for (const bad of refused) this.history.strange.push(`integration of ${tenant} refused ${JSON.stringify(bad)}`)
      // Only a store that fails is a reason; another node that was first is none.
      if (failed !== null && !isAbsent(failed)) this.history.strange.push(`integration of ${tenant}: ${failed.message}`)
    }
  }
  /** As the loop of a node does it. */
  async change(): Promise<void> {
    await this.ask(async (t) => {
      const node = changer(t.world, t.world.clock, silentLog)
      await node.turn(this.tenant).finally(() => node.stop())
    })
  }
  closeWriters() {
    return this.ask((t) => closeWriters(t.world, t.world.clock.now() - WRITER_GRACE_MS))
  }

  // Afterwards

  rows<Row>(table: string): Promise<Row[]> {
    return this.seen.rows<Row>(table)
  }

  /** Nothing fails any more; workers, people and sweepers go on until every job has ended or waits for nobody who would come. */
  async calm(): Promise<void> {
    for (const ms of [0, 1000, 5000, 31_000, 61_000, 600_000, 600_000, 3_600_000, DAY, DAY, DAY, DAY, DAY]) {
      this.sim.advance(ms)
      await this.sweep()
      const open = (await this.rows<Job>('jobs')).filter((job) => OPEN.includes(job.status))
      if (open.length === 0 && ms >= 5000) break
      for (const job of open.filter((each) => each.status === 'ambiguous')) await this.resolve(job.job_id)
      if (open.some((job) => job.status !== 'pending_approval'))
        for (const attempt of await this.claim(this.seen.otherWorker, 50))
          await this.work(attempt, { keys: ['pay', 'ship'], result: null })
      if (open.some((job) => job.status === 'pending_approval')) await this.rebind()
      if (open.some((job) => isOwn(job.topic))) await this.change()
    }
    await this.closeWriters()
  }

  /** What holds at any moment. Nothing is answered meanwhile: whatever is under way has reached the store, or has not. */
  look(checkers: Checker[] = CHECKERS): Promise<string[]> {
    const reads = { ...this.plane, clock: this.seen.clock, db: readingOnce(this.plane.db) }
    return violations(reads, this.tenant, checkers)
  }

  /** Every invariant, and what stale leases may still do: nothing. */
  async check(): Promise<string[]> {
    const before = await staleLeases(this.plane, this.tenant)
    const wrong = await tryStale(new Tenancy(this.plane.world, this.seen.clock, this.tenant), before.leases)
    const after = await staleLeases(this.plane, this.tenant)
    if (before.stands !== after.stands) wrong.push('fence: a stale lease moved a job')
    const checkers: Checker[] = [
      ...CHECKERS,
      everyJobEnded,
      acknowledgedIsKept(this.history),
      effectsOnce(this.history),
      fencesHeld,
      revokedIsOut,
      closedIsOut,
      rowsAsLogged,
      stopsAreHeld,
      ratesAreHeld,
    ]
    return [...wrong, ...(await this.look(checkers))]
  }

  /** Nothing of this run is left for the ones after it on the same store: a seed alone and in a row must go the same way. */
  async wipe(): Promise<void> {
    const { db } = this.plane
    tables ??= (await db.query<{ name: string }>(TABLES)).map(({ name }) => name)
    for (const name of tables) await db.query(`DELETE FROM ${name} WHERE tenant = $1`, [this.tenant])
    // The same seed makes the same ids: a batch of an earlier run must not be taken for this one's.
    await db.query('DELETE FROM batches')
  }
}

/** Read once for all runs of a process. */
let tables: string[] | undefined
const TABLES = `SELECT table_name AS name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'tenant' ORDER BY 1`
const OPEN = ['pending_approval', 'queued', 'retrying', 'running', 'ambiguous']
const JUDGED = {
  release: 'result.released',
  discardResult: 'result.discarded',
  replay: 'job.replayed',
  discard: 'job.discarded',
} as const

/** A dozen checkers read the same few tables, which nobody changes any more. */
function readingOnce(db: TestPlane['db']): TestPlane['db'] {
  const read = new Map<string, Promise<never[]>>()
  return {
    ...db,
    query: (sql, params, on) => {
      if (!/^SELECT [^;]+ FROM \w+ WHERE tenant = \$1$/.test(sql)) return db.query(sql, params, on)
      const rows = read.get(sql) ?? (db.query(sql, params, on) as Promise<never[]>)
      read.set(sql, rows)
      return rows
    },
  }
}

/** Answered, and not with a problem. */
export function done<T>(answer: T | Problem | null): answer is T {
  return answer !== null && !(answer instanceof Problem)
}

export interface Attempt {
  leased: LeasedJob
  effects: 'recorded' | 'none'
  as: Caller
  /** By the worker's own clock, counted from when it asked. */
  ends: number
}

/** How a worker goes about an attempt. */
export interface Plan {
  keys: readonly string[]
  result: Json
  fails?: 'transient' | 'terminal'
  beats?: boolean
  stops?: number
}
