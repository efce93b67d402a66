import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { readSigningKey, signatureChecker, signingKeyPem } from './keys.js'
import { chainAfter, continues, genesisHash, sealTile, startChain, type Tile, tileFault, tileLines } from './tile.js'

const key = readSigningKey(signingKeyPem(Buffer.alloc(32, 7)))
const check = signatureChecker(key.publicKey)
const chain = startChain('default', 'wr_1', key.publicKey)
const tile = sealTile(chain, 1000, ['{"a":1}', '{"a":2}'], key)

const faultOf = (bad: Tile) => tileFault(bad, tileLines(bad), check)

describe('a tile', () => {
  it('hashes its header line and body under its domain', () => {
    const header = `{"at":1000,"count":2,"prev_hash":"${chain.prev_hash}","seq":0,"tenant":"default","writer":"wr_1"}`
    const text = `sallyport/tile/v1\n${header}\n{"a":1}\n{"a":2}`
    expect(tile.hash).toBe(createHash('sha256').update(text).digest('hex'))
    expect(check(Buffer.from(`sallyport tile v1\n${tile.hash}\n`), Buffer.from(tile.signature, 'base64'))).toBe(true)
    expect(faultOf(tile)).toBeNull()
  })

  it.each<[string, Partial<Tile>]>([
    ['tenant', { tenant: 'acme' }],
    ['writer', { writer: 'wr_2' }],
    ['seq', { seq: 1 }],
    ['at', { at: 1001 }],
    ['prev_hash', { prev_hash: '0'.repeat(64) }],
    ['body', { body: '{"a":1}\n{"a":3}' }],
    ['hash', { hash: '0'.repeat(64) }],
  ])('does not hash to what was signed with another %s', (_, change) => {
    expect(faultOf({ ...tile, ...change })).toBe('hash')
  })

  it('counts its lines', () => {
    expect(faultOf({ ...tile, body: '{"a":1}' })).toBe('count')
    expect(faultOf({ ...tile, count: 3 })).toBe('count')
    expect(faultOf(sealTile(chain, 1000, ['two\nlines'], key))).toBe('count')
  })

  it('is not signed by anyone else, nor by nothing', () => {
    const other = readSigningKey(signingKeyPem(Buffer.alloc(32, 8)))
    expect(faultOf({ ...tile, signature: sealTile(chain, 1000, tileLines(tile), other).signature })).toBe('signature')
    expect(faultOf({ ...tile, signature: '' })).toBe('signature')
    expect(faultOf({ ...tile, signature: `${tile.signature}\n` })).toBe('signature')
  })

  it('is never empty', () => {
    expect(() => sealTile(chain, 1, [], key)).toThrow(RangeError)
  })
})

describe('a chain', () => {
  it('begins with who writes for whom, under which key', () => {
    const starts = [
      genesisHash('a', 'b', key.publicKey),
      genesisHash('a', 'c', key.publicKey),
      genesisHash('c', 'b', key.publicKey),
      genesisHash('a', 'b', Buffer.alloc(32)),
    ]
    expect(new Set(starts).size).toBe(4)
  })

  it('goes on with the next tile only', () => {
    const next = sealTile(chainAfter(tile), 1001, ['{"a":3}'], key)
    expect(continues(chain, tile)).toBe(true)
    expect(continues(chainAfter(tile), next)).toBe(true)
    expect(continues(chain, next)).toBe(false)
    expect(continues(chainAfter(tile), { ...next, prev_hash: chain.prev_hash })).toBe(false)
    expect(continues(chainAfter(tile), { ...next, tenant: 'acme' })).toBe(false)
    expect(continues(chainAfter(tile), { ...next, writer: 'wr_2' })).toBe(false)
  })
})
