import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startSallyport, type TestPlane } from '../../src/testing.js'
import { proves } from '../requirements.js'
import { endAll, type Ran, sallyport, scratch } from '../support/server.js'

const DECLARATION = {
  rollout: 'support-bot-2',
  subject: { kind: 'agent', name: 'agent:support-bot', candidate: '2.0', stable: '1.9' },
  owners: { reliability: 'sre', governance: 'gov', cost: 'fin' },
  stakeholders: ['team:support'],
}

let plane: TestPlane
const at = scratch('evidence')
beforeAll(async () => {
  plane = await startSallyport()
})
afterAll(async () => {
  await endAll()
  await plane?.stop()
  at.gone()
})

const run = (args: readonly string[], key: keyof TestPlane['keys'] | null = 'admin'): Promise<Ran> =>
  sallyport(args, key === null ? {} : { SALLYPORT_URL: plane.url, SALLYPORT_API_KEY: plane.keys[key] })

async function post<T>(path: string, body: object = {}): Promise<T> {
  const headers = { 'x-api-key': plane.keys.admin, 'content-type': 'application/json' }
  const answer = await fetch(`${plane.url}/api/v1${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
  return (await answer.json()) as T
}

test(`${proves('G3')} evidence is asked for, kept in a file, and checked without the server`, async () => {
  const { rollout_id } = await post<{ rollout_id: string }>('/rollouts', { declaration: DECLARATION })
  expect((await run(['gate', 'evaluate', rollout_id])).exit).toBe(1)
  await post(`/rollouts/${rollout_id}/start`)
  const file = at.at('rollout-gate-evidence.json')
  const asked = await run(['gate', 'evaluate', rollout_id, '--out', file, '--json'])
  expect(asked).toMatchObject({ exit: 3, json: { outcome: 'inconclusive', decision: 'hold_at_phase_0' } })
  expect((await run(['gate', 'evaluate', rollout_id, '--form', 'launch'])).out).toContain('block_promotion')
  expect((await run(['gate', 'evaluate', rollout_id], 'agent')).exit).toBe(5)
  expect((await run(['gate', 'evaluate', 'rol_0000000000000000000000none'])).exit).toBe(4)

  const [log, declaration] = [at.at('export.jsonl'), at.at('rollout.yaml')]
  writeFileSync(declaration, JSON.stringify(DECLARATION))
  const exported = async () => {
    const headers = { 'x-api-key': plane.keys.admin }
    writeFileSync(log, await (await fetch(`${plane.url}/api/v1/audit/export`, { headers })).text())
    return run(['gate', 'verify', file, '--server', '--declaration', declaration, '--log', log, '--json'])
  }
  // Until the entry that says so is in a signed head.
  await expect.poll(async () => (await exported()).exit, { timeout: 15_000, interval: 300 }).toBe(0)
  const { json } = await exported()
  expect(json).toMatchObject({
    ok: true,
    key: 'GIVEN',
    tenant: 'default',
    evidence_hash: asked.json.seal.evidence_hash,
  })
  expect(json.checks.every(({ faults }: { faults: string[] }) => faults.length === 0)).toBe(true)

  expect((await run(['gate', 'verify', file], null)).exit).toBe(3)
  const evidence = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify({ ...evidence, decision: 'promote_to_phase_1' }))
  const changed = await run(['gate', 'verify', file, '--key', evidence.seal.public_key], null)
  expect(changed).toMatchObject({ exit: 1 })
  expect(changed.out).toContain('decision does not follow from its basis')
  writeFileSync(declaration, JSON.stringify({ ...DECLARATION, rollout: 'another' }))
  expect((await exported()).exit).toBe(1)
})
