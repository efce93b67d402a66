import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import {
  breakCommit,
  codeOf,
  holdCommits,
  isCommit,
  openPlane,
  problemOf,
  type Tenancy,
  type TestPlane,
  turns,
} from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { UNBOUND } from '../core/principal.js'
import { DbError } from '../errors.js'
import { applyDirectory } from './directory.js'
import { declareAutonomy } from './promote.js'

const rule = (body: string) => `version: v1\ndefault_decision: DENY\nrules:\n${body}`
const ALLOW = rule(
  '  - { id: do, match: { topic: job.do.* }, decision: ALLOW }\n  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL }\n',
)
const NOTHING = rule('  - { id: other, match: { topic: job.other.* }, decision: ALLOW }\n')

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const held = async (t: Tenancy) => expect(await violations(plane, t.tenant)).toEqual([])

describe('the first door', () => {
  test(`${proves('D1', 'L2', 'L4')} queues what policy allows and parks what it asks about`, async () => {
    const t = await plane.tenant(ALLOW)
    const allowed = await t.submit({ topic: 'job.do.it', input: { n: 1 }, context: { why: 'because' } })
    expect(allowed).toMatchObject({ status: 'queued', decision: 'ALLOW', rules: ['do'] })
    const asked = await t.submit({ topic: 'job.ask.it' })
    expect(asked).toMatchObject({ status: 'pending_approval', decision: 'REQUIRE_APPROVAL', rules: ['ask'] })
    expect((await t.approval(asked.approval_id)).grant_hash).toBe(asked.grant_hash)
    const job = await t.job(allowed.job_id)
    expect(await t.rows('payloads')).toEqual([
      expect.objectContaining({ ptr: job.input_ptr, kind: 'input', body: '{"n":1}' }),
      expect.objectContaining({ ptr: job.context_ptr, kind: 'context', body: '{"why":"because"}' }),
    ])
    await held(t)
  })

  test(`${proves('D3', 'L6')} a denial leaves a decision and an audit entry, and no job`, async () => {
    const t = await plane.tenant(NOTHING)
    const problem = await problemOf(t.submit({ topic: 'job.do.it', input: { n: 1 } }))
    expect(problem).toMatchObject({ code: 'policy_denied', status: 403, extra: { decision: 'DENY', rules: [] } })
    expect(await t.rows('jobs')).toEqual([])
    const [decision, ...more] = await t.rows('decisions')
    expect(more).toEqual([])
    expect(decision).toMatchObject({
      door: 'submit',
      decision: 'DENY',
      job_id: null,
      decision_id: problem.extra.decision_id,
    })
    expect(await t.kinds()).toEqual(['writer.started', 'policy.activated', 'job.denied'])
    await held(t)
  })

  test('a key bound to topics, and one that may not act as another agent, are refused before any decision', async () => {
    const t = await plane.tenant(ALLOW)
    const bound = t.caller('agent', 'agent:bound', { topics: ['job.ask.*'] })
    expect(await codeOf(t.submit({ topic: 'job.do.it' }, null, bound))).toBe('topic_refused')
    expect(await codeOf(t.submit({ topic: 'job.do.it', agent: 'agent:other' }))).toBe('act_as_refused')
    expect(await t.rows('decisions')).toEqual([])
    const proxy = t.caller('agent', 'agent:proxy', { act_as: ['agent:other'] })
    const { job_id } = await t.submit({ topic: 'job.do.it', agent: 'agent:other' }, null, proxy)
    expect(await t.job(job_id)).toMatchObject({ agent: 'agent:other', requested_by: 'agent:proxy' })
  })
})

describe('an idempotency key', () => {
  const body = { topic: 'job.do.it', input: { n: 1 } }

  test(`${proves('R6')} gives a repeat the first answer, also after policy came to deny it`, async () => {
    const t = await plane.tenant(ALLOW)
    const first = await t.trySubmit(body, 'k')
    expect(first.replayed).toBe(false)
    expect(await t.trySubmit(body, 'k')).toEqual({ answer: first.answer, replayed: true })
    await t.activate(NOTHING)
    expect(await t.trySubmit(body, 'k')).toEqual({ answer: first.answer, replayed: true })
    expect(await codeOf(t.submit(body))).toBe('policy_denied')
    expect(await t.rows('jobs')).toHaveLength(1)
  })

  test('also after a limit came to be full', async () => {
    const t = await plane.tenant(ALLOW)
    const first = await t.trySubmit(body, 'k')
    await t.activate(rule('  - { id: do, match: { topic: job.do.* }, decision: ALLOW, limits: { rate: 1/hour } }\n'))
    await t.submit({ topic: 'job.do.it' })
    expect(await codeOf(t.submit({ topic: 'job.do.it' }))).toBe('rate_limited')
    expect(await t.trySubmit(body, 'k')).toEqual({ answer: first.answer, replayed: true })
  })

  test(`${proves('R6')} two at once, and two on two nodes, get one and the same 202`, async () => {
    const t = await plane.tenant(ALLOW)
    const other = t.on(plane.node())
    const both = await Promise.all([t.trySubmit(body, 'k'), t.trySubmit(body, 'k'), other.trySubmit(body, 'k')])
    expect(new Set(both.map((each) => each.answer.job_id)).size).toBe(1)
    expect(both.filter((each) => !each.replayed)).toHaveLength(1)
    expect(await t.rows('jobs')).toHaveLength(1)
  })

  test('a race that only the unique index sees is answered with the first 202', async () => {
    const t = await plane.tenant(ALLOW)
    const first = await t.submit(body, 'k')
    // What two writers meet on one server: the check saw no key, the insert does.
    let failed = false
    plane.db.tap = async (sql, send) => {
      if (!isCommit(sql) || failed) return send()
      failed = true
      throw new DbError('duplicate key value violates unique constraint "idempotency_pkey"', '23505')
    }
    expect(await t.trySubmit(body, 'k')).toEqual({ answer: first, replayed: true })
  })

  test('with another body is a conflict; another principal has keys of its own', async () => {
    const t = await plane.tenant(ALLOW)
    await t.submit(body, 'k')
    expect(await codeOf(t.submit({ ...body, input: { n: 2 } }, 'k'))).toBe('idempotency_conflict')
    expect((await t.trySubmit(body, 'k', t.otherAgent)).replayed).toBe(false)
  })

  test('is consumed by a 202 only', async () => {
    const t = await plane.tenant(NOTHING)
    expect(await codeOf(t.submit(body, 'k'))).toBe('policy_denied')
    await t.activate(ALLOW)
    expect((await t.trySubmit({ ...body, input: { n: 2 } }, 'k')).replayed).toBe(false)
  })

  test('is forgotten after a day', async () => {
    const t = await plane.tenant(ALLOW)
    await t.submit(body, 'k')
    plane.clock.advance(86_400_001)
    await t.sweep()
    expect((await t.trySubmit(body, 'k')).replayed).toBe(false)
  })
})

describe('a rate', () => {
  test(`${proves('D7')} lets exactly its number through, however many come at once, and says when to come back`, async () => {
    const t = await plane.tenant(
      rule('  - { id: do, match: { topic: job.do.* }, decision: ALLOW, limits: { rate: 7/hour } }\n'),
    )
    const codes = await Promise.all(Array.from({ length: 50 }, () => codeOf(t.submit({ topic: 'job.do.it' }))))
    expect(codes.filter((code) => code === 'done')).toHaveLength(7)
    expect(codes.filter((code) => code === 'rate_limited')).toHaveLength(43)
    expect(await t.rows('jobs')).toHaveLength(7)
    // Another agent has a count of its own.
    expect(await codeOf(t.submit({ topic: 'job.do.it' }, null, t.otherAgent))).toBe('done')
    const refused = await problemOf(t.submit({ topic: 'job.do.it' }))
    const wait = refused.extra.retry_after_ms as number
    expect(wait).toBeGreaterThan(0)
    plane.clock.advance(wait)
    expect(await codeOf(t.submit({ topic: 'job.do.it' }))).toBe('done')
    await held(t)
  })

  test('is refused in aggregate: one entry for all refusals of an agent by a rule', async () => {
    const t = await plane.tenant(
      rule('  - { id: do, match: { topic: job.do.* }, decision: ALLOW, limits: { rate: 1/hour } }\n'),
    )
    for (let i = 0; i < 5; i++) await codeOf(t.submit({ topic: 'job.do.it' }))
    plane.clock.advance(5000)
    await t.sweep()
    const refused = (await t.facts()).filter((fact) => fact.kind === 'limit.refused')
    expect(refused).toEqual([expect.objectContaining({ actor: 'agent:bot', rules: 'do', count: 4 })])
  })

  test('is spent by no denial and by no repeat', async () => {
    const limited = rule('  - { id: do, match: { topic: job.do.* }, decision: ALLOW, limits: { rate: 2/hour } }\n')
    const t = await plane.tenant(limited)
    for (let i = 0; i < 4; i++) await t.submit({ topic: 'job.do.it' }, 'k')
    await t.activate(`${limited}  - { id: no, match: { topic: job.do.bad }, decision: DENY }\n`)
    expect(await codeOf(t.submit({ topic: 'job.do.bad' }))).toBe('policy_denied')
    expect(await codeOf(t.submit({ topic: 'job.do.it' }))).toBe('done')
    expect(await codeOf(t.submit({ topic: 'job.do.it' }))).toBe('rate_limited')
  })
})

describe('the gate row', () => {
  test(`${proves('D10')} what was decided under the snapshot before loses to an activation and is decided again`, async () => {
    const t = await plane.tenant(ALLOW)
    const other = t.on(plane.node())
    const hold = holdCommits(plane.db)
    const submitting = codeOf(t.submit({ topic: 'job.do.it' }))
    await turns(() => hold.waiting() === 1)
    // The submit has been decided ALLOW and is on its way; another node activates and is answered.
    plane.db.tap = null
    await other.activate(NOTHING)
    hold.release()
    expect(await submitting).toBe('policy_denied')
    expect(await t.rows('jobs')).toEqual([])
    await held(t)
  })

  test('a key revoked while its submit is under way lets nothing in any more', async () => {
    const t = await plane.tenant(ALLOW)
    const { createKey, revokeKey } = await import('./keys.js')
    const other = plane.node()
    const { row } = await createKey(other, t.tenant, 'person:root', { role: 'agent', principal: 'agent:bot' })
    const agent = t.caller('agent', 'agent:bot', { key_id: row.key_id })
    const hold = holdCommits(plane.db)
    const submitting = codeOf(t.submit({ topic: 'job.do.it' }, null, agent))
    await turns(() => hold.waiting() === 1)
    plane.db.tap = null
    await revokeKey(other, t.tenant, 'person:root', row.key_id)
    hold.release()
    expect(await submitting).toBe('unauthenticated')
    expect(await t.rows('jobs')).toEqual([])
  })
})

describe('a store that fails', () => {
  test(`${proves('D10')} before it applied the commit: 503 or done, and never half`, async () => {
    const t = await plane.tenant(ALLOW)
    breakCommit(plane.db, 'before')
    expect(await codeOf(t.submit({ topic: 'job.do.it' }))).toBe('store_unavailable')
    expect(await t.rows('jobs')).toEqual([])
    expect(await codeOf(t.submit({ topic: 'job.do.it' }))).toBe('done')
    await held(t)
  })

  test('after it applied it: the batch id says so, and the answer is the 202', async () => {
    const t = await plane.tenant(ALLOW)
    breakCommit(plane.db, 'after')
    const { job_id } = await t.submit({ topic: 'job.do.it' })
    expect(await t.rows('jobs')).toEqual([expect.objectContaining({ job_id })])
    await t.submit({ topic: 'job.do.it' })
    await held(t)
  })

  test('a denial that cannot be recorded is a 503, not a 403', async () => {
    const t = await plane.tenant(NOTHING)
    breakCommit(plane.db, 'before')
    expect(await codeOf(t.submit({ topic: 'job.do.it' }))).toBe('store_unavailable')
  })

  test(`${proves('D10')} without an active policy nothing is let through`, async () => {
    const t = await plane.tenant(ALLOW)
    const nobody = t.caller('agent', 'agent:bot', { tenant: 'nobody' })
    expect(await codeOf(t.submit({ topic: 'job.do.it' }, null, nobody))).toBe('no_policy')
  })
})

describe('an agent in the shadow', () => {
  const FEW = rule(
    '  - { id: few, match: { topic: job.do.* }, decision: ALLOW, limits: { rate: 5/hour, per: tenant } }\n',
  )
  async function shadowed(): Promise<Tenancy> {
    const t = await plane.tenant(FEW)
    const bot = { principal: 'agent:bot', kind: 'agent', role: 'agent', team: null, name: null, email: null } as const
    await applyDirectory(t.world, t.admin, { teams: [], principals: [{ ...bot, terms: UNBOUND }] } as never, 'api')
    await declareAutonomy(t.world, t.admin, 'agent:bot', { stage: 'shadow' })
    return t
  }

  test('is bound by limits as it would be, and takes nothing of them from those whose work runs', async () => {
    const t = await shadowed()
    const node = t.on(plane.node())
    const ask = (at: Tenancy) => codeOf(at.submit({ topic: 'job.do.it' }))
    const codes: string[] = []
    for (let n = 0; n < 12; n++) codes.push(...(await Promise.all([ask(t), ask(node)])))
    expect(codes.filter((code) => code === 'done')).toHaveLength(5)
    expect(new Set(codes)).toEqual(new Set(['done', 'rate_limited']))
    expect((await t.kinds()).filter((kind) => kind === 'job.shadowed')).toHaveLength(5)
    for (let n = 0; n < 5; n++)
      expect((await t.submit({ topic: 'job.do.it' }, null, t.otherAgent)).status).toBe('queued')
    expect(await codeOf(t.submit({ topic: 'job.do.it' }, null, t.otherAgent))).toBe('rate_limited')
    await held(t)
  })
})
