import type { Approval as WireApproval } from '../contract/approvals.js'
import type { Principal as WirePrincipal, Team as WireTeam } from '../contract/directory.js'
import type { Run, Timeline, Job as WireJob } from '../contract/jobs.js'
import type { Key } from '../contract/keys.js'
import type { Snapshot } from '../contract/policy.js'
import { type Approval, tally } from '../core/approval.js'
import { shortForm } from '../core/binding.js'
import type { Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import { dueOf } from '../core/key.js'
import type { Effect, Lease } from '../core/lease.js'
import type { Principal, Team } from '../core/principal.js'
import type { ListedKey } from '../store/keys.js'
import type { SnapshotRow } from '../store/snapshots.js'

/** Rows as the wire shows them. What is not named here never leaves: secrets' hashes, salts, sealed texts. */
export function viewJob(
  job: Job,
  more: { effects?: Effect[]; lease?: Lease | null; feedback?: string | null } = {},
): WireJob {
  return {
    job_id: job.job_id,
    tenant: job.tenant,
    run_id: job.run_id,
    workflow: job.workflow,
    agent: job.agent,
    agent_version: job.agent_version,
    rollout_id: job.rollout_id,
    variant: job.variant,
    requested_by: job.requested_by,
    topic: job.topic,
    labels: job.labels,
    risk_tags: job.risk_tags,
    environment: job.environment,
    action_type: job.action_type,
    capability: job.capability,
    action: job.action,
    priority: job.priority,
    status: job.status,
    status_reason: job.status_reason,
    attempt: job.attempt,
    max_attempts: job.max_attempts,
    timeout_ms: job.timeout_ms,
    decision: job.decision as WireJob['decision'],
    decision_id: job.decision_id,
    reason: job.reason,
    rules: job.rules,
    constraints: job.constraints,
    policy_snapshot: shortForm(job.snapshot),
    high_risk: job.high_risk,
    job_hash: job.job_hash,
    grant_hash: job.grant_hash,
    approval_id: job.approval_id,
    granted_by: job.granted_by,
    revises: job.revises,
    ...(more.feedback == null ? {} : { feedback: more.feedback }),
    context_ptr: job.context_ptr,
    input_ptr: job.input_ptr,
    result_ptr: job.status === 'succeeded' ? job.result_ptr : null,
    verdict: job.verdict,
    error:
      job.error_code === null
        ? null
        : { class: job.error_class ?? '', code: job.error_code, message: job.error_message ?? '' },
    progress: more.lease?.progress == null ? null : (JSON.parse(more.lease.progress) as Json),
    cancel_requested: job.cancel_requested,
    owner: job.owner,
    respond_by: job.respond_by,
    created_at: job.created_at,
    updated_at: job.updated_at,
    due_at: job.due_at,
    finished_at: job.finished_at,
    ...(more.effects === undefined
      ? {}
      : {
          effects: more.effects.map((e) => ({
            key: e.effect_key,
            status: e.status,
            attempt: e.attempt,
            begun_at: e.begun_at,
            ended_at: e.ended_at,
          })),
        }),
  }
}

function unanswerable({ lacking }: Approval, at: { spec: number; level: number }): { unanswerable_since?: number } {
  const found = lacking?.find(({ spec, level }) => spec === at.spec && level === at.level)
  return found === undefined ? {} : { unanswerable_since: found.at }
}

export function viewApproval(
  approval: Approval,
  alike: readonly string[],
  shown?: { job: Job; input: Json; context: Json; inputs: ReadonlyMap<string, Json> },
): WireApproval {
  const place = ({ spec, level }: { spec: number; level: number }) => ({ flow: spec, level })
  const input = (ptr: string | null) => shown?.inputs.get(ptr ?? '') ?? null
  return {
    approval_id: approval.approval_id,
    status: approval.status,
    job_id: approval.job_id,
    topic: approval.topic,
    agent: approval.agent,
    requested_by: approval.requested_by,
    requested_at: approval.requested_at,
    expires_at: approval.expires_at,
    valid_until: approval.valid_until,
    reason: approval.reason,
    rules: approval.rules,
    constraints: approval.constraints,
    policy_snapshot: shortForm(approval.snapshot),
    job_hash: approval.job_hash,
    grant_hash: approval.grant_hash,
    short_hash: shortForm(approval.grant_hash, alike),
    specs: approval.specs,
    asked_of: approval.asked_of,
    open:
      approval.status === 'pending'
        ? tally(approval).open.map(({ since, missing, ...at }) => ({
            ...place(at),
            since,
            missing,
            ...unanswerable(approval, at),
          }))
        : [],
    escalations: approval.escalations.map(({ rung, at, ...of }) => ({ ...place(of), rung, at })),
    reminders: approval.reminders.map(({ at, ...of }) => ({ ...place(of), at })),
    answers: approval.answers.map(({ by, for: absent, via, answer, at, note }) => ({
      by,
      ...(absent === undefined ? {} : { for: absent }),
      ...(via === undefined ? {} : { via }),
      answer,
      at,
      note,
    })),
    edits: approval.edits.map(({ by, at, note, paths, before, after }) => ({
      by,
      at,
      note,
      paths,
      ...(shown === undefined ? {} : { before: input(before), after: input(after) }),
    })),
    ...(shown === undefined ? {} : { job: bound(shown) }),
  }
}

/** All that the job hash binds: a reviewer approves nothing unseen. */
function bound({ job, input, context }: { job: Job; input: Json; context: Json }): NonNullable<WireApproval['job']> {
  return {
    agent_version: job.agent_version,
    labels: job.labels,
    risk_tags: job.risk_tags,
    environment: job.environment,
    action_type: job.action_type,
    capability: job.capability,
    action: job.action,
    workflow: job.workflow,
    timeout_ms: job.asked_timeout_ms,
    max_attempts: job.asked_attempts,
    not_before: job.not_before,
    effective: job.effective,
    input,
    context,
  }
}

export function viewRun(run_id: string, jobs: readonly Job[], by_status: Record<string, number>): Run {
  return {
    run_id,
    workflow: jobs.find((j) => j.workflow !== null)?.workflow ?? null,
    created_at: Math.min(...jobs.map((j) => j.created_at)),
    updated_at: Math.max(...jobs.map((j) => j.updated_at)),
    jobs: Object.values(by_status).reduce((a, b) => a + b, 0),
    by_status,
    items: jobs.map((job) => viewJob(job)),
  }
}

/** A row that was just written has no use yet, and its principal stands. */
export function viewKey(row: Omit<ListedKey, 'last_used_at' | 'disabled_at'> & Partial<ListedKey>, now: number): Key {
  return {
    key_id: row.key_id,
    role: row.role,
    principal: row.principal,
    team: row.team,
    topics: row.topics,
    act_as: row.act_as,
    permissions: row.permissions,
    note: row.note,
    created_at: row.created_at,
    created_by: row.created_by,
    expires_at: row.expires_at,
    revoked_at: row.revoked_at,
    rotated_to: row.rotated_to,
    disabled_at: row.disabled_at ?? null,
    last_used_at: row.last_used_at ?? null,
    due: row.session ? [] : dueOf({ ...row, disabled_at: row.disabled_at ?? null }, now),
  }
}

export function viewSnapshot(row: SnapshotRow, active: string | null, files = false): Snapshot {
  return {
    policy_snapshot: shortForm(row.digest),
    digest: row.digest,
    active: row.digest === active,
    source: row.source,
    note: row.note,
    author: row.author,
    source_commit: row.source_commit,
    reviewers: row.reviewers,
    created_by: row.created_by,
    created_at: row.created_at,
    activated_at: row.activated_at,
    rules: row.rules,
    warnings: row.warnings as Json[],
    ...(files ? { files: row.files } : {}),
  }
}

export type TimelineItem = Timeline['items'][number]

export function viewPrincipal({ tenant: _tenant, ...shown }: Principal): WirePrincipal {
  return { ...shown, slack: shown.slack ?? null }
}

export function viewTeam({ tenant: _tenant, ...shown }: Team): WireTeam {
  return shown
}
