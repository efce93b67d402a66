// Texts for the benchmark, made from a fixed seed: ordinary ones in the shapes workers return, and hostile ones, each aimed
// at one part of the scanner.

function seeded(seed) {
  let s = seed >>> 0
  return () => {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0
    return s / 2 ** 32
  }
}

const WORDS =
  'the deploy of service finished without errors and every replica reported healthy after the rollout while the queue stayed short because workers kept pace with incoming requests during that window'.split(
    ' ',
  )
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

const fill = (size, line) => {
  const lines = []
  for (let n = 0, i = 0; n < size; i++) {
    const l = line(i)
    lines.push(l)
    n += l.length + 1
  }
  return lines.join('\n')
}

const words = (random, count) =>
  Array.from({ length: count }, () => WORDS[Math.floor(random() * WORDS.length)]).join(' ')
const hex = (random, count) =>
  Array.from({ length: count }, () => '0123456789abcdef'[Math.floor(random() * 16)]).join('')
const stamp = (random) =>
  `2025-0${1 + Math.floor(random() * 9)}-1${Math.floor(random() * 10)}T0${Math.floor(random() * 10)}:3${Math.floor(random() * 10)}:1${Math.floor(random() * 10)}.${String(Math.floor(random() * 1000)).padStart(3, '0')}Z`

const prose = (random, size) => fill(size, () => `${words(random, 12)}.`)
const logs = (random, size) =>
  fill(
    size,
    () =>
      `${stamp(random)} INFO  [worker-${Math.floor(random() * 9)}] request_id=${hex(random, 8)}-${hex(random, 4)}-${hex(random, 4)}-${hex(random, 4)}-${hex(random, 12)} path=/api/v1/${WORDS[Math.floor(random() * WORDS.length)]} status=200 duration_ms=${Math.floor(random() * 900)} ip=10.0.${Math.floor(random() * 255)}.${Math.floor(random() * 255)}`,
  )
const code = (random, size) =>
  fill(size, (i) => {
    const [a, b, c] = words(random, 3).split(' ')
    return [
      `export function ${a}_${b}(${c}: string, options: Options = {}): number {`,
      `  const ${a} = options.${b} ?? this.${c}.get('${a}-${b}')`,
      `  if (${a} === null || ${a}.length > ${i}) return -1 // ${b} ${c}`,
      `  return ${a}.map((${c}) => ${c}.${b} * 2).reduce((x, y) => x + y, 0)`,
      '}',
    ][i % 5]
  })
const base64 = (random, count) => Array.from({ length: count }, () => BASE64[Math.floor(random() * 64)]).join('')
const records = (random, size) => {
  const items = []
  for (let n = 0; n < size; n += 230)
    items.push({
      id: `${hex(random, 8)}-${hex(random, 4)}-4${hex(random, 3)}-a${hex(random, 3)}-${hex(random, 12)}`,
      created_at: stamp(random),
      title: words(random, 6),
      state: 'open',
      count: Math.floor(random() * 10_000),
      labels: ['bug', 'priority-high', 'area/scheduler'],
      sha: hex(random, 40),
      note: words(random, 10),
    })
  return items
}

const chunks = (text, size) =>
  Array.from({ length: Math.ceil(text.length / size) }, (_, i) => text.slice(i * size, (i + 1) * size))

/** Texts without anything in them, then the same with one find in every 4 KB. */
export function ordinary(size) {
  const random = seeded(7)
  const clean = [
    ['prose', chunks(prose(random, size), 4096)],
    ['log lines', chunks(logs(random, size), 4096)],
    ['source code', chunks(code(random, size), 4096)],
    ['JSON records', chunks(records(random, size), 18)],
    ['array of log lines', chunks(logs(random, size).split('\n'), 24)],
    ['base64 of an image, 64 KB each', [base64(random, 65_536), base64(random, 65_536)]],
  ].map(([name, values]) => ({ name, kind: 'clean', values }))
  const token = () => `gh${'p_'}${base64(random, 50).replace(/[+/]/g, 'a').slice(0, 36)}`
  const insert = (text, what) => `${text.slice(0, 2000)} ${what} ${text.slice(2000)}`
  const hits = [
    ['prose, a token', chunks(prose(random, size), 4096).map((t) => insert(t, token()))],
    [
      'log lines, an e-mail address',
      chunks(logs(random, size), 4096).map((t, i) => insert(t, `user=jane${i}@example.com`)),
    ],
    [
      'source code, an assigned secret',
      chunks(code(random, size), 4096).map((t) => insert(t, `const api_key = "${hex(random, 32)}"`)),
    ],
    ['JSON records, a token', chunks(records(random, size), 18).map((r) => [...r, { note: token() }])],
  ].map(([name, values]) => ({ name, kind: 'hit/4KB', values }))
  return [...clean, ...hits]
}

export function hostile(size) {
  const random = seeded(11)
  const repeat = (s) => [s.repeat(Math.ceil(size / s.length))]
  const encoded = (s) => Buffer.from(s.repeat(Math.ceil((size * 0.75) / s.length))).toString('base64')
  return [
    ['@', repeat('@')],
    ['a@', repeat('a@')],
    ['a@a.', repeat('a@a.')],
    [':', repeat(':')],
    ['=', repeat('=')],
    ['password=', repeat('password=')],
    ['password="', repeat('password="\'')],
    ['token:', repeat('token: ')],
    ['a secret that is none', repeat('secret=example-value-that-is-none ')],
    ['://', repeat('://')],
    ['https://a:', repeat('https://a:')],
    ['eyJ', repeat('eyJ')],
    ['eyJ.', repeat('eyJhbGciOiJ.')],
    ['sk-', repeat('sk-')],
    ['ghp_', repeat('ghp_')],
    ['AKIA', repeat('AKIA')],
    ['sp_', repeat('sp_aaaaaaaaaaaaaaaaa_')],
    ['----- ', repeat('-----')],
    ['-----BEGIN', repeat('-----BEGIN RSA ')],
    ['digits', repeat('4')],
    ['digit groups', repeat('4111 1111 1111 1112 ')],
    ['1-1-', repeat('1-')],
    ['phones that are none', repeat('(415) 155-2671 ')],
    ['DE89', repeat('DE89 3704 0044 0532 0130 01 ')],
    ['%41', repeat('%41')],
    ['%25', repeat('%25')],
    ['backslashes', repeat('\\')],
    ['\\u0041', repeat('\\u0041')],
    ['zero-width between letters', repeat('a\u200b')],
    ['full-width letters', repeat('\uff41\uff42\uff20')],
    ['&#65;', repeat('&#65;')],
    ['base64 of prose', [encoded(prose(random, 3000))]],
    ['base64 of base64 of prose', [encoded(Buffer.from(prose(random, 3000)).toString('base64'))]],
    ['base64 of @', [encoded('a@')]],
    ['base64, then an escape each line', repeat(`${base64(random, 200)}\\n`)],
    ['base64 that begins as text', repeat(`${Buffer.from(words(random, 3)).toString('base64url').slice(0, 20)} `)],
    ['hex of text', [Buffer.from(prose(random, size / 2)).toString('hex')]],
    ['wrapped base64', [base64(random, size).replace(/.{76}/g, '$&\n')]],
    ['array of one-character strings', [Array.from({ length: size / 4 }, () => 'a')]],
    ['array of half tokens', [Array.from({ length: size / 10 }, () => 'ghp_abcdef')]],
    ['many keys', [Object.fromEntries(Array.from({ length: size / 12 }, (_, i) => [`password${i}`, 'x']))]],
    [
      'nested 200 deep',
      Array.from({ length: 50 }, () => JSON.parse(`${'['.repeat(200)}"${'a'.repeat(2000)}"${']'.repeat(200)}`)),
    ],
  ].map(([name, values]) => ({ name, kind: 'hostile', values }))
}
