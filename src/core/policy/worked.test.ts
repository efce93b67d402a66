import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { proves } from '../../../test/requirements.js'
import { compilePolicy } from './compile.js'
import { runFixtures } from './fixtures.js'
import { parsePolicy } from './parse.js'

/** The worked examples of docs/policy-conditions.md, each with the tests it carries. */
describe.each(['support', 'refunds', 'deploys'])(`${proves('D6')} examples/policies/%s.yaml`, (name) => {
  const path = `examples/policies/${name}.yaml`
  const { document, faults } = parsePolicy([{ path, text: readFileSync(path, 'utf8') }])
  const policy = compilePolicy(document!)
  test('has neither errors nor warnings', () => expect(faults).toEqual([]))
  test.each(runFixtures(policy, Date.UTC(2026, 2, 4, 10)))('$name', ({ differences }) => {
    expect(differences).toEqual([])
  })
  test('every condition it uses is explained', () => {
    const page = readFileSync('docs/policy-conditions.md', 'utf8').replaceAll('\\|', '|')
    for (const { when } of document!.rules) if (when !== null) expect(page).toContain(when)
  })
})
