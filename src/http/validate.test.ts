import { expect, test } from 'vitest'
import { SubmitBatch, SubmitJob } from '../contract/jobs.js'
import type { Problem } from '../errors.js'
import { validator } from './validate.js'

const faultsOf = (schema: Parameters<typeof validator>[0], value: unknown) => {
  try {
    validator(schema)(value)
    return []
  } catch (error) {
    return (error as Problem).extra.faults
  }
}

test('a list past its bound is one fault at its place, wherever it stands and however alike its items are', () => {
  // Ten thousand, so that without the bound this fails in seconds; the real body has thirty times as many.
  const tags = Array.from({ length: 10_000 }, () => '! ')
  const message = 'must not have more than 64 items'
  expect(faultsOf(SubmitJob, { topic: 'a', risk_tags: tags })).toEqual([{ path: '/risk_tags', message }])
  const jobs = [{ topic: 'a' }, { topic: 'a', risk_tags: tags }]
  expect(faultsOf(SubmitBatch, { jobs })).toEqual([{ path: '/jobs/1/risk_tags', message }])
  const many = Array.from({ length: 1001 }, () => ({ topic: 'a' }))
  expect(faultsOf(SubmitBatch, { jobs: many })).toEqual([
    { path: '/jobs', message: 'must not have more than 1000 items' },
  ])
})

test('a list within its bound has every fault named', () => {
  const faults = faultsOf(SubmitJob, { topic: 'A', risk_tags: ['ok', '! '], more: 1 }) as { path: string }[]
  expect(faults.map(({ path }) => path).sort()).toEqual(['/', '/risk_tags/1', '/topic'])
})
