import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Claim } from './job.js'
import type { Json } from './json.js'
import { placeholder } from './output/redact.js'
import {
  DETECTORS,
  defaultOutputPolicy,
  type OutputPolicy,
  outputPolicyFor,
  screen,
  screenOrQuarantine,
  screenText,
  type Verdict,
} from './output.js'
import type { OutputRule } from './policy/document.js'

const policy = defaultOutputPolicy
const redactAll: OutputPolicy = { action: () => 'REDACT' }
const allowing = (name: string): OutputPolicy => ({
  action: (d, cls) => (d === name ? 'ALLOW' : policy.action(d, cls)),
})

// Assembled here, so that no complete token stands in the repository.
const TOKEN = ['ghp', 'a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8'].join('_')
const OTHER_TOKEN = ['glpat', 'x9Y8z7W6v5U4t3S2r1Q0'].join('-')
const KEY = [
  '-----BEGIN RSA PRIV',
  'ATE KEY-----\nMIIEpAIBAAKCAQEAxyzabcdefgh1234567890\n-----END RSA PRIV',
  'ATE KEY-----',
].join('')

const corpus: string[] = ['credentials', 'personal'].flatMap((file) =>
  readFileSync(new URL(`../../test/corpus/secrets/${file}.jsonl`, import.meta.url), 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const { before, parts, after } = JSON.parse(line) as { before: string; parts: string[]; after: string }
      return before + parts.join('') + after
    }),
)

describe('verdicts', () => {
  it('lets a clean value through as it is', () => {
    const value = { items: [{ id: 7, note: 'all is well' }, null, true, 1.5] }
    expect(screen(value, policy)).toEqual({ verdict: 'ALLOW', output: value, findings: [] })
    expect(screen(value, policy).output).toBe(value)
  })

  it('redacts secrets and personal data with typed placeholders, and says where but never what', () => {
    const { verdict, output, findings } = screen({ a: [{ b: `see ${TOKEN}.` }], mail: 'jane@example.com' }, policy)
    expect(verdict).toBe('REDACT')
    expect(output).toEqual({ a: [{ b: 'see [REDACTED:github_token].' }], mail: '[REDACTED:email]' })
    expect(findings).toContainEqual({ detector: 'github_token', class: 'secret', path: '/a/0/b', count: 1 })
    expect(findings).toContainEqual({ detector: 'email', class: 'pii', path: '/mail', count: 1 })
  })

  it('quarantines private keys and gives nothing of them out', () => {
    const { verdict, output, findings } = screen({ note: KEY }, policy)
    expect({ verdict, output }).toEqual({ verdict: 'QUARANTINE', output: null })
    expect(findings).toEqual([{ detector: 'private_key', class: 'private_key', path: '/note', count: 1 }])
    expect(screenText(KEY, policy)).toMatchObject({ verdict: 'QUARANTINE', text: '' })
  })

  it('reports what the policy allows, once, and leaves it', () => {
    const text = `jane@example.com ${TOKEN}`
    const { output, findings } = screen(text, allowing('email'))
    expect(output).toBe('jane@example.com [REDACTED:github_token]')
    expect(findings.find((f) => f.detector === 'email')).toMatchObject({ count: 1 })
  })

  it('does not let an allowed find hide one inside it', () => {
    expect(screen(`password="${TOKEN}"`, allowing('assigned_secret')).output).toBe('password="[REDACTED:github_token]"')
  })

  it('keeps the host of a connection string', () => {
    const { text } = screenText('postgres://app:s3cretPw9@db.internal:5432/x', policy)
    expect(text).toBe('postgres://app:[REDACTED:connection_string]@db.internal:5432/x')
  })
})

describe('keys', () => {
  it('redacts keys, keeps them unique, and keeps the secret out of every path', () => {
    const value = { [TOKEN]: { mail: 'jane@example.com' }, [`${TOKEN}A`]: 2, '[REDACTED:github_token]': 3 }
    const { output, findings } = screen(value, policy)
    expect(Object.keys(output as object)).toHaveLength(3)
    expect(JSON.stringify({ output, findings })).not.toContain(TOKEN)
    expect(findings).toContainEqual({ detector: 'github_token', class: 'secret', path: '/~key', count: 2 })
  })

  it('keeps __proto__ a key like any other', () => {
    const value = JSON.parse(`{"__proto__": {"a": "${TOKEN}"}, "constructor": 1}`) as Json
    const { output } = screen(value, policy)
    expect(JSON.stringify(output)).toBe('{"__proto__":{"a":"[REDACTED:github_token]"},"constructor":1}')
    expect(Object.getPrototypeOf(output)).toBe(Object.prototype)
    expect(({} as Record<string, unknown>).a).toBeUndefined()
  })

  it('takes a key at its word, but not masks, references, labels of forms and page tokens', () => {
    const secret = screen(
      { password: 'letmein', db: { password: 12345678 }, ssn: '123456789', api_key: 'k3y9Zq2Lm8x' },
      policy,
    )
    expect(secret.output).toEqual({
      password: placeholderOf('assigned_secret'),
      db: { password: placeholderOf('assigned_secret') },
      ssn: placeholderOf('us_ssn'),
      api_key: placeholderOf('assigned_secret'),
    })
    const plain = {
      password: '********',
      token: '$' + '{TOKEN}',
      labels: { password: 'Mot de passe', secret: 'Secret' },
      next_page_token: 'CAUQAA9182736455',
      token_count: 12,
      password_required: 'true',
    }
    expect(screen(plain, policy).findings).toEqual([])
  })
})

const placeholderOf = (name: string) => placeholder(DETECTORS.findIndex((d) => d.name === name))

describe('validators refuse what only looks like it', () => {
  it.each([
    ['a card with a wrong check digit', 'card 4111 1111 1111 1112'],
    ['a valid Luhn number of no network', 'ref 1234567812345670'],
    ['a card inside a longer number', 'id 941111111111111110000'],
    ['an IBAN with wrong check digits', 'IBAN DE88370400440532013000'],
    ['an IBAN of a wrong length', 'IBAN DE8937040044053201300'],
    ['a social security number never issued', '000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000'],
    ['a phone with an impossible area', 'call 115-555-2671 or 415-155-2671 or 411-555-2671'],
    ['columns of numbers', '200 512 1024\n312 555 2671'],
    ['dates, times, versions, addresses', '2025-06-11 10:20:30 v1.2.3 192.168.1.1 +0200 555-2671'],
    ['a JWT without an algorithm', `eyJ${'hYmMiOjF9'}.eyJhIjoxfQ.abcdefgh`],
    ['a public key', '-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----'],
    ['a private key that is only spoken of', 'a file with -----BEGIN RSA PRIVATE KEY----- in it is refused'],
    ['file names and mailboxes of nobody', 'logo@2x.png git@github.com:a/b.git getty@tty1.service a@1.2.3'],
    ['references', 'password=$PASSWORD token: process.env.API_TOKEN secret=<your secret> api_key = getKey("prod")'],
    ['placeholders', 'password: changeme token=your-token-goes-here-please secret: xxxxxxxxxxxxxxxxxxxx'],
    [
      'URLs with a variable as password',
      `postgres://app:$${'{DB_PASSWORD}'}@db/app https://user:[REDACTED:url_credentials]@host`,
    ],
    ['a Stripe-like CSS class', 'class="sk-circle-fade-dot sk-chase-dot-12"'],
    ['a stored procedure', 'exec sp_addextendedproperty_with_a_long_name'],
  ])('%s', (_what, text) => {
    expect(screen(text, policy).findings).toEqual([])
  })
})

describe('hostile values', () => {
  it('holds back what is nested too deep, without a stack overflow', () => {
    let deep: Json = TOKEN
    for (let i = 0; i < 20_000; i++) deep = i % 2 === 0 ? [deep] : { a: deep }
    const screened = screen(deep, policy)
    expect(screened).toMatchObject({ verdict: 'QUARANTINE', output: null })
    expect(screened.fault).toMatch(/nested deeper/)
  })

  it('bounds the findings of a value that is all findings', () => {
    const value = Array.from({ length: 5000 }, (_, i) => `user${i}@example.com`)
    const { findings } = screen(value, policy)
    expect(findings.length).toBeLessThanOrEqual(1001)
    expect(findings.reduce((n, f) => n + f.count, 0)).toBe(5000)
  })

  it('holds everything back when the policy itself fails, or says no such action', () => {
    const broken: OutputPolicy = {
      action: () => {
        throw new TypeError(TOKEN)
      },
    }
    const screened = screenOrQuarantine({ a: TOKEN }, broken)
    expect(screened).toEqual({ verdict: 'QUARANTINE', output: null, findings: [], fault: 'TypeError' })
    expect(screenText(TOKEN, broken).text).toBe('')
    expect(screen(TOKEN, { action: () => 'MAYBE' as Verdict }).verdict).toBe('QUARANTINE')
  })

  it('never throws and never changes its input', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), fc.string({ unit: 'binary', maxLength: 200 }), (value, noise) => {
        const before = JSON.stringify([value, noise])
        expect(() => screen([value, noise] as Json, policy)).not.toThrow()
        expect(JSON.stringify([value, noise])).toBe(before)
      }),
      { numRuns: 300 },
    )
  })
})

/** Pieces that matter to the scanner, cut and glued at random: what two redactions leave between them, split tokens, escapes. */
const fragment = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...corpus) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom(...corpus), fc.nat(40), fc.nat(40))
      .map(([s, a, b]) => s.slice(a, s.length - b)),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      'password=',
      'token: "',
      '://',
      '@',
      'Bearer ',
      '[REDACTED:',
      ']',
      '\\u00',
      '%',
      '\u200b',
      'sk-',
      'eyJ',
      '+',
      '-----',
      'AKIA',
      ' ',
      '\n',
      '"',
      '4111 ',
      '&quot;',
    ),
  },
  { weight: 1, arbitrary: fc.string({ maxLength: 12 }) },
  { weight: 1, arbitrary: fc.constantFrom(...corpus).map((s) => Buffer.from(s).toString('base64')) },
)
const text = fc.array(fragment, { maxLength: 6 }).map((parts) => parts.join(''))
const key = fc.oneof(text, fc.constantFrom('password', 'token', 'name', 'value', 'ssn', 'phone', 'note', '__proto__'))
const value: fc.Arbitrary<Json> = fc.letrec<{ node: Json }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    text,
    fc.integer(),
    fc.constantFrom(4_111_111_111_111_111, null, true),
    fc.array(tie('node'), { maxLength: 4 }),
    fc.array(text, { maxLength: 4 }),
    fc.array(fc.tuple(key, tie('node')), { maxLength: 4 }).map((pairs) => JSON.parse(toJson(pairs)) as Json),
  ),
})).node

/** Not Object.fromEntries: `__proto__` has to be an own key, as a parser makes it. */
const toJson = (pairs: [string, Json][]) =>
  `{${pairs.map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`).join(',')}}`

describe('redaction is complete', () => {
  it('finds nothing in what it redacted', () => {
    fc.assert(
      fc.property(value, (v) => {
        const first = screen(v, redactAll)
        if (first.verdict === 'QUARANTINE') return // it did not settle, and says so
        const second = screen(first.output, redactAll)
        expect(second.findings).toEqual([])
        expect(second.output).toBe(first.output)
      }),
      { numRuns: 3000 },
    )
  })

  it('settles for nearly everything', () => {
    let held = 0
    const runs = 1000
    fc.assert(
      fc.property(value, (v) => {
        if (screen(v, redactAll).fault !== undefined) held++
      }),
      { numRuns: runs },
    )
    expect(held / runs).toBeLessThan(0.01)
  })

  it('has placeholders in which nothing is found, alone or in a row', () => {
    const all = DETECTORS.map((_, rank) => placeholder(rank))
    for (const p of all) {
      expect(screen(p, redactAll).verdict).toBe('ALLOW')
      expect(screen({ password: p, [p]: p, token: p + p }, redactAll).verdict).toBe('ALLOW')
    }
    expect(screen(all.join(''), redactAll).verdict).toBe('ALLOW')
    expect(screen(all, redactAll).verdict).toBe('ALLOW')
  })
})

describe('split secrets', () => {
  it('redacts both sides of a seam and leaves innocent neighbours alone', () => {
    const cut = [TOKEN.slice(0, 12), TOKEN.slice(12)]
    expect(screen(['first', ...cut, '; last words'], policy).output).toEqual([
      'first',
      placeholderOf('github_token'),
      placeholderOf('github_token'),
      '; last words',
    ])
    expect(screen([TOKEN, 'word', OTHER_TOKEN], policy).output).toEqual([
      placeholderOf('github_token'),
      'word',
      placeholderOf('gitlab_token'),
    ])
  })

  it('does not join numbers and names that only stand side by side', () => {
    expect(screen(['order-no:41111111', '11111111'], policy).findings).toEqual([])
    expect(screen(['a-package-of', '@scope.example/name'], policy).findings).toEqual([])
  })
})

const claim: Claim = {
  tenant: 'default',
  agent: 'agent:a',
  agent_version: null,
  team: 'payments',
  topic: 'job.repo.read',
  labels: { env: 'prod' },
  risk_tags: ['money'],
  environment: null,
  action_type: null,
  capability: null,
  action: null,
  workflow: null,
  input: null,
  context: null,
  timeout_ms: null,
  max_attempts: null,
  not_before: null,
}

describe('output rules', () => {
  const rule = (id: string, match: OutputRule['match'], on: OutputRule['on']): OutputRule => ({ id, match, on })
  const act = (rules: OutputRule[], detector: string, cls: 'secret' | 'private_key' | 'pii') =>
    outputPolicyFor(rules, claim).action(detector, cls)

  it('falls back to the default where no rule speaks', () => {
    expect(act([], 'email', 'pii')).toBe('REDACT')
    expect(act([rule('r', { topic: ['job.deploy.*'] }, { pii: 'ALLOW' })], 'email', 'pii')).toBe('REDACT')
    expect(act([rule('r', {}, { secret: 'QUARANTINE' })], 'email', 'pii')).toBe('REDACT')
  })

  it('lets a detector speak before its class, and the severest rule win', () => {
    const mild = rule('mild', { topic: ['job.>'] }, { pii: 'QUARANTINE', email: 'ALLOW' })
    expect(act([mild], 'email', 'pii')).toBe('ALLOW')
    expect(act([mild], 'phone', 'pii')).toBe('QUARANTINE')
    expect(act([mild, rule('strict', { labels: { env: ['prod'] } }, { email: 'REDACT' })], 'email', 'pii')).toBe(
      'REDACT',
    )
    expect(act([rule('a', {}, { private_key: 'REDACT' })], 'private_key', 'private_key')).toBe('REDACT')
  })

  it('asks every part of the match', () => {
    const on = { pii: 'ALLOW' } as const
    expect(act([rule('r', { labels: { env: ['dev'] } }, on)], 'email', 'pii')).toBe('REDACT')
    expect(act([rule('r', { labels: { toString: ['*'] } }, on)], 'email', 'pii')).toBe('REDACT')
    expect(act([rule('r', { team: ['pay*'], risk_tags: { any: ['money', 'x'] } }, on)], 'email', 'pii')).toBe('ALLOW')
    expect(act([rule('r', { risk_tags: { all: ['money', 'x'] } }, on)], 'email', 'pii')).toBe('REDACT')
    expect(act([rule('r', { environment: ['prod'] }, on)], 'email', 'pii')).toBe('REDACT')
  })
})
