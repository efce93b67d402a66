import type { Caller } from '../core/access.js'
import { decide } from '../core/door.js'
import type { Claim } from '../core/job.js'
import type { CompiledPolicy } from '../core/policy/compile.js'
import type { DecisionWord } from '../core/policy/document.js'
import { Impact, type ImpactReport } from '../core/policy/impact.js'
import { type Recorded, recordedBefore } from '../store/decisions.js'
import { loadValues } from '../store/payloads.js'
import type { World } from '../store/world.js'

/** Decisions read at once: 500 with their payloads are some MB and some ms. */
const PAGE = 500
/** Decisions made between two looks at what else there is to do: some µs each as a rule, 150 ms at worst for each condition. */
const AT_ONCE = 10

export interface Previewed extends ImpactReport {
  /** Where the next call goes on; null where all that is retained was looked at. */
  next: string | null
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
  let at = before
  for (let left = most; left > 0; ) {
    const page = await recordedBefore(world.db, tenant, at, Math.min(left, PAGE))
    const values = await loadValues(
      world.db,
      tenant,
      page.items.flatMap(({ row }) => [row.input_ptr, row.context_ptr]),
    )
    for (const [n, each] of page.items.entries()) {
      if (n % AT_ONCE === AT_ONCE - 1) await world.clock.turn()
      look(found, policy, each, values)
    }
    left -= page.items.length
    at = page.before
    if (at === null) break
    await world.clock.turn()
  }
  return { ...found.report(), next: at }
}

function look(
  found: Impact,
  policy: CompiledPolicy,
  { row, claim }: Recorded,
  values: Awaited<ReturnType<typeof loadValues>>,
): void {
  const { decision_id, job_id, at, agent, topic, reason, rules, constraints, standing } = row
  const said = { decision: row.decision as DecisionWord, reason, rules, constraints }
  const pointers = [row.input_ptr, row.context_ptr].filter((ptr) => ptr !== null)
  const about = { decision_id, job_id, at, agent, topic }
  if (pointers.some((ptr) => !values.has(ptr))) {
    found.add(about, said, null)
    return
  }
  const input = values.get(row.input_ptr ?? '') ?? null
  const whole: Claim = { ...claim, input, context: values.get(row.context_ptr ?? '') ?? null }
  const next = decide(policy, whole, standing)
  found.add(about, said, {
    decision: next.decision,
    reason: next.reason,
    rules: next.rules,
    constraints: next.evaluation.constraints as Record<string, unknown>,
  })
}
