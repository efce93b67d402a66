import type { SubmitJob } from '../contract/jobs.js'
import type { Caller } from '../core/access.js'
import type { OnBehalf } from '../core/admit.js'
import { dispatch as step } from '../core/dispatch.js'
import { decide, standingAt } from '../core/door.js'
import { jobFact } from '../core/facts.js'
import { watch } from '../core/gates/trigger.js'
import { claimOf, type Job, touch } from '../core/job.js'
import { isOwn } from '../core/policy/change.js'
import { againIn, bodyOf, isPassing, type Recovery, standingOf, type Undoing } from '../core/rollout/compensation.js'
import { asked, blocked, followed, recover, TAKER, type Undone, voided, waiting } from '../core/rollout/recover.js'
import { Problem } from '../errors.js'
import { getApproval } from '../store/approvals.js'
import {
  compensationsUnderWay,
  compensationsWith,
  confirmRollbacks,
  countCompensations,
  getRecovery,
  type LeftOver,
  leftOf,
  type NextUp,
  nextCompensations,
  unconfirmedRollbacks,
} from '../store/compensations.js'
import { decisionAbout } from '../store/decisions.js'
import { getJob, getJobs, loadPayload } from '../store/jobs.js'
import { seenOf } from '../store/looks.js'
import { getPayload } from '../store/payloads.js'
import type { Active } from '../store/policies.js'
import { getRollout, type RolloutRow } from '../store/rollouts.js'
import type { World } from '../store/world.js'

/** Jobs of a candidate that one look deals with; the next deals with more. */
const LOOK = 500
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
  /** Something is under way that ends by itself. */
  busy: boolean
}

/**
 * One look at what a rollback has still to do: waiting work of the candidate is denied at the second door, running work asked to end
 * where the declaration says so, and of every run in which nothing works any more the effect that was committed last comes to its turn.
 * All of it is read from rows, so whichever node looks goes on where another stopped, and two at once do nothing twice.
 */
export async function takeBack(world: World, tenant: string, rollout_id: string): Promise<TakenBack> {
  const rollout = await getRollout(world.db, tenant, rollout_id)
  if (rollout === null || rollout.status !== 'rolled_back') return { asking: [], more: false, busy: false }
  // Under the gate that the rollback moved: what the door says before it is of no use.
  await world.policies.refresh(tenant)
  const left = await leftOf(world.db, tenant, rollout_id, LOOK)
  const recovery = (await getRecovery(world.db, tenant, rollout_id)) ?? (await begin(world, rollout, left))
  if (recovery === null) return { asking: [], more: true, busy: true }
  const refused = await endWork(world, rollout, left)
  const moved = await follow(world, tenant, rollout_id)
  const underWay = await askedNow(world, tenant, rollout_id)
  const running = left.filter(({ status }) => status === 'running')
  // More may be running than was looked at: then it is not known in which runs.
  const asking = left.length === LOOK ? [] : await turns(world, rollout, recovery, running, underWay.length)
  await note(world, rollout, recovery, left, refused)
  const busy = asking.length > 0 || underWay.some(({ reason }) => reason === null)
  return { asking, more: refused > 0 || moved || left.length === LOOK, busy }
}

/** What was there when it was first looked at. Null where another node was quicker. */
async function begin(world: World, rollout: RolloutRow, left: readonly LeftOver[]): Promise<Recovery | null> {
  const { tenant, rollout_id, ended_at } = rollout
  const recovery: Recovery = {
    tenant,
    rollout_id,
    version: 1,
    rolled_back_at: ended_at ?? world.clock.now(),
    rolled_back_by: rollout.ended_by ?? TAKER,
    detected_from: await detectedFrom(world, rollout),
    leases: left.flatMap(({ lease_id }) => (lease_id === null ? [] : [lease_id])),
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

/** Returns how many waiting jobs were denied. Who was quicker than this is looked at again. */
async function endWork(world: World, { tenant, document, rollout_id }: RolloutRow, left: LeftOver[]): Promise<number> {
  const isWaiting = ({ status }: LeftOver) => ['queued', 'retrying', 'pending_approval'].includes(status)
  const isToEnd = ({ status, cancelled }: LeftOver) =>
    status === 'running' && !cancelled && document.on_rollback === 'cancel'
  // Under a policy that was taken back work goes on by the one that is active again: the door says so of each.
  const ids = left.filter((each) => isWaiting(each) || isToEnd(each)).map(({ job_id }) => job_id)
  if (ids.length === 0) return 0
  const active = await world.policies.active(tenant)
  const jobs = await getJobs(world.db, tenant, ids)
  const done = await Promise.all(
    jobs.map((job) => (job.status === 'running' ? cancelOne(world, job, rollout_id) : refuseOne(world, active, job))),
  )
  return done.filter((each) => each === 'refused').length
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

/** The second door, without a worker at it. Only what it denies moves: what a stop holds back stays where it is. */
async function refuseOne(world: World, active: Active, job: Job): Promise<'refused' | null> {
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
async function turns(
  world: World,
  rollout: RolloutRow,
  recovery: Recovery,
  running: readonly LeftOver[],
  underWay: number,
): Promise<Asking[]> {
  const { tenant, rollout_id } = rollout
  const room = ABREAST - underWay
  if (room <= 0) return []
  const busy = [...new Set(running.map(({ run_id }) => run_id))]
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
  const raised_by = row.raised_by ?? recovery.rolled_back_by
  const behalf: OnBehalf = {
    team,
    raised_by: raised_by === TAKER ? null : raised_by,
    alone: `compensation/${job_id}/${effect_key}`,
    beside(answer, now) {
      const next = asked(row, answer, now)
      return { compensations: [next.row], facts: next.facts }
    },
  }
  return { compensation, caller: taker(tenant, agent), body: body as SubmitJob, behalf }
}

/** Nobody's key: the plane, which may act as this one agent and no further than its terms reach. */
const taker = (tenant: string, agent: string): Caller => ({
  tenant,
  principal: TAKER,
  role: 'agent',
  team: null,
  key_id: TAKER,
  topics: null,
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

async function note(
  world: World,
  { tenant, rollout_id, document }: RolloutRow,
  recovery: Recovery,
  left: readonly LeftOver[],
  refused: number,
): Promise<void> {
  const running = left.filter(({ status }) => status === 'running').length
  // What waits under a policy that was taken back is not the candidate's any more, and goes on; what is in doubt was its doing.
  const isStill = ({ status }: LeftOver) =>
    status === 'ambiguous' || (status !== 'running' && document.subject.kind !== 'policy')
  const counts = await countCompensations(world.db, tenant, rollout_id)
  const open = ['registered', 'asked', 'blocked'].reduce((sum, word) => sum + (counts.get(word) ?? 0), 0)
  const state = { running, waiting: left.filter(isStill).length - refused, refused }
  const next = recover(recovery, state, open, counts, world.clock.now())
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
