import { createPrivateKey, createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto'
import { base64, fromBase64 } from './hash.js'

/**
 * Ed25519 keys of the audit log. One key per installation signs tiles and heads; every message it signs begins with its own
 * kind (`sallyport tile v1`, a checkpoint's origin line), so a signature made for one can never be shown as the other.
 */
export const PUBLIC_KEY_BYTES = 32
/** Signature type of Ed25519 in the signed-note format; part of key id and verifier key. */
const ED25519 = 1
/** ASN.1 before the 32 bytes of an Ed25519 private key in PKCS#8 (RFC 8410 section 7). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')

export interface SigningKey {
  /** Raw, 32 bytes. */
  publicKey: Uint8Array
  /** Raw Ed25519 signature, 64 bytes. */
  sign(message: Uint8Array): Uint8Array
}

export type CheckSignature = (message: Uint8Array, signature: Uint8Array) => boolean

/** The key file or key text cannot be used. The message says what it should be. */
export class KeyError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'KeyError'
  }
}

/** The key in a PEM file (PKCS#8, Ed25519, as `openssl genpkey -algorithm ed25519` writes it). Throws KeyError. */
export function readSigningKey(pem: string): SigningKey {
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch (cause) {
    throw new KeyError('no private key in PEM form; make one with `openssl genpkey -algorithm ed25519`', cause)
  }
  if (key.asymmetricKeyType !== 'ed25519') throw new KeyError(`the key is ${key.asymmetricKeyType}, not ed25519`)
  return { publicKey: rawPublicKey(createPublicKey(key)), sign: (message) => sign(null, message, key) }
}

/** A PEM file for a new key. `seed` is 32 random bytes of the caller's. Throws KeyError on another length. */
export function signingKeyPem(seed: Uint8Array): string {
  if (seed.length !== 32) throw new KeyError(`a seed has 32 bytes, not ${seed.length}`)
  const der = Buffer.concat([PKCS8_PREFIX, seed])
  return `-----BEGIN PRIVATE KEY-----\n${base64(der)}\n-----END PRIVATE KEY-----\n`
}

/** A checker for one public key; importing the key costs as much as a third of a check, so keep it. Throws KeyError. */
export function signatureChecker(publicKey: Uint8Array): CheckSignature {
  if (publicKey.length !== PUBLIC_KEY_BYTES) throw new KeyError(`a public key has 32 bytes, not ${publicKey.length}`)
  const x = Buffer.from(publicKey).toString('base64url')
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
  return (message, signature) => signature.length === 64 && verify(null, message, key, signature)
}

function rawPublicKey(key: KeyObject): Uint8Array {
  const { x } = key.export({ format: 'jwk' })
  return Buffer.from(x ?? '', 'base64url')
}

/** Key id of the signed-note format, 8 hex digits: which key of this name made a signature. An identifier, not a proof. */
export function keyId(name: string, publicKey: Uint8Array): string {
  const identity = Buffer.concat([Buffer.from(`${name}\n`), Buffer.from([ED25519]), publicKey])
  return hash('sha256', identity, 'hex').slice(0, 8)
}

/** Names of the signed-note format have no white space and no plus sign. */
export function isKeyName(name: string): boolean {
  return name !== '' && !/[\s+\p{Cc}]/u.test(name)
}

/** `name+id+base64`: a public key with its name, as witnesses and verifiers of signed notes take it. */
export function formatVkey(name: string, publicKey: Uint8Array): string {
  return `${name}+${keyId(name, publicKey)}+${base64(Buffer.concat([Buffer.from([ED25519]), publicKey]))}`
}

/**
 * The raw public key from what a person may have: a verifier key `name+id+base64`, a PEM public key, or 32 bytes in base64.
 * Throws KeyError.
 */
export function parsePublicKey(text: string): Uint8Array {
  const given = text.trim()
  if (given.startsWith('-----BEGIN PUBLIC KEY-----')) return fromPem(given)
  if (!given.includes('+') || fromBase64(given)?.length === PUBLIC_KEY_BYTES) return fromRaw(given)
  return fromVkey(given)
}

function fromPem(pem: string): Uint8Array {
  let key: KeyObject
  try {
    key = createPublicKey(pem)
  } catch (cause) {
    throw new KeyError('the PEM text holds no public key', cause)
  }
  if (key.asymmetricKeyType !== 'ed25519') throw new KeyError(`the key is ${key.asymmetricKeyType}, not ed25519`)
  return rawPublicKey(key)
}

function fromRaw(text: string): Uint8Array {
  const bytes = fromBase64(text)
  if (bytes?.length !== PUBLIC_KEY_BYTES) {
    throw new KeyError('a public key is `name+id+base64`, a PEM public key, or 32 bytes in base64')
  }
  return bytes
}

function fromVkey(text: string): Uint8Array {
  const [name = '', id, ...rest] = text.split('+') // base64 may itself hold plus signs; a name may not
  const bytes = fromBase64(rest.join('+'))
  if (bytes === null || bytes.length !== 1 + PUBLIC_KEY_BYTES || bytes[0] !== ED25519) {
    throw new KeyError('the verifier key holds no Ed25519 key')
  }
  const publicKey = bytes.subarray(1)
  if (!isKeyName(name) || id !== keyId(name, publicKey)) {
    throw new KeyError('the verifier key is damaged: its id is not that of its name and key')
  }
  return publicKey
}
