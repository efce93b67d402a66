import type { Caller } from '../core/access.js'
import { isPerson, mayBeOne, stillCounts } from '../core/four-eyes.js'
import { lacksToStop, type ResumeRequest, resume, type Stop, scopeText, stopFacts, trialOf } from '../core/stop.js'
import { Problem } from '../errors.js'
import { getPrincipal } from '../store/directory.js'
import { partyOf } from '../store/four-eyes.js'
import { standingUnder } from '../store/keys.js'
import { type Gate, getGate, listGates } from '../store/standing.js'
import { getStop, type StopRow } from '../store/stops.js'
import type { World } from '../store/world.js'

const TRIES = 12

export type Asked = Pick<ResumeRequest, 'stage' | 'note' | 'trial_ms' | 'trial_limit'>

/**
 * One person says how work is to go on, another carries it out: first a trial, then the end. From the return of the second the door
 * reads the new stage. Throws Problem `not_found`, `forbidden`, `self_approval`, `illegal_transition`.
 */
export async function resumeStop(
  world: World,
  caller: Caller,
  stop_id: string,
  asked: Asked,
): Promise<{ stop: StopRow; carried_out: boolean }> {
  for (let tries = 0; tries < TRIES; tries++) {
    // Before the stop is read: whoever changes it meanwhile moves this gate, and this commit loses.
    const gate = await getGate(world.db, caller.tenant)
    await standingUnder(world, gate, caller)
    const stop = await getStop(world.db, caller.tenant, stop_id)
    if (stop === null) throw new Problem('not_found')
    const { standing, overlap } = await twoOf(world, caller, stop)
    const now = world.clock.now()
    const step = resume(standing, caller.principal, { ...asked, key_id: caller.key_id }, now, overlap)
    if (step.kind === 'refused') {
      if (step.code === 'self_approval') await onRecord(world, caller, stop, step.detail)
      throw new Problem(step.code, step.detail, { stop_id })
    }
    const carried = step.kind === 'carried_out'
    // What only waits for a second person changes nothing of what the door reads: one gate orders it.
    const wide = carried && stop.scope === 'everything'
    const gates: Gate[] = wide
      ? await listGates(world.db)
      : [gate ?? { tenant: caller.tenant, snapshot: null, epoch: 0, file_digest: null }]
    const tenants = gates.map(({ tenant }) => tenant)
    const more = {
      ...{ note: asked.note, ...(carried ? { asked_by: step.asked_by } : { wanted: asked.stage }) },
      ...(asked.stage === 'trial' ? trialOf(asked) : {}),
    }
    const receipt = await world.ledger.commit({
      tenant: caller.tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: {
        stops: [rowOf(step.stop)],
        gates: gates.map((each) => {
          const read = each.tenant === caller.tenant ? (gate?.epoch ?? 0) : each.epoch
          return { ...each, epoch: read + 1 }
        }),
      },
      facts: stopFacts(
        carried ? 'stop.resumed' : 'stop.resume_requested',
        step.stop,
        tenants,
        now,
        caller.principal,
        more,
      ),
    })
    await world.policies.refresh(caller.tenant)
    if (!receipt.ok) continue
    return { stop: { ...stop, ...step.stop }, carried_out: carried }
  }
  throw new Problem('overloaded', 'The gate moved faster than this could be written: try again', {
    retry_after_ms: 200,
  })
}

/** The columns that steps write. */
function rowOf(stop: Stop & Partial<StopRow>): Stop {
  const { refused_ms: _refused, enforced_at: _enforced, ...row } = stop
  return row
}

/**
 * The stop with the request that still counts, and why who asked and who asks now may be one; null where they are two. People resume,
 * never a program, whatever its key may do. Throws Problem `forbidden`.
 */
async function twoOf(
  world: World,
  caller: Caller,
  stop: StopRow,
): Promise<{ standing: StopRow; overlap: string | null }> {
  const { tenant, principal } = caller
  const [self, first, agent] = await Promise.all([
    partyOf(world.db, tenant, { by: principal }),
    stop.resume === null ? null : partyOf(world.db, tenant, stop.resume),
    stop.scope === 'agent' ? getPrincipal(world.db, tenant, stop.target ?? '') : null,
  ])
  const owner = agent?.team ?? null
  const lacks = isPerson(self) ? lacksToStop(caller, stop, owner) : 'a person'
  if (lacks !== null) {
    await onRecord(world, caller, stop, `resuming ${scopeText(stop)} needs ${lacks}`)
    throw new Problem('forbidden', `To resume ${scopeText(stop)} needs ${lacks}`, { needs: lacks })
  }
  // Who was disabled since, or may no more, or whose key was revoked, asks for nothing: this call is the first then.
  if (first === null || !stillCounts(first, (as) => lacksToStop(as, stop, owner) !== null))
    return { standing: { ...stop, resume: null }, overlap: null }
  return { standing: stop, overlap: mayBeOne(first, self) }
}

async function onRecord(world: World, { tenant, principal }: Caller, { stop_id }: Stop, reason: string): Promise<void> {
  const at = world.clock.now()
  const refused = { kind: 'stop.refused', tenant, actor: principal, stop_id, reason } as const
  await world.refusals.onRecord(refused, at, () => world.ledger.record(tenant, [{ ...refused, at }]))
}
