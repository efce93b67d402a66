import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compilePolicy } from '../policy/compile.js'
import { evaluate, heldAction } from '../policy/evaluate.js'
import { fixtureClaim } from '../policy/fixtures.js'
import { parsePolicy } from '../policy/parse.js'
import { admits, assign, BUCKETS, bucketOf, routingKey, type Slice, type Work, workOf } from './assign.js'
import { RESTS, RISK_FILTERS } from './document.js'
import { ROLLOUT_STATUSES } from './step.js'

const slice: Slice = {
  rollout_id: 'rol_1',
  status: 'running',
  share_bp: 500,
  risk: 'mixed',
  rest: 'stable',
  has_stable: true,
}
const work: Work = { routing_key: 'run_1', high_risk: false, held_action: 'read', risk_tags: [] }

const slices = fc.record({
  rollout_id: fc.string({ minLength: 1, maxLength: 30 }),
  status: fc.constantFrom(...ROLLOUT_STATUSES),
  share_bp: fc.integer({ min: 0, max: BUCKETS }),
  risk: fc.constantFrom(...RISK_FILTERS),
  rest: fc.constantFrom(...RESTS),
  has_stable: fc.boolean(),
})
const works = fc.record({
  routing_key: fc.option(fc.string({ maxLength: 30 })),
  high_risk: fc.boolean(),
  held_action: fc.option(fc.constantFrom('read', 'write', 'delete')),
  risk_tags: fc.array(fc.constantFrom('money', 'egress'), { maxLength: 2 }),
})

describe('the bucket', () => {
  test('is the same for good: these are what was handed out, and a change moves customers', () => {
    const found = [bucketOf('rol_1', 'run_1'), bucketOf('rol_1', 'run_2'), bucketOf('rol_2', 'run_1')]
    expect(found).toEqual([9728, 1024, 9579])
  })

  /**
   * Pearson's statistic of 10,000 keys over 100 ranges of buckets: 99 degrees of freedom, of which 215 is past once in 10^10
   * (by the cube root of Wilson and Hilferty 6.3 standard deviations).
   */
  const spread = (buckets: number[]) => {
    const counts = new Array<number>(100).fill(0)
    for (const bucket of buckets) counts[Math.floor(bucket / 100)]!++
    const expected = buckets.length / 100
    return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
  }

  test('is spread evenly, whatever the rollout and however alike the keys', () => {
    const forms = fc.constantFrom(
      (n: number, salt: string) => `${salt}${n}`,
      (n: number, salt: string) => `${n}@${salt}.example`,
      (n: number) => String.fromCodePoint(0x4e00 + n),
    )
    fc.assert(
      fc.property(fc.string(), fc.string(), forms, (id, salt, form) => {
        const statistic = spread(Array.from({ length: 10_000 }, (_, n) => bucketOf(id, form(n, salt))))
        expect(statistic).toBeLessThan(215)
      }),
      { numRuns: 20 },
    )
  })

  test('of one rollout says nothing about that of another', () => {
    // Among those in the first twentieth of one, the buckets of the other are spread as evenly.
    const keys = Array.from({ length: 100_000 }, (_, n) => `run_${n}`)
    const first = keys.filter((key) => bucketOf('rol_1', key) < 500)
    expect(first.length).toBeGreaterThan(4_600)
    expect(first.length).toBeLessThan(5_400)
    expect(spread(first.map((key) => bucketOf('rol_2', key)))).toBeLessThan(215)
  })
})

describe('who does the work', () => {
  const who = (change: Partial<Slice>, other: Partial<Work> = {}) =>
    assign({ ...slice, ...change }, { ...work, ...other }).variant

  test('at 5 % about one in twenty is the candidate’s', () => {
    const mine = Array.from({ length: 20_000 }, (_, n) => who({}, { routing_key: `customer ${n}` }))
    const share = mine.filter((variant) => variant === 'candidate').length / mine.length
    expect(share).toBeGreaterThan(0.04)
    expect(share).toBeLessThan(0.06)
  })

  test('whoever is in stays in while share and filter grow', () => {
    const grown = fc.tuple(slices, works, fc.nat(BUCKETS), fc.nat(2))
    fc.assert(
      fc.property(grown, ([given, each, more, wider]) => {
        const now = { ...given, status: 'running' as const }
        const risk = RISK_FILTERS[Math.min(2, RISK_FILTERS.indexOf(now.risk) + wider)]!
        const next = { ...now, risk, share_bp: Math.min(BUCKETS, now.share_bp + more) }
        if (assign(now, each).variant === 'candidate') expect(assign(next, each).variant).toBe('candidate')
        // A pause changes nothing, and asking twice gives the same.
        expect(assign({ ...now, status: 'paused' }, each)).toEqual(assign(now, each))
      }),
    )
  })

  test('the share is the chance, to a bucket', () => {
    fc.assert(
      fc.property(slices, works, (given, each) => {
        const found = assign(given, each)
        if (given.status !== 'running' && given.status !== 'paused') return
        const isIn = found.bucket !== null ? found.bucket < given.share_bp : given.share_bp === BUCKETS
        expect(found.variant === 'candidate').toBe(admits(given.risk, each) && isIn)
        if (found.variant !== 'candidate') expect(found.variant).toBe(given.rest)
      }),
    )
  })

  test('a bucket is in from the share on that reaches past it', () => {
    const bucket = bucketOf('rol_1', 'run_1')
    expect([bucket, bucket + 1].map((share_bp) => who({ share_bp }))).toEqual(['stable', 'candidate'])
  })

  test('nothing at 0 %, everything at 100 %, and what cannot be told apart only then', () => {
    expect(who({ share_bp: 0 })).toBe('stable')
    expect(who({ share_bp: BUCKETS })).toBe('candidate')
    for (const routing_key of [null, '']) {
      expect(who({ share_bp: BUCKETS - 1 }, { routing_key })).toBe('stable')
      expect(who({ share_bp: BUCKETS }, { routing_key })).toBe('candidate')
    }
    expect(who({ share_bp: BUCKETS, risk: 'low_risk' }, { high_risk: true })).toBe('stable')
  })

  test('before and after: a draft and what was rolled back leave everything as it was', () => {
    for (const status of ['draft', 'rolled_back'] as const) {
      expect(who({ status, share_bp: BUCKETS })).toBe('stable')
      expect(who({ status, share_bp: BUCKETS, has_stable: false, rest: 'shadow' })).toBe('manual')
    }
    expect(who({ status: 'promoted', share_bp: 0 }, { routing_key: null, high_risk: true })).toBe('candidate')
  })
})

describe('the filters', () => {
  test('take what the server holds harmless, each more than the one before it', () => {
    const table = (each: Omit<Work, 'routing_key'>) => RISK_FILTERS.map((filter) => admits(filter, each))
    expect(table(work)).toEqual([true, true, true])
    expect(table({ ...work, held_action: 'write' })).toEqual([false, true, true])
    for (const change of [{ high_risk: true }, { held_action: null }, { risk_tags: ['egress'] }])
      expect(table({ ...work, ...change })).toEqual([false, false, true])
    fc.assert(
      fc.property(works, (each) => {
        const [read, low, mixed] = table(each)
        expect([!read || low, !low || mixed]).toEqual([true, true])
      }),
    )
  })

  const POLICY = `
version: v1
rules:
  - { id: all, match: { topic: job.> }, decision: ALLOW }
job_classes:
  - { topic: job.crm.read, set: { action_type: read, labels: { customer: acme } } }
  - { topic: job.crm.tagged, set: { action_type: read, risk_tags: [egress] } }
  - { topic: job.crm.refund, set: { action_type: refund } }
`
  const policy = compilePolicy(parsePolicy([{ path: 'p.yaml', text: POLICY }]).document!)
  const readOnly = (given: Parameters<typeof fixtureClaim>[0]) => {
    const claim = fixtureClaim(given)
    const of = workOf(claim, evaluate(policy, claim, 0), heldAction(policy, claim, 0), 'run_1')
    return admits('read_only', of)
  }

  test('an agent can talk its work out of a slice, never into it', () => {
    expect(readOnly({ topic: 'job.crm.read' })).toBe(true)
    expect(readOnly({ topic: 'job.crm.read', action_type: 'delete' })).toBe(false)
    expect(readOnly({ topic: 'job.crm.read', risk_tags: ['money'] })).toBe(false)
    expect(readOnly({ topic: 'job.crm.other', action_type: 'read' })).toBe(false)
    expect(readOnly({ topic: 'job.crm.tagged', action_type: 'read', risk_tags: [] })).toBe(false)
    expect(readOnly({ topic: 'job.crm.refund', action_type: 'read' })).toBe(false)
  })

  test('a tag counts whoever says it', () => {
    const effective = { labels: {}, risk_tags: ['held'], environment: null, action_type: null }
    const of = workOf({ risk_tags: ['said'] }, { high_risk: false, effective }, 'read', null)
    expect(of.risk_tags).toEqual(['said', 'held'])
  })

  test('the slice is drawn by the run, or by a label as the server holds it', () => {
    const claim = fixtureClaim({ topic: 'job.crm.read', labels: { customer: 'mine' } })
    const { effective } = evaluate(policy, claim, 0)
    expect(routingKey('run', 'run_7', effective)).toBe('run_7')
    expect(routingKey('label:customer', 'run_7', effective)).toBe('acme')
    expect(routingKey('label:constructor', 'run_7', effective)).toBeNull()
  })
})
