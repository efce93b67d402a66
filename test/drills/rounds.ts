import type { Round } from '../sim/round.js'
import { faultRound } from './faults.js'

/** A round of the soak; frozen nodes stand still long enough to be taken for dead. */
export const round: Round = async (seed, say) => {
  const { hands, submitted, effects, entries, quiet_ms, violations } = await faultRound(seed, { frozenMs: 15_000 })
  say(`round ${seed}: ${hands.map((each) => each.join(' + ')).join(', ')}`)
  say(`  ${submitted} jobs, ${effects} effects, ${entries} entries; quiet ${quiet_ms} ms after the last repair`)
  return violations
}
