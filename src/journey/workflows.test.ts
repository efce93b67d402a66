import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { factsOf, violations } from '../../test/invariants.js'
import { codeOf, openPlane, problemOf, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { JsonObject } from '../core/json.js'
import { parsePolicy } from '../core/policy/parse.js'
import { isStable, onTrial } from '../core/workflow.js'
import { applyDirectory } from './directory.js'
import { createKey } from './keys.js'
import { closeWorkflow, openWorkflow, proveWorkflows, workflowReports } from './workflows.js'

const DAY = 86_400_000
const bounds = (id: string, topic: string) => `
  - id: ${id}
    topics: [${topic}]
    starts: input.age_h <= 24
    ends: input.status == 'routed'
    data: [{ system: crm, tables: [leads], fields: [owner], access: write }]`
const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: bounded, match: { topic: 'job.crm.*', workflow: [one, two, three, four] }, decision: ALLOW }
  - { id: else, match: { topic: job.other }, decision: ALLOW }
job_classes:
  - topic: job.crm.*
    attempts: 1
    derive:
      data: "[{'system': 'crm', 'table': input.table, 'fields': ['owner'], 'access': 'write'}]"
workflows:${['one', 'two', 'three', 'four'].map((id) => bounds(id, id === 'two' ? 'job.crm.two' : 'job.crm.*')).join('')}
`
let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

async function tenant(): Promise<Tenancy> {
  const t = await plane.tenant(POLICY)
  await createKey(t.world, t.tenant, 'test', { role: 'agent', principal: 'agent:bot' })
  await t.world.policies.refresh(t.tenant)
  return t
}
const CASE = { age_h: 3, status: 'new', table: 'leads' }
const job = (workflow: string | null, more: JsonObject = {}, topic = 'job.crm.route') => ({
  ...{ topic, input: { ...CASE, ...more } },
  ...(workflow === null ? {} : { workflow }),
})
const ran = async (t: Tenancy, workflow: string, times: number, badly = 0) => {
  for (let i = 0; i < times; i++) {
    const { lease } = await t.lease(job(workflow, {}, workflow === 'two' ? 'job.crm.two' : 'job.crm.route'))
    await (i < badly ? t.fail(lease, 'terminal') : t.succeed(lease))
  }
}
const open = (t: Tenancy, workflow: string) => openWorkflow(t.world, t.operator, workflow)

describe(`${proves('A11')} a bounded workflow`, () => {
  test('is opened by people: a program with the permission closes it, and its try to open it is on record', async () => {
    const t = await tenant()
    const service = { principal: 'service:ops', kind: 'service', role: 'operator', team: null, name: null, email: null }
    await applyDirectory(t.world, t.admin, { teams: [], principals: [{ ...service, terms: null } as never] }, 'api')
    const program = t.caller('operator', 'service:ops')
    expect(await codeOf(openWorkflow(t.world, program, 'one'))).toBe('forbidden')
    expect((await t.kinds()).filter((kind) => kind === 'autonomy.refused')).toHaveLength(1)
    await open(t, 'one')
    expect(await codeOf(closeWorkflow(t.world, program, 'one'))).toBe('done')
  })

  test('lets nothing through before a person opened it, and nothing after it was closed', async () => {
    const t = await tenant()
    const shut = await problemOf(t.submit(job('one')))
    expect([shut.code, shut.extra.missing]).toEqual(['out_of_scope', ['workflow one is not open']])
    await open(t, 'one')
    expect((await t.submit(job('one'))).status).toBe('queued')
    const other = t.on(plane.node())
    expect((await other.submit(job('one'))).status).toBe('queued')
    await closeWorkflow(t.world, t.admin, 'one')
    expect(await codeOf(other.submit(job('one')))).toBe('out_of_scope')
    // What is queued is asked again at the second door.
    expect(await other.claim(['job.crm.route'])).toEqual([])
    expect(await violations(plane, t.tenant)).toEqual([])
  })

  test.each([
    ['a case that does not belong to it', job('one', { age_h: 25 }), 'workflow one: starts input.age_h <= 24'],
    ['a case that is over', job('one', { status: 'routed' }), "workflow one: ends input.status == 'routed'"],
    ['other data', job('one', { table: 'deals' }), 'write access to crm.deals'],
    ['a job it does not name', job('one', {}, 'job.other'), 'topic job.other in workflow one'],
    [
      'a case nobody can place',
      { ...job('one'), input: { status: 'new', table: 'leads' } },
      'workflow one: starts failed: no such key: age_h',
    ],
  ])('keeps out %s', async (_, body, missing) => {
    const t = await tenant()
    await open(t, 'one')
    const { code, extra } = await problemOf(t.submit(body))
    expect(code).toBe('out_of_scope')
    expect(extra.missing).toEqual([missing])
  })

  test('keeps out a job of which nobody derives what it touches', async () => {
    const t = await plane.tenant(POLICY.replace(/ {4}derive:\n.*\n/, ''))
    await createKey(t.world, t.tenant, 'test', { role: 'agent', principal: 'agent:bot' })
    await t.world.policies.refresh(t.tenant)
    await open(t, 'one')
    const { extra } = await problemOf(t.submit(job('one')))
    expect(extra.missing).toEqual(['data that a job class derives, in workflow one'])
  })

  test('leaving its name out opens nothing where rules ask for the name; check warns where they do not', async () => {
    const t = await tenant()
    await open(t, 'one')
    expect(await codeOf(t.submit(job(null)))).toBe('policy_denied')
    const codes = (text: string) => parsePolicy([{ path: 'p.yaml', text }]).faults.map(({ code }) => code)
    expect(codes(POLICY)).not.toContain('workflow_avoidable')
    expect(codes(POLICY.replace(', workflow: [one, two, three, four]', ''))).toContain('workflow_avoidable')
    expect(codes(POLICY.replace("    ends: input.status == 'routed'\n", ''))).toContain('missing_key')
  })
})

describe(`${proves('A11')} one at a time for a week each`, () => {
  test('until three ran well; then several at once', async () => {
    const t = await tenant()
    for (const workflow of ['one', 'two', 'three']) {
      await open(t, workflow)
      const next = workflow === 'three' ? 'four' : workflow === 'two' ? 'three' : 'two'
      const { code, extra } = await problemOf(open(t, next))
      expect([code, extra.workflow]).toEqual(['workflow_on_trial', workflow])
      await ran(t, workflow, 10)
      plane.clock.advance(7 * DAY - 60_000)
      expect(await codeOf(open(t, next))).toBe('workflow_on_trial')
      plane.clock.advance(60_000)
      expect((await proveWorkflows(t.world)).filter((each) => each.tenant === t.tenant)).toMatchObject([{ workflow }])
    }
    await open(t, 'four')
    const reports = await workflowReports(t.world, t.tenant)
    expect(reports.map(({ bounds, opened }) => [bounds.id, opened?.stable_at !== null])).toEqual([
      ['four', false],
      ['one', true],
      ['three', true],
      ['two', true],
    ])
    await closeWorkflow(t.world, t.operator, 'one')
    await open(t, 'one')
    const kinds = (await factsOf(plane, t.tenant)).map(({ kind }) => kind)
    expect(kinds.filter((kind) => kind === 'workflow.proven')).toHaveLength(3)
    expect(kinds.filter((kind) => kind === 'workflow.opened')).toHaveLength(5)
    expect(await violations(plane, t.tenant)).toEqual([])
  })

  test('what runs badly, or hardly at all, proves nothing; closed, it makes room', async () => {
    const t = await tenant()
    await open(t, 'one')
    await ran(t, 'one', 10, 1)
    plane.clock.advance(8 * DAY)
    expect((await proveWorkflows(t.world)).filter((each) => each.tenant === t.tenant)).toEqual([])
    const blocked = await problemOf(open(t, 'two'))
    expect(blocked.extra).toMatchObject({ workflow: 'one', ends: { succeeded: 9, failed: 1 } })
    await closeWorkflow(t.world, t.operator, 'one')
    expect((await open(t, 'two')).stable_at).toBeNull()
  })

  test('of two opened at once on two nodes one is', async () => {
    const t = await tenant()
    const other = t.on(plane.node())
    const both = await Promise.all([codeOf(open(t, 'one')), codeOf(open(other, 'two'))])
    expect(both.sort()).toEqual(['done', 'workflow_on_trial'])
  })

  test('only operators and admins, and only what the policy bounds', async () => {
    const t = await tenant()
    const lead = t.caller('viewer', 'person:lead', { leads: ['x'] })
    for (const caller of [t.approver, lead, t.agent])
      expect(await codeOf(openWorkflow(t.world, caller, 'one'))).toBe('forbidden')
    expect(await codeOf(open(t, 'none'))).toBe('not_found')
    expect(await codeOf(closeWorkflow(t.world, t.admin, 'one'))).toBe('illegal_transition')
    await open(t, 'one')
    expect(await codeOf(open(t, 'one'))).toBe('illegal_transition')
  })

  test('the sums', () => {
    const at = { opened_at: 0 }
    expect(isStable(at, { succeeded: 19, failed: 1 }, 7 * DAY)).toBe(true)
    expect(isStable(at, { succeeded: 18, failed: 1 }, 7 * DAY)).toBe(false)
    expect(isStable(at, { succeeded: 9, failed: 0 }, 7 * DAY)).toBe(false)
    expect(isStable(at, { succeeded: 99, failed: 0 }, 7 * DAY - 1)).toBe(false)
    expect(onTrial([])).toBeNull()
  })
})
