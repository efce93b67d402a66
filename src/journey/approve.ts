import type { Approve, Edit as EditBody, Reject } from '../contract/approvals.js'
import type { Caller } from '../core/access.js'
import { unanswerableFacts, verdictOf } from '../core/admit.js'
import { type Answer, type Approval, tally, validUntil } from '../core/approval.js'
import { type Fact, joined } from '../core/audit.js'
import { shortForm } from '../core/binding.js'
import { canonical, saltedHash } from '../core/canonical.js'
import { type Decision, decide, frozen, refusal, standingAt } from '../core/door.js'
import { askedAnew, editedPatch, inputChanges, withInput } from '../core/edit.js'
import { jobFact } from '../core/facts.js'
import { type Advanced, advance, type Capacity, mayAnswerNow, type People } from '../core/flow.js'
import { type Claim, claimOf, type Job, move, touch } from '../core/job.js'
import type { Json } from '../core/json.js'
import { isOwn } from '../core/policy/change.js'
import { rebind } from '../core/rebind.js'
import { Problem } from '../errors.js'
import { getApproval, isEcho, standingAnswers, whoMadeKeys } from '../store/approvals.js'
import { barredFromUndoing } from '../store/compensations.js'
import { decisionAbout } from '../store/decisions.js'
import { getJob, loadPayload } from '../store/jobs.js'
import { standingUnder } from '../store/keys.js'
import type { Intent } from '../store/ledger/inbox.js'
import { getPayload, type PayloadRow } from '../store/payloads.js'
import type { Active } from '../store/policies.js'
import type { World } from '../store/world.js'

const TRIES = 6

/** What a person says, with the echo of what they saw. */
type Said =
  | { kind: 'approve'; echo: Approve; note: string | null }
  | { kind: 'edit'; echo: Approve; note: string | null; input: Json }
  | { kind: 'reject' | 'changes'; echo: Approve; note: string }

/** Through which channel it came, where not by a key. */
export interface Via {
  via?: string
}

/**
 * A person's answer. It echoes what was seen: a wrong echo is reported first, then self-approval, then whether this person is asked
 * now. A yes asks the door first: a DENY now wins, whatever was allowed when the question was put.
 * Throws Problem `not_found`, `approval_closed`, `approval_stale`, `approval_frozen`, `self_approval`, `not_an_approver`, `policy_denied`.
 */
export function approve(world: World, caller: Caller, id: string, body: Approve, via: Via = {}): Promise<Approval> {
  return answer(world, caller, id, { kind: 'approve', echo: body, note: body.note ?? null }, via)
}

/** A no needs no echo: it can only make things safer. One given is checked all the same. */
export function reject(world: World, caller: Caller, id: string, body: Reject, via: Via = {}): Promise<Approval> {
  return answer(world, caller, id, { kind: 'reject', echo: echoOf(body), note: body.reason }, via)
}

/** A no that says what would make it a yes: the agent reads it with the job. */
export function requestChanges(world: World, caller: Caller, id: string, body: Reject): Promise<Approval> {
  return answer(world, caller, id, { kind: 'changes', echo: echoOf(body), note: body.reason }, {})
}

/**
 * Replaces the job's input and says yes to what it is then. The door is asked about the edited job; whoever said yes before saw something
 * else, so theirs are void. Throws as `approve`, and `invalid` where nothing changes.
 */
export function edit(world: World, caller: Caller, id: string, body: EditBody): Promise<Approval> {
  const said: Said = { kind: 'edit', echo: body, note: body.note ?? null, input: (body.input ?? null) as Json }
  return answer(world, caller, id, said, {})
}

const echoOf = ({ grant_hash }: Reject): Approve => (grant_hash === undefined ? {} : { grant_hash })

/** All that an answer is decided on, read under one gate. */
interface Asked {
  active: Active
  people: People
  keyMakers: readonly string[]
  approval: Approval
  job: Job
  now: number
}

async function answer(world: World, caller: Caller, approval_id: string, said: Said, { via }: Via): Promise<Approval> {
  for (let tries = 0; tries < TRIES; tries++) {
    // A refusal commits nothing that the gate could send back, so who is asked is never told from a gate of before.
    await world.policies.refresh(caller.tenant)
    const active = await world.policies.active(caller.tenant)
    await standingUnder(world, active.gate, caller)
    const stored = await getApproval(world.db, caller.tenant, approval_id)
    if (stored === null) throw new Problem('not_found')
    const job = await getJob(world.db, caller.tenant, stored.job_id)
    if (job === null) throw new Problem('not_found')
    const now = world.clock.now()
    await assertOpen(world, caller, stored, job, said, now)
    const halted = frozen(
      { ...standingAt('approve', now, null, null), ...(await world.halts.of(active.gate, job)) },
      job,
    )
    if (halted !== null) throw halted
    // Earlier answers less those of who was shut out since: they have no say any more.
    const approval = { ...stored, answers: await standingAnswers(world.db, caller.tenant, stored.answers) }
    const people = await world.people.of(active.gate, [job.agent, job.requested_by])
    const makers = await whoMadeKeys(world.db, caller.tenant, [job.requested_by, job.agent])
    const keyMakers = [...makers, ...(await barredFromUndoing(world.db, job))]
    const asked: Asked = { active, people, keyMakers, approval, job, now }
    const capacity = await capacityOf(world, caller, asked, said)
    const given = givenAs(caller, capacity, said, now, via)
    const next =
      said.kind === 'approve'
        ? await approved(world, asked, given)
        : said.kind === 'edit'
          ? await editedNow(world, caller, asked, given, said.input)
          : rejected(asked, given, said.kind === 'changes')
    const receipt = await world.ledger.commit({ ...next.intent, gate: active.gate })
    if (receipt.ok) {
      if (next.queued) world.bus.hint(job.tenant, job.topic)
      if (next.kind === 'answered') return next.approval
      throw outdated(next.decision, next.approval)
    }
  }
  throw new Problem('overloaded', 'The approval changed faster than it could be answered', { retry_after_ms: 200 })
}

function givenAs(caller: Caller, capacity: Capacity, said: Said, at: number, via: string | undefined): Answer {
  return {
    by: caller.principal,
    role: capacity.role,
    team: capacity.team,
    key_id: caller.key_id,
    answer: said.kind === 'approve' || said.kind === 'edit' ? 'approve' : 'reject',
    at,
    note: said.note,
    ...(capacity.as === undefined ? {} : { as: [...capacity.as] }),
    ...(capacity.for === undefined ? {} : { for: capacity.for }),
    ...(via === undefined ? {} : { via }),
  }
}

function outdated(decision: Decision, approval: Approval): Problem {
  if (decision.outcome === 'deny') return refusal(decision)
  return new Problem('approval_stale', 'Policy changed: this is no longer what would be approved', seenOf(approval))
}

const seenOf = (approval: Approval) => ({
  approval_id: approval.approval_id,
  grant_hash: approval.grant_hash,
  job_hash: approval.job_hash,
  policy_snapshot: shortForm(approval.snapshot),
})

/** On record at once, its repeats counted: who is refused could else fill the log by asking again. Throws the problem. */
async function refuse(world: World, caller: Caller, approval: Approval, job: Job, problem: Problem): Promise<never> {
  const { tenant, job_id, approval_id, grant_hash } = approval
  const now = world.clock.now()
  const refused = { kind: 'approval.refused', tenant, actor: caller.principal, job_id, approval_id } as const
  const fact = jobFact('approval.refused', job, now, caller.principal, {
    approval_id,
    error_code: problem.code,
    grant_hash,
  })
  const write = () => world.ledger.record(tenant, [fact])
  await world.refusals.onRecord({ ...refused, error_code: problem.code }, now, write)
  throw problem
}

async function assertOpen(
  world: World,
  caller: Caller,
  approval: Approval,
  job: Job,
  { kind, echo }: Said,
  now: number,
): Promise<void> {
  const mayLackEcho = kind === 'reject' || kind === 'changes'
  const echoed = mayLackEcho && echo.grant_hash === undefined ? true : await isEcho(world.db, approval, echo)
  if (!echoed) await refuse(world, caller, approval, job, new Problem('approval_stale', undefined, seenOf(approval)))
  const { approval_id } = approval
  if (approval.status !== 'pending' || job.status !== 'pending_approval')
    throw new Problem('approval_closed', `The approval is ${approval.status}`, { approval_id })
  if (approval.expires_at <= now) throw new Problem('approval_closed', 'The approval has expired', { approval_id })
}

/** As what this person is asked. Throws Problem `self_approval`, `not_an_approver`, `approval_closed`. */
async function capacityOf(world: World, caller: Caller, asked: Asked, said: Said): Promise<Capacity> {
  const { approval, job, people, keyMakers, now } = asked
  const answer = said.kind === 'approve' || said.kind === 'edit' ? 'approve' : 'reject'
  // Who edits what they approved before says yes to something else.
  const question = said.kind === 'edit' ? { ...approval, answers: [] } : approval
  const standing = mayAnswerNow(question, answer, caller, people, keyMakers, now)
  if ('capacity' in standing) return standing.capacity
  const { refused, why } = standing
  if (refused === 'answered') throw new Problem('approval_closed', why, { approval_id: approval.approval_id })
  const from = approval.specs.flatMap((spec) => spec.from)
  const problem = refused === 'self_approval' ? new Problem(refused, why) : new Problem(refused, why, { from })
  return refuse(world, caller, approval, job, problem)
}

type Unbound = Omit<Intent, 'gate'>
type Next =
  | { kind: 'answered'; intent: Unbound; approval: Approval; queued: boolean }
  | { kind: 'rebound'; intent: Unbound; decision: Decision; approval: Approval; queued: boolean }

function rejected({ approval, job, now }: Asked, given: Answer, wantsChanges: boolean): Next {
  const moved = move(job, 'reject', now, { status_reason: wantsChanges ? 'changes_requested' : 'rejected' })
  const closed: Approval = {
    ...approval,
    version: approval.version + 1,
    status: 'rejected',
    answers: [...approval.answers, given],
    asked_of: [],
    due_at: null,
  }
  const facts = [
    jobFact('approval.rejected', job, now, given.by, {
      approval_id: approval.approval_id,
      note: given.note,
      grant_hash: approval.grant_hash,
      ...(wantsChanges ? { wants: 'changes' } : {}),
      ...spokenAs(given),
    }),
    jobFact('job.rejected', moved.job, now, given.by, moved.changed),
  ]
  const rows = { updateJobs: [moved.job], updateApprovals: [closed] }
  const intent: Unbound = { tenant: job.tenant, alone: [job.job_id], rows, facts }
  return { kind: 'answered', queued: false, approval: closed, intent }
}

/** In whose place, and through what, where not by the person with a key of their own. */
const spokenAs = ({ for: absent, via }: Answer): Record<string, string> => ({
  ...(absent === undefined ? {} : { for: absent }),
  ...(via === undefined ? {} : { via }),
})

async function standingOf(world: World, { active, job, now }: Asked) {
  const standing = standingAt('approve', now, await world.agents.of(active.gate, job.agent), job.job_id)
  const drawings = await world.rollouts.under(active)
  const drawn = drawings.held(job)
  if (drawn !== null) standing.drawn = drawn
  Object.assign(standing, await world.halts.of(active.gate, job))
  return { standing, policy: drawings.policyFor(drawn) }
}

async function approved(world: World, asked: Asked, given: Answer): Promise<Next> {
  const { people, approval, job, now } = asked
  const claim = claimOf(job, await loadPayload(world.db, job))
  const { standing, policy } = await standingOf(world, asked)
  const decision = decide(policy, claim, standing)
  if (decision.outcome === 'wait') throw refusal(decision)
  const decision_id = world.ids.id('dec', now)
  const row = decisionAbout(job, claim, decision, standing, decision_id)
  const base = { tenant: job.tenant, alone: [job.job_id] }
  // The snapshot moved since the question was put: denied now, or not what this person saw.
  if (decision.outcome === 'deny' || decision.grant_hash !== approval.grant_hash) {
    const made = { approval_id: world.ids.id('apr', now), decision_id, people }
    const rebound = rebind(approval, job, decision, made, now)
    const rows = {
      updateJobs: [rebound.job],
      updateApprovals: [rebound.approval],
      insertApprovals: rebound.opened === null ? [] : [rebound.opened],
      decisions: [row],
    }
    return {
      kind: 'rebound',
      decision,
      approval: rebound.opened ?? rebound.approval,
      queued: rebound.job.status === 'queued',
      intent: { ...base, rows, facts: rebound.facts },
    }
  }
  const step = counted({ ...approval, answers: [...approval.answers, given] }, given, people, now)
  const moved = step.whole ? move(job, 'approve', now, queuedBy(job, decision, decision_id, now)) : touch(job, now)
  const facts = [yesFact(job, step.approval, given, step.whole), ...climbedFacts(job, step, now)]
  if (step.whole) facts.push(jobFact('job.queued', moved.job, now, given.by, moved.changed))
  return {
    kind: 'answered',
    queued: step.whole,
    approval: step.approval,
    intent: { ...base, rows: { updateJobs: [moved.job], updateApprovals: [step.approval], decisions: [row] }, facts },
  }
}

/** The approval with this yes in it. Throws Problem `approval_closed` where the yes would serve no level that is open. */
function counted(approval: Approval, given: Answer, people: People, now: number): Advanced & { whole: boolean } {
  const { counted, open } = tally(approval)
  if (!counted.has(given)) {
    const why = 'With four eyes nobody serves two levels: another person is needed'
    throw new Problem('approval_closed', why, { approval_id: approval.approval_id })
  }
  const answers = approval.answers.filter((each) => counted.has(each))
  const whole = open.length === 0
  const next: Approval = { ...approval, version: approval.version + 1, answers }
  if (whole) Object.assign(next, { status: 'approved', valid_until: validUntil(approval.specs, now) })
  return { ...advance(next, people, now), whole }
}

function queuedBy(job: Job, decision: Decision, decision_id: string, now: number): Partial<Job> {
  const due_at = Math.max(now, job.not_before ?? 0)
  return { ...verdictOf(decision, decision_id), due_at, queue_deadline: due_at + job.queue_timeout_ms }
}

function yesFact(job: Job, approval: Approval, given: Answer, complete: boolean): Fact {
  return jobFact('approval.approved', job, given.at, given.by, {
    approval_id: approval.approval_id,
    grant_hash: approval.grant_hash,
    snapshot: approval.snapshot,
    rules: joined(approval.rules),
    note: given.note,
    role: given.role,
    team: given.team,
    key_id: given.key_id,
    complete,
    ...(given.as === undefined ? {} : { as: joined(given.as) }),
    ...spokenAs(given),
  })
}

/** Rungs that were asked because the level that opened has nobody, or too few; and levels that not even those can complete. */
function climbedFacts(job: Job, { approval, climbed, unanswerable }: Advanced, now: number): Fact[] {
  const { approval_id, asked_of, expires_at } = approval
  const told = { approval_id, asked_of: joined(asked_of), expires_at }
  const facts = unanswerableFacts(approval, unanswerable, job, now, 'system:door')
  return climbed.length === 0 ? facts : [jobFact('approval.escalated', job, now, 'system:door', told), ...facts]
}

async function editedNow(world: World, caller: Caller, asked: Asked, given: Answer, input: Json): Promise<Next> {
  // Whoever puts another policy into the question would choose it alone.
  if (isOwn(asked.job.topic))
    throw new Problem('invalid', 'A change of policy is approved as it was asked, or not', {
      faults: [{ path: '/input', message: 'reject this one, and ask for the other' }],
    })
  const { people, approval, job, now, keyMakers } = asked
  const { approval_id } = approval
  if (job.attempt > 0)
    throw new Problem('approval_closed', 'The job has run before: its input stays as it was', { approval_id })
  const before = await loadPayload(world.db, job)
  const paths = inputChanges(before.input, input).map(({ path }) => path)
  if (paths.length === 0) {
    const message = 'is what it was before; approve that instead'
    throw new Problem('invalid', 'The edit changes nothing', { faults: [{ path: '/input', message }] })
  }
  const claim: Claim = { ...claimOf(job, before), input }
  const { standing, policy } = await standingOf(world, asked)
  const decision = decide(policy, claim, standing)
  if (decision.outcome === 'deny') return refuse(world, caller, approval, job, refusal(decision))
  if (decision.outcome === 'wait') throw refusal(decision)
  const payload = payloadOf(world, job, input, now)
  const decision_id = world.ids.id('dec', now)
  const change = { by: given.by, note: given.note, paths, before: job.input_ptr, after: payload.ptr }
  const told = {
    approval_id,
    before: approval.grant_hash,
    grant_hash: decision.grant_hash,
    job_hash: decision.job_hash,
    paths: joined(paths),
    note: given.note,
    input_hash: saltedHash(payload.salt, input),
    ...(await hashOfInput(world, job, before.input)),
    ...spokenAs(given),
  }
  const base = { tenant: job.tenant, alone: [job.job_id] }
  const about = { ...job, input_ptr: payload.ptr }
  const rows = { decisions: [decisionAbout(about, claim, decision, standing, decision_id)], payloads: [payload] }
  if (decision.outcome === 'pass') {
    // Edited so, policy asks nobody: the question is void and the job goes its way.
    const made = { approval_id: world.ids.id('apr', now), decision_id }
    const question = { ...approval, edits: [...approval.edits, { ...change, at: now }] }
    const free = rebind(question, withInput(job, decision, payload.ptr), decision, made, now)
    const facts = [jobFact('approval.edited', job, now, given.by, told), ...free.facts]
    const written = { ...rows, updateJobs: [free.job], updateApprovals: [free.approval] }
    return { kind: 'answered', queued: true, approval: free.approval, intent: { ...base, rows: written, facts } }
  }
  const question = askedAnew(approval, decision, change, decision_id, now)
  // What it is now may ask other people than what it was.
  if (!('capacity' in mayAnswerNow(question, 'approve', caller, people, keyMakers, now))) {
    const from = question.specs.flatMap((spec) => spec.from)
    const problem = new Problem('not_an_approver', 'As edited, the job asks somebody else', { from })
    return refuse(world, caller, approval, job, problem)
  }
  const step = counted({ ...question, answers: [given] }, given, people, now)
  const patch = editedPatch(job, claim, decision, { decision_id, input_ptr: payload.ptr })
  const moved = step.whole
    ? move(job, 'approve', now, { ...patch, ...queuedBy(job, decision, decision_id, now) })
    : touch(job, now, patch)
  const facts = [
    jobFact('approval.edited', job, now, given.by, { ...(step.whole ? {} : moved.changed), ...told }),
    yesFact(job, step.approval, given, step.whole),
    ...climbedFacts(job, step, now),
  ]
  if (step.whole) facts.push(jobFact('job.queued', moved.job, now, given.by, moved.changed))
  const written = { ...rows, updateJobs: [moved.job], updateApprovals: [step.approval] }
  return { kind: 'answered', queued: step.whole, approval: step.approval, intent: { ...base, rows: written, facts } }
}

function payloadOf(world: World, job: Job, input: Json, now: number): PayloadRow {
  return {
    tenant: job.tenant,
    ptr: world.ids.id('ptr', now),
    kind: 'input',
    job_id: job.job_id,
    body: canonical(input),
    salt: Buffer.from(world.ids.bytes(16)).toString('hex'),
    created_at: now,
    expires_at: null,
  }
}

async function hashOfInput(world: World, job: Job, input: Json): Promise<{ input_before?: string }> {
  const stored = job.input_ptr === null ? null : await getPayload(world.db, job.tenant, job.input_ptr)
  return stored === null ? {} : { input_before: saltedHash(stored.salt, input) }
}
