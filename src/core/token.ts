import { createPrivateKey, createPublicKey, hash, hkdfSync, type KeyObject } from 'node:crypto'
import { errors, type JWTPayload, jwtVerify, SignJWT } from 'jose'
import type { Permission } from './access.js'
import { KeyError, signingKeyPem } from './audit/keys.js'

/**
 * Tokens: a key's right for something narrower and for minutes, as a JWT (RFC 7519) signed with Ed25519. A token only says what it was
 * narrowed to. Whether its key still stands, and whose it is, is read from the store with every use, so revoking the key ends it.
 */
export interface TokenClaims {
  /** Its id: the log names it, no row does. */
  jti: string
  tenant: string
  principal: string
  /** The key it was minted from. */
  key_id: string
  /** Epoch ms, whole seconds. */
  issued_at: number
  expires_at: number
  /** What the key's own bounds are narrowed to; null: not narrowed. */
  topics: string[] | null
  permissions: Permission[] | null
  run_id: string | null
}

/** A public key as JWKS shows it (RFC 7517, RFC 8037). */
export interface PublicJwk {
  kty: 'OKP'
  crv: 'Ed25519'
  x: string
  kid: string
  use: 'sig'
  alg: 'EdDSA'
}

export interface TokenKey {
  jwk: PublicJwk
  publicKey: KeyObject
  privateKey: KeyObject
}

const AUDIENCE = 'sallyport'
const ISSUER = 'sallyport/'
/** Nodes' clocks are within 500 ms of the store's; an agent's may be further off when it decides to ask for the next token. */
export const TOLERANCE_S = 5
const LONGEST = 8192
const TOKEN_FORM = /^eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/

/** Whether this may be meant as a token: three parts of base64url, the first an object, the last empty where it is not signed at all. */
export const isTokenForm = (text: string) => text.length <= LONGEST && TOKEN_FORM.test(text)

/**
 * The key that signs tokens: derived from the installation's, so that every node has it and nobody keeps a second file, and another
 * one, so that the JWKS never publishes what vouches for the log. Throws KeyError.
 * @param pem the installation's signing key
 */
export function tokenKey(pem: string): TokenKey {
  const { d } = createPrivateKey(pem).export({ format: 'jwk' })
  if (d === undefined) throw new KeyError('the signing key has no seed to derive from')
  const seed = hkdfSync('sha256', Buffer.from(d, 'base64url'), 'sallyport', 'token signing key v1', 32)
  const privateKey = createPrivateKey(signingKeyPem(new Uint8Array(seed)))
  const publicKey = createPublicKey(privateKey)
  const { x = '' } = publicKey.export({ format: 'jwk' })
  // RFC 7638: the members that make the key, sorted.
  const kid = hash('sha256', `{"crv":"Ed25519","kty":"OKP","x":"${x}"}`, 'base64url')
  return { jwk: { kty: 'OKP', crv: 'Ed25519', x, kid, use: 'sig', alg: 'EdDSA' }, publicKey, privateKey }
}

export function signToken({ jwk, privateKey }: TokenKey, claims: TokenClaims): Promise<string> {
  const { jti, tenant, principal, key_id, issued_at, expires_at, topics, permissions, run_id } = claims
  const narrowed = {
    ...(topics === null ? {} : { topics }),
    ...(permissions === null ? {} : { permissions }),
    ...(run_id === null ? {} : { run_id }),
  }
  return new SignJWT({ key_id, ...narrowed })
    .setProtectedHeader({ alg: 'EdDSA', kid: jwk.kid, typ: 'JWT' })
    .setIssuer(ISSUER + tenant)
    .setAudience(AUDIENCE)
    .setSubject(principal)
    .setJti(jti)
    .setIssuedAt(issued_at / 1000)
    .setNotBefore(issued_at / 1000)
    .setExpirationTime(expires_at / 1000)
    .sign(privateKey)
}

/** `forged` is everything that we did not sign for this use: another key, algorithm, audience or shape, or altered after it. */
export type TokenRead = { fault: null; claims: TokenClaims } | { fault: 'expired' | 'forged'; claims: null }

/** What a token says, if we signed it and its time is now. About 100 µs, most of it the signature. */
export async function readToken({ jwk, publicKey }: TokenKey, text: string, now: number): Promise<TokenRead> {
  const forged: TokenRead = { fault: 'forged', claims: null }
  if (!isTokenForm(text)) return forged
  try {
    const { payload, protectedHeader } = await jwtVerify(text, publicKey, {
      algorithms: ['EdDSA'],
      audience: AUDIENCE,
      typ: 'JWT',
      clockTolerance: TOLERANCE_S,
      currentDate: new Date(now),
      requiredClaims: ['iss', 'sub', 'jti', 'iat', 'nbf', 'exp'],
    })
    const claims = protectedHeader.kid === jwk.kid ? claimsIn(payload) : null
    return claims === null ? forged : { fault: null, claims }
  } catch (error) {
    // Only said of what we signed: jose checks the signature first.
    return error instanceof errors.JWTExpired ? { fault: 'expired', claims: null } : forged
  }
}

/** No token lives longer, whatever its key does. */
export const MOST_MINUTES = 60

/** Whether its time is over: for a token that was read before. */
export const isTokenOver = ({ expires_at }: Pick<TokenClaims, 'expires_at'>, now: number) =>
  expires_at + TOLERANCE_S * 1000 <= now

/** Which key a token says it is of, believed by nobody: so that what is forged in a key's name can be told to its owner. */
export function namedKey(text: string): string | null {
  if (!isTokenForm(text)) return null
  try {
    const said: unknown = JSON.parse(Buffer.from(text.split('.')[1] ?? '', 'base64url').toString())
    const key_id = typeof said === 'object' && said !== null ? (said as Record<string, unknown>).key_id : null
    return typeof key_id === 'string' && /^key_[0-9a-z]{26}$/.test(key_id) ? key_id : null
  } catch {
    return null
  }
}

function claimsIn(payload: JWTPayload): TokenClaims | null {
  const { iss, sub, jti, iat, exp, key_id, topics, permissions, run_id } = payload
  if (typeof sub !== 'string' || typeof jti !== 'string' || typeof key_id !== 'string') return null
  if (iss?.startsWith(ISSUER) !== true || iat === undefined || exp === undefined) return null
  // What narrows must never be lost in reading: a list that is none would leave the key's own bounds.
  if (!isList(topics) || !isList(permissions) || !(run_id === undefined || typeof run_id === 'string')) return null
  return {
    jti,
    tenant: iss.slice(ISSUER.length),
    principal: sub,
    key_id,
    issued_at: iat * 1000,
    expires_at: exp * 1000,
    topics: topics ?? null,
    permissions: (permissions as Permission[] | undefined) ?? null,
    run_id: run_id ?? null,
  }
}

const isList = (value: unknown): value is string[] | undefined =>
  value === undefined || (Array.isArray(value) && value.every((each) => typeof each === 'string'))
