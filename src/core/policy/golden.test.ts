import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { proves } from '../../../test/requirements.js'
import { compilePolicy } from './compile.js'
import { runFixtures } from './fixtures.js'
import { parsePolicy } from './parse.js'

const FOLDER = 'test/golden/policy'
const read = (path: string) => ({ path, text: readFileSync(path, 'utf8') })
const tables = readdirSync(FOLDER).filter((name) => name.endsWith('.tests.yaml'))

/** Each truth table is itself a policy file that holds only `tests:`, so the fixture runner is what runs it. */
describe.each(tables)(`${proves('D1', 'D2')} %s`, (table) => {
  const { document, faults } = parsePolicy([
    read(`${FOLDER}/${table.replace('.tests', '')}`),
    read(`${FOLDER}/${table}`),
  ])
  test('reads without an error', () => {
    expect(faults.filter(({ severity }) => severity === 'error')).toEqual([])
  })
  const results = document ? runFixtures(compilePolicy(document), 0) : []
  test.each(results)('$name', ({ differences }) => {
    expect(differences).toEqual([])
  })
})

test('there are tables', () => {
  expect(tables.length).toBeGreaterThanOrEqual(4)
})

test('a wrong expectation fails its fixture and says how', () => {
  const text = `
version: v1
rules: [{ id: a, match: { topic: t }, decision: ALLOW }]
tests: [{ name: wrong, job: { topic: t }, expect: { decision: DENY, rules: [b], constraints: { timeout_ms: 5 } } }]
`
  const [result] = runFixtures(compilePolicy(parsePolicy([{ path: 'p.yaml', text }]).document!), 0)
  expect(result).toMatchObject({ pass: false, expected: 'DENY', actual: 'ALLOW' })
  expect(result!.differences).toEqual([
    'decision is "ALLOW", not "DENY"',
    'rules is ["a"], not ["b"]',
    'constraint timeout_ms is absent, not 5',
  ])
})

test('the samples warn about exactly what they leave open', () => {
  const codes = (name: string) =>
    parsePolicy([read(`${FOLDER}/${name}`)]).faults.map(({ code, path }) => `${code} ${path}`)
  expect(codes('safety-policy.yaml')).toEqual([])
  expect(codes('production-policy.yaml')).toEqual([])
  // Without a version, and `deployment-limits` permits what `production-writes` would ask about.
  expect(codes('named-rules.yaml')).toEqual(['no_version ', 'claimed_guard rules[0]', 'claimed_guard rules[0]'])
})
