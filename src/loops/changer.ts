import type { Caller } from '../core/access.js'
import type { ChangeKind } from '../core/policy/change.js'
import { activateFile, FILE, fileSeen, fileWish, type PolicyFile, type Stored } from '../journey/activate.js'
import { CHANGER, change, changeJob, TOPICS } from '../journey/change.js'
import { dispatch } from '../journey/dispatch.js'
import { type Submitted, submitOwn } from '../journey/submit.js'
import type { Clock } from '../platform/clock.js'
import type { Log } from '../platform/log.js'
import { tenantsWithDue } from '../store/due.js'
import type { SnapshotRow } from '../store/snapshots.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'
import { type Loop, loop } from './loop.js'

/** How late an approved change may come where its approver's node died before it did it. */
const PAUSE_MS = 1000

/** What became of a wish to change the policy. */
export interface Changed {
  snapshot: SnapshotRow
  /** How it was answered at the door; null where nothing had a say. */
  asked: Submitted['answer'] | null
}

/** The worker of the plane's own topics. */
export interface Changer extends Loop {
  /**
   * What was stored and not activated is asked for, as the job of whoever wants it; what the door lets through at once is done at the
   * return. Throws what a submit throws, Problem `policy_denied` first of all.
   */
  ask(caller: Caller, kind: ChangeKind, stored: Stored, idempotencyKey?: string): Promise<Changed>
  /** What is due of one tenant is put to the second door, and what that lets through is done. */
  turn(tenant: string): Promise<void>
  /** The policy on disk, if it is another than the last one. Null where it is not. */
  file(tenant: string, files: PolicyFile[], forced: boolean): Promise<(Changed & { activated: boolean }) | null>
}

export function changer(world: World, clock: Clock, log: Log): Changer {
  const round = async () => {
    for (const tenant of await tenantsWithDue(world.db, TOPICS, clock.now())) await carryOut(world, tenant)
  }
  const base = loop('changer', clock, log, PAUSE_MS, round)
  const unhint = world.bus.onHint((_, topic) => {
    if (TOPICS.includes(topic)) base.wake()
  })

  const ask: Changer['ask'] = async (caller, kind, { snapshot, activated }, idempotencyKey) => {
    const before = (await getGate(world.db, caller.tenant))?.snapshot ?? null
    if (activated || before === null || before === snapshot.digest) return { snapshot, asked: null }
    const { answer } = await submitOwn(world, caller, changeJob(kind, snapshot, before), idempotencyKey ?? null)
    if (answer.status === 'queued') await carryOut(world, caller.tenant)
    return { snapshot, asked: answer }
  }

  return {
    ...base,
    ask,
    turn: (tenant) => carryOut(world, tenant),
    async file(tenant, files, forced) {
      const before = await getGate(world.db, tenant)
      const stored = await activateFile(world, tenant, files, forced)
      if (stored === null) return null
      const { digest } = stored.snapshot
      const changed = await ask(fileCaller(tenant), 'activate', stored, fileWish(digest, before))
      // After it was asked for: who dies in between asks again, with the same key.
      if (changed.asked !== null) await fileSeen(world, tenant, digest)
      const active = (await getGate(world.db, tenant))?.snapshot === digest
      return { ...changed, activated: active }
    },
    async stop() {
      unhint()
      await base.stop()
    },
  }
}

async function carryOut(world: World, tenant: string): Promise<void> {
  for (;;) {
    const gate = await world.policies.refresh(tenant)
    if (gate === null) return
    const claim_id = world.ids.id('claim', world.clock.now())
    const { given } = await dispatch(world, [
      {
        tenant,
        key: { tenant, key_id: CHANGER },
        principal: CHANGER,
        worker: CHANGER,
        claim_id,
        topics: [...TOPICS],
        // One after the other: each leaves another gate behind.
        capacity: 1,
        enforces: [],
        serves: [],
        effects: 'recorded',
        known: true,
      },
    ])
    const [leased] = (await given[0]) ?? []
    if (leased === undefined) return
    await change(world, gate, { lease: leased.lease, job_id: leased.job.job_id })
  }
}

/** Nobody's key: whoever starts the server may ask for what its configuration names. */
const fileCaller = (tenant: string): Caller => ({
  tenant,
  principal: FILE,
  role: 'admin',
  team: null,
  key_id: FILE,
  topics: null,
  act_as: [],
  permissions: null,
  leads: [],
  expires_at: null,
})
