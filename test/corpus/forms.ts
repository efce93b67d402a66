import type { Json } from '../../src/core/json.js'

/** A secret and what it stands in. */
export interface Sample {
  detector: string
  before: string
  secret: string
  after: string
}

export interface Form {
  name: string
  /** The sample in this form, and a piece of it that must not be in the output; null where the form makes no sense. */
  embed(sample: Sample): { value: Json; trace: string } | null
}

/** Detectors that need the words around the secret; a form that tears those apart hides the secret from everybody. */
const BY_CONTEXT = new Set(['assigned_secret', 'bearer_token', 'basic_auth', 'connection_string', 'url_credentials', 'aws_secret_key', 'azure_storage_key'])
const PERSONAL = new Set(['credit_card', 'iban', 'us_ssn', 'email', 'phone'])

const text = (s: Sample) => `${s.before}${s.secret}${s.after}`
const tail = (s: string) => s.trimEnd().slice(-Math.max(4, Math.min(10, s.length - 4)))
/** As it stands between the quotes of JSON. */
const quoted = (s: string) => JSON.stringify(s).slice(1, -1)

/** The whole sample as one string, put somewhere. */
const placed = (name: string, place: (s: string) => Json): Form => ({
  name,
  embed: (s) => ({ value: place(text(s)), trace: quoted(tail(s.secret)) }),
})

/** Declared: encoded text under 12 bytes is not looked for, every second identifier would have to be decoded. */
const SHORTEST = 12
/** Declared: two layers come off. A key without armour is one layer by itself. */
const isEncodedKey = (s: Sample) => s.detector === 'private_key' && /^[\w+/=]+$/.test(s.secret)

/** Character by character: what must be gone is the end of the secret. */
const escaped = (name: string, encode: (s: string) => string, place: (s: string) => Json = (s) => s): Form => ({
  name,
  embed: (s) => ({ value: place(encode(text(s))), trace: quoted(encode(tail(s.secret))) }),
})

/** In blocks, so that the code is taken out whole: what must be gone is its middle. */
const encoded = (name: string, encode: (s: string) => string, place: (s: string) => Json = (s) => s, layers = 1): Form => ({
  name,
  embed: (s) => {
    if (text(s).length < SHORTEST || (layers > 1 && isEncodedKey(s))) return null
    const code = encode(text(s))
    return { value: place(code), trace: quoted(code.slice(Math.floor(code.length / 2)).slice(0, 12)) }
  },
})

const base64 = (s: string) => Buffer.from(s).toString('base64')
const everyCharacter = (make: (code: number, char: string) => string) => (s: string) => [...s].map((c) => make(c.charCodeAt(0), c)).join('')

/** The secret cut into `count` pieces; only for secrets with a mark of their own. */
const split = (name: string, count: number, place: (pieces: string[]) => Json): Form => ({
  name,
  embed: (s) => {
    if (BY_CONTEXT.has(s.detector) || PERSONAL.has(s.detector)) return null
    // Some begin with what the detector needs to see whole, and stand alone when cut behind it: cut early.
    const size = Math.ceil(s.secret.length / count)
    const first = Math.min(size, 12)
    const pieces = [s.before + s.secret.slice(0, first)]
    const rest = s.secret.slice(first)
    const step = Math.ceil(rest.length / (count - 1))
    for (let i = 0; i < rest.length; i += step) pieces.push(rest.slice(i, i + step))
    return { value: place(pieces), trace: quoted(tail(s.secret)) }
  },
})

export const FORMS: Form[] = [
  placed('plain', (s) => s),
  placed('sentence', (s) => `The answer of the server was: ${s} and that is all.`),
  placed('log line', (s) => `2025-06-11T10:20:30.123Z ERROR [worker-1] request failed status=500 ${s}`),
  placed('line of many', (s) => `${'an ordinary line\n'.repeat(200)}${s}\n${'another one\n'.repeat(200)}`),
  placed('JSON value', (s) => ({ ok: true, items: [{ id: 7, note: s }] })),
  placed('JSON key', (s) => ({ items: { [s]: 1 } })),
  placed('JSON in a string', (s) => JSON.stringify({ note: s })),
  placed('JSON in JSON in a string', (s) => JSON.stringify({ body: JSON.stringify({ note: s }) })),
  placed('code fence', (s) => `\`\`\`\n${s}\n\`\`\``),
  placed('CSV', (s) => `id,value\n1,${s}\n`),
  escaped('query of a URL', (s) => `https://shop.example/callback?state=1&data=${encodeURIComponent(s)}&x=2`),
  escaped('percent, every character', everyCharacter((c) => `%${c.toString(16).padStart(2, '0')}`)),
  escaped('\\u escapes', everyCharacter((c) => `\\u${c.toString(16).padStart(4, '0')}`)),
  escaped('\\x escapes', everyCharacter((c) => `\\x${c.toString(16).padStart(2, '0')}`)),
  escaped('entities', everyCharacter((c) => `&#${c};`)),
  escaped('zero-width characters', everyCharacter((_, c) => `${c}\u200b`)),
  escaped('full-width characters', everyCharacter((c, char) => (c > 32 && c < 127 ? String.fromCharCode(c + 0xfee0) : char))),
  encoded('base64', base64),
  encoded('base64 in a sentence', base64, (s) => `the payload ${s} was sent`),
  encoded('base64 behind a path', (s) => Buffer.from(s).toString('base64url'), (s) => `/files/blob/${s}?v=1`),
  encoded('base64 as a JSON value', base64, (s) => ({ data: [{ content: s }] })),
  encoded('base64url', (s) => Buffer.from(s).toString('base64url')),
  encoded('base64 of base64', (s) => base64(base64(s)), (s) => s, 2),
  encoded('base64 inside a long file', (s) => base64(`${'line of a file\n'.repeat(40)}${s}\n${'line of a file\n'.repeat(40)}`)),
  encoded('wrapped base64', (s) => base64(`${'line of a file\n'.repeat(40)}${s}\nend\n`).replace(/.{76}/g, '$&\n')),
  encoded('base64 of UTF-16', (s) => Buffer.from(s, 'utf16le').toString('base64')),
  encoded('hex', (s) => Buffer.from(s).toString('hex')),
  encoded('percent of base64', (s) => encodeURIComponent(base64(s))),
  split('two strings of an array', 2, (p) => p),
  split('four strings of an array', 4, (p) => ['first', ...p]),
  split('two neighbouring fields', 2, (p) => ({ id: 1, a: p[0] as string, b: p[1] as string })),
  {
    name: 'lines of an array',
    embed: (s) => (s.secret.includes('\n') ? { value: ['$ cat key', ...text(s).split('\n')], trace: quoted(tail(s.secret)) } : null),
  },
  {
    name: 'field that says what it is',
    embed: (s) => (s.detector === 'assigned_secret' ? { value: { db_password: s.secret }, trace: quoted(tail(s.secret)) } : null),
  },
  {
    name: 'name and value',
    embed: (s) => (s.detector === 'assigned_secret' ? { value: [{ name: 'DB_PASSWORD', value: s.secret }], trace: quoted(tail(s.secret)) } : null),
  },
  {
    name: 'number',
    embed: (s) => (s.detector === 'credit_card' && /^\d{16}$/.test(s.secret) ? { value: { n: Number(s.secret) }, trace: s.secret } : null),
  },
]
