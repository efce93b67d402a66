import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { proves } from '../../../test/requirements.js'
import type { Claim } from '../job.js'
import { compilePolicy } from './compile.js'
import { CONSTRAINT_NAMES, type Constraints, mergeConstraints, tightened } from './constraints.js'
import { DECISIONS, DEFAULT_APPROVAL, type JobClass, type Matcher, type PolicyDocument, type Rule } from './document.js'
import { evaluate } from './evaluate.js'
import { explain } from './explain.js'
import { topicMatches } from './topics.js'

// A small alphabet, so that rules and claims meet often.
const SEGMENTS = ['a', 'b', 'c']
const VALUES = ['x', 'y', 'xy', 'yx']
const LABELS = ['env', 'cls', 'team']
const TAGS = ['t1', 't2', 't3']

const topic = fc.array(fc.constantFrom(...SEGMENTS), { minLength: 1, maxLength: 3 }).map((parts) => parts.join('.'))
const pattern = fc
  .tuple(fc.array(fc.constantFrom(...SEGMENTS, '*'), { minLength: 1, maxLength: 3 }), fc.boolean())
  .map(([parts, open]) => [...parts, ...(open ? ['>'] : [])].join('.'))
const subset = <T>(items: readonly T[]) => fc.subarray([...items], { minLength: 1 })
const values = subset([...VALUES, 'x*', '*y'])
const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 })

const matcher: fc.Arbitrary<Matcher> = fc
  .record({
    topic: optional(fc.array(pattern, { minLength: 1, maxLength: 2 })),
    labels: optional(fc.dictionary(fc.constantFrom(...LABELS), values, { minKeys: 1, maxKeys: 2 })),
    risk_tags: optional(
      fc.oneof(
        subset(TAGS).map((any) => ({ any })),
        subset(TAGS).map((all) => ({ all })),
      ),
    ),
    environment: optional(values),
    action_type: optional(values),
    agent: optional(values),
  })
  .map((parts) => Object.fromEntries(Object.entries(parts).filter(([, part]) => part !== undefined)))

const constraints: fc.Arbitrary<Constraints> = fc.record(
  {
    timeout_ms: fc.integer({ min: 1, max: 9 }),
    max_replicas: fc.integer({ min: 0, max: 4 }),
    max_amount: fc.integer({ min: 0, max: 40 }).map((tenths) => tenths / 10),
    allowed_namespaces: fc.subarray(['n', 'o', 'p']),
    allowed_hosts: fc.subarray(['*.h.example', 'a.h.example', 'b.h.example', 'a.h.example:80', 'k.example']),
  },
  { requiredKeys: [] },
)
/** As the parser would have left it. */
const normal = (raw: Constraints) => mergeConstraints(raw, raw)

// Both fail or hold by what the input carries, so that errors take part.
const when = fc.option(
  fc.constantFrom('input.n > 2', 'has(input.n) && input.n > 1', 'labels.env == "x"', 'size(risk_tags) > 1'),
  {
    nil: null,
    freq: 3,
  },
)

const rule: fc.Arbitrary<Rule> = fc
  .record({ match: matcher, when, decision: fc.constantFrom(...DECISIONS), constraints, limited: fc.boolean() })
  .map(({ match, when, decision, constraints, limited }) => ({
    id: '',
    match,
    when,
    decision,
    reason: null,
    approval: decision === 'REQUIRE_APPROVAL' ? DEFAULT_APPROVAL : null,
    constraints: decision === 'ALLOW' ? {} : normal(constraints),
    limits: limited ? { rate: { count: 1, period_ms: 1000 }, concurrent: null, per: 'agent' } : null,
  }))

const NO_REQUIREMENT = { labels: [], risk_tags: [], environment: false, action_type: false, input: [] }
const jobClass: fc.Arbitrary<JobClass> = fc
  .record({
    topic: pattern,
    labels: fc.dictionary(fc.constantFrom(...LABELS), fc.constantFrom(...VALUES), { maxKeys: 2 }),
    derived: fc.option(fc.constantFrom('input.n > 2 ? "x" : "y"', 'has(input.s) ? input.s : "x"'), { nil: null }),
    risk_tags: fc.subarray(TAGS),
    environment: fc.option(fc.constantFrom(...VALUES), { nil: null }),
  })
  .map(({ topic, labels, derived, risk_tags, environment }) => ({
    topic,
    timeout_ms: null,
    attempts: null,
    heartbeat_ms: null,
    queue_timeout_ms: null,
    idempotent: null,
    owner: null,
    respond_within_ms: null,
    require: NO_REQUIREMENT,
    set: { labels, risk_tags, environment, action_type: null },
    derive: {
      labels: (derived !== null && !('team' in labels) ? { team: derived } : {}) as Record<string, string>,
      risk_tags: {},
      environment: null,
      action_type: null,
    },
    input_schema: null,
  }))

/** Enough rules on every topic that they are hung by their conditions instead of read through. */
const crowd: fc.Arbitrary<Rule[]> = fc
  .array(rule, { minLength: 25, maxLength: 40, size: 'max' })
  .map((rules) => rules.map((each) => ({ ...each, match: { ...each.match, topic: ['>'] } })))

const document = (classes: boolean): fc.Arbitrary<PolicyDocument> =>
  fc
    .record({
      default_decision: fc.constantFrom(
        'DENY' as const,
        'DENY' as const,
        'REQUIRE_APPROVAL' as const,
        'ALLOW' as const,
      ),
      high_risk: fc.array(matcher, { maxLength: 2 }),
      rules: fc.oneof(fc.array(rule, { maxLength: 40 }), crowd),
      job_classes: classes
        ? fc.uniqueArray(jobClass, { maxLength: 3, selector: (job) => job.topic })
        : fc.constant<JobClass[]>([]),
    })
    .map(({ rules, ...rest }) => ({
      version: 'v1',
      ...rest,
      rules: rules.map((each, i) => ({ ...each, id: `r${String(i).padStart(2, '0')}` })),
      output_rules: [],
      tests: [],
    }))

const claim: fc.Arbitrary<Claim> = fc
  .record({
    topic,
    labels: fc.dictionary(fc.constantFrom(...LABELS), fc.constantFrom(...VALUES, 'z'), { maxKeys: 3 }),
    risk_tags: fc.subarray([...TAGS, 'other']),
    environment: fc.option(fc.constantFrom(...VALUES), { nil: null }),
    action_type: fc.option(fc.constantFrom(...VALUES), { nil: null }),
    agent: fc.constantFrom(...VALUES),
    input: fc.oneof(
      fc.constant(null),
      fc.record(
        {
          n: fc.integer({ min: 0, max: 4 }),
          s: fc.constantFrom(...VALUES),
          replicas: fc.integer({ min: 0, max: 4 }),
          amount: fc.constant(1.5),
          namespace: fc.constantFrom('n', 'o', 'q'),
          url: fc.constantFrom('http://a.h.example', 'https://b.h.example/x', 'http://k.example:81'),
        },
        { requiredKeys: [] },
      ),
    ),
  })
  .map((parts) => ({
    tenant: 'default',
    agent_version: null,
    team: null,
    capability: null,
    action: null,
    workflow: null,
    context: null,
    timeout_ms: null,
    max_attempts: null,
    not_before: null,
    ...parts,
  }))

const strength = (word: string) => (DECISIONS as readonly string[]).indexOf(word)
const atLeast = (a: string, b: string) => strength(a) <= strength(b)

/** The rules of the game once more, as plainly as they can be written, without index, memory or shared code. */
function reference(document: PolicyDocument, claim: Claim) {
  const fits = (pattern: string, text: string | null | undefined) =>
    typeof text === 'string' &&
    (pattern.endsWith('*')
      ? text.startsWith(pattern.slice(0, -1))
      : pattern.startsWith('*')
        ? text.endsWith(pattern.slice(1))
        : pattern === text)
  const some = (patterns: string[] | undefined, text: string | null | undefined) =>
    patterns === undefined || patterns.some((pattern) => fits(pattern, text))
  const matches = ({ topic, labels, risk_tags, ...fields }: Matcher) =>
    (topic === undefined || topic.some((each) => topicMatches(each, claim.topic))) &&
    Object.entries(labels ?? {}).every(([name, wanted]) => some(wanted, claim.labels[name])) &&
    (risk_tags === undefined ||
      ('all' in risk_tags
        ? risk_tags.all.every((tag) => claim.risk_tags.includes(tag))
        : risk_tags.any.some((tag) => claim.risk_tags.includes(tag)))) &&
    Object.entries(fields).every(([name, wanted]) => some(wanted, (claim as unknown as Record<string, string>)[name]))
  const input = (claim.input ?? {}) as { n?: number }
  const asked = (text: string | null): boolean | 'error' => {
    if (text === null) return true
    if (text.startsWith('has')) return input.n !== undefined && input.n > 1
    if (text.startsWith('input')) return input.n === undefined ? 'error' : input.n > 2
    if (text.startsWith('labels')) return claim.labels.env === undefined ? 'error' : claim.labels.env === 'x'
    return claim.risk_tags.length > 1
  }
  const found = document.rules.filter(({ match }) => matches(match)).map((rule) => ({ rule, holds: asked(rule.when) }))
  const matching = found.filter(({ holds }) => holds !== false)
  const errors = matching.filter(({ holds }) => holds === 'error')
  const words: string[] = matching.map(({ rule }) => rule.decision)
  const decision =
    errors.length > 0
      ? 'DENY'
      : words.length === 0
        ? document.default_decision
        : DECISIONS.find((word) => words.includes(word))!
  return {
    rules: matching.map(({ rule }) => rule.id),
    decision,
    decided_by: matching.find(({ rule, holds }) => holds === 'error' || rule.decision === decision)?.rule.id ?? null,
    high_risk: document.high_risk.some(matches),
    constraints: matching.reduce((merged, { rule }) => mergeConstraints(merged, rule.constraints), {} as Constraints),
  }
}

const RUNS = { numRuns: 400 }

describe('evaluate', () => {
  test('the index finds what reading every rule finds', () => {
    fc.assert(
      fc.property(document(false), fc.array(claim, { minLength: 1, maxLength: 8 }), (policy, claims) => {
        const compiled = compilePolicy(policy)
        // Twice: the second answer comes from memory.
        for (const job of [...claims, ...claims]) {
          const actual = evaluate(compiled, job, 0)
          const expected = reference(policy, job)
          const refused = actual.reason.startsWith('constraint ')
          expect({ ...actual, decision: null, decided_by: null }).toMatchObject({
            ...expected,
            decision: null,
            decided_by: null,
          })
          if (refused) expect(actual).toMatchObject({ decision: 'DENY', decided_by: null })
          else expect(actual).toMatchObject({ decision: expected.decision, decided_by: expected.decided_by })
        }
      }),
      RUNS,
    )
  })

  test('a refused input breaks a constraint and an accepted one breaks none', () => {
    fc.assert(
      fc.property(document(false), claim, (policy, job) => {
        const { decision, reason, constraints } = evaluate(compilePolicy(policy), job, 0)
        const input = (job.input ?? {}) as { replicas?: number; namespace?: string; amount?: number }
        const broken =
          (constraints.max_replicas !== undefined && !(input.replicas! <= constraints.max_replicas)) ||
          (constraints.max_amount !== undefined && !(input.amount! <= constraints.max_amount)) ||
          (constraints.allowed_namespaces !== undefined && !constraints.allowed_namespaces.includes(input.namespace!))
        if (broken) expect(decision).toBe('DENY')
        if (reason.startsWith('constraint ') && !reason.startsWith('constraint allowed_hosts'))
          expect(broken).toBe(true)
      }),
      RUNS,
    )
  })

  test('the order of rules, classes and high-risk entries never matters', () => {
    fc.assert(
      fc.property(document(true), claim, fc.infiniteStream(fc.nat()), (policy, job, picks) => {
        const mix = <T>(items: readonly T[]): T[] => {
          const left = [...items]
          return items.map(() => left.splice(picks.next().value % left.length, 1)[0]!)
        }
        const mixed = {
          ...policy,
          rules: mix(policy.rules),
          job_classes: mix(policy.job_classes),
          high_risk: mix(policy.high_risk),
        }
        expect(evaluate(compilePolicy(mixed), job, 0)).toEqual(evaluate(compilePolicy(policy), job, 0))
      }),
      RUNS,
    )
  })

  test('one more DENY, REQUIRE_APPROVAL or constraint never opens anything', () => {
    fc.assert(
      fc.property(document(true), rule, claim, (policy, extra, job) => {
        const before = evaluate(compilePolicy({ ...policy, default_decision: 'DENY' }), job, 0)
        fc.pre(before.rules.length > 0 && extra.decision !== 'ALLOW')
        const more = { ...policy, default_decision: 'DENY' as const, rules: [...policy.rules, { ...extra, id: 'zz' }] }
        const after = evaluate(compilePolicy(more), job, 0)
        const permittedBefore = before.decision !== 'DENY'
        if (extra.decision === 'DENY' || permittedBefore) expect(atLeast(after.decision, before.decision)).toBe(true)
      }),
      RUNS,
    )
  })

  test(`${proves('D0')} what an agent says of a value the server holds never lowers the decision`, () => {
    fc.assert(
      fc.property(
        document(true),
        claim,
        fc.dictionary(fc.constantFrom(...LABELS), fc.constantFrom(...VALUES)),
        (policy, job, lies) => {
          const compiled = compilePolicy(policy)
          const honest = evaluate(compiled, job, 0)
          // Only labels the server holds: leaving them all to the server is the baseline.
          const held = Object.keys(honest.effective.labels).filter((name) => {
            const other = evaluate(compiled, { ...job, labels: { ...job.labels, [name]: 'z' } }, 0).effective.labels[
              name
            ]
            return other !== 'z'
          })
          const baseline = evaluate(
            compiled,
            { ...job, labels: Object.fromEntries(Object.entries(job.labels).filter(([name]) => !held.includes(name))) },
            0,
          )
          const told = Object.fromEntries(Object.entries(lies).filter(([name]) => held.includes(name)))
          const liar = evaluate(compiled, { ...job, labels: { ...job.labels, ...told } }, 0)
          expect(atLeast(liar.decision, baseline.decision)).toBe(true)
          expect(liar.effective.labels).toEqual({ ...honest.effective.labels })
          if (baseline.high_risk) expect(liar.high_risk).toBe(true)
        },
      ),
      RUNS,
    )
  })

  test('a claimed risk tag on top never drops a rule that matched without it', () => {
    fc.assert(
      fc.property(document(true), claim, fc.subarray(TAGS), (policy, job, more) => {
        const compiled = compilePolicy({
          ...policy,
          rules: policy.rules.filter(({ when }) => !when?.includes('risk_tags')),
        })
        const before = evaluate(compiled, job, 0)
        const after = evaluate(compiled, { ...job, risk_tags: [...new Set([...job.risk_tags, ...more])] }, 0)
        expect(after.rules).toEqual(expect.arrayContaining(before.rules))
        if (before.high_risk) expect(after.high_risk).toBe(true)
      }),
      RUNS,
    )
  })

  test('explain names the same matching rules', () => {
    fc.assert(
      fc.property(document(true), claim, (policy, job) => {
        const compiled = compilePolicy(policy)
        const why = explain(compiled, job, 0)
        const { rules, decision } = evaluate(compiled, job, 0)
        expect(why.matched.map(({ rule }) => rule)).toEqual(rules)
        expect(why.decision).toBe(decision)
        for (const { failed } of why.nearly) expect(failed.length).toBeGreaterThan(0)
      }),
      RUNS,
    )
  })
})

const OF_THE_DOOR = ['max_input_bytes', 'max_replicas', 'max_amount', 'allowed_namespaces', 'allowed_tools']

describe('merged constraints', () => {
  const one = constraints.map(normal)
  test('commute, associate and repeat without effect', () => {
    fc.assert(
      fc.property(one, one, one, (a, b, c) => {
        expect(mergeConstraints(a, b)).toEqual(mergeConstraints(b, a))
        expect(mergeConstraints(mergeConstraints(a, b), c)).toEqual(mergeConstraints(a, mergeConstraints(b, c)))
        expect(mergeConstraints(a, a)).toEqual(a)
        expect(mergeConstraints(a, {})).toEqual(a)
      }),
      { numRuns: 2000 },
    )
  })

  test('ask no more than what was told exactly where merging them with it changes nothing, but for what the door alone enforces', () => {
    const told = (all: Constraints) =>
      Object.fromEntries(Object.entries(all).filter(([name]) => !OF_THE_DOOR.includes(name)))
    fc.assert(
      fc.property(one, one, (a, b) => {
        const both = mergeConstraints(a, b)
        expect([tightened(both, a), tightened(both, b), tightened(a, {})]).toEqual([[], [], []])
        expect(tightened(a, b).filter((name) => OF_THE_DOOR.includes(name))).toEqual([])
        if (tightened(a, b).length === 0) expect(told(both)).toEqual(told(a))
        for (const name of tightened(a, b)) expect(both[name]).not.toEqual(a[name])
      }),
      { numRuns: 2000 },
    )
  })

  test('are never wider than either side', () => {
    fc.assert(
      fc.property(one, one, (a, b) => {
        const merged = mergeConstraints(a, b)
        for (const name of CONSTRAINT_NAMES) {
          const [value, side] = [merged[name], a[name]]
          if (side === undefined) continue
          if (typeof value === 'number') expect(value).toBeLessThanOrEqual(side as number)
          else expect(mergeConstraints(merged, a)[name]).toEqual(value)
        }
      }),
      { numRuns: 2000 },
    )
  })
})
