/**
 * One workload that every subject can express: rules on a topic (exact, or all topics of an area), an environment label, a
 * command class label and a risk tag, each optional. A fixed generator, so that every run and every subject sees the same.
 */
export function generator(seed) {
  let state = seed >>> 0
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

const ENVS = ['dev', 'test', 'staging', 'prod']
const CLASSES = ['read', 'write', 'unknown', 'destructive']
const TAGS = ['egress', 'money', 'pii', 'bulk', 'secrets', 'external']
const TEAMS = Array.from({ length: 20 }, (_, i) => `team-${i}`)
const VERBS = ['read', 'apply', 'call', 'send', 'exec']

/** Ten rules for each topic; every 20th of them is for the whole area. `whenShare` of them carry a condition on input. */
export function makeRules(count, whenShare = 0) {
  const next = generator(7)
  const rules = []
  for (let i = 0; i < count; i++) {
    const topicNumber = Math.floor(i / 10)
    const area = `area${Math.floor(topicNumber / VERBS.length)}`
    const kind = i % 10
    const rule = {
      id: `rule-${String(i).padStart(5, '0')}`,
      area,
      topic: i % 20 === 19 ? null : `job.${area}.${VERBS[topicNumber % VERBS.length]}`,
      env: null,
      cls: null,
      tag: null,
      team: null,
      effect: 'ALLOW_WITH_CONSTRAINTS',
      timeout_ms: 1000 * (1 + next(60)),
      over: next(1000) < whenShare * 1000 ? next(1000) : null,
    }
    if (kind === 1) Object.assign(rule, { env: 'prod', effect: 'REQUIRE_APPROVAL' })
    else if (kind === 2) Object.assign(rule, { env: 'prod', cls: 'destructive', effect: 'DENY' })
    else if (kind === 3) rule.tag = TAGS[next(TAGS.length)]
    else if (kind === 4) rule.env = ENVS[next(ENVS.length)]
    else if (kind === 5) rule.cls = CLASSES[next(CLASSES.length)]
    else if (kind === 6) Object.assign(rule, { tag: TAGS[next(TAGS.length)], env: 'prod', effect: 'REQUIRE_APPROVAL' })
    else if (kind >= 7) rule.team = TEAMS[next(TEAMS.length)]
    rules.push(rule)
  }
  return rules
}

/** Claims as they come off the wire: each parsed from its own JSON text, so that no string is shared with the rules. */
export function makeClaims(count, ruleCount) {
  const next = generator(11)
  const topics = Math.max(1, Math.floor(ruleCount / 10))
  return Array.from({ length: count }, (_, i) => {
    const topicNumber = next(topics)
    const labels = { env: ENVS[next(4)], command_class: CLASSES[next(4)], team: TEAMS[next(20)], request: `r${i}` }
    const tags = TAGS.filter(() => next(4) === 0)
    return JSON.parse(
      JSON.stringify({
        tenant: 'default',
        agent: `agent:bot-${next(50)}`,
        agent_version: '1.4.2',
        team: null,
        topic: `job.area${Math.floor(topicNumber / VERBS.length)}.${VERBS[topicNumber % VERBS.length]}`,
        labels,
        risk_tags: tags,
        environment: null,
        action_type: null,
        capability: null,
        action: null,
        workflow: null,
        input: { amount: next(1000), target: `t${i}` },
        context: null,
        timeout_ms: null,
        max_attempts: null,
        not_before: null,
      }),
    )
  })
}

const APPROVAL = {
  from: ['role:approver'],
  need: 1,
  within_ms: 86_400_000,
  then: 'deny',
  valid_for_ms: 86_400_000,
}

/** The rules as a document of this package. */
export function asDocument(rules) {
  return {
    version: 'v1',
    default_decision: 'DENY',
    high_risk: [],
    rules: rules.map((rule) => ({
      id: rule.id,
      match: {
        topic: [rule.topic ?? `job.${rule.area}.>`],
        ...(rule.env || rule.cls || rule.team
          ? {
              labels: {
                ...(rule.env ? { env: [rule.env] } : {}),
                ...(rule.cls ? { command_class: [rule.cls] } : {}),
                ...(rule.team ? { team: [rule.team] } : {}),
              },
            }
          : {}),
        ...(rule.tag ? { risk_tags: { any: [rule.tag] } } : {}),
      },
      when: rule.over === null ? null : `has(input.amount) && input.amount > ${rule.over}`,
      decision: rule.effect,
      reason: `because of ${rule.id}`,
      approval: rule.effect === 'REQUIRE_APPROVAL' ? APPROVAL : null,
      constraints: { timeout_ms: rule.timeout_ms, allowed_hosts: ['*.example.com', 'api.example.org'] },
      limits: null,
    })),
    job_classes: [],
    output_rules: [],
    tests: [],
  }
}
