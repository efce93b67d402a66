import type { Facts, SubmitterFact } from './facts.js'
import { askPerson, block, count, type Finding, type Judge, pass, some, unknown, wrongText } from './finding.js'

const KEYS = '/api/v1/keys'

/** One credential, one agent. Whoever has a shared one can be any of those it stands for, and the log cannot tell them apart. */
export const agentIdentity: Judge = ({ credentials }) => {
  const { submitting } = credentials
  const shared = submitting.filter(({ agents }) => agents.length > 1)
  if (shared.length > 0) return [block(`shared credentials: ${some(shared.map(sharedText))}`, KEYS)]
  const human = submitting.filter(({ kind, agents }) => kind === 'person' && agents.length > 0)
  if (human.length > 0) return [block(`agents act with the key of a person: ${some(human.map(sharedText))}`, KEYS)]
  const own = submitting.filter(({ agents, keys }) => agents.length === 1 && keys > 0)
  if (own.length === 0) return [unknown('no agent has a key of its own yet', KEYS)]
  return [pass(`${count(own.length, 'agent')}, each with a principal and a key of its own`, KEYS)]
}

const sharedText = ({ principal, agents }: SubmitterFact) => `${principal} stands for ${some(agents)}`

/** Of item 7 alone: a key that is its agent's own may still open everything. */
export const credentialScope: Judge = ({ credentials }) => {
  const agents = credentials.submitting.filter(({ kind, keys }) => kind === 'agent' && keys > 0)
  const open = agents.filter(({ scoped }) => !scoped).map(({ principal }) => principal)
  if (agents.length === 0) return [unknown('no agent has a key yet', KEYS)]
  if (open.length > 0) return [block(`neither key nor terms name topics for ${some(open)}`, KEYS)]
  return [pass(`the keys or terms of all ${count(agents.length, 'agent')} name topics`, KEYS)]
}

export const keyRotation: Judge = ({ credentials }) => {
  const { keys, overdue, rotated, rotated_at, oldest_at } = credentials
  const link = '/api/v1/keys?due=true'
  if (overdue.length > 0) return [block(`older than 90 days: ${some(overdue)}`, link, { at: oldest_at })]
  if (rotated === 0)
    return [
      askPerson(
        'key_rotation',
        'no key was ever rotated here, so nobody knows whether it can be done (docs/operating/keys.md)',
        link,
      ),
    ]
  return [
    pass(`${count(rotated, 'rotation')} on record, and none of ${count(keys, 'key')} is older than 90 days`, link, {
      at: rotated_at,
    }),
  ]
}

export const egressAllowlist: Judge = ({ policy, egress }) => {
  if (policy === null) return [block('no policy is active, so no list of hosts binds anything', '/api/v1/policy')]
  const { rules, open } = policy.egress
  const findings: Finding[] = []
  const at = policy.activated_at
  if (open.length > 0)
    findings.push(block(`rules that let work call out without allowed_hosts: ${some(open)}`, '/api/v1/policy', { at }))
  else {
    const text =
      rules.length === 0
        ? 'no rule lets work call out'
        : `allowed_hosts binds what ${some(rules)} permit${rules.length === 1 ? 's' : ''}`
    findings.push(pass(text, '/api/v1/policy', { at }))
  }
  const jobs = '/api/v1/jobs'
  if (egress.unbound.length > 0)
    findings.push(
      block(`calls to the outside ran without allowed_hosts: ${wrongText(egress.unbound)}`, jobs, {
        at: egress.newest_at,
      }),
    )
  else if (egress.unlisted.length > 0)
    findings.push(
      askPerson(
        'egress_allowlist',
        `what workers of ${some(egress.unlisted)} may call, no list of the plane says: their network has to`,
        jobs,
        { at: egress.newest_at },
      ),
    )
  else if (egress.leases > 0)
    findings.push(
      pass(`all of the ${count(egress.leases, 'newest lease')} carried a list of hosts`, jobs, {
        at: egress.newest_at,
      }),
    )
  return findings
}

const TOPICS = '/api/v1/policy'
const NO_TOPICS = 'no work was asked for yet, so there is no topic to look at'

/** Whether every topic in use has what is asked, and which have not. */
export function ofTopics(
  { topics }: Facts,
  lacking: (topic: Facts['topics'][number]) => boolean,
  words: { lack: string; have: string },
): Finding[] {
  if (topics.length === 0) return [unknown(NO_TOPICS, TOPICS)]
  const without = topics.filter(lacking).map(({ topic }) => topic)
  if (without.length > 0) return [block(`${words.lack}: ${some(without)}`, TOPICS)]
  return [pass(`${count(topics.length, 'topic')} in use, ${words.have}`, TOPICS)]
}

export const inputSchemas: Judge = (facts) =>
  ofTopics(facts, ({ schema }) => !schema, {
    lack: 'no class with an input_schema names',
    have: 'all with a schema of their input',
  })

export const outputSafety: Judge = ({ output, policy }) => {
  const { sampled, ALLOW, REDACT, QUARANTINE, wrong, newest_at } = output
  const letting = policy?.letting ?? []
  const findings: Finding[] = []
  if (letting.length > 0)
    findings.push(block(`output rules let a whole class through: ${some(letting)}`, '/api/v1/policy'))
  const link = '/metrics/quarantine-ratio'
  if (wrong.length > 0) findings.push(block(`results without a verdict: ${wrongText(wrong)}`, link, { at: newest_at }))
  else if (sampled === 0) findings.push(unknown('no result was screened yet', link))
  else
    findings.push(
      pass(
        `all of the ${count(sampled, 'newest result')} were screened: ${ALLOW} ALLOW, ${REDACT} REDACT, ${QUARANTINE} QUARANTINE`,
        link,
        { at: newest_at },
      ),
    )
  return findings
}
