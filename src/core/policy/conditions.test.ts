import { describe, expect, test } from 'vitest'
import { proves } from '../../../test/requirements.js'
import { decide } from '../door.js'
import { riskNeedsInput, riskOf } from '../high-risk.js'
import type { JsonObject } from '../json.js'
import { type AgentStanding, beyondScope, UNBOUND } from '../principal.js'
import { compilePolicy } from './compile.js'
import { readDataUses } from './data-use.js'
import { diffPolicies } from './diff.js'
import { evaluate } from './evaluate.js'
import { explain } from './explain.js'
import { fixtureClaim } from './fixtures.js'
import { parsePolicy } from './parse.js'

const read = (text: string) => parsePolicy([{ path: 'p.yaml', text }])
const compiled = (text: string) => {
  const { document, faults } = read(text)
  expect(faults.filter(({ severity }) => severity === 'error')).toEqual([])
  return compilePolicy(document!)
}
const faultsOf = (text: string) => read(text).faults.map(({ code, line }) => `${code}:${line}`)

const HOURS = `
version: v1
rules:
  - { id: deploys, match: { topic: job.deploy }, decision: ALLOW }
  - { id: after-hours, match: { topic: job.deploy }, when: "!business_hours('berlin')", decision: REQUIRE_APPROVAL }
  - { id: freeze, match: { topic: job.deploy }, when: "in_window('freeze')", decision: DENY }
  - { id: holidays, match: { topic: job.deploy }, when: "is_holiday('berlin')", decision: DENY }
  - { id: elsewhere, match: { topic: job.call }, when: "business_hours('Asia/Tokyo')", decision: ALLOW }
calendars:
  - id: berlin
    zone: Europe/Berlin
    holidays: [DE-BE, 12-24]
    windows: [{ name: freeze, weekly: { fri: ['15:00-24:00'] } }]
`

describe(`${proves('D6')} time in when`, () => {
  const policy = compiled(HOURS)
  const ask = (topic: string, now: string) => evaluate(policy, fixtureClaim({ topic }), Date.parse(now)).decision
  test.each([
    ['job.deploy', '2026-03-04T09:00:00Z', 'ALLOW'],
    ['job.deploy', '2026-03-04T17:00:00Z', 'REQUIRE_APPROVAL'],
    ['job.deploy', '2026-03-06T14:00:00Z', 'DENY'], // Friday afternoon
    ['job.deploy', '2026-04-03T09:00:00Z', 'DENY'], // Good Friday
    ['job.deploy', '2026-12-24T09:00:00Z', 'DENY'],
    ['job.call', '2026-03-04T02:00:00Z', 'ALLOW'],
    ['job.call', '2026-03-04T09:00:00Z', 'DENY'],
  ])('%s at %s: %s', (topic, now, decision) => expect(ask(topic, now)).toBe(decision))

  test('the why asks the same calendars', () => {
    const { matched } = explain(policy, fixtureClaim({ topic: 'job.deploy' }), Date.parse('2026-04-03T09:00:00Z'))
    expect(matched.map(({ rule }) => rule)).toEqual(['after-hours', 'deploys', 'holidays'])
  })

  test('such a policy reads the clock; its calendars are part of its digest, a region by what it means', () => {
    expect(policy.readsClock).toBe(true)
    expect(compiled(HOURS.replace('12-24', '12-23')).digest).not.toBe(policy.digest)
    expect(policy.document.calendars![0]!.holidays).toContain('easter-2')
    const before = compiled('version: v1\nrules: [{ id: a, match: { topic: t }, decision: DENY }]').document
    expect(Object.keys(before)).not.toContain('calendars')
  })

  test('a difference of calendars is shown before it is activated', () => {
    const other = compiled(HOURS.replace('zone: Europe/Berlin', 'zone: Asia/Tokyo'))
    const without = compiled('version: v1\nrules: [{ id: a, match: { topic: t }, decision: DENY }]')
    expect(diffPolicies(policy.document, other.document)).toEqual([
      {
        ...{ change: 'changed', what: 'calendar', id: 'berlin', effect: null },
        fields: [{ path: 'zone', before: 'Europe/Berlin', after: 'Asia/Tokyo' }],
      },
    ])
    expect(diffPolicies(without.document, policy.document)).toContainEqual(
      expect.objectContaining({ change: 'added', what: 'calendar', id: 'berlin' }),
    )
  })

  test('two policies may mean different calendars by one name', () => {
    const other = compiled(HOURS.replace('zone: Europe/Berlin', 'zone: Asia/Tokyo'))
    const claim = fixtureClaim({ topic: 'job.deploy' })
    const now = Date.parse('2026-03-04T01:00:00Z')
    expect(evaluate(other, claim, now).decision).toBe('ALLOW')
    expect(evaluate(policy, claim, now).decision).toBe('REQUIRE_APPROVAL')
  })

  const rule = (when: string) =>
    `version: v1\nrules:\n  - { id: a, match: { topic: t }, when: "${when}", decision: DENY }\n`
  test.each([
    ["business_hours('nowhere')", 'unknown_calendar:3'],
    ["is_holiday('Europe/Berlin')", 'unknown_calendar:3'],
    ["in_window('berlin')", 'unknown_calendar:3'],
    ['business_hours(topic)', 'bad_expression:3'],
    ["business_hours('Europe/Berlin', now)", 'bad_expression:3'],
    ['business_hours()', 'bad_expression:3'],
  ])('%s is refused', (when, fault) => expect(faultsOf(rule(when))).toEqual([fault]))

  const calendar = (more: string) =>
    `version: v1\nrules: [{ id: a, match: { topic: t }, decision: DENY }]\ncalendars:\n  - { id: c, zone: UTC, ${more} }\n`
  test.each([
    ['hours: { monday: 09:00-17:00 }', 'unknown_key:4'],
    ['hours: { mon: 9-17 }', 'bad_value:4'],
    ['holidays: DE-BX', 'bad_value:4'],
    ['holidays: [2026-02-30]', 'bad_value:4'],
    ['windows: [{ name: w }]', 'missing_key:4'],
    ['windows: [{ name: w, from: 2026-01-01T00:00 }]', 'missing_key:4'],
    ['windows: [{ name: w, from: 2026-01-02T00:00, until: 2026-01-01T00:00 }]', 'bad_value:4'],
    ['windows: [{ name: w, from: 2026-02-30T00:00, until: 2026-03-01T00:00 }]', 'bad_value:4'],
    [
      'windows: [{ name: w, weekly: {} }] }\n  - { id: d, zone: UTC, windows: [{ name: w, weekly: {} }]',
      'duplicate_id:5',
    ],
  ])('calendar with %s is refused', (more, fault) => expect(faultsOf(calendar(more))).toEqual([fault]))
  test('a zone nobody knows is refused', () => {
    expect(faultsOf(calendar('').replace('UTC', 'Mars/Base'))).toEqual(['bad_value:4'])
  })
})

const DATA = `
version: v1
rules:
  - { id: queries, match: { topic: job.db.query }, decision: ALLOW }
  - { id: customers, match: { topic: job.db.query }, when: "data.exists(d, d.table == 'customers')", decision: REQUIRE_APPROVAL }
job_classes:
  - topic: job.db.query
    derive:
      data: "input.tables.map(t, {'system': 'crm', 'table': t, 'access': 'read'})"
  - topic: job.db.*
    derive:
      data: "has(input.write) ? [{'system': 'crm', 'table': input.write, 'fields': ['b', 'a'], 'access': 'write'}] : []"
`

const WITHOUT_CLASSES = DATA.slice(0, DATA.indexOf('job_classes:'))

describe(`${proves('D6')} what a job reads and writes`, () => {
  const policy = compiled(DATA)
  const ask = (input: JsonObject) => evaluate(policy, fixtureClaim({ topic: 'job.db.query', input }), 0)
  test('is derived from the input, added up over classes, and is what rules ask about', () => {
    expect(ask({ tables: ['orders'] })).toMatchObject({
      decision: 'ALLOW',
      effective: { data: [{ system: 'crm', table: 'orders', fields: null, access: 'read' }] },
    })
    expect(ask({ tables: ['orders', 'customers'] }).decision).toBe('REQUIRE_APPROVAL')
    expect(ask({ tables: [], write: 'customers' }).effective.data).toEqual([
      { system: 'crm', table: 'customers', fields: ['a', 'b'], access: 'write' },
    ])
    expect(ask({ tables: [] }).effective.data).toEqual([])
  })

  test.each([
    ['no input', {}],
    ['another type', { tables: 'orders' }],
    ['a name that is no text', { tables: [7] }],
    ['an empty name', { tables: [''] }],
    ['more than anybody names', { tables: Array.from({ length: 300 }, (_, i) => `t${i}`) }],
  ])('%s denies', (_, input) => {
    const { decision, reason } = ask(input as JsonObject)
    expect(decision).toBe('DENY')
    expect(reason).toContain('deriving data failed')
  })

  test('the order in which an agent names tables makes no other job of it', () => {
    expect(ask({ tables: ['b', 'a', 'b'] }).effective).toEqual(ask({ tables: ['a', 'b'] }).effective)
  })

  test('is part of what an approval binds, and of what is asked again afterwards', () => {
    const claim = fixtureClaim({ topic: 'job.db.query', input: { tables: ['customers'] } })
    const { effective } = evaluate(policy, claim, 0)
    expect(riskOf(policy, claim, 0).view).toEqual(effective)
    expect(riskNeedsInput(policy, 'job.db.query')).toBe(true)
    const standing = { door: 'submit', now: 0, counters: {}, grant: null } as const
    const hashes = ['customers', 'orders'].map((table) => {
      const input = { tables: ['customers'], ...(table === 'orders' ? { write: 'orders' } : {}) }
      return decide(policy, { ...claim, input }, standing)
    })
    expect(new Set(hashes.map(({ bound_hash }) => bound_hash)).size).toBe(2)
  })

  test('where no class derives it nothing is said of it, and a rule that asks denies', () => {
    const bare = compiled(WITHOUT_CLASSES)
    const evaluation = evaluate(bare, fixtureClaim({ topic: 'job.db.query', input: { tables: [] } }), 0)
    expect(evaluation.decision).toBe('DENY')
    expect(Object.keys(evaluation.effective)).not.toContain('data')
    expect(faultsOf(WITHOUT_CLASSES)).toEqual(['data_not_derived:5'])
    expect(faultsOf(DATA)).toEqual([])
  })

  test('is not the agent’s to say', () => {
    expect(readDataUses([{ system: 'a', table: 'b', access: 'read', scope: 'x' }])).toBe('an entry has an unknown key')
    expect(readDataUses([{ system: 'a', table: 'b', access: 'admin' }])).toBe('an entry has no access read or write')
    expect(readDataUses([['a']])).toBe('an entry is no map')
    expect(readDataUses([{ system: 'a', table: 'b', access: 'read', fields: 'x' }])).toContain('no list of names')
    expect(readDataUses(null)).toBe('no list')
    const fields = Array.from({ length: 400 }, (_, i) => `${i}`.padEnd(200, 'x'))
    expect(readDataUses([{ system: 'a', table: 'b', access: 'read', fields }])).toContain('more than 65536 characters')
  })
})

describe(`${proves('S1')} an agent’s data scopes`, () => {
  const agent: AgentStanding = {
    ...UNBOUND,
    disabled: false,
    data: [
      { system: 'crm', tables: ['customers'], fields: ['name', 'plan'], access: 'read' },
      { system: 'crm', tables: ['customers'], fields: ['plan'], access: 'write' },
      { system: 'crm', tables: ['orders'], fields: null, access: 'read' },
      { system: 'logs', tables: ['*'], fields: null, access: 'write' },
    ],
  }
  const claim = { agent: 'agent:a', topic: 'job.db.query' }
  const lacks = (system: string, table: string, access: 'read' | 'write', fields: string[] | null = null) =>
    beyondScope(agent, claim, { action_type: null, data: [{ system, table, access, fields }] })
  test('cover what they name', () => {
    expect(lacks('crm', 'customers', 'read', ['name', 'plan'])).toEqual([])
    expect(lacks('crm', 'customers', 'write', ['plan'])).toEqual([])
    expect(lacks('crm', 'orders', 'read')).toEqual([])
    expect(lacks('crm', 'orders', 'read', ['anything'])).toEqual([])
    expect(lacks('logs', 'whatever', 'write')).toEqual([])
    expect(beyondScope(agent, claim, { action_type: null })).toEqual([])
    expect(beyondScope(agent, claim, { action_type: null, data: [] })).toEqual([])
  })
  test('are told apart up to twenty', () => {
    const fields = Array.from({ length: 30 }, (_, i) => `f${i}`)
    expect(lacks('crm', 'customers', 'read', fields)).toHaveLength(21)
    expect(lacks('crm', 'customers', 'read', fields).at(-1)).toBe('and 10 more')
  })
  test('and nothing else', () => {
    expect(lacks('crm', 'customers', 'read')).toEqual(['read access to every field of crm.customers'])
    expect(lacks('crm', 'customers', 'write', ['plan', 'name'])).toEqual(['write access to crm.customers.name'])
    expect(lacks('crm', 'orders', 'write', ['x'])).toEqual(['write access to crm.orders'])
    expect(lacks('crm', 'invoices', 'read')).toEqual(['read access to crm.invoices'])
    expect(lacks('erp', 'customers', 'read', ['name'])).toEqual(['read access to erp.customers'])
    expect(
      beyondScope({ ...agent, data: [] }, claim, {
        action_type: null,
        data: [{ system: 'a', table: 'b', access: 'read', fields: [] }],
      }),
    ).toEqual(['read access to a.b'])
  })
})
