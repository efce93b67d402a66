import { type Caller, may } from '../core/access.js'
import type { Fact } from '../core/audit.js'
import { isPerson } from '../core/four-eyes.js'
import type { BoundedWorkflow } from '../core/policy/document.js'
import { isStable, type OpenedWorkflow, onTrial, type WorkflowEnds } from '../core/workflow.js'
import { Problem } from '../errors.js'
import { partyOf } from '../store/four-eyes.js'
import { standingUnder } from '../store/keys.js'
import { type Gate, getGate } from '../store/standing.js'
import { listWorkflows, tenantsOnTrial, workflowEnds } from '../store/workflows.js'
import type { World } from '../store/world.js'

const TRIES = 8

/** A bounded workflow of the active policy, whether it is open, and how it went since. */
export interface WorkflowReport {
  bounds: BoundedWorkflow
  opened: OpenedWorkflow | null
  ends: WorkflowEnds | null
}

/** Those of the active policy. Throws Problem `no_policy`. */
export async function workflowReports(world: World, tenant: string): Promise<WorkflowReport[]> {
  const { policy } = await world.policies.active(tenant)
  const rows = new Map((await listWorkflows(world.db, tenant)).map((row) => [row.workflow, row]))
  return Promise.all(
    [...policy.workflows.values()].map(async ({ bounds }) => {
      const opened = rows.get(bounds.id) ?? null
      return { bounds, opened, ends: opened === null ? null : await workflowEnds(world.db, opened) }
    }),
  )
}

/**
 * Lets the jobs of a bounded workflow through from its return on, as far as policy does. One at a time until three ran well for a week
 * each. Opened again it is on trial again. Throws Problem `not_found`, `forbidden`, `illegal_transition`, `workflow_on_trial`.
 */
export function openWorkflow(world: World, caller: Caller, workflow: string): Promise<OpenedWorkflow> {
  return change(world, caller, workflow, async (rows, now) => {
    await assertPerson(world, caller, workflow)
    const found = rows.find((row) => row.workflow === workflow)
    if (found !== undefined && found.closed_at === null)
      throw new Problem('illegal_transition', `Workflow ${workflow} is open`)
    const trial = onTrial(await Promise.all(rows.map((row) => proven(world, row, now))))
    if (trial !== null) {
      const ends = await workflowEnds(world.db, trial)
      const { opened_at } = trial
      throw new Problem('workflow_on_trial', `${trial.workflow} is on trial`, {
        workflow: trial.workflow,
        opened_at,
        ends,
      })
    }
    return {
      ...{ tenant: caller.tenant, workflow, opened_at: now, opened_by: caller.principal },
      ...{ stable_at: null, closed_at: null, closed_by: null },
    }
  })
}

/** From its return nothing of the workflow goes. Throws Problem `not_found`, `forbidden`, `illegal_transition`. */
export function closeWorkflow(world: World, caller: Caller, workflow: string): Promise<OpenedWorkflow> {
  return change(world, caller, workflow, (rows, now) => {
    const found = rows.find((row) => row.workflow === workflow)
    if (found === undefined || found.closed_at !== null)
      throw new Problem('illegal_transition', `Workflow ${workflow} is not open`)
    return { ...found, closed_at: now, closed_by: caller.principal }
  })
}

/** A program lets nothing begin by itself, whatever its key may do. Throws Problem `forbidden`, on record. */
async function assertPerson(world: World, { tenant, principal }: Caller, workflow: string): Promise<void> {
  if (isPerson(await partyOf(world.db, tenant, { by: principal }))) return
  const at = world.clock.now()
  const reason = `opening workflow ${workflow} needs a person`
  const refused = { kind: 'autonomy.refused', tenant, actor: principal, reason } as const
  await world.refusals.onRecord(refused, at, () => world.ledger.record(tenant, [{ ...refused, at }]))
  throw new Problem('forbidden', 'A person opens a workflow', { needs: ['a person'] })
}

/** Notes which workflows on trial ran well for a week. Returns them. */
export async function proveWorkflows(world: World): Promise<OpenedWorkflow[]> {
  const found: OpenedWorkflow[] = []
  for (const tenant of await tenantsOnTrial(world.db)) {
    for (const { workflow } of await listWorkflows(world.db, tenant)) {
      const gate = await getGate(world.db, tenant)
      const row = (await listWorkflows(world.db, tenant)).find((each) => each.workflow === workflow)
      const now = world.clock.now()
      if (row === undefined || row.stable_at !== null || row.closed_at !== null) continue
      const next = await proven(world, row, now)
      if (next.stable_at === null) continue
      const { succeeded, failed } = await workflowEnds(world.db, row)
      const fact = { ...factOf('workflow.proven', next, 'system:autonomy', now), succeeded, failed }
      if (await commit(world, gate, next, fact)) found.push(next)
    }
  }
  return found
}

async function proven(world: World, row: OpenedWorkflow, now: number): Promise<OpenedWorkflow> {
  if (row.stable_at !== null || row.closed_at !== null) return row
  return isStable(row, await workflowEnds(world.db, row), now) ? { ...row, stable_at: now } : row
}

async function change(
  world: World,
  caller: Caller,
  workflow: string,
  step: (rows: OpenedWorkflow[], now: number) => OpenedWorkflow | Promise<OpenedWorkflow>,
): Promise<OpenedWorkflow> {
  const { tenant, principal } = caller
  if (!may(caller, 'autonomy:write')) throw new Problem('forbidden', undefined, { needs: ['autonomy:write'] })
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    if (gate === null || gate.snapshot === null) throw new Problem('no_policy')
    await standingUnder(world, gate, caller)
    const policy = await world.policies.compiled(tenant, gate.snapshot)
    if (!policy.workflows.has(workflow))
      throw new Problem('not_found', `The active policy bounds no workflow ${workflow}`)
    const now = world.clock.now()
    const next = await step(await listWorkflows(world.db, tenant), now)
    const kind = next.closed_at === null ? 'workflow.opened' : 'workflow.closed'
    if (await commit(world, gate, next, factOf(kind, next, principal, now))) return next
  }
  throw new Problem('overloaded', 'The gate moved faster than this could be written', { retry_after_ms: 200 })
}

const factOf = (
  kind: Fact['kind'],
  { tenant, workflow, opened_at }: OpenedWorkflow,
  actor: string,
  at: number,
): Fact => ({
  ...{ kind, tenant, at, actor, workflow, opened_at },
})

/** With the gate as it was before anything was read: false where it moved since. */
async function commit(world: World, read: Gate | null, next: OpenedWorkflow, fact: Fact): Promise<boolean> {
  const { tenant } = next
  const gate = read ?? { tenant, snapshot: null, epoch: 0, file_digest: null }
  const receipt = await world.ledger.commit({
    tenant,
    gate: null,
    alone: [],
    rows: {},
    admin: { workflows: [next], gates: [{ ...gate, epoch: gate.epoch + 1 }] },
    facts: [fact],
  })
  await world.policies.refresh(tenant)
  return receipt.ok
}
