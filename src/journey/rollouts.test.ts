import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import { codeOf, openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { bucketOf } from '../core/rollout/assign.js'
import { getJob } from '../store/jobs.js'
import { getRollout } from '../store/rollouts.js'
import { getGate } from '../store/standing.js'
import { declareRollout, rollBackByTrigger, stepRollout } from './rollouts.js'

const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: do, match: { topic: job.do }, decision: ALLOW }
  - { id: write, match: { topic: job.write }, decision: ALLOW }
  - { id: ask, match: { topic: job.ask }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver] } }
job_classes:
  - { topic: job.do, set: { action_type: read } }
  - { topic: job.ask, set: { action_type: read } }
  - { topic: job.write, set: { action_type: write } }
`
const NAME = 'agent:bot'
const phase = (name: string, share: number, risk = 'mixed', more: object = {}) => ({
  ...{ name, share, risk, min_duration: '1h' },
  gate: { window: '10m', checks: { unapproved_high_risk_actions: { target_eq: 0 } } },
  ...more,
})
const declaration = (more: Record<string, unknown> = {}) => ({
  rollout: 'bot-2',
  subject: { kind: 'agent', name: NAME, candidate: '2', stable: '1' },
  owners: { reliability: 'sre', governance: 'gov', cost: 'fin' },
  stakeholders: ['team:support'],
  phases: [phase('quarter', 25, 'low_risk'), phase('all', 100)],
  ...more,
})
let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

async function started(more: Record<string, unknown> = {}, policy = POLICY): Promise<{ t: Tenancy; id: string }> {
  const t = await plane.tenant(policy)
  const { rollout_id: id } = await declareRollout(t.world, t.admin, declaration(more))
  await stepRollout(t.world, t.operator, id, { event: 'start' })
  return { t, id }
}
/** Runs of either side of a draw at 25 %. */
function runs(rollout_id: string, count: number, inside: boolean): string[] {
  const found: string[] = []
  for (let n = 0; found.length < count; n++)
    if (bucketOf(rollout_id, `run-${n}`) < 2500 === inside) found.push(`run-${n}`)
  return found
}
const job = (run_id: string, topic = 'job.do', more: object = {}) => ({ topic, run_id, agent: NAME, ...more })
const asBot = (t: Tenancy) => t.caller('agent', NAME)
const submit = (t: Tenancy, run_id: string, topic = 'job.do', more: object = {}) =>
  t.submit(job(run_id, topic, more), null, asBot(t))
const stored = async (t: Tenancy, job_id: string) => {
  const found = await getJob(t.world.db, t.tenant, job_id)
  return found === null ? null : { variant: found.variant, version: found.agent_version, serves: found.serves }
}
const CANDIDATE = { variant: 'candidate', version: '2', serves: 'agent:bot@2' }
const CONTROL = { variant: 'control', version: '1', serves: null }
const claimed = async (t: Tenancy, serves: string[], topics = ['job.do']) =>
  (await t.claim(topics, { capacity: 50, serves })).map((each) => each.job.run_id).sort()

describe(`${proves('G1')} a rollout of an agent`, () => {
  test('draws by run: the same run the same way, each with its version', async () => {
    const { t, id } = await started()
    const [[inner = ''], [outer = '']] = [runs(id, 1, true), runs(id, 1, false)]
    for (let n = 0; n < 3; n++) {
      expect(await stored(t, (await submit(t, inner)).job_id)).toEqual(CANDIDATE)
      expect(await stored(t, (await submit(t, outer)).job_id)).toEqual(CONTROL)
    }
  })

  test('does not let the candidate do what the phase does not admit, however the run is drawn', async () => {
    const { t, id } = await started({ phases: [phase('read', 25, 'read_only'), phase('all', 100)] })
    const [inner = ''] = runs(id, 1, true)
    const { job_id } = await submit(t, inner, 'job.write')
    expect(await stored(t, job_id)).toEqual({ variant: null, version: '1', serves: null })
    expect(await stored(t, (await submit(t, inner, 'job.do', { risk_tags: ['money'] })).job_id)).toMatchObject({
      variant: null,
    })
  })

  test('does nothing while it is a draft, and nothing to other agents', async () => {
    const t = await plane.tenant(POLICY)
    const { rollout_id } = await declareRollout(t.world, t.admin, declaration())
    const [inner = ''] = runs(rollout_id, 1, true)
    expect(await stored(t, (await submit(t, inner)).job_id)).toMatchObject({ variant: null, version: null })
    await stepRollout(t.world, t.operator, rollout_id, { event: 'start' })
    const other = await t.submit({ topic: 'job.do', run_id: inner }, null, t.caller('agent', 'agent:other'))
    expect(await stored(t, other.job_id)).toMatchObject({ variant: null, version: null })
  })

  test('gives the slice to workers that say they serve the candidate, and nothing else to them', async () => {
    const { t, id } = await started()
    const [inner, outer] = [runs(id, 2, true), runs(id, 2, false)]
    for (const run of [...inner, ...outer]) await submit(t, run)
    expect(await claimed(t, [])).toEqual([...outer].sort())
    expect(await claimed(t, ['agent:bot@3'])).toEqual([])
    expect(await claimed(t, ['agent:bot@2'])).toEqual([...inner].sort())
    for (const run of outer) await submit(t, run)
    expect(await claimed(t, ['agent:bot@2'])).toEqual([])
    expect(await claimed(t, ['agent:bot@1'])).toEqual([...outer].sort())
  })

  test('refuses a process of the other version, and of one that nobody knows', async () => {
    const { t, id } = await started()
    const [[inner = ''], [outer = '']] = [runs(id, 1, true), runs(id, 1, false)]
    expect((await submit(t, inner, 'job.do', { agent_version: '2' })).status).toBe('queued')
    for (const [run, agent_version] of [
      [inner, '1'],
      [outer, '2'],
      [outer, '3'],
    ] as const)
      expect(await codeOf(submit(t, run, 'job.do', { agent_version }))).toBe('version_refused')
    const denied = (await t.facts()).filter(({ kind }) => kind === 'job.denied')
    expect(denied.map(({ variant, rollout_id }) => [variant, rollout_id])).toEqual(Array(3).fill(['refused', id]))
  })

  test('keeps whoever is in when it grows, and pauses without letting anybody out', async () => {
    const { t, id } = await started()
    const [inner = ''] = runs(id, 1, true)
    await stepRollout(t.world, t.operator, id, { event: 'pause', reason: 'look' })
    expect(await stored(t, (await submit(t, inner)).job_id)).toEqual(CANDIDATE)
    await stepRollout(t.world, t.operator, id, { event: 'resume' })
    expect(await stored(t, (await submit(t, inner)).job_id)).toEqual(CANDIDATE)
  })

  test('leaves work outside the slice to people, or records it only, as declared', async () => {
    const manual = await started({ rest: 'manual' })
    const [outer = ''] = runs(manual.id, 1, false)
    expect(await codeOf(submit(manual.t, outer))).toBe('manual_path')
    const shadow = await started({ rest: 'shadow' })
    const [out = ''] = runs(shadow.id, 1, false)
    const answer = await submit(shadow.t, out)
    expect(answer.status as string).toBe('shadowed')
    expect(answer.job_id).toBeUndefined()
  })

  test('is drawn anew by the step that waits while it changes: nothing commits under the slice of before', async () => {
    const { t, id } = await started()
    const [inner = ''] = runs(id, 1, true)
    const before = (await getGate(t.world.db, t.tenant))?.epoch ?? 0
    await rollBackByTrigger(t.world, t.tenant, id, { trigger: 'error_rate', reason: '5 % of 200' })
    expect((await getGate(t.world.db, t.tenant))?.epoch).toBe(before + 1)
    const other = t.on(plane.node())
    const { job_id } = await other.submit(job(inner), null, asBot(t))
    expect(await stored(t, job_id)).toMatchObject({ variant: null, version: '1' })
  })
})

describe(`${proves('G4')} a rollback`, () => {
  test('refuses the candidate at every door: at submit, with what is queued, asked about or running', async () => {
    const { t, id } = await started({ on_rollback: 'cancel' })
    const [queued = '', parked = '', running = ''] = runs(id, 3, true)
    const [outer = ''] = runs(id, 1, false)
    const lease = (await submit(t, running)) && (await t.claim(['job.do'], { serves: ['agent:bot@2'] }))[0]
    const waiting = await submit(t, queued)
    const asked = await submit(t, parked, 'job.ask')
    const control = await submit(t, outer)
    await stepRollout(t.world, t.operator, id, { event: 'roll_back', reason: 'it drifts' })
    expect(await codeOf(submit(t, queued, 'job.do', { agent_version: '2' }))).toBe('version_refused')
    expect(await codeOf(t.approve(asked.approval_id ?? ''))).toBe('rolled_back')
    expect(await codeOf(t.begin(lease?.lease ?? '', 'pay'))).toBe('effect_refused')
    expect(await claimed(t, ['agent:bot@2'])).toEqual([])
    expect((await t.job(waiting.job_id)).status).toBe('denied')
    expect(await claimed(t, [])).toEqual([outer])
    expect((await t.job(control.job_id)).status).toBe('running')
    expect(await violations(plane, t.tenant)).toEqual([])
  })

  test('lets what runs go on to its end, where it drains', async () => {
    const { t, id } = await started({ on_rollback: 'drain' })
    const [inner = ''] = runs(id, 1, true)
    await submit(t, inner)
    const [leased] = await t.claim(['job.do'], { serves: ['agent:bot@2'] })
    await stepRollout(t.world, t.operator, id, { event: 'roll_back', reason: 'it drifts' })
    const lease = leased?.lease ?? ''
    expect(await codeOf(t.begin(lease, 'pay'))).toBe('done')
    await t.commit(lease, 'pay')
    await t.succeed(lease)
    expect((await t.job(leased?.job.job_id ?? '')).status).toBe('succeeded')
    expect(await violations(plane, t.tenant)).toEqual([])
  })

  test('is one step by one person, and the last one', async () => {
    const { t, id } = await started()
    const row = await stepRollout(t.world, t.operator, id, { event: 'roll_back', reason: 'no' })
    expect([row.status, row.ended_reason]).toEqual(['rolled_back', 'no'])
    for (const event of ['start', 'resume'] as const)
      expect(await codeOf(stepRollout(t.world, t.operator, id, { event }))).toBe('illegal_transition')
    expect(await rollBackByTrigger(t.world, t.tenant, id, { trigger: 'x', reason: 'again' })).toBeNull()
  })
})

describe('a declaration', () => {
  test('with faults is refused with the place of each', async () => {
    const t = await plane.tenant(POLICY)
    const problem = await problemOf(declareRollout(t.world, t.admin, { rollout: 'x', phases: 3 }))
    expect(problem.code).toBe('invalid')
    expect(JSON.stringify(problem.extra.faults)).toContain('/declaration')
  })

  test('about what another is about cannot be started while that one runs', async () => {
    const { t, id } = await started()
    const { rollout_id } = await declareRollout(t.world, t.admin, declaration())
    expect(await codeOf(stepRollout(t.world, t.operator, rollout_id, { event: 'start' }))).toBe('illegal_transition')
    await stepRollout(t.world, t.operator, id, { event: 'roll_back', reason: 'no' })
    expect((await stepRollout(t.world, t.operator, rollout_id, { event: 'start' })).status).toBe('running')
  })

  test('of one tenant is nobody else’s', async () => {
    const { id } = await started()
    const t = await plane.tenant(POLICY)
    expect(await codeOf(stepRollout(t.world, t.operator, id, { event: 'pause', reason: 'x' }))).toBe('not_found')
    expect(await getRollout(t.world.db, t.tenant, id)).toBeNull()
  })
})

describe(`${proves('G7')} the way up`, () => {
  test('needs evidence that is stored', async () => {
    const { t, id } = await started()
    expect(
      await codeOf(stepRollout(t.world, t.operator, id, { event: 'promote', evidence_hash: 'f'.repeat(64) })),
    ).toBe('not_found')
  })

  test('without it takes two people, never one under two names, and stands on the rollout for good', async () => {
    const { t, id } = await started()
    const over = (as = t.operator) =>
      stepRollout(t.world, as, id, { event: 'override', reason: 'launch', evidence_hash: null })
    expect((await over()).phase).toBe(0)
    expect(await codeOf(over())).toBe('self_approval')
    const row = await over(t.admin)
    expect([row.phase, row.overridden, row.steps[0]?.how, row.steps[0]?.asked_by]).toEqual([
      1,
      true,
      'override',
      t.operator.principal,
    ])
    expect((await t.kinds()).filter((kind) => kind.startsWith('rollout.'))).toEqual([
      'rollout.declared',
      'rollout.started',
      'rollout.override_requested',
      'rollout.refused',
      'rollout.overridden',
    ])
  })
})

describe('what is declared or over', () => {
  test('never hides what runs: drafts have a limit, and are withdrawn', async () => {
    const { t } = await started({ rest: 'manual' })
    const other = (n: number) =>
      declaration({ subject: { kind: 'agent', name: `agent:a${n}`, candidate: '2', stable: '1' } })
    const drafts: string[] = []
    for (let n = 0; n < 100; n++) drafts.push((await declareRollout(t.world, t.admin, other(n))).rollout_id)
    expect(await codeOf(declareRollout(t.world, t.admin, other(100)))).toBe('invalid')
    const [run = ''] = runs('', 1, true)
    expect(await codeOf(submit(t, run, 'job.do', { risk_tags: ['money'] }))).toBe('manual_path')
    await stepRollout(t.world, t.operator, drafts[0] ?? '', { event: 'roll_back', reason: 'not now' })
    expect((await declareRollout(t.world, t.admin, other(100))).status).toBe('draft')
  })

  test('and never ran binds nothing: a draft that was withdrawn says nothing of its agent', async () => {
    const t = await plane.tenant(POLICY)
    const subject = { kind: 'agent', name: NAME, candidate: '2', stable: null }
    const { rollout_id } = await declareRollout(t.world, t.admin, declaration({ subject, rest: 'shadow' }))
    await stepRollout(t.world, t.operator, rollout_id, { event: 'roll_back', reason: 'not now' })
    const { job_id } = await submit(t, 'run-1')
    expect(await stored(t, job_id)).toEqual({ variant: null, version: null, serves: null })
    expect(await claimed(t, ['agent:bot@2'])).toEqual(['run-1'])
  })

  test('of an agent leaves room for one of its workflow', async () => {
    const { t, id } = await started()
    await stepRollout(t.world, t.operator, id, { event: 'roll_back', reason: 'no' })
    const subject = { kind: 'workflow', name: 'triage', candidate: '8', stable: '7' }
    const { rollout_id } = await declareRollout(t.world, t.admin, declaration({ subject, rest: 'manual' }))
    await stepRollout(t.world, t.operator, rollout_id, { event: 'start' })
    const [[inner = ''], [outer = '']] = [runs(rollout_id, 1, true), runs(rollout_id, 1, false)]
    const { job_id } = await submit(t, inner, 'job.do', { workflow: 'triage' })
    expect(await stored(t, job_id)).toEqual({ variant: 'candidate', version: '1', serves: 'workflow:triage@8' })
    expect(await codeOf(submit(t, outer, 'job.do', { workflow: 'triage' }))).toBe('manual_path')
    expect(await codeOf(submit(t, inner, 'job.do', { workflow: 'triage', agent_version: '2' }))).toBe('version_refused')
  })

  test('says which version is current: what was taken back is nobody’s stable version', async () => {
    const { t, id } = await started()
    await stepRollout(t.world, t.operator, id, { event: 'roll_back', reason: 'it did harm' })
    const next = (stable: string) =>
      declareRollout(t.world, t.admin, declaration({ subject: { kind: 'agent', name: NAME, candidate: '3', stable } }))
    const [harm, good] = [await next('2'), await next('1')]
    expect(await codeOf(stepRollout(t.world, t.operator, harm.rollout_id, { event: 'start' }))).toBe('gate_blocks')
    expect((await stepRollout(t.world, t.operator, good.rollout_id, { event: 'start' })).status).toBe('running')
  })

  test('frees what waited for workers of the candidate, once that is the current version', async () => {
    const { t, id } = await started({ phases: [phase('all', 100)] })
    const { job_id } = await submit(t, 'run-1')
    // Looked at by a worker that may not have it: noted for those that may.
    expect(await claimed(t, [])).toEqual([])
    for (const as of [t.operator, t.admin])
      await stepRollout(t.world, as, id, { event: 'override', reason: 'launch', evidence_hash: null })
    expect(await claimed(t, [])).toEqual(['run-1'])
    expect((await t.job(job_id)).status).toBe('running')
  })
})

describe('work that has become more than the phase admits', () => {
  test('is the candidate’s no longer, at whichever door it comes to next', async () => {
    const { t, id } = await started({ phases: [phase('read', 25, 'read_only'), phase('all', 100)] })
    const [inner = ''] = runs(id, 1, true)
    const { job_id } = await submit(t, inner)
    await t.activate(
      POLICY.replace('topic: job.do, set: { action_type: read }', 'topic: job.do, set: { action_type: write }'),
    )
    expect(await claimed(t, ['agent:bot@2'])).toEqual([])
    expect((await t.job(job_id)).status).toBe('denied')
  })
})

describe('a rollout of a policy', () => {
  const LOOSE = POLICY.replace(
    'topic: job.ask }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver] }',
    'topic: job.ask }, decision: ALLOW',
  )
  async function ofPolicy() {
    const t = await plane.tenant(POLICY)
    const stable = (await getGate(t.world.db, t.tenant))?.snapshot ?? ''
    await t.activate(LOOSE)
    const candidate = (await getGate(t.world.db, t.tenant))?.snapshot ?? ''
    await t.activate(POLICY)
    const subject = { kind: 'policy', candidate, stable }
    const { rollout_id: id } = await declareRollout(t.world, t.admin, declaration({ subject }))
    return { t, id, candidate, stable }
  }

  test('decides about its slice by the candidate, at both doors, and about the rest by what is active', async () => {
    const { t, id, candidate, stable } = await ofPolicy()
    await stepRollout(t.world, t.admin, id, { event: 'start' })
    const [[inner = ''], [outer = '']] = [runs(id, 1, true), runs(id, 1, false)]
    const within = await submit(t, inner, 'job.ask')
    expect((await submit(t, outer, 'job.ask')).status).toBe('pending_approval')
    expect(within.status).toBe('queued')
    expect((await t.job(within.job_id)).snapshot).toBe(candidate)
    expect(await claimed(t, [], ['job.ask'])).toEqual([inner])
    expect(await violations(plane, t.tenant)).toEqual([])
    const waiting = await submit(t, inner, 'job.ask')
    await stepRollout(t.world, t.operator, id, { event: 'roll_back', reason: 'too loose' })
    expect(await claimed(t, [], ['job.ask'])).toEqual([])
    const asked = await t.job(waiting.job_id)
    expect([asked.status, asked.snapshot]).toEqual(['pending_approval', stable])
  })

  test('is active once it is promoted', async () => {
    const { t, id, candidate } = await ofPolicy()
    await stepRollout(t.world, t.admin, id, { event: 'start' })
    const over = async () => {
      for (const as of [t.caller('admin', 'user:second'), t.admin])
        await stepRollout(t.world, as, id, { event: 'override', reason: 'launch', evidence_hash: null })
    }
    await over()
    await over()
    expect((await getGate(t.world.db, t.tenant))?.snapshot).toBe(candidate)
    expect((await t.kinds()).slice(-2)).toEqual(['rollout.overridden', 'policy.activated'])
  })

  test('decides nothing once another policy is active', async () => {
    const { t, id } = await ofPolicy()
    await stepRollout(t.world, t.admin, id, { event: 'start' })
    const [inner = ''] = runs(id, 1, true)
    await t.activate(
      POLICY.replace('decision: REQUIRE_APPROVAL, approval: { from: [role:approver] }', 'decision: DENY'),
    )
    expect(await codeOf(submit(t, inner, 'job.ask'))).toBe('policy_denied')
  })

  test('goes round no rule about changes of policy', async () => {
    const ruled = POLICY.replace(
      'rules:',
      "rules:\n  - { id: change, match: { topic: 'sallyport.policy.*' }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver] } }",
    )
    const { t, id } = await ofPolicy()
    await t.activate(ruled)
    const stable = (await getGate(t.world.db, t.tenant))?.snapshot ?? ''
    const { document } = (await getRollout(t.world.db, t.tenant, id)) ?? {}
    const subject = { kind: 'policy', candidate: document?.subject.candidate, stable }
    const { rollout_id } = await declareRollout(t.world, t.admin, declaration({ subject }))
    const problem = await problemOf(stepRollout(t.world, t.admin, rollout_id, { event: 'start' }))
    expect([problem.code, problem.message]).toEqual([
      'gate_blocks',
      expect.stringContaining('Rules of the active policy'),
    ])
  })

  test('is taken on by who may activate it, comes in by stages, and goes round no rule about rollbacks', async () => {
    const { t, id, candidate, stable } = await ofPolicy()
    expect(await codeOf(stepRollout(t.world, t.operator, id, { event: 'start' }))).toBe('forbidden')
    const at_once = declaration({ subject: { kind: 'policy', candidate, stable }, phases: [phase('all', 100)] })
    expect(await codeOf(declareRollout(t.world, t.admin, at_once))).toBe('invalid')
    const ruled =
      'rules:\n  - { id: back, match: { topic: sallyport.policy.rollback }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver] } }'
    await t.activate(POLICY.replace('rules:', ruled))
    const now = (await getGate(t.world.db, t.tenant))?.snapshot ?? ''
    const subject = { kind: 'policy', candidate, stable: now }
    const { rollout_id } = await declareRollout(t.world, t.admin, declaration({ subject }))
    expect(await codeOf(stepRollout(t.world, t.admin, rollout_id, { event: 'start' }))).toBe('gate_blocks')
  })
})
