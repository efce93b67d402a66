import type { Accepted, Shadowed, SubmitJob } from '../contract/jobs.js'
import type { Caller } from '../core/access.js'
import { admit, claimFrom, type OnBehalf } from '../core/admit.js'
import { joined } from '../core/audit.js'
import { checkedId, isSpotCheck, owedKey, owesCheck } from '../core/autonomy.js'
import { shortForm } from '../core/binding.js'
import { canonical, digestOf, saltedHash } from '../core/canonical.js'
import { type Decision, decide, limitKeys, refusal, type Standing, standingAt } from '../core/door.js'
import { NOBODY, type People } from '../core/flow.js'
import { useKey } from '../core/grant.js'
import { type Claim, decisionIdOf } from '../core/job.js'
import type { Json } from '../core/json.js'
import { isOwn } from '../core/policy/change.js'
import type { CompiledPolicy } from '../core/policy/compile.js'
import { validateInput } from '../core/policy/evaluate.js'
import { topicMatches } from '../core/policy/topics.js'
import { Problem } from '../errors.js'
import { decisionRow } from '../store/decisions.js'
import { getIdempotent } from '../store/idempotency.js'
import { activeFor, gateMoved } from '../store/keys.js'
import type { Intent } from '../store/ledger/inbox.js'
import { releases, type Spend } from '../store/ledger/write.js'
import { rateSpends } from '../store/limits.js'
import { type PayloadRow, pointerTo } from '../store/payloads.js'
import type { Active } from '../store/policies.js'
import { loadCounters } from '../store/standing.js'
import type { World } from '../store/world.js'

export interface Admitted {
  answer: Accepted
  /** True when an earlier request with the same idempotency key was answered so. */
  replayed: boolean
}
/** The agent is in the shadow: what would have been is recorded, and there is no job. */
export interface InShadow {
  answer: Shadowed
  replayed: false
}
export type Submitted = Admitted | InShadow

/** One submit, and what the door made of it. */
interface Asked {
  caller: Caller
  body: SubmitJob
  /** If it becomes a job. */
  job_id: string
  run_id: string
  active: Active
  claim: Claim
  standing: Standing
  decision: Decision
  behalf: OnBehalf | null
}

/** A node that loses this often against gate, limits or keys is told to come back rather than spin. */
const TRIES = 8

/**
 * The first door. Answers only when the commit is durable. A denial is recorded with its decision and no job row, and thrown
 * as Problem `policy_denied` or `out_of_scope`; a full limit as `rate_limited`.
 * @param beforeDenial called before a denial goes to the ledger; what it throws is the answer, and nothing is recorded
 */
export async function submit(
  world: World,
  caller: Caller,
  body: SubmitJob,
  idempotencyKey: string | null,
  beforeDenial: () => void = () => {},
): Promise<Submitted> {
  if (isOwn(body.topic)) throw new Problem('topic_refused', `${body.topic} is submitted by the plane itself`)
  return admitted(world, caller, body, idempotencyKey, beforeDenial)
}

/**
 * What somebody asks of the plane itself, as the plane puts it: of its own topics nobody else writes the input, so what rules and reviewers
 * read in it is so.
 */
export function submitOwn(
  world: World,
  caller: Caller,
  body: SubmitJob,
  idempotencyKey: string | null,
  behalf: OnBehalf | null = null,
): Promise<Submitted> {
  return admitted(world, caller, body, idempotencyKey, () => {}, behalf)
}

async function admitted(
  world: World,
  caller: Caller,
  body: SubmitJob,
  idempotencyKey: string | null,
  beforeDenial: () => void,
  behalf: OnBehalf | null = null,
): Promise<Submitted> {
  permitted(caller, body)
  const request_hash = idempotencyKey === null ? '' : digestOf('request', body as Json)
  const earlier = async () => (idempotencyKey === null ? null : replayOf(world, caller, idempotencyKey, request_hash))
  for (let tries = 0; tries < TRIES; tries++) {
    const active = await activeFor(world, caller)
    const { claim, standing, policy, job_id, run_id } = await load(world, caller, active, body, behalf)
    const decision = decide(policy, claim, standing)
    const asked: Asked = { caller, body, job_id, run_id, active, claim, standing, decision, behalf }
    if (decision.outcome !== 'pass' && decision.outcome !== 'park') {
      // A repeat is answered as the first time, whatever policy says by now.
      const first = await earlier()
      if (first !== null) return first
    }
    if (decision.outcome === 'deny') {
      // No rule said no, the input only does not fit its schema: that the caller can mend, path by path. What a rule denies is
      // recorded as denied even when its input is also malformed.
      const isSaidByRule =
        decision.evaluation.decided_by !== null ||
        decision.missing.length > 0 ||
        decision.halt !== null ||
        decision.withheld !== null
      const faults = isSaidByRule ? [] : validateInput(active.policy, claim)
      if (faults.length > 0)
        throw new Problem('invalid', 'The input does not fit the schema of its job class', {
          faults: faults.map((f) => ({ path: `/input${f.path}`, message: f.message })),
        })
      beforeDenial()
      await refuse(world, asked)
      continue
    }
    if (decision.outcome === 'shadow') {
      const answer = await shadow(world, asked)
      if (answer !== null) return { answer, replayed: false }
      continue
    }
    if (decision.wait !== null) {
      world.refusals.add(
        { kind: 'limit.refused', tenant: claim.tenant, actor: claim.agent, rules: decision.wait.rule },
        standing.now,
      )
      throw new Problem('rate_limited', `Rule ${decision.wait.rule} lets no more through now`, {
        retry_after_ms: decision.wait.retry_after_ms,
        rules: [decision.wait.rule],
      })
    }
    const parks = decision.outcome === 'park'
    const people = parks ? await world.people.of(active.gate, [claim.agent, caller.principal]) : NOBODY
    const { intent, answer } = accept(world, asked, people, idempotencyKey, request_hash)
    const receipt = await world.ledger.commit(intent)
    if (receipt.ok) {
      if (answer.status === 'queued') world.bus.hint(claim.tenant, claim.topic)
      return { answer, replayed: false }
    }
    if (receipt.why === 'idempotency') {
      const first = await earlier()
      if (first !== null) return first
    }
    if (receipt.why === 'gate') await gateMoved(world, caller)
  }
  throw new Problem('overloaded', 'Policy or limits changed faster than this could be decided', {
    retry_after_ms: 1000,
  })
}

/** Throws Problem `act_as_refused`, `topic_refused`, `run_refused`. */
function permitted(caller: Caller, body: SubmitJob): void {
  const agent = body.agent ?? caller.principal
  if (agent !== caller.principal && !caller.act_as.includes(agent))
    throw new Problem('act_as_refused', `This key is ${caller.principal} and may not act as ${agent}`)
  if (caller.topics !== null && !caller.topics.some((pattern) => topicMatches(pattern, body.topic)))
    throw new Problem('topic_refused', `This key is not bound to ${body.topic}`, { topics: caller.topics })
  if (caller.run_id !== undefined && body.run_id !== caller.run_id)
    throw new Problem('run_refused', `This token submits into the run ${caller.run_id} only`, { run_id: caller.run_id })
}

async function load(
  world: World,
  { tenant, principal, team }: Caller,
  active: Active,
  body: SubmitJob,
  behalf: OnBehalf | null,
): Promise<{ claim: Claim; standing: Standing; policy: CompiledPolicy; job_id: string; run_id: string }> {
  const agent = body.agent ?? principal
  const known = await world.agents.of(active.gate, agent)
  const by = {
    tenant,
    agent,
    agent_version: known?.version ?? null,
    team: behalf?.team ?? (agent === principal ? team : null),
  }
  const now = world.clock.now()
  const run_id = body.run_id ?? world.ids.id('run', now)
  const asking = claimFrom(by, body)
  const { claim, policy, ...drawing }: Drawing =
    behalf === null ? await drawn(world, active, asking, body, run_id, now) : { claim: asking, policy: active.policy }
  const halts = await world.halts.of(active.gate, { ...claim, requested_by: principal })
  const keys = limitKeys(policy, claim, now, { ...halts, agent: known, drawn: drawing.drawn })
  const check = known?.stage?.stage === 'assisted' ? known.stage.spot_check : null
  if (check !== null) keys.push(owedKey(agent))
  const counters = keys.length > 0 ? await loadCounters(world.db, tenant, keys) : {}
  // Before the door is asked: what it draws for the job, it draws from the id.
  const next = () => world.ids.id('job', now)
  const job_id = check !== null && owesCheck(agent, counters) ? checkedId(next, check) : next()
  const standing = { ...standingAt('submit', now, known, job_id), ...halts, counters, ...drawing }
  const grants = await world.grants.covering(active.gate, claim, principal, now, behalf?.barred)
  if (grants.length > 0) standing.grants = grants
  return { claim, standing, policy, job_id, run_id }
}

type Drawing = { claim: Claim; policy: CompiledPolicy } & Partial<
  Pick<Standing, 'drawn' | 'slice' | 'run_id' | 'said_version'>
>

/** Who does it, where a rollout is about it: then the version is the one that was drawn, and for the slice of a policy its own snapshot decides. */
async function drawn(
  world: World,
  active: Active,
  claim: Claim,
  body: SubmitJob,
  run_id: string,
  now: number,
): Promise<Drawing> {
  const said = body.agent_version ?? null
  const drawings = await world.rollouts.under(active)
  const drawing = drawings.of(claim, { run_id, said, now })
  if (drawing === null) return { claim, policy: active.policy }
  const { drawn, slice, version } = drawing
  return {
    claim: version === undefined ? claim : { ...claim, agent_version: version },
    policy: drawings.policyFor(drawn),
    drawn,
    slice,
    run_id,
    said_version: said,
  }
}

async function replayOf(world: World, caller: Caller, key: string, request_hash: string): Promise<Submitted | null> {
  const row = await getIdempotent(world.db, caller.tenant, caller.principal, key)
  if (row === null) return null
  if (row.request_hash !== request_hash) throw new Problem('idempotency_conflict')
  return { answer: row.answer as unknown as Accepted, replayed: true }
}

/** Records the denial and throws it; returns only when the gate moved meanwhile, so that it is decided again. */
async function refuse(world: World, asked: Asked): Promise<void> {
  const decision_id = await keep('job.denied', world, asked)
  if (decision_id !== null) throw refusal(asked.decision, { decision_id })
}

/** Records what would have been; null when the gate moved meanwhile. */
async function shadow(world: World, asked: Asked): Promise<Shadowed | null> {
  const decision_id = await keep('job.shadowed', world, asked)
  if (decision_id === null) return null
  const { decision } = asked
  const { reason, rules, snapshot, job_hash } = decision
  return {
    status: 'shadowed',
    decision: decision.decision,
    decision_id,
    reason,
    rules,
    constraints: decision.evaluation.constraints as Record<string, Json>,
    policy_snapshot: shortForm(snapshot),
    job_hash,
  }
}

/** A decision that leaves no job, with its claim and entry. Its id, or null when the gate moved meanwhile. */
async function keep(kind: 'job.denied' | 'job.shadowed', world: World, asked: Asked): Promise<string | null> {
  const { caller, body, active, claim, standing, decision } = asked
  const { now } = standing
  const run_id = body.run_id ?? null
  const decision_id = world.ids.id('dec', now)
  const { payloads, input_ptr, context_ptr, input_hash } = payloadsOf(world, claim, null, now)
  const { input: _input, context: _context, ...said } = claim
  const receipt = await world.ledger.commit({
    tenant: claim.tenant,
    gate: active.gate,
    by: caller.key_id,
    alone: [],
    rows: {
      payloads,
      decisions: [
        { ...decisionRow(claim, decision, standing, decision_id), claim: said, input_ptr, context_ptr, run_id },
      ],
    },
    spends: kind === 'job.shadowed' ? rateSpends(claim.tenant, decision.evaluation.limits, 'submit', now) : [],
    facts: [
      {
        kind,
        tenant: claim.tenant,
        at: now,
        actor: caller.principal,
        agent: claim.agent,
        topic: claim.topic,
        // It leaves no job, but it belongs to the run it was asked in.
        run_id,
        decision_id,
        decision: decision.decision,
        reason: decision.reason,
        rules: joined(decision.rules),
        snapshot: decision.snapshot,
        job_hash: decision.job_hash,
        high_risk: decision.evaluation.high_risk,
        ...(input_hash === null ? {} : { input_hash }),
        ...(decision.drawn === null ? {} : { rollout_id: decision.drawn.rollout_id, variant: decision.drawn.variant }),
      },
    ],
  })
  if (receipt.ok) return decision_id
  await gateMoved(world, caller)
  return null
}

function accept(
  world: World,
  { caller, body, job_id, run_id, active, claim, standing, decision, behalf }: Asked,
  people: People,
  idempotencyKey: string | null,
  request_hash: string,
): { intent: Intent; answer: Accepted } {
  const { now } = standing
  const { payloads, input_ptr, context_ptr, input_hash } = payloadsOf(world, claim, job_id, now)
  const made = {
    job_id,
    run_id,
    decision_id: decisionIdOf(job_id),
    approval_id: world.ids.id('apr', now),
    requested_by: caller.principal,
    priority: body.priority ?? 5,
    input_ptr,
    context_ptr,
    input_hash,
    revises: body.revises,
    people,
    raised_by: behalf?.raised_by ?? null,
  }
  const { job, approval, facts } = admit(claim, decision, standing, made)
  const answer: Accepted = {
    job_id,
    status: job.status,
    decision: decision.decision,
    decision_id: made.decision_id,
    reason: decision.reason,
    rules: decision.rules,
    constraints: job.constraints,
    policy_snapshot: shortForm(decision.snapshot),
    job_hash: decision.job_hash,
    run_id: job.run_id,
    ...(decision.granted_by === null ? {} : { granted_by: decision.granted_by }),
    ...(approval === null ? {} : { approval_id: approval.approval_id, grant_hash: approval.grant_hash }),
  }
  const beside = behalf?.beside(answer, now) ?? { compensations: [], facts: [] }
  const intent: Intent = {
    tenant: claim.tenant,
    gate: active.gate,
    by: caller.key_id,
    alone: [
      ...(idempotencyKey === null ? [] : [`idempotency/${caller.tenant}/${caller.principal}/${idempotencyKey}`]),
      ...(behalf === null ? [] : [behalf.alone]),
    ],
    rows: {
      compensations: beside.compensations,
      insertJobs: [job],
      payloads,
      decisions: [{ ...decisionRow(claim, decision, standing, made.decision_id), job_id, input_ptr, context_ptr }],
      insertApprovals: approval === null ? [] : [approval],
      idempotency:
        idempotencyKey === null
          ? []
          : [
              {
                tenant: claim.tenant,
                principal: caller.principal,
                key: idempotencyKey,
                request_hash,
                answer: answer as unknown as Json,
                created_at: now,
              },
            ],
    },
    spends: [
      ...checkSpend(claim, decision, standing),
      ...rateSpends(claim.tenant, decision.evaluation.limits, 'submit', now),
      ...grantSpend(claim, decision, standing),
    ],
    facts: [...facts, ...beside.facts],
  }
  return { intent, answer }
}

/** It is the check that was owed. */
function checkSpend({ tenant, agent }: Claim, decision: Decision, { counters, now }: Standing): Spend[] {
  const isOwed = owesCheck(agent, counters) && isSpotCheck({ ...decision, agent })
  return isOwed ? releases(tenant, [owedKey(agent)], now) : []
}

/** The use of a grant that this job takes: racing nodes never take more than there are. */
function grantSpend({ tenant }: Claim, { granted_by }: Decision, { grants, now }: Standing): Spend[] {
  const grant = grants?.find(({ grant_id }) => grant_id === granted_by)
  if (grant === undefined) return []
  return [
    { tenant, key: useKey(grant.grant_id), kind: 'held', max: grant.uses, window_start: 0, period_ms: 1, at: now },
  ]
}

/** Input and context with a salt each; the log gets the input's salted hash only, so both can be erased. */
function payloadsOf(
  world: World,
  claim: Claim,
  job_id: string | null,
  now: number,
): { payloads: PayloadRow[]; input_ptr: string | null; context_ptr: string | null; input_hash: string | null } {
  const payloads: PayloadRow[] = []
  const keep = (kind: 'input' | 'context', value: Json): PayloadRow | null => {
    if (value === null) return null
    const row: PayloadRow = {
      tenant: claim.tenant,
      ptr: job_id === null ? world.ids.id('ptr', now) : pointerTo(job_id, kind),
      kind,
      job_id,
      body: canonical(value),
      salt: Buffer.from(world.ids.bytes(16)).toString('hex'),
      created_at: now,
      expires_at: null,
    }
    payloads.push(row)
    return row
  }
  const input = keep('input', claim.input)
  const context = keep('context', claim.context)
  return {
    payloads,
    input_ptr: input?.ptr ?? null,
    context_ptr: context?.ptr ?? null,
    input_hash: input === null ? null : saltedHash(input.salt, claim.input),
  }
}
