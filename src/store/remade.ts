import { canonical } from '../core/canonical.js'
import { decide, refusal } from '../core/door.js'
import type { Remade } from '../core/drill-proof.js'
import { type Claim, claimOf } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { Db } from '../platform/db/seam.js'
import { type DecisionRow, decisionRow, getDecision } from './decisions.js'
import { getJob } from './jobs.js'
import { loadValues } from './payloads.js'
import type { Policies } from './policies.js'

/** A recorded decision made again from what it read, under the snapshot it was made by. Null where there is no such decision. */
export async function remade(
  world: { db: Db; policies: Policies },
  tenant: string,
  decision_id: string,
): Promise<Remade | null> {
  const row = await getDecision(world.db, tenant, decision_id)
  return row === null ? null : remake(world, row)
}

/** Decides a recorded decision again from what it read. Null where its payload was erased: then nobody can. */
export async function reproduce(world: { db: Db; policies: Policies }, row: DecisionRow) {
  const claim = await claimOfDecision(world.db, row)
  if (claim === null) return null
  const policy = await world.policies.compiled(row.tenant, row.snapshot)
  return { policy, claim, decision: decide(policy, claim, row.standing) }
}

async function remake(world: { db: Db; policies: Policies }, row: DecisionRow): Promise<Remade> {
  const { decision_id, door, decision, job_id, at, run_id: of } = row
  const rollout_id = row.standing.drawn?.rollout_id ?? null
  const shown = { decision_id, door, decision, job_id, at, run_id: of, rollout_id }
  const reproduced = await reproduce(world, row)
  if (reproduced === null) return { ...shown, same: null, code: null, stop_id: null }
  const { claim, decision: again } = reproduced
  const { claim: kept, input_ptr, context_ptr, run_id } = row
  const made: DecisionRow = {
    ...decisionRow(claim, again, row.standing, decision_id),
    ...{ job_id, claim: kept, input_ptr, context_ptr, run_id },
  }
  const same = canonical(made as unknown as Json) === canonical(row as unknown as Json)
  const isDenied = again.outcome === 'deny' || again.halt !== null
  return { ...shown, same, code: isDenied ? refusal(again).code : null, stop_id: again.halt?.stop_id ?? null }
}

/** Null where what it was about was erased. */
async function claimOfDecision(db: Db, row: DecisionRow): Promise<Claim | null> {
  const values = await loadValues(db, row.tenant, [row.input_ptr, row.context_ptr])
  const erased = [row.input_ptr, row.context_ptr].some((ptr) => ptr !== null && !values.has(ptr))
  if (erased) return null
  const payload = { input: values.get(row.input_ptr ?? '') ?? null, context: values.get(row.context_ptr ?? '') ?? null }
  if (row.claim !== null) return { ...row.claim, ...payload }
  const job = row.job_id === null ? null : await getJob(db, row.tenant, row.job_id)
  return job === null ? null : claimOf(job, payload)
}
