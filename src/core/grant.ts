import { type Answer, isSatisfied } from './approval.js'
import { named, type People } from './flow.js'
import type { Claim } from './job.js'
import { isOwn } from './policy/change.js'
import type { ApprovalSpec } from './policy/document.js'
import { activation, compileExpression } from './policy/expression.js'
import { topicMatches } from './policy/topics.js'

/** An approval given beforehand: so many uses by one agent on one topic, while it stands. */
export interface GrantRow {
  tenant: string
  grant_id: string
  agent: string
  /** A pattern. */
  topic: string
  /** CEL over the input, as `when` of a rule; null: whatever it is. */
  condition: string | null
  uses: number
  expires_at: number
  reason: string
  granted_by: string
  key_id: string
  voice: Voice
  created_at: number
  revoked_at: number | null
  revoked_by: string | null
}

/** In which capacity somebody says yes beforehand. */
export interface Voice {
  role: string
  team: string | null
  as: string[]
}

/** What the door reads of a grant that covers this job; stored with the decision. */
export interface ScopedGrant {
  grant_id: string
  by: string
  voice: Voice
  expires_at: number
  uses: number
  /** Without the one that a queued job took: that is its own. */
  used: number
}

/** Grants that cover this job and stand, of those its agent has. None covers what the plane does: a policy is changed one by one. */
export function covering(grants: readonly GrantRow[], claim: Claim, now: number): GrantRow[] {
  if (isOwn(claim.topic)) return []
  return grants.filter(
    (grant) =>
      grant.agent === claim.agent &&
      grant.revoked_at === null &&
      grant.expires_at > now &&
      topicMatches(grant.topic, claim.topic) &&
      (grant.condition === null || holds(grant.condition, claim, now)),
  )
}

export const scopedGrant = (grant: GrantRow, used: number): ScopedGrant => ({
  grant_id: grant.grant_id,
  by: grant.granted_by,
  voice: grant.voice,
  expires_at: grant.expires_at,
  uses: grant.uses,
  used,
})

/** In which capacity somebody says yes beforehand to what this agent does. */
export function voiceOf(
  who: Pick<Voice, 'role' | 'team'> & { principal: string },
  agent: string,
  people: People,
): Voice {
  const { principal } = who
  const { role, team } = people.persons.get(principal) ?? who
  const words = ['owner', ...people.teams.keys()].flatMap((name) => [`lead:${name}`, `oncall:${name}`])
  return { role, team, as: words.filter((word) => isNamed(word, principal, agent, people)).sort() }
}

/**
 * What whoever made it was then and still is: a grant outlives no office, and gains none that came later. Of somebody whom the directory
 * does not know, it is what it was.
 */
export function voiceNow({ voice, granted_by, agent }: GrantRow, people: People): Voice {
  const known = people.persons.get(granted_by)
  if (known === undefined) return voice
  return {
    // Of the two roles that answer, the one that says less.
    role: known.role === voice.role ? voice.role : 'approver',
    team: known.team === voice.team ? voice.team : null,
    as: voice.as.filter((word) => isNamed(word, granted_by, agent, people)),
  }
}

const isNamed = (word: string, principal: string, agent: string, people: People) =>
  named(word, { agent, requested_by: '' }, people).includes(principal)

/** Counts the uses of a grant, beside the limits. */
export const useKey = (grant_id: string): string => `grant|${grant_id}`

/**
 * The first grant that may stand for the answer this flow wants: one yes of whoever made it, as what they were then, is enough. So
 * none stands for a flow of two people, nor for one that asks somebody else.
 */
export function usable(
  grants: readonly ScopedGrant[] | undefined,
  specs: readonly ApprovalSpec[],
  now: number,
): ScopedGrant | null {
  if (grants === undefined || specs.length === 0) return null
  const stands = ({ by, voice, uses, used, expires_at }: ScopedGrant) => {
    const yes: Answer = { by, ...voice, key_id: '', answer: 'approve', at: now, note: null }
    return used < uses && expires_at > now && isSatisfied({ specs: [...specs], answers: [yes] })
  }
  return grants.find(stands) ?? null
}

/** Conditions of grants that stand; an office has dozens, and each is asked of every job of its agent. */
const KEPT = 1000
/** What one may cost, 1 to 6 ms: there may be many, whoever approves makes them, and a rule of the policy may cost 25 times as much. */
const STEPS = 10_000
const compiled = new Map<string, ReturnType<typeof compileExpression>>()

/** The input alone is asked: of the rest of a claim the agent says what it likes. An error is a no. */
function holds(condition: string, claim: Claim, now: number): boolean {
  let expression = compiled.get(condition)
  try {
    if (expression === undefined) {
      expression = compileExpression(condition, undefined, STEPS)
      if (compiled.size >= KEPT) compiled.clear()
      compiled.set(condition, expression)
    }
    const view = { labels: {}, risk_tags: [], environment: null, action_type: null }
    const asked: Claim = { ...claim, ...view, context: null, capability: null, action: null, workflow: null }
    return expression.run(activation(asked, view, now)) === true
  } catch {
    return false
  }
}
