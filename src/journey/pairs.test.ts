import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../../test/invariants.js'
import { codeOf, isCommit, openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { proves } from '../../test/requirements.js'
import type { JobStatus } from '../core/job.js'
import type { World } from '../store/world.js'
import { edit, requestChanges } from './approve.js'

/**
 * Every pair of things that can happen to one job, at the same moment: decided on the same row, written in one batch or by two
 * nodes. What comes out must be what one of the two orders gives, one after the other. Which pairs exclude each other is not
 * written down here; the serial runs say it.
 */
const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.do.*, attempts: 3, timeout_ms: 60000, heartbeat_ms: 1000, queue_timeout_ms: 5000 }
  - { topic: job.ask.*, attempts: 3, timeout_ms: 60000, heartbeat_ms: 1000, queue_timeout_ms: 500000 }
rules:
  - { id: do, match: { topic: job.do.* }, decision: ALLOW, limits: { concurrent: 5, per: rule } }
  - { id: ask, match: { topic: job.ask.* }, decision: REQUIRE_APPROVAL, approval: { from: [role:approver], need: 2, within: 1h } }
  - id: levels
    match: { topic: job.levels.* }
    decision: REQUIRE_APPROVAL
    approval: { levels: [ { from: [principal:person:ann], within: 1h }, { from: [principal:person:ben], within: 1h } ] }
  - id: climbs
    match: { topic: job.climbs.* }
    decision: REQUIRE_APPROVAL
    approval: { from: [principal:person:ann], within: 1h, then: escalate, ladder: [ { from: [principal:person:ben], after: 1h } ] }
`
const PRIVATE_KEY = `-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\nMzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu\n-----END PRIVATE KEY-----`

/** What an event did, in a word that is the same in every run. */
type Event = (t: Tenancy, at: Place) => Promise<string>
interface Place {
  job_id: string
  lease: string
  approval_id: string
  /** As it was shown when the scene began: an answer to what another one changed meanwhile is stale. */
  grant_hash?: string
}
interface Scene {
  status: JobStatus
  /** Brings a new job there. */
  enter(t: Tenancy): Promise<Place>
  events: Record<string, Event>
}

const word = async (work: Promise<unknown>, say: (value: never) => string = () => 'done') => {
  let value: unknown
  const code = await codeOf(work.then((v) => (value = v)))
  return code === 'done' ? say(value as never) : code
}
const nowhere = { lease: '', approval_id: '' }
const secondTopic = 'job.ask.it'

async function running(t: Tenancy): Promise<Place> {
  const { lease, job } = await t.lease({ topic: 'job.do.it' })
  return { ...nowhere, job_id: job.job_id, lease }
}
async function begun(t: Tenancy): Promise<Place> {
  const place = await running(t)
  await t.begin(place.lease, 'pay')
  return place
}
const lateBy = (t: Tenancy) => t.clock.advance(3001)

const cancelled: Event = (t, { job_id }) => word(t.cancel(job_id))
const swept: Event = (t) => word(t.sweep())
const claimed: Event = (t) => word(t.claim(['job.do.it']), (leases: unknown[]) => `leases ${leases.length}`)
const settled = (t: Tenancy, lease: string, result: string) =>
  word(t.succeed(lease, result), ({ answer }: { answer: string }) => answer)

async function asking(t: Tenancy, topic: string): Promise<Place> {
  const { job_id, approval_id, grant_hash } = await t.submit({ topic, input: { amount: 9 } })
  return { ...nowhere, job_id, approval_id: approval_id as string, grant_hash: grant_hash as string }
}
const yesBy =
  (who: 'approver' | 'otherApprover'): Event =>
  (t, { approval_id, grant_hash }) =>
    word(t.approve(approval_id, t[who], grant_hash))
const editedBy =
  (who: 'approver' | 'otherApprover', amount: number): Event =>
  (t, { approval_id, grant_hash = '' }) =>
    word(edit(t.world, t[who], approval_id, { grant_hash, input: { amount } }))
const sentBack: Event = (t, { approval_id }) =>
  word(requestChanges(t.world, t.approver, approval_id, { reason: 'name the customer' }))

const SCENES: Record<string, Scene> = {
  'waiting for two people, who may change it': {
    status: 'pending_approval',
    enter: (t) => asking(t, secondTopic),
    events: {
      approve: yesBy('approver'),
      'approve by another': yesBy('otherApprover'),
      edit: editedBy('approver', 5),
      'edit by another': editedBy('otherApprover', 3),
      'request changes': sentBack,
    },
  },
  'waiting for the first of two levels': {
    status: 'pending_approval',
    enter: (t) => asking(t, 'job.levels.it'),
    events: {
      'approve at the first': yesBy('approver'),
      'approve at the second': yesBy('otherApprover'),
      'edit at the first': editedBy('approver', 5),
      'reject at the second': (t, { approval_id }) => word(t.reject(approval_id, t.otherApprover)),
      cancel: cancelled,
    },
  },
  'past the time of its first level, with a ladder': {
    status: 'pending_approval',
    enter: async (t) => {
      const place = await asking(t, 'job.climbs.it')
      t.clock.advance(3_600_000)
      return place
    },
    events: {
      approve: yesBy('approver'),
      'approve by who is next': yesBy('otherApprover'),
      edit: editedBy('approver', 5),
      cancel: cancelled,
      sweep: swept,
    },
  },
  'past the time of its last rung': {
    status: 'pending_approval',
    enter: async (t) => {
      const place = await asking(t, 'job.climbs.it')
      t.clock.advance(3_600_000)
      await t.sweep()
      t.clock.advance(3_600_000)
      return place
    },
    events: {
      approve: yesBy('approver'),
      'approve by who is next': yesBy('otherApprover'),
      edit: editedBy('approver', 5),
      sweep: swept,
    },
  },
  'waiting for two people': {
    status: 'pending_approval',
    enter: async (t) => {
      const { job_id, approval_id } = await t.submit({ topic: secondTopic })
      return { ...nowhere, job_id, approval_id: approval_id as string }
    },
    events: {
      approve: (t, { approval_id }) => word(t.approve(approval_id)),
      'approve by another': (t, { approval_id }) => word(t.approve(approval_id, t.otherApprover)),
      reject: (t, { approval_id }) => word(t.reject(approval_id)),
      cancel: cancelled,
      sweep: swept,
    },
  },
  'waiting for the second of two people': {
    status: 'pending_approval',
    enter: async (t) => {
      const { job_id, approval_id } = await t.submit({ topic: secondTopic })
      await t.approve(approval_id as string)
      return { ...nowhere, job_id, approval_id: approval_id as string }
    },
    events: {
      'approve again': (t, { approval_id }) => word(t.approve(approval_id)),
      'approve by another': (t, { approval_id }) => word(t.approve(approval_id, t.otherApprover)),
      reject: (t, { approval_id }) => word(t.reject(approval_id)),
      cancel: cancelled,
    },
  },
  'past its approval time': {
    status: 'pending_approval',
    enter: async (t) => {
      const { job_id, approval_id } = await t.submit({ topic: secondTopic })
      t.clock.advance(3_600_000)
      return { ...nowhere, job_id, approval_id: approval_id as string }
    },
    events: {
      approve: (t, { approval_id }) => word(t.approve(approval_id)),
      cancel: cancelled,
      sweep: swept,
    },
  },
  queued: {
    status: 'queued',
    enter: async (t) => ({ ...nowhere, job_id: (await t.submit({ topic: 'job.do.it' })).job_id }),
    events: { claim: claimed, cancel: cancelled, sweep: swept },
  },
  'past its queue time': {
    status: 'queued',
    enter: async (t) => {
      const { job_id } = await t.submit({ topic: 'job.do.it' })
      t.clock.advance(5000)
      return { ...nowhere, job_id }
    },
    events: { claim: claimed, cancel: cancelled, sweep: swept },
  },
  running: {
    status: 'running',
    enter: running,
    events: {
      succeed: (t, { lease }) => settled(t, lease, 'well'),
      'succeed otherwise': (t, { lease }) => settled(t, lease, 'other'),
      fail: (t, { lease }) => word(t.fail(lease), ({ answer }: { answer: string }) => answer),
      'fail for good': (t, { lease }) => word(t.fail(lease, 'terminal'), ({ answer }: { answer: string }) => answer),
      cancel: cancelled,
      begin: (t, { lease }) => word(t.begin(lease, 'pay'), ({ status }: { status: string }) => status),
    },
  },
  'running with an effect open': {
    status: 'running',
    enter: begun,
    events: {
      succeed: (t, { lease }) => settled(t, lease, 'well'),
      fail: (t, { lease }) => word(t.fail(lease), ({ answer }: { answer: string }) => answer),
      commit: (t, { lease }) => word(t.commit(lease, 'pay', 1), ({ status }: { status: string }) => status),
      'begin another': (t, { lease }) => word(t.begin(lease, 'ship'), ({ status }: { status: string }) => status),
      cancel: cancelled,
    },
  },
  'lost with an effect open': {
    status: 'running',
    enter: async (t) => {
      const place = await begun(t)
      lateBy(t)
      return place
    },
    events: {
      sweep: swept,
      succeed: (t, { lease }) => settled(t, lease, 'well'),
      commit: (t, { lease }) => word(t.commit(lease, 'pay', 1), ({ status }: { status: string }) => status),
      begin: (t, { lease }) => word(t.begin(lease, 'ship'), ({ status }: { status: string }) => status),
      cancel: cancelled,
    },
  },
  lost: {
    status: 'running',
    enter: async (t) => {
      const place = await running(t)
      lateBy(t)
      return place
    },
    events: {
      sweep: swept,
      succeed: (t, { lease }) => settled(t, lease, 'well'),
      fail: (t, { lease }) => word(t.fail(lease), ({ answer }: { answer: string }) => answer),
      cancel: cancelled,
    },
  },
  ambiguous: {
    status: 'ambiguous',
    enter: async (t) => {
      const place = await begun(t)
      await t.fail(place.lease)
      t.clock.advance(60_000)
      return place
    },
    events: {
      'it happened': (t, { job_id }) => word(t.resolve(job_id, 'pay', true)),
      'it did not': (t, { job_id }) => word(t.resolve(job_id, 'pay', false)),
      'it is done': (t, { job_id }) => word(t.resolve(job_id, 'pay', true, 'finish')),
      'late commit': (t, { lease }) => word(t.commit(lease, 'pay', 1), ({ status }: { status: string }) => status),
      cancel: cancelled,
    },
  },
  quarantined: {
    status: 'quarantined',
    enter: async (t) => {
      const place = await running(t)
      await t.succeed(place.lease, PRIVATE_KEY)
      return place
    },
    events: {
      release: (t, { job_id }) => word(t.release(job_id)),
      discard: (t, { job_id }) => word(t.discardResult(job_id)),
      cancel: cancelled,
    },
  },
  'dead letter': {
    status: 'dead_letter',
    enter: async (t) => {
      const place = await running(t)
      await t.fail(place.lease, 'terminal')
      return place
    },
    events: {
      replay: (t, { job_id }) => word(t.replay(job_id)),
      discard: (t, { job_id }) => word(t.discard(job_id)),
      cancel: cancelled,
    },
  },
}

let plane: TestPlane
let second: World
beforeAll(async () => {
  plane = await openPlane()
  second = plane.node()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

/** The row and the words, without what differs in every run. */
async function outcome(t: Tenancy, { job_id }: Place, words: string[]): Promise<string> {
  const { status, status_reason, attempt, cancel_requested, verdict, error_code, released_by } = await t.job(job_id)
  const effects = (await t.effects(job_id)).map((e) => `${e.effect_key} ${e.status}${e.late ? ' late' : ''}`)
  const approvals = (await t.rows<{ status: string; answers: unknown[] }>('approvals'))
    .map((a) => `${a.status} ${a.answers.length}`)
    .sort()
  return JSON.stringify({
    words,
    status,
    status_reason,
    attempt,
    cancel_requested,
    verdict,
    error_code,
    released_by,
    effects,
    approvals,
  })
}

async function serial(scene: Scene, order: [Event, Event], swap: boolean): Promise<string> {
  const t = await plane.tenant(POLICY)
  const place = await scene.enter(t)
  const words: string[] = []
  for (const event of order) words.push(await event(t, place))
  await t.sweep()
  return outcome(t, place, swap ? words.reverse() : words)
}

/** Holds the first commit until the other one wants to write as well, or has answered without. */
async function together(scene: Scene, a: Event, b: Event, nodes: 1 | 2): Promise<string> {
  const t = await plane.tenant(POLICY)
  const other = nodes === 1 ? t : t.on(second)
  const place = await scene.enter(t)
  expect((await t.job(place.job_id)).status).toBe(scene.status)
  let over = 0
  let held = 0
  let let_go = false
  plane.db.tap = async (sql, send) => {
    if (!isCommit(sql)) return send()
    held++
    while (!let_go) await new Promise((turn) => setImmediate(turn))
    return send()
  }
  const both = [a(t, place), b(other, place)].map((work) => work.finally(() => over++))
  for (let turn = 0; turn < 500 && !let_go; turn++) {
    await new Promise((next) => setImmediate(next))
    let_go = over + held + plane.world.ledger.depth >= 2 || over === 2
  }
  let_go = true
  const words = await Promise.all(both)
  plane.db.tap = null
  // A sweep that lost the race leaves the job to its next round.
  await t.sweep()
  expect(await violations(plane, t.tenant)).toEqual([])
  return outcome(t, place, words)
}

describe(`${proves('L3', 'R4', 'R5', 'A3')} two events on one job at once come out as one after the other`, () => {
  for (const [name, scene] of Object.entries(SCENES)) {
    const events = Object.entries(scene.events)
    test(name, async () => {
      for (const [i, [first, a]] of events.entries())
        for (const [next, b] of events.slice(i)) {
          const allowed = [await serial(scene, [a, b], false), await serial(scene, [b, a], true)]
          for (const nodes of [1, 2] as const)
            expect(allowed, `${first} + ${next} on ${nodes}`).toContain(await together(scene, a, b, nodes))
        }
    })
  }
})
