import type { OpenedWorkflow, WorkflowEnds } from '../core/workflow.js'
import type { Db } from '../platform/db/seam.js'

const ALL = 'SELECT * FROM workflows WHERE tenant = $1 ORDER BY workflow'
const OPEN = 'SELECT workflow FROM workflows WHERE tenant = $1 AND closed_at IS NULL ORDER BY workflow'
const TENANTS = 'SELECT DISTINCT tenant FROM workflows WHERE closed_at IS NULL AND stable_at IS NULL'
/** By the index of ends, for people and a loop of minutes. A lost worker is not the workflow's failure. */
const ENDED = `SELECT count(*) FILTER (WHERE status = 'succeeded')::int AS succeeded, count(*) FILTER (WHERE status <> 'succeeded')::int AS failed
  FROM jobs WHERE tenant = $1 AND finished_at >= $3 AND claim ->> 'workflow' = $2
    AND (status IN ('succeeded', 'quarantined') OR (status = 'dead_letter' AND (state ->> 'error_code') IS DISTINCT FROM 'lease_lost')
      OR (status = 'cancelled' AND (state ->> 'error_code') NOT IN ('lease_lost', 'cancelled')))`

export function listWorkflows(db: Db, tenant: string): Promise<OpenedWorkflow[]> {
  return db.query<OpenedWorkflow>(ALL, [tenant])
}

/** Names of those that are open: what the door reads. */
export async function openWorkflows(db: Db, tenant: string): Promise<string[]> {
  return (await db.query<{ workflow: string }>(OPEN, [tenant])).map(({ workflow }) => workflow)
}

/** Tenants in which one is on trial. */
export async function tenantsOnTrial(db: Db): Promise<string[]> {
  return (await db.query<{ tenant: string }>(TENANTS)).map(({ tenant }) => tenant)
}

export async function workflowEnds(db: Db, { tenant, workflow, opened_at }: OpenedWorkflow): Promise<WorkflowEnds> {
  return (await db.query<WorkflowEnds>(ENDED, [tenant, workflow, opened_at]))[0] ?? { succeeded: 0, failed: 0 }
}
