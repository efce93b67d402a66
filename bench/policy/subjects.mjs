import { createRequire } from 'node:module'
import { asDocument } from './workload.mjs'

/**
 * Each subject: prepare once, then `decide(claim)` → 'ALLOW' | 'ASK' | 'DENY'. What a subject cannot say is said beside it.
 * Conditions on input (`over`) are given to all of them.
 */
export async function sallyport(rules) {
  const { compilePolicy, evaluate } = await import('../../dist/policy.js')
  const policy = compilePolicy(asDocument(rules))
  const words = { ALLOW: 'ALLOW', ALLOW_WITH_CONSTRAINTS: 'ALLOW', REQUIRE_APPROVAL: 'ASK', DENY: 'DENY' }
  const run = (claim) => evaluate(policy, claim, 1_760_000_000_000)
  return { run, decide: (claim) => words[run(claim).decision] }
}

/** Two answers only, so an approval is a denial here; no constraints. Deny overrides, as in its own RBAC-with-deny model. */
export async function casbin(rules) {
  const { newEnforcer, newModelFromString, StringAdapter } = await import('casbin')
  const model = newModelFromString(`
[request_definition]
r = topic, env, cls, team, tags, amount
[policy_definition]
p = topic, env, cls, team, tag, over, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = keyMatch(r.topic, p.topic) && (p.env == "-" || p.env == r.env) && (p.cls == "-" || p.cls == r.cls) && (p.team == "-" || p.team == r.team) && (p.tag == "-" || tagged(r.tags, p.tag)) && (p.over == "-" || above(r.amount, p.over))
`)
  const lines = rules.map((rule) =>
    [
      'p',
      rule.topic ?? `job.${rule.area}.*`,
      rule.env ?? '-',
      rule.cls ?? '-',
      rule.team ?? '-',
      rule.tag ?? '-',
      rule.over ?? '-',
      rule.effect === 'ALLOW_WITH_CONSTRAINTS' ? 'allow' : 'deny',
    ].join(', '),
  )
  const enforcer = await newEnforcer(model, new StringAdapter(lines.join('\n')))
  await enforcer.addFunction('tagged', (tags, tag) => tags.includes(tag))
  await enforcer.addFunction('above', (amount, over) => amount > Number(over))
  const run = ({ topic, labels, risk_tags, input }) =>
    enforcer.enforceSync(topic, labels.env, labels.command_class, labels.team, risk_tags, input.amount)
  return { run, decide: (claim) => (run(claim) ? 'ALLOW' : 'DENY') }
}

/** Policies preparsed once. An approval is a `forbid` whose id says so; the constraints would be the caller's to merge. */
export async function cedar(rules) {
  const wasm = createRequire(import.meta.url)('@cedar-policy/cedar-wasm/nodejs')
  const text = Object.fromEntries(
    rules.map((rule) => {
      const tests = [rule.topic ? `context.topic == "${rule.topic}"` : `context.topic like "job.${rule.area}.*"`]
      if (rule.env) tests.push(`context.env == "${rule.env}"`)
      if (rule.cls) tests.push(`context.cls == "${rule.cls}"`)
      if (rule.team) tests.push(`context.team == "${rule.team}"`)
      if (rule.tag) tests.push(`context.tags.contains("${rule.tag}")`)
      if (rule.over !== null) tests.push(`context.amount > ${rule.over}`)
      const effect = rule.effect === 'ALLOW_WITH_CONSTRAINTS' ? 'permit' : 'forbid'
      const id = rule.effect === 'REQUIRE_APPROVAL' ? `ask-${rule.id}` : rule.id
      return [id, `${effect}(principal, action, resource) when { ${tests.join(' && ')} };`]
    }),
  )
  const parsed = wasm.preparsePolicySet('bench', { staticPolicies: text })
  if (parsed.type !== 'success') throw new Error(JSON.stringify(parsed.errors.slice(0, 2)))
  const run = ({ agent, topic, labels, risk_tags, input }) =>
    wasm.statefulIsAuthorized({
      principal: { type: 'Agent', id: agent },
      action: { type: 'Action', id: 'run' },
      resource: { type: 'Job', id: 'job' },
      context: {
        topic,
        env: labels.env,
        cls: labels.command_class,
        team: labels.team,
        tags: risk_tags,
        amount: input.amount,
      },
      preparsedPolicySetId: 'bench',
      entities: [],
    }).response
  const word = ({ decision, diagnostics }) => {
    if (decision === 'allow') return 'ALLOW'
    return diagnostics.reason.length > 0 && diagnostics.reason.every((id) => id.startsWith('ask-')) ? 'ASK' : 'DENY'
  }
  return { run, decide: (claim) => word(run(claim)) }
}

/** Its rich policy form with deny-overrides. Its expressions know no membership in a list and no prefix: tags and area are flattened into fields. */
export async function agentGovernance(rules) {
  const { PolicyEngine } = createRequire(import.meta.url)('@microsoft/agent-governance-sdk')
  const engine = new PolicyEngine([], 'deny_overrides')
  const action = { ALLOW_WITH_CONSTRAINTS: 'allow', REQUIRE_APPROVAL: 'require_approval', DENY: 'deny' }
  engine.loadPolicy({
    name: 'bench',
    scope: 'global',
    default_action: 'deny',
    rules: rules.map((rule) => {
      const tests = [rule.topic ? `topic == '${rule.topic}'` : `area == '${rule.area}'`]
      if (rule.env) tests.push(`env == '${rule.env}'`)
      if (rule.cls) tests.push(`cls == '${rule.cls}'`)
      if (rule.team) tests.push(`team == '${rule.team}'`)
      if (rule.tag) tests.push(`tags.${rule.tag} == true`)
      if (rule.over !== null) tests.push(`amount > ${rule.over}`)
      return {
        name: rule.id,
        condition: tests.join(' and '),
        ruleAction: action[rule.effect],
        priority: rule.effect === 'REQUIRE_APPROVAL' ? 1 : 0,
      }
    }),
  })
  const run = ({ agent, topic, labels, risk_tags, input }) =>
    engine.evaluatePolicy(agent, {
      topic,
      area: topic.split('.')[1],
      env: labels.env,
      cls: labels.command_class,
      team: labels.team,
      tags: Object.fromEntries(risk_tags.map((tag) => [tag, true])),
      amount: input.amount,
    })
  const words = { allow: 'ALLOW', require_approval: 'ASK', deny: 'DENY' }
  return { run, decide: (claim) => words[run(claim).action] }
}
