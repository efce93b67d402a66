import { connect } from 'node:net'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { API, answerIn, call, expectProblem, expectStanding, http, raw, startTarget, type Target } from './attacker.js'

/** Bodies, lines and paths that no polite client sends. Each is answered clearly, and the server is as good as before. */
let plane: Target
const agent = () => plane.keys.agent
const post = (body: string | Uint8Array, headers: Record<string, string> = {}) =>
  call(plane, agent(), 'POST', `${API}/jobs`, body, headers)
const job = (input: string) => `{"topic":"job.repo.read","input":${input}}`

beforeAll(async () => {
  plane = await startTarget()
})
afterAll(() => plane?.stop())

describe('bodies that are not JSON as two parties would read alike', () => {
  const bytes = (...parts: (string | number[])[]) => Buffer.concat(parts.map((part) => Buffer.from(part as string)))
  const cases: [string, string | Uint8Array][] = [
    ['cut short', '{"topic":"job.repo.read"'],
    ['a trailing comma', '{"topic":"job.repo.read",}'],
    ['two values', '{"topic":"job.repo.read"}{}'],
    ['something after it', '{"topic":"job.repo.read"} x'],
    ['single quotes', "{'topic':'job.repo.read'}"],
    ['a comment', '{"topic":"job.repo.read"/* yes */}'],
    ['NaN', job('NaN')],
    ['Infinity', job('-Infinity')],
    ['a number past every double', job('1e999')],
    ['the same with a sign and a fraction', job('[-1.5E+400]')],
    ['hexadecimal', job('0x10')],
    ['a leading zero', job('01')],
    ['a byte order mark', bytes([0xef, 0xbb, 0xbf], '{"topic":"job.repo.read"}')],
    ['UTF-16', Buffer.from('{"topic":"job.repo.read"}', 'utf16le')],
    ['a byte that is no UTF-8', bytes('{"topic":"job.repo.read","input":"', [0xff], '"}')],
    ['an overlong slash', bytes('{"topic":"job.repo.read","input":"', [0xc0, 0xaf], '"}')],
    ['a surrogate in raw bytes', bytes('{"topic":"job.repo.read","input":"', [0xed, 0xa0, 0x80], '"}')],
    ['an escaped lone high surrogate', job('"\\ud83d"')],
    ['an escaped lone low surrogate', job('"\\ude00"')],
    ['surrogates the wrong way round', job('"\\ude00\\ud83d"')],
    ['a lone surrogate in a key', job('{"\\ud83d":1}')],
    ['an escaped NUL', job('"a\\u0000b"')],
    ['a raw NUL in a string', bytes('{"topic":"job.repo.read","input":"a', [0], 'b"}')],
    ['a raw NUL between tokens', bytes('{"topic":', [0], '"job.repo.read"}')],
    ['a raw line break in a string', job('"a\nb"')],
    ['__proto__', job('{"__proto__":{"admin":true}}')],
    ['__proto__ with escapes', job('{"\\u005f_proto__":{"admin":true}}')],
    ['__proto__ at the top', '{"topic":"job.repo.read","__proto__":{"labels":{}}}'],
    ['a key twice', '{"topic":"job.repo.read","topic":"job.exec.shell"}'],
    ['a key twice, once escaped', '{"topic":"job.repo.read","\\u0074opic":"job.exec.shell"}'],
    ['a key twice, deep', job('[{"a":{"command":"ls","b":1,"command":"rm -rf /"}}]')],
    ['65 levels', job('['.repeat(64) + ']'.repeat(64))],
    ['20,000 levels of lists', '['.repeat(20_000)],
    ['20,000 levels, closed', job('['.repeat(20_000) + ']'.repeat(20_000))],
    ['20,000 levels of objects', `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`],
    ['a million brackets', '['.repeat(1_000_000)],
    ['only blanks', '   \n\t'],
    ['closers without openers', ']}]}'],
  ]
  test.each(cases)('%s', async (_, body) => {
    expectProblem(await post(body), 'malformed')
  })

  test('an empty body is named as such', async () => {
    expectProblem(await call(plane, agent(), 'POST', `${API}/jobs`), 'invalid')
    expectProblem(await post(''), 'invalid')
  })

  test('random damage to a good body never gets an answer of 500', { timeout: 60_000 }, async () => {
    const good = Buffer.from(
      '{"topic":"job.repo.read","labels":{"env":"dev"},"input":{"a":[1,2.5e3,true,null,"x\\u00e9"]},"priority":3}',
    )
    const damage = fc.array(fc.record({ at: fc.nat(good.length - 1), byte: fc.nat(255) }), {
      minLength: 1,
      maxLength: 6,
    })
    await fc.assert(
      fc.asyncProperty(damage, async (edits) => {
        const bytes = Buffer.from(good)
        for (const { at, byte } of edits) bytes[at] = byte
        const answer = await post(bytes)
        if (answer.status !== 202) expectProblem(answer, 'malformed', 'invalid', 'policy_denied', 'rate_limited')
      }),
      { numRuns: 150, verbose: 1 },
    )
  })
})

describe('values of the wrong kind', () => {
  const cases: [string, unknown][] = [
    ['a list', []],
    ['a string', '"job.repo.read"'],
    ['null', null],
    ['no topic', {}],
    ['a topic that is a number', { topic: 5 }],
    ['a topic that is a list', { topic: ['job.repo.read'] }],
    ['an unknown field', { topic: 'job.repo.read', role: 'admin' }],
    ['a field of the server', { topic: 'job.repo.read', status: 'queued', decision: 'ALLOW' }],
    ['a tenant of its own choice', { topic: 'job.repo.read', tenant: 'other' }],
    ['constructor', { topic: 'job.repo.read', constructor: { prototype: {} } }],
    ['labels that are a list', { topic: 'job.repo.read', labels: ['env'] }],
    ['a label that is a number', { topic: 'job.repo.read', labels: { env: 1 } }],
    ['a label with a look-alike letter', { topic: 'job.repo.read', labels: { env: 'pr\u043ed' } }],
    ['a label name with a look-alike letter', { topic: 'job.repo.read', labels: { '\u0435nv': 'dev' } }],
    [
      '65 labels',
      { topic: 'job.repo.read', labels: Object.fromEntries(Array.from({ length: 65 }, (_, n) => [`l${n}`, 'x'])) },
    ],
    ['a label of 257 characters', { topic: 'job.repo.read', labels: { a: 'x'.repeat(257) } }],
    ['a tag twice', { topic: 'job.repo.read', risk_tags: ['a', 'a'] }],
    ['priority 10', { topic: 'job.repo.read', priority: 10 }],
    ['priority -1', { topic: 'job.repo.read', priority: -1 }],
    ['priority 1.5', { topic: 'job.repo.read', priority: 1.5 }],
    ['priority past every safe integer', { topic: 'job.repo.read', priority: 2 ** 53 + 2 }],
    ['timeout 0', { topic: 'job.repo.read', timeout_ms: 0 }],
    ['timeout of 25 hours', { topic: 'job.repo.read', timeout_ms: 90_000_001 }],
    ['a thousand attempts', { topic: 'job.repo.read', max_attempts: 1000 }],
    ['a start before the epoch', { topic: 'job.repo.read', not_before: -1 }],
    ['a start past the end of time', { topic: 'job.repo.read', not_before: 2 ** 53 }],
    ['a start in text', { topic: 'job.repo.read', not_before: 'tomorrow' }],
    ['a run id with a slash', { topic: 'job.repo.read', run_id: '../x' }],
    ['an agent of blanks', { topic: 'job.repo.read', agent: ' ' }],
  ]
  test.each(cases)('%s', async (_, body) => {
    expectProblem(await call(plane, agent(), 'POST', `${API}/jobs`, body), 'invalid')
  })

  const topics = [
    '',
    '.',
    'job..read',
    '.job',
    'job.',
    'Job.repo.read',
    'job.repo.READ',
    'job repo',
    'job.repo.read ',
    '>',
    '*',
    'job.*',
    'job.repo.>',
    'job/repo/read',
    'job.repo.re\u0430d',
    'job.repo.read\u200b',
    'job.\uff52epo.read',
    '$SYS.x',
    '_',
    'a'.repeat(201),
    'a.'.repeat(100),
    'job.repo.read\n',
  ]
  test.each(topics.map((topic) => [topic]))('topic %j is no subject', async (topic) => {
    const answer = await call(plane, agent(), 'POST', `${API}/jobs`, { topic })
    if (topic === '_') expectProblem(answer, 'policy_denied')
    else expectProblem(answer, 'invalid')
  })

  test('a topic of a hundred segments is denied, not matched', async () => {
    expectProblem(
      await call(plane, agent(), 'POST', `${API}/jobs`, { topic: `job.${'a.'.repeat(90)}a` }),
      'policy_denied',
    )
  })

  test('keys named like members of Object are data', async () => {
    const input = JSON.parse(
      '{"constructor":{"prototype":{"x":1}},"toString":"y","hasOwnProperty":1,"valueOf":null,"prototype":[]}',
    )
    const sent = await call(plane, agent(), 'POST', `${API}/jobs`, {
      topic: 'job.repo.read',
      input,
      labels: { constructor: 'x', toString: 'y' },
    })
    expect(sent.status, sent.text).toBe(202)
    const { input_ptr } = (await call(plane, agent(), 'GET', `${API}/jobs/${sent.body.job_id}`)).body
    expect((await call(plane, agent(), 'GET', `${API}/pointers/${input_ptr}`)).body.value).toEqual(input)
    expect(({} as { x?: number }).x).toBeUndefined()
  })

  test.each([
    ['-0', 0],
    ['9007199254740993', 9007199254740992],
    ['1e-400', 0],
    ['1.7976931348623157e308', 1.7976931348623157e308],
  ])('the number %s is what every JSON reader makes of it', async (text, value) => {
    const sent = await post(job(`{"n":${text}}`))
    expect(sent.status).toBe(202)
    const { input_ptr } = (await call(plane, agent(), 'GET', `${API}/jobs/${sent.body.job_id}`)).body
    expect((await call(plane, agent(), 'GET', `${API}/pointers/${input_ptr}`)).body.value).toEqual({ n: value })
  })

  test('64 levels are taken and come back', async () => {
    const input = `${'['.repeat(63)}${']'.repeat(63)}`
    const sent = await post(job(input))
    expect(sent.status, sent.text).toBe(202)
    const { input_ptr } = (await call(plane, agent(), 'GET', `${API}/jobs/${sent.body.job_id}`)).body
    expect((await call(plane, agent(), 'GET', `${API}/pointers/${input_ptr}`)).text).toContain(input)
  })

  test('a thousand faults are answered with few words', async () => {
    const body = {
      topic: 'job.repo.read',
      ...Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`x${n}`.padEnd(200, 'y'), 1])),
    }
    const answer = await call(plane, agent(), 'POST', `${API}/jobs`, body)
    expectProblem(answer, 'invalid')
    expect(answer.text.length).toBeLessThan(20_000)
  })
})

describe('size', () => {
  test.each([
    ['3 MiB', 3 * 1024 * 1024],
    ['one byte too many', 2 * 1024 * 1024 + 1],
  ])('%s', async (_, size) => {
    expectProblem(await post(job(JSON.stringify('x'.repeat(size - job('""').length)))), 'too_large')
  })

  test('3 MiB in chunks that never say how many they will be', async () => {
    const chunk = `10000\r\n${'x'.repeat(65_536)}\r\n`
    const bytes = `POST ${API}/jobs HTTP/1.1\r\nHost: p\r\nX-API-Key: ${agent()}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n`
    expectProblem(answerIn(await raw(plane, `${bytes + chunk.repeat(48)}0\r\n\r\n`)), 'too_large')
  })

  test('a length of a terabyte is refused before a byte of it comes', async () => {
    expectProblem(
      answerIn(await raw(plane, http('POST', `${API}/jobs`, agent(), '', ['Content-Length: 1099511627776']))),
      'too_large',
    )
  })

  test('2 MiB exactly is read', async () => {
    const body = job(JSON.stringify('x'.repeat(2 * 1024 * 1024 - job('""').length)))
    expect((await post(body)).status).toBe(202)
  })

  test('a batch of 1,001, of none, and of things that are no jobs', async () => {
    const batch = (jobs: unknown) => call(plane, agent(), 'POST', `${API}/jobs/batch`, { jobs })
    expectProblem(await batch(Array.from({ length: 1001 }, () => ({ topic: 'job.repo.read' }))), 'invalid')
    expectProblem(await batch([]), 'invalid')
    expectProblem(await batch([{ topic: 'job.repo.read' }, null]), 'invalid')
    expectProblem(await batch({ length: 1 }), 'invalid')
  })
})

describe('headers and framing', () => {
  test.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/xml',
    'multipart/form-data; boundary=x',
    'application/json5',
    'application/jsonp',
    'garbage',
    '*/*',
  ])('content type %s', async (type) => {
    expectProblem(await post('{"topic":"job.repo.read"}', { 'content-type': type }), 'unsupported_media_type')
  })

  test('no content type', async () => {
    const bytes = http('POST', `${API}/jobs`, agent(), '{"topic":"job.repo.read"}', ['X-Nothing: 1'])
      .toString('latin1')
      .replace('Content-Type: application/json\r\n', '')
    expectProblem(answerIn(await raw(plane, bytes)), 'unsupported_media_type')
  })

  test('compressed, whatever the header says', async () => {
    expectProblem(await post(Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0]), { 'content-encoding': 'gzip' }), 'malformed')
  })

  const broken: [string, string | Buffer][] = [
    ['a header of 64 KiB', `GET ${API}/jobs HTTP/1.1\r\nHost: p\r\nX-Big: ${'x'.repeat(65_536)}\r\n\r\n`],
    ['a path of 64 KiB', `GET /${'x'.repeat(65_536)} HTTP/1.1\r\nHost: p\r\n\r\n`],
    [
      '3,000 headers',
      `GET /healthz HTTP/1.1\r\nHost: p\r\n${Array.from({ length: 3000 }, (_, n) => `A${n}: 1`).join('\r\n')}\r\n\r\n`,
    ],
    ['no host', 'GET /healthz HTTP/1.1\r\n\r\n'],
    ['no HTTP at all', 'hello there\r\n\r\n'],
    ['a TLS greeting', Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])],
    ['an HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    [
      'a length and chunks',
      `POST ${API}/jobs HTTP/1.1\r\nHost: p\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ['two lengths', `POST ${API}/jobs HTTP/1.1\r\nHost: p\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}`],
    ['a negative length', `POST ${API}/jobs HTTP/1.1\r\nHost: p\r\nContent-Length: -1\r\n\r\n`],
    [
      'a chunk size that is no number',
      `POST ${API}/jobs HTTP/1.1\r\nHost: p\r\nContent-Type: application/json\r\nX-API-Key: KEY\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n`,
    ],
    [
      'a chunk size past 64 bits',
      `POST ${API}/jobs HTTP/1.1\r\nHost: p\r\nContent-Type: application/json\r\nX-API-Key: KEY\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n`,
    ],
    ['a folded header', `GET /healthz HTTP/1.1\r\nHost: p\r\nX-A: b\r\n c\r\n\r\n`],
    ['a NUL in a header', 'GET /healthz HTTP/1.1\r\nHost: p\r\nX-A: b\0c\r\n\r\n'],
    ['a bare line feed as the end of a line', 'GET /healthz HTTP/1.1\nHost: p\n\n'],
    ['a method nobody knows', 'SMUGGLE /healthz HTTP/1.1\r\nHost: p\r\n\r\n'],
  ]
  test.each(broken)('%s', async (name, bytes) => {
    const answer = answerIn(await raw(plane, typeof bytes === 'string' ? bytes.replace('KEY', agent()) : bytes, 1500))
    expect([400, 413]).toContain(answer.status)
    if (name !== 'no host') {
      // Node itself answers that one, with nothing but the status
      expect(answer.headers.get('content-type'), answer.text).toMatch(/^application\/problem\+json/)
      expect(answer.body).toMatchObject({
        code: answer.status === 413 ? 'too_large' : expect.stringMatching(/^(malformed|too_large)$/),
        status: expect.any(Number),
      })
    }
  })

  test('requests in a row on one connection are answered one by one', async () => {
    const good = http('POST', `${API}/jobs`, agent(), '{"topic":"job.repo.read"}')
      .toString('latin1')
      .replace('Connection: close', 'Connection: keep-alive')
    const bad = good.replace('job.repo.read', 'job.repo.rea!')
    const text = await raw(plane, good + bad + good + http('GET', '/healthz', agent()).toString('latin1'), 4000)
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1])).toEqual(['202', '422', '202', '200'])
  })

  test('what hangs on behind a body with a length is its own request, and needs its own key', async () => {
    const first = http('POST', `${API}/jobs`, agent(), '{"topic":"job.repo.read"}')
      .toString('latin1')
      .replace('Connection: close', 'Connection: keep-alive')
    const text = await raw(plane, `${first}GET ${API}/keys HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n`, 4000)
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1])).toEqual(['202', '401'])
  })

  test('a key twice is no key', async () => {
    expectProblem(
      answerIn(await raw(plane, http('GET', `${API}/jobs`, agent(), '', [`X-API-Key: ${agent()}`]))),
      'unauthenticated',
    )
  })

  test('an idempotency key out of form', async () => {
    for (const key of ['', 'a'.repeat(201), 'caf\u00e9', 'a b'])
      expectProblem(await post('{"topic":"job.repo.read"}', { 'idempotency-key': key }), 'invalid')
  })
})

describe('slow and half requests', () => {
  test('two hundred connections that never finish hold up nobody', async () => {
    const { hostname, port } = new URL(plane.url)
    const sockets = Array.from({ length: 200 }, (_, n) => {
      const socket = connect(Number(port), hostname)
      socket.on('error', () => {})
      socket.write(
        n % 2
          ? 'GET /healthz HTTP/1.1\r\nHost: p\r\nX-'
          : `POST ${API}/jobs HTTP/1.1\r\nHost: p\r\nX-API-Key: ${agent()}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"to`,
      )
      return socket
    })
    try {
      for (let i = 0; i < 20; i++) expect((await post('{"topic":"job.repo.read"}')).status).toBe(202)
    } finally {
      for (const socket of sockets) socket.destroy()
    }
  })

  test('a caller that leaves in the middle of its body', async () => {
    const { hostname, port } = new URL(plane.url)
    await new Promise<void>((resolve) => {
      const socket = connect(Number(port), hostname, () => {
        socket.write(http('POST', `${API}/jobs`, agent(), '{"topic":', ['Content-Length: 100']))
        socket.destroy()
      })
      socket.on('close', () => resolve())
    })
    await expectStanding(plane)
  })
})

describe('paths and queries', () => {
  const paths = [
    '%',
    '%zz',
    '%c0%af',
    '%ff',
    '%ed%a0%80',
    '%00',
    'job_%00',
    '..%2f..%2fetc%2fpasswd',
    '%2e%2e',
    '..;',
    '__proto__',
    'constructor',
    "'; DROP TABLE jobs; --",
    `job_${'0'.repeat(250)}`,
    'x'.repeat(400),
    '\u{1f600}',
    '*',
    'null',
    '%0d%0aX-Injected:%201',
    '{{7*7}}',
    '$1',
    '%25',
  ]
  const places = [
    'jobs/ID',
    'jobs/ID/timeline',
    'jobs/ID/result',
    'runs/ID',
    'runs/ID/timeline',
    'pointers/ID',
    'decisions/ID',
    'approvals/ID',
    'policy/snapshots/ID',
  ]
  test.each(paths)('%j in the place of an id', async (id) => {
    for (const place of places) {
      const text = await raw(
        plane,
        http('GET', `${API}/${place.replace('ID', id.replaceAll(' ', '%20'))}`, plane.keys.admin).toString('utf8'),
      )
      const answer = answerIn(text)
      expectProblem(answer, 'not_found', 'malformed', 'invalid')
      expect(answer.headers.has('x-injected')).toBe(false)
    }
  })

  test('ids that are no ids in places that write', async () => {
    for (const id of ['%00', '%', '__proto__', 'x'.repeat(400)]) {
      const admin = plane.keys.admin
      for (const [path, body] of [
        [`jobs/${id}/cancel`, {}],
        [`jobs/${id}/resolve`, { effect_key: 'a', happened: true, note: 'x' }],
        [`jobs/${id}/result/release`, {}],
        [`approvals/${id}/approve`, { grant_hash: '0'.repeat(64) }],
        [`approvals/${id}/reject`, { reason: 'no' }],
        [`policy/snapshots/${id}/activate`, undefined],
        [`dead-letters/${id}/replay`, {}],
        [`dead-letters/${id}/discard`, { reason: 'x' }],
      ] as const)
        expectProblem(await call(plane, admin, 'POST', `${API}/${path}`, body), 'not_found', 'malformed')
      expectProblem(await call(plane, admin, 'DELETE', `${API}/keys/${id}`), 'not_found', 'malformed')
    }
  })

  const queries = [
    'limit=0',
    'limit=501',
    'limit=1e9',
    'limit=-1',
    'limit=',
    'limit=abc',
    'limit=1&limit=2',
    'limit[]=1',
    'limit=9007199254740993',
    'nothing=1',
    '__proto__=1',
    'constructor=1',
    '__proto__[x]=1',
    'cursor=!!',
    'cursor=AAAA',
    `cursor=${'A'.repeat(500)}`,
    'status=asleep',
    'status=queued&status=running',
    'topic=Job',
    'topic=%00',
    'run_id=%00',
    'agent=%00',
    'agent=%0a',
    `cursor=${Buffer.from('[1,2]').toString('base64url')}`,
    `cursor=${Buffer.from('["a","b"]').toString('base64url')}`,
    `cursor=${Buffer.from('[1e400,"x"]').toString('base64url')}`,
    `cursor=${Buffer.from('[1,"\\u0000"]').toString('base64url')}`,
    `cursor=${Buffer.from('{"__proto__":1}').toString('base64url')}`,
  ]
  test.each(queries)('query %j', async (query) => {
    expectProblem(await call(plane, plane.keys.admin, 'GET', `${API}/jobs?${query}`), 'invalid')
  })

  test('the same in the search of the log', async () => {
    for (const query of [
      'kind=%00',
      'actor=%00',
      'job_id=%00',
      'run_id=a%00b',
      'from=-1',
      'to=1e3',
      'from=99999999999999999',
      'kind=a&kind=b',
    ])
      expectProblem(await call(plane, plane.keys.admin, 'GET', `${API}/audit?${query}`), 'invalid')
    for (const query of ['', 'index=-1', 'index=9999999999', 'index=1&size=0', 'index=x'])
      expectProblem(
        await call(plane, plane.keys.admin, 'GET', `${API}/audit/proof/inclusion?${query}`),
        'invalid',
        'not_found',
      )
    for (const query of ['', 'from=5&to=1', 'from=0&to=99999999', 'from=-1'])
      expectProblem(
        await call(plane, plane.keys.admin, 'GET', `${API}/audit/proof/consistency?${query}`),
        'invalid',
        'not_found',
      )
    for (const query of ['status=%00', 'job_id=%00', 'job_id=a&job_id=b'])
      expectProblem(await call(plane, plane.keys.admin, 'GET', `${API}/approvals?${query}`), 'invalid')
  })

  test('a cursor of somebody else moves nowhere but inside the own tenant', async () => {
    const cursor = Buffer.from(JSON.stringify([8.6e15, '\u{10ffff}'])).toString('base64url')
    const answer = await call(plane, plane.keys.agent, 'GET', `${API}/jobs?cursor=${cursor}`)
    expect(answer.status).toBe(200)
    for (const item of answer.body.items) expect(item.requested_by).toBe('agent:first')
  })

  test('two thousand parameters', async () => {
    const query = Array.from({ length: 1500 }, (_, n) => `q${n}=1`).join('&')
    expectProblem(await call(plane, plane.keys.admin, 'GET', `${API}/jobs?${query}`), 'invalid')
  })

  test('what is not there is not there before a body is read, key or no key', async () => {
    for (const path of ['/nothing', `${API}/nothing`, `${API}/jobs/x/y/z`])
      expectProblem(await call(plane, null, 'POST', path, '{"a":1,"a":2}'), 'not_found')
  })

  test('other methods and other spellings of a path are not served', async () => {
    for (const method of ['PUT', 'PATCH', 'DELETE', 'OPTIONS'])
      expectProblem(await call(plane, agent(), method, `${API}/jobs`), 'method_not_allowed')
    for (const path of [
      '/API/v1/jobs',
      '/api/v1/Jobs',
      '/api/v1/jobs/',
      '//api/v1/jobs',
      '/api/v1//jobs',
      '/api/v1/./jobs',
      '/api/v2/jobs',
      '/api/v1/jobs%2f',
      '/jobs',
      '/metrics/../api/v1/keys',
    ])
      expectProblem(answerIn(await raw(plane, http('GET', path, agent()))), 'not_found', 'malformed')
    expect((await call(plane, agent(), 'HEAD', `${API}/jobs`)).status).toBe(405)
    expectProblem(
      answerIn(await raw(plane, http('GET', `http://elsewhere.example${API}/keys`, agent()))),
      'not_found',
      'forbidden',
    )
  })
})

test('after all of it: it lives, serves, logged no fault, and the audit verifies', { timeout: 30_000 }, () =>
  expectStanding(plane),
)
