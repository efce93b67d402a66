import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { codeOf, openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
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

const ALLOW = `version: v1\ndefault_decision: DENY\nrules:\n  - { id: do, match: { topic: job.do.* }, decision: ALLOW }\n`

async function pagesOf(t: Tenancy, run_id: string, limit: number) {
  const pages: Awaited<ReturnType<typeof timeline>>[] = []
  for (let cursor: string | undefined; pages.length === 0 || cursor !== undefined; ) {
    const page = await timeline(plane.world, t.tenant, { run_id }, cursor, limit)
    pages.push(page)
    cursor = page.next_cursor ?? undefined
  }
  return { pages, entries: pages.flatMap(({ items }) => items) }
}

test('a large run comes whole and each entry once, by stretches of its jobs, however full of others their tiles are', async () => {
  const t = await plane.tenant(ALLOW)
  const submitted = await Promise.all(
    Array.from({ length: 1203 }, async (_, n) => {
      // Every third one is denied, and so has no job that could name its tile.
      const topic = n % 3 === 0 ? 'job.no.it' : 'job.do.it'
      return codeOf(t.trySubmit({ topic, run_id: n % 4 === 0 ? 'other' : 'large' }))
    }),
  )
  expect(submitted.filter((code) => code === 'policy_denied')).toHaveLength(401)
  await integrate(plane.world, plane.key)
  const { entries, pages } = await pagesOf(t, 'large', 100)
  expect(new Set(entries.map(({ index }) => index)).size).toBe(entries.length)
  expect(entries).toHaveLength(902)
  expect(entries.filter(({ kind }) => kind === 'job.denied')).toHaveLength(300)
  expect(pages.every(({ items }) => items.length > 0)).toBe(true)
  // What came since is on the last page already, integrated or not.
  const { job_id } = await t.submit({ topic: 'job.do.it', run_id: 'large' })
  expect((await pagesOf(t, 'large', 100)).entries.at(-1)).toMatchObject({ index: null, facts: { job_id } })
})

test('a page of a run costs what a page has, however large somebody made the run', async () => {
  const t = await plane.tenant(ALLOW)
  const { job_id } = await t.submit({ topic: 'job.do.it', run_id: 'huge' })
  const columns = await plane.db.query<{ name: string }>(
    "SELECT column_name AS name FROM information_schema.columns WHERE table_name = 'jobs' ORDER BY ordinal_position",
  )
  const names = columns.map(({ name }) => name)
  const of: Record<string, string> = {
    job_id: "job_id || '-' || n",
    tiles: "'wr_none/' || n || ' wr_none/' || n + 1 || ' '",
  }
  const values = names.map((name) => of[name] ?? name)
  await plane.db.query(
    `INSERT INTO jobs (${names.join(', ')}) SELECT ${values.join(', ')} FROM jobs, generate_series(1, 20000) n WHERE tenant = $1 AND job_id = $2`,
    [t.tenant, job_id],
  )
  let most = 0
  plane.db.tap = async (_, send) => {
    const rows = await send()
    most = Math.max(most, rows.length)
    return rows
  }
  await timeline(plane.world, t.tenant, { run_id: 'huge' }, undefined, 1)
  expect(most).toBeLessThanOrEqual(500)
})
