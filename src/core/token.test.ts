import { createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import fc from 'fast-check'
import { importJWK, jwtVerify } from 'jose'
import { describe, expect, test } from 'vitest'
import { proves } from '../../test/requirements.js'
import { readSigningKey, signingKeyPem } from './audit/keys.js'
import { isTokenForm, isTokenOver, namedKey, readToken, signToken, type TokenClaims, tokenKey } from './token.js'

const pem = signingKeyPem(new Uint8Array(32).fill(7))
const key = tokenKey(pem)
const NOW = 1_795_000_000_000
const CLAIMS: TokenClaims = {
  jti: 'tok_1',
  tenant: 'default',
  principal: 'agent:bot',
  key_id: `key_${'a'.repeat(26)}`,
  issued_at: NOW,
  expires_at: NOW + 60_000,
  topics: ['job.a.*'],
  permissions: ['jobs:submit'],
  run_id: 'run-1',
}
const b64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const payload = { iss: 'sallyport/default', aud: 'sallyport', sub: 'agent:bot', jti: 'tok_1' }
const times = { iat: NOW / 1000, nbf: NOW / 1000, exp: NOW / 1000 + 60 }
const whole = { ...payload, ...times, key_id: CLAIMS.key_id }
/** A token of any header and claims with a signature that is right for them. */
const signed = (header: object, claims: object, by = key.privateKey) => {
  const text = `${b64(header)}.${b64(claims)}`
  return `${text}.${sign(null, Buffer.from(text), by).toString('base64url')}`
}
const HEADER = { alg: 'EdDSA', kid: key.jwk.kid, typ: 'JWT' }
const read = (text: string, now = NOW) => readToken(key, text, now)

describe(`${proves('S3')} the key of tokens`, () => {
  test('is derived: the same on every node, and neither the one that signs the log nor a piece of it', () => {
    expect(tokenKey(pem).jwk).toEqual(key.jwk)
    expect(tokenKey(signingKeyPem(new Uint8Array(32).fill(8))).jwk.x).not.toBe(key.jwk.x)
    // In every version too: nodes of a rolling upgrade take each other's tokens.
    expect(key.jwk.kid).toBe('1W14CrwOacno-4FCCJ5a-k5DCXBhESwJ8n4COuL7niA')
    const audit = readSigningKey(pem)
    expect(key.jwk.x).not.toBe(Buffer.from(audit.publicKey).toString('base64url'))
    const message = Buffer.from('sallyport tile v1')
    expect(sign(null, message, key.privateKey)).not.toEqual(Buffer.from(audit.sign(message)))
    expect(JSON.stringify(key.jwk)).not.toContain('"d"')
  })

  test('is shown as RFC 8037 has it: a library that knows nothing of us checks a token by it', async () => {
    const text = await signToken(key, CLAIMS)
    const options = { issuer: 'sallyport/default', audience: 'sallyport', currentDate: new Date(NOW) }
    const { payload, protectedHeader } = await jwtVerify(text, await importJWK(key.jwk), options)
    expect(protectedHeader).toEqual(HEADER)
    expect(payload).toEqual({ ...whole, topics: ['job.a.*'], permissions: ['jobs:submit'], run_id: 'run-1' })
  })
})

describe(`${proves('S3')} a token`, () => {
  test('says what was signed, whatever it was', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          tenant: fc.stringMatching(/^[a-z0-9/-]{1,20}$/),
          principal: fc.string({ minLength: 1, maxLength: 40 }),
          topics: fc.option(fc.array(fc.stringMatching(/^[a-z.*>]{1,20}$/), { maxLength: 5 })),
          run_id: fc.option(fc.stringMatching(/^[A-Za-z0-9_.:-]{1,40}$/)),
        }),
        async (some) => {
          const claims = { ...CLAIMS, ...some }
          expect(await read(await signToken(key, claims))).toEqual({ fault: null, claims })
        },
      ),
      { numRuns: 50 },
    )
  })

  test('with one character changed anywhere is forged', async () => {
    const text = await signToken(key, CLAIMS)
    await fc.assert(
      fc.asyncProperty(fc.nat(text.length - 1), fc.constantFrom('A', 'b', '7', '_', '.', '='), async (at, other) => {
        fc.pre(text[at] !== other)
        const changed = text.slice(0, at) + other + text.slice(at + 1)
        // The last character of base64url carries bits that no byte has.
        fc.pre(changed.split('.').some((part, i) => !isSameBytes(part, text.split('.')[i] ?? '')))
        expect((await read(changed)).fault).toBe('forged')
      }),
      { numRuns: 300 },
    )
  })
  const isSameBytes = (a: string, b: string) => Buffer.from(a, 'base64url').equals(Buffer.from(b, 'base64url'))

  const publicPem = createPublicKey(createPrivateKey(pem)).export({ type: 'spki', format: 'pem' })
  const hmac = (secret: string | Buffer) => {
    const text = `${b64({ alg: 'HS256', kid: key.jwk.kid, typ: 'JWT' })}.${b64(whole)}`
    return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`
  }
  const other = generateKeyPairSync('ed25519').privateKey
  test.each<[string, string]>([
    ['alg none', `${b64({ alg: 'none', typ: 'JWT' })}.${b64(whole)}.`],
    ['alg none with a signature', signed({ ...HEADER, alg: 'none' }, whole)],
    ['another algorithm of our own key', signed({ ...HEADER, alg: 'Ed25519' }, whole)],
    ['HS256 with the public key as its secret', hmac(Buffer.from(key.jwk.x, 'base64url'))],
    ['HS256 with the public key as text', hmac(key.jwk.x)],
    ['HS256 with the PEM that signs the log', hmac(publicPem)],
    ['another key', signed(HEADER, whole, other)],
    [
      'another key that the header brings along',
      signed({ ...HEADER, jwk: other.export({ format: 'jwk' }) }, whole, other),
    ],
    ['the key that signs the log', signed(HEADER, whole, createPrivateKey(pem))],
    ['another kid', signed({ ...HEADER, kid: 'other' }, whole)],
    ['no kid', signed({ alg: 'EdDSA', typ: 'JWT' }, whole)],
    ['another typ', signed({ ...HEADER, typ: 'logout+jwt' }, whole)],
    ['a critical extension', signed({ ...HEADER, crit: ['x'], x: 1 }, whole)],
    ['another audience', signed(HEADER, { ...whole, aud: 'elsewhere' })],
    ['no audience', signed(HEADER, { ...whole, aud: undefined })],
    ['another issuer', signed(HEADER, { ...whole, iss: 'elsewhere/default' })],
    ['no issuer', signed(HEADER, { ...whole, iss: undefined })],
    ['no end', signed(HEADER, { ...whole, exp: undefined })],
    ['no key', signed(HEADER, { ...whole, key_id: undefined })],
    ['not begun', signed(HEADER, { ...whole, nbf: NOW / 1000 + 6 })],
    ['topics that are no list', signed(HEADER, { ...whole, topics: 'job.a' })],
    ['permissions that are no words', signed(HEADER, { ...whole, permissions: [1] })],
    ['a run that is none', signed(HEADER, { ...whole, run_id: {} })],
    ['claims that are a list', signed(HEADER, [])],
    ['nothing', ''],
    ['five parts', 'eyJ.a.b.c.d'],
    ['a megabyte', `eyJ${'a'.repeat(1_000_000)}.a.b`],
  ])('of %s is forged', async (_, text) => {
    expect(await read(text)).toEqual({ fault: 'forged', claims: null })
  })

  test('is good five seconds past its end, for a clock that is off, and no longer', async () => {
    expect((await read(signed(HEADER, whole), NOW + 64_999)).fault).toBeNull()
    expect((await read(signed(HEADER, whole), NOW + 65_000)).fault).toBe('expired')
    expect(isTokenOver(CLAIMS, NOW + 64_999)).toBe(false)
    expect(isTokenOver(CLAIMS, NOW + 65_000)).toBe(true)
    expect((await read(signed(HEADER, whole), NOW - 5_000)).fault).toBeNull()
  })

  test('that is over and altered is forged, not over', async () => {
    expect((await read(signed(HEADER, whole, other), NOW + 100_000)).fault).toBe('forged')
  })
})

describe('the key a token names', () => {
  test('is read from what nobody believes, and only where it is an id', () => {
    const naming = (key_id: unknown) => namedKey(`eyJ9.${b64({ key_id })}.c2ln`)
    expect(naming(CLAIMS.key_id)).toBe(CLAIMS.key_id)
    for (const wrong of [undefined, null, 1, 'key_', 'key_A', {}, `key_${'a'.repeat(27)}`])
      expect(naming(wrong)).toBeNull()
    for (const text of ['', 'eyJ.bm9wZQ.x', `eyJ.${b64([])}.x`, `eyJ.${b64(null)}.x`]) expect(namedKey(text)).toBeNull()
  })

  test('is looked for in bounded text, and nothing in it throws', () => {
    expect(isTokenForm(`eyJ${'a'.repeat(8000)}.b.c`)).toBe(true)
    expect(isTokenForm(`eyJ${'a'.repeat(9000)}.b.c`)).toBe(false)
    fc.assert(
      fc.property(fc.string({ maxLength: 200 }), (claims) => {
        expect(namedKey(`eyJ.${Buffer.from(claims).toString('base64url')}.x`)).toBeNull()
      }),
    )
  })
})
