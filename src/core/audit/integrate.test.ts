import { describe, expect, it } from 'vitest'
import { atOnce } from '../../../test/support/at-once.js'
import { entryLine } from '../audit.js'
import { EMPTY_ROOT, leafHash } from './hash.js'
import { integrate as parts, type Standing, TreeMismatch } from './integrate.js'
import { readSigningKey, signatureChecker, signingKeyPem } from './keys.js'
import { chainAfter, sealTile, startChain, type Tile } from './tile.js'
import { appendLeaves, EMPTY_EDGE } from './tree.js'

const integrate = (...args: Parameters<typeof parts>) => atOnce(parts(...args))
const key = readSigningKey(signingKeyPem(Buffer.alloc(32, 7)))
const check = signatureChecker(key.publicKey)

/** Tiles of one writer: [at, ...lines] each. */
function tilesOf(writer: string, ...commits: [number, ...string[]][]): Tile[] {
  let chain = startChain('default', writer, key.publicKey)
  return commits.map(([at, ...lines]) => {
    const tile = sealTile(chain, at, lines, key)
    chain = chainAfter(tile)
    return tile
  })
}

const start = (writer: string) => ({ chain: startChain('default', writer, key.publicKey), check })
const standing: Standing = {
  origin: 'sallyport/default',
  edge: EMPTY_EDGE,
  signedRoot: null,
  writers: new Map([
    ['a', start('a')],
    ['b', start('b')],
  ]),
}
const places = (tiles: Tile[]) =>
  integrate(standing, tiles, 1).placements.map((p) => `${p.writer}${p.seq}@${p.first_index}`)

describe('integrate', () => {
  it('lets others have the thread after some hundred entries', () => {
    const lines = (n: number) => Array.from({ length: n }, (_, i) => `${i}`)
    const many = tilesOf('a', ...Array.from({ length: 10 }, (_, n): [number, ...string[]] => [n, ...lines(100)]))
    expect([...parts(standing, many, 1)].length).toBe(3)
    expect(integrate(standing, many, 1).head?.size).toBe(1000)
  })

  const a = tilesOf('a', [10, '1', '2'], [30, '3'])
  const b = tilesOf('b', [20, '4'], [30, '5', '6'])

  it('orders by time, then writer, then seq, whatever order tiles come in', () => {
    expect(places([...a, ...b])).toEqual(['a0@0', 'b0@2', 'a1@3', 'b1@4'])
    expect(places([...b, ...a].reverse())).toEqual(['a0@0', 'b0@2', 'a1@3', 'b1@4'])
  })

  it('keeps a writer’s own order when its clock stepped back', () => {
    const back = tilesOf('a', [50, '1'], [10, '2'])
    expect(places([...back, ...b])).toEqual(['b0@0', 'b1@1', 'a0@3', 'a1@4'])
  })

  it('heads the tree of exactly these entries', () => {
    const { head, edge, writes } = integrate(standing, [...a, ...b], 99)
    const expected = appendLeaves(EMPTY_EDGE, ['1', '2', '4', '3', '5', '6'].map(leafHash))
    expect(head).toEqual({ origin: 'sallyport/default', size: 6, root: expected.root, at: 99, closed: [] })
    expect(edge.size).toBe(6)
    expect(writes).toEqual(expected.writes)
  })

  it('goes on where it stopped', () => {
    const first = integrate(standing, [a[0] as Tile], 1)
    const [chain] = first.chains
    if (!chain || !first.head) throw new Error('no chain')
    const next: Standing = {
      ...standing,
      edge: first.edge,
      signedRoot: first.head.root,
      writers: new Map([['a', { chain, check }]]),
    }
    expect(integrate(next, [a[1] as Tile], 2).placements).toEqual([{ writer: 'a', seq: 1, first_index: 2 }])
  })

  it('has nothing to sign without tiles', () => {
    expect(integrate(standing, [], 1)).toMatchObject({ head: null, placements: [], writes: [] })
  })

  it('names in the head the writers closed in it', () => {
    const closing = entryLine({
      kind: 'writer.closed',
      tenant: 'default',
      at: 40,
      actor: 'system:integrator',
      writer: 'a',
      last_seq: 1,
      last_hash: (a[1] as Tile).hash,
    })
    const { head } = integrate(standing, [...a, ...tilesOf('b', [40, closing])], 50)
    expect(head?.closed).toEqual([{ writer: 'a', last_seq: 1 }])
  })

  it('leaves out a writer from its first bad tile on, and no other', () => {
    const altered = { ...(a[0] as Tile), body: '1\nX' }
    const result = integrate(standing, [altered, a[1] as Tile, ...b], 1)
    expect(result.placements.map((p) => p.writer)).toEqual(['b', 'b'])
    expect(result.refused).toEqual([
      { writer: 'a', seq: 0, fault: 'hash' },
      { writer: 'a', seq: 1, fault: 'chain' },
    ])
    expect(integrate(standing, [a[1] as Tile], 1).refused).toEqual([{ writer: 'a', seq: 1, fault: 'chain' }])
    expect(integrate(standing, tilesOf('c', [1, 'x']), 1).refused).toEqual([{ writer: 'c', seq: 0, fault: 'writer' }])
    const forged = { ...(a[0] as Tile), signature: (b[0] as Tile).signature }
    expect(integrate(standing, [forged], 1).refused).toEqual([{ writer: 'a', seq: 0, fault: 'signature' }])
  })

  it('adds nothing to a stored tree that is not the one signed', () => {
    const { edge, root } = appendLeaves(EMPTY_EDGE, [leafHash('x')])
    expect(() => integrate({ ...standing, edge, signedRoot: EMPTY_ROOT }, a, 1)).toThrow(TreeMismatch)
    expect(integrate({ ...standing, edge, signedRoot: root }, a, 1).head?.size).toBe(4)
  })
})
