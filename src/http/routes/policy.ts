import type { SubmitJob } from '../../contract/jobs.js'
import * as Policy from '../../contract/policy.js'
import { type Caller, may } from '../../core/access.js'
import { shortForm } from '../../core/binding.js'
import type { ChangeKind } from '../../core/policy/change.js'
import { Problem } from '../../errors.js'
import { activate, readPolicy, rollBack, type Stored, storeSnapshot } from '../../journey/activate.js'
import { evaluateDry } from '../../journey/explain.js'
import { impact } from '../../journey/impact.js'
import type { Changer } from '../../loops/changer.js'
import { findSnapshot, listSnapshots } from '../../store/snapshots.js'
import { getGate } from '../../store/standing.js'
import type { World } from '../../store/world.js'
import type { Reply, Route } from '../route.js'
import { viewSnapshot } from '../views.js'

/** What a change may be refused with at the door, where rules have a say in it. */
const AT_THE_DOOR = ['policy_denied', 'out_of_scope', 'stopped', 'breaker_open', 'rate_limited', 'overloaded'] as const
const ASKED = {
  status: 202,
  schema: Policy.PolicyChange,
  description: 'Not active yet: rules of the active policy have a say, and somebody has to approve the job it is now',
}

export function policyRoutes(world: World, changer: Changer): Route[] {
  const active = async (tenant: string) => (await getGate(world.db, tenant))?.snapshot ?? null
  const stored = async (tenant: string, id: string) => {
    const row = await findSnapshot(world.db, tenant, id)
    if (row === null) throw new Problem('not_found', 'There is no such snapshot')
    return world.policies.compiled(tenant, row.digest)
  }
  /** Active, or asked for; what the door let through at once is active too. */
  const put = async (caller: Caller, kind: ChangeKind, stored: Stored, status: number): Promise<Reply> => {
    const { snapshot, asked } = await changer.ask(caller, kind, stored)
    const digest = await active(caller.tenant)
    const row = asked === null ? snapshot : ((await findSnapshot(world.db, caller.tenant, snapshot.digest)) ?? snapshot)
    const isDone = asked === null || digest === snapshot.digest
    return { status: isDone ? status : 202, body: { ...viewSnapshot(row, digest), asked } }
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
      success: { status: 201, schema: Policy.PolicyChange, description: 'The snapshot' },
      other: ASKED,
      errors: ['policy_invalid', 'invalid', 'snapshot_conflict', ...AT_THE_DOOR],
      async handler({ caller, body }) {
        const { files, activate: now = false, ...provenance } = body as Policy.CreateSnapshot
        const options = { source: 'api' as const, activate: now, ...provenance }
        const stored = await storeSnapshot(world, caller.tenant, caller, files, options)
        if (now) return put(caller, 'activate', stored, 201)
        return { status: 201, body: { ...viewSnapshot(stored.snapshot, await active(caller.tenant)), asked: null } }
      },
    },
    {
      method: 'POST',
      path: '/policy/snapshots/{id}/activate',
      permission: ['policy:write'],
      tag: 'policy',
      summary: 'Make a stored snapshot the active one',
      success: { status: 200, schema: Policy.PolicyChange, description: 'The snapshot' },
      other: ASKED,
      errors: ['not_found', 'policy_invalid', 'snapshot_conflict', ...AT_THE_DOOR],
      async handler({ caller, params }) {
        const stored = await activate(world, caller.tenant, caller, params.id as string)
        return put(caller, 'activate', stored, 200)
      },
    },
    {
      method: 'POST',
      path: '/policy/rollback',
      permission: ['policy:write'],
      tag: 'policy',
      summary: 'Activate what was active before the active snapshot',
      success: { status: 200, schema: Policy.PolicyChange, description: 'The snapshot that is active now' },
      other: ASKED,
      errors: ['not_found', 'snapshot_conflict', ...AT_THE_DOOR],
      async handler({ caller }) {
        return put(caller, 'rollback', await rollBack(world, caller.tenant, caller), 200)
      },
    },
    {
      method: 'POST',
      path: '/policy/impact',
      permission: ['jobs:read'],
      tag: 'policy',
      summary: 'Which recorded decisions a policy would have made otherwise; changes nothing',
      description:
        'Newest first, each decided again from all that was read then. Name `files` (needs `policy:write`: what they hold is run) or a stored `policy_snapshot`; `next` goes on with older ones.',
      body: Policy.ImpactQuery,
      success: { status: 200, schema: Policy.Impact, description: 'Counts and examples, what lets more through first' },
      errors: ['invalid', 'forbidden', 'policy_invalid', 'not_found'],
      async handler({ caller, body }) {
        const { files, policy_snapshot, before = null, most = 2000 } = body as Policy.ImpactQuery
        if ((files === undefined) === (policy_snapshot === undefined))
          throw new Problem('invalid', undefined, {
            faults: [{ path: '/files', message: 'name files or policy_snapshot, one of them' }],
          })
        if (files !== undefined && !may(caller, 'policy:write'))
          throw new Problem('forbidden', undefined, { needs: 'policy:write' })
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
      errors: ['no_policy', 'not_found', 'invalid', 'act_as_refused'],
      async handler({ caller, body }) {
        const { job, policy_snapshot } = body as { job: SubmitJob; policy_snapshot?: string }
        const { decision, submit, why } = await evaluateDry(world, caller, job, policy_snapshot)
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
            submit,
            why,
          },
        }
      },
    },
  ]
}
