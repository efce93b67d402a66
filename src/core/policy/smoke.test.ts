import { readFileSync } from 'node:fs'
import { test } from 'vitest'
import { compilePolicy } from './compile.js'
import { runFixtures } from './fixtures.js'
import { parsePolicy } from './parse.js'

test('smoke', () => {
  const path = 'examples/policies/default.yaml'
  const { document, faults } = parsePolicy([{ path, text: readFileSync(path, 'utf8') }])
  console.log(faults)
  if (document) {
    const p = compilePolicy(document)
    console.log(
      p.digest,
      runFixtures(p, 0).filter((r) => !r.pass),
    )
  }
})
