import { basicAt, emailAt, urlPasswordAt } from './addresses.js'
import { COLUMN_BITS } from './automaton.js'
import { charSet, codeAt, isAmong, isDigit, isWord } from './chars.js'
import { type Hit, rankOf } from './detectors.js'
import { beginsAsText, hexText, textsIn, withoutEscapes } from './encodings.js'
import { isPrivateKeyBytes, pemAt, puttyAt } from './keys.js'
import { mayEndNameWith } from './names.js'
import { canBeNumber, ibanAt, mayBeNumber, numberAt } from './numbers.js'
import { awsSecretAfter, dottedAt, jwtAt, telegramAt, tokenAt } from './tokens.js'
import * as on from './triggers.js'
import { assignedAt, bearerAt, flagAt } from './values.js'

/**
 * One pass over the text. A character costs two loads: what sort it is, and where that leads in the automaton of all triggers.
 * Only where a trigger goes off, or a long stretch of base64 characters ends, is anything looked at, each time by a check whose
 * price is bounded, so hostile text stays linear. What was tried instead, with figures, is in docs/decisions/0010.
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

/** Letters of the alphabets of base64 that join words in names and paths too. */
const GLUE = charSet('/-_+')

const PRIVATE_KEY = rankOf('private_key')
const AWS_ID = rankOf('aws_access_key')

const { next: NEXT, says: SAYS, firstSaying: FIRST_SAYING, start: START } = on.AUTOMATON

/**
 * All finds in `text`, unsorted, overlapping ones included; an empty array is shared, so do not push to it. `seams` are the
 * places in a text made of several strings where one begins, in order.
 */
export function scan(text: string, seams: readonly number[] = NO_SEAMS): Hit[] {
  return text.length < 6 ? NOTHING : TOP.scan(text, seams)
}

const NOTHING: Hit[] = []
const NO_SEAMS: readonly number[] = []

class Pass {
  private readonly depth: number
  private text = ''
  private seams = NO_SEAMS
  private hits = NOTHING
  /** The last place dealt with: a find covers what is behind it, so nothing up to here is looked at again. */
  private done = -1
  /** No stretch of base64 characters begins before here: behind a find a new one does. */
  private resume = 0
  /** From, to: places that finds covered, in which an escape hides nothing more. */
  private covered: number[] | null = null
  /** The stretch whose eyJ was tried: one attempt each, or `eyJeyJ…` would be decoded from every third character on. */
  private jwtTried = -1
  /** The last colon looked at. */
  private colon = -1
  /** The first seam behind the stretches that were decoded: stretches come in order, so none is looked for twice. */
  private seam = 0
  private within: Pass | null = null

  constructor(depth: number) {
    this.depth = depth
  }

  scan(text: string, seams: readonly number[]): Hit[] {
    this.text = text
    this.seams = seams
    this.hits = NOTHING
    this.done = -1
    this.resume = 0
    this.covered = null
    this.jwtTried = -1
    this.colon = -1
    this.seam = 0
    const hits = this.run()
    this.text = '' // it may be a secret, and large
    return hits
  }

  private inner(): Pass {
    this.within ??= new Pass(this.depth + 1)
    return this.within
  }

  run(): Hit[] {
    const text = this.text
    const n = text.length
    let state = START
    /** Length of the stretch of base64 characters so far. */
    let stretch = 0
    let sorts = 0
    for (let i = 0; i < n; i++) {
      const sort = on.SORT[text.charCodeAt(i)] as number
      state = NEXT[(state << COLUMN_BITS) | (sort & on.COLUMN)] as number
      const before = stretch
      stretch = (stretch + 1) & (sort >> 15)
      sorts |= sort
      // A stretch grows by one or ends: the difference says in one compare that a long one ended.
      if (state >= FIRST_SAYING || before - stretch >= RUN_MIN)
        this.look(i, SAYS[state] as number, before, stretch === 0)
    }
    if (n - Math.max(n - stretch, this.resume) >= RUN_MIN) this.encoded(Math.max(n - stretch, this.resume), n)
    if ((sorts & on.ESCAPE) !== 0 && this.depth < DEPTH) this.unescaped()
    return this.hits
  }

  private add(hit: Hit | null): boolean {
    if (hit === null) return false
    if (this.hits === NOTHING) this.hits = []
    this.hits.push(hit)
    return true
  }

  /** Keeps a find at `i`; what it covers is redacted already, so the pass goes on behind it. */
  private found(i: number, hit: Hit | null): boolean {
    if (hit === null) return false
    this.add(hit)
    if (hit.rank === AWS_ID) this.add(awsSecretAfter(this.text, hit.end))
    this.goOn(i, hit.end)
    return this.done > i
  }

  /** Nothing between `i` and `end` is looked at. */
  private goOn(i: number, end: number): void {
    this.covered ??= []
    this.covered.push(i, end)
    this.resume = end
    this.done = Math.max(i, end - 1)
  }

  /** Looks closely at `i`: a trigger went off, or behind `stretch` base64 characters something else `ends` them. */
  private look(i: number, says: number, stretch: number, ends: boolean): void {
    if ((says & on.GROUPS) !== 0 && this.number(this.firstGroup(i))) return
    if ((says & on.NUMBER) !== 0 && this.number(i)) return
    if (i <= this.done) return
    if (ends && stretch >= RUN_MIN && isDigit(codeAt(this.text, i - 1)) && this.number(i - 1)) return
    const start = Math.max(i - stretch, this.resume)
    const long = ends && i - start >= RUN_MIN
    if (says !== 0 && this.trigger(i, says, start)) return
    // What begins before the end of a stretch goes before it, though its trigger comes after.
    if (long && codeAt(this.text, i) === 32 && codeAt(this.text, i - 1) === 45 && this.armour(i - 1)) return
    if (long && codeAt(this.text, i) === 58 && isWord(codeAt(this.text, i - 1))) this.sign(i)
    if (ends && codeAt(this.text, i) === 46 && (long || (says & on.DOT) !== 0)) {
      const head = this.seams === NO_SEAMS ? start : this.headStart(i, start)
      if (mayBeHead(i - head) && this.found(i, dottedAt(this.text, i, head))) return
    }
    if (long) this.encoded(start, i)
  }

  /** The last digit of the group before the one that `i` is in. */
  private firstGroup(i: number): number {
    let at = i
    while (isDigit(codeAt(this.text, at - 1))) at--
    return isDigit(codeAt(this.text, at - 2)) ? at - 2 : at - 3
  }

  /** The number whose first group has the digit at `i`; true if it was found. */
  private number(i: number): boolean {
    const text = this.text
    let at = i
    while (isDigit(codeAt(text, at - 1))) at--
    if (at <= this.done || isWord(codeAt(text, at - 1))) return false
    let end = i + 1
    while (isDigit(codeAt(text, end))) end++
    if (!canBeNumber(codeAt(text, at - 1), end - at, codeAt(text, end)) || !mayBeNumber(text, at, end)) return false
    return this.found(at, numberAt(text, at))
  }

  /** Where the stretch before a dot begins, if strings begin inside it: the last place that makes it the head of a token. */
  private headStart(dot: number, start: number): number {
    for (let i = dot - 2; i > start && dot - i <= HEAD_MAX; i--)
      if (mayBeHead(dot - i) && isAmong(this.seams, i)) return i
    return start
  }

  /** What the triggers at `i` announce; true where a find covers it. `start` is where the stretch of base64 characters began. */
  private trigger(i: number, says: number, start: number): boolean {
    const text = this.text
    if ((says & on.IBAN) !== 0 && this.found(i, ibanAt(text, i))) return true
    if ((says & on.TOKEN) !== 0 && this.found(i, tokenAt(text, i, this.seams))) return true
    if ((says & on.ARMOUR) !== 0)
      return this.armour(codeAt(text, i) === 45 ? i : codeAt(text, i - 1) === 45 ? i - 1 : i - 2)
    if ((says & on.WORD) !== 0) this.word(i, codeAt(text, i - 1))
    if ((says & on.SIGN) !== 0) this.sign(i)
    if ((says & on.COLON) !== 0 && i - 2 > this.done) this.sign(i - 2)
    // What stands before the @ of a URL's authority is a password, and found as one.
    if ((says & on.AT) !== 0 && this.hits.at(-1)?.end !== i) this.add(emailAt(text, i))
    if ((says & on.JWT) === 0 || this.jwtTried === start || !text.startsWith('eyJ', i - 2)) return false
    this.jwtTried = start
    return this.found(i, jwtAt(text, i))
  }

  /** `-----BEGIN`, `---- BEGIN`, `PuTTY-`; `i` is the last dash. */
  private armour(i: number): boolean {
    const text = this.text
    if (i <= this.done) return false
    const before = codeAt(text, i - 1)
    if (before === 89) return this.found(i, puttyAt(text, i))
    // The low bits of a soft hyphen and of a no-break space are those of what they stand for.
    if ((before & 127) !== 45 && (before & 127) !== 32) return false
    const at = codeAt(text, i + 1) === 32 ? i + 2 : i + 1
    return codeAt(text, at) === 66 && this.found(i, pemAt(text, at))
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

  private sign(i: number): void {
    const text = this.text
    const before = codeAt(text, i - 1)
    if (codeAt(text, i) === 58) {
      if (this.colon === i) return
      this.colon = i
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

  /** A stretch of base64 characters, and the lines of the same length behind it. */
  private encoded(start: number, end: number): void {
    const text = this.text
    if (this.depth >= DEPTH) return
    const stop = end - start >= 60 && (end - start) % 4 === 0 ? wrappedEnd(text, start, end) : end
    const long = stop - start >= RUN_LONG
    let found = false
    const hex = hexText(text, start, stop)
    if (hex !== null) found = this.inside(hex, start, stop)
    if (!found && (long || beginsAsText(text, start))) found = this.decoded(start, start, stop)
    // `/path/<base64>` and `key-<base64>`: separators are letters of the alphabets too.
    if (stop > end) this.goOn(end, stop)
    if (found || stop - start < RUN_GLUED) return
    const limit = Math.min(stop - RUN_MIN, start + 256)
    const { seams } = this
    for (let i = start, tries = 0; !found && tries < 4 && i < limit; i++) {
      while (this.seam < seams.length && (seams[this.seam] as number) <= i) this.seam++
      const edge = this.seam < seams.length && seams[this.seam] === i + 1
      if (!edge && GLUE[text.charCodeAt(i)] !== 1) continue
      if (!beginsAsText(text, i + 1) && !(edge && beginsAsKey(text, i + 1))) continue
      tries++
      found = this.decoded(i + 1, start, stop)
    }
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
    const ranks = new Set(
      this.inner()
        .scan(text, NO_SEAMS)
        .map((h) => h.rank),
    )
    for (const rank of ranks) this.add({ start, end, rank })
    return ranks.size > 0
  }

  private padded(stop: number): number {
    let end = stop
    while (end < stop + 2 && codeAt(this.text, end) === 61) end++
    return end
  }

  /** The first escape from `from` on in this direction that no find covered, or -1. */
  private escape(from: number, step: 1 | -1): number {
    const { text } = this
    const covered = this.covered ?? []
    let range = step > 0 ? 0 : covered.length - 2
    for (let i = from; i >= 0 && i < text.length; i += step) {
      if (((on.SORT[text.charCodeAt(i)] as number) & on.ESCAPE) === 0) continue
      // Finds cover one stretch after another, in order.
      if (step > 0) while (range < covered.length && (covered[range + 1] as number) <= i) range += 2
      else while (range >= 0 && (covered[range] as number) >= i) range -= 2
      if (covered[range] === undefined || !(i > (covered[range] as number) && i < (covered[range + 1] as number)))
        return i
    }
    return -1
  }

  private unescaped(): void {
    const first = this.escape(0, 1)
    if (first < 0) return
    const view = withoutEscapes(this.text, first, this.escape(this.text.length - 1, -1) + 1)
    if (view === null) return
    for (const h of this.inner().scan(view.text, NO_SEAMS))
      this.add({ start: view.raw[h.start] as number, end: view.raw[h.end] as number, rank: h.rank })
  }
}

const TOP = new Pass(0)

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
    while (i - next < width && (on.SORT[codeAt(text, i)] as number) < 0) i++
    if (i === next) return stop
    stop = i
    if (i - next < width) return stop
  }
}
