import type { RollbackReport, RolloutCompensation } from '../contract/compensations.js'
import type { TimelineEntry } from '../contract/jobs.js'
import { decisionIdOf } from '../core/job.js'
import type { Compensation, Recovery } from '../core/rollout/compensation.js'
import { Problem } from '../errors.js'
import { getApproval } from '../store/approvals.js'
import {
  countCompensations,
  getRecovery,
  leaseEnds,
  listCompensations,
  nodesOfRollback,
  toldOf,
} from '../store/compensations.js'
import { getDecision } from '../store/decisions.js'
import { getJobs } from '../store/jobs.js'
import { getRollout, type RolloutRow } from '../store/rollouts.js'
import type { World } from '../store/world.js'

/** Compensations that one report names; all are counted. */
const SHOWN = 500
/** A node that was silent for so long before the rollback is taken for gone; one that is only frozen must not be. */
const NODE_GONE_MS = 600_000

/**
 * What a rollback did, with its times: all of it from rows and the log. Throws Problem `not_found`, `illegal_transition` where nothing was
 * rolled back.
 * @param timeline what the log says of the rollout
 */
export async function rollbackReport(
  world: World,
  tenant: string,
  rollout_id: string,
  timeline: TimelineEntry[],
): Promise<RollbackReport> {
  const rollout = await getRollout(world.db, tenant, rollout_id)
  if (rollout === null) throw new Problem('not_found')
  const { status, ended_at: at } = rollout
  if (status !== 'rolled_back' || at === null)
    throw new Problem('illegal_transition', `The rollout is ${status}: nothing was taken back`)
  // Nobody has looked at it yet: what is known then is the rollback itself.
  const recovery = (await getRecovery(world.db, tenant, rollout_id)) ?? unlooked(rollout, at)
  const since = (then: number | null) => (then === null ? null : Math.max(0, then - at))
  const counts = await countCompensations(world.db, tenant, rollout_id)
  const { document, ended_by, ended_trigger: trigger, ended_reason: reason } = rollout
  const { rollout: name, subject, owners, stakeholders } = document
  const from = recovery.detected_from
  return {
    ...{ rollout_id, rollout: name, subject, owners, stakeholders },
    rolled_back: { at, by: ended_by ?? recovery.rolled_back_by, trigger, reason },
    detection: from === null ? null : { from, took_ms: Math.max(0, at - from) },
    stop: await stopOf(world, recovery),
    work: await workOf(world, rollout, recovery),
    compensations: {
      total: [...counts.values()].reduce((sum, n) => sum + n, 0),
      by_status: Object.fromEntries(counts),
      items: await itemsOf(world, tenant, rollout_id, at),
    },
    recovery: { recovered_at: recovery.recovered_at, took_ms: since(recovery.recovered_at) },
    told: await messagesOf(world, tenant, timeline),
    timeline,
  }
}

const unlooked = ({ tenant, rollout_id, ended_by }: RolloutRow, rolled_back_at: number): Recovery => ({
  ...{ tenant, rollout_id, version: 0, rolled_back_at, rolled_back_by: ended_by ?? '', detected_from: null },
  ...{ leases: [], refused: 0, leases_ended_at: null, recovered_at: null },
})

async function stopOf(world: World, recovery: Recovery): Promise<RollbackReport['stop']> {
  const { rolled_back_at } = recovery
  const now = world.clock.now()
  const heard = await nodesOfRollback(world.db, recovery)
  const nodes = heard
    .filter(({ at, seen_at }) => at !== null || (seen_at !== null && seen_at > rolled_back_at - NODE_GONE_MS))
    .map(({ node, seen_at, at }) => ({
      node,
      confirmed_ms: at === null ? null : Math.max(0, at - rolled_back_at),
      silent_ms: seen_at === null ? null : Math.max(0, now - seen_at),
    }))
  const known = nodes.flatMap(({ confirmed_ms }) => (confirmed_ms === null ? [] : [confirmed_ms]))
  const isWhole = nodes.length > 0 && known.length === nodes.length
  return { confirmed_ms: isWhole ? Math.max(...known) : null, nodes }
}

async function workOf(
  world: World,
  { tenant, document }: RolloutRow,
  recovery: Recovery,
): Promise<RollbackReport['work']> {
  const { leases, refused, rolled_back_at, leases_ended_at } = recovery
  const ends = await leaseEnds(world.db, tenant, leases)
  const last = Math.max(...ends.map(({ ended_at }) => ended_at ?? 0), 0)
  // Of leases that are no longer kept the look says when they were over.
  const ended = last > 0 ? last : leases_ended_at
  return {
    on_rollback: document.on_rollback,
    leases: leases.length,
    open: ends.filter(({ ended_at }) => ended_at === null).length,
    ended_ms: leases_ended_at === null || ended === null ? null : Math.max(0, ended - rolled_back_at),
    refused,
  }
}

async function itemsOf(world: World, tenant: string, rollout_id: string, at: number): Promise<RolloutCompensation[]> {
  const rows = await listCompensations(world.db, tenant, rollout_id, SHOWN)
  const ids = rows.flatMap(({ comp_job_id }) => (comp_job_id === null ? [] : [comp_job_id]))
  const jobs = new Map((await getJobs(world.db, tenant, ids)).map((job) => [job.job_id, job]))
  const items: RolloutCompensation[] = []
  for (const row of rows) {
    const job = jobs.get(row.comp_job_id ?? '')
    const approval = job?.approval_id == null ? null : await getApproval(world.db, tenant, job.approval_id)
    items.push({
      ...shown(row, at),
      job: job === undefined ? null : { job_id: job.job_id, status: job.status },
      decision: await decisionOf(world, tenant, row),
      approval:
        approval === null
          ? null
          : {
              approval_id: approval.approval_id,
              status: approval.status,
              answers: approval.answers.map(({ by, answer, at }) => ({ by, answer, at })),
            },
    })
  }
  return items
}

function shown(row: Compensation, at: number): Omit<RolloutCompensation, 'job' | 'decision' | 'approval'> {
  const { job_id, run_id, effect_key, topic, status, reason, tries, asked_at, ended_at, settled_by, raised_by } = row
  const took_ms = ended_at === null ? null : Math.max(0, ended_at - at)
  return {
    ...{ job_id, run_id, effect_key, topic, effect_at: row.at, status, reason, tries },
    ...{ asked_at, ended_at, took_ms, settled_by, raised_by },
  }
}

/** What the first door said: of a job it stands with it, of a denial by itself. */
async function decisionOf(
  world: World,
  tenant: string,
  { decision_id, comp_job_id }: Compensation,
): Promise<RolloutCompensation['decision']> {
  const id = decision_id ?? (comp_job_id === null ? null : decisionIdOf(comp_job_id))
  const found = id === null ? null : await getDecision(world.db, tenant, id)
  if (found === null || id === null) return null
  const { decision, reason, rules } = found
  return {
    decision_id: id,
    decision: decision as NonNullable<RolloutCompensation['decision']>['decision'],
    reason,
    rules,
  }
}

async function messagesOf(
  world: World,
  tenant: string,
  timeline: readonly TimelineEntry[],
): Promise<RollbackReport['told']> {
  const indexes = timeline.flatMap(({ index }) => (index === null ? [] : [index]))
  const rows = indexes.length === 0 ? [] : await toldOf(world.db, tenant, indexes)
  return rows.map(({ tree_index, finished_at, ...row }) => ({ ...row, index: tree_index, at: finished_at }))
}
