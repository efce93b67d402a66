import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import { codeOf, openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { CHANGES, type ChangeKind } from '../core/policy/change.js'
import { DbError } from '../errors.js'
import { changer } from '../loops/changer.js'
import { silentLog } from '../platform/log.js'
import { getGate } from '../store/standing.js'
import { activate, activateFile, rollBack } from './activate.js'
import { edit } from './approve.js'
import { applyDirectory } from './directory.js'
import { createGrant } from './grants.js'
import { submitOwn } from './submit.js'

/** A change of policy that the policy itself has a say in: asked at both doors, done once, in the commit that ends its job. */
const rules = (...more: string[]) => `
version: v1
default_decision: DENY
rules:
  - { id: reads, match: { topic: job.read.* }, decision: ALLOW }
${more.map((rule) => `  - ${rule}`).join('\n')}`
const ASKS = `{ id: changes, match: { topic: ${CHANGES.activate} }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], need: 2 } }`
const GOVERNED = rules(ASKS)
const ALLOWED = rules(`{ id: changes, match: { topic: ${CHANGES.activate} }, decision: ALLOW }`)
const LOOSER = rules(ASKS, '{ id: writes, match: { topic: job.write.* }, decision: ALLOW }')
let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const active = async ({ tenant, world }: Tenancy) => (await getGate(world.db, tenant))?.snapshot
const held = async (t: Tenancy) => expect(await violations(plane, t.tenant)).toEqual([])
/** As a node has it, its loop in the test's hand. */
const nodeOf = (world = plane.world) => changer(world, plane.clock, silentLog)

async function ask(t: Tenancy, text: string, kind: ChangeKind = 'activate', node = nodeOf(t.world)) {
  const stored = kind === 'rollback' ? await rollBack(t.world, t.tenant, t.admin.principal) : await t.activate(text)
  try {
    return await node.ask(t.admin, kind, stored)
  } finally {
    await node.stop()
  }
}

/** What a look of a node's own does. */
async function look(t: Tenancy, world = t.world) {
  const node = nodeOf(world)
  await node.turn(t.tenant)
  await node.stop()
}

async function yes(t: Tenancy, approval_id: string | undefined, ...by: (typeof t.approver)[]) {
  for (const each of by) await t.approve(approval_id ?? '', each)
}

describe(`${proves('C5')} a change that the active policy has a say in`, () => {
  test('waits for the people its flow names, and is active with the end of its job', async () => {
    const t = await plane.tenant(GOVERNED)
    const before = await active(t)
    const { snapshot, asked } = await ask(t, LOOSER)
    expect(asked).toMatchObject({ status: 'pending_approval', decision: 'REQUIRE_APPROVAL', rules: ['changes'] })
    expect(await active(t)).toBe(before)
    const { job_id, approval_id } = asked as { job_id: string; approval_id: string }
    await yes(t, approval_id, t.approver)
    await look(t)
    expect(await active(t)).toBe(before)
    await yes(t, approval_id, t.otherApprover)
    await look(t)
    expect(await active(t)).toBe(snapshot.digest)
    expect(await t.job(job_id)).toMatchObject({ status: 'succeeded', requested_by: 'person:root' })
    expect((await t.facts()).filter(({ kind }) => kind === 'policy.activated').at(-1)).toMatchObject({
      actor: 'system:changer',
      requested_by: 'person:root',
      approved_by: 'person:ann,person:ben',
      approval_id,
      job_id,
      before,
      snapshot: snapshot.digest,
    })
    expect((await t.submit({ topic: 'job.write.it' })).status).toBe('queued')
    await held(t)
  })

  test('is nobody’s own: who asks for it does not answer it, and no grant stands for an answer', async () => {
    const t = await plane.tenant(rules(ASKS.replace('need: 2', 'need: 1')))
    const grant = { agent: t.admin.principal, topic: 'sallyport.policy.*', uses: 5, reason: 'routine' }
    await createGrant(t.world, t.approver, { ...grant, expires_at: plane.clock.now() + 3_600_000 }).catch(() => {})
    const { asked } = await ask(t, LOOSER)
    expect(asked).toMatchObject({ status: 'pending_approval' })
    const { approval_id } = asked as { approval_id: string }
    expect(await codeOf(t.approve(approval_id, t.caller('approver', t.admin.principal)))).toBe('self_approval')
    await t.reject(approval_id)
    await look(t)
    expect((await t.job((asked as { job_id: string }).job_id)).status).not.toBe('succeeded')
    await held(t)
  })

  test('is refused where a rule denies it, and nothing moves', async () => {
    const t = await plane.tenant(rules(`{ id: never, match: { topic: 'sallyport.>' }, decision: DENY }`))
    const before = await active(t)
    expect(await codeOf(ask(t, LOOSER))).toBe('policy_denied')
    expect(await codeOf(ask(t, rules('{ id: x, match: { topic: job.x }, decision: ALLOW }')))).toBe('policy_denied')
    expect(await active(t)).toBe(before)
    await held(t)
  })

  test('is done at the return where a rule lets it through, as a way back may be', async () => {
    const t = await plane.tenant(rules())
    const first = await active(t)
    await t.activate(rules(ASKS, `{ id: back, match: { topic: ${CHANGES.rollback} }, decision: ALLOW }`))
    expect(await active(t)).not.toBe(first)
    const { asked } = await ask(t, '', 'rollback')
    expect(asked).toMatchObject({ decision: 'ALLOW' })
    expect(await active(t)).toBe(first)
    await held(t)
  })

  test('is void once another policy came between: what was reviewed is the step from one to the other', async () => {
    const t = await plane.tenant(rules(ASKS.replace('need: 2', 'need: 1')))
    const [one, two] = [await ask(t, LOOSER), await ask(t, GOVERNED)]
    for (const { asked } of [one, two]) await t.approve((asked as { approval_id: string }).approval_id)
    await look(t)
    const jobs = await Promise.all([one, two].map(({ asked }) => t.job((asked as { job_id: string }).job_id)))
    const won = jobs.filter(({ status }) => status === 'succeeded')
    expect(won).toHaveLength(1)
    expect(await active(t)).toBe([one, two].find((_, n) => jobs[n] === won[0])?.snapshot.digest)
    // The other is asked again under the policy that is active by now, or void.
    expect(jobs.find((job) => job !== won[0])?.status).not.toBe('succeeded')
    await held(t)
  })

  test('is submitted by the plane alone, so nobody else writes what reviewers read in it', async () => {
    const t = await plane.tenant(ALLOWED)
    const input = { snapshot: 'a'.repeat(64), before: 'b'.repeat(64) }
    for (const as of [t.agent, t.operator, t.admin])
      for (const topic of [CHANGES.activate, CHANGES.rollback, 'sallyport.other'])
        expect(await codeOf(t.submit({ topic, input }, null, as))).toBe('topic_refused')
  })

  test.each([CHANGES.activate, CHANGES.rollback])('of which the input was made up does nothing (%s)', async (topic) => {
    const t = await plane.tenant(ALLOWED.replace(CHANGES.activate, 'sallyport.policy.*'))
    const before = await active(t)
    const { snapshot } = await t.activate(LOOSER)
    const other =
      topic === CHANGES.rollback ? { snapshot: snapshot.digest, before } : { snapshot: 'a'.repeat(64), before }
    const { answer } = await submitOwn(t.world, t.admin, { topic, input: other as never }, null)
    await look(t)
    const { job_id } = answer as { job_id: string }
    expect(await t.job(job_id)).toMatchObject({ status: 'dead_letter', error_code: 'change_void' })
    expect(await active(t)).toBe(before)
    await held(t)
  })

  test('is approved as it was asked: nobody puts another policy into the question', async () => {
    const t = await plane.tenant(rules(ASKS.replace('need: 2', 'need: 1')))
    const { asked } = await ask(t, LOOSER)
    const { approval_id } = asked as { approval_id: string }
    const { grant_hash } = await t.approval(approval_id)
    const input = { snapshot: 'a'.repeat(64), before: await active(t) } as never
    expect(await codeOf(edit(t.world, t.approver, approval_id, { grant_hash, input }))).toBe('invalid')
    expect((await t.approval(approval_id)).status).toBe('pending')
  })

  test('is asked about again where the gate moved between door and deed', async () => {
    const t = await plane.tenant(ALLOWED)
    const stored = await t.activate(LOOSER)
    const other = t.on(plane.node())
    let moved = false
    plane.db.tap = async (sql, send) => {
      const rows = await send()
      // Right after the lease is granted, and before it is acted on.
      if (!moved && sql.includes('w_leases')) {
        moved = true
        const text = rules('{ id: z, match: { topic: job.z }, decision: ALLOW }')
        await activateFile(other.world, t.tenant, [{ path: 'policy.yaml', text }], true)
      }
      return rows
    }
    const node = nodeOf(t.world)
    const { asked } = await node.ask(t.admin, 'activate', stored)
    await node.stop()
    expect(moved).toBe(true)
    expect(await active(t)).not.toBe(stored.snapshot.digest)
    expect((await t.job((asked as { job_id: string }).job_id)).status).not.toBe('succeeded')
    await held(t)
  })

  test.each(['before', 'after'] as const)(
    'is done once where its commit breaks off %s it was applied',
    async (when) => {
      const t = await plane.tenant(rules(ASKS.replace('need: 2', 'need: 1')))
      const { snapshot, asked } = await ask(t, LOOSER)
      await t.approve((asked as { approval_id: string }).approval_id)
      let broken = false
      plane.db.tap = async (sql, send) => {
        if (broken || !sql.includes('u_snapshots')) return send()
        broken = true
        if (when === 'after') await send()
        throw new DbError('connection reset by peer', '08006')
      }
      await look(t).catch(() => {})
      plane.clock.advance(60_000)
      await t.sweep()
      plane.clock.advance(60_000)
      await look(t)
      expect(await active(t)).toBe(snapshot.digest)
      const activations = (await t.facts()).filter(
        ({ kind, snapshot: digest }) => kind === 'policy.activated' && digest === snapshot.digest,
      )
      expect(activations).toHaveLength(1)
      await held(t)
    },
  )
})

test('a file that comes back after another one is asked for anew; the same one is asked for once', async () => {
  const t = await plane.tenant(GOVERNED)
  const node = nodeOf(t.world)
  const put = (text: string) => node.file(t.tenant, [{ path: 'policy.yaml', text }], false)
  const idOf = async (text: string) => ((await put(text))?.asked as { approval_id?: string } | null)?.approval_id
  const first = await idOf(LOOSER)
  expect(await put(LOOSER)).toBe(null)
  await t.reject(first as string)
  await activateFile(
    t.world,
    t.tenant,
    [{ path: 'policy.yaml', text: rules(ASKS, '{ id: b, match: { topic: job.b }, decision: ALLOW }') }],
    true,
  )
  const again = await idOf(LOOSER)
  expect(again).toMatch(/^apr_/)
  expect(again).not.toBe(first)
  await node.stop()
  await held(t)
})

test('a stored policy whose flows nobody is left to satisfy is not activated, but gone back to', async () => {
  const t = await plane.tenant(rules())
  const flows = rules(
    '{ id: fin, match: { topic: job.fin }, decision: REQUIRE_APPROVAL, approval: { from: [principal:person:gone] } }',
  )
  const { snapshot } = await t.activate(flows)
  await t.activate(rules())
  const none = { team: null, name: null, email: null, terms: null }
  const ann = { principal: 'person:ann', kind: 'person', role: 'approver', ...none } as const
  await applyDirectory(t.world, t.admin, { teams: [], principals: [ann] }, 'api')
  expect(await codeOf(activate(t.world, t.tenant, 'person:root', snapshot.digest))).toBe('policy_invalid')
  expect((await rollBack(t.world, t.tenant, 'person:root')).snapshot.digest).toBe(snapshot.digest)
  expect(await active(t)).toBe(snapshot.digest)
})
