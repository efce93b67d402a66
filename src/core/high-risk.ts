import { type Approval, isSatisfied } from './approval.js'
import { boundHash } from './binding.js'
import type { Claim, View } from './job.js'
import type { Json } from './json.js'
import { serverView } from './policy/classes.js'
import { type CompiledPolicy, planFor } from './policy/compile.js'
import type { Matcher } from './policy/document.js'
import { valueConditions, valueMatches } from './policy/match.js'
import { topicMatches } from './policy/topics.js'

/**
 * Was this lease of a high-risk job, and had people said yes to exactly it? Asked again from the rows, after the fact, so that a
 * hole in the doors shows. Nothing here is what lets a lease through: not the index of the rules, not the flag that was stored,
 * not the grant that was loaded.
 */
export interface GrantedLease {
  job_id: string
  granted_at: number
  /** Of the lease's decision; null where there is no such row, which is a lease that nothing allowed. */
  decision: { decision: string; rules: string[]; constraints: Json; job_hash: string } | null
}

export interface Risk {
  high: boolean
  /** What the server holds true about the job: part of what an approval binds. */
  view: View
}

/** Whether the file's `high_risk` matchers name the job: as its agent said it, or as the server holds it true. */
export function riskOf(policy: CompiledPolicy, claim: Claim, at: number): Risk {
  const plan = planFor(policy, claim.topic)
  const server = plan?.classes.acts ? serverView(plan.classes, claim, at) : null
  const { labels, risk_tags, environment, action_type } = server?.view ?? claim
  const view: View = { labels, risk_tags, environment, action_type }
  if (server?.view.data !== undefined) view.data = server.view.data
  const views = [claim, view, server?.claimed ?? view]
  return { high: policy.document.high_risk.some((matcher) => views.some((each) => names(matcher, claim, each))), view }
}

/** Whether the answer may depend on what the job carries: a class of its topic derives something from the input. */
export function riskNeedsInput(policy: CompiledPolicy, topic: string): boolean {
  const classes = planFor(policy, topic)?.classes
  if (classes === undefined) return false
  return (
    classes.tags.length > 0 || classes.data.length > 0 || classes.values.some(([, value]) => typeof value !== 'string')
  )
}

function names(matcher: Matcher, claim: Claim, view: View): boolean {
  if (matcher.topic && !matcher.topic.some((pattern) => topicMatches(pattern, claim.topic))) return false
  for (const { field, name, values } of valueConditions(matcher)) {
    const actual = field === null ? ownLabel(view, name) : scalarOf(claim, view, field)
    if (actual === null || !values.some((value) => valueMatches(value, actual))) return false
  }
  const tags = matcher.risk_tags
  if (tags === undefined) return true
  if ('all' in tags) return tags.all.every((tag) => view.risk_tags.includes(tag))
  return tags.any.some((tag) => view.risk_tags.includes(tag))
}

const ownLabel = ({ labels }: View, name: string) => (Object.hasOwn(labels, name) ? (labels[name] as string) : null)

function scalarOf(claim: Claim, view: View, field: Exclude<keyof Matcher, 'topic' | 'labels' | 'risk_tags'>) {
  return field === 'environment' || field === 'action_type' ? view[field] : claim[field]
}

/**
 * Whether one of the job's approvals bound this lease: the decision asked for one, what was approved is what was decided, enough
 * of the right people had said yes by then, none of them the requester, and the answer still counted. One that is void by now may
 * have been overtaken since; whether it bound then, its hash says.
 */
export function wasApproved(lease: GrantedLease, view: View, approvals: readonly Approval[]): boolean {
  const { decision, granted_at } = lease
  if (decision === null || decision.decision !== 'REQUIRE_APPROVAL') return false
  return approvals.some((approval) => {
    if (approval.job_id !== lease.job_id || !['approved', 'void'].includes(approval.status)) return false
    if (approval.job_hash !== decision.job_hash || (approval.valid_until ?? 0) <= granted_at) return false
    const bound = boundHash({
      job_hash: decision.job_hash,
      rules: decision.rules,
      constraints: decision.constraints,
      approval: approval.specs as unknown as Json,
      effective: view as unknown as Json,
    })
    if (bound !== approval.bound_hash) return false
    const barred = [approval.requested_by, approval.raised_by, approval.agent]
    const given = approval.answers.filter(({ at, by }) => at <= granted_at && !barred.includes(by))
    return approval.specs.length > 0 && isSatisfied({ ...approval, answers: given })
  })
}
