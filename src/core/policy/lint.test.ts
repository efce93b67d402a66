import { expect, test } from 'vitest'
import { parsePolicy } from './parse.js'

const warnings = (body: string) => {
  const { document, faults } = parsePolicy([{ path: 'p.yaml', text: `version: v1\n${body}` }])
  expect(faults.filter(({ severity }) => severity === 'error')).toEqual([])
  expect(document).not.toBeNull()
  return faults.map(({ code, line }) => `${code} ${line}`)
}

const DENY_PROD = '  - { id: deny, match: { topic: job.x, labels: { env: prod } }, decision: DENY }'
const ALLOW_ALL = '  - { id: allow, match: { topic: job.> }, decision: ALLOW }'

test('a label that guards a door beside an open one', () => {
  expect(warnings(`rules:\n${DENY_PROD}\n${ALLOW_ALL}`)).toEqual(['claimed_guard 3'])
  // Not where a class holds the label, by any of three ways, nor where the permission needs it too.
  for (const held of [
    'require: { labels: [env] }',
    'set: { labels: { env: prod } }',
    'derive: { labels: { env: "topic" } }',
  ]) {
    expect(warnings(`rules:\n${DENY_PROD}\n${ALLOW_ALL}\njob_classes:\n  - { topic: job.*, ${held} }`)).toEqual([])
  }
  expect(
    warnings(`rules:\n${DENY_PROD}\n${ALLOW_ALL}\njob_classes:\n  - { topic: job.y, require: { labels: [env] } }`),
  ).toEqual(['claimed_guard 3'])
  expect(
    warnings(
      `rules:\n${DENY_PROD}\n  - { id: a, match: { topic: job.x, labels: { env: [dev, prod] } }, decision: ALLOW }`,
    ),
  ).toEqual([])
  expect(warnings(`rules:\n${DENY_PROD}\n  - { id: a, match: { topic: job.other }, decision: ALLOW }`)).toEqual([])
})

test('tags, environment and action type guard no better', () => {
  for (const guard of ['risk_tags: [money]', 'environment: production', 'action_type: delete', 'capability: db']) {
    const rule = `  - { id: ask, match: { topic: job.x, ${guard} }, decision: REQUIRE_APPROVAL }`
    expect(warnings(`rules:\n${rule}\n${ALLOW_ALL}`)).toEqual(['claimed_guard 3'])
  }
  // Who the agent is comes from its key.
  expect(
    warnings(`rules:\n  - { id: ask, match: { topic: job.x, agent: "agent:a" }, decision: DENY }\n${ALLOW_ALL}`),
  ).toEqual([])
})

test('rules that never decide', () => {
  expect(
    warnings(
      'rules:\n  - { id: a, match: { topic: job.x.y }, decision: ALLOW }\n  - { id: d, match: { topic: job.> }, decision: DENY }',
    ),
  ).toEqual(['shadowed_rule 3'])
  expect(
    warnings(
      'rules:\n  - { id: a, match: { topic: t }, decision: ALLOW }\n  - { id: d, match: { topic: t }, decision: DENY }',
    ),
  ).toEqual(['contradicting_rules 3'])
  expect(
    warnings(
      'rules:\n  - { id: a, match: { topic: t }, decision: ALLOW }\n  - { id: b, match: { topic: "*" }, decision: ALLOW }',
    ),
  ).toEqual(['redundant_rule 3'])
  // With a condition of its own the severer one does not always match.
  expect(
    warnings(
      'rules:\n  - { id: a, match: { topic: t }, decision: ALLOW }\n  - { id: d, match: { topic: t }, when: "agent == \'x\'", decision: DENY }',
    ),
  ).toEqual([])
})

test('constraints with nothing in common', () => {
  const rule = (id: string, topic: string, host: string) =>
    `  - { id: ${id}, match: { topic: ${topic} }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { allowed_hosts: [${host}] } }`
  expect(warnings(`rules:\n${rule('a', 'job.x', 'a.example')}\n${rule('b', 'job.>', 'b.example')}`)).toEqual([
    'impossible_constraint 3',
  ])
  expect(
    warnings(`rules:\n${rule('a', 'job.x', 'a.example')}\n${rule('b', 'job.>', '"*.example.com", a.example')}`),
  ).toEqual([])
})

test('when on a key that may be missing', () => {
  const rule = (when: string) => `rules:\n  - { id: a, match: { topic: job.x }, decision: DENY, when: '${when}' }`
  expect(warnings(rule('input.amount > 5'))).toEqual(['when_may_fail 3'])
  expect(warnings(rule('has(input.amount) && input.amount > 5'))).toEqual([])
  expect(warnings(rule('input.amount > 5 && has(input.amount)'))).toEqual([])
  expect(warnings(rule('has(input.amount) || input.amount > 5'))).toEqual(['when_may_fail 3'])
  expect(warnings(rule('!has(input.amount) || input.amount > 5'))).toEqual([])
  expect(warnings(rule('has(input.amount) ? input.amount > 5 : false'))).toEqual([])
  expect(warnings(rule('"env" in labels && labels.env == "x"'))).toEqual([])
  expect(warnings(rule('has(input.a.b) && input.a.b > 1'))).toEqual(['when_may_fail 3'])
  const held = '\njob_classes:\n  - { topic: job.>, require: { input: [amount] } }'
  expect(warnings(rule('input.amount > 5') + held)).toEqual([])
})

test('high-risk work under a plain permission', () => {
  const refund = 'rules:\n  - { id: a, match: { topic: job.refund, action_type: refund }, decision: ALLOW }'
  expect(warnings(refund)).toEqual(['high_risk_allowed 3'])
  expect(warnings(`${refund}\nhigh_risk: []`)).toEqual([])
  const byClass =
    'rules:\n  - { id: a, match: { topic: job.refund }, decision: ALLOW }\njob_classes:\n  - { topic: job.refund, set: { risk_tags: [money] } }'
  expect(warnings(byClass)).toEqual(['high_risk_allowed 3'])
  expect(
    warnings(
      `${refund}\n  - { id: b, match: { topic: job.> , action_type: [refund, pay] }, decision: REQUIRE_APPROVAL }`,
    ),
  ).toEqual(['shadowed_rule 3'])
})

test('counters an agent may choose', () => {
  const rule =
    'rules:\n  - { id: a, match: { topic: job.x }, decision: ALLOW, limits: { rate: 1/hour, per: "label:customer" } }'
  expect(warnings(rule)).toEqual(['evadable_limit 3'])
  expect(warnings(`${rule}\njob_classes:\n  - { topic: job.x, derive: { labels: { customer: "agent" } } }`)).toEqual([])
})

test('nothing in it, and an open default', () => {
  expect(warnings('')).toEqual(['no_rules 1'])
  expect(warnings('default_decision: ALLOW\nrules:\n  - { id: a, match: { topic: t }, decision: DENY }')).toEqual([
    'open_default 2',
  ])
})

test('a level that wants more people than it names', () => {
  const ask = (approval: string) =>
    warnings(`rules:\n  - { id: ask, match: { topic: job.x }, decision: REQUIRE_APPROVAL, approval: ${approval} }`)
  expect(ask('{ from: [principal:person:ann], need: 2 }')).toEqual(['unanswerable_flow 3'])
  expect(ask('{ levels: [ { from: team:a }, { from: [principal:person:ann], need: 2 } ] }')).toEqual([
    'unanswerable_flow 3',
  ])
  // Who is in a team, the file does not say.
  expect(ask('{ from: [principal:person:ann, team:a], need: 3 }')).toEqual([])
  expect(ask('{ from: [principal:person:ann, principal:person:ben], need: 2 }')).toEqual([])
})
