import type { Facts } from './facts.js'
import {
  askPerson,
  block,
  count,
  doorsFinding,
  drillFinding,
  type Finding,
  type Judge,
  pass,
  some,
  spanText,
  unknown,
} from './finding.js'

const POLICY = '/api/v1/policy'

function policyFinding({ policy }: Facts): Finding {
  if (policy === null) return block('no policy is active, so nothing is decided', POLICY)
  const { snapshot, rules, activated_at } = policy
  return pass(`snapshot v1:${snapshot.slice(0, 7)} with ${count(rules, 'rule')} is active`, POLICY, {
    at: activated_at,
  })
}

/** Seen in rows and tried: a denial that was asked for on purpose left no job. */
export const submitPath: Judge = (facts, at) => [
  policyFinding(facts),
  doorsFinding(facts.submits, {
    one: 'job',
    holds: 'hold a decision that let them in, made as they were',
    link: '/api/v1/jobs',
  }),
  drillFinding(facts, at, 'deny'),
]

export const dispatchPath: Judge = (facts, at) => [
  policyFinding(facts),
  doorsFinding(facts.dispatches, {
    one: 'lease',
    holds: 'hold a decision of the second door, under the policy that was active then',
    link: '/api/v1/jobs',
  }),
  drillFinding(facts, at, 'deny'),
]

/** Warnings that say how risky work gets by without an approval. */
const HOLES = ['high_risk_allowed', 'claimed_guard', 'open_default', 'workflow_avoidable']

export const approvalRouting: Judge = (facts) => [...routingFindings(facts), riskFinding(facts)]

function routingFindings({ policy, approvals }: Facts): Finding[] {
  if (policy === null) return [block('no policy is active, so nobody is asked', POLICY)]
  const more = { at: policy.activated_at }
  const holes = policy.warnings.filter(({ code }) => HOLES.includes(code))
  const findings: Finding[] = []
  if (holes.length > 0)
    findings.push(
      block(
        `policy check warns: ${some(holes.map(({ at, code, message }) => `${at || code} ${message}`))}`,
        POLICY,
        more,
      ),
    )
  if (policy.asking === 0)
    findings.push(unknown('no rule asks for an approval, so no risky action can get one', POLICY, more))
  else
    findings.push(
      pass(
        `${count(policy.asking, 'rule')} of ${policy.rules} ask for an approval, none can be left out`,
        POLICY,
        more,
      ),
    )
  if (policy.asking > 0 && approvals.approvers === 0)
    findings.push(block('nobody may answer: there is no person with the role approver or admin', '/api/v1/principals'))
  return holes.length > 0 ? findings.filter(({ state }) => state !== 'pass') : findings
}

function riskFinding({ risks }: Facts): Finding {
  const { value, unknown: why, samples, window_ms, at } = risks
  const link = `/metrics/high-risk-unapproved?window=${Math.round(window_ms / 86_400_000)}d`
  if (value === null)
    return unknown(`whether high-risk work ran without an approval is not known: ${why ?? 'it was not measured'}`, link)
  const leases = `${count(samples, 'lease')} of the last ${spanText(window_ms)}`
  if (value > 0) return block(`${value} of ${leases} were high-risk work that nobody had approved`, link, { at })
  return pass(`none of ${leases} was high-risk work without an approval`, link, { at })
}

export const approvalBinding: Judge = (facts, at) => {
  const { approvals } = facts
  const words = {
    one: 'approval',
    holds: `give the hash they bind when it is worked out again (${approvals.answered} answered)`,
    link: '/api/v1/approvals',
  }
  return [doorsFinding(approvals, words), drillFinding(facts, at, 'approval')]
}

/** An entry is in the signed tree within a second or two; a minute is no delay any more. */
const LAG_MS = 60_000

export const decisionTimeline: Judge = (facts, at) => [recordFinding(facts), ...logFindings(facts, at)]

export function recordFinding({ record }: Facts): Finding {
  const { unreadable, newest_run, newest_at } = record
  const link = newest_run === null ? '/api/v1/audit' : `/api/v1/runs/${encodeURIComponent(newest_run)}/timeline`
  if (unreadable > 0 && record.wrong.length === 0)
    return unknown(
      `the entries of ${count(unreadable, 'newest finished job')} are in an archive that this node cannot read`,
      link,
      { at: newest_at },
    )
  const holds = 'follow from their entries: request, decision, approver and end'
  return doorsFinding(record, { one: 'finished job', holds, link })
}

function logFindings({ record }: Facts, at: number): Finding[] {
  const { head, waiting_since } = record
  const link = '/api/v1/audit/head'
  if (waiting_since !== null && at - waiting_since > LAG_MS)
    return [
      block(`entries have waited for ${spanText(at - waiting_since)} for their place in the signed tree`, link, {
        at: head?.at ?? null,
      }),
    ]
  if (head === null) return [unknown('no head of the log was signed yet', link)]
  return [pass(`the signed tree holds ${count(head.size, 'entry', 'entries')}`, link, { at: head.at })]
}

/** For the item that asks for people and not for rows. */
export const onCall: Judge = ({ people }) => {
  const link = '/api/v1/teams'
  if (people.on_call.length === 0)
    return [askPerson('on_call_answers', 'no team of the directory has anybody on call', link)]
  return [pass(`somebody is on call for ${some(people.on_call)}`, link)]
}
