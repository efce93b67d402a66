import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { openPlane, type TestPlane } from '../../test/plane.js'
import { integrate } from './integrate.js'
import { timeline } from './timeline.js'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

test('shows every entry once, also when a tile gets its place between the two reads', async () => {
  const t = await plane.tenant(`version: v1\nrules:\n  - { id: do, match: { topic: job.do.* }, decision: ALLOW }\n`)
  const { job_id } = await t.submit({ topic: 'job.do.it' })
  const kinds = async () => (await timeline(plane.world, t.tenant, { job_id }, undefined, 100)).items.map((e) => e.kind)
  expect(await kinds()).toEqual(['job.submitted'])
  let between = false
  plane.db.tap = async (sql, run) => {
    const rows = await run()
    if (between || !/FROM audit_(tiles|entries)/.test(sql)) return rows
    between = true
    plane.db.tap = null
    await integrate(plane.world, plane.key)
    return rows
  }
  expect(await kinds()).toEqual(['job.submitted'])
  expect(between).toBe(true)
  expect(await kinds()).toEqual(['job.submitted'])
})
