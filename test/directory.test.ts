import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createKey } from '../src/journey/keys.js'
import { startSallyport, type TestPlane } from '../src/testing.js'
import { API, call } from './hostile/attacker.js'
import { proves } from './requirements.js'

/** Who there is, as the running server knows it: what a file declares, what a key is then for, and what the door makes of it. */
const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: all, match: { topic: job.> }, decision: ALLOW }
job_classes:
  - { topic: job.crm.*, set: { action_type: read } }
`
const FILE = (more = '') => `
version: v1
teams:
  - { team: support, leads: [person:lead], on_call: [person:lead] }
people:
  - { principal: person:lead, role: viewer, team: support }
agents:
  - principal: agent:bot
    team: support
    version: 2.1.0
    topics: [job.crm.*]
    actions: [read]
    fallback: Ask the desk.
${more}`
let plane: TestPlane
const keys: Record<string, string> = {}
beforeAll(async () => {
  plane = await startSallyport({ policy: POLICY })
})
afterAll(() => plane.stop())

const admin = (method: string, path: string, body?: unknown) => call(plane, plane.keys.admin, method, API + path, body)
const apply = (text: string, key = plane.keys.admin) =>
  call(plane, key, 'POST', `${API}/directory/apply`, { path: 'sallyport.yaml', text })
const keyOf = async (role: string, principal: string) => {
  const made = await createKey(plane.world, 'default', 'test', { role: role as never, principal })
  return made.key
}

describe('a file', () => {
  test('is shown as a difference, made so, and is then no difference', async () => {
    const body = { path: 'sallyport.yaml', text: FILE() }
    const { body: shown } = await admin('POST', '/directory/diff', body)
    expect(shown.changes.map((c: { change: string; id: string }) => `${c.change} ${c.id}`)).toEqual([
      'added person:lead',
      'added agent:bot',
      'added support',
    ])
    expect((await admin('GET', '/principals/agent:bot')).status).toBe(404)
    expect((await apply(FILE())).body).toEqual(shown)
    expect((await admin('POST', '/directory/diff', body)).body).toEqual({ changes: [], notes: shown.notes })
    expect((await admin('GET', '/principals/agent:bot')).body).toMatchObject({
      kind: 'agent',
      team: 'support',
      source: 'file',
      terms: { version: '2.1.0', topics: ['job.crm.*'], actions: ['read'], fallback: 'Ask the desk.' },
    })
    expect((await admin('GET', '/teams')).body.items).toContainEqual(
      expect.objectContaining({ team: 'support', leads: ['person:lead'] }),
    )
  })

  test('with a fault changes nothing and says where it is', async () => {
    const { status, body } = await apply(FILE('  - { principal: agent:bot2, topic: [job.x] }'))
    expect(status).toBe(422)
    expect(body.code).toBe('directory_invalid')
    expect(body.faults).toEqual([
      expect.objectContaining({ code: 'unknown_key', line: 14, hint: "did you mean 'topics'?" }),
    ])
    expect((await admin('GET', '/principals/agent:bot2')).status).toBe(404)
  })
})

test('a file is shown to every reader, a large one to who may apply it', async () => {
  const viewer = await keyOf('viewer', 'person:reader')
  const diff = (key: string, padding: number) =>
    call(plane, key, 'POST', `${API}/directory/diff`, {
      path: 's.yaml',
      text: `version: v1\n#${'x'.repeat(padding)}\n${FILE().slice(12)}`,
    })
  expect((await diff(viewer, 100_000)).status).toBe(200)
  expect(await diff(viewer, 200_000)).toMatchObject({
    status: 403,
    body: { code: 'forbidden', needs: 'directory:write' },
  })
  expect((await diff(plane.keys.admin, 200_000)).status).toBe(200)
})

test('the example can be applied', async () => {
  const other = await startSallyport({ policy: POLICY })
  const text = readFileSync('examples/directory/sallyport.yaml', 'utf8')
  const body = { path: 'sallyport.yaml', text }
  const { status, body: done } = await call(other, other.keys.admin, 'POST', `${API}/directory/apply`, body)
  expect([status, done.changes?.length, done.notes]).toEqual([200, 11, []])
  await other.stop()
})

describe(`${proves('S1')} an agent’s terms`, () => {
  beforeAll(async () => {
    keys.bot = await keyOf('agent', 'agent:bot')
  })
  const submit = (topic: string, more: object = {}) =>
    call(plane, keys.bot as string, 'POST', `${API}/jobs`, { topic, ...more })

  test('let through what they name, and the job says under which version', async () => {
    const { status, body } = await submit('job.crm.read')
    expect(status).toBe(202)
    expect((await admin('GET', `/jobs/${body.job_id}`)).body).toMatchObject({ agent_version: '2.1.0' })
  })

  test('refuse the rest with what is missing and what people do instead', async () => {
    const { status, body } = await submit('job.mail.send')
    expect(status).toBe(403)
    expect(body).toMatchObject({
      code: 'out_of_scope',
      decision: 'DENY',
      missing: ['topic job.mail.send', 'an action_type'],
      fallback: 'Ask the desk.',
    })
    // Recorded as any denial: who, what, and why.
    const { body: decision } = await admin('GET', `/decisions/${body.decision_id}`)
    expect(decision).toMatchObject({ decision: 'DENY', agent: 'agent:bot' })
  })

  test('bind by what the server holds true, not by what the agent says', async () => {
    expect((await submit('job.crm.read', { action_type: 'delete' })).body.code ?? 'accepted').toBe('accepted')
    expect((await apply(FILE().replace('actions: [read]', 'actions: [write]'))).status).toBe(200)
    expect((await submit('job.crm.read', { action_type: 'write' })).body).toMatchObject({
      code: 'out_of_scope',
      missing: ['action read'],
    })
    expect((await apply(FILE())).status).toBe(200)
  })

  test('bind work that waits: what was let in and is beyond them now is denied at the second door', async () => {
    const { body: job } = await submit('job.crm.read')
    await apply(FILE().replace('topics: [job.crm.*]', 'topics: [job.other.*]'))
    const claim = { worker_id: 'w', claim_id: 'claim-terms-1', topics: ['job.crm.read'], capacity: 10, wait_ms: 0 }
    const { body } = await call(plane, plane.keys.worker, 'POST', `${API}/workers/claim`, claim)
    expect(body.leases).toEqual([])
    expect((await admin('GET', `/jobs/${job.job_id}`)).body).toMatchObject({ status: 'denied' })
    await apply(FILE())
  })
})

describe('whoever is left out of the file', () => {
  test('opens nothing from the answer on, and may again when named', async () => {
    const key = await keyOf('viewer', 'person:lead')
    const look = () => call(plane, key, 'GET', `${API}/jobs?limit=1`)
    expect((await look()).status).toBe(200)
    const without = FILE().replace(/teams:[\s\S]*agents:/, 'teams:\n  - { team: support }\nagents:')
    expect((await apply(without)).body.changes.map((c: { change: string }) => c.change)).toContain('disabled')
    expect((await look()).status).toBe(401)
    await apply(FILE())
    expect((await look()).status).toBe(200)
  })
})

const STAYS = 'agent:bot stays disabled: say `disabled: false`, or `sallyport principals enable agent:bot`'

describe('a key is for what its principal is', () => {
  const create = (body: object) => admin('POST', '/keys', body)
  test('not for another role or team, nor for one that is disabled', async () => {
    const faults = async (body: object) => {
      const answer = await create(body)
      return [answer.status, answer.body.faults?.[0]?.path]
    }
    expect(await faults({ role: 'admin', principal: 'person:lead' })).toEqual([422, '/role'])
    expect(await faults({ role: 'viewer', principal: 'person:lead', team: 'finance' })).toEqual([422, '/team'])
    expect((await create({ role: 'viewer', principal: 'person:lead' })).status).toBe(201)
    expect((await admin('DELETE', '/principals/agent:bot')).body.disabled_at).not.toBeNull()
    expect(await faults({ role: 'agent', principal: 'agent:bot' })).toEqual([422, '/principal'])
    // The file does not know why somebody disabled it.
    expect((await apply(FILE())).body).toMatchObject({ changes: [], notes: expect.arrayContaining([STAYS]) })
    expect(await faults({ role: 'agent', principal: 'agent:bot' })).toEqual([422, '/principal'])
    expect((await admin('POST', '/principals/agent:bot/enable')).body.disabled_at).toBeNull()
    expect((await create({ role: 'agent', principal: 'agent:bot' })).status).toBe(201)
  })

  test('and changes with it', async () => {
    const key = await keyOf('operator', 'person:mover')
    const audit = () => call(plane, key, 'GET', `${API}/audit?limit=1`)
    expect((await audit()).status).toBe(200)
    const put = await admin('PUT', '/principals/person:mover', { kind: 'person', role: 'viewer' })
    expect(put.status).toBe(200)
    expect((await audit()).status).toBe(403)
  })
})

describe(`${proves('S7')} who leads a team`, () => {
  test('sees what the log says about the agents it owns, and nothing else', async () => {
    const submit = async (key: string) => {
      const { body } = await call(plane, key, 'POST', `${API}/jobs`, { topic: 'job.crm.read' })
      return body.job_id as string
    }
    const [theirs, others] = [await submit(await keyOf('agent', 'agent:bot')), await submit(plane.keys.agent)]
    const seen = async (key: string, query = '') => {
      const { status, body } = await call(plane, key, 'GET', `${API}/audit?limit=500${query}`)
      return status === 200 ? new Set(body.items.map((e: { facts: { job_id?: string } }) => e.facts.job_id)) : status
    }
    const lead = await keyOf('viewer', 'person:lead')
    expect([...((await seen(lead)) as Set<string>)]).toContain(theirs)
    expect([...((await seen(lead)) as Set<string>)]).not.toContain(others)
    expect(await seen(lead, '&agent=agent:first')).toEqual(new Set())
    expect(await seen(plane.keys.admin, `&agent=agent:first&job_id=${others}`)).toEqual(new Set([others]))
    expect(await seen(await keyOf('viewer', 'person:nobody'))).toBe(403)
  })
})

describe(`${proves('S7')} a lead, whatever their role,`, () => {
  test.each(['viewer', 'operator', 'approver', 'auditor'] as const)(
    'as %s says who is away, stops and puts back',
    async (role) => {
      const [lead, team, agent] = [`person:${role}-lead`, `team-${role}`, `agent:${role}`]
      await admin('PUT', `/teams/${team}`, {})
      for (const [name, body] of [
        [lead, { kind: 'person', role, team }],
        [`${lead}-second`, { kind: 'person', role: 'approver', team }],
        [agent, { kind: 'agent', team }],
      ] as const)
        expect((await admin('PUT', `/principals/${name}`, body)).status).toBe(200)
      const key = await keyOf(role, lead)
      const as = (method: string, path: string, body: unknown) => call(plane, key, method, API + path, body)
      const calls = async () => [
        (await as('PUT', `/absences/${lead}-second`, { from: 0, until: 1 })).status,
        (await as('PUT', `/agents/${agent}/autonomy`, { stage: 'advisor' })).status,
        (await as('POST', '/stops', { scope: { team }, reason: 'looks wrong', wait_ms: 0 })).status,
      ]
      const isOffice = role === 'operator'
      expect(await calls()).toEqual([403, isOffice ? 200 : 403, isOffice ? 201 : 403])
      expect((await admin('PUT', `/teams/${team}`, { leads: [lead] })).status).toBe(200)
      expect(await calls()).toEqual([200, 200, 201])
      expect((await as('PUT', `/absences/${lead}`, { from: 0, until: 1 })).status).toBe(200)
      // Of others they say nothing.
      expect((await as('PUT', '/absences/person:lead', { from: 0, until: 1 })).status).toBe(403)
    },
  )
})

test('a key of who is disabled is shown as such, and agents under management are listed', async () => {
  await keyOf('viewer', 'person:leaver')
  await admin('DELETE', '/principals/person:leaver')
  const { body } = await admin('GET', '/keys?limit=500')
  const known = (principal: string) => body.items.find((key: { principal: string }) => key.principal === principal)
  expect(known('person:leaver')).toMatchObject({ revoked_at: null, disabled_at: expect.any(Number) })
  expect(known('admin:first').disabled_at).toBeNull()
  await admin('PUT', '/principals/agent:managed', { kind: 'agent' })
  await admin('PUT', '/agents/agent:managed/autonomy', { stage: 'shadow' })
  expect((await admin('GET', '/autonomy')).body.items).toContainEqual(
    expect.objectContaining({ agent: 'agent:managed', stage: 'shadow', asks: ['role:approver'], proposal: null }),
  )
})

describe('escalation through apply', () => {
  test('no key but an admin’s applies, and an admin cannot shut everyone out', async () => {
    for (const role of ['approver', 'agent', 'worker'] as const) {
      expect((await apply(FILE(), plane.keys[role])).status).toBe(403)
      expect((await apply(FILE(), plane.keys[role])).status).toBe(403)
    }
    // On record before they heard of it, once each; repeats are counted.
    const actors = async () => {
      const { body } = await admin('GET', '/audit?kind=directory.refused&limit=100')
      return body.items.map((entry: { actor: string }) => entry.actor).sort()
    }
    await expect.poll(actors).toEqual(['agent:first', 'approver:first', 'worker:first'])
    const me = (await admin('GET', '/principals/admin:first')).body
    expect(me).toMatchObject({ role: 'admin', source: 'key' })
    const demote = await admin('PUT', '/principals/admin:first', { kind: 'person', role: 'viewer' })
    expect(demote.status).toBe(422)
    expect((await admin('DELETE', '/principals/admin:first')).status).toBe(422)
  })
})
