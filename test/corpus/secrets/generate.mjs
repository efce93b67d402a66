// Writes the corpus of what must be found, from a fixed seed: `node test/corpus/secrets/generate.mjs`.
// Every credential is invented, and stored in parts: no complete one stands in this repository, so scanners of code hosts keep
// quiet. A line is {detector, before, parts, after}: `parts` joined is what must disappear, the rest is what it stands in.
import { writeFileSync } from 'node:fs'

let state = 77
function random() {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
  return state / 2 ** 32
}
const int = (from, to) => from + Math.floor(random() * (to - from + 1))
const pick = (list) => list[int(0, list.length - 1)]
const from = (alphabet, count) => Array.from({ length: count }, () => pick(alphabet)).join('')
const LOWER = 'abcdefghijklmnopqrstuvwxyz'
const UPPER = LOWER.toUpperCase()
const DIGITS = '0123456789'
const alnum = (n) => `${from(UPPER, 2)}${from(LOWER + UPPER + DIGITS, n - 5)}${from(DIGITS, 2)}${from(LOWER, 1)}`
const token = (n) => `${alnum(8)}${from(`${LOWER + UPPER + DIGITS}_-`, n - 12)}${alnum(6).slice(2)}`
const hex = (n) => from('0123456789abcdef', n)
const base64 = (n) => `${alnum(6)}${from(`${LOWER + UPPER + DIGITS}+/`, n - 6)}`
const json64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')

const lines = []
/** Cuts the credential behind its mark and in the middle of the rest. */
function add(detector, secret, before = '', after = '', mark = 4) {
  const middle = mark + Math.floor((secret.length - mark) / 2)
  const parts = [secret.slice(0, mark), secret.slice(mark, middle), secret.slice(middle)].filter((p) => p !== '')
  lines.push({ detector, before, parts, after })
}
const times = (n, make) => {
  for (let i = 0; i < n; i++) make(i)
}

times(5, () => add('aws_access_key', `${pick(['AKIA', 'ASIA'])}${from(`${UPPER}234567`, 16)}`, '', '', 3))
times(4, (i) => add('aws_secret_key', base64(40), ['aws_secret_access_key = ', 'AWS_SECRET_ACCESS_KEY=', '"SecretAccessKey": "', 'aws.secretKey: '][i], i === 2 ? '"' : '', 9))
for (const p of ['ghp_', 'gho_', 'ghu_', 'ghs_', 'ghr_']) times(2, () => add('github_token', p + alnum(36), '', '', 3))
times(2, () => add('github_token', `github_pat_${alnum(22)}_${alnum(59)}`, '', '', 7))
times(3, () => add('gitlab_token', `glpat-${token(20)}`, '', '', 5))
for (const p of ['xoxb-', 'xoxp-', 'xoxa-', 'xoxs-']) add('slack_token', `${p}${from(DIGITS, 12)}-${from(DIGITS, 12)}-${alnum(24)}`)
add('slack_token', `xapp-1-A${from(UPPER + DIGITS, 10)}-${from(DIGITS, 13)}-${hex(64)}`)
times(3, () => add('slack_webhook', `hooks.slack.com/services/T${from(UPPER + DIGITS, 8)}/B${from(UPPER + DIGITS, 10)}/${alnum(24)}`, 'https://', '', 12))
for (const p of ['sk_live_', 'rk_live_', 'sk_test_', 'whsec_']) times(2, () => add('stripe_key', p + alnum(p === 'whsec_' ? 32 : 24)))
times(4, () => add('google_api_key', `AIza${token(35)}`, '', '', 3))
add('google_api_key', `ya29.${token(120)}`)
add('google_api_key', `GOCSPX-${token(28)}`)
times(3, () => add('openai_key', `sk-${alnum(48)}`, '', '', 3))
times(3, () => add('openai_key', `sk-proj-${token(74)}`, '', '', 6))
times(4, () => add('anthropic_key', `sk-ant-${pick(['api03', 'admin01'])}-${token(93)}`, '', '', 5))
times(3, () => add('azure_storage_key', `AccountKey=${base64(86)}==`, 'DefaultEndpointsProtocol=https;AccountName=shop;', ';EndpointSuffix=core.windows.net', 8))
times(4, () => add('npm_token', `npm_${alnum(36)}`, '', '', 3))
times(3, () => add('pypi_token', `pypi-AgEIcHlwaS5vcmc${token(120)}`))
times(4, () => add('sendgrid_key', `SG.${token(22)}.${token(43)}`, '', '', 2))
times(4, () => add('twilio_key', `SK${hex(32)}`, '', '', 2))
times(4, () => add('telegram_token', `${pick(['1', '5', '7'])}${from(DIGITS, 9)}:AA${token(33)}`, '', '', 11))
times(4, () => add('discord_token', `${Buffer.from(`1${from(DIGITS, 17)}`).toString('base64url')}.${alnum(6)}.${token(38)}`, '', '', 12))
times(4, () => add('huggingface_token', `hf_${from(LOWER + UPPER, 34)}`, '', '', 2))
for (const p of ['dop', 'doo', 'dor']) times(2, () => add('digitalocean_token', `${p}_v1_${hex(64)}`))
for (const p of ['shpat_', 'shpss_', 'shpca_', 'shppa_']) add('shopify_token', p + hex(32))
times(4, (i) => add('sallyport_key', `sp_${['', 'admin_', 'worker_', ''][i]}${token(43)}`, '', '', 2))
for (const p of ['glsa_', 'lin_api_', 'figd_', 'dckr_pat_', 'hvs.', 'dp.pt.', 'sq0csp-', 'NRAK-']) add('service_token', p + alnum(43), '', '', 3)
times(6, (i) => {
  const header = json64({ alg: pick(['HS256', 'RS256', 'ES384']), typ: 'JWT', kid: i })
  add('jwt', `${header}.${json64({ sub: `${int(1, 9e9)}`, iat: 1_700_000_000, scope: 'all' })}.${token(i % 2 ? 43 : 342)}`, '', '', 2)
})
const hosts = ['db.internal:5432/app', 'cache.internal:6379/0', 'mq.internal/%2f', 'cluster0.mongo.internal/shop?retryWrites=true']
for (const [i, s] of ['postgres', 'postgresql', 'mysql', 'mongodb+srv', 'redis', 'rediss', 'amqp', 'nats'].entries())
  add('connection_string', alnum(14), `${s}://${pick(['app', 'root', 'svc-orders'])}:`, `@${hosts[i % 4]}`, 5)
add('connection_string', `p@ss${from(DIGITS, 4)}!`, 'postgres://app:', '@db.internal/app', 3)
times(4, () => add('url_credentials', alnum(12), 'https://deploy:', '@registry.internal/v2/', 5))
times(4, (i) => add('basic_auth', Buffer.from(`svc${i}:${alnum(14)}`).toString('base64'), ['Authorization: Basic ', 'Basic ', '-H "authorization: basic ', 'Proxy-Authorization: Basic '][i], i === 2 ? '"' : '', 6))
times(5, (i) => add('bearer_token', token(40), ['Authorization: Bearer ', 'Bearer ', '-H "authorization: bearer ', '"Authorization": "Bearer ', 'Authorization: Token '][i], i === 2 || i === 3 ? '"' : '', 6))
const assigned = [
  ['password=', () => alnum(12), ''],
  ['DB_PASSWORD=', () => `${alnum(8)}!`, ''],
  ['password: "', () => 'Tr0ub4dor&3xyz', '"'],
  ['"password":"', () => alnum(10), '"'],
  ["passwd => '", () => alnum(10), "'"],
  ['secret: ', () => hex(32), ''],
  ['client_secret=', () => token(40), '&grant_type=x'],
  ['api_key = "', () => hex(40), '"'],
  ["apiKey: '", () => alnum(32), "'"],
  ['X-Api-Key: ', () => alnum(32), ''],
  ['export SESSION_SECRET=', () => base64(44), ''],
  ['SECRET_KEY_BASE=', () => hex(128), ''],
  ['?access_token=', () => alnum(40), '&user=1'],
  ['//packages.internal/:_authToken=', () => hex(36), ''],
  ['<password>', () => alnum(12), '</password>'],
  ['password := "', () => alnum(16), '"'],
  ['const password: string = "', () => alnum(16), '"'],
  ['mysql -u root --password ', () => `${alnum(10)}#`, ''],
  ['login me password ', () => alnum(12), ''],
  ['deploy --token ', () => alnum(32), ' --now'],
  ['encryption-key: ', () => base64(44), ''],
  ['REDIS_PASS=', () => alnum(16), ''],
]
for (const [before, make, after] of assigned) add('assigned_secret', make(), before, after, 4)

const KINDS = ['RSA PRIVATE KEY', 'EC PRIVATE KEY', 'DSA PRIVATE KEY', 'PRIVATE KEY', 'ENCRYPTED PRIVATE KEY', 'OPENSSH PRIVATE KEY', 'PGP PRIVATE KEY BLOCK']
for (const kind of KINDS) {
  const body = Array.from({ length: 6 }, () => base64(64)).join('\n')
  add('private_key', `-----BEGIN ${kind}-----\n${kind.startsWith('PGP') ? 'Version: 2\n\n' : ''}${body}\n-----END ${kind}-----`, '', '\n', 14)
}
add('private_key', `-----BEGIN RSA PRIVATE KEY-----\n${base64(64)}\n${base64(64)}`, 'cut off: ', '', 14)
add('private_key', `---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: "me"\n${base64(70)}\n---- END SSH2 ENCRYPTED PRIVATE KEY ----`, '', '', 14)
add('private_key', `PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\n${base64(44)}`, '', '', 9)
add('private_key', `AGE-SECRET-KEY-1${from('QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L', 58)}`, '', '', 9)
add('private_key', Buffer.concat([Buffer.from('308204a40201000282010100', 'hex'), Buffer.from(base64(400), 'base64')]).toString('base64'), 'key = ', '', 4)
add('private_key', Buffer.concat([Buffer.from('openssh-key-v1\0', 'latin1'), Buffer.from(base64(200), 'base64')]).toString('base64'), '', '', 9)
writeFileSync(new URL('./credentials.jsonl', import.meta.url), `${lines.map((l) => JSON.stringify(l)).join('\n')}\n`)

lines.length = 0
function luhn(body) {
  let sum = 0
  for (let i = 0; i < body.length; i++) {
    const d = Number(body[body.length - 1 - i])
    sum += i % 2 === 1 ? d : d > 4 ? d * 2 - 9 : d * 2
  }
  return body + ((10 - (sum % 10)) % 10)
}
const grouped = (s, sizes, sep) => {
  let at = 0
  return sizes.map((n) => s.slice(at, (at += n))).join(sep)
}
for (const [prefix, length] of [['4', 16], ['51', 16], ['2221', 16], ['34', 15], ['37', 15], ['6011', 16], ['65', 16], ['36', 14], ['3530', 16], ['62', 16]]) {
  const card = luhn(prefix + from(DIGITS, length - prefix.length - 1))
  const sizes = length === 16 ? [4, 4, 4, 4] : length === 15 ? [4, 6, 5] : [4, 6, 4]
  add('credit_card', card, 'card ', ' thanks')
  add('credit_card', grouped(card, sizes, ' '), '(', ')')
  add('credit_card', grouped(card, sizes, '-'), 'number:', '.')
}
function iban(country, body) {
  const value = [...`${body}${country}00`].map((c) => (/\d/.test(c) ? c : String(c.charCodeAt(0) - 55))).join('')
  return `${country}${String(98n - (BigInt(value) % 97n)).padStart(2, '0')}${body}`
}
for (const [country, length] of [['DE', 22], ['FR', 27], ['GB', 22], ['NL', 18], ['ES', 24], ['CH', 21], ['NO', 15], ['MT', 31]]) {
  const bank = ['GB', 'NL', 'MT'].includes(country) ? from(UPPER, 4) : ''
  const number = iban(country, bank + from(DIGITS, length - 4 - bank.length))
  add('iban', number, 'IBAN ', ',')
  add('iban', number.replace(/.{4}(?=.)/g, '$& '), 'pay to ', '.')
}
times(6, (i) => add('us_ssn', grouped(`${int(100, 665)}${int(10, 99)}${int(1000, 9999)}`, [3, 2, 4], i < 4 ? '-' : ' '), 'SSN: ', ''))
add('us_ssn', `${int(100, 665)}${int(10, 99)}${int(1000, 9999)}`, 'ssn=', '')
for (const [local, domain] of [['jane.doe', 'example.com'], ['j', 'x.co.uk'], ['first+tag', 'mail.example.org'], ['user_1', 'sub.dept.example.edu'], ["o'neil", 'example.ie'], ['INFO', 'EXAMPLE.COM'], ['a.b-c', 'xn--bcher-kva.example'], ['dev%ops', 'example.io']])
  add('email', `${local}@${domain}`, pick(['mail ', '<', 'to: ', 'user=']), pick([' ', '>', ',', '.']), 1)
for (const phone of ['+1 415 555 2671', '+14155552671', '+1 (415) 555-2671', '(415) 555-2671', '415-555-2671', '415.555.2671', '1-800-555-0199', '+49 30 12345678', '+4915123456789', '+44 20 7946 0958', '020 7946 0958', '07700 900123', '+33 6 12 34 56 78', '06 12 34 56 78', '030 12345678', '0171/1234567', '+91 98765 43210', '+81-3-1234-5678', '+420 601 123 456', '+971 50 123 4567'])
  add('phone', phone, pick(['call ', 'tel ', 'phone: ', '(office) ']), pick(['', ' now', ',', '.']), 4)
add('phone', '4155552671', 'phone: ', '')
writeFileSync(new URL('./personal.jsonl', import.meta.url), `${lines.map((l) => JSON.stringify(l)).join('\n')}\n`)
