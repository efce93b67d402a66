import { GATE_METRICS, type GateMetricName } from '../gates/metric.js'
import type { TriggerName } from '../gates/trigger.js'
import type { Facts, RolloutFacts } from './facts.js'
import {
  askPerson,
  block,
  count,
  drillFinding,
  type Finding,
  failedDrill,
  type Judge,
  pass,
  some,
  unknown,
} from './finding.js'

const ROLLOUTS = '/api/v1/rollouts'
const linkOf = ({ rollout_id }: RolloutFacts) => `${ROLLOUTS}/${rollout_id}`

/** What a launch goes by: the rollouts that are under way, else the one that ended last. Drafts bind nothing. */
export function underWay({ rollouts }: Facts): RolloutFacts[] {
  const live = rollouts.filter(({ status }) => status === 'running' || status === 'paused')
  if (live.length > 0) return live
  const ended = rollouts.filter(({ status }) => status === 'promoted' || status === 'rolled_back')
  return ended.toSorted((a, b) => b.since - a.since).slice(0, 1)
}

export const canaryGates: Judge = (facts) => {
  const found = underWay(facts)
  if (found.length === 0)
    return [unknown('no rollout was started, so nothing holds a promotion up: sallyport rollouts declare', ROLLOUTS)]
  return found.map((rollout) => {
    const { name, status, phase, phases, promoted, overridden, since, owners } = rollout
    const more = { at: since, owner: owners.reliability }
    if (overridden) return block(`${name} went on without its gate, because two people said so`, linkOf(rollout), more)
    return pass(
      `${name} is ${status} in phase ${phase} of ${phases - 1}, ${count(promoted, 'phase')} left on evidence, no override`,
      linkOf(rollout),
      more,
    )
  })
}

/** One of each kind has to be there. */
const KINDS: Record<string, readonly TriggerName[]> = {
  latency: ['p95_latency'],
  errors: ['error_rate'],
  governance: ['policy_bypass', 'unapproved_high_risk'],
}

export const triggerMatrix: Judge = (facts, at) => {
  const found = underWay(facts)
  if (found.length === 0) return [unknown('no rollout was started, so no trigger takes anything back', ROLLOUTS)]
  const findings = found.map((rollout): Finding => {
    const { name, triggers, since, owners } = rollout
    const more = { at: since, owner: owners.reliability }
    const lacking = Object.keys(KINDS).filter((kind) => !KINDS[kind]?.every((trigger) => triggers.includes(trigger)))
    if (lacking.length > 0) return block(`${name} has no trigger for ${lacking.join(', ')}`, linkOf(rollout), more)
    return pass(
      `${name} is taken back by ${count(triggers.length, 'trigger')}, for latency, errors and governance`,
      linkOf(rollout),
      more,
    )
  })
  return [...findings, ...failedDrill(facts, at, 'rollback')]
}

/** Of item 8: which of its gates look at what. */
const GATED: Record<string, readonly GateMetricName[]> = {
  'success rate': ['success_rate_pct', 'workflow_success_rate', 'error_rate'],
  latency: ['p95_latency_ms', 'p50_latency_ms'],
  'queue depth': [
    'approval_queue_median_sec',
    'approval_queue_p95_sec',
    'approval_backlog',
    'approval_backlog_oldest_sec',
    'dispatch_wait_p95_ms',
  ],
  'policy anomalies': ['policy_bypass_incidents', 'unapproved_high_risk_actions', 'deny_ratio', 'quarantine_ratio'],
}

export const automatedGates: Judge = (facts) => {
  // Where there is none, control 16 says so in the same item.
  return underWay(facts).map((rollout) => {
    const { name, metrics, since, owners } = rollout
    const more = { at: since, owner: owners.reliability }
    const lacking = Object.keys(GATED).filter((kind) => !GATED[kind]?.some((metric) => metrics.includes(metric)))
    if (lacking.length > 0) return block(`no gate of ${name} looks at ${lacking.join(', ')}`, linkOf(rollout), more)
    return pass(
      `gates of ${name} look at ${metrics.length} of ${Object.keys(GATE_METRICS).length} numbers, among them ${Object.keys(GATED).join(', ')}`,
      linkOf(rollout),
      more,
    )
  })
}

/** Of item 9: it was done and timed, and there is a way to those who have to hear of it. */
export const rollbackRunbook: Judge = (facts, at) => {
  const findings: Finding[] = [drillFinding(facts, at, 'rollback')]
  const found = underWay(facts)
  const told = found.flatMap(({ stakeholders }) => stakeholders)
  if (found.length === 0) findings.push(unknown('no rollout was started, so no stakeholder is named', ROLLOUTS))
  else if (told.length === 0) findings.push(block('no stakeholder is named', ROLLOUTS))
  else findings.push(pass(`${some([...new Set(told)])} would be told (docs/operating/rollback.md)`, ROLLOUTS))
  const { rollbackChannels } = facts
  const link = '/api/v1/channels'
  if (rollbackChannels.length === 0) findings.push(block('no channel tells of rollout.rolled_back', link))
  else findings.push(pass(`told through ${some(rollbackChannels)}`, link))
  return findings
}

export const costBudgets: Judge = (facts) => {
  const { sampled, told, cost } = facts.costs
  const gated = underWay(facts).filter(({ metrics }) => metrics.includes('cost_per_completed_run'))
  const spent = `${told} of the ${count(sampled, 'newest finished job')} told what they cost${told > 0 ? `, ${Math.round(cost * 100) / 100} together` : ''}`
  const gate =
    gated.length === 0
      ? 'no gate looks at the cost of a run'
      : `gates of ${some(gated.map(({ name }) => name))} look at the cost of a run`
  return [
    askPerson(
      'cost_budgets',
      `the plane keeps no budget of a workflow: where is its ceiling? ${spent}; ${gate}`,
      '/api/v1/jobs',
      {
        owner: gated[0]?.owners.cost ?? null,
      },
    ),
  ]
}

export const onCallRunbook: Judge = (facts, at) => [
  ...failedDrill(facts, at, 'stop'),
  askPerson(
    'on_call_runbook',
    'whether those on call have a runbook for stop, isolate, replay and telling people, a person has to say',
    'docs/operating/stop.md',
  ),
]

export const incidentReplay: Judge = (facts, at) => [drillFinding(facts, at, 'incident-replay')]
export const crashDrill: Judge = (facts, at) => [drillFinding(facts, at, 'worker-crash')]
