import { describe, expect, test } from 'vitest'
import { parseDirectory } from './parse.js'

const FILE = `
version: v1
teams:
  - { team: support, name: Customer support, leads: [person:lead], on_call: [person:deputy, person:lead] }
people:
  - { principal: person:lead, role: approver, team: support, email: lead@example.com }
  - { principal: person:deputy, role: viewer, team: support }
agents:
  - principal: agent:refunds
    team: support
    version: 2.1.0
    topics: [job.refunds.*, job.tickets.>]
    actions: [refund, read]
    data:
      - { system: crm, tables: [customers], fields: [name, email], access: read }
      - { system: ledger, tables: ['*'], access: write }
    risk_tier: medium
    fallback: Refunds go to finance by hand.
  - { principal: agent:free }
workers:
  - { principal: worker:builds }
services:
  - { principal: service:ci, role: operator }
`
const read = (text: string) => parseDirectory({ path: 'sallyport.yaml', text })
const faultsOf = (text: string) =>
  read(text).faults.map(({ code, path, line, message }) => `${line} ${path} ${code}: ${message}`)

test('reads everybody, with what bounds an agent', () => {
  const { document, faults } = read(FILE)
  expect(faults).toEqual([])
  expect(document?.teams).toEqual([
    { team: 'support', name: 'Customer support', leads: ['person:lead'], on_call: ['person:deputy', 'person:lead'] },
  ])
  const [lead, , refunds, free, worker, service] = document?.principals ?? []
  expect(lead).toEqual({
    principal: 'person:lead',
    kind: 'person',
    role: 'approver',
    team: 'support',
    name: null,
    email: 'lead@example.com',
    terms: null,
  })
  expect(refunds?.terms).toEqual({
    version: '2.1.0',
    topics: ['job.refunds.*', 'job.tickets.>'],
    actions: ['read', 'refund'],
    data: [
      { system: 'crm', tables: ['customers'], fields: ['email', 'name'], access: 'read' },
      { system: 'ledger', tables: ['*'], fields: null, access: 'write' },
    ],
    risk_tier: 'medium',
    fallback: 'Refunds go to finance by hand.',
  })
  expect(free).toMatchObject({ kind: 'agent', role: 'agent', terms: null })
  expect(worker).toMatchObject({ kind: 'worker', role: 'worker' })
  expect(service).toMatchObject({ kind: 'service', role: 'operator' })
})

describe('every fault has its place', () => {
  test.each([
    ['people:\n  - { principal: p, role: viewer }', '1  missing_key: a version is needed'],
    ['version: v2', "1 version bad_value: 'v2' is not one of v1"],
    ['version: v1\nperson: []', "2 person unknown_key: unknown key 'person'"],
    ['version: v1\npeople:\n  - { principal: p }', '3 people[0] missing_key: a person needs a role'],
    [
      'version: v1\npeople:\n  - { principal: p, role: agent }',
      "3 people[0].role bad_value: 'agent' is not one of admin, operator, approver, auditor, viewer",
    ],
    ['version: v1\nagents:\n  - { principal: a, role: admin }', "3 agents[0].role unknown_key: unknown key 'role'"],
    [
      'version: v1\nagents:\n  - { principal: a, topics: [] }',
      '3 agents[0].topics bad_value: an empty list names nothing',
    ],
    [
      'version: v1\nagents:\n  - { principal: a, topics: [Job.X] }',
      "3 agents[0].topics[0] bad_topic: 'Job.X' is no topic pattern",
    ],
    [
      'version: v1\nagents:\n  - { principal: a, data: [{ system: crm, access: read }] }',
      "3 agents[0].data[0] missing_key: a scope needs 'tables'",
    ],
    ['version: v1\nworkers:\n  - { principal: "worker:ü" }', "3 workers[0].principal bad_value: 'worker:ü' is no name"],
    [
      'version: v1\nworkers:\n  - { principal: w }\n  - { principal: w }',
      "4 workers[1] duplicate_id: principal 'w' is declared twice",
    ],
    [
      'version: v1\npeople:\n  - { principal: p, role: viewer, email: nobody }',
      "3 people[0].email bad_value: 'nobody' is no address",
    ],
  ])('%j', (text, fault) => {
    expect(faultsOf(text)).toEqual([fault])
    expect(read(text).document).toBeNull()
  })
})

test('a file that is no YAML, or is empty, is a fault and no exception', () => {
  for (const text of ['', '[', '&a [*a]', 'x', `${'['.repeat(10_000)}`]) expect(read(text).document).toBeNull()
})
