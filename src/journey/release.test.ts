import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import { codeOf, openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { QUARANTINE_KEPT_MS } from '../store/screener.js'

const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: do, match: { topic: job.do.* }, decision: ALLOW }
`
const BODY = 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC'
const PRIVATE_KEY = `-----BEGIN PRIVATE KEY-----\n${BODY.repeat(4)}\n-----END PRIVATE KEY-----`

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())
const held = async (t: Tenancy) => expect(await violations(plane, t.tenant)).toEqual([])
async function quarantined(t: Tenancy): Promise<string> {
  const { job, lease } = await t.lease({ topic: 'job.do.it' })
  await t.succeed(lease, { pem: PRIVATE_KEY })
  return job.job_id
}
const payloads = (t: Tenancy) => t.rows<{ ptr: string; kind: string; body: string | null; salt: string }>('payloads')

describe('a quarantined result', () => {
  test(`${proves('L5')} is let out by another person as it was, and by nobody who asked for it`, async () => {
    const t = await plane.tenant(POLICY)
    const job_id = await quarantined(t)
    expect(await codeOf(t.release(job_id, t.caller('operator', 'agent:bot')))).toBe('self_approval')
    expect((await t.job(job_id)).status).toBe('quarantined')
    const job = await t.release(job_id)
    expect(job).toMatchObject({ status: 'succeeded', verdict: 'QUARANTINE', released_by: 'person:olga' })
    const rows = await payloads(t)
    expect(rows.find((row) => row.ptr === job.result_ptr)).toMatchObject({
      kind: 'result',
      body: JSON.stringify({ pem: PRIVATE_KEY }),
    })
    expect(rows.filter((row) => row.kind === 'sealed')).toMatchObject([{ body: null, salt: '' }])
    expect(await t.kinds(job_id)).toContain('result.released')
    await held(t)
  })

  test(`${proves('L5')} is erased when it is discarded, salt and all`, async () => {
    const t = await plane.tenant(POLICY)
    const job_id = await quarantined(t)
    expect(await t.discardResult(job_id)).toMatchObject({ status: 'discarded', result_ptr: null })
    expect(await payloads(t)).toMatchObject([{ kind: 'sealed', body: null, salt: '' }])
    expect(await codeOf(t.release(job_id))).toBe('illegal_transition')
    await held(t)
  })

  test(`${proves('L5')} expires: then nobody can let it out, and discarding it still ends the job`, async () => {
    const t = await plane.tenant(POLICY)
    const job_id = await quarantined(t)
    plane.clock.advance(QUARANTINE_KEPT_MS - 1)
    await t.sweep()
    expect((await payloads(t))[0]?.body).not.toBeNull()
    plane.clock.advance(1)
    await t.sweep()
    expect(await payloads(t)).toMatchObject([{ kind: 'sealed', body: null, salt: '' }])
    expect(await codeOf(t.release(job_id))).toBe('not_found')
    expect(await t.discardResult(job_id)).toMatchObject({ status: 'discarded' })
    expect(await t.kinds()).toContain('payload.erased')
    await held(t)
  })

  test('cannot be moved under another pointer', async () => {
    const t = await plane.tenant(POLICY)
    const job_id = await quarantined(t)
    const [row] = await payloads(t)
    const { sealer } = plane.world
    expect(sealer.open(row?.body as string, `${t.tenant}/${row?.ptr}`)).toContain(BODY)
    expect(() => sealer.open(row?.body as string, `${t.tenant}/another`)).toThrow()
    await plane.db.query('UPDATE payloads SET body = $2 WHERE tenant = $1', [
      t.tenant,
      `${row?.body?.slice(0, -8)}AAAAAAA=`,
    ])
    expect(await codeOf(t.release(job_id))).not.toBe('done')
    expect((await t.job(job_id)).status).toBe('quarantined')
  })
})
