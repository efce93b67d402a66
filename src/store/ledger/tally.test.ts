import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { breakCommit, isCommit, openPlane, type Tenancy, type TestPlane, turns } from '../../../test/plane.js'
import type { Log } from '../../platform/log.js'
import { Metrics } from '../../platform/metrics.js'
import { countCommits, tally } from './tally.js'

const ALLOW = 'version: v1\nrules:\n  - { id: do, match: { topic: job.> }, decision: ALLOW }\n'
const ASK = 'version: v1\nrules:\n  - { id: ask, match: { topic: job.> }, decision: REQUIRE_APPROVAL }\n'
const PRIVATE_KEY = `-----BEGIN PRIVATE KEY-----\n${'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC'.repeat(4)}\n-----END PRIVATE KEY-----`

let plane: TestPlane
let metrics: Metrics
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
  plane.world.ledger.observe = null
})
afterAll(() => plane.close())

/** A tenant of its own whose commits are counted from now on. */
async function counted(policy: string): Promise<Tenancy> {
  const t = await plane.tenant(policy)
  metrics = new Metrics()
  plane.world.ledger.observe = () => (intents) => tally(metrics, intents, 0.002)
  return t
}

/** Series of one metric, as `name="value" …` to number. */
async function series(name: string): Promise<Record<string, number>> {
  const lines = (await metrics.text(null)).split('\n').filter((line) => new RegExp(`^${name}(\\{| )`).test(line))
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.lastIndexOf(' ')
      const labels = [...line.slice(0, at).matchAll(/(\w+)="([^"]*)"/g)]
      const shown = labels.filter(([, label]) => label !== 'tenant').map(([, , value]) => value)
      return [shown.join(' '), Number(line.slice(at))]
    }),
  )
}

describe('what is counted', () => {
  test('jobs by topic and event, decisions by door, attempts, results, entries', async () => {
    const t = await counted(ALLOW)
    await (async () => {
      const { lease } = await t.lease({ topic: 'job.a' })
      plane.clock.advance(2000)
      await t.succeed(lease, 'fine')
    })()
    await t.succeed((await t.lease({ topic: 'job.a' })).lease, PRIVATE_KEY)
    await t.fail((await t.lease({ topic: 'job.b' })).lease, 'terminal')
    expect(await series('sallyport_jobs_total')).toEqual({
      'job.a submitted': 2,
      'job.a leased': 2,
      'job.a succeeded': 1,
      'job.a quarantined': 1,
      'job.b submitted': 1,
      'job.b leased': 1,
      'job.b dead_lettered': 1,
    })
    expect(await series('sallyport_decisions_total')).toEqual({ 'submit ALLOW': 3, 'dispatch ALLOW': 3 })
    expect(await series('sallyport_attempts_total')).toEqual({
      'job.a succeeded none': 2,
      'job.b failed terminal': 1,
    })
    expect(await series('sallyport_results_total')).toEqual({ ALLOW: 1, QUARANTINE: 1 })
    expect(await series('sallyport_audit_entries_total')).toMatchObject({ 'job.leased': 3 })
    expect(await series('sallyport_job_duration_seconds_sum')).toMatchObject({ succeeded: 2, dead_letter: 0 })
    expect(await series('sallyport_attempt_duration_seconds_count')).toEqual({ succeeded: 2, failed: 1 })
    expect(await series('sallyport_dispatch_wait_seconds_count')).toEqual({ '': 3 })
    expect((await series('sallyport_ledger_commit_duration_seconds_sum'))['']).toBeCloseTo(0.018)
  })

  test('how long people took, once an answer is whole', async () => {
    const t = await counted(ASK)
    const { approval_id } = await t.submit({ topic: 'job.a' })
    plane.clock.advance(90_000)
    await t.approve(approval_id as string)
    expect(await series('sallyport_approval_wait_seconds_sum')).toEqual({ approved: 90 })
    // Overtaken afterwards by a rule that asks again: the answer it had got is not counted a second time.
    await t.activate(ASK.replace('id: ask', 'id: again'))
    expect(await t.claim(['job.a'])).toEqual([])
    expect((await t.approval(approval_id)).status).toBe('void')
    expect(await series('sallyport_approval_wait_seconds_count')).toEqual({ approved: 1 })
  })

  test('nothing of a commit that failed', async () => {
    const t = await counted(ALLOW)
    breakCommit(plane.db, 'before')
    await t.submit({ topic: 'job.a' }).catch(() => {})
    expect(await series('sallyport_jobs_total')).toEqual({})
    expect(await series('sallyport_ledger_batch_size_count')).toEqual({ '': 0 })
  })

  test('a commit whose answer was lost counts once, when it is known to be there', async () => {
    const t = await counted(ALLOW)
    breakCommit(plane.db, 'after')
    await t.submit({ topic: 'job.a' })
    expect(await series('sallyport_jobs_total')).toEqual({ 'job.a submitted': 1 })
  })

  test('nothing of a step that lost', async () => {
    const t = await counted(ALLOW)
    const { job_id } = await t.submit({ topic: 'job.a' })
    let go: (() => void) | null = null
    plane.db.tap = async (sql, send) => {
      if (isCommit(sql) && go === null)
        await new Promise<void>((resolve) => {
          go = resolve
        })
      return send()
    }
    const late = t.cancel(job_id).catch(() => null)
    await turns(() => go !== null)
    await t.on(plane.node()).cancel(job_id)
    ;(go as unknown as () => void)()
    await late
    expect((await t.kinds(job_id)).filter((kind) => kind === 'job.cancelled')).toHaveLength(1)
    expect(await series('sallyport_jobs_total')).toEqual({ 'job.a submitted': 1 })
  })

  test('topics that only denials name are other', async () => {
    const t = await counted('version: v1\nrules:\n  - { id: do, match: { topic: job.a }, decision: ALLOW }\n')
    for (let i = 0; i < 5; i++) await t.trySubmit({ topic: `job.invented.t${i}` }).catch(() => {})
    await t.submit({ topic: 'job.a' })
    expect(await series('sallyport_jobs_total')).toEqual({ 'other denied': 5, 'job.a submitted': 1 })
  })
})

test('a chain that ends before its process is counted and is an error in the log', async () => {
  metrics = new Metrics()
  const errors: unknown[] = []
  const { ledger } = plane.node()
  countCommits(ledger, metrics, { error: (it: object, text: string) => errors.push([it, text]) } as unknown as Log)
  ledger.renewed?.('torn', 'wr_before')
  ledger.renewed?.('torn', 'wr_again')
  ledger.renewed?.('fenced', 'wr_third')
  expect(await series('sallyport_audit_chains_renewed_total')).toEqual({ torn: 2, fenced: 1 })
  expect(errors[0]).toEqual([{ reason: 'torn', writer: 'wr_before' }, expect.stringContaining('lost commits')])
})
