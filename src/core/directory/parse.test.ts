import { describe, expect, test } from 'vitest'
import { parseDirectory } from './parse.js'

const FILE = `
version: v1
teams:
  - { team: support, name: Customer support, leads: [person:lead], on_call: [person:deputy, person:lead] }
people:
  - { principal: person:lead, role: approver, team: support, email: lead@example.com, slack: U0LEAD }
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
    slack: 'U0LEAD',
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
    [
      'version: v1\npeople:\n  - { principal: p, role: viewer, slack: "@ann" }',
      "3 people[0].slack bad_value: '@ann' is no id of somebody in Slack",
    ],
    ['version: v1\nworkers:\n  - { principal: w, slack: U012 }', "3 workers[0].slack unknown_key: unknown key 'slack'"],
  ])('%j', (text, fault) => {
    expect(faultsOf(text)).toEqual([fault])
    expect(read(text).document).toBeNull()
  })
})

test('takes as many leads as a call does, and every name once', () => {
  const names = (count: number) => Array.from({ length: count }, (_, n) => `p${n}`)
  const team = (leads: string[]) => `version: v1\nteams:\n  - { team: a, leads: [${leads.join(', ')}] }\n`
  expect(read(team(names(50))).document?.teams[0]?.leads).toEqual(names(50))
  expect(faultsOf(team(names(60_000)))).toEqual(['3 teams[0].leads too_large: at most 50 names'])
  expect(faultsOf(team(['a', 'a']))).toEqual(["3 teams[0].leads duplicate_id: 'a' is named twice"])
  const both = 'version: v1\npeople:\n  - { principal: a, role: viewer }\nagents:\n  - { principal: a }\n'
  expect(faultsOf(both)).toEqual(["5 agents[0] duplicate_id: principal 'a' is declared twice"])
  expect(faultsOf(both.replace('agents', 'teams').replace('{ principal: a }', '{ team: a }'))).toEqual([])
})

test('a file that is no YAML, or is empty, is a fault and no exception', () => {
  for (const text of ['', '[', '&a [*a]', 'x', `${'['.repeat(10_000)}`]) expect(read(text).document).toBeNull()
})

test('only that somebody may act again is said: `disabled: false`', () => {
  const file = (said: string) => ({
    path: 's.yaml',
    text: `version: v1\npeople:\n  - { principal: person:a, role: viewer${said} }\n`,
  })
  const read = (said: string) => parseDirectory(file(said))
  expect(read('').document?.principals[0]).not.toHaveProperty('disabled')
  expect(read(', disabled: false').document?.principals[0]).toMatchObject({ disabled: false })
  for (const other of [', disabled: true', ', disabled: no', ', disabled: null'])
    expect([read(other).document, read(other).faults[0]?.severity]).toEqual([null, 'error'])
})
