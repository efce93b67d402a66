import type { Caller } from '../core/access.js'
import { joined } from '../core/audit.js'
import type { DirectoryDocument } from '../core/directory/document.js'
import {
  type Directory,
  type DirectoryPlan,
  emptyPlan,
  planDirectory,
  planDisabled,
  planEnabled,
  refuseDoubles,
  refuseLockout,
} from '../core/directory/plan.js'
import type { Rule } from '../core/policy/document.js'
import { Problem } from '../errors.js'
import { lookAgain } from '../store/approvals.js'
import { listChannels } from '../store/channels.js'
import { listPrincipals, listTeams } from '../store/directory.js'
import { assertNoToken, standingUnder } from '../store/keys.js'
import type { AdminRows } from '../store/ledger/write.js'
import { endingSessions, listGroupRules } from '../store/sign-on.js'
import { type Gate, getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6

/** What was changed, and what whoever did it should know. */
export type Applied = Pick<DirectoryPlan, 'changes' | 'notes'>

/**
 * Makes the directory as the document says. `file`: it is the whole of what files declare, so what an earlier one declared and this
 * one leaves out is disabled. `api`: nobody else is touched. From its return every decision reads what it says now.
 * Throws Problem `invalid` with every fault, `forbidden` (a token), `overloaded`.
 */
export async function applyDirectory(
  world: World,
  caller: Caller,
  document: DirectoryDocument,
  source: 'file' | 'api',
): Promise<Applied> {
  await assertNoToken(world, caller)
  return change(world, caller, (standing, now, rules) =>
    planDirectory(standing, document, { caller, now, source, whole: source === 'file', rules }),
  )
}

/** What `applyDirectory` would do. Throws Problem `invalid`. */
export async function previewDirectory(world: World, caller: Caller, document: DirectoryDocument): Promise<Applied> {
  const rules = await rulesUnder(world, await getGate(world.db, caller.tenant))
  const asking = { caller, now: world.clock.now(), source: 'file' as const, whole: true, rules }
  return planned(planDirectory(await load(world, caller.tenant), document, asking))
}

/** From its return no key of this principal opens anything, and where it is an agent nobody acts as it. Throws Problem `not_found`, `invalid`. */
export async function disablePrincipal(world: World, caller: Caller, principal: string): Promise<void> {
  await change(world, caller, (standing, now) => {
    const found = standing.principals.find((each) => each.principal === principal)
    if (found === undefined) throw new Problem('not_found')
    const plan = emptyPlan()
    // Whom a file left out, a call disables all the same: the next file that names them does not bring them back.
    if (found.disabled_at !== null && found.source !== 'file') return plan
    planDisabled(plan, found, { caller, now, source: 'api', whole: false })
    const after = standing.principals.map((each) => (each === found ? (plan.principals[0] ?? each) : each))
    refuseLockout(plan, standing.principals, after)
    return plan
  })
}

/** This principal may act again, whoever disabled them. Throws Problem `not_found`, `invalid`, `forbidden` (a token). */
export async function enablePrincipal(world: World, caller: Caller, principal: string): Promise<void> {
  await assertNoToken(world, caller)
  await change(world, caller, (standing, now) => {
    const found = standing.principals.find((each) => each.principal === principal)
    if (found === undefined) throw new Problem('not_found')
    const plan = emptyPlan()
    if (found.disabled_at !== null) planEnabled(plan, found, { caller, now, source: 'api', whole: false })
    const after = standing.principals.map((each) => (each === found ? (plan.principals[0] ?? each) : each))
    refuseDoubles(plan, after)
    return plan
  })
}

/** What questions the active policy puts. One that cannot be read here is no matter of the directory: nothing is let through under it. */
async function rulesUnder(world: World, gate: Gate | null): Promise<readonly Rule[]> {
  if (gate?.snapshot == null) return []
  const policy = await world.policies.compiled(gate.tenant, gate.snapshot).catch(() => null)
  return policy?.document.rules ?? []
}

async function load(world: World, tenant: string): Promise<Directory> {
  const { db } = world
  const found = [
    listTeams(db, tenant),
    listPrincipals(db, tenant),
    listChannels(db, tenant),
    listGroupRules(db, tenant),
  ] as const
  const [teams, principals, channels, groups] = await Promise.all(found)
  return { teams, principals, channels, groups }
}

function planned(plan: DirectoryPlan): DirectoryPlan {
  if (plan.faults.length === 0) return plan
  const faults = plan.faults.map(({ path, message }) => ({ path, message }))
  throw new Problem('invalid', 'The directory may not be made so', { faults })
}

/**
 * Somebody reached for more than they have, or wrote what they may not write: in the log before they hear of it, repeats counted.
 * Throws what `record` throws.
 */
export async function recordRefusal(
  world: World,
  { tenant, principal: actor, key_id }: Pick<Caller, 'tenant' | 'principal' | 'key_id'>,
  error_code: 'forbidden' | 'invalid',
  paths: readonly string[] = [],
): Promise<void> {
  const at = world.clock.now()
  const refused = { kind: 'directory.refused', tenant, actor, key_id, error_code } as const
  const fact = { ...refused, at, ...(paths.length === 0 ? {} : { paths: joined(paths) }) }
  await world.refusals.onRecord(refused, at, () => world.ledger.record(tenant, [fact]))
}

async function change(
  world: World,
  caller: Caller,
  planOf: (standing: Directory, now: number, rules: readonly Rule[]) => DirectoryPlan,
): Promise<Applied> {
  const { tenant } = caller
  for (let tries = 0; tries < TRIES; tries++) {
    // Before what is read under it: a change in between moves the gate, and this commit with it.
    const gate = await getGate(world.db, tenant)
    await standingUnder(world, gate, caller)
    const now = world.clock.now()
    const plan = planOf(await load(world, tenant), now, await rulesUnder(world, gate))
    const reached = plan.faults.flatMap(({ path, beyond }) => (beyond ? [path] : []))
    if (reached.length > 0) await recordRefusal(world, caller, 'invalid', reached)
    const { changes, notes } = planned(plan)
    if (plan.facts.length === 0) return { changes: [], notes }
    const ended = await endedBy(world, plan, now)
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: {
        principals: plan.principals,
        teams: plan.teams,
        ...groupRows(tenant, plan, caller.principal, now),
        keys: ended.keys,
        channels: plan.channels,
        removedChannels: plan.removedChannels.map((channel) => ({ tenant, channel })),
        removedTeams: plan.removedTeams.map((team) => ({ tenant, team })),
        gates: [
          {
            tenant,
            snapshot: gate?.snapshot ?? null,
            epoch: (gate?.epoch ?? 0) + 1,
            file_digest: gate?.file_digest ?? null,
          },
        ],
      },
      facts: [...plan.facts, ...ended.facts],
    })
    await world.policies.refresh(tenant)
    if (!receipt.ok) continue
    // Open questions go to whom the directory names now: within a sweep, and at the latest when they are answered.
    await lookAgain(world.db, tenant, null, now)
    return { changes, notes }
  }
  throw new Problem('overloaded', 'The directory changed faster than it could be written', { retry_after_ms: 200 })
}

/**
 * Who is disabled has no session open, nor who may act again: a sign-on that was under way while they were disabled may have opened one
 * behind that, and no session may come back to life with its person.
 */
async function endedBy(world: World, { changes, principals }: DirectoryPlan, now: number) {
  const turned = changes.flatMap(({ change, id }) => (change === 'disabled' || change === 'enabled' ? [id] : []))
  const those = principals.filter(({ principal, kind }) => kind === 'person' && turned.includes(principal))
  const ended = await Promise.all(those.map((each) => endingSessions(world.db, each, 'disabled', now)))
  return { keys: ended.flatMap(({ keys }) => keys), facts: ended.flatMap(({ facts }) => facts) }
}

/** Their places are their ranks, so all of them are written where one changed. */
function groupRows(tenant: string, { groups, removedGroups }: DirectoryPlan, by: string, at: number): AdminRows {
  const rows = (groups ?? []).map(({ group, role, team }, place) => ({
    tenant,
    group_name: group,
    place,
    role,
    team,
    updated_at: at,
    updated_by: by,
  }))
  return { signOnGroups: rows, removedSignOnGroups: removedGroups.map((group_name) => ({ tenant, group_name })) }
}
