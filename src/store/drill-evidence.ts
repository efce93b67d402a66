import { CheckpointError, readCheckpoint } from '../core/audit/checkpoint.js'
import { parsePublicKey } from '../core/audit/keys.js'
import { rootAt } from '../core/audit/tree.js'
import { type DrillName, FRESH_MS, lackingOf, type Made, ONCE } from '../core/drill.js'
import {
  approvalProof,
  crashProof,
  denyProof,
  incidentProof,
  type PastJob,
  type Proof,
  type Remade,
  restoreProof,
  rollbackProof,
  stopProof,
} from '../core/drill-proof.js'
import type { Job } from '../core/job.js'
import { getApproval } from './approvals.js'
import { newestHead, readNodes, writerKeys } from './audit.js'
import { getRecovery, inDoubtOf, listCompensations, nodesOfRollback, runningOf, waitingOf } from './compensations.js'
import { passedRuns } from './drills.js'
import { getJob, listJobs } from './jobs.js'
import { effectsOfJob } from './leases.js'
import { remade } from './remade.js'
import { getRollout } from './rollouts.js'
import { getStop, leasesOfStop, nodesOf } from './stops.js'
import { type ToldOfJob, toldOfDenial, toldOfJobs } from './told.js'
import type { World } from './world.js'

const DENIALS_OF_RUN = `SELECT decision_id FROM decisions WHERE tenant = $1 AND run_id = $2 ORDER BY decision_id LIMIT $3`

/** Jobs and denials of a run that are looked back at. Each decision is made again, some 0.2 ms; a larger run is for `runs postmortem`. */
const MOST_JOBS = 200
/** Runs of one drill that may pass in two hours; whoever has played so many needs no old one. */
const MOST_RUNS = 1000
/** A node that was silent for so long before a stop is taken for gone, as GET /stops/{stop_id} does. */
const NODE_GONE_MS = 600_000

type Seen = Pick<World, 'db' | 'policies' | 'archive'>

/** What rows and log say of a drill that is reported. */
export async function proofOf(world: Seen, tenant: string, drill: DrillName, made: Made, now: number): Promise<Proof> {
  const missing = lackingOf(drill, made)
  if (missing.length > 0)
    return {
      figures: {},
      checks: [{ name: 'the report names what was made', pass: false, detail: missing.join(', ') }],
    }
  const proof = await LOOKS[drill](world, tenant, made as Required<Made>, now)
  const once = ONCE[drill]
  if (once === undefined) return proof
  // What is named is of the last hour, so a run that named it before is of the last two.
  const before = await passedRuns(world.db, tenant, drill, now - 2 * FRESH_MS, MOST_RUNS)
  const isNew = before.every((other) => other.made[once] !== made[once])
  const detail = isNew ? String(made[once]) : `${made[once]} has shown it before`
  return { ...proof, checks: [...proof.checks, { name: 'no run before was of the same', pass: isNew, detail }] }
}

type Look = (world: Seen, tenant: string, made: Required<Made>, now: number) => Promise<Proof>

const LOOKS: Record<DrillName, Look> = {
  async deny(world, tenant, { decision_id }, now) {
    const decision = await remade(world, tenant, decision_id)
    return denyProof({ now, decision, told: await toldOfDenial(world, tenant, decision_id) })
  },

  async approval(world, tenant, { job_id, approval_id }, now) {
    const { job, told } = await jobOf(world, tenant, job_id)
    const approval = await getApproval(world.db, tenant, approval_id)
    const decision = approval === null ? null : await remade(world, tenant, approval.decision_id)
    return approvalProof({ now, job, approval, decision, told })
  },

  async 'worker-crash'(world, tenant, { job_id }, now) {
    const { job, told } = await jobOf(world, tenant, job_id)
    return crashProof({ now, job, effects: await effectsOfJob(world.db, tenant, job_id), told })
  },

  async stop(world, tenant, { stop_id, decision_id, job_id }, now) {
    const [stop, decision, { job, told }] = await Promise.all([
      getStop(world.db, tenant, stop_id),
      remade(world, tenant, decision_id),
      jobOf(world, tenant, job_id),
    ])
    const heard = stop === null ? [] : await nodesOf(world.db, stop)
    const nodes = confirmed(heard, stop?.raised_at ?? 0)
    const leases = stop === null ? { total: 0, open: 0, last_ended: null } : await leasesOfStop(world.db, stop)
    return stopProof({ now, stop, nodes, leases, decision, job, told })
  },

  async 'incident-replay'(world, tenant, { run_id }) {
    const { items, next_cursor } = await listJobs(world.db, tenant, { run_id, limit: MOST_JOBS })
    const denied = await world.db.query<{ decision_id: string }>(DENIALS_OF_RUN, [tenant, run_id, MOST_JOBS + 1])
    const more = next_cursor !== null || denied.length > MOST_JOBS
    if (more) return incidentProof({ jobs: [], denials: [], more })
    const told = await toldOfJobs(
      world,
      tenant,
      items.map(({ job_id }) => job_id),
    )
    const jobs: PastJob[] = []
    for (const job of items) jobs.push(await pastJob(world, job, told.get(job.job_id) as ToldOfJob))
    const denials: Remade[] = []
    for (const { decision_id } of denied) {
      const found = await remade(world, tenant, decision_id)
      if (found !== null) denials.push(found)
    }
    return incidentProof({ jobs, denials, more })
  },

  async restore(world, tenant, made, now) {
    const keys = (await writerKeys(world.db)).map(parsePublicKey)
    const newest = (await newestHead(world.db, tenant))?.size ?? 0
    const ownRoot = async (note: string) => {
      const size = sizeOf(note)
      if (size === null || size > newest) return null
      return await rootAt(size, (wanted) => readNodes(world.db, tenant, wanted))
    }
    const [own, later] = [await ownRoot(made.head), await ownRoot(made.restored_head)]
    const last = (await passedRuns(world.db, tenant, 'restore', 0, 1))[0]?.at ?? null
    return restoreProof({ now, tenant, made, keys, ownRoot: own, ownLater: later, last })
  },

  async rollback(world, tenant, { rollout_id, job_id, decision_id }, now) {
    const [rollout, recovery, decision, { job, told }, running, waiting, doubts, compensations] = await Promise.all([
      getRollout(world.db, tenant, rollout_id),
      getRecovery(world.db, tenant, rollout_id),
      remade(world, tenant, decision_id),
      jobOf(world, tenant, job_id),
      runningOf(world.db, tenant, rollout_id, MOST_JOBS),
      waitingOf(world.db, tenant, rollout_id, '', MOST_JOBS),
      inDoubtOf(world.db, tenant, rollout_id),
      listCompensations(world.db, tenant, rollout_id, MOST_JOBS),
    ])
    const nodes = recovery === null ? [] : confirmed(await nodesOfRollback(world.db, recovery), recovery.rolled_back_at)
    const leases = { total: recovery?.leases.length ?? 0, ended_at: recovery?.leases_ended_at ?? null }
    const recovered_at = recovery?.recovered_at ?? null
    const open = running.length + waiting.length + doubts
    return rollbackProof({ now, rollout, decision, job, told, nodes, open, leases, compensations, recovered_at })
  },
}

/** When each node that was there has confirmed; null of one that lives and has not. */
function confirmed(heard: readonly { seen_at: number | null; at: number | null }[], since: number): (number | null)[] {
  return heard
    .filter(({ seen_at, at }) => at !== null || (seen_at !== null && seen_at > since - NODE_GONE_MS))
    .map(({ at }) => at)
}

async function jobOf(
  world: Seen,
  tenant: string,
  job_id: string,
): Promise<{ job: Job | null; told: ToldOfJob['entries'] }> {
  const job = await getJob(world.db, tenant, job_id)
  if (job === null) return { job, told: [] }
  return { job, told: (await toldOfJobs(world, tenant, [job_id])).get(job_id)?.entries ?? [] }
}

async function pastJob(world: Seen, job: Job, { entries, placed }: ToldOfJob): Promise<PastJob> {
  const named = entries.flatMap(({ decision_id, refused_by }) => [decision_id, refused_by])
  const ids = new Set(named.filter((id): id is string => typeof id === 'string'))
  const decisions: Remade[] = []
  const missing: string[] = []
  for (const id of ids) {
    const found = await remade(world, job.tenant, id)
    if (found === null) missing.push(id)
    else decisions.push(found)
  }
  return { job, told: entries, placed, decisions, missing }
}

/** Of a head of which nobody knows yet who signed it. */
function sizeOf(note: string): number | null {
  try {
    return readCheckpoint(note).checkpoint.size
  } catch (error) {
    if (error instanceof CheckpointError) return null
    throw error
  }
}
