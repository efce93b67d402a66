import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { base64 } from './hash.js'
import {
  formatVkey,
  isKeyName,
  KeyError,
  keyId,
  parsePublicKey,
  readSigningKey,
  signatureChecker,
  signingKeyPem,
} from './keys.js'

const key = readSigningKey(signingKeyPem(Buffer.alloc(32, 7)))
const text = Buffer.from('text')

// The signer and note that the documentation of the signed-note format's first implementation gives as its example.
const VKEY = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
const NOTE = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
const SIGNATURE = 'x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM='

describe('signing keys', () => {
  it('are Ed25519: RFC 8032 section 7.1, test 1', () => {
    const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex')
    const known = readSigningKey(signingKeyPem(seed))
    expect(Buffer.from(known.publicKey).toString('hex')).toBe(
      'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    )
    expect(Buffer.from(known.sign(new Uint8Array(0))).toString('hex')).toMatch(/^e5564300c360ac729086e2cc806e828a/)
  })

  it('check what they signed and nothing else', () => {
    const check = signatureChecker(key.publicKey)
    const signature = key.sign(text)
    expect(check(text, signature)).toBe(true)
    expect(check(Buffer.from('texT'), signature)).toBe(false)
    expect(check(text, signature.subarray(0, 63))).toBe(false)
    expect(check(text, Buffer.alloc(64))).toBe(false)
  })

  it.each([
    ['no PEM', 'hello'],
    [
      'another kind of key',
      generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
    ],
    ['a public key', generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' })],
  ])('are refused: %s', (_, pem) => {
    expect(() => readSigningKey(pem.toString())).toThrow(KeyError)
  })

  it('want a seed of 32 bytes', () => {
    expect(() => signingKeyPem(Buffer.alloc(31))).toThrow(KeyError)
    expect(() => signatureChecker(Buffer.alloc(33))).toThrow(KeyError)
  })
})

describe('verifier keys', () => {
  it('are those of the signed-note format', () => {
    const publicKey = parsePublicKey(VKEY)
    expect(keyId('PeterNeumann', publicKey)).toBe('c74f20a3')
    expect(formatVkey('PeterNeumann', publicKey)).toBe(VKEY)
    const signature = Buffer.from(SIGNATURE, 'base64')
    expect(signature.subarray(0, 4).toString('hex')).toBe('c74f20a3')
    expect(signatureChecker(publicKey)(Buffer.from(NOTE), signature.subarray(4))).toBe(true)
  })

  it('come in three forms', () => {
    const { publicKey } = generateKeyPairSync('ed25519')
    const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x as string, 'base64url')
    const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
    for (const form of [pem, base64(raw), ` ${formatVkey('sallyport/default', raw)}\n`]) {
      expect(Buffer.from(parsePublicKey(form))).toEqual(raw)
    }
  })

  it('are read when their base64 holds plus signs', () => {
    const raw = Buffer.alloc(32, 0xfb) // 0xfb bytes encode with "+"
    expect(base64(raw)).toContain('+')
    expect(Buffer.from(parsePublicKey(base64(raw)))).toEqual(raw)
    expect(Buffer.from(parsePublicKey(formatVkey('n', raw)))).toEqual(raw)
  })

  it.each([
    '',
    'PeterNeumann',
    'PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
    'PeterNewman+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
    'PeterNeumann+c74f20a3+AApc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
    'PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
    'PeterNeumann+c74f20a3+ARpc2Q==',
    '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----',
    'AAAA',
  ])('are refused when damaged: %s', (given) => {
    expect(() => parsePublicKey(given)).toThrow(KeyError)
  })

  it('have names without white space and plus signs', () => {
    expect(['sallyport/default', 'a', 'ä'].map(isKeyName)).toEqual([true, true, true])
    expect(['', 'a b', 'a+b', 'a\u00a0b', 'a\nb', 'a\0b'].map(isKeyName)).toEqual(Array(6).fill(false))
  })
})
