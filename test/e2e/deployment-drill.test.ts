import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startSallyport, type TestPlane } from '../../src/testing.js'
import { proves } from '../requirements.js'

/** The first two steps of the deployment drill as an operator types them, with API and KEY set and nothing else. */
const DENIED = `curl -sS -X POST "$API/api/v1/jobs" \\
  -H "Content-Type: application/json" \\
  -H "X-API-Key: $KEY" -H "X-Tenant-ID: default" \\
  -d '{"topic":"job.exec.shell","labels":{"env":"prod","command_class":"destructive"}}'`
const PARKED = `curl -sS -X POST "$API/api/v1/jobs" \\
  -H "Content-Type: application/json" \\
  -H "X-API-Key: $KEY" -H "X-Tenant-ID: default" \\
  -d '{"topic":"job.deploy.apply","labels":{"env":"prod"}}'`

let plane: TestPlane
beforeAll(async () => {
  plane = await startSallyport()
})
afterAll(() => plane.stop())

async function curl(command: string): Promise<{ status: number; body: Record<string, unknown> }> {
  const { stdout } = await promisify(execFile)('bash', ['-c', `${command} -w '\\n%{http_code}'`], {
    env: { ...process.env, API: plane.url, KEY: plane.keys.agent },
  })
  const at = stdout.lastIndexOf('\n')
  return { status: Number(stdout.slice(at)), body: JSON.parse(stdout.slice(0, at)) }
}

async function admin(path: string): Promise<{ items: Record<string, never>[] }> {
  return (await fetch(`${plane.url}/api/v1${path}`, { headers: { 'x-api-key': plane.keys.admin } })).json() as never
}

describe(`${proves('G8')} the deployment drill with curl`, () => {
  test(`${proves('D3')} a denied action: 403, decision=DENY, an audit entry, and no job`, async () => {
    const { status, body } = await curl(DENIED)
    expect(status).toBe(403)
    expect(body).toMatchObject({ decision: 'DENY', code: 'policy_denied', status: 403 })
    const { items } = await admin('/audit?kind=job.denied')
    expect(items.map((entry) => (entry.facts as unknown as { decision_id: string }).decision_id)).toContain(
      body.decision_id,
    )
    expect((await admin('/jobs')).items).toEqual([])
  })

  test(`${proves('D3')} an action that needs approval: 202, status=pending_approval, in the queue of approvals`, async () => {
    const { status, body } = await curl(PARKED)
    expect(status).toBe(202)
    expect(body).toMatchObject({ status: 'pending_approval', decision: 'REQUIRE_APPROVAL' })
    expect((await admin('/approvals?status=pending')).items.map((a) => a.approval_id)).toContain(body.approval_id)
  })
})

describe('approvals by department', () => {
  test(`${proves('A2')} the owning team answers; the technical owner, being an approver of another team, does not`, async () => {
    const policy = `
version: v1
rules:
  - id: refunds
    match: { topic: job.payments.refund }
    decision: REQUIRE_APPROVAL
    reason: finance decides refunds
    approval: { from: [team:finance] }
`
    const headers = { 'x-api-key': plane.keys.admin, 'content-type': 'application/json' }
    const post = async (path: string, key: string, body: unknown) => {
      const answer = await fetch(`${plane.url}/api/v1${path}`, {
        method: 'POST',
        headers: { ...headers, 'x-api-key': key },
        body: JSON.stringify(body),
      })
      return { status: answer.status, body: (await answer.json()) as Record<string, string> }
    }
    expect(
      (await post('/policy/snapshots', plane.keys.admin, { files: [{ path: 'p.yaml', text: policy }], activate: true }))
        .status,
    ).toBe(201)
    const lead = (
      await post('/keys', plane.keys.admin, { role: 'approver', principal: 'person:finance-lead', team: 'finance' })
    ).body.key as string
    const owner = (
      await post('/keys', plane.keys.admin, { role: 'approver', principal: 'person:agent-owner', team: 'platform' })
    ).body.key as string
    const parked = (await post('/jobs', plane.keys.agent, { topic: 'job.payments.refund', input: { amount: 12 } })).body
    const echo = { grant_hash: parked.grant_hash }
    expect((await post(`/approvals/${parked.approval_id}/approve`, owner, echo)).body.code).toBe('not_an_approver')
    expect((await post(`/approvals/${parked.approval_id}/approve`, lead, echo)).body.status).toBe('approved')
  })
})
