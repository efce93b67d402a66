import type { SubmitJob } from '../../contract/jobs.js'
import * as Policy from '../../contract/policy.js'
import { shortForm } from '../../core/binding.js'
import { Problem } from '../../errors.js'
import { activate, storeSnapshot } from '../../journey/activate.js'
import { evaluateDry } from '../../journey/explain.js'
import { findSnapshot, listSnapshots } from '../../store/snapshots.js'
import { getGate } from '../../store/standing.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'
import { viewSnapshot } from '../views.js'

export function policyRoutes(world: World): Route[] {
  const active = async (tenant: string) => (await getGate(world.db, tenant))?.snapshot ?? null
  return [
    {
      method: 'GET',
      path: '/policy',
      permission: ['policy:read'],
      tag: 'policy',
      summary: 'The active snapshot with its files',
      success: { status: 200, schema: Policy.Snapshot, description: 'The snapshot' },
      errors: ['no_policy'],
      async handler({ caller }) {
        const digest = await active(caller.tenant)
        const row = digest === null ? null : await findSnapshot(world.db, caller.tenant, digest)
        if (row === null) throw new Problem('no_policy')
        return { body: viewSnapshot(row, digest, true) }
      },
    },
    {
      method: 'GET',
      path: '/policy/snapshots',
      permission: ['policy:read'],
      tag: 'policy',
      summary: 'Stored snapshots, newest first',
      success: { status: 200, schema: Policy.SnapshotPage, description: 'The snapshots' },
      errors: [],
      async handler({ caller }) {
        const digest = await active(caller.tenant)
        return {
          body: {
            items: (await listSnapshots(world.db, caller.tenant)).map((row) => viewSnapshot(row, digest)),
            next_cursor: null,
          },
        }
      },
    },
    {
      method: 'GET',
      path: '/policy/snapshots/{id}',
      permission: ['policy:read'],
      tag: 'policy',
      summary: 'One snapshot with its files, by digest or short form',
      success: { status: 200, schema: Policy.Snapshot, description: 'The snapshot' },
      errors: ['not_found'],
      async handler({ caller, params }) {
        const row = await findSnapshot(world.db, caller.tenant, params.id as string)
        if (row === null) throw new Problem('not_found')
        return { body: viewSnapshot(row, await active(caller.tenant), true) }
      },
    },
    {
      method: 'POST',
      path: '/policy/snapshots',
      permission: ['policy:write'],
      tag: 'policy',
      summary: 'Store a policy; with `activate` it is the active one from the answer on',
      body: Policy.CreateSnapshot,
      success: { status: 201, schema: Policy.Snapshot, description: 'The snapshot' },
      errors: ['policy_invalid', 'invalid', 'snapshot_conflict'],
      async handler({ caller, body }) {
        const { files, note, activate: now } = body as Policy.CreateSnapshot
        const { snapshot } = await storeSnapshot(world, caller.tenant, caller.principal, files, {
          source: 'api',
          activate: now === true,
          note: note ?? null,
        })
        return { status: 201, body: viewSnapshot(snapshot, await active(caller.tenant)) }
      },
    },
    {
      method: 'POST',
      path: '/policy/snapshots/{id}/activate',
      permission: ['policy:write'],
      tag: 'policy',
      summary: 'Make a stored snapshot the active one; also the way to roll back',
      success: { status: 200, schema: Policy.Snapshot, description: 'The snapshot' },
      errors: ['not_found', 'snapshot_conflict'],
      async handler({ caller, params }) {
        const { snapshot } = await activate(world, caller.tenant, caller.principal, params.id as string)
        return { body: viewSnapshot(snapshot, await active(caller.tenant)) }
      },
    },
    {
      method: 'POST',
      path: '/policy/evaluate',
      permission: ['policy:read'],
      tag: 'policy',
      summary: 'What would be decided and why; records nothing',
      body: Policy.Evaluate,
      success: { status: 200, schema: Policy.Evaluated, description: 'The decision with its why' },
      errors: ['no_policy', 'not_found', 'invalid'],
      async handler({ caller, body }) {
        const { job, policy_snapshot } = body as { job: SubmitJob; policy_snapshot?: string }
        const { decision, why } = await evaluateDry(world, caller, job, policy_snapshot)
        const { constraints, high_risk, effective } = decision.evaluation
        return {
          body: {
            decision: decision.decision,
            reason: decision.reason,
            rules: decision.rules,
            constraints,
            high_risk,
            policy_snapshot: shortForm(decision.snapshot),
            effective,
            why,
          },
        }
      },
    },
  ]
}
