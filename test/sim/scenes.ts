import type { Job } from '../../src/core/job.js'
import { putAbsence } from '../../src/journey/absences.js'
import { edit, requestChanges } from '../../src/journey/approve.js'
import { decisionWithWhy, evaluateDry } from '../../src/journey/explain.js'
import { createGrant, revokeGrant } from '../../src/journey/grants.js'
import { rebaseLeases } from '../../src/journey/sweep.js'
import { timeline } from '../../src/journey/timeline.js'
import { done, type Plan } from './cast.js'
import { CLIMBS, MAIL, SECRET } from './policies.js'
import { AGENTS } from './scenes-agents.js'
import { PEOPLE } from './scenes-people.js'
import { POLICY } from './scenes-policy.js'
import type { Stage } from './stage.js'

/** One use case in one situation: what was there before, and the request whose every point is tried. */
export interface Scene {
  /** File of src/journey, then the situation. */
  name: string
  arrange?(on: Stage): Promise<unknown>
  act(on: Stage): Promise<unknown>
}

const DAY = 86_400_000
const PAY: Partial<Plan> = { keys: ['pay'] }

/** Answers every open question with another input. */
async function editAll(on: Stage, as = on.approver): Promise<void> {
  for (const { approval_id, grant_hash } of await on.pending()) {
    const edited = await on.cast.ask((t) => edit(t.world, as, approval_id, { grant_hash, input: { n: 'edited' } }))
    if (done(edited)) on.cast.history.expects(`edit of ${approval_id}`, { kind: 'approval.edited', approval_id })
  }
}

async function grantOf(on: Stage, uses = 3): Promise<void> {
  const made = await on.cast.ask((t) =>
    createGrant(t.world, on.approver, {
      agent: on.agent.principal,
      topic: 'job.ask.*',
      uses,
      expires_at: on.cast.sim.now() + DAY,
      reason: 'routine',
    }),
  )
  if (done(made)) on.cast.history.expects(`grant ${made.grant_id}`, { kind: 'grant.created', grant_id: made.grant_id })
}

async function revokeGrants(on: Stage): Promise<void> {
  for (const { grant_id } of await on.cast.rows<{ grant_id: string }>('grants')) {
    const revoked = await on.cast.ask((t) => revokeGrant(t.world, on.approver, grant_id))
    if (done(revoked)) on.cast.history.expects(`end of ${grant_id}`, { kind: 'grant.revoked', grant_id })
  }
}

/** Somebody can be away only where they are known: by a key. */
async function declareReviewers(on: Stage): Promise<void> {
  for (const reviewer of [on.cast.seen.approver, on.cast.seen.otherApprover]) await on.cast.createKey(reviewer)
}

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
    name: 'dispatch: stopped',
    arrange: async (on) => {
      await on.submit()
      await on.cast.stop()
    },
    act: (on) => on.claim(),
  },
  {
    name: 'stop: with work running and an effect begun',
    arrange: async (on) => {
      await on.lease()
      await on.work({ ...PAY, stops: 1 })
    },
    act: (on) => on.cast.stop(),
  },
  {
    name: 'resume: asked for',
    arrange: (on) => on.cast.stop(),
    act: (on) => on.cast.resume('trial', on.cast.seen.operator),
  },
  {
    name: 'resume: carried out by another',
    arrange: async (on) => {
      await on.submit()
      await on.cast.stop()
      await on.cast.resume('trial', on.cast.seen.operator)
    },
    act: (on) => on.cast.resume('trial', on.cast.seen.admin),
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
    act: (on) => on.late(),
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
  { name: 'approve: edited', arrange: (on) => on.asked(), act: (on) => editAll(on) },
  {
    name: 'approve: edited by one of two',
    arrange: async (on) => {
      await on.cast.activate('tight')
      await on.asked()
      await on.answer()
    },
    act: (on) => editAll(on, on.cast.seen.otherApprover),
  },
  {
    name: 'approve: changes requested',
    arrange: (on) => on.asked(),
    act: async (on) => {
      for (const { approval_id } of await on.pending()) {
        const sent = await on.cast.ask((t) => requestChanges(t.world, on.approver, approval_id, { reason: 'name it' }))
        if (done(sent)) on.cast.history.expects(`no to ${approval_id}`, { kind: 'approval.rejected', approval_id })
      }
    },
  },
  {
    name: 'sweep: the next rung is asked',
    arrange: async (on) => {
      await on.cast.ask((t) => t.activate(CLIMBS))
      await on.asked()
      on.cast.sim.advance(600_001)
    },
    act: (on) => on.cast.sweep(),
  },
  { name: 'grants: made', act: (on) => grantOf(on) },
  {
    name: 'grants: revoked, with a job queued by it',
    arrange: async (on) => {
      await grantOf(on)
      await on.asked()
    },
    act: (on) => revokeGrants(on),
  },
  { name: 'submit: by the last use of a grant', arrange: (on) => grantOf(on, 1), act: (on) => on.asked() },
  {
    name: 'dispatch: by a grant',
    arrange: async (on) => {
      await grantOf(on)
      await on.asked()
    },
    act: (on) => on.claim(),
  },
  {
    name: 'dispatch: by a grant that was revoked',
    arrange: async (on) => {
      await grantOf(on)
      await on.asked()
      await revokeGrants(on)
    },
    act: (on) => on.claim(),
  },
  {
    name: 'absences: with a delegate',
    arrange: (on) => declareReviewers(on),
    act: async (on) => {
      const body = { from: on.cast.sim.now(), until: on.cast.sim.now() + DAY, delegate: 'person:ben' }
      const said = await on.cast.ask((t) => putAbsence(t.world, on.cast.seen.admin, 'person:ann', body))
      if (done(said)) on.cast.history.expects('absence', { kind: 'absence.declared', principal: 'person:ann' })
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
  ...POLICY,
  ...PEOPLE,
  ...AGENTS,
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
    after(301_000, 'who has not answered is reminded', (on) => on.asked()),
    after(601_000, 'an unanswered question', (on) => on.asked()),
    after(3_601_000, 'a dead letter nobody answered for', async (on) => {
      await on.lease()
      await on.work({ fails: 'terminal' })
    }),
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
