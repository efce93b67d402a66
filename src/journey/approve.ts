import type { Approve, Reject } from '../contract/approvals.js'
import type { Caller } from '../core/access.js'
import { verdictOf } from '../core/admit.js'
import { type Answer, type Approval, isSatisfied, mayAnswer, validUntil } from '../core/approval.js'
import { joined } from '../core/audit.js'
import { shortForm } from '../core/binding.js'
import { type Decision, decide, refusal, standingAt } from '../core/door.js'
import { jobFact } from '../core/facts.js'
import { claimOf, type Job, move, touch } from '../core/job.js'
import { rebind } from '../core/rebind.js'
import { Problem } from '../errors.js'
import { getApproval, pendingHashesLike } from '../store/approvals.js'
import { decisionAbout } from '../store/decisions.js'
import { getJob, loadPayload } from '../store/jobs.js'
import { activeFor, findKey, gateMoved, isEnded } from '../store/keys.js'
import type { Intent } from '../store/ledger/inbox.js'
import type { World } from '../store/world.js'

const TRIES = 6

/**
 * A person's answer. It echoes what was seen: a wrong echo is reported first, then self-approval, then whether this person
 * was asked at all. A yes asks the door first: a DENY now wins, whatever was allowed when the question was put.
 * Throws Problem `not_found`, `approval_closed`, `approval_stale`, `self_approval`, `not_an_approver`, `policy_denied`.
 */
export async function approve(world: World, caller: Caller, approval_id: string, body: Approve): Promise<Approval> {
  return answer(world, caller, approval_id, 'approve', body, body.note ?? null)
}

/** A no needs no echo: it can only make things safer. One given is checked all the same. */
export async function reject(world: World, caller: Caller, approval_id: string, body: Reject): Promise<Approval> {
  return answer(world, caller, approval_id, 'reject', { grant_hash: body.grant_hash }, body.reason)
}

async function answer(
  world: World,
  caller: Caller,
  approval_id: string,
  said: 'approve' | 'reject',
  echo: Approve,
  note: string | null,
): Promise<Approval> {
  for (let tries = 0; tries < TRIES; tries++) {
    const approval = await getApproval(world.db, caller.tenant, approval_id)
    if (approval === null) throw new Problem('not_found')
    const job = await getJob(world.db, caller.tenant, approval.job_id)
    if (job === null) throw new Problem('not_found')
    const now = world.clock.now()
    await assertAnswerable(world, caller, approval, job, said, echo, now)
    const given: Answer = {
      by: caller.principal,
      role: caller.role,
      team: caller.team,
      key_id: caller.key_id,
      answer: said,
      at: now,
      note,
    }
    const next =
      said === 'reject' ? rejected(approval, job, given, now) : await approved(world, caller, approval, job, given, now)
    const receipt = await world.ledger.commit(next.intent)
    if (receipt.ok) {
      if (next.queued) world.bus.hint(job.tenant, job.topic)
      if (next.kind === 'answered') return next.approval
      throw outdated(next.decision, next.approval)
    }
    if (receipt.why === 'gate') await gateMoved(world, caller)
  }
  throw new Problem('overloaded', 'The approval changed faster than it could be answered', { retry_after_ms: 200 })
}

function outdated(decision: Decision, approval: Approval): Problem {
  if (decision.outcome === 'deny') return refusal(decision)
  return new Problem('approval_stale', 'Policy changed: this is no longer what would be approved', {
    approval_id: approval.approval_id,
    grant_hash: approval.grant_hash,
    job_hash: approval.job_hash,
    policy_snapshot: shortForm(approval.snapshot),
  })
}

async function assertAnswerable(
  world: World,
  caller: Caller,
  approval: Approval,
  job: Job,
  said: 'approve' | 'reject',
  echo: Approve,
  now: number,
): Promise<void> {
  const refuse = async (problem: Problem) => {
    const { tenant, job_id, approval_id } = approval
    const refused = { kind: 'approval.refused', tenant, actor: caller.principal, job_id, approval_id } as const
    const fact = jobFact('approval.refused', job, now, caller.principal, {
      approval_id: approval.approval_id,
      error_code: problem.code,
      grant_hash: approval.grant_hash,
    })
    // Written at once, its repeats counted: who is refused could else fill the log by asking again.
    const write = () => world.ledger.record(tenant, [fact])
    await world.refusals.onRecord({ ...refused, error_code: problem.code }, now, write)
    throw problem
  }
  const seen = {
    approval_id: approval.approval_id,
    grant_hash: approval.grant_hash,
    job_hash: approval.job_hash,
    policy_snapshot: shortForm(approval.snapshot),
  }
  const echoed = said === 'reject' && echo.grant_hash === undefined ? true : await echoes(world, approval, echo)
  if (!echoed) await refuse(new Problem('approval_stale', undefined, seen))
  if (approval.status !== 'pending' || job.status !== 'pending_approval')
    throw new Problem('approval_closed', `The approval is ${approval.status}`, { approval_id: approval.approval_id })
  if (approval.expires_at <= now)
    throw new Problem('approval_closed', 'The approval has expired', { approval_id: approval.approval_id })
  if ([approval.requested_by, approval.raised_by, approval.agent].includes(caller.principal))
    await refuse(new Problem('self_approval'))
  if (!approval.specs.some((spec) => mayAnswer(spec, caller)))
    await refuse(new Problem('not_an_approver', undefined, { from: approval.specs.flatMap((s) => s.from) }))
  if (approval.answers.some((a) => a.by === caller.principal && a.answer === 'approve') && said === 'approve')
    throw new Problem('approval_closed', 'You have approved this already; another person is needed', {
      approval_id: approval.approval_id,
    })
}

/** By grant hash, or job hash and snapshot together; short forms only while they name one thing. */
async function echoes(world: World, approval: Approval, echo: Approve): Promise<boolean> {
  const same = (given: string, hash: string) =>
    given.startsWith('v1:') ? hash.startsWith(given.slice(3)) : given === hash
  if (echo.grant_hash !== undefined) {
    if (!same(echo.grant_hash, approval.grant_hash)) return false
    const alike = await pendingHashesLike(world.db, approval.tenant, [approval.grant_hash])
    return alike.every((hash) => hash === approval.grant_hash || !same(echo.grant_hash as string, hash))
  }
  if (echo.job_hash === undefined || echo.policy_snapshot === undefined) return false
  return same(echo.job_hash, approval.job_hash) && same(echo.policy_snapshot, approval.snapshot)
}

type Next =
  | { kind: 'answered'; intent: Intent; approval: Approval; queued: boolean }
  | { kind: 'rebound'; intent: Intent; decision: Decision; approval: Approval; queued: boolean }

function rejected(approval: Approval, job: Job, given: Answer, now: number): Next {
  const moved = move(job, 'reject', now, { status_reason: 'rejected' })
  const closed: Approval = {
    ...approval,
    version: approval.version + 1,
    status: 'rejected',
    answers: [...approval.answers, given],
  }
  const facts = [
    jobFact('approval.rejected', job, now, given.by, {
      approval_id: approval.approval_id,
      note: given.note,
      grant_hash: approval.grant_hash,
    }),
    jobFact('job.rejected', moved.job, now, given.by, moved.changed),
  ]
  return {
    kind: 'answered',
    queued: false,
    approval: closed,
    intent: {
      tenant: job.tenant,
      gate: null,
      alone: [job.job_id],
      rows: { updateJobs: [moved.job], updateApprovals: [closed] },
      facts,
    },
  }
}

async function approved(
  world: World,
  caller: Caller,
  approval: Approval,
  job: Job,
  given: Answer,
  now: number,
): Promise<Next> {
  const active = await activeFor(world, caller)
  const claim = claimOf(job, await loadPayload(world.db, job))
  const standing = standingAt('approve', now, await world.agents.of(active.gate, job.agent))
  const decision = decide(active.policy, claim, standing)
  const decision_id = world.ids.id('dec', now)
  const row = decisionAbout(job, claim, decision, standing, decision_id)
  const base = { tenant: job.tenant, gate: active.gate, alone: [job.job_id] }
  // The snapshot moved since the question was put: denied now, or not what this person saw.
  if (decision.outcome === 'deny' || decision.grant_hash !== approval.grant_hash) {
    const rebound = rebind(approval, job, decision, { approval_id: world.ids.id('apr', now), decision_id }, now)
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
  const answers = [...(await ofStandingKeys(world, approval.answers)), given]
  const whole = isSatisfied(approval.specs, answers)
  const next: Approval = {
    ...approval,
    version: approval.version + 1,
    answers,
    ...(whole ? { status: 'approved' as const, valid_until: validUntil(approval.specs, now) } : {}),
  }
  const due_at = Math.max(now, job.not_before ?? 0)
  const moved = whole
    ? move(job, 'approve', now, {
        ...verdictOf(decision, decision_id),
        due_at,
        queue_deadline: due_at + job.queue_timeout_ms,
      })
    : touch(job, now)
  const facts = [
    jobFact('approval.approved', job, now, given.by, {
      approval_id: approval.approval_id,
      grant_hash: approval.grant_hash,
      snapshot: approval.snapshot,
      rules: joined(approval.rules),
      note: given.note,
      role: given.role,
      team: given.team,
      key_id: given.key_id,
      complete: whole,
    }),
  ]
  if (whole) facts.push(jobFact('job.queued', moved.job, now, given.by, moved.changed))
  return {
    kind: 'answered',
    queued: whole,
    approval: next,
    intent: { ...base, rows: { updateJobs: [moved.job], updateApprovals: [next], decisions: [row] }, facts },
  }
}

/** Earlier answers less those of keys that were revoked since: who was shut out has no say any more. */
async function ofStandingKeys(world: World, answers: readonly Answer[]): Promise<Answer[]> {
  const rows = await Promise.all(answers.map((answer) => findKey(world.db, answer.key_id)))
  return answers.filter((_, i) => !rows[i] || !isEnded(rows[i]))
}
