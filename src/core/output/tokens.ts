import {
  ALNUM,
  BASE64,
  type CharSet,
  charSet,
  codeAt,
  HEX,
  isAmong,
  isDigit,
  isLetter,
  isUpper,
  isWord,
  stretch,
  TOKEN,
} from './chars.js'
import { type Hit, rankOf } from './detectors.js'

/**
 * A credential that its issuer marked: a literal, then a tail of one alphabet. A tail longer than the issuer makes still
 * matches and is redacted whole, or one more character would be a way out.
 */
interface TokenShape {
  rank: number
  literal: string
  tail: CharSet
  min: number
  /** The literal also ends ordinary words (`task-`, `sp_`): it counts only where no letter or digit stands before it. */
  alone: boolean
  /** Looks at the first characters of the tail only, so a rejected candidate costs a constant. */
  check?: (text: string, from: number, to: number) => boolean
}

/** Characters on which the pass stops to look for a literal; every literal has one behind its first character. */
export const ANCHORS = '_-.=IJK'
const ANCHOR_SET = charSet(ANCHORS)

const DOTTED = charSet('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.')
const PATH = charSet('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-/')
const UPPER_DIGIT = charSet('ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789')

function shape(
  detector: string,
  literals: string,
  tail: CharSet,
  min: number,
  more: Partial<TokenShape> = {},
): TokenShape[] {
  return literals.split(' ').map((literal) => ({ rank: rankOf(detector), literal, tail, min, alone: false, ...more }))
}

function hasDigitAndLetter(text: string, from: number, to: number): boolean {
  let digit = false
  let letter = false
  for (let i = from; i < to && !(digit && letter); i++) {
    const c = codeAt(text, i)
    digit ||= isDigit(c)
    letter ||= isLetter(c)
  }
  return digit && letter
}

function hasThreeKinds(text: string, from: number, to: number): boolean {
  let upper = 0
  for (let i = from; i < to; i++) if (isUpper(codeAt(text, i))) upper++
  return upper > 0 && upper < to - from && hasDigitAndLetter(text, from, to)
}

/** Random base64url or hex: `sp_addextendedproperty` and other snake_case names are neither. */
function looksRandom(text: string, from: number, to: number): boolean {
  // Asked first because names fail it: all else is asked of what has a digit.
  return hasDigitAndLetter(text, from, to) && (hasThreeKinds(text, from, to) || hasRandomStretch(text, from, to))
}

function hasRandomStretch(text: string, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    const end = stretch(text, i, ALNUM, to)
    if (end - i >= 20 && hasDigitAndLetter(text, i, end)) return true
    i = end
  }
  return false
}

const ALONE = { alone: true }

const SHAPES: TokenShape[] = [
  ...shape('aws_access_key', 'AKIA ASIA', UPPER_DIGIT, 16),
  ...shape('github_token', 'ghp_ gho_ ghu_ ghs_ ghr_', ALNUM, 20),
  ...shape('github_token', 'github_pat_', TOKEN, 22),
  ...shape('gitlab_token', 'glpat- gldt- glrt- glptt- glcbt- glagent-', DOTTED, 20),
  ...shape('slack_token', 'xoxb- xoxp- xoxa- xoxr- xoxs- xoxe- xapp-', TOKEN, 15, {
    check: (t, from, to) => hasDigitAndLetter(t, from, to) || isDigit(t.charCodeAt(from)),
  }),
  ...shape('slack_webhook', 'hooks.slack.com/services/ hooks.slack.com/workflows/ hooks.slack.com/triggers/', PATH, 20),
  ...shape('stripe_key', 'sk_live_ rk_live_ sk_test_ rk_test_ whsec_', ALNUM, 16),
  ...shape('google_api_key', 'AIza', TOKEN, 33),
  ...shape('google_api_key', 'ya29.', TOKEN, 30),
  ...shape('google_api_key', 'GOCSPX-', TOKEN, 20),
  ...shape('anthropic_key', 'sk-ant-', TOKEN, 20),
  ...shape('openai_key', 'sk-proj- sk-svcacct- sk-admin- sk-None-', TOKEN, 20, ALONE),
  ...shape('openai_key', 'sk-', ALNUM, 20, { alone: true, check: hasDigitAndLetter }),
  ...shape('azure_storage_key', 'AccountKey= accountkey= SharedAccessKey=', BASE64, 40),
  ...shape('npm_token', 'npm_', ALNUM, 30),
  ...shape('pypi_token', 'pypi-', TOKEN, 32, { check: hasThreeKinds }),
  ...shape('twilio_key', 'SK', HEX, 32, ALONE),
  ...shape('discord_token', 'discord.com/api/webhooks/ discordapp.com/api/webhooks/', PATH, 40),
  ...shape('huggingface_token', 'hf_', ALNUM, 30),
  ...shape('digitalocean_token', 'dop_v1_ doo_v1_ dor_v1_', HEX, 40),
  ...shape('shopify_token', 'shpat_ shpss_ shpca_ shppa_', HEX, 32),
  ...shape('sallyport_key', 'sp_', TOKEN, 24, { alone: true, check: looksRandom }),
  ...shape(
    'service_token',
    'glsa_ lin_api_ figd_ pscale_tkn_ pscale_pw_ sbp_ dckr_pat_ rubygems_ pat_live_',
    TOKEN,
    24,
  ),
  ...shape('service_token', 'gsk_ r8_ ntn_ secret_live_', ALNUM, 30, ALONE),
  ...shape('service_token', 'hvs. hvb. dp.pt. dp.st.', TOKEN, 24, { alone: true, check: hasDigitAndLetter }),
  ...shape('service_token', 'sq0csp- sq0atp- NRAK- PMAK- dt0c01.', TOKEN, 20),
  ...shape('service_token', 'key-', HEX, 32, ALONE),
  ...shape('service_token', 'atlasv1.', TOKEN, 40),
  ...shape('private_key', 'AGE-SECRET-KEY-1', ALNUM, 40),
]

/** Where in its literal a shape is noticed: the last anchor that has a character before it. */
function anchorOf(literal: string): number {
  for (let i = literal.length - 1; i > 0; i--) if (ANCHOR_SET[literal.charCodeAt(i)] === 1) return i
  throw new Error(`no anchor in ${literal}`)
}

interface Candidate extends TokenShape {
  offset: number
  /** The third character from the anchor backwards, -1 if there is none: one compare before the literal is. */
  third: number
}

/** PAIRS[before << 7 | anchor] is 0 or 1 + an index into CANDIDATES: one load decides nearly every anchor. */
export const PAIRS = new Uint8Array(128 * 128)
const CANDIDATES: Candidate[][] = []

for (const s of SHAPES) {
  const offset = anchorOf(s.literal)
  const pair = (s.literal.charCodeAt(offset - 1) << 7) | s.literal.charCodeAt(offset)
  if (PAIRS[pair] === 0) PAIRS[pair] = CANDIDATES.push([])
  CANDIDATES[(PAIRS[pair] ?? 0) - 1]?.push({ ...s, offset, third: offset > 1 ? s.literal.charCodeAt(offset - 2) : -1 })
}

/** What the text holds where the pass is to stop for a token: each literal up to its anchor. */
export const MARKS: readonly string[] = SHAPES.map(({ literal }) => literal.slice(0, anchorOf(literal) + 1))

/** `startsWith` of the engine takes longer than the few characters themselves. */
function holds(text: string, at: number, literal: string): boolean {
  for (let i = 0; i < literal.length; i++) if (codeAt(text, at + i) !== literal.charCodeAt(i)) return false
  return true
}

/** The token noticed at the anchor `at` under `entry` of PAIRS, or null. At an edge (of a joined string) every token stands alone. */
export function tokenAt(text: string, at: number, seams: readonly number[]): Hit | null {
  const entry = PAIRS[((codeAt(text, at - 1) & 127) << 7) | (codeAt(text, at) & 127)] as number
  if (entry === 0) return null
  const third = codeAt(text, at - 2)
  const candidates = CANDIDATES[entry - 1] as Candidate[]
  for (let k = 0; k < candidates.length; k++) {
    const c = candidates[k] as Candidate
    if (c.third !== third && c.third >= 0) continue
    const start = at - c.offset
    if (start < 0 || !holds(text, start, c.literal)) continue
    if (c.alone && isWord(codeAt(text, start - 1)) && !isAmong(seams, start)) continue
    const from = start + c.literal.length
    const window = stretch(text, from, c.tail, from + Math.max(c.min, 64))
    if (window - from < c.min) continue
    if (c.check !== undefined && !c.check(text, from, window)) continue
    let end = stretch(text, window, c.tail)
    if (c.tail === BASE64) while (codeAt(text, end) === 61) end++
    return { start, end, rank: c.rank }
  }
  return null
}

const SENDGRID = rankOf('sendgrid_key')
const TELEGRAM = rankOf('telegram_token')
const DISCORD = rankOf('discord_token')
const AWS_SECRET = rankOf('aws_secret_key')

/** `SG.<16..64>.<32+>`, and Discord's `<user id in base64>.<6..7>.<27+>`; `at` is the first dot, `runStart` the stretch before it. */
export function dottedAt(text: string, at: number, runStart: number): Hit | null {
  const head = at - runStart
  if (head === 2 ? !text.startsWith('SG', runStart) : head < 23 || head > 28) return null
  const middle = stretch(text, at + 1, TOKEN, at + 66)
  if (codeAt(text, middle) !== 46) return null
  const end = stretch(text, middle + 1, TOKEN)
  const [a, b] = [middle - at - 1, end - middle - 1]
  if (head === 2) return a >= 16 && b >= 32 ? { start: runStart, end, rank: SENDGRID } : null
  if (a < 5 || a > 8 || b < 27) return null
  const id = Buffer.from(text.slice(runStart, at), 'base64url')
  return id.length >= 16 && id.every(isDigit) ? { start: runStart, end, rank: DISCORD } : null
}

/** `<8..10 digits>:AA<33+>`; `at` is the colon. */
export function telegramAt(text: string, at: number): Hit | null {
  if (codeAt(text, at + 1) !== 65 || codeAt(text, at + 2) !== 65) return null
  let start = at
  while (at - start < 11 && isDigit(codeAt(text, start - 1))) start--
  if (at - start < 8 || at - start > 10) return null
  const end = stretch(text, at + 1, TOKEN)
  return end - at - 1 >= 34 ? { start, end, rank: TELEGRAM } : null
}

/** AWS hands out the id and its 40-character secret together: look for that within 120 characters behind the id. */
export function awsSecretAfter(text: string, from: number): Hit | null {
  const limit = Math.min(text.length, from + 120)
  for (let i = from; i < limit; i++) {
    if (BASE64[codeAt(text, i)] !== 1) continue
    const end = stretch(text, i, BASE64)
    if (end - i === 40 && hasThreeKinds(text, i, end)) return { start: i, end, rank: AWS_SECRET }
    i = end
  }
  return null
}

const JWT = rankOf('jwt')
const JWT_HEADER_MAX = 4096
/** `{"alg":"}` is no header yet. */
const JWT_HEADER_MIN = 12

/** `at` is the J of `eyJ`. Two parts or more; the header must be JSON that names an algorithm. Also JWE's five parts. */
export function jwtAt(text: string, at: number): Hit | null {
  const start = at - 2
  const dot = stretch(text, at, TOKEN, start + JWT_HEADER_MAX)
  if (dot - start < JWT_HEADER_MIN || codeAt(text, dot) !== 46 || TOKEN[codeAt(text, dot + 1)] !== 1) return null
  // Not JSON.parse: a failed one makes an Error with its stack, and hostile text can ask for one every twelve characters.
  const header = Buffer.from(text.slice(start, dot), 'base64url').toString('latin1')
  if (!header.trimEnd().endsWith('}') || !/"alg"\s*:\s*"/.test(header)) return null
  let end = stretch(text, dot + 1, TOKEN)
  for (let part = 0; part < 3 && codeAt(text, end) === 46; part++) {
    const next = stretch(text, end + 1, TOKEN)
    if (next === end + 1) break
    end = next
  }
  return { start, end, rank: JWT }
}
