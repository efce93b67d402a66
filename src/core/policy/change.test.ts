import { expect, test } from 'vitest'
import { CHANGES, changeFault, changeOf, governs, isOwn } from './change.js'
import { compilePolicy } from './compile.js'
import { parsePolicy } from './parse.js'

const policy = (...topics: string[]) => {
  const rules = topics.map((topic, n) => `  - { id: r${n}, match: { topic: '${topic}' }, decision: ALLOW }`)
  const text = `version: v1\ndefault_decision: DENY\nrules:\n${rules.join('\n')}\n`
  const { document, faults } = parsePolicy([{ path: 'policy.yaml', text }])
  if (document === null) throw new Error(JSON.stringify(faults))
  return compilePolicy(document)
}
const said = (...topics: string[]) => [governs(policy(...topics), 'activate'), governs(policy(...topics), 'rollback')]

test('a policy has a say in what comes after it only where a rule names that by its first word', () => {
  expect(said('job.read.*')).toEqual([false, false])
  expect(said('>')).toEqual([false, false])
  expect(said('*.policy.activate')).toEqual([false, false])
  expect(said('job.read.*', CHANGES.activate)).toEqual([true, false])
  expect(said('sallyport.policy.*')).toEqual([true, true])
  expect(said('sallyport.>')).toEqual([true, true])
  expect(said('sallyport.other.*')).toEqual([false, false])
})

test('own topics are those whose first word is the plane’s, and no others that begin alike', () => {
  expect(['sallyport.policy.activate', 'sallyport.x', 'sallyport'].map(isOwn)).toEqual([true, true, true])
  expect(['sallyports.policy.activate', 'job.sallyport.policy', 'sallyport-x.y'].map(isOwn)).toEqual([
    false,
    false,
    false,
  ])
})

test('an input that names no two digests asks for nothing', () => {
  const digest = 'a'.repeat(64)
  const other = 'b'.repeat(64)
  expect(changeOf({ snapshot: digest, before: other, note: 'x' })).toEqual({ snapshot: digest, before: other })
  for (const input of [
    null,
    'x',
    [],
    {},
    { snapshot: digest },
    { snapshot: 'v1:aaaaaaa', before: other },
    { snapshot: 1, before: other },
  ])
    expect(changeOf(input)).toBe(null)
  expect(changeFault({ before: other }, other)).toBe(null)
  expect(changeFault({ before: other }, digest)).toMatch(/Another policy was activated/)
  expect(changeFault({ before: other }, null)).toMatch(/Another policy was activated/)
  expect(changeFault(null, other)).toMatch(/names no snapshot/)
})
