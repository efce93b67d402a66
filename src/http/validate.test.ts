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

test('unknown fields are named however many there are, and more than a slip at once', () => {
  const body = (n: number) => ({ topic: 'a', ...Object.fromEntries(Array.from({ length: n }, (_, i) => [`k${i}`, 1])) })
  const unknown = { path: '/', message: 'must not have additional properties: k0, k1, k2, k3, k4' }
  for (const n of [8, 15]) expect(faultsOf(SubmitJob, body(n))).toEqual([unknown])
  expect(faultsOf(SubmitJob, body(100_000))).toEqual([
    { path: '/', message: 'must not have more than 38 properties: k0, k1, k2, k3, k4' },
  ])
  const labels = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [` ${i}`, 'x']))
  expect(faultsOf(SubmitJob, { topic: 'a', labels })).toEqual([
    { path: '/labels', message: expect.stringContaining('must not have more than 64 properties') },
  ])
})

test('up to fifty faults are named', () => {
  const jobs = Array.from({ length: 1000 }, () => ({ topic: 'A' }))
  expect(faultsOf(SubmitBatch, { jobs })).toHaveLength(50)
})
