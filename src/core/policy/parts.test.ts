import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { commandClass } from './command.js'
import { enforcers, readConstraint } from './constraints.js'
import { parseDuration, parseRate } from './duration.js'
import { activation, compileExpression } from './expression.js'
import { fixtureClaim } from './fixtures.js'
import { intersectHosts, normalHostPattern, reduceHosts, urlAllowed } from './hosts.js'
import { valueGlob } from './match.js'
import { compileSchema, SchemaError } from './schema.js'
import { isTopic, isTopicPattern, patternCovers, patternsOverlap, TopicTrie, topicMatches } from './topics.js'

describe('duration', () => {
  test.each([
    ['4h', 14_400_000],
    ['15m', 900_000],
    ['1h30m', 5_400_000],
    ['250ms', 250],
    ['2d', 172_800_000],
  ])('%s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })
  test.each(['', '4', 'h', '0s', '-1h', '1.5h', '4 h', '400d', '4H', '1h ', `${'9'.repeat(40)}s`])('no: %j', (text) => {
    expect(parseDuration(text)).toBeNull()
  })
  test('rates', () => {
    expect(parseRate('5/hour')).toEqual({ count: 5, period_ms: 3_600_000 })
    expect(parseRate('20/10m')).toEqual({ count: 20, period_ms: 600_000 })
    for (const text of ['0/hour', '5', '5/', '/hour', '5/fortnight', '5/constructor', '-1/hour'])
      expect(parseRate(text)).toBeNull()
  })
})

describe('topics', () => {
  test.each(['a', 'job.exec.shell', 'a-b_c.9'])('topic %s', (text) => expect(isTopic(text)).toBe(true))
  test.each([
    '',
    '.',
    'a.',
    '.a',
    'a..b',
    'A',
    'a b',
    'a.*',
    '>',
    'a\n',
    'jоb',
    'a'.repeat(256),
    `${'a.'.repeat(16)}a`,
  ])('no topic %j', (text) => expect(isTopic(text)).toBe(false))
  test.each(['>', '*', 'a.*', 'a.>', '*.b.>'])('pattern %s', (text) => expect(isTopicPattern(text)).toBe(true))
  test.each(['a.>.b', 'a*', '>.a', '', 'a.**', 'A.*'])('no pattern %j', (text) =>
    expect(isTopicPattern(text)).toBe(false),
  )

  const part = fc.constantFrom('a', 'b')
  const topic = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('.'))
  const pattern = fc
    .tuple(fc.array(fc.oneof(part, fc.constant('*')), { maxLength: 3 }), fc.boolean())
    .map(([parts, open]) => [...parts, ...(open || parts.length === 0 ? ['>'] : [])].join('.'))
  const everyTopic = [1, 2, 3, 4].flatMap((n) =>
    Array.from({ length: 2 ** n }, (_, bits) =>
      Array.from({ length: n }, (_, i) => ((bits >> i) & 1 ? 'a' : 'b')).join('.'),
    ),
  )
  test('the trie finds what asking every pattern finds', () => {
    fc.assert(
      fc.property(fc.array(pattern, { maxLength: 20 }), topic, (patterns, name) => {
        const trie = new TopicTrie()
        patterns.forEach((each, i) => {
          trie.add(each, i)
        })
        expect(trie.match(name)).toEqual(patterns.flatMap((each, i) => (topicMatches(each, name) ? [i] : [])))
      }),
    )
  })
  test('covering and overlapping are what they are over all short topics', () => {
    fc.assert(
      fc.property(pattern, pattern, (a, b) => {
        const [inA, inB] = [a, b].map((each) => everyTopic.filter((name) => topicMatches(each, name)))
        expect(patternsOverlap(a, b)).toBe(inA!.some((name) => inB!.includes(name)))
        if (patternCovers(a, b)) expect(inA).toEqual(expect.arrayContaining(inB!))
      }),
      { numRuns: 1000 },
    )
    expect(patternCovers('job.>', 'job.*.x')).toBe(true)
    expect(patternCovers('job.*', 'job.>')).toBe(false)
  })
})

test('value globs', () => {
  const fits = (pattern: string, text: string) => valueGlob(pattern)(text)
  expect(fits('dev-*', 'dev-')).toBe(true)
  expect(fits('a*a', 'a')).toBe(false)
  expect(fits('*b*', 'abc')).toBe(true)
  expect(fits('a*b*c', 'acb')).toBe(false)
  expect(fits('a*bc*c', 'abc')).toBe(false)
  expect(fits('*', '')).toBe(true)
  const hostile = `${'a'.repeat(100_000)}b`
  expect(fits('*a*a*a*a*a*a*a*a*c', hostile)).toBe(false)
})

describe('hosts', () => {
  test.each([
    ['API.Example.com', 'api.example.com'],
    ['api.example.com.', 'api.example.com'],
    ['*.Example.com', '*.example.com'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['localhost:8080', 'localhost:8080'],
    ['[::1]:80', '[::1]:80'],
    ['0x7f.1', '127.0.0.1'],
  ])('%s is %s', (text, normal) => expect(normalHostPattern(text)).toBe(normal))
  test.each([
    '',
    '*',
    '*.',
    '*.com',
    'a b',
    'http://a.example',
    'a.example/x',
    'a@b.example',
    '*.1.2.3.4',
    'a.*.example',
    'a:99999',
    '::1',
    '%41.example',
  ])('no host %j', (text) => expect(normalHostPattern(text)).toBeNull())
  test('a wildcard is for names below, not for the name', () => {
    expect(urlAllowed('https://a.example.com', ['*.example.com'])).toBe(true)
    expect(urlAllowed('https://a.b.example.com', ['*.example.com'])).toBe(true)
    expect(urlAllowed('https://example.com', ['*.example.com'])).toBe(false)
    expect(urlAllowed('https://notexample.com', ['*.example.com'])).toBe(false)
  })
  test('user information is refused even where the host is right', () => {
    expect(urlAllowed('https://user:pass@h.example', ['h.example'])).toBe(false)
    expect(urlAllowed('https://:pass@h.example', ['h.example'])).toBe(false)
  })
  test('ports bind where they are written', () => {
    expect(urlAllowed('https://h.example', ['h.example:443'])).toBe(true)
    expect(urlAllowed('http://h.example', ['h.example:443'])).toBe(false)
    expect(urlAllowed('http://h.example:81', ['h.example'])).toBe(true)
  })
  test('intersection keeps the narrower', () => {
    expect(intersectHosts(['*.a.example', 'b.example'], ['x.a.example:443', '*.example.org', 'b.example'])).toEqual([
      'b.example',
      'x.a.example:443',
    ])
    expect(reduceHosts(['*.a.example', 'x.a.example', 'a.example'])).toEqual(['*.a.example', 'a.example'])
  })
})

describe('constraints', () => {
  test('who must enforce', () => {
    expect(enforcers({ timeout_ms: 1, max_replicas: 1 })).toEqual([])
    expect(enforcers({ allowed_hosts: [], max_tokens: 1, timeout_ms: 1 })).toEqual(['allowed_hosts', 'max_tokens'])
  })
  test.each([
    ['timeout_ms', 0],
    ['timeout_ms', 1.5],
    ['timeout_ms', '5'],
    ['max_replicas', -1],
    ['max_amount', Number.POSITIVE_INFINITY],
    ['allowed_namespaces', [1]],
    ['allowed_namespaces', ['']],
    ['allowed_hosts', ['*']],
  ] as const)('refuses %s: %j', (name, value) => {
    expect(readConstraint(name, value as never)).toHaveProperty('fault')
  })
})

describe('expressions', () => {
  const NOW = Date.UTC(2026, 2, 2, 14, 30)
  const run = (text: string, input: unknown = null, labels = {}) => {
    const claim = { ...fixtureClaim({ topic: 'job.x' }), input: input as never, labels, risk_tags: ['a', 'b'] }
    return compileExpression(text).run(activation(claim, claim, NOW))
  }
  test.each([
    ['input.amount > 50', { amount: 60 }, true],
    ['input.amount > 50.0', { amount: 60 }, true],
    ['input.amount > 50', { amount: 60.5 }, true],
    ['input.amount >= 50.5', { amount: 50 }, false],
    ['input.amount == 60', { amount: 60 }, true],
    ['input.amount != 60', { amount: 60.5 }, true],
    ['input.amount * 2 + 1 == 121', { amount: 60 }, true],
    ['input.amount % 2 == 0', { amount: 60 }, true],
    ['input.a % input.b == 1', { a: 7, b: 3 }, true],
    ['100 - input.amount < 50', { amount: 60 }, true],
    ['input.amount in [50, 60]', { amount: 60 }, true],
    ['7 / 2 == 3', {}, true],
    ['input.list.exists(x, x.n > 1)', { list: [{ n: 1 }, { n: 2 }] }, true],
    ['input.list.all(x, x.matches("^[a-z]+$"))', { list: ['a', 'B'] }, false],
    ['matches(input.s, "b+")', { s: 'abb' }, true],
    [
      'size(input.s) == 3 && input.s.contains("b") && input.s.startsWith("a") && input.s.endsWith("b")',
      { s: 'abb' },
      true,
    ],
    ['input.s.split(",")[1] == "y"', { s: 'x,y' }, true],
    ['input.s.lowerAscii() == "ab" && input.s.upperAscii() == "AB"', { s: 'aB' }, true],
    ['input.s.trim() == "x"', { s: ' x ' }, true],
    ['has(input.x) || environment == null', {}, true],
    ['environment == "production"', {}, false],
    ['risk_tags.exists(t, t == "b") && "a" in risk_tags', {}, true],
    ['now.getHours() == 14 && now.getHours("Europe/Berlin") == 15', {}, true],
    ['now - duration("1h") < now', {}, true],
    ['now > timestamp("2026-01-01T00:00:00Z")', {}, true],
    ['has(input.x)', null, false],
    ['"x" in input || size(input) > 0', null, false],
    ['command_class(input.c) == "safe"', { c: 'ls' }, true],
  ])('%s', (text, input, expected) => {
    expect(run(text, input)).toBe(expected)
  })
  test.each([
    ['input.x > 1', {}],
    ['input.x > 1', null],
    ['labels.env == "x"', {}],
    ['input.s > 1', { s: 'a' }],
    ['input.constructor', {}],
    ['input.toString', {}],
    ['input.list[3] == 1', { list: [1] }],
    ['input.s.matches(input.p)', { s: 'a', p: '(' }],
    ['input.s.matches(input.p)', { s: 'a', p: 'a'.repeat(2000) }],
    ['now + duration(input.s) > now', { s: '1'.repeat(100_000) }],
  ])('%s fails on %j', (text, input) => {
    expect(() => run(text, input)).toThrow()
  })
  test('matches is linear where a RegExp would take years', () => {
    expect(run('input.s.matches("^(a+)+$")', { s: `${'a'.repeat(20_000)}!` })).toBe(false)
  })
  test('lowerAscii leaves letters outside ASCII alone', () => {
    expect(run('input.s.lowerAscii()', { s: '\u212a\u0130A' })).toBe('\u212a\u0130a')
  })
  test('what it may read without has()', () => {
    expect(compileExpression('input.a.b > 1 && has(input.c) && input.c == labels["env"]').unguarded).toEqual([
      'input.a.b',
      'labels.env',
    ])
  })
})

describe('commands', () => {
  test.each([
    'ls',
    'ls -la /tmp',
    "grep -n 'a b;c' file",
    'cat a | grep b | wc -l',
    'git log -5 --format=%H',
    'find . -name "*.ts" -type f',
    'date -u +%F',
    'sort -r x',
  ])('safe: %s', (command) => expect(commandClass(command)).toBe('safe'))
  test.each([
    'rm -rf /',
    'RM x',
    "r'm' x",
    'git push --force',
    'git push -f origin main',
    'psql -c "DROP  TABLE x"',
    'curl x | sh',
    'dd if=a',
    'mkfs.ext4 /dev/x',
    'sh -c ls',
    'find . -delete',
    'kubectl delete ns x',
  ])('destructive: %s', (command) => expect(commandClass(command)).toBe('destructive'))
  test.each([
    'make',
    'npm test',
    '/bin/ls',
    'ls &',
    'ls *',
    'ls ~',
    'LS',
    'ls\t-l',
    'git',
    'git push',
    'git log --outp=x',
    'date -s 1',
    'hostname x',
    'find . -fprint x',
    'sort -ox y',
    'sort -ro x y',
    'git grep -nOless x',
    "ls 'a",
    'echo "$HOME"',
    'awk 1 x',
    'sed -i x y',
  ])('not safe: %s', (command) => expect(commandClass(command)).not.toBe('safe'))
  test('linear on hostile lines', () => {
    for (const command of ['git '.repeat(1000), 'drop '.repeat(800), '| '.repeat(2000), 'git push '.repeat(450)]) {
      expect(commandClass(command)).not.toBe('safe')
    }
  })
})

describe('schema', () => {
  const faults = (schema: object, value: unknown) => compileSchema(schema as never)(value as never)
  test.each([
    [{ type: 'integer' }, 1.5, ['']],
    [{ type: ['string', 'null'] }, 1, ['']],
    [{ required: ['a'] }, {}, ['/a']],
    [{ required: ['toString'] }, {}, ['/toString']],
    [{ properties: { a: { minimum: 1 } }, additionalProperties: false }, { a: 0, b: 1 }, ['/a', '/b']],
    [{ items: { maxLength: 1 } }, ['a', 'bb'], ['/1']],
    [{ enum: [1, 'a', { x: 1 }] }, { x: 2 }, ['']],
    [{ const: [1] }, [1], []],
    [{ pattern: '^a+$' }, 'ab', ['']],
    [{ anyOf: [{ type: 'string' }, { minimum: 5 }] }, 4, ['']],
    [{ additionalProperties: { type: 'string' } }, { a: 1 }, ['/a']],
    [
      { type: 'object', properties: { a: { type: 'object', properties: { 'b/c': { type: 'null' } } } } },
      { a: { 'b/c': 1 } },
      ['/a/b~1c'],
    ],
    [{ maxItems: 1, minItems: 1 }, [], ['']],
    [{ minLength: 2 }, '\u{1f600}', ['']],
  ])('%j', (schema, value, paths) => {
    expect(faults(schema, value).map(({ path }) => path)).toEqual(paths)
  })
  test.each([{ type: 'text' }, { $ref: '#' }, { pattern: '(a' }, { minimum: '1' }, { required: 'a' }, { items: 1 }])(
    'refuses %j',
    (schema) => {
      expect(() => compileSchema(schema as never)).toThrow(SchemaError)
    },
  )
  test('a wide hostile value gives a bounded answer', () => {
    const value = Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`k${i}`, i]))
    expect(faults({ additionalProperties: false }, value).length).toBeLessThanOrEqual(50)
  })
})
