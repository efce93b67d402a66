import type { SubmitJob } from '../../contract/jobs.js'
import * as Policy from '../../contract/policy.js'
import { shortForm } from '../../core/binding.js'
import { Problem } from '../../errors.js'
import { activate, readPolicy, rollBack, storeSnapshot } from '../../journey/activate.js'
import { evaluateDry } from '../../journey/explain.js'
import { impact } from '../../journey/impact.js'
import { findSnapshot, listSnapshots } from '../../store/snapshots.js'
import { getGate } from '../../store/standing.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'
import { viewSnapshot } from '../views.js'

export function policyRoutes(world: World): Route[] {
  const active = async (tenant: string) => (await getGate(world.db, tenant))?.snapshot ?? null
  const stored = async (tenant: string, id: string) => {
    const row = await findSnapshot(world.db, tenant, id)
    if (row === null) throw new Problem('not_found', 'There is no such snapshot')
    return world.policies.compiled(tenant, row.digest)
  }
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
        const { files, activate: now, ...provenance } = body as Policy.CreateSnapshot
        const { snapshot } = await storeSnapshot(world, caller.tenant, caller.principal, files, {
          source: 'api',
          activate: now === true,
          ...provenance,
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
      path: '/policy/rollback',
      permission: ['policy:write'],
      tag: 'policy',
      summary: 'Activate what was active before the active snapshot',
      success: { status: 200, schema: Policy.Snapshot, description: 'The snapshot that is active now' },
      errors: ['not_found', 'snapshot_conflict'],
      async handler({ caller }) {
        const { snapshot } = await rollBack(world, caller.tenant, caller.principal)
        return { body: viewSnapshot(snapshot, await active(caller.tenant)) }
      },
    },
    {
      method: 'POST',
      path: '/policy/impact',
      permission: ['jobs:read'],
      tag: 'policy',
      summary: 'Which recorded decisions a policy would have made otherwise; changes nothing',
      description:
        'Newest first, each decided again from all that was read then. Name `files` or a stored `policy_snapshot`; `next` goes on with older ones.',
      body: Policy.ImpactQuery,
      success: { status: 200, schema: Policy.Impact, description: 'Counts and examples, what lets more through first' },
      errors: ['invalid', 'policy_invalid', 'not_found'],
      async handler({ caller, body }) {
        const { files, policy_snapshot, before = null, most = 2000 } = body as Policy.ImpactQuery
        if ((files === undefined) === (policy_snapshot === undefined))
          throw new Problem('invalid', undefined, {
            faults: [{ path: '/files', message: 'name files or policy_snapshot, one of them' }],
          })
        const policy =
          files === undefined ? await stored(caller.tenant, policy_snapshot as string) : readPolicy(files).policy
        return { body: await impact(world, caller, policy, before, most) }
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
