import type { Caller } from '../core/access.js'
import type { Compensation } from '../core/rollout/compensation.js'
import { retried, settled, type Undone } from '../core/rollout/recover.js'
import { Problem } from '../errors.js'
import { compensationsWith, getCompensation } from '../store/compensations.js'
import { getJobs } from '../store/jobs.js'
import { standingUnder } from '../store/keys.js'
import { effectsOfJob } from '../store/leases.js'
import { getRollout } from '../store/rollouts.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6
/** Asked again by one call; whoever has more calls again. */
const MOST = 200

export interface Which {
  job_id?: string
  effect_key?: string
}

/**
 * What stands in the way is asked again: whoever says so does not approve it. A dead letter is not asked anew, because it knows what it
 * has done already: those are returned, to be run again. What else had begun is left as it is, to be settled. Throws Problem `not_found`, `illegal_transition`, `overloaded`.
 */
export async function retryCompensations(
  world: World,
  caller: Caller,
  rollout_id: string,
  { job_id, effect_key }: Which,
): Promise<{ replays: string[]; asked: number }> {
  const { tenant, principal } = caller
  await standing(world, caller, rollout_id)
  const blocked = (await compensationsWith(world.db, tenant, rollout_id, 'blocked', MOST)).filter(
    (row) =>
      (job_id === undefined || row.job_id === job_id) && (effect_key === undefined || row.effect_key === effect_key),
  )
  if (blocked.length === 0) throw new Problem('illegal_transition', 'Nothing of it stands in the way')
  const jobs = await getJobs(
    world.db,
    tenant,
    blocked.flatMap(({ comp_job_id }) => (comp_job_id === null ? [] : [comp_job_id])),
  )
  const dead = new Set(jobs.filter(({ status }) => status === 'dead_letter').map((job) => job.job_id))
  const known = new Set(jobs.map((job) => job.job_id))
  const replays: string[] = []
  let [asked, begun] = [0, 0]
  for (const row of blocked) {
    const last = row.comp_job_id
    if (last !== null && dead.has(last)) replays.push(last)
    else if (last !== null && (!known.has(last) || (await hasBegun(world, tenant, last)))) begun++
    else if (await write(world, caller, rollout_id, row, (now) => retried(row, principal, now))) asked++
  }
  if (begun > 0 && asked === 0 && replays.length === 0)
    throw new Problem(
      'illegal_transition',
      'Its job had begun to undo it, or is no longer kept: another would not know what was done. Look, and settle it',
    )
  return { replays, asked }
}

/** Whether it may have done something already: a new job has other idempotency keys, and would do it again. */
async function hasBegun({ db }: World, tenant: string, job_id: string): Promise<boolean> {
  return (await effectsOfJob(db, tenant, job_id)).some(({ status }) => status !== 'not_happened')
}

/**
 * Somebody says that it was undone by hand, or need not be: what was done before it is not held up by it any more, and they answer for
 * that. Not while its job is under way. Throws Problem `not_found`, `illegal_transition`, `overloaded`.
 */
export async function settleCompensation(
  world: World,
  caller: Caller,
  rollout_id: string,
  { job_id, effect_key, note }: { job_id: string; effect_key: string; note: string },
): Promise<Compensation> {
  for (let tries = 0; tries < TRIES; tries++) {
    await standing(world, caller, rollout_id)
    const row = await getCompensation(world.db, caller.tenant, job_id, effect_key)
    if (row === null || row.rollout_id !== rollout_id) throw new Problem('not_found')
    if (row.status !== 'blocked' && row.status !== 'registered')
      throw new Problem('illegal_transition', `The compensation is ${row.status}`)
    const step = (now: number) => settled(row, caller.principal, note, now)
    const done = await write(world, caller, rollout_id, row, step)
    if (done !== null) return done
  }
  throw new Problem('overloaded', 'It changed faster than it could be settled', { retry_after_ms: 200 })
}

/** Throws Problem `not_found`, `illegal_transition`. */
async function standing(world: World, caller: Caller, rollout_id: string): Promise<void> {
  const rollout = await getRollout(world.db, caller.tenant, rollout_id)
  if (rollout === null) throw new Problem('not_found')
  if (rollout.status !== 'rolled_back') throw new Problem('illegal_transition', `The rollout is ${rollout.status}`)
}

/** Null where another step of it was quicker. */
async function write(
  world: World,
  caller: Caller,
  rollout_id: string,
  { job_id, effect_key }: Compensation,
  step: (now: number) => Undone,
): Promise<Compensation | null> {
  const gate = await getGate(world.db, caller.tenant)
  await standingUnder(world, gate, caller)
  const { row, facts } = step(world.clock.now())
  const receipt = await world.ledger.commit({
    tenant: caller.tenant,
    gate,
    by: caller.key_id,
    alone: [`compensation/${job_id}/${effect_key}`, `recovery/${rollout_id}`],
    rows: { compensations: [row] },
    facts,
  })
  return receipt.ok ? row : null
}
