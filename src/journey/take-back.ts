import type { SubmitJob } from '../contract/jobs.js'
import type { Caller } from '../core/access.js'
import type { OnBehalf } from '../core/admit.js'
import { dispatch as step } from '../core/dispatch.js'
import { decide, standingAt } from '../core/door.js'
import { jobFact } from '../core/facts.js'
import { watch } from '../core/gates/trigger.js'
import { claimOf, type Job, touch } from '../core/job.js'
import { isOwn } from '../core/policy/change.js'
import {
  againIn,
  bodyOf,
  isOverfull,
  isPassing,
  type Recovery,
  standingOf,
  type Undoing,
} from '../core/rollout/compensation.js'
import {
  asked,
  blocked,
  followed,
  type Left,
  recover,
  TAKER,
  type Undone,
  voided,
  waiting,
} from '../core/rollout/recover.js'
import { Problem } from '../errors.js'
import { getApproval } from '../store/approvals.js'
import {
  busyRuns,
  compensationsUnderWay,
  compensationsWith,
  confirmRollbacks,
  countCompensations,
  getRecovery,
  inDoubtOf,
  type NextUp,
  nextCompensations,
  type Running,
  runningOf,
  unconfirmedRollbacks,
  waitingOf,
} from '../store/compensations.js'
import { decisionAbout } from '../store/decisions.js'
import { getJob, getJobs, loadPayload } from '../store/jobs.js'
import { topicsOfKeys } from '../store/keys.js'
import { seenOf } from '../store/looks.js'
import { getPayload } from '../store/payloads.js'
import type { Active } from '../store/policies.js'
import { getRollout, type RolloutRow } from '../store/rollouts.js'
import type { World } from '../store/world.js'

/** Jobs of a candidate that are dealt with at once. */
const LOOK = 500
/** Leases of a candidate that are told apart; whoever has more is told to end in the next look. */
const LEASES = 2000
/** Compensations under way at once, of one rollout: of each run one, so that they never overtake one another. */
const ABREAST = 16
/** How often an effect is looked at of which nobody knows whether it happened. */
const DOUBT_MS = 5_000

/** A compensation whose turn has come, as it is put to the first door. */
export interface Asking {
  compensation: NextUp
  caller: Caller
  body: SubmitJob
  behalf: OnBehalf
}

export interface TakenBack {
  /** What is to be asked now; what becomes of it is told to `refused`. */
  asking: Asking[]
  /** Something moved: another look finds more. */
  more: boolean
  /** An undoing is under way that ends by itself. */
  busy: boolean
  /** Work of the candidate still runs. */
  draining: boolean
}

const NOTHING: TakenBack = { asking: [], more: false, busy: false, draining: false }

/**
 * One look at what a rollback has still to do: waiting work of the candidate is denied at the second door, running work asked to end
 * where the declaration says so, and of every run in which nothing works any more the effect that was committed last comes to its turn.
 * All of it is read from rows, so whichever node looks goes on where another stopped, and two at once do nothing twice.
 */
export async function takeBack(world: World, tenant: string, rollout_id: string): Promise<TakenBack> {
  const rollout = await getRollout(world.db, tenant, rollout_id)
  if (rollout === null || rollout.status !== 'rolled_back') return NOTHING
  // Under the gate that the rollback moved: what the door says before it is of no use.
  await world.policies.refresh(tenant)
  const running = await runningOf(world.db, tenant, rollout_id, LEASES)
  const recovery = (await getRecovery(world.db, tenant, rollout_id)) ?? (await begin(world, rollout, running))
  if (recovery === null) return { ...NOTHING, more: true, busy: true }
  const cancelled = await endRunning(world, rollout, running)
  const { refused, waiting } = await refuseWaiting(world, rollout)
  const moved = await follow(world, tenant, rollout_id)
  const underWay = await askedNow(world, tenant, rollout_id)
  const asking = await turns(world, rollout, recovery, underWay.length)
  const inDoubt = await inDoubtOf(world.db, tenant, rollout_id)
  await note(world, recovery, { running: running.length, waiting: waiting + inDoubt, refused })
  const busy = asking.length > 0 || underWay.some(({ reason }) => reason === null)
  return { asking, more: refused > 0 || cancelled > 0 || moved, busy, draining: running.length > 0 }
}

/** What was there when it was first looked at. Null where another node was quicker. */
async function begin(world: World, rollout: RolloutRow, running: readonly Running[]): Promise<Recovery | null> {
  const { tenant, rollout_id, ended_at } = rollout
  const recovery: Recovery = {
    tenant,
    rollout_id,
    version: 1,
    rolled_back_at: ended_at ?? world.clock.now(),
    rolled_back_by: rollout.ended_by ?? TAKER,
    detected_from: await detectedFrom(world, rollout),
    leases: running.flatMap(({ lease_id }) => (lease_id === null ? [] : [lease_id])),
    refused: 0,
    leases_ended_at: null,
    recovered_at: null,
  }
  const receipt = await world.ledger.commit({
    ...{ tenant, gate: null, alone: [aloneOf(rollout_id)], facts: [] },
    rows: { recoveries: [recovery] },
  })
  return receipt.ok ? recovery : null
}

/** Since when the trigger said too much that took it back: kept now, because looks are forgotten. */
async function detectedFrom(world: World, rollout: RolloutRow): Promise<number | null> {
  const { tenant, rollout_id, document, ended_trigger, ended_at } = rollout
  const terms = document.triggers.find(({ trigger }) => trigger === ended_trigger)
  if (terms === undefined || ended_at === null) return null
  const { [terms.trigger]: series = [] } = await seenOf(world.db, [tenant, rollout_id], [terms.trigger])
  const { since, tripped_at } = watch(terms, series, ended_at)
  return since ?? tripped_at
}

const aloneOf = (rollout_id: string) => `recovery/${rollout_id}`

/** Asked to end, where the declaration says so; how many were. */
async function endRunning(
  world: World,
  { tenant, document, rollout_id }: RolloutRow,
  running: readonly Running[],
): Promise<number> {
  if (document.on_rollback !== 'cancel') return 0
  const ids = running.filter(({ cancelled }) => !cancelled).map(({ job_id }) => job_id)
  const jobs = ids.length === 0 ? [] : await getJobs(world.db, tenant, ids.slice(0, LOOK))
  const done = await Promise.all(jobs.map((job) => cancelOne(world, job, rollout_id)))
  return done.filter((each) => each !== null).length
}

/**
 * How many waiting jobs were denied, and how many wait still: what cannot be denied now does not hide what comes after it. Who was quicker
 * than this is looked at again. Under a policy that was taken back work goes on by the one that is active again, so nothing of it is left.
 */
async function refuseWaiting(
  world: World,
  { tenant, document, rollout_id }: RolloutRow,
): Promise<{ refused: number; waiting: number }> {
  const found = { refused: 0, waiting: 0 }
  if (document.subject.kind === 'policy') return found
  const active = await world.policies.active(tenant)
  for (let after = '', more = true; more && found.refused === 0; ) {
    const ids = await waitingOf(world.db, tenant, rollout_id, after, LOOK)
    const jobs = ids.length === 0 ? [] : await getJobs(world.db, tenant, ids)
    const done = await Promise.all(jobs.map((job) => refuseOne(world, active, job)))
    const refused = done.filter((each) => each !== null).length
    found.refused += refused
    found.waiting += ids.length - refused
    more = ids.length === LOOK
    after = ids.at(-1) ?? after
  }
  return found
}

async function cancelOne(world: World, job: Job, rollout_id: string): Promise<'cancelled' | null> {
  if (job.cancel_requested) return null
  const now = world.clock.now()
  const moved = touch(job, now, { cancel_requested: true })
  const about = { ...moved.changed, rollout_id, reason: 'rolled_back' }
  const receipt = await world.ledger.commit({
    ...{ tenant: job.tenant, gate: null, alone: [job.job_id] },
    rows: { updateJobs: [moved.job] },
    facts: [jobFact('job.cancel_requested', moved.job, now, TAKER, about)],
  })
  return receipt.ok ? 'cancelled' : null
}

const isWaiting = ({ status }: Job) => ['queued', 'retrying', 'pending_approval'].includes(status)

/** The second door, without a worker at it. Only what it denies moves: what a stop holds back stays where it is. */
async function refuseOne(world: World, active: Active, job: Job): Promise<'refused' | null> {
  if (!isWaiting(job)) return null
  const now = world.clock.now()
  const claim = claimOf(job, await loadPayload(world.db, job))
  const standing = standingAt('dispatch', now, await world.agents.of(active.gate, job.agent), job.job_id)
  Object.assign(standing, await world.halts.of(active.gate, job))
  const drawings = await world.rollouts.under(active)
  const drawn = drawings.held(job)
  if (drawn?.variant !== 'withdrawn') return null
  standing.drawn = drawn
  const decision = decide(drawings.policyFor(drawn), claim, standing)
  if (decision.outcome !== 'deny') return null
  const decision_id = world.ids.id('dec', now)
  const made = { lease_id: '', decision_id, approval_id: '' }
  const denied = step(job, claim, decision, standing, made, {
    ...{ worker: TAKER, principal: TAKER, claim_id: '', effects: 'recorded' },
  })
  const approval =
    job.status === 'pending_approval' ? await getApproval(world.db, job.tenant, job.approval_id ?? '') : null
  const isOpen = approval !== null && (approval.status === 'pending' || approval.status === 'approved')
  const voided = { approval_id: approval?.approval_id, reason: 'rolled_back' }
  const receipt = await world.ledger.commit({
    ...{ tenant: job.tenant, gate: active.gate, alone: [job.job_id] },
    rows: {
      updateJobs: [denied.job],
      decisions: [decisionAbout(job, claim, decision, standing, decision_id)],
      updateApprovals: isOpen ? [{ ...approval, version: approval.version + 1, status: 'void' }] : [],
    },
    facts: [...denied.facts, ...(isOpen ? [jobFact('approval.voided', job, now, TAKER, voided)] : [])],
  })
  if (!receipt.ok && receipt.why === 'gate') await world.policies.refresh(job.tenant)
  return receipt.ok ? 'refused' : null
}

/** What the jobs have come to that undo something; also those that people ran again, or settled, by their own means. */
async function follow(world: World, tenant: string, rollout_id: string): Promise<boolean> {
  let moved = false
  for (const { job_status, status_reason, error_code, approval_id: _, ...row } of await compensationsUnderWay(
    world.db,
    tenant,
    rollout_id,
    LOOK,
  )) {
    // Over so long that it is no longer kept: only what ended is ever removed, and how it ended was looked at then.
    if (job_status === null) continue
    const standing = standingOf({ status: job_status, status_reason, error_code })
    const next = followed(row, standing, world.clock.now())
    if (next !== null && (await write(world, next))) moved = true
  }
  return moved
}

const askedNow = ({ db }: World, tenant: string, rollout_id: string) =>
  compensationsWith(db, tenant, rollout_id, 'asked', LOOK)

/** Whose turn it is. What cannot be asked is said to be blocked here. */
async function turns(world: World, rollout: RolloutRow, recovery: Recovery, underWay: number): Promise<Asking[]> {
  const { tenant, rollout_id } = rollout
  const room = ABREAST - underWay
  if (room <= 0) return []
  const busy = await busyRuns(world.db, tenant, rollout_id)
  const now = world.clock.now()
  const asking: Asking[] = []
  for (const { effect_status, ...row } of await nextCompensations(world.db, tenant, rollout_id, busy, now, room)) {
    if (effect_status === 'not_happened') await write(world, voided(row, now))
    // Nobody knows whether there is anything to undo, and what was done before it has to wait until somebody says.
    else if (effect_status === 'begun') await write(world, waiting(row, 'in_doubt', now + DOUBT_MS, now))
    else {
      const wanted = await askingOf(world, { ...row, effect_status }, recovery)
      if (wanted !== null) asking.push(wanted)
    }
  }
  return asking
}

/** As the work of the agent whose effect it is, asked for by the plane; whoever wanted the rollback does not approve it. */
async function askingOf(world: World, compensation: NextUp, recovery: Recovery): Promise<Asking | null> {
  const { tenant, job_id, effect_key, rollout_id, agent, run_id, ptr } = compensation
  const { effect_status: _, ...row } = compensation
  const [payload, undone] = [await getPayload(world.db, tenant, ptr), await getJob(world.db, tenant, job_id)]
  if (payload?.body == null || undone === null) {
    await write(world, blocked(row, 'erased', world.clock.now()))
    return null
  }
  const undoing = JSON.parse(payload.body) as Undoing
  if (isOwn(undoing.topic)) {
    await write(world, blocked(row, 'topic_refused', world.clock.now()))
    return null
  }
  const { workflow, environment, labels, risk_tags, team } = undone
  const body = bodyOf(
    undoing,
    { agent, run_id, workflow, environment, labels, risk_tags },
    { rollout_id, job_id, effect_key },
  )
  if (isOverfull(body)) {
    await write(world, blocked(row, 'invalid', world.clock.now()))
    return null
  }
  const raised_by = row.raised_by ?? recovery.rolled_back_by
  const topics = await topicsOfKeys(world.db, tenant, undone.requested_by, world.clock.now())
  const barred = [...new Set([...row.barred, recovery.rolled_back_by])]
  const behalf: OnBehalf = {
    team,
    raised_by: raised_by === TAKER ? null : raised_by,
    barred,
    alone: `compensation/${job_id}/${effect_key}`,
    beside(answer, now) {
      const next = asked({ ...row, barred }, answer, now)
      return { compensations: [next.row], facts: next.facts }
    },
  }
  return { compensation, caller: taker(tenant, agent, topics), body: body as SubmitJob, behalf }
}

/** Nobody's key: the plane, which may act as this one agent, and no further than its terms reach and the key by which the effect came about. */
const taker = (tenant: string, agent: string, topics: string[] | null): Caller => ({
  tenant,
  principal: TAKER,
  role: 'agent',
  team: null,
  key_id: TAKER,
  topics,
  act_as: [agent],
  permissions: null,
  leads: [],
  expires_at: null,
})

/** The first door, or what stands before it, did not let it through. */
export async function refused(world: World, { compensation }: Asking, why: unknown): Promise<void> {
  const { effect_status: _, ...row } = compensation
  const now = world.clock.now()
  const code = why instanceof Problem ? why.code : 'unavailable'
  const { retry_after_ms = 0, decision_id } = (why instanceof Problem ? why.extra : {}) as {
    retry_after_ms?: number
    decision_id?: string
  }
  if (isPassing(code)) await write(world, waiting(row, code, now + againIn(row.tries, retry_after_ms), now))
  else await write(world, blocked(row, code, now, decision_id === undefined ? {} : { decision_id }))
}

/** Its agent is in the shadow, of which nothing runs. */
export async function shadowed(world: World, { compensation }: Asking, decision_id: string): Promise<void> {
  const { effect_status: _, ...row } = compensation
  await write(world, blocked(row, 'shadow', world.clock.now(), { decision_id }))
}

async function note(world: World, recovery: Recovery, left: Left): Promise<void> {
  const { tenant, rollout_id } = recovery
  const counts = await countCompensations(world.db, tenant, rollout_id)
  const open = ['registered', 'asked', 'blocked'].reduce((sum, word) => sum + (counts.get(word) ?? 0), 0)
  const next = recover(recovery, left, open, counts, world.clock.now())
  if (next === null) return
  await world.ledger.commit({
    ...{ tenant, gate: null, alone: [aloneOf(rollout_id)] },
    rows: { recoveries: [next.row] },
    facts: next.facts,
  })
}

/** False where another step of it was quicker: it is looked at again. */
async function write(world: World, { row, facts }: Undone): Promise<boolean> {
  const { tenant, job_id, effect_key } = row
  const receipt = await world.ledger.commit({
    ...{ tenant, gate: null, alone: [`compensation/${job_id}/${effect_key}`] },
    rows: { compensations: [row] },
    facts,
  })
  return receipt.ok
}

/** This node has read the gate since these were rolled back: what it decides from now on, it decides without their candidates. */
export async function confirmTaken(world: World, node: { node: string; name: string }): Promise<number> {
  const open = await unconfirmedRollbacks(world.db, node.node)
  if (open.length === 0) return 0
  for (const tenant of new Set(open.map(({ tenant }) => tenant))) await world.policies.refresh(tenant)
  await confirmRollbacks(world.db, open, node, world.clock.now())
  return open.length
}
