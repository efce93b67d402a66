import type { Caller } from '../core/access.js'
import type { DirectoryDocument } from '../core/directory/document.js'
import {
  type Directory,
  type DirectoryChange,
  type DirectoryPlan,
  emptyPlan,
  planDirectory,
  planDisabled,
  refuseLockout,
} from '../core/directory/plan.js'
import { Problem } from '../errors.js'
import { lookAgain } from '../store/approvals.js'
import { listChannels } from '../store/channels.js'
import { listPrincipals, listTeams } from '../store/directory.js'
import { gateMoved } from '../store/keys.js'
import type { AdminRows } from '../store/ledger/write.js'
import { listGroupRules } from '../store/sign-on.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6

/**
 * Makes the directory as the document says. `file`: it is the whole of what files declare, so what an earlier one declared and this
 * one leaves out is disabled. `api`: nobody else is touched. From its return every decision reads what it says now.
 * Throws Problem `invalid` with every fault, `overloaded`.
 */
export function applyDirectory(
  world: World,
  caller: Caller,
  document: DirectoryDocument,
  source: 'file' | 'api',
): Promise<DirectoryChange[]> {
  return change(world, caller, (standing, now) =>
    planDirectory(standing, document, { caller, now, source, whole: source === 'file' }),
  )
}

/** What `applyDirectory` would do. Throws Problem `invalid`. */
export async function previewDirectory(
  world: World,
  caller: Caller,
  document: DirectoryDocument,
): Promise<DirectoryChange[]> {
  const asking = { caller, now: world.clock.now(), source: 'file' as const, whole: true }
  return planned(planDirectory(await load(world, caller.tenant), document, asking)).changes
}

/** From its return no key of this principal opens anything, and where it is an agent nobody acts as it. Throws Problem `not_found`, `invalid`. */
export async function disablePrincipal(world: World, caller: Caller, principal: string): Promise<void> {
  await change(world, caller, (standing, now) => {
    const found = standing.principals.find((each) => each.principal === principal)
    if (found === undefined) throw new Problem('not_found')
    const plan = emptyPlan()
    if (found.disabled_at !== null) return plan
    planDisabled(plan, found, { caller, now, source: 'api', whole: false })
    const after = standing.principals.map((each) => (each === found ? (plan.principals[0] ?? each) : each))
    refuseLockout(plan, standing.principals, after)
    return plan
  })
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
  throw new Problem('invalid', 'The directory may not be made so', { faults: plan.faults })
}

async function change(
  world: World,
  caller: Caller,
  planOf: (standing: Directory, now: number) => DirectoryPlan,
): Promise<DirectoryChange[]> {
  const { tenant } = caller
  for (let tries = 0; tries < TRIES; tries++) {
    // Before what is read under it: a change in between moves the gate, and this commit with it.
    const gate = await getGate(world.db, tenant)
    const plan = planned(planOf(await load(world, tenant), world.clock.now()))
    if (plan.facts.length === 0) return []
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: {
        principals: plan.principals,
        teams: plan.teams,
        ...groupRows(tenant, plan, caller.principal, world.clock.now()),
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
      facts: plan.facts,
    })
    await gateMoved(world, caller)
    if (!receipt.ok) continue
    // Open questions go to whom the directory names now: within a sweep, and at the latest when they are answered.
    await lookAgain(world.db, tenant, null, world.clock.now())
    return plan.changes
  }
  throw new Problem('overloaded', 'The directory changed faster than it could be written', { retry_after_ms: 200 })
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
