import type { Caller } from '../core/access.js'
import { decide } from '../core/door.js'
import type { CompiledPolicy } from '../core/policy/compile.js'
import type { DecisionWord } from '../core/policy/document.js'
import { Impact, type ImpactReport } from '../core/policy/impact.js'
import { oldestRecorded, type Recorded, recordedSubmits } from '../store/recorded.js'
import type { World } from '../store/world.js'

export interface Previewed extends ImpactReport {
  /** Where the next call goes on; null where all that is retained was looked at. */
  next: string | null
  /** How much of the time for which decisions are retained was looked at, from now back: 0 to 1. */
  share: number
}

/**
 * What a policy would have made of recorded submits, newest first: each is decided again from all that was read then, so nothing
 * else is different. Records nothing, spends nothing.
 * @param before where the call before ended
 * @param most decisions to look at
 */
export async function impact(
  world: World,
  { tenant }: Pick<Caller, 'tenant'>,
  policy: CompiledPolicy,
  before: string | null,
  most: number,
): Promise<Previewed> {
  const found = new Impact()
  let left = most
  let last: Recorded | null = null
  let isCut = false
  for await (const recorded of recordedSubmits(world, tenant, { before })) {
    if (left-- === 0) {
      isCut = true
      break
    }
    look(found, policy, recorded)
    last = recorded
  }
  if (!isCut || last === null) return { ...found.report(), next: null, share: 1 }
  const next = last.row.decision_id.slice('dec_'.length)
  return { ...found.report(), next, share: await shareOf(world, tenant, last.row.at) }
}

async function shareOf(world: World, tenant: string, at: number): Promise<number> {
  const now = world.clock.now()
  const oldest = (await oldestRecorded(world.db, tenant)) ?? now
  const share = now <= oldest ? 1 : (now - at) / (now - oldest)
  return Math.round(Math.min(1, Math.max(0, share)) * 1000) / 1000
}

function look(found: Impact, policy: CompiledPolicy, { row, claim }: Recorded): void {
  const { decision_id, job_id, at, agent, topic, reason, rules, constraints, standing } = row
  const said = { decision: row.decision as DecisionWord, reason, rules, constraints }
  const about = { decision_id, job_id, at, agent, topic }
  if (claim === null) {
    found.add(about, said, null)
    return
  }
  const next = decide(policy, claim, standing)
  found.add(about, said, {
    decision: next.decision,
    reason: next.reason,
    rules: next.rules,
    constraints: next.evaluation.constraints as Record<string, unknown>,
  })
}
