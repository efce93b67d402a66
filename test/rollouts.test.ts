import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bucketOf } from '../src/core/rollout/assign.js'
import { type Client, createClient } from '../src/sdk/client.js'
import { SallyportError } from '../src/sdk/errors.js'
import { createWorker } from '../src/sdk/worker.js'
import { API, call, makeKey, makeTenant, startTarget, type Target } from './hostile/attacker.js'
import { proves } from './requirements.js'

const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: do, match: { topic: job.do.* }, decision: ALLOW }
  - { id: ask, match: { topic: job.ask }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver] } }
job_classes:
  - { topic: 'job.>', set: { action_type: read } }
`
const BOT = 'agent:bot'
const GATE = { window: '10m', checks: { unapproved_high_risk_actions: { target_eq: 0 } } }
const phase = (name: string, share: number, risk = 'mixed') => ({ name, share, risk, min_duration: '1h', gate: GATE })
const declaration = (more: object = {}) => ({
  rollout: 'bot-2',
  subject: { kind: 'agent', name: BOT, candidate: '2', stable: '1' },
  owners: { reliability: 'sre', governance: 'gov', cost: 'fin' },
  stakeholders: ['role:operator'],
  phases: [phase('quarter', 25), phase('half', 50), phase('all', 100)],
  ...more,
})

let plane: Target
beforeAll(async () => {
  plane = await startTarget(POLICY)
})
afterAll(() => plane?.stop())

/** People and programs of a tenant of its own, so that its one live rollout is in nobody's way. */
interface House {
  tenant: string
  ann: Client
  ben: Client
  bot: Client
  approver: Client
  worker: Client
  keys: Record<'ann' | 'ben' | 'bot' | 'worker' | 'viewer' | 'approver' | 'auditor', string>
}
let houses = 0

async function house(policy = POLICY): Promise<House> {
  const tenant = `house-${++houses}`
  await makeTenant(plane, tenant, policy)
  const key = (role: Parameters<typeof makeKey>[1], principal: string) => makeKey(plane, role, { tenant, principal })
  const keys = {
    ann: await key('admin', 'person:ann'),
    ben: await key('operator', 'person:ben'),
    bot: await key('agent', BOT),
    worker: await key('worker', 'worker:w'),
    viewer: await key('viewer', 'person:vic'),
    approver: await key('approver', 'person:amy'),
    auditor: await key('auditor', 'person:art'),
  }
  const as = (apiKey: string) => createClient({ url: plane.url, apiKey })
  return {
    ...{ tenant, keys, ann: as(keys.ann), ben: as(keys.ben), bot: as(keys.bot) },
    ...{ approver: as(keys.approver), worker: as(keys.worker) },
  }
}

async function running(given: object = {}): Promise<House & { id: string }> {
  const at = await house()
  const { rollout_id: id } = await at.ann.rollouts.declare(declaration(given))
  await at.ann.rollouts.start(id)
  return { ...at, id }
}

const RUNS = Array.from({ length: 200 }, (_, n) => `run-${n}`)
const inside = (id: string) => RUNS.filter((run) => bucketOf(id, run) < 2500)
const outside = (id: string) => RUNS.filter((run) => bucketOf(id, run) >= 2500)

/** What a client was refused with. */
async function refused(call: Promise<unknown>): Promise<{ code: string; status: number; problem: object }> {
  const error = await call.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof SallyportError)) throw new Error(`not refused: ${error}`)
  return { code: error.code, status: error.status, problem: error.problem ?? {} }
}

let claims = 0
async function claimed({ worker }: House, serves: string[] = [], topics = ['job.do.it']): Promise<string[]> {
  const claim_id = `claim-${++claims}`.padEnd(20, '0')
  const { leases } = await worker.worker.claim({ worker_id: 'w', claim_id, topics, capacity: 50, serves })
  return leases.map(({ job }) => job.run_id).sort()
}
const submit = (at: House, run_id: string, more: object = {}) =>
  at.bot.jobs.submit({ topic: 'job.do.it', run_id, ...more })

describe(`${proves('G1')} a rollout over HTTP`, () => {
  test('is declared as a draft, of which nothing runs, and started by one who may', async () => {
    const at = await house()
    const draft = await at.ann.rollouts.declare(declaration())
    expect(draft).toMatchObject({
      status: 'draft',
      share: 0,
      rollout: 'bot-2',
      declared_by: 'person:ann',
      phase: { n: 0, of: 3, name: 'quarter', began_at: null, served_ms: 0, left_ms: null },
      document: { routing: 'run', rest: 'stable', phases: [{ share_bp: 2500 }, { share_bp: 5000 }, {}] },
    })
    const before = await submit(at, inside(draft.rollout_id)[0] ?? '')
    expect(await at.bot.jobs.get(before.job_id)).toMatchObject({ rollout_id: null, variant: null, agent_version: null })
    const rollout = await at.ben.rollouts.start(draft.rollout_id)
    expect(rollout).toMatchObject({ status: 'running', share: 25, phase: { n: 0, name: 'quarter' } })
    const { served_ms, left_ms } = rollout.phase
    expect(served_ms + (left_ms ?? 0)).toBe(3_600_000)
    expect((await at.ann.rollouts.list({ status: 'running' })).items.map((each) => each.rollout_id)).toEqual([
      draft.rollout_id,
    ])
    expect((await at.ann.rollouts.list({ status: 'promoted' })).items).toEqual([])
  })

  test('pages its list: every one once, newest first', async () => {
    const at = await house()
    const made: string[] = []
    for (let n = 0; n < 3; n++) made.unshift((await at.ann.rollouts.declare(declaration())).rollout_id)
    const first = await at.ann.rollouts.list({ limit: 2 })
    const rest = await at.ann.rollouts.list({ limit: 2, cursor: first.next_cursor ?? '' })
    expect([...first.items, ...rest.items].map((each) => each.rollout_id)).toEqual(made)
    expect(rest.next_cursor).toBeNull()
  })

  test('draws a quarter of the runs, the same for good, and says to a router what the door does', async () => {
    const at = await running()
    const drawn = new Map<string, string | null>()
    for (const run of [...inside(at.id).slice(0, 5), ...outside(at.id).slice(0, 5)]) {
      const told = await at.bot.rollouts.assignment(at.id, run)
      for (let n = 0; n < 2; n++) {
        const { job_id } = await submit(at, run)
        const job = await at.bot.jobs.get(job_id)
        expect([job.agent_version, job.variant]).toEqual([
          told.version,
          told.variant === 'candidate' ? 'candidate' : 'control',
        ])
        drawn.set(run, job.agent_version)
      }
    }
    expect([...drawn.values()].filter((version) => version === '2')).toHaveLength(5)
    // Of 200 runs at 25 %, fewer than 25 or more than 75 would happen once in some 10^5 rollouts.
    expect(inside(at.id).length).toBeGreaterThan(24)
    expect(inside(at.id).length).toBeLessThan(76)
  })

  test('gives the candidate’s work to workers that serve it, and none of it to others', async () => {
    const at = await running()
    const [ours, theirs] = [inside(at.id).slice(0, 3).sort(), outside(at.id).slice(0, 3).sort()]
    for (const run of [...ours, ...theirs]) await submit(at, run)
    expect(await claimed(at)).toEqual(theirs)
    expect(await claimed(at, [`${BOT}@3`])).toEqual([])
    expect(await claimed(at, [`${BOT}@2`])).toEqual(ours)
    for (const run of theirs) await submit(at, run)
    expect(await claimed(at, [`${BOT}@2`])).toEqual([])
    expect(await claimed(at, [`${BOT}@1`])).toEqual(theirs)
  })

  test('a worker of the SDK that serves the candidate does its work, and one that does not never sees it', async () => {
    const at = await running()
    const did: Record<'candidate' | 'ordinary', string[]> = { candidate: [], ordinary: [] }
    const work = (who: keyof typeof did, serves?: string[]) =>
      createWorker({
        ...{ url: plane.url, apiKey: at.keys.worker, waitMs: 1000, log: () => {} },
        topics: {
          'job.do.sdk': (job) => {
            did[who].push(job.run_id)
            return {}
          },
        },
        ...(serves === undefined ? {} : { serves }),
      })
    const workers = [work('candidate', [`${BOT}@2`]), work('ordinary')]
    await Promise.all(workers.map((worker) => worker.start()))
    const [ours, theirs] = [inside(at.id).slice(0, 3).sort(), outside(at.id).slice(0, 3).sort()]
    const submitted = await Promise.all([...ours, ...theirs].map((run) => submit(at, run, { topic: 'job.do.sdk' })))
    await expect.poll(() => did.candidate.length + did.ordinary.length, { timeout: 10_000 }).toBe(submitted.length)
    expect([did.candidate.sort(), did.ordinary.sort()]).toEqual([ours, theirs])
    await Promise.all(workers.map((worker) => worker.stop()))
  })

  test('refuses a process that says it is the other version, and names the rollout', async () => {
    const at = await running()
    const [inner = '', outer = ''] = [inside(at.id)[0], outside(at.id)[0]]
    expect((await submit(at, inner, { agent_version: '2' })).status).toBe('queued')
    expect((await submit(at, outer, { agent_version: '1' })).status).toBe('queued')
    for (const [run, agent_version] of [
      [inner, '1'],
      [outer, '2'],
    ] as const)
      expect(await refused(submit(at, run, { agent_version }))).toMatchObject({
        code: 'version_refused',
        status: 403,
        problem: { rollout_id: at.id, decision: 'DENY' },
      })
  })

  test('leaves work outside the slice to people, or only records it, as declared', async () => {
    const manual = await running({ rest: 'manual' })
    const answer = await refused(submit(manual, outside(manual.id)[0] ?? ''))
    expect(answer).toMatchObject({ code: 'manual_path', status: 403, problem: { rollout_id: manual.id } })
    const shadow = await running({ rest: 'shadow' })
    expect((await refused(submit(shadow, outside(shadow.id)[0] ?? ''))).code).toBe('shadowed')
    expect((await submit(shadow, inside(shadow.id)[0] ?? '')).status).toBe('queued')
    expect(await shadow.ann.rollouts.assignment(shadow.id, outside(shadow.id)[0] ?? '')).toMatchObject({
      variant: 'shadow',
      version: null,
    })
  })
})

describe(`${proves('G7')} its steps`, () => {
  test('pause keeps the slice and stops the clock; resume lets it go on', async () => {
    const at = await running()
    const paused = await at.ben.rollouts.pause(at.id, 'the bank is down')
    expect(paused).toMatchObject({ status: 'paused', share: 25 })
    const later = await at.ann.rollouts.get(at.id)
    expect(later.phase.served_ms).toBe(paused.phase.served_ms)
    const { job_id } = await submit(at, inside(at.id)[0] ?? '')
    expect(await at.bot.jobs.get(job_id)).toMatchObject({ variant: 'candidate' })
    expect(await refused(at.ann.rollouts.override(at.id, 'now'))).toMatchObject({
      code: 'illegal_transition',
      status: 409,
      problem: { rollout_id: at.id, rollout_status: 'paused' },
    })
    expect((await at.ann.rollouts.resume(at.id)).status).toBe('running')
  })

  test('without a gate two people go on, who say the same; both stay on it for good', async () => {
    const at = await running()
    const asked = await at.ann.rollouts.override(at.id, 'the meter was replaced')
    expect(asked).toMatchObject({ phase: { n: 0 }, overridden: false })
    expect(asked.request).toMatchObject({ by: 'person:ann', reason: 'the meter was replaced', evidence_hash: null })
    expect((asked.request?.until ?? 0) - (asked.request?.at ?? 0)).toBe(3_600_000)
    expect(JSON.stringify(asked)).not.toContain('key_')
    expect(await refused(at.ann.rollouts.override(at.id, 'again'))).toMatchObject({
      code: 'self_approval',
      status: 403,
    })
    const other = 'a'.repeat(64)
    expect(await refused(at.ben.rollouts.override(at.id, 'yes', other))).toMatchObject({
      code: 'not_found',
      status: 404,
    })
    const done = await at.ben.rollouts.override(at.id, 'looked at it')
    expect(done).toMatchObject({ share: 50, phase: { n: 1, name: 'half' }, overridden: true, request: null })
    expect(done.steps).toMatchObject([
      { phase: 0, how: 'override', by: 'person:ben', asked_by: 'person:ann', reason: 'the meter was replaced' },
    ])
  })

  test('a program does not override', async () => {
    const at = await running()
    await at.ann.principals.put('service:ci', { kind: 'service', role: 'operator' })
    const key = await makeKey(plane, 'operator', { tenant: at.tenant, principal: 'service:ci' })
    const answer = await call(plane, key, 'POST', `${API}/rollouts/${at.id}/override`, { reason: 'x' })
    expect([answer.status, answer.body.code, answer.body.needs]).toEqual([403, 'forbidden', 'a person'])
  })

  test('to the end: the candidate does all of it, for any worker of it', async () => {
    const at = await running()
    for (let n = 0; n < 3; n++) for (const who of [at.ann, at.ben]) await who.rollouts.override(at.id, 'launch')
    const rollout = await at.ann.rollouts.get(at.id)
    expect(rollout).toMatchObject({ status: 'promoted', share: 100, phase: { n: 2, left_ms: null }, overridden: true })
    expect(rollout.ended_at).not.toBeNull()
    const outer = outside(at.id)[0] ?? ''
    expect(await at.bot.rollouts.assignment(at.id, outer)).toMatchObject({ variant: 'candidate', version: '2' })
    const { job_id } = await submit(at, outer, { agent_version: '2' })
    expect((await at.bot.jobs.get(job_id)).agent_version).toBe('2')
    expect(await claimed(at, [`${BOT}@2`])).toEqual([outer])
    expect((await refused(submit(at, outer, { agent_version: '1' }))).code).toBe('version_refused')
  })

  test('promotes on evidence that is stored, and on nothing else', async () => {
    const at = await running()
    expect(await refused(at.ann.rollouts.promote(at.id, 'f'.repeat(64)))).toMatchObject({
      code: 'not_found',
      status: 404,
    })
    const short = await call(plane, at.keys.ann, 'POST', `${API}/rollouts/${at.id}/promote`, { evidence_hash: 'f' })
    expect([short.status, short.body.code]).toEqual([422, 'invalid'])
  })
})

describe(`${proves('G4')} taking it back`, () => {
  test('refuses the candidate from the answer on, and keeps back what is queued or asked about', async () => {
    const at = await running()
    const [queued = '', parked = ''] = inside(at.id)
    const outer = outside(at.id)[0] ?? ''
    const waiting = await submit(at, queued)
    const asked = await submit(at, parked, { topic: 'job.ask' })
    const control = await submit(at, outer)
    const back = await at.ben.rollouts.rollBack(at.id, 'it quotes old prices')
    expect(back).toMatchObject({ status: 'rolled_back', share: 0, ended_reason: 'it quotes old prices' })
    expect(back.phase.left_ms).toBeNull()
    expect((await refused(submit(at, queued, { agent_version: '2' }))).code).toBe('version_refused')
    const { grant_hash } = await at.approver.approvals.get(asked.approval_id ?? '')
    const answer = await refused(at.approver.approvals.approve(asked.approval_id ?? '', { grant_hash }))
    expect(answer).toMatchObject({ code: 'rolled_back', status: 403, problem: { rollout_id: at.id } })
    expect(await claimed(at, [`${BOT}@2`])).toEqual([])
    expect(await claimed(at)).toEqual([outer])
    expect((await at.bot.jobs.get(waiting.job_id)).status).toBe('denied')
    expect((await at.bot.jobs.get(control.job_id)).status).toBe('running')
    // The run goes on as the stable version.
    const again = await submit(at, queued, { agent_version: '1' })
    expect((await at.bot.jobs.get(again.job_id)).agent_version).toBe('1')
    for (const step of ['start', 'resume'] as const)
      expect(await refused(at.ann.rollouts[step](at.id))).toMatchObject({
        code: 'illegal_transition',
        problem: { rollout_status: 'rolled_back' },
      })
  })
})

describe('what is declared', () => {
  test('with faults is refused, each with a pointer into the body', async () => {
    const at = await house()
    const bad = declaration({ phases: [phase('one', 25), { ...phase('all', 100), risk: 'mad' }], rest: 'nobody' })
    const answer = await call(plane, at.keys.ann, 'POST', `${API}/rollouts`, { declaration: bad })
    expect([answer.status, answer.body.code]).toEqual([422, 'invalid'])
    expect(answer.body.faults.map(({ path }: { path: string }) => path).sort()).toEqual([
      '/declaration/phases/1/risk',
      '/declaration/rest',
    ])
    for (const wrong of [null, 3, 'text', [], {}]) {
      const { status, body } = await call(plane, at.keys.ann, 'POST', `${API}/rollouts`, { declaration: wrong })
      expect([status, body.code], JSON.stringify(wrong)).toEqual([422, 'invalid'])
    }
  })

  test('about a snapshot that is not stored is refused, and so is one that would not replace the active one', async () => {
    const at = await house()
    const { digest } = await at.ann.policy.get()
    const candidate = (await at.ann.policy.create({ files: [{ path: 'p.yaml', text: `${POLICY}# other\n` }] })).digest
    const about = (subject: object) => at.ann.rollouts.declare(declaration({ subject: { kind: 'policy', ...subject } }))
    expect((await refused(about({ candidate: 'a'.repeat(64), stable: digest }))).code).toBe('not_found')
    const { rollout_id } = await about({ candidate: digest, stable: 'b'.repeat(64) })
    expect(await refused(at.ann.rollouts.start(rollout_id))).toMatchObject({ code: 'gate_blocks', status: 409 })
    expect(candidate).toMatch(/^[0-9a-f]{64}$/)
  })

  test('about what another is about waits until that has ended', async () => {
    const at = await running()
    const { rollout_id } = await at.ann.rollouts.declare(declaration())
    expect((await refused(at.ann.rollouts.start(rollout_id))).code).toBe('illegal_transition')
  })
})

describe('who may', () => {
  test('an agent asks about rollouts of itself, and sees nothing else of any', async () => {
    const at = await running()
    expect((await at.bot.rollouts.assignment(at.id, 'run-1')).rollout_id).toBe(at.id)
    const other = await makeKey(plane, 'agent', { tenant: at.tenant, principal: 'agent:other' })
    const ask = `${API}/rollouts/${at.id}/assignment?key=run-1`
    expect((await call(plane, other, 'GET', ask)).status).toBe(404)
    expect((await call(plane, at.keys.worker, 'GET', ask)).status).toBe(403)
    for (const path of ['/rollouts', `/rollouts/${at.id}`])
      expect((await call(plane, at.keys.bot, 'GET', API + path)).status, path).toBe(403)
    const workflow = await at.ann.rollouts.declare(
      declaration({ subject: { kind: 'workflow', name: BOT, candidate: '2', stable: '1' } }),
    )
    expect((await refused(at.bot.rollouts.assignment(workflow.rollout_id, 'x'))).code).toBe('not_found')
  })

  test('who only reads takes no step', async () => {
    const at = await running()
    for (const key of [at.keys.viewer, at.keys.auditor, at.keys.approver]) {
      expect((await call(plane, key, 'GET', `${API}/rollouts/${at.id}`)).status).toBe(200)
      const answer = await call(plane, key, 'POST', `${API}/rollouts/${at.id}/roll-back`, { reason: 'x' })
      expect([answer.status, answer.body.code]).toEqual([403, 'forbidden'])
    }
    expect((await at.ann.rollouts.get(at.id)).status).toBe('running')
  })

  test('two tenants with the same names draw each by its own', async () => {
    const [one, two] = [await running(), await running()]
    const run = inside(one.id).find((each) => !inside(two.id).includes(each)) ?? ''
    const versionIn = async (at: House) => (await at.bot.jobs.get((await submit(at, run)).job_id)).agent_version
    expect([await versionIn(one), await versionIn(two)]).toEqual(['2', '1'])
    expect((await refused(two.ann.rollouts.rollBack(one.id, 'x'))).code).toBe('not_found')
    await two.ann.rollouts.rollBack(two.id, 'mine')
    expect(await versionIn(one)).toBe('2')
  })
})
