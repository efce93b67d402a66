import { ALNUM, BASE64, charSet, codeAt, isLetter, isWord, stretch } from './chars.js'
import { type Hit, rankOf } from './detectors.js'

const EMAIL = rankOf('email')
const CONNECTION = rankOf('connection_string')
const URL_CREDENTIALS = rankOf('url_credentials')
const BASIC = rankOf('basic_auth')

const LOCAL = charSet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-'")
const DOMAIN = charSet('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-')

/** `logo@2x.png`, `getty@tty1.service`, `lib@next.js`: what stands behind the last dot is a kind of file, not a domain. */
const NOT_A_DOMAIN = new Set(
  'png jpg jpeg gif svg webp avif ico js mjs cjs jsx ts tsx css scss json lock html yaml yml toml txt service socket timer target slice mount scope device'.split(
    ' ',
  ),
)
/** Mailboxes that are no person: `git@github.com:org/repo.git` stands in every clone URL. */
const NOBODY = new Set(['git', 'hg', 'svn', 'noreply', 'no-reply'])

/** `at` is the @. */
export function emailAt(text: string, at: number): Hit | null {
  if (ALNUM[codeAt(text, at + 1)] !== 1) return null
  let start = at
  while (at - start < 64 && LOCAL[codeAt(text, start - 1)] === 1) start--
  while (start < at && ALNUM[codeAt(text, start)] !== 1) start++
  if (start === at) return null
  let end = stretch(text, at + 1, DOMAIN, at + 254)
  while (!isWord(codeAt(text, end - 1))) end--
  let dot = end - 1 // not lastIndexOf: it would look for a dot back to the beginning of the text, for every @
  while (dot > at && codeAt(text, dot) !== 46) dot--
  if (dot <= at + 1 || end - dot - 1 < 2 || end - dot - 1 > 24 || codeAt(text, dot - 1) === 46) return null
  const top = text.slice(dot + 1, end).toLowerCase()
  if (!(top.startsWith('xn--') || [...top].every((c) => isLetter(c.charCodeAt(0)))) || NOT_A_DOMAIN.has(top))
    return null
  if (NOBODY.has(text.slice(start, at).toLowerCase())) return null
  return { start, end, rank: EMAIL }
}

const SCHEME = charSet('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+.-')
const AUTHORITY_MAX = 512
const DATA_SCHEMES =
  /^(postgres(ql)?|mysql(x)?|mariadb|mongodb(\+srv)?|rediss?|amqps?|nats|kafka|mssql|sqlserver|oracle|jdbc|clickhouse|cassandra|ldaps?|smtps?|ftps?|sftp|mqtts?|couchdb|neo4j(\+s)?|bolt)$/i

/**
 * A password in `scheme://user:password@host`; `at` is the colon of `://`. Only the password is taken, so what remains still
 * says which host was meant. The password ends at the LAST @ of the authority, as URL parsers have it.
 */
export function urlPasswordAt(text: string, at: number): Hit | null {
  let from = at
  while (at - from < 24 && SCHEME[codeAt(text, from - 1)] === 1) from--
  if (from === at) return null
  const limit = Math.min(text.length, at + 3 + AUTHORITY_MAX)
  let colon = -1
  let host = -1
  for (let i = at + 3; i < limit; i++) {
    const c = codeAt(text, i)
    // An authority ends at / ? # and at whatever ends a word of the text around it.
    if (c <= 32 || c === 47 || c === 63 || c === 34 || c === 39 || c === 60 || c === 62 || c === 96 || c === 92) break
    if (c === 58 && colon < 0) colon = i
    if (c === 64 && colon >= 0) host = i
  }
  if (host < 0 || host === colon + 1) return null
  const password = text.slice(colon + 1, host)
  if (isReference(password) || isPlaceholder(password)) return null
  return { start: colon + 1, end: host, rank: DATA_SCHEMES.test(text.slice(from, at)) ? CONNECTION : URL_CREDENTIALS }
}

/** `$NAME`, `${NAME}`, `$(…)`, `{{ name }}`, `{name}`, `<name>`, `%NAME%`, `%s`: points at a secret and is none. */
export function isReference(value: string): boolean {
  const first = codeAt(value, 0)
  const last = codeAt(value, value.length - 1)
  if (first === 36) return /^\$([{([]|[A-Za-z_]\w*$)/.test(value)
  if (first === 123) return last === 125
  if (first === 60) return last === 62
  if (first === 37) return last === 37 || value.length === 2
  return false
}

/** Our own placeholders, another tool's (`[REDACTED]`, `[FILTERED]`), or repeated mask characters; nothing else beside them. */
export function isPlaceholder(value: string): boolean {
  if (/^(\[REDACTED:[a-z0-9_]{1,40}\])+$/.test(value)) return true
  return /^([*xX.•#-]+|\[[A-Z_ ]{1,24}\])$/.test(value)
}

/** `Basic <base64>` whose decoded text is `user:password`; `from` is the first character behind `Basic `. */
export function basicAt(text: string, from: number): Hit | null {
  let end = stretch(text, from, BASE64, from + 1024)
  while (codeAt(text, end) === 61 && end - from < 1026) end++
  if (end - from < 8 || (end - from) % 4 !== 0) return null
  const pair = Buffer.from(text.slice(from, end), 'base64').toString('latin1')
  const colon = pair.indexOf(':')
  if (colon < 0 || colon === pair.length - 1) return null
  for (let i = 0; i < pair.length; i++) if (pair.charCodeAt(i) < 32 || pair.charCodeAt(i) === 127) return null
  return { start: from, end, rank: BASIC }
}
