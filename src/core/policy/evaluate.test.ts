import { describe, expect, test } from 'vitest'
import { proves } from '../../../test/requirements.js'
import type { Claim } from '../job.js'
import type { JsonObject } from '../json.js'
import { compilePolicy, PolicyCompileError } from './compile.js'
import { diffPolicies } from './diff.js'
import { evaluate, validateInput } from './evaluate.js'
import { explain } from './explain.js'
import { fixtureClaim } from './fixtures.js'
import { parsePolicy } from './parse.js'

const load = (body: string) => {
  const { document, faults } = parsePolicy([{ path: 'p.yaml', text: `version: v1\n${body}` }])
  if (!document) throw new Error(JSON.stringify(faults))
  return compilePolicy(document)
}
const claim = (job: JsonObject): Claim => fixtureClaim({ topic: 'job.x', ...job })

describe(`${proves('D1')} decisions`, () => {
  const policy = load(`rules:
  - { id: z-allow, match: { topic: job.> }, decision: ALLOW, reason: fine }
  - { id: b-deny, match: { topic: job.x, labels: { a: "1" } }, decision: DENY, reason: no }
  - { id: a-deny, match: { topic: job.x, labels: { a: "1" } }, decision: DENY }
  - { id: ask1, match: { topic: job.x, labels: { b: "1" } }, decision: REQUIRE_APPROVAL, approval: { from: [team:b], need: 2 } }
  - { id: ask2, match: { topic: job.x, labels: { b: "1" } }, decision: REQUIRE_APPROVAL, approval: { from: [team:a] } }
  - { id: ask3, match: { topic: job.x, labels: { b: "1" } }, decision: REQUIRE_APPROVAL, approval: { from: [team:a] } }
  - { id: limited, match: { topic: job.l }, decision: ALLOW, limits: { rate: 5/hour, per: "label:env", concurrent: 2 } }
`)
  test('the first by id among the severest decides', () => {
    expect(evaluate(policy, claim({ labels: { a: '1', b: '1' } }), 0)).toMatchObject({
      decision: 'DENY',
      decided_by: 'a-deny',
      reason: 'rule a-deny says DENY',
      rules: ['a-deny', 'ask1', 'ask2', 'ask3', 'b-deny', 'z-allow'],
      approval: [],
    })
    expect(evaluate(policy, claim({}), 0)).toMatchObject({ decision: 'ALLOW', decided_by: 'z-allow', reason: 'fine' })
  })
  test('what is no topic matches nothing, not even every topic', () => {
    const open = load('rules:\n  - { id: a, match: { topic: ">" }, decision: ALLOW }')
    expect(evaluate(open, claim({ topic: 'job.exec' }), 0).decision).toBe('ALLOW')
    for (const topic of ['job.EXEC', 'job..exec', '', 'j\u043eb']) {
      expect(evaluate(open, claim({ topic }), 0)).toMatchObject({ decision: 'DENY', reason: 'the topic is no topic' })
    }
  })
  test('every approval asked for, each once', () => {
    const { approval } = evaluate(policy, claim({ labels: { b: '1' } }), 0)
    expect(approval.map(({ from, need }) => `${from} ${need}`)).toEqual(['team:a 1', 'team:b 2'])
  })
  test('nothing matches: the default, decided by nobody', () => {
    expect(evaluate(policy, claim({ topic: 'other' }), 0)).toMatchObject({
      decision: 'DENY',
      decided_by: null,
      reason: 'no rule matches, the default is DENY',
    })
  })
  test('sets of rules whose hashes are equal keep their own verdicts', () => {
    // 31 × 0 + 33 = 31 × 1 + 2: the pairs below share a hash in the table of remembered verdicts.
    const rule = (_: unknown, i: number) =>
      `  - { id: r${String(i).padStart(2, '0')}, match: { topic: t, labels: { k${i}: "1" } }, decision: DENY }`
    const many = load(`rules:\n${Array.from({ length: 40 }, rule).join('\n')}`)
    const rules = (...on: number[]) =>
      evaluate(many, claim({ topic: 't', labels: Object.fromEntries(on.map((i) => [`k${i}`, '1'])) }), 0).rules
    expect(rules(0, 33)).toEqual(['r00', 'r33'])
    expect(rules(1, 2)).toEqual(['r01', 'r02'])
    expect(rules(0, 33)).toEqual(['r00', 'r33'])
  })
  test('limits name their counter', () => {
    const limits = (labels: JsonObject) => evaluate(policy, claim({ topic: 'job.l', labels }), 0).limits
    expect(limits({ env: 'prod' })).toEqual([
      { key: 'limited|label:env|prod', rule: 'limited', rate: { count: 5, period_ms: 3_600_000 }, concurrent: 2 },
    ])
    expect(limits({})[0]!.key).toBe('limited|label:env|')
  })
  test('a default of REQUIRE_APPROVAL asks the approvers', () => {
    const asks = load('default_decision: REQUIRE_APPROVAL\nrules:\n  - { id: d, match: { topic: t }, decision: DENY }')
    expect(evaluate(asks, claim({}), 0)).toMatchObject({
      decision: 'REQUIRE_APPROVAL',
      approval: [{ from: ['role:approver'] }],
    })
  })
  test('shared parts cannot be changed by whoever gets them', () => {
    const { rules, constraints, approval, job_class } = evaluate(policy, claim({ labels: { b: '1' } }), 0)
    for (const part of [rules, constraints, approval, approval[0]!, job_class]) expect(Object.isFrozen(part)).toBe(true)
  })
  test('an evaluation that breaks inside is a denial', () => {
    const broken = { ...policy, tables: null } as never
    expect(evaluate(broken, claim({}), 0)).toMatchObject({ decision: 'DENY', rules: [], decided_by: null })
    const hostile = { ...claim({}), risk_tags: null, labels: null } as never
    expect(
      evaluate(load('rules:\n  - { id: a, match: { topic: job.>, risk_tags: [x] }, decision: ALLOW }'), hostile, 0)
        .decision,
    ).toBe('DENY')
  })
})

describe('job classes', () => {
  const policy = load(`rules:
  - { id: low, match: { topic: job.>, labels: { level: low } }, decision: ALLOW }
  - { id: high, match: { topic: job.>, labels: { level: high } }, decision: REQUIRE_APPROVAL }
  - { id: prod, match: { topic: job.>, environment: production }, decision: DENY }
job_classes:
  - { topic: job.>, timeout_ms: 50000, attempts: 5, owner: team:all, idempotent: true, respond_within: 4h }
  - { topic: job.x, timeout_ms: 70000, attempts: 2, owner: team:x, derive: { labels: { level: 'has(input.n) && input.n > 5 ? "high" : "low"' } } }
  - { topic: job.x.*, idempotent: false, set: { labels: { level: high }, environment: staging, risk_tags: [deep] } }
  - { topic: job.y, derive: { labels: { level: 'input.must' } } }
  - { topic: job.*.z, set: { labels: { level: low } } }
`)
  const ask = (job: JsonObject) => evaluate(policy, claim(job), 0)
  test('the tightest times, the most specific owner', () => {
    expect(ask({}).job_class).toEqual({
      topics: ['job.x', 'job.>'],
      timeout_ms: 50_000,
      attempts: 2,
      heartbeat_ms: 10_000,
      queue_timeout_ms: 3_600_000,
      idempotent: true,
      owner: 'team:x',
      respond_within_ms: 14_400_000,
    })
    expect(ask({ topic: 'job.x.a' }).job_class).toMatchObject({ idempotent: false, owner: 'team:all' })
    expect(evaluate(policy, claim({ topic: 'other' }), 0).job_class).toMatchObject({
      topics: [],
      timeout_ms: 60_000,
      attempts: 3,
    })
  })
  test('the server holds what it derives', () => {
    expect(ask({ labels: { level: 'low' }, input: { n: 9 } })).toMatchObject({
      decision: 'REQUIRE_APPROVAL',
      effective: { labels: { level: 'high' } },
    })
    expect(ask({ input: { n: 1 } })).toMatchObject({ decision: 'ALLOW', rules: ['low'] })
    // Saying worse of itself binds, and cannot be had for permission.
    expect(ask({ labels: { level: 'high' }, input: { n: 1 } })).toMatchObject({
      decision: 'REQUIRE_APPROVAL',
      rules: ['high', 'low'],
    })
  })
  test('set values and tags', () => {
    expect(ask({ topic: 'job.x.a', environment: 'production' })).toMatchObject({
      decision: 'DENY',
      rules: ['high', 'prod'],
      effective: { labels: { level: 'high' }, environment: 'staging', risk_tags: ['deep'] },
    })
    expect(ask({ topic: 'job.x.a' })).toMatchObject({ decision: 'REQUIRE_APPROVAL', rules: ['high'] })
  })
  test('a derivation that fails is a denial', () => {
    expect(ask({ topic: 'job.y', labels: { level: 'low' } })).toMatchObject({
      decision: 'DENY',
      decided_by: null,
      reason: 'deriving label:level failed: no such key: must',
    })
    expect(ask({ topic: 'job.y', input: { must: 5 } })).toMatchObject({
      decision: 'DENY',
      reason: 'deriving label:level gave no text',
    })
  })
  test('two equally specific classes that disagree are a denial', () => {
    expect(ask({ topic: 'job.x.z' })).toMatchObject({
      decision: 'DENY',
      reason: 'job classes job.*.z and job.x.* disagree on label:level',
    })
  })
  test('input schemas: faults for a 422, and a denial at the door', () => {
    const strict = load(
      'rules:\n  - { id: a, match: { topic: job.> }, decision: ALLOW }\njob_classes:\n  - { topic: job.x, input_schema: { type: object, required: [a], properties: { b: { type: integer } } } }',
    )
    const bad = claim({ input: { b: 'x' } })
    expect(validateInput(strict, bad)).toEqual([
      { path: '/a', message: 'is required' },
      { path: '/b', message: 'must be integer' },
    ])
    expect(evaluate(strict, bad, 0)).toMatchObject({
      decision: 'DENY',
      reason: 'the input does not fit the schema of its job class',
    })
    expect(validateInput(strict, claim({}))).toEqual([])
    expect(validateInput(strict, claim({ topic: 'NO TOPIC', input: 1 }))).toEqual([])
  })
})

test('no reason repeats what a job says', () => {
  const secret = 'hunter2'
  const policy = load(`rules:
  - { id: a, match: { topic: job.a }, when: 'bool(input.x)', decision: ALLOW }
  - { id: b, match: { topic: job.b }, when: 'input[input.x] == 1', decision: ALLOW }
  - { id: c, match: { topic: job.c }, when: 'now + duration(input.x) > now', decision: ALLOW }
  - { id: d, match: { topic: job.d }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { allowed_namespaces: [n], allowed_hosts: [h.example] } }
  - { id: e, match: { topic: job.e }, when: 'input.x.matches(input.y)', decision: ALLOW }
job_classes:
  - { topic: job.f, input_schema: { additionalProperties: false } }
  - { topic: job.g, derive: { labels: { l: 'string(bool(input.x))' } } }
`)
  const input = {
    x: secret,
    y: `(${secret}`,
    namespace: secret,
    url: `https://${secret}.example`,
    constructor: { name: secret },
  }
  for (const letter of 'abcdefg') {
    for (const given of [input, { ...input, x: { constructor: { name: secret } } }, { [secret]: 1 }]) {
      const { decision, reason } = evaluate(policy, claim({ topic: `job.${letter}`, input: given as never }), 0)
      expect(decision).toBe('DENY')
      expect(reason).not.toContain(secret)
    }
  }
})

test('a document no parser made is refused by name', () => {
  const { document } = load('rules:\n  - { id: a, match: { topic: t }, decision: ALLOW }')
  const broken = { ...document, rules: [{ ...document.rules[0]!, when: 'input.' }] }
  expect(() => compilePolicy(broken)).toThrow(PolicyCompileError)
  expect(() => compilePolicy(broken)).toThrow(/^a: /)
})

describe(`${proves('D9')} why`, () => {
  const policy = load(`rules:
  - { id: allow, match: { topic: job.x, labels: { env: dev } }, when: "has(input.n) && input.n > 5", decision: ALLOW, reason: ok }
  - { id: far, match: { topic: job.x, labels: { env: q, a: b, c: d } }, decision: ALLOW }
  - { id: typo, match: { topic: job.xx }, decision: ALLOW }
  - { id: elsewhere, match: { topic: mail.send }, decision: ALLOW }
  - { id: broken, match: { topic: job.x, labels: { boom: "1" } }, when: "input.zip == 1", decision: ALLOW }
  - { id: deny, match: { topic: job.x, labels: { cls: bad } }, decision: DENY }
job_classes:
  - { topic: job.x, set: { labels: { cls: good } } }
`)
  test('what nearly matched and exactly what failed, closest first', () => {
    const why = explain(policy, claim({ labels: { env: 'prod' }, input: { n: 9 } }), 0)
    expect(why).toMatchObject({ decision: 'DENY', decided_by: null, matched: [] })
    expect(why.nearly.map(({ rule }) => rule)).toEqual(['allow', 'deny', 'typo', 'broken'])
    expect(why.nearly[0]!.failed).toEqual([{ condition: 'labels.env', expected: 'dev', actual: 'prod', holds: false }])
    expect(why.overruled).toEqual([{ key: 'labels.cls', claimed: null, held: 'good' }])
  })
  test('on whose word', () => {
    const why = explain(policy, claim({ labels: { env: 'dev', cls: 'bad', boom: '1' }, input: { n: 9 } }), 0)
    expect(why.matched.map(({ rule, on }) => `${rule} ${on}`)).toEqual(['allow server', 'broken error', 'deny claim'])
    expect(why.overruled).toEqual([{ key: 'labels.cls', claimed: 'bad', held: 'good' }])
  })
})

test('differences between two documents', () => {
  const rule = (id: string, decision: string, more = '') =>
    `  - { id: ${id}, match: { topic: t }, decision: ${decision}${more} }`
  const before = load(
    `rules:\n${rule('a', 'ALLOW')}\n${rule('b', 'DENY')}\n${rule('c', 'DENY', ', reason: x')}`,
  ).document
  const after = load(
    `default_decision: REQUIRE_APPROVAL\nrules:\n${rule('a', 'DENY')}\n${rule('c', 'DENY', ', reason: y')}\n${rule('d', 'ALLOW')}`,
  ).document
  expect(diffPolicies(before, before)).toEqual([])
  const effects = diffPolicies(after, before).map(({ change, id, effect }) => `${change} ${id} ${effect}`)
  expect(effects).toEqual([
    'changed  tighter',
    'changed a looser',
    'added b tighter',
    'changed c null',
    'removed d tighter',
  ])
  expect(diffPolicies(before, after)).toEqual([
    {
      change: 'changed',
      what: 'default_decision',
      id: '',
      fields: [{ path: 'default_decision', before: 'DENY', after: 'REQUIRE_APPROVAL' }],
      effect: 'looser',
    },
    {
      change: 'changed',
      what: 'rule',
      id: 'a',
      fields: [{ path: 'decision', before: 'ALLOW', after: 'DENY' }],
      effect: 'tighter',
    },
    { change: 'removed', what: 'rule', id: 'b', fields: [], effect: 'looser' },
    { change: 'changed', what: 'rule', id: 'c', fields: [{ path: 'reason', before: 'x', after: 'y' }], effect: null },
    { change: 'added', what: 'rule', id: 'd', fields: [], effect: 'looser' },
  ])
})

describe('comprehensions inside comprehensions', () => {
  const policy = load(`rules:
  - { id: twice, match: { topic: job.x }, when: "input.items.exists(a, input.items.filter(b, b == a).size() > 1)", decision: DENY }
  - { id: once, match: { topic: job.y }, when: "input.items.all(a, a > 0)", decision: ALLOW }
`)
  const items = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

  test('run while they take few steps, and deny by name when they do not', () => {
    expect(evaluate(policy, claim({ input: { items: [1, 2, 1] } }), 0)).toMatchObject({ decided_by: 'twice' })
    const wide = evaluate(policy, claim({ input: { items: items(5000) } }), 0)
    expect(wide.decision).toBe('DENY')
    expect(wide.reason).toContain('too much work')
  })
  test('one pass takes the largest job', () => {
    expect(evaluate(policy, claim({ topic: 'job.y', input: { items: items(50_000) } }), 0).decision).toBe('ALLOW')
  })
})
