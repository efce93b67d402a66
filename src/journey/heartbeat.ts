import type { Heartbeat, HeartbeatAnswer } from '../contract/workers.js'
import type { Caller } from '../core/access.js'
import { canonical } from '../core/canonical.js'
import type { Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import { expiryAfterBeat, isLost } from '../core/lease.js'
import { screenOrQuarantine } from '../core/output.js'
import { getJobs } from '../store/jobs.js'
import { getLeases } from '../store/leases.js'
import type { Rows } from '../store/ledger/write.js'
import { outputRules } from '../store/results.js'
import type { World } from '../store/world.js'

/** A worker lives: its leases are good for three more beats. Touches leases only, so a job's row is not rewritten for it. */
export async function heartbeat(world: World, caller: Caller, body: Heartbeat): Promise<HeartbeatAnswer> {
  const ids = body.leases.map((l) => l.lease)
  const leases = new Map(
    (await getLeases(world.db, caller.tenant, ids))
      .filter((l) => l.principal === caller.principal)
      .map((l) => [l.lease_id, l]),
  )
  const jobs = new Map(
    (
      await getJobs(
        world.db,
        caller.tenant,
        [...leases.values()].map((l) => l.job_id),
      )
    ).map((j) => [j.job_id, j]),
  )
  const now = world.clock.now()
  const beats: NonNullable<Rows['beats']> = []
  const answers: HeartbeatAnswer['leases'] = []
  for (const { lease: id, progress } of body.leases) {
    const lease = leases.get(id)
    const job = lease === undefined ? undefined : jobs.get(lease.job_id)
    // Past its end a lease is not revived: the sweeper may be giving the job to another worker this moment.
    if (
      lease === undefined ||
      job === undefined ||
      lease.ended_at !== null ||
      job.lease_id !== id ||
      isLost(lease, now)
    ) {
      answers.push({ lease: id, answer: 'lost', remaining_ms: 0 })
      continue
    }
    beats.push({
      tenant: lease.tenant,
      lease_id: id,
      beat_at: now,
      expires_at: expiryAfterBeat(lease, now),
      progress: progress === undefined ? null : await screenedProgress(world, job, progress as Json),
    })
    answers.push({
      lease: id,
      answer: job.cancel_requested ? 'cancel' : 'ok',
      remaining_ms: Math.max(0, lease.hard_end - now),
    })
  }
  if (beats.length > 0)
    await world.ledger.commit({
      tenant: caller.tenant,
      gate: null,
      alone: beats.map((b) => b.lease_id),
      rows: { beats },
      facts: [],
    })
  return { leases: answers }
}

/**
 * A word on how far it is, not a result: 500 leases with 2 MB of it each took a node's memory with one heartbeat. The beat counts
 * all the same.
 */
const PROGRESS_BYTES = 8192

async function screenedProgress(world: World, job: Job, progress: Json): Promise<string> {
  const bytes = Buffer.byteLength(JSON.stringify(progress))
  if (bytes > PROGRESS_BYTES) return canonical(`[${bytes} bytes of progress; at most ${PROGRESS_BYTES} are kept]`)
  const { verdict, output } = screenOrQuarantine(progress, await outputRules(world, job))
  return canonical(verdict === 'QUARANTINE' ? '[QUARANTINED]' : output)
}
