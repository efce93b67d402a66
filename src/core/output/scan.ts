import { basicAt, emailAt, urlPasswordAt } from './addresses.js'
import { codeAt, isDigit } from './chars.js'
import { type Hit, rankOf } from './detectors.js'
import { beginsAsText, hexText, textsIn, withoutEscapes } from './encodings.js'
import { isPrivateKeyBytes, pemAt, puttyAt } from './keys.js'
import { mayEndNameWith } from './names.js'
import { canBeNumber, ibanAt, mayBeNumber, numberAt } from './numbers.js'
import { DIGIT, DOT, ENDS_RUN, ESCAPE, LOOK, LOOKS, STEP, TWO_CAPITALS } from './table.js'
import { awsSecretAfter, dottedAt, jwtAt, PAIRS, telegramAt, tokenAt } from './tokens.js'
import { assignedAt, bearerAt, flagAt } from './values.js'

/**
 * One pass over the text. Most characters cost one load and one compare: only anchors (`_`, `-`, `:`, `@`, a first digit …)
 * are looked at, each by a check whose price is bounded, so hostile text stays linear. What was tried instead, with figures,
 * is in bench/screening/README.md.
 */

/** Shortest stretch worth decoding: 12 bytes, an e-mail address or a social security number. */
const RUN_MIN = 16
/** From here on a stretch is decoded whole, whatever it begins with. */
const RUN_LONG = 64
/** Shortest stretch in which a word is looked for that was glued to the front: identifiers are shorter, and many. */
const RUN_GLUED = 28
/** Longest head of a dotted token. */
const HEAD_MAX = 28
/** Layers of encoding taken off. */
const DEPTH = 2

const PRIVATE_KEY = rankOf('private_key')
const AWS_ID = rankOf('aws_access_key')

/**
 * All finds in `text`, unsorted, overlapping ones included; an empty array is shared, so do not push to it. `edges` are the
 * places in a text made of several strings where one begins.
 */
export function scan(text: string, edges: ReadonlySet<number> | null = null): Hit[] {
  return text.length < 6 ? NOTHING : new Pass(text, 0, edges).run()
}

const NOTHING: Hit[] = []

class Pass {
  private readonly text: string
  private readonly depth: number
  private readonly edges: ReadonlySet<number> | null
  private hits: Hit[] = NOTHING
  /** Start of the current stretch of base64 characters. */
  private runStart = 0
  private firstEscape = -1
  private lastEscape = -1
  /** The stretch whose eyJ was tried: one attempt each, or `eyJeyJ…` would be decoded from every third character on. */
  private jwtTried = -1

  constructor(text: string, depth: number, edges: ReadonlySet<number> | null) {
    this.text = text
    this.depth = depth
    this.edges = edges
  }

  run(): Hit[] {
    const text = this.text
    const n = text.length
    let state = 0
    for (let i = 0; i < n; i++) {
      const code = text.charCodeAt(i)
      const step = STEP[(state << 16) | code] as number
      const kind = step & 31
      if (kind !== 0) {
        const end = kind === DIGIT ? this.digits(i, state) : this.anchor(i, code, kind)
        if (end > i) {
          i = end
          state = (STEP[codeAt(text, end)] as number) >> 5
          continue
        }
      }
      state = step >> 5
    }
    if (n - this.runStart >= RUN_MIN) this.encoded(n)
    if (this.firstEscape >= 0 && this.depth < DEPTH) this.unescaped()
    return this.hits
  }

  private add(hit: Hit | null): boolean {
    if (hit === null) return false
    if (this.hits === NOTHING) this.hits = []
    this.hits.push(hit)
    return true
  }

  /** Keeps a find at anchor `i`; what it covers is redacted already, so the pass goes on behind it. Returns the last place dealt with. */
  private found(i: number, hit: Hit | null): number {
    if (hit === null) return i
    this.add(hit)
    if (hit.rank === AWS_ID) this.add(awsSecretAfter(this.text, hit.end))
    this.runStart = hit.end
    return Math.max(i, hit.end - 1)
  }

  private digits(i: number, state: number): number {
    const text = this.text
    if (state === TWO_CAPITALS) return this.found(i, ibanAt(text, i))
    let end = i + 1
    while (isDigit(codeAt(text, end))) end++
    if (!canBeNumber(codeAt(text, i - 1), end - i, codeAt(text, end)) || !mayBeNumber(text, i, end)) return end - 1
    const hit = numberAt(text, i)
    return hit === null ? end - 1 : this.found(i, hit)
  }

  private anchor(i: number, code: number, kind: number): number {
    const text = this.text
    if ((kind & LOOK) !== 0) {
      const before = codeAt(text, i - 1)
      const looks = LOOKS[((before & 127) << 7) | code] as number
      if (looks !== 0) {
        const end = this.look(i, code, before, looks)
        if (end > i) return end
      }
    }
    if ((kind & ENDS_RUN) === 0) return i
    if ((kind & DOT) !== 0) {
      const start = this.edges === null ? this.runStart : this.headStart(i, this.edges)
      if (mayBeHead(i - start)) {
        const end = this.found(i, dottedAt(text, i, start))
        if (end > i) return end
      }
    }
    if ((kind & ESCAPE) !== 0) this.escape(i)
    const end = i - this.runStart >= RUN_MIN ? this.encoded(i) : i
    this.runStart = end + 1
    return end
  }

  /** Where the stretch before a dot begins, if strings begin inside it: the last place that makes it the head of a token. */
  private headStart(dot: number, edges: ReadonlySet<number>): number {
    for (let i = dot - 2; i > this.runStart && dot - i <= HEAD_MAX; i--)
      if (edges.has(i) && mayBeHead(dot - i)) return i
    return this.runStart
  }

  /** Looks at the anchor `i` closely. */
  private look(i: number, code: number, before: number, looks: number): number {
    const text = this.text
    if ((looks & 1) !== 0) {
      const end = this.found(i, tokenAt(text, i, PAIRS[((before & 127) << 7) | code] as number, this.edges))
      if (end > i) return end
    }
    if ((looks & 2) === 0) return i
    switch (code) {
      case 32:
        this.word(i, before)
        return i
      case 45:
        return this.found(i, this.armour(i, before))
      case 64:
        // What stands before the @ of a URL's authority is a password, and found as one.
        if (this.hits.at(-1)?.end !== i) this.add(emailAt(text, i))
        return i
      case 74:
        if (codeAt(text, i - 2) !== 101 || this.jwtTried === this.runStart) return i
        this.jwtTried = this.runStart
        return this.found(i, jwtAt(text, i))
      default:
        this.sign(i, code, before)
        return i
    }
  }

  /** `-----BEGIN`, `---- BEGIN`, `PuTTY-` */
  private armour(i: number, before: number): Hit | null {
    const text = this.text
    if (before === 89) return puttyAt(text, i)
    const at = codeAt(text, i + 1) === 32 ? i + 2 : i + 1
    return codeAt(text, at) === 66 ? pemAt(text, at) : null
  }

  /** Words that announce a credential without a sign: `Bearer x`, `Basic x`, `--password x`. `i` is the space. */
  private word(i: number, before: number): void {
    const text = this.text
    if (before === 114) {
      if (text.startsWith('earer', i - 5)) this.add(bearerAt(text, i + 1))
    } else if (before === 99) {
      if (text.startsWith('asic', i - 4)) this.add(basicAt(text, i + 1))
    } else if (before === 100) {
      if (text.startsWith('assword', i - 7)) this.add(flagAt(text, i, 'password'))
    } else if (
      text.startsWith('--token', i - 7) ||
      text.startsWith('--secret', i - 8) ||
      text.startsWith('-key', i - 4)
    )
      this.add(flagAt(text, i, 'key'))
  }

  private sign(i: number, code: number, before: number): void {
    const text = this.text
    if (code === 58) {
      if (codeAt(text, i + 1) === 47 && codeAt(text, i + 2) === 47) {
        this.add(urlPasswordAt(text, i))
        return
      }
      const next = codeAt(text, i + 1)
      if (isDigit(before)) {
        if (next === 65) this.add(telegramAt(text, i))
        if (isDigit(next) && isDigit(codeAt(text, i - 2))) return // the time of day
      }
    }
    if (mayEndNameWith(codeAt(text, i - 2), before)) this.add(assignedAt(text, i))
  }

  private escape(i: number): void {
    if (this.firstEscape < 0) this.firstEscape = i
    this.lastEscape = i
  }

  /** The stretch of base64 characters that ends before `end`; returns the last place dealt with. */
  private encoded(end: number): number {
    const text = this.text
    const start = this.runStart
    if (this.depth >= DEPTH) return end
    const stop = end - start >= 60 && (end - start) % 4 === 0 ? wrappedEnd(text, start, end) : end
    const long = stop - start >= RUN_LONG
    let found = false
    const hex = hexText(text, start, stop)
    if (hex !== null) found = this.inside(hex, start, stop)
    if (!found && (long || beginsAsText(text, start))) found = this.decoded(start, start, stop)
    // `/path/<base64>` and `key-<base64>`: separators are letters of the alphabets too.
    if (found || stop - start < RUN_GLUED) return stop > end ? stop - 1 : end
    const edges = this.edges
    const limit = Math.min(stop - RUN_MIN, start + 256)
    for (let i = start, tries = 0; !found && tries < 4 && i < limit; i++) {
      const c = text.charCodeAt(i)
      const edge = edges?.has(i + 1) === true
      if (!edge && c !== 47 && c !== 45 && c !== 95 && c !== 43) continue
      if (!beginsAsText(text, i + 1) && !(edge && beginsAsKey(text, i + 1))) continue
      tries++
      found = this.decoded(i + 1, start, stop)
    }
    return stop > end ? stop - 1 : end
  }

  private decoded(from: number, start: number, stop: number): boolean {
    const bytes = Buffer.from(this.text.slice(from, stop), 'base64')
    if (isPrivateKeyBytes(bytes)) return this.add({ start, end: this.padded(stop), rank: PRIVATE_KEY })
    let found = false
    for (const t of textsIn(bytes)) found = this.inside(t, start, stop) || found
    return found
  }

  /** A find inside an encoded stretch takes the whole stretch. */
  private inside(text: string, start: number, stop: number): boolean {
    const end = this.padded(stop)
    const ranks = new Set(new Pass(text, this.depth + 1, null).run().map((h) => h.rank))
    for (const rank of ranks) this.add({ start, end, rank })
    return ranks.size > 0
  }

  private padded(stop: number): number {
    let end = stop
    while (end < stop + 2 && codeAt(this.text, end) === 61) end++
    return end
  }

  private unescaped(): void {
    const view = withoutEscapes(this.text, this.firstEscape, this.lastEscape + 1)
    if (view === null) return
    for (const h of new Pass(view.text, this.depth + 1, null).run())
      this.add({ start: view.raw[h.start] as number, end: view.raw[h.end] as number, rank: h.rank })
  }
}

/** Length of the stretch before the first dot of a dotted token: `SG`, or a user id in base64. */
function mayBeHead(length: number): boolean {
  return length === 2 || (length >= 23 && length <= HEAD_MAX)
}

/** The first bytes of a private key in DER, as base64 has them. */
function beginsAsKey(text: string, i: number): boolean {
  return text.startsWith('MII', i) || text.startsWith('MHc', i)
}

/** base64 wrapped into lines of equal length (as mail and `base64` do): the end of the last line. */
function wrappedEnd(text: string, start: number, end: number): number {
  const width = end - start
  let stop = end
  for (;;) {
    const next = codeAt(text, stop) === 13 && codeAt(text, stop + 1) === 10 ? stop + 2 : stop + 1
    if (codeAt(text, next - 1) !== 10) return stop
    let i = next
    while (i - next < width && ((STEP[codeAt(text, i)] as number) & ENDS_RUN) === 0) i++
    if (i === next) return stop
    stop = i
    if (i - next < width) return stop
  }
}
