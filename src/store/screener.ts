import { canonical, saltedHash, saltedHashOfText, sha256 } from '../core/canonical.js'
import type { Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import { DETECTORS, type Finding, type OutputPolicy, screenOrQuarantine, type Verdict } from '../core/output.js'
import { Problem } from '../errors.js'
import type { Ids } from '../platform/ids.js'
import type { Threads } from '../platform/threads.js'
import { type PayloadRow, pointerTo } from './payloads.js'
import type { Sealer } from './sealer.js'

/** Raw of a quarantined result is kept sealed for a person to look at, this long. */
export const QUARANTINE_KEPT_MS = 7 * 86_400_000

export interface Screened {
  verdict: Verdict
  findings: Finding[]
  /** Why it was held back unread. */
  fault?: string
  /** Canonical text of the raw value, its bytes in UTF-8 and its SHA-256. */
  body: string
  bytes: number
  digest: string
  /** Canonical text of what is left of it, '' for QUARANTINE. */
  shown: string
  /** Salted hash of what is kept: of what is left, or of the raw text where that is sealed. */
  hash: string
}

/** Everything that costs time in proportion to a value: canonical text, screen, hashes. The same here and in a thread. */
export function screening(raw: Json, policy: OutputPolicy, salt: string): Screened {
  const body = canonical(raw)
  const { verdict, output, ...found } = screenOrQuarantine(raw, policy)
  if (verdict === 'QUARANTINE') return { verdict, ...found, ...heldBack(body, salt) }
  const shown = verdict === 'ALLOW' ? body : canonical(output)
  return { verdict, ...found, ...about(body), shown, hash: saltedHashOfText(salt, shown) }
}

const about = (body: string) => ({ body, bytes: Buffer.byteLength(body), digest: sha256(body) })
const heldBack = (body: string, salt: string) => ({ ...about(body), shown: '', hash: saltedHash(salt, body) })

/** A value to screen, as it goes to a thread: an output policy is a function, so what it says of each detector goes. */
export interface Task {
  raw: Json
  /** In the order of DETECTORS. */
  actions: Verdict[]
  salt: string
}

function taskOf(raw: Json, policy: OutputPolicy, salt: string): Task {
  return { raw, salt, actions: DETECTORS.map((detector) => policy.action(detector.name, detector.class)) }
}

export function perform({ raw, actions, salt }: Task): Screened {
  const said = new Map(DETECTORS.map((detector, i) => [detector.name, actions[i] as Verdict]))
  return screening(raw, { action: (name) => said.get(name) as Verdict }, salt)
}

/**
 * From about here on a value goes to a thread. Handing it over costs the event loop a tenth of screening it here, at every
 * size (docs/decisions/0010); but below this the loop is held for less than a millisecond, and a result is not worth the
 * two copies and the wait for a thread.
 */
const LARGE = 32_768

/** Characters of the strings in it, and something for all else: a bound on the work, from a look that ends at `limit`. */
export function isLarge(value: Json, limit = LARGE): boolean {
  let left = limit
  const open: Json[] = [value]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    left -= typeof next === 'string' ? next.length + 3 : 5
    if (left < 0) return true
    if (typeof next !== 'object' || next === null) continue
    if (Array.isArray(next)) {
      if (next.length * 2 > left) return true
      for (const item of next) open.push(item)
    } else
      for (const key in next) {
        left -= key.length + 4
        if (left < 0) return true
        open.push(next[key] as Json)
      }
  }
  return false
}

/** A result as it is kept, with what the caller may want to know of the raw one. */
export interface Kept {
  verdict: 'ALLOW' | 'REDACT' | 'QUARANTINE'
  findings: Json
  /** Detectors and counts for the log, e.g. `github_token×2`. */
  summary: string
  payload: PayloadRow
  /** Salted hash of what is kept readable. */
  result_hash: string
  /** UTF-8 length of the raw value's canonical text, and its SHA-256. */
  bytes: number
  digest: string
}

/**
 * Screens what workers send: small values here, large ones in threads, so that nobody waits behind them.
 * A value whose thread died or was late is held back as QUARANTINE, unread: the same value would only do it again.
 */
export class Screener {
  readonly #ids: Ids
  readonly #sealer: Sealer
  readonly #threads: Threads<Task, Screened> | null

  /** @param threads null: everything here, as tests of other things may want it */
  constructor(ids: Ids, sealer: Sealer, threads: Threads<Task, Screened> | null) {
    this.#ids = ids
    this.#sealer = sealer
    this.#threads = threads
  }

  /**
   * Screens a value and makes the row to keep: the text, its redacted copy (the raw is dropped), or the raw sealed.
   * Throws Problem `overloaded` while too many large ones wait, `draining`; then nothing is decided about the value.
   */
  async keep(
    job: Pick<Job, 'tenant' | 'job_id'>,
    kind: 'result' | 'effect',
    raw: Json,
    policy: OutputPolicy,
    now: number,
  ): Promise<Kept> {
    const salt = Buffer.from(this.#ids.bytes(16)).toString('hex')
    const { verdict, findings, body, bytes, digest, shown, hash } = await this.#screened(raw, policy, salt)
    const own = kind === 'result' && verdict !== 'QUARANTINE'
    const ptr = own ? pointerTo(job.job_id, 'result') : this.#ids.id('ptr', now)
    const row = { tenant: job.tenant, ptr, job_id: job.job_id, salt, created_at: now }
    const payload: PayloadRow =
      verdict === 'QUARANTINE'
        ? {
            kind: 'sealed',
            ...row,
            body: this.#sealer.seal(body, `${job.tenant}/${ptr}`),
            expires_at: now + QUARANTINE_KEPT_MS,
          }
        : { kind, body: shown, expires_at: null, ...row }
    const summary = findings.map((f) => `${f.detector}×${f.count}`).join(', ')
    return { verdict, findings: findings as unknown as Json, summary, payload, result_hash: hash, bytes, digest }
  }

  async #screened(raw: Json, policy: OutputPolicy, salt: string): Promise<Screened> {
    if (this.#threads === null || !isLarge(raw)) return screening(raw, policy, salt)
    try {
      return await this.#threads.run(taskOf(raw, policy, salt))
    } catch (error) {
      if (error instanceof Problem) throw error
      const fault = error instanceof Error ? error.message : 'unknown'
      return { verdict: 'QUARANTINE', findings: [], fault, ...heldBack(canonical(raw), salt) }
    }
  }
}
