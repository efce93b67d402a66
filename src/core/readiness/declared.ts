import type { CompiledPolicy } from '../policy/compile.js'
import type { JobClass, PolicyDocument, Rule } from '../policy/document.js'
import { lint } from '../policy/lint.js'
import { patternCovers, patternsOverlap, topicMatches } from '../policy/topics.js'
import type { Rollout } from '../rollout/step.js'
import type { PolicyFacts, RolloutFacts, TopicFacts } from './facts.js'
import { type DoorJob, EGRESS_TOPIC, isPlayed } from './observe.js'

/*
 * From what people declared to facts: the policy, its job classes, rollouts.
 */

/** Topics of the sample, as the classes of the active policy treat them. */
export function topicsOf(jobs: readonly DoorJob[], policy: CompiledPolicy | null): TopicFacts[] {
  const counted = new Map<string, number>()
  for (const { topic } of jobs) if (!isPlayed(topic)) counted.set(topic, (counted.get(topic) ?? 0) + 1)
  return [...counted]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([topic, jobs]) => ({ topic, jobs, ...classOf(topic, policy) }))
}

function classOf(topic: string, policy: CompiledPolicy | null): Omit<TopicFacts, 'topic' | 'jobs'> {
  const classes = policy?.document.job_classes.filter((each) => topicMatches(each.topic, topic)) ?? []
  const tightest = (values: readonly (number | null)[]) =>
    values.reduce((low, value) => (value === null ? low : Math.min(low ?? value, value)), null)
  const ms = tightest(classes.map(({ timeout_ms }) => timeout_ms))
  const pattern = classes.find(({ timeout_ms }) => timeout_ms === ms)?.topic ?? null
  return {
    timeout: ms === null || pattern === null ? null : { pattern, ms },
    schema: classes.some(({ input_schema }) => input_schema !== null),
    owner: classes.find(({ owner }) => owner !== null)?.owner ?? null,
    respond_within_ms: tightest(classes.map(({ respond_within_ms }) => respond_within_ms)),
  }
}

export function policyFacts({ digest, document }: CompiledPolicy, activated_at: number | null): PolicyFacts {
  const { rules, default_decision, output_rules } = document
  const egress = rules.filter((rule) => letsOut(rule))
  const letting = output_rules.flatMap(({ id, on }) =>
    CLASSES.filter((name) => Object.hasOwn(on, name) && on[name] === 'ALLOW').map((name) => `${id} ${name}`),
  )
  return {
    snapshot: digest,
    activated_at,
    rules: rules.length,
    asking: rules.filter(({ decision }) => decision === 'REQUIRE_APPROVAL').length,
    default_decision,
    warnings: lint(document).map(({ code, at, message }) => ({ code, at, message })),
    egress: {
      rules: egress.map(({ id }) => id),
      open: egress.filter((rule) => !isListed(rule, document)).map(({ id }) => id),
    },
    output_rules: output_rules.length,
    letting,
  }
}

const CLASSES = ['secret', 'private_key', 'pii']
const EVERYWHERE = ['>']
const namesEgress = ({ match: { risk_tags } }: Rule) =>
  risk_tags !== undefined && ('all' in risk_tags ? risk_tags.all : risk_tags.any).includes('egress')

/** Whether work that calls out may pass by this rule, after a yes or without. One that asks for other tags is about other work. */
function letsOut(rule: Rule): boolean {
  if (rule.decision === 'DENY') return false
  if (namesEgress(rule)) return true
  return (
    rule.match.risk_tags === undefined &&
    (rule.match.topic ?? EVERYWHERE).some((pattern) => patternsOverlap(pattern, EGRESS_TOPIC))
  )
}

/** Its own list binds it, or that of a rule which matches whatever it does: constraints of all of them bind. */
function isListed(rule: Rule, { rules, job_classes }: PolicyDocument): boolean {
  const lists = ({ constraints }: Rule) => Object.hasOwn(constraints, 'allowed_hosts')
  return lists(rule) || rules.some((other) => lists(other) && isAlways(other, rule, job_classes))
}

function isAlways({ when, match }: Rule, narrow: Rule, classes: readonly JobClass[]): boolean {
  const { topic = EVERYWHERE, risk_tags, ...more } = match
  if (when !== null || Object.keys(more).length > 0) return false
  const patterns = (narrow.match.topic ?? EVERYWHERE).filter(
    (pattern) => namesEgress(narrow) || patternsOverlap(pattern, EGRESS_TOPIC),
  )
  if (!patterns.every((pattern) => topic.some((wide) => patternCovers(wide, pattern)))) return false
  if (risk_tags === undefined) return true
  const tags = 'all' in risk_tags ? risk_tags.all : risk_tags.any
  const tagged = ({ set, topic: of }: JobClass) =>
    set.risk_tags.includes('egress') && patterns.every((pattern) => patternCovers(of, pattern))
  return tags.every((tag) => tag === 'egress') && (namesEgress(narrow) || classes.some(tagged))
}

export function rolloutFacts(rollout: Rollout & { declared_at: number }): RolloutFacts {
  const { rollout_id, document, status, declared_at, phase, phase_at, ended_at, overridden, steps } = rollout
  return {
    rollout_id,
    name: document.rollout,
    status,
    declared_at,
    since: ended_at ?? phase_at ?? declared_at,
    phase,
    phases: document.phases.length,
    overridden,
    promoted: steps.filter(({ how }) => how === 'evidence').length,
    metrics: [...new Set(document.phases.flatMap(({ gate }) => gate.checks.map(({ metric }) => metric)))].sort(),
    triggers: document.triggers.map(({ trigger }) => trigger),
    owners: document.owners,
    stakeholders: document.stakeholders,
  }
}
