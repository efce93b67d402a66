import { describe, expect, test } from 'vitest'
import { policyDigest } from './compile.js'
import { DEFAULT_APPROVAL } from './document.js'
import { parsePolicy } from './parse.js'

const parse = (text: string) => parsePolicy([{ path: 'p.yaml', text }])
/** `code line:column path` of every error. */
const faultsOf = (text: string) =>
  parse(text)
    .faults.filter(({ severity }) => severity === 'error')
    .map(({ code, line, column, path }) => `${code} ${line}:${column} ${path}`)

const RULE = '  - { id: a, match: { topic: t }, decision: ALLOW }'

test('all faults of a file at once, each where it stands', () => {
  const text = `version: v2
default_decison: DENY
rules:
  - id: one
    match: { topic: Job.Upper, lables: {env: prod} }
    decision: DENNY
    when: input.amount >
    constraints: { max_replica: 3, timeout_ms: soon }
  - id: one
    decision: ALLOW
  - match: { topic: t }
    decision: REQUIRE_APPROVAL
    approval: { from: finance, need: 0, within: 4 hours }
    limits: { rate: 5 per hour }
`
  expect(faultsOf(text)).toEqual([
    'unknown_version 1:10 version',
    'unknown_key 2:1 default_decison',
    'bad_topic 5:21 rules[0].match.topic',
    'unknown_key 5:32 rules[0].match.lables',
    'bad_value 6:15 rules[0].decision',
    'bad_expression 7:25 rules[0].when',
    'unknown_constraint 8:33 rules[0].constraints.max_replica',
    'bad_value 8:48 rules[0].constraints.timeout_ms',
    'missing_key 9:5 rules[1]',
    'missing_key 11:5 rules[2]',
    'bad_value 13:23 rules[2].approval.from',
    'wrong_type 13:38 rules[2].approval.need',
    'bad_value 13:49 rules[2].approval.within',
    'bad_value 14:21 rules[2].limits.rate',
  ])
  const hints = parse(text).faults.map(({ hint }) => hint)
  expect(hints).toContain("did you mean 'default_decision'?")
  expect(hints).toContain("did you mean 'labels'?")
  expect(hints).toContain("did you mean 'DENY'?")
  expect(hints).toContain("did you mean 'max_replicas'?")
  expect(parse(text).document).toBeNull()
})

test.each([
  ['no YAML', 'rules: [', 'yaml_syntax'],
  ['empty', '', 'empty_file'],
  ['a list', '- a', 'wrong_type'],
  ['text', 'hello', 'wrong_type'],
  ['two documents', 'version: v1\n---\nversion: v1', 'yaml_syntax'],
  ['repeated key', 'version: v1\nversion: v1', 'duplicate_key'],
  ['repeated key deep down', `rules:\n  - { id: a, match: { topic: t, topic: u }, decision: ALLOW }`, 'duplicate_key'],
  ['repeated id', `rules:\n${RULE}\n${RULE}`, 'duplicate_id'],
  ['id and name', 'rules:\n  - { id: a, name: a, match: { topic: t }, decision: ALLOW }', 'duplicate_key'],
  [
    'an alias',
    'rules:\n  - { id: a, match: &m { topic: t }, decision: ALLOW }\n  - { id: b, match: *m, decision: ALLOW }',
    'alias_refused',
  ],
  ['a merge key', 'x: &x { id: a }\nrules: [{ <<: *x }]', 'unknown_key'],
  ['a tag', 'rules:\n  - { id: a, match: { topic: t }, decision: DENY, reason: !!str x }', 'tag_refused'],
  ['a prototype key', 'rules:\n  - { id: a, match: { labels: { __proto__: x } }, decision: ALLOW }', 'bad_key'],
  ['an empty match', 'rules:\n  - { id: a, match: {}, decision: ALLOW }', 'bad_value'],
  ['an empty list', 'rules:\n  - { id: a, match: { topic: [] }, decision: ALLOW }', 'bad_value'],
  ['a key without value', 'rules:\n  - { id: a, match: { topic: }, decision: ALLOW }', 'missing_value'],
  [
    'no constraints to allow with',
    'rules:\n  - { id: a, match: { topic: t }, decision: ALLOW_WITH_CONSTRAINTS }',
    'missing_key',
  ],
  [
    'constraints on a bare ALLOW',
    'rules:\n  - { id: a, match: { topic: t }, decision: ALLOW, constraints: { timeout_ms: 1 } }',
    'bad_value',
  ],
  [
    'approval on a DENY',
    'rules:\n  - { id: a, match: { topic: t }, decision: DENY, approval: { need: 2 } }',
    'bad_value',
  ],
  [
    'when that gives no bool',
    'rules:\n  - { id: a, match: { topic: t }, when: "size(topic)", decision: DENY }',
    'bad_expression',
  ],
  [
    'unknown variable',
    'rules:\n  - { id: a, match: { topic: t }, when: "user.admin", decision: DENY }',
    'bad_expression',
  ],
  [
    'no host',
    'rules:\n  - { id: a, match: { topic: t }, decision: DENY, constraints: { allowed_hosts: ["https://x.example/"] } }',
    'bad_value',
  ],
  [
    'set and derived',
    'job_classes:\n  - { topic: t, set: { labels: { a: b } }, derive: { labels: { a: "topic" } } }',
    'conflict',
  ],
  ['unknown schema keyword', 'job_classes:\n  - { topic: t, input_schema: { propertyNames: {} } }', 'bad_schema'],
  ['backtracking-only pattern', 'job_classes:\n  - { topic: t, input_schema: { pattern: "(?=a)" } }', 'bad_schema'],
  ['a fixture without topic', 'tests:\n  - { name: n, job: {}, expect: DENY }', 'missing_key'],
  ['lone surrogate', 'rules:\n  - { id: a, match: { topic: t }, decision: DENY, reason: "\\uD800" }', 'bad_value'],
  ['unknown output action', 'output_rules:\n  - { id: o, match: { topic: t }, on: { secret: HIDE } }', 'bad_value'],
])('refuses %s', (_, text, code) => {
  expect(faultsOf(text).map((line) => line.split(' ')[0])).toContain(code)
})

test('hostile files end quickly and in a fault', () => {
  const bombs = [
    '['.repeat(200_000),
    `a: ${'{a: '.repeat(50_000)}`,
    `a: &a [x]\n${Array.from({ length: 30 }, (_, i) => `b${i}: &b${i} [*a,*a,*a,*a,*a,*a,*a,*a,*a]`).join('\n')}`,
    'x'.repeat(5 * 1024 * 1024),
    Array.from({ length: 20_000 }, (_, i) => `k${i}: 1`).join('\n'),
    `job_classes: [{ topic: t, input_schema: ${'{ items: '.repeat(200)}true${' }'.repeat(200)} }]`,
    `rules: [{ id: a, match: { topic: t }, decision: DENY, when: "${'('.repeat(2000)}" }]`,
    `rules: [{ id: a, match: { topic: t }, decision: DENY, when: "${'!'.repeat(3000)}true" }]`,
  ]
  for (const text of bombs) {
    const { document, faults } = parse(text)
    expect(document).toBeNull()
    expect(faults.length).toBeGreaterThan(0)
    expect(faults.length).toBeLessThanOrEqual(201)
  }
})

describe('one policy of several files', () => {
  const a = { path: 'a.yaml', text: `version: v1\nrules:\n${RULE}` }
  const b = { path: 'b.yaml', text: 'version: v1\nrules:\n  - { id: b, match: { topic: u }, decision: DENY }' }
  test('adds up, in any order, to the same digest', () => {
    const [one, other] = [parsePolicy([a, b]).document!, parsePolicy([b, a]).document!]
    expect(one.rules.map(({ id }) => id)).toEqual(['a', 'b'])
    expect(policyDigest(one)).toBe(policyDigest(other))
    expect(policyDigest(one)).not.toBe(policyDigest(parsePolicy([a]).document!))
  })
  test('refuses an id that another file has, naming it', () => {
    const { document, faults } = parsePolicy([a, { path: 'b.yaml', text: a.text }])
    expect(document).toBeNull()
    expect(faults).toMatchObject([
      { code: 'duplicate_id', file: 'b.yaml', line: 3, message: "rule 'a' is already at a.yaml:3" },
    ])
  })
  test('refuses two defaults', () => {
    const say = (word: string) => ({ path: `${word}.yaml`, text: `version: v1\ndefault_decision: ${word}` })
    expect(parsePolicy([say('ALLOW'), say('DENY')]).faults).toMatchObject([
      { code: 'conflict', file: 'DENY.yaml', line: 2 },
    ])
  })
  test('needs one', () => {
    expect(parsePolicy([])).toMatchObject({ document: null, faults: [{ code: 'missing_file' }] })
  })
})

test('the digest is of what the file means, not of how it is written', () => {
  const one = parse(
    'version: v1\nrules:\n  - { id: a, match: { topic: [t, u] }, decision: ALLOW }\n  - { id: b, match: { topic: t }, decision: DENY }',
  )
  const other = parse(
    '# a comment\nrules:\n  - name: b\n    decision: DENY\n    match:\n      topic: "t"\n  - id: a\n    match: { topic: [u, t, t] }\n    decision: ALLOW\ndefault_decision: DENY\n',
  )
  expect(policyDigest(one.document!)).toBe(policyDigest(other.document!))
  const changed = parse(
    'version: v1\nrules:\n  - { id: a, match: { topic: [t, u] }, decision: ALLOW }\n  - { id: b, match: { topic: t }, decision: DENY, reason: x }',
  )
  expect(policyDigest(one.document!)).not.toBe(policyDigest(changed.document!))
})

test('defaults and durations', () => {
  const { document } = parse(`version: v1
rules:
  - { id: a, match: { topic: t, labels: { n: 1, yes: true } }, decision: REQUIRE_APPROVAL }
  - { id: b, match: { topic: t }, decision: REQUIRE_APPROVAL, approval: { from: [team:x, principal:user:ann], within: 1h30m, then: escalate } }
  - { id: c, match: { topic: t }, decision: DENY, limits: { rate: 20/10m, per: "label:env" } }
`)
  expect(document!.default_decision).toBe('DENY')
  expect(document!.high_risk.length).toBe(4)
  const [a, b, c] = document!.rules
  expect(a!.match.labels).toEqual({ n: ['1'], yes: ['true'] })
  expect(a!.approval).toEqual(DEFAULT_APPROVAL)
  expect(b!.approval).toMatchObject({ from: ['principal:user:ann', 'team:x'], need: 1, within_ms: 5_400_000 })
  expect(b!.approval!.then).toBe('escalate')
  expect(c!.limits).toEqual({ rate: { count: 20, period_ms: 600_000 }, concurrent: null, per: 'label:env' })
})

test('an expression fault is shown inside the text, quoted or folded', () => {
  const quoted = 'rules:\n  - { id: a, match: { topic: t }, decision: DENY, when: "input.a > 1 && nope" }'
  expect(faultsOf(quoted)).toEqual([`bad_expression 2:${quoted.split('\n')[1]!.indexOf('nope') + 1} rules[0].when`])
})
