import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync } from 'node:crypto'
import { canonical } from '../core/canonical.js'
import type { Json } from '../core/json.js'
import type { Ids } from '../platform/ids.js'

/**
 * Encryption of what is quarantined (AES-256-GCM, a key derived from the signing key, the pointer as associated data, so a
 * sealed text cannot be moved under another pointer). Who reads the database alone reads none of it.
 */
export class Sealer {
  readonly #key: Buffer
  readonly #ids: Ids

  /** @param secret the installation's secret, e.g. the signing key's PEM; never stored in the database */
  constructor(secret: string, ids: Ids) {
    this.#key = Buffer.from(hkdfSync('sha256', secret, 'sallyport', 'sealed payloads v1', 32))
    this.#ids = ids
  }

  seal(text: string, context: string): string {
    const iv = this.#ids.bytes(12)
    const cipher = createCipheriv('aes-256-gcm', this.#key, iv).setAAD(Buffer.from(context))
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
    return `v1.${Buffer.concat([iv, sealed, cipher.getAuthTag()]).toString('base64')}`
  }

  /** Throws when the text was changed or belongs to another pointer. */
  open(sealed: string, context: string): string {
    const bytes = Buffer.from(sealed.slice(3), 'base64')
    const decipher = createDecipheriv('aes-256-gcm', this.#key, bytes.subarray(0, 12)).setAAD(Buffer.from(context))
    decipher.setAuthTag(bytes.subarray(bytes.length - 16))
    return Buffer.concat([decipher.update(bytes.subarray(12, bytes.length - 16)), decipher.final()]).toString('utf8')
  }

  /** Tells a repeat from another value. Keyed, so that the mark says nothing about the value to who reads table or log. */
  mark(value: Json): string {
    return createHmac('sha256', this.#key)
      .update(`mark\n${canonical(value)}`)
      .digest('hex')
  }

  /** A stable outside idempotency key for an effect: the same in every attempt, not guessable from outside. */
  effectKey(tenant: string, job_id: string, effect_key: string): string {
    return createHash('sha256')
      .update(this.#key)
      .update(JSON.stringify(['effect', tenant, job_id, effect_key]))
      .digest('hex')
      .slice(0, 48)
  }
}
