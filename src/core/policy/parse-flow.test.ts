import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { proves } from '../../../test/requirements.js'
import { aClaim } from '../../../test/rows.js'
import { decide, standingAt } from '../door.js'
import { compilePolicy } from './compile.js'
import { type ApprovalSpec, DEFAULT_APPROVAL } from './document.js'
import { runFixtures } from './fixtures.js'
import { parsePolicy } from './parse.js'

/** What may stand under `approval`, and what it comes to. */
const HOUR = 3_600_000
const parse = (approval: string) =>
  parsePolicy([
    {
      path: 'p.yaml',
      text: `version: v1\nrules:\n  - { id: ask, match: { topic: t }, decision: REQUIRE_APPROVAL, approval: ${approval} }\n`,
    },
  ])
const spec = (approval: string): ApprovalSpec => {
  const { document, faults } = parse(approval)
  expect(faults).toEqual([])
  return document?.rules[0]?.approval as ApprovalSpec
}

describe('a flow of one level', () => {
  test('has the same form however it is written, so that what it hashed to before it hashes to now', () => {
    const plain = { ...DEFAULT_APPROVAL, from: ['team:x'], need: 2, within_ms: HOUR }
    expect(spec('{ from: team:x, need: 2, within: 1h }')).toEqual(plain)
    expect(spec('{ levels: [ { from: team:x, need: 2, within: 1h } ] }')).toEqual(plain)
    expect(spec('{ from: team:x, need: 2, within: 1h, kind: four_eyes }')).toEqual(plain)
    expect(spec('{ levels: [ { from: team:x, need: 2, within: 1h } ], order: parallel }')).toEqual(plain)
    expect(Object.keys(spec('{}')).sort()).toEqual(['from', 'need', 'then', 'valid_for_ms', 'within_ms'])
  })

  test('digests and grant hashes of policies with the old keys alone are what they were before there were others', () => {
    const text = `version: v1
rules:
  - { id: a, match: { topic: job.do.it }, decision: REQUIRE_APPROVAL }
  - { id: b, match: { topic: job.do.it }, decision: REQUIRE_APPROVAL, approval: { from: [team:x, role:y], need: 2, within: 4h, then: escalate, valid_for: 1h } }
`
    const policy = compilePolicy(parsePolicy([{ path: 'p.yaml', text }]).document!)
    const { grant_hash, bound_hash } = decide(
      policy,
      aClaim({ topic: 'job.do.it' }),
      standingAt('submit', 0, null, null),
    )
    expect([policy.digest, grant_hash, bound_hash]).toEqual([
      '8dcb8eb58e7277216d1b3283d1957e6ccc6e980766f89897a2a97a36ce7d756f',
      '7531ccc5a836baf098c3c33020a48b3bf3d89f806047e7e1aa76b28401817a4c',
      '2e7b118ae5e35a037c108d7f49929aac8a1d692e43d54af3fbb8442cf7ba5834',
    ])
  })
})

describe('levels', () => {
  const TWO = 'levels: [ { from: [lead:owner], within: 1h }, { from: [team:b, role:a], need: 2, within: 2h } ]'
  const levels = [
    { from: ['lead:owner'], need: 1, within_ms: HOUR },
    { from: ['role:a', 'team:b'], need: 2, within_ms: 2 * HOUR },
  ]
  test('are summed up for whoever reads only that', () => {
    const from = ['lead:owner', 'role:a', 'team:b']
    expect(spec(`{ ${TWO} }`)).toEqual({ ...DEFAULT_APPROVAL, from, need: 3, within_ms: 3 * HOUR, levels })
    expect(spec(`{ ${TWO}, order: parallel }`)).toMatchObject({
      need: 3,
      within_ms: 2 * HOUR,
      order: 'parallel',
      levels,
    })
    expect(spec(`{ ${TWO}, kind: confirmation }`)).toMatchObject({ need: 2, kind: 'confirmation', levels })
    expect(spec(`{ ${TWO}, order: sequence, kind: four_eyes }`)).toEqual(spec(`{ ${TWO} }`))
  })

  test('when who has not answered is reminded; what says nothing of it hashes to what it hashed to before', () => {
    const remind_after_ms = 600_000
    expect(spec('{ within: 1h, remind_after: 10m }')).toEqual({ ...DEFAULT_APPROVAL, within_ms: HOUR, remind_after_ms })
    expect(spec('{ levels: [ { from: team:x, within: 1h, remind_after: 10m } ] }')).toMatchObject({ remind_after_ms })
    const two = spec('{ levels: [ { from: team:x, within: 1h, remind_after: 10m }, { from: team:y } ] }')
    expect(two.levels?.map((level) => level.remind_after_ms)).toEqual([remind_after_ms, undefined])
    expect('remind_after_ms' in two).toBe(false)
  })

  test('a ladder, whose rungs have the time of the flow unless they say their own', () => {
    const { ladder } = spec(
      '{ within: 1h, then: escalate, ladder: [ { from: oncall:x }, { from: role:admin, after: 5m } ] }',
    )
    expect(ladder).toEqual([
      { from: ['oncall:x'], after_ms: HOUR },
      { from: ['role:admin'], after_ms: 300_000 },
    ])
  })
})

test.each([
  ['{ from: finance }', 'bad_value rules[0].approval.from'],
  ['{ from: "lead:" }', 'bad_value rules[0].approval.from'],
  ['{ levels: [] }', 'bad_value rules[0].approval.levels'],
  ['{ levels: [ {} ] }', 'missing_key rules[0].approval.levels[0]'],
  ['{ levels: [ { from: team:x, then: deny } ] }', 'unknown_key rules[0].approval.levels[0].then'],
  ['{ levels: [ { from: team:x, need: 51 } ] }', 'bad_value rules[0].approval.levels[0]'],
  ['{ from: team:x, levels: [ { from: team:y } ] }', 'bad_value rules[0].approval.from'],
  ['{ within: 1h, levels: [ { from: team:y } ] }', 'bad_value rules[0].approval.within'],
  ['{ within: 1h, remind_after: 1h }', 'bad_value rules[0].approval.remind_after'],
  ['{ remind_after: soon }', 'bad_value rules[0].approval.remind_after'],
  ['{ remind_after: 1h, levels: [ { from: team:y } ] }', 'bad_value rules[0].approval.remind_after'],
  ['{ order: parallel }', 'bad_value rules[0].approval.order'],
  ['{ levels: [ { from: team:x } ], order: any }', 'bad_value rules[0].approval.order'],
  ['{ kind: two_eyes }', 'bad_value rules[0].approval.kind'],
  ['{ then: allow }', 'bad_value rules[0].approval.then'],
  ['{ ladder: [ { from: role:admin } ] }', 'bad_value rules[0].approval.ladder'],
  ['{ then: escalate, ladder: [] }', 'bad_value rules[0].approval.ladder'],
  ['{ then: escalate, ladder: [ { after: 1h } ] }', 'missing_key rules[0].approval.ladder[0]'],
  ['{ then: escalate, ladder: [ { from: somebody } ] }', 'bad_value rules[0].approval.ladder[0].from'],
])('%s: %s', (approval, fault) => {
  expect(parse(approval).faults.map(({ code, path }) => `${code} ${path}`)).toContain(fault)
})

test('more than ten levels are refused', () => {
  const eleven = Array.from({ length: 11 }, (_, n) => `{ from: team:t${n} }`).join(', ')
  expect(parse(`{ levels: [ ${eleven} ] }`).faults[0]).toMatchObject({
    code: 'bad_value',
    message: 'more than 10 levels',
  })
})

describe(`${proves('A2', 'A3')} examples/policies/flows.yaml`, () => {
  const path = 'examples/policies/flows.yaml'
  const { document, faults } = parsePolicy([{ path, text: readFileSync(path, 'utf8') }])
  const policy = compilePolicy(document!)
  test('has neither errors nor warnings', () => expect(faults).toEqual([]))
  test.each(runFixtures(policy, 0))('$name', ({ differences }) => expect(differences).toEqual([]))
})
