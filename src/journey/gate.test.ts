import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { codeOf, openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import { recordsOf } from '../core/audit/export.js'
import { parsePublicKey, readSigningKey, signatureChecker, signingKeyPem } from '../core/audit/keys.js'
import { evidenceMessage, faultsOfEvidence } from '../core/evidence.js'
import { verifyEvidence } from '../core/evidence-file.js'
import type { Json } from '../core/json.js'
import { DbError } from '../errors.js'
import { gates, type Steps, triggers } from '../loops/gates.js'
import { silentLog } from '../platform/log.js'
import { auditSource } from '../store/audit-source.js'
import { type EvidenceRow, getEvidence, pageOfEvidence } from '../store/evidence.js'
import { promotionHold, wasUncleanSince } from '../store/looks.js'
import { getRollout, type RolloutRow } from '../store/rollouts.js'
import type { World } from '../store/world.js'
import { evaluateGateNow, type GateAsked, lookAtGate, recomputeEvidence } from './gate.js'
import { integrate } from './integrate.js'
import { readingsFor, triggerSamples } from './readings.js'
import { reviewRollout } from './rollout-reviews.js'
import { declareRollout, promoteBySystem, rollBackByTrigger, stepRollout } from './rollouts.js'
import { watchTriggers } from './triggers.js'

const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: do, match: { topic: job.do }, decision: ALLOW }
job_classes:
  - { topic: job.do, attempts: 1, set: { action_type: read } }
`
const MINUTE = 60_000
const STEPS: Steps = { rollBack: rollBackByTrigger, promote: promoteBySystem }
const phase = (name: string, share: number, checks: object, more: object = {}) => ({
  ...{ name, share, risk: 'mixed', min_duration: '15m' },
  gate: { window: '10m', checks },
  ...more,
})
const WORKS = { success_rate_pct: { target_gte: 90, min_samples: 20 } }
const declaration = (more: Record<string, unknown> = {}) => ({
  rollout: 'bot-2',
  subject: { kind: 'agent', name: 'agent:bot', candidate: '2', stable: null },
  rest: 'shadow',
  owners: { reliability: 'sre', governance: 'gov', cost: 'fin' },
  stakeholders: ['team:support'],
  phases: [phase('half', 50, WORKS), phase('all', 100, WORKS)],
  ...more,
})

let plane: TestPlane
let asked: GateAsked
beforeAll(async () => {
  plane = await openPlane(22)
  asked = { key: plane.key, readings: readingsFor }
})
afterAll(() => plane.close())

interface Case {
  t: Tenancy
  id: string
  rollout(): Promise<RolloutRow>
  /** Candidate's jobs that end now. */
  work(succeed: number, fail?: number): Promise<void>
  ask(form?: 'gate' | 'launch'): Promise<EvidenceRow>
}

async function started(more: Record<string, unknown> = {}): Promise<Case> {
  const t = await plane.tenant(POLICY)
  const { rollout_id: id } = await declareRollout(t.world, t.admin, declaration(more))
  await stepRollout(t.world, t.operator, id, { event: 'start' })
  let n = 0
  const drawn = async () => {
    const said = await t.submit({ topic: 'job.do', run_id: `run-${++n}` })
    return said.job_id === undefined ? 0 : 1
  }
  /** Half of what is asked falls to the candidate; asked together, because one after another takes its time. */
  const work = async (succeed: number, fail: number) => {
    for (let left = succeed + fail; left > 0; )
      left -= (await Promise.all(Array.from({ length: left }, drawn))).filter((each) => each === 1).length
    const leases = await t.claim(['job.do'], { capacity: succeed + fail, serves: ['agent:bot@2'] })
    expect(leases).toHaveLength(succeed + fail)
    await Promise.all(leases.map(({ lease }, at) => (at < succeed ? t.succeed(lease) : t.fail(lease, 'terminal'))))
  }
  return {
    t,
    id,
    rollout: async () => (await getRollout(t.world.db, t.tenant, id)) as RolloutRow,
    work: (succeed, fail = 0) => work(succeed, fail),
    ask: (form) => evaluateGateNow(t.world, asked, t.operator, id, form),
  }
}
const signed = () => integrate(plane.world, plane.key)
const outcomeOf = async (given: Case) => JSON.parse((await given.ask()).text) as { outcome: string; reason: string }

/** A rate of failures over twice the floor, for ten minutes. */
const ERRORS = { error_rate: { for: '1m' } }
/** Other tests may have the machine. */
const PATIENT = { timeout: 10_000 }

// The first of the file: loops look at every rollout there is.
test('of two nodes one looks, and the other goes on where it stood', async () => {
  const given = await started({ rollback: ERRORS })
  await given.work(15, 5)
  const [one, two] = [plane.node(), plane.node()]
  const loops = [one, two].map((world) => triggers(world, triggerSamples, STEPS, plane.clock, silentLog))
  const more = gates(one, asked, STEPS, plane.clock, silentLog)
  const looks = async () => {
    const rows = await plane.db.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM trigger_looks WHERE rollout_id = $1 AND trigger = 'error_rate'`,
      [given.id],
    )
    return rows[0]?.n
  }
  for (let n = 1; n <= 4; n++) {
    plane.clock.advance(10_000)
    for (const each of loops) each.wake()
    await expect.poll(looks, PATIENT).toBe(n)
  }
  await loops[0]?.stop()
  for (let n = 5; n <= 7; n++) {
    plane.clock.advance(10_000)
    loops[1]?.wake()
    await expect.poll(looks, PATIENT).toBe(n)
  }
  await expect.poll(async () => (await given.rollout()).status, PATIENT).toBe('rolled_back')
  await loops[1]?.stop()
  await more.stop()
})

/** Places of all that is no list and no object. */
function leavesOf(value: unknown, at: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== 'object' || value === null) return [at]
  const entries = Array.isArray(value) ? [...value.entries()] : Object.entries(value)
  return entries.flatMap(([key, each]) => leavesOf(each, [...at, key]))
}

/** A copy with another value there. */
function changed(file: object, path: (string | number)[]): object {
  const copy = structuredClone(file)
  let holder = copy as Record<string | number, unknown>
  for (const key of path.slice(0, -1)) holder = holder[key] as typeof holder
  const last = path.at(-1) as string
  const was = holder[last]
  holder[last] = typeof was === 'number' ? was + 1 : typeof was === 'boolean' ? !was : was === null ? 'x' : `${was}x`
  return copy
}

describe('a gate', () => {
  test(`${proves('G3')} answers with evidence that is signed, kept, and comes out again from rows however much happens later`, async () => {
    const given = await started()
    const { t } = given
    plane.clock.advance(6 * MINUTE)
    await given.work(30)
    plane.clock.advance(6 * MINUTE)
    await signed()
    const row = await given.ask()
    expect(JSON.parse(row.text)).toMatchObject({
      outcome: 'pass',
      traffic_slice: '50%',
      decision: 'promote_to_phase_1',
    })
    expect(await getEvidence(t.world.db, t.tenant, row.evidence_hash)).toEqual(row)
    const check = signatureChecker(parsePublicKey(row.public_key))
    expect(check(evidenceMessage(JSON.parse(row.text)), Buffer.from(row.signature, 'base64'))).toBe(true)
    expect(faultsOfEvidence(row.text, (await given.rollout()).document)).toEqual([])
    expect((await t.facts()).findLast(({ kind }) => kind === 'gate.evaluated')).toMatchObject({
      ...{
        actor: t.operator.principal,
        rollout_id: given.id,
        evidence_hash: row.evidence_hash,
        outcome: 'pass',
        phase: 0,
      },
    })
    const launch = await given.ask('launch')
    expect(JSON.parse(launch.text)).toMatchObject({ decision: 'allow_promotion_to_next_stage', window: '10m' })

    await given.work(0, 15)
    plane.clock.advance(3 * MINUTE)
    await signed()
    expect(JSON.parse((await given.ask()).text).outcome).toBe('fail')
    expect(await recomputeEvidence(plane.node(), readingsFor, row)).toBe(row.text)
    expect(await recomputeEvidence(plane.node(), readingsFor, launch)).toBe(launch.text)
    const { phase_at } = await given.rollout()
    const unclean = (at: number) => wasUncleanSince(t.world.db, t.tenant, given.id, phase_at ?? 0, at)
    expect([await unclean(row.evaluated_at), await unclean(plane.clock.now() + 1)]).toEqual([true, false])
    const promotes = stepRollout(t.world, t.operator, given.id, { event: 'promote', evidence_hash: row.evidence_hash })
    expect(await codeOf(promotes)).toBe('gate_blocks')
    expect(await recomputeEvidence(plane.node(), readingsFor, row)).toBe(row.text)
  })

  test('asked while the loop looks, both looks stay, and what was kept comes out again', async () => {
    const given = await started()
    const { t, id } = given
    plane.clock.advance(6 * MINUTE)
    await signed()
    let row: EvidenceRow | null = null
    const slow: GateAsked = {
      ...asked,
      readings: async (world, of) => {
        const found = await readingsFor(world, of)
        plane.clock.advance(500)
        row ??= await evaluateGateNow(t.world, asked, t.operator, id)
        return found
      },
    }
    await lookAtGate(t.world, slow, await given.rollout(), 10_000)
    const looks = await plane.db.query<{ clean: boolean }>('SELECT clean FROM gate_looks WHERE rollout_id = $1', [id])
    expect(looks.map(({ clean }) => clean)).toEqual([false, false])
    const kept = row as unknown as EvidenceRow
    expect(await recomputeEvidence(t.world, readingsFor, kept)).toBe(kept.text)
  })

  test('counts what was begun and holds on to its work as not proven', async () => {
    const given = await started({ subject: { kind: 'agent', name: 'agent:bot', candidate: '2', stable: null } })
    const { t } = given
    plane.clock.advance(11 * MINUTE)
    await given.work(30)
    for (let n = 0, drawn = 0; drawn < 12; n++)
      if ((await t.submit({ topic: 'job.do', run_id: `held-${n}` })).job_id !== undefined) drawn++
    const held = await t.claim(['job.do'], { capacity: 12, serves: ['agent:bot@2'] })
    for (let at = 0; at < 8; at++) {
      plane.clock.advance(10_000)
      await Promise.all(held.map(({ lease }) => t.beat(lease)))
    }
    await signed()
    expect(await outcomeOf(given)).toMatchObject({
      outcome: 'inconclusive',
      reason: expect.stringContaining('12 more have not ended'),
    })
  })

  test('is checked by whoever has the file, the key, the declaration and the log; every field that is changed is noticed', async () => {
    const given = await started()
    const { t } = given
    plane.clock.advance(11 * MINUTE)
    await given.work(30)
    plane.clock.advance(5000)
    await signed()
    const row = await given.ask()
    const late = await given.ask('launch')
    const fileOf = ({ text, evidence_hash, form, signature, public_key }: EvidenceRow) => ({
      ...(JSON.parse(text) as Record<string, Json>),
      seal: { evidence_hash, form, signature, public_key },
    })
    const { document } = await given.rollout()
    const key = plane.key.publicKey
    const log = async () => recordsOf(await auditSource(t.world.db, t.tenant, key, plane.clock.now()))
    const verify = async (file: object, more: object = {}) =>
      verifyEvidence(JSON.stringify(file), { key, declaration: document, log: null, ...more })
    // The entry that says so is in no signed head yet.
    const early = await verify(fileOf(row), { log: await log() })
    expect(early.checks.find(({ check }) => check === 'log')?.faults).not.toEqual([])
    await signed()
    for (const each of [row, late]) {
      const report = await verify(fileOf(each), { log: await log() })
      expect(report.checks.flatMap(({ faults }) => faults)).toEqual([])
      expect(report).toMatchObject({ ok: true, key: 'GIVEN', tenant: t.tenant, evidence_hash: each.evidence_hash })
      const leaves = leavesOf(fileOf(each))
      expect(leaves.length).toBeGreaterThan(60)
      for (const path of leaves) {
        const found = await verify(changed(fileOf(each), path))
        // Of the seal the form is said once more; nothing is checked by it.
        expect(found.ok, path.join('.')).toBe(path.join('.') === 'seal.form')
      }
    }
    const stranger = readSigningKey(signingKeyPem(new Uint8Array(32).fill(7))).publicKey
    expect((await verify(fileOf(row), { key: stranger })).ok).toBe(false)
    expect(await verify(fileOf(row), { key: null })).toMatchObject({ ok: true, key: 'FROM FILE' })
    for (const text of ['', '{', '[]', 'null', '{"seal":1}', '{"seal":{}}'])
      expect((await verifyEvidence(text, { key, declaration: null, log: null })).ok, text).toBe(false)
  })

  test(`${proves('G7')} passes nothing that was not measured, and nothing that no head covers`, async () => {
    const given = await started()
    expect((await outcomeOf(given)).reason).toContain('window that began before the phase')
    plane.clock.advance(12 * MINUTE)
    await signed()
    expect(await outcomeOf(given)).toMatchObject({ outcome: 'inconclusive' })
    await given.work(30)
    // Done, and in no signed head: nobody integrates.
    plane.clock.advance(61_000)
    expect(await outcomeOf(given)).toMatchObject({
      outcome: 'inconclusive',
      reason: expect.stringMatching(/\d+ s old/),
    })
    await signed()
    expect(await outcomeOf(given)).toMatchObject({ outcome: 'pass' })
  })

  test('says of drills, replays and weeks what stands, and of what nobody looked into that it is not known', async () => {
    const checks = { rollback_drill_passed: { target_eq: true }, clean_weekly_reviews: { target_gte: 2 } }
    const given = await started({ phases: [phase('half', 50, checks), phase('all', 100, WORKS)] })
    const { t } = given
    plane.clock.advance(12 * MINUTE)
    await signed()
    const details = async () =>
      (JSON.parse((await given.ask()).text).details as { metric: string; outcome: string; value: unknown }[]).map(
        ({ metric, outcome, value }) => `${metric} ${outcome} ${value}`,
      )
    expect(await details()).toEqual([
      'clean_weekly_reviews inconclusive null',
      'rollback_drill_passed inconclusive null',
    ])
    const week = { review: 'week', clean: true, critical_incidents: 0, note: 'quiet' } as const
    await reviewRollout(t.world, t.approver, given.id, week)
    plane.clock.advance(MINUTE)
    await reviewRollout(t.world, t.otherApprover, given.id, week)
    plane.clock.advance(3000)
    await signed()
    expect((await details())[0]).toBe('clean_weekly_reviews fail 1')
    plane.clock.advance(7 * 86_400_000)
    await reviewRollout(t.world, t.approver, given.id, week)
    plane.clock.advance(3000)
    await signed()
    expect((await details())[0]).toBe('clean_weekly_reviews pass 2')
  })

  test('is asked of a phase that runs, by who still may', async () => {
    const t = await plane.tenant(POLICY)
    const { rollout_id } = await declareRollout(t.world, t.admin, declaration())
    const ask = (id: string, as = t.operator) => codeOf(evaluateGateNow(t.world, asked, as, id))
    expect(await ask(rollout_id)).toBe('illegal_transition')
    expect(await ask('rol_none')).toBe('not_found')
    expect(await ask(rollout_id, { ...t.operator, expires_at: 0 })).toBe('unauthenticated')
  })
})

describe('a signature', () => {
  const reviewers = { from: ['role:approver'], need: 1 }
  test('is of who is asked, of this phase, and not of who declared it', async () => {
    const given = await started({ reviewers })
    const { t, id } = given
    const sign = (as = t.approver, phase = 0) => reviewRollout(t.world, as, id, { review: 'signature', phase })
    expect(await codeOf(sign(t.admin))).toBe('self_approval')
    expect(await codeOf(sign(t.caller('operator', 'person:olaf', { permissions: ['rollouts:review'] })))).toBe(
      'forbidden',
    )
    expect(await codeOf(sign(t.approver, 1))).toBe('evidence_stale')
    plane.clock.advance(8 * MINUTE)
    await given.work(30)
    plane.clock.advance(8 * MINUTE)
    await signed()
    const row = await given.ask()
    expect(row).toMatchObject({ outcome: 'pass', reviewed_by: [] })
    const promote = async (evidence_hash: string) => {
      await watchTriggers(t.world, triggerSamples, await given.rollout())
      return stepRollout(t.world, t.operator, id, { event: 'promote', evidence_hash })
    }
    expect(await codeOf(promote(row.evidence_hash))).toBe('gate_blocks')
    expect(
      await codeOf(
        reviewRollout(t.world, t.approver, id, { review: 'signature', phase: 0, evidence_hash: 'a'.repeat(64) }),
      ),
    ).toBe('not_found')
    await reviewRollout(t.world, t.approver, id, { review: 'signature', phase: 0, evidence_hash: row.evidence_hash })
    plane.clock.advance(3000)
    await signed()
    const second = await given.ask()
    expect(second.reviewed_by).toEqual([t.approver.principal])
    await promote(second.evidence_hash)
    expect(await given.rollout()).toMatchObject({ phase: 1 })
    expect(await recomputeEvidence(t.world, readingsFor, second)).toBe(second.text)
    // Under the next phase it counts for nothing.
    plane.clock.advance(3000)
    expect((await given.ask()).reviewed_by).toEqual([])
    const kinds = (await t.facts()).map(({ kind }) => String(kind))
    expect(kinds).toContain('gate.reviewed')
    expect(kinds).toContain('gate.refused')
  })

  test('a week with critical incidents was not clean', async () => {
    const { t, id } = await started()
    const said = { review: 'week', clean: true, critical_incidents: 1, note: 'x' } as const
    expect(await codeOf(reviewRollout(t.world, t.approver, id, said))).toBe('invalid')
  })
})

const look = async (given: Case, world: World = given.t.world) => {
  const tripped = await watchTriggers(world, triggerSamples, await given.rollout())
  if (tripped !== null) await rollBackByTrigger(world, given.t.tenant, given.id, tripped)
  return tripped
}

describe('a trigger', () => {
  test(`${proves('G4')} takes a candidate back that fails, whoever looks, though each look was another process’s`, async () => {
    const given = await started({ rollback: ERRORS })
    await given.work(15, 5)
    for (let n = 0; n < 6; n++) {
      expect(await look(given, plane.node())).toBeNull()
      plane.clock.advance(10_000)
    }
    expect(await look(given, plane.node())).toMatchObject({
      trigger: 'error_rate',
      reason: 'error_rate: 0.25 is over 2 × 0.01 for 1 min',
    })
    expect(await given.rollout()).toMatchObject({ status: 'rolled_back' })
    const fact = (await given.t.facts()).find(({ kind }) => kind === 'rollout.rolled_back')
    expect(fact).toMatchObject({ actor: 'system:rollouts', trigger: 'error_rate' })
  })

  test('a hole in the looks adds nothing', async () => {
    const given = await started({ rollback: ERRORS })
    await given.work(15, 5)
    await look(given)
    plane.clock.advance(5 * MINUTE)
    expect(await look(given)).toBeNull()
    expect(await given.rollout()).toMatchObject({ status: 'running' })
  })

  test('a look that dies at any of its statements is made again, and takes the candidate back all the same', async () => {
    const given = await started({ rollback: { error_rate: { for: '20s' } } })
    await given.work(15, 5)
    const cut = async (sql: string, work: () => Promise<unknown>) => {
      plane.db.tap = async (text, send) => {
        if (text.includes(sql)) throw new DbError('connection reset by peer', '08006')
        return send()
      }
      await expect(work().finally(() => (plane.db.tap = null))).rejects.toThrow()
      return work()
    }
    for (const sql of ['INTO trigger_looks', 'INTO rollout_watches']) {
      expect(await cut(sql, () => look(given, plane.node()))).toBeNull()
      plane.clock.advance(10_000)
    }
    await signed()
    // The first look keeps evidence; of the next there is only a line.
    const atGate = async () => lookAtGate(plane.node(), asked, await given.rollout(), 10_000)
    expect(await cut('INTO batches', atGate)).toMatchObject({ kept: expect.any(String) })
    plane.clock.advance(1)
    expect(await cut('INTO gate_looks', atGate)).toMatchObject({ kept: null })
    const tripped = await cut('INTO batches', () => look(given, plane.node()))
    expect(tripped).toMatchObject({ trigger: 'error_rate' })
    expect(await given.rollout()).toMatchObject({ status: 'rolled_back' })
  })

  test('what sees nothing for long is said once, and again after it saw something', async () => {
    const given = await started()
    const said = async () =>
      (await given.t.facts()).filter(({ kind, trigger }) => kind === 'rollout.blind' && trigger === 'error_rate').length
    for (const [ms, times] of [
      [9 * MINUTE, 0],
      [MINUTE, 1],
      [MINUTE, 1],
    ] as const) {
      plane.clock.advance(ms)
      await look(given, plane.node())
      expect(await said()).toBe(times)
    }
    await given.work(30)
    await look(given)
    // Its last twenty attempts are looked at for a day.
    plane.clock.advance(25 * 60 * MINUTE)
    await look(given)
    expect(await said()).toBe(2)
  })
})

describe('triggers that are broken, or see little', () => {
  test('one that breaks blinds itself alone, is said, and is told to who looks', async () => {
    const given = await started({ rollback: ERRORS })
    const broken = new Error('one of nine')
    const { t } = given
    await given.work(15, 5)
    const some: typeof triggerSamples = async (world, rollout, now) => ({
      ...(await triggerSamples(world, rollout, now)),
      approval_backlog: { at: now, value: null, fault: broken },
    })
    for (let n = 0; n < 6; n++) {
      await expect(watchTriggers(t.world, some, await given.rollout())).rejects.toBe(broken)
      plane.clock.advance(10_000)
    }
    expect(await promotionHold(t.world.db, await given.rollout(), plane.clock.now(), true)).toMatch(
      /not for long.*error_rate/,
    )
    expect(await watchTriggers(t.world, some, await given.rollout())).toMatchObject({ trigger: 'error_rate' })
    expect(await promotionHold(t.world.db, await given.rollout(), plane.clock.now(), true)).toContain(
      'were not looked at',
    )
  })

  test('where every look breaks, that is said, and holds a promotion', async () => {
    const given = await started()
    const { t, id } = given
    const broken = new Error('all nine')
    plane.clock.advance(11 * MINUTE)
    await expect(watchTriggers(t.world, () => Promise.reject(broken), await given.rollout())).rejects.toBe(broken)
    expect((await t.facts()).filter(({ kind }) => kind === 'rollout.blind').length).toBeGreaterThan(0)
    const rollout = await given.rollout()
    const hold = (ms: number) => promotionHold(t.world.db, rollout, plane.clock.now() + ms, true)
    expect(await hold(0)).toContain('Nothing is seen by')
    await plane.db.query(`UPDATE rollout_watches SET blind = '{}' WHERE rollout_id = $1`, [id])
    expect(await hold(60_000)).toBeNull()
    expect(await hold(60_001)).toContain('last looked at 60 s ago')
  })

  test('a candidate of an attempt a minute is judged by its last twenty', async () => {
    const given = await started()
    let tripped: Awaited<ReturnType<typeof look>> = null
    for (let minute = 0; minute < 40 && tripped === null; minute++) {
      plane.clock.advance(50_000)
      await given.work(0, 1)
      tripped = await look(given)
    }
    expect(tripped).toMatchObject({ trigger: 'error_rate', reason: expect.stringContaining('1 is over') })
  })
})

describe('by itself', () => {
  /** A round of both loops on a node. */
  const round = async (given: Case, world: World = given.t.world) => {
    await signed()
    await look(given, world)
    const looked = await lookAtGate(world, asked, await given.rollout(), 10_000)
    if (looked?.promotes != null) await promoteBySystem(world, given.t.tenant, given.id, looked.promotes)
    return looked
  }
  const kept = async ({ t, id }: Case) => (await pageOfEvidence(t.world.db, t.tenant, id, { limit: 500 })).items

  /** A rollback drill that passed: without one its trigger sees nothing. */
  const drilled = ({ t }: Case) => {
    const at = plane.clock.now()
    const run = {
      tenant: t.tenant,
      drill_id: t.world.ids.id('drl', at),
      drill: 'rollback',
      outcome: 'passed',
      at,
    } as const
    const more = {
      valid_until: at + 86_400_000,
      took_ms: 1,
      made: {},
      checks: [],
      figures: {},
      recorded_by: 'person:sre',
    }
    const admin = { drillRuns: [{ ...run, ...more }] }
    const facts = [{ kind: 'drill.run', tenant: t.tenant, at, actor: 'person:sre', drill: 'rollback' } as const]
    return t.world.ledger.commit({ tenant: t.tenant, gate: null, alone: [], rows: {}, admin, facts })
  }

  test('goes on where the declaration says so: a gate that passes, a phase that is over, and no trigger blind', async () => {
    const [given, blind, manual] = [
      await started({ promotion: 'auto' }),
      await started({ promotion: 'auto' }),
      await started(),
    ]
    for (const each of [given, manual]) await drilled(each)
    const phases = async () =>
      (await Promise.all([given, blind, manual].map((each) => each.rollout()))).map(({ phase }) => phase)
    for (const minutes of [11, 3]) {
      plane.clock.advance(minutes * MINUTE)
      for (const each of [given, blind, manual]) {
        await each.work(30)
        plane.clock.advance(3000)
        expect(await round(each, plane.node())).toMatchObject({ outcome: 'pass' })
      }
      expect(await phases()).toEqual([0, 0, 0])
    }
    plane.clock.advance(MINUTE)
    for (const each of [given, blind, manual]) await round(each, plane.node())
    expect(await phases()).toEqual([1, 0, 0])
    const step = (await given.rollout()).steps[0]
    const evidence = await getEvidence(given.t.world.db, given.t.tenant, step?.evidence_hash ?? '')
    expect(evidence).toMatchObject({ outcome: 'pass', phase: 0 })
    expect(step).toMatchObject({ by: 'system:rollouts', how: 'evidence' })
  })

  test('keeps evidence when it says something else, and now and then; a line of every look', async () => {
    const given = await started()
    for (let n = 0; n < 40; n++) {
      plane.clock.advance(30_000)
      await round(given, plane.node())
    }
    const all = await kept(given)
    expect(all.map(({ outcome }) => outcome)).toEqual(['inconclusive', 'inconclusive'])
    const lines = await plane.db.query<{ n: number }>(
      'SELECT count(*)::int AS n FROM gate_looks WHERE rollout_id = $1',
      [given.id],
    )
    expect(lines[0]?.n).toBe(40)
  })

  test('two windows in a row need two, with every look between them clean', async () => {
    const checks = { success_rate_pct: { target_gte: 80, min_samples: 20 } }
    const twice = { ...phase('half', 50, checks), gate: { window: '20s', consecutive: 2, checks } }
    const given = await started({ phases: [twice, phase('all', 100, WORKS)] })
    const outcomes = async (of: Case, rounds: readonly (readonly [succeed: number, fail: number])[]) => {
      const said: string[] = []
      for (const [succeed, fail] of rounds) {
        if (succeed + fail > 0) await of.work(succeed, fail)
        plane.clock.advance(10_000)
        said.push((await round(of))?.outcome ?? '')
      }
      return said
    }
    const none = 'inconclusive'
    const rounds = Array.from({ length: 12 }, (_, n) => (n === 6 ? ([0, 12] as const) : ([12, 0] as const)))
    const expected = [none, none, none, none, 'pass', 'pass', 'fail', 'fail', none, none, 'pass', 'pass']
    expect(await outcomes(given, rounds)).toEqual(expected)
    // The windows of the sixth look and of the fourth are clean and side by side; of the one between them nothing is known.
    const holed = await started({ phases: [twice, phase('all', 100, WORKS)] })
    const work = [24, 24, 24, 0, 0, 24, 24, 24].map((succeed) => [succeed, 0] as const)
    expect(await outcomes(holed, work)).toEqual([none, none, none, none, none, none, none, 'pass'])
    for (const { evidence_hash } of await kept(given)) {
      const row = (await getEvidence(given.t.world.db, given.t.tenant, evidence_hash)) as EvidenceRow
      expect(await recomputeEvidence(given.t.world, readingsFor, row)).toBe(row.text)
      expect(faultsOfEvidence(row.text)).toEqual([])
    }
  })
})
