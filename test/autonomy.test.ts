import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createKey } from '../src/journey/keys.js'
import { createClient } from '../src/sdk.js'
import { startSallyport, type TestPlane } from '../src/testing.js'
import { API, call } from './hostile/attacker.js'
import { proves } from './requirements.js'

/** Stages and data scopes as a running server has them: keys of people, the HTTP answers, the SDK. */
const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: all, match: { topic: job.db.* }, decision: ALLOW }
  - { id: salaries, match: { topic: job.db.* }, when: "data.exists(d, d.table == 'salaries')", decision: DENY }
job_classes:
  - topic: job.db.*
    derive:
      action_type: "has(input.write) && input.write ? 'update' : 'read'"
      data: "[{'system': 'hr', 'table': input.table, 'fields': input.fields, 'access': has(input.write) && input.write ? 'write' : 'read'}]"
`
const FILE = `
version: v1
teams:
  - { team: hr, leads: [person:lead] }
people:
  - { principal: person:lead, role: viewer, team: hr }
  - { principal: person:other, role: viewer }
agents:
  - principal: agent:hr
    team: hr
    data:
      - { system: hr, tables: [people], fields: [name, team], access: read }
      - { system: hr, tables: [people], fields: [team], access: write }
`
let plane: TestPlane
const keys: Record<string, string> = {}
beforeAll(async () => {
  plane = await startSallyport({ policy: POLICY })
  await call(plane, plane.keys.admin, 'POST', `${API}/directory/apply`, { path: 'sallyport.yaml', text: FILE })
  for (const [name, role, principal] of [
    ['agent', 'agent', 'agent:hr'],
    ['lead', 'viewer', 'person:lead'],
    ['other', 'viewer', 'person:other'],
    ['operator', 'operator', 'person:olga'],
    ['auditor', 'auditor', 'person:aud'],
  ] as const) {
    const made = await createKey(plane.world, 'default', 'test', { role, principal })
    keys[name] = made.key
  }
})
afterAll(() => plane.stop())

const ask = (input: unknown) => call(plane, keys.agent!, 'POST', `${API}/jobs`, { topic: 'job.db.q', input })
const autonomy = (who: string, method: string, rest = '', body?: unknown) =>
  call(plane, who === 'admin' ? plane.keys.admin : keys[who]!, method, `${API}/agents/agent:hr/autonomy${rest}`, body)

describe(`${proves('D6', 'S1')} data scopes over HTTP`, () => {
  test('what the terms cover goes', async () => {
    expect((await ask({ table: 'people', fields: ['name', 'team'] })).status).toBe(202)
    expect((await ask({ table: 'people', fields: ['team'], write: true })).status).toBe(202)
  })
  test.each([
    [{ table: 'people', fields: ['name', 'salary'] }, ['read access to hr.people.salary']],
    [{ table: 'people', fields: ['name'], write: true }, ['write access to hr.people.name']],
    [{ table: 'contracts', fields: ['id'] }, ['read access to hr.contracts']],
  ])('%j is out of scope, with what is missing', async (input, missing) => {
    const { status, body } = await ask(input)
    expect([status, body.code, body.missing]).toEqual([403, 'out_of_scope', missing])
  })
  test('a rule may say no to a table, and what cannot be derived is denied', async () => {
    expect((await ask({ table: 'salaries', fields: ['x'] })).body.code).toBe('policy_denied')
    const { body } = await ask({ fields: ['x'] })
    expect(body).toMatchObject({ code: 'policy_denied', reason: 'deriving data failed: no such key: table' })
  })
})

describe(`${proves('A8', 'A10')} stages over HTTP`, () => {
  test('an agent nobody manages is 404', async () => {
    expect((await autonomy('auditor', 'GET')).status).toBe(404)
  })
  test('nobody but operators, admins and its lead puts it anywhere', async () => {
    for (const who of ['other', 'auditor', 'agent'])
      expect((await autonomy(who, 'PUT', '', { stage: 'shadow' })).status, who).toBe(403)
    expect((await autonomy('operator', 'PUT', '', { stage: 'supervised' })).body).toMatchObject({
      ...{ stage: 'supervised', spot_check: 5, least: 2, most: 20, asks: ['lead:owner'], proposal: null },
      numbers: { actions: 0, error_rate: null, approval_rate: null },
    })
  })
  test('less of people’s eyes is 202 and proposed, and 200 when another person says the same', async () => {
    const less = { stage: 'supervised', spot_check: 3 }
    const proposed = await autonomy('lead', 'PUT', '', less)
    expect([proposed.status, proposed.body.spot_check]).toEqual([202, 5])
    expect(proposed.body.proposal).toMatchObject({ by: 'person:lead', settings: { spot_check: 3 } })
    const done = await autonomy('operator', 'PUT', '', less)
    expect([done.status, done.body.spot_check, done.body.proposal]).toEqual([200, 3, null])
  })
  test('writes wait for the lead, reads do not', async () => {
    const write = await ask({ table: 'people', fields: ['team'], write: true })
    expect(write.body).toMatchObject({ status: 'pending_approval', rules: ['all', 'stage:supervised'] })
    expect((await ask({ table: 'people', fields: ['team'] })).body.status).toBe('queued')
  })
  test('the load of reviewers counts what waits', async () => {
    const { body } = await call(plane, plane.keys.admin, 'GET', `${API}/reviews/load?days=7`)
    expect(body).toMatchObject({ pending: 1, answered: 0, median_wait_ms: null, burden: 'even' })
  })
  test('a promotion that is not earned answers 409 with every criterion', async () => {
    const { status, body } = await autonomy('lead', 'POST', '/promote', { to: 'assisted' })
    expect([status, body.code]).toEqual([409, 'stage_not_earned'])
    expect(body.criteria).toContainEqual({ criterion: 'days', needs: 14, is: 0, holds: false })
    expect(body.criteria).toContainEqual({ criterion: 'approval_rate', needs: 0.95, is: null, holds: false })
  })
  test('its lead puts it in the shadow: 200, recorded, no job; the SDK says so', async () => {
    expect((await autonomy('lead', 'POST', '/demote', { to: 'shadow', note: 'odd' })).body.stage).toBe('shadow')
    const before = (await call(plane, plane.keys.admin, 'GET', `${API}/jobs?limit=500`)).body.items.length
    const { status, body } = await ask({ table: 'people', fields: ['team'], write: true })
    expect(status).toBe(200)
    expect(body).toMatchObject({ status: 'shadowed', decision: 'ALLOW', rules: ['all'] })
    const decision = await call(plane, plane.keys.admin, 'GET', `${API}/decisions/${body.decision_id}`)
    expect(decision.body).toMatchObject({ decision: 'ALLOW', agent: 'agent:hr' })
    const client = createClient({ url: plane.url, apiKey: keys.agent! })
    const job = { topic: 'job.db.q', input: { table: 'people', fields: ['team'] } }
    await expect(client.jobs.submit(job)).rejects.toMatchObject({ code: 'shadowed', status: 200 })
    const items = await client.jobs.submitBatch([job])
    expect(items[0]).toMatchObject({ status: 200, body: { status: 'shadowed' } })
    expect((await call(plane, plane.keys.admin, 'GET', `${API}/jobs?limit=500`)).body.items.length).toBe(before)
  })
  test('the log has it all', async () => {
    const kinds = async (kind: string) =>
      (await call(plane, plane.keys.admin, 'GET', `${API}/audit?kind=${kind}&limit=50`)).body.items.length
    await expect.poll(() => kinds('job.shadowed')).toBe(3)
    expect(await kinds('autonomy.demoted')).toBe(1)
    expect(await kinds('autonomy.declared')).toBe(2)
    // Of another team's lead, and of an auditor, who may where they lead.
    expect(await kinds('autonomy.refused')).toBe(2)
  })
})
