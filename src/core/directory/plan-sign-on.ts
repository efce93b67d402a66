import { type Caller, may, ROLES } from '../access.js'
import type { Fact } from '../audit.js'
import { digestOf } from '../canonical.js'
import type { Json } from '../json.js'
import { fieldChanges } from '../policy/diff.js'
import type { GroupRule } from '../sign-on.js'

export interface SignOnPlan {
  change: {
    change: 'changed'
    what: 'sign_on'
    id: string
    fields: { path: string; before: Json; after: Json }[]
  } | null
  faults: { path: string; message: string; beyond?: true }[]
  /** All that there are from then on; null: as before. */
  groups: GroupRule[] | null
  removed: string[]
  facts: Fact[]
}

interface Asking {
  caller: Pick<Caller, 'tenant' | 'principal' | 'role' | 'permissions'>
  now: number
  whole: boolean
}

/**
 * What makes groups of the provider be what is declared. Only a file declares them; one that says nothing of them has none. A rule hands
 * out a role to people nobody names, so who makes, changes or removes one must have what it hands out.
 */
export function planSignOn(
  standing: readonly GroupRule[],
  declared: readonly GroupRule[] | undefined,
  teams: ReadonlySet<string>,
  { caller, now, whole }: Asking,
): SignOnPlan {
  const plan: SignOnPlan = { change: null, faults: [], groups: null, removed: [], facts: [] }
  if (!whole && declared === undefined) return plan
  const wanted = declared ?? []
  const fields = fieldChanges({ groups: standing as unknown as Json }, { groups: wanted as unknown as Json })
  for (const { group, team } of wanted)
    if (team !== null && !teams.has(team))
      plan.faults.push({ path: `sign_on.groups.${group}.team`, message: `there is no team '${team}'` })
  if (fields.length === 0) return plan
  const kept = keptOf(standing, wanted)
  for (const { group, role } of [...standing, ...wanted])
    if (!kept.has(group) && !ROLES[role].every((permission) => may(caller, permission)))
      plan.faults.push({
        path: `sign_on.groups.${group}.role`,
        message: `${caller.principal} may not hand out or take away what a ${role} may do without having it`,
        beyond: true,
      })
  plan.groups = [...wanted]
  const named = new Set(wanted.map(({ group }) => group))
  plan.removed = standing.filter(({ group }) => !named.has(group)).map(({ group }) => group)
  plan.change = { change: 'changed', what: 'sign_on', id: 'groups', fields }
  plan.facts.push({
    kind: 'sign_on.declared',
    tenant: caller.tenant,
    at: now,
    actor: caller.principal,
    groups: wanted.length,
    groups_hash: digestOf('sign_on', wanted as unknown as Json),
  })
  return plan
}

/** Same rule before and after, and nothing of another role passed it: its rank decides what members of several groups are. */
function keptOf(before: readonly GroupRule[], after: readonly GroupRule[]): ReadonlySet<string> {
  const kept = new Set<string>()
  for (const [rank, { group, role, team }] of before.entries()) {
    const now = after[rank]
    if (now?.group !== group || now.role !== role) break
    if (now.team === team) kept.add(group)
  }
  return kept
}
