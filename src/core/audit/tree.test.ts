import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Frontier } from './frontier.js'
import { EMPTY_ROOT, hex, leafHash } from './hash.js'
import { verifyConsistency, verifyInclusion } from './proof.js'
import {
  appendLeaves,
  consistencyProof,
  EMPTY_EDGE,
  edgeRefs,
  edgeRoot,
  inclusionProof,
  leafHashes,
  loadEdge,
  type NodeRef,
  type ReadNodes,
  rootAt,
  TreeDamage,
} from './tree.js'

/** The definition of RFC 6962 section 2.1, word for word, with hashing of its own. */
function naiveRoot(leaves: readonly Uint8Array[]): Buffer {
  const sha = (...parts: (string | Uint8Array)[]) => {
    const hash = createHash('sha256')
    for (const part of parts) hash.update(part)
    return hash.digest()
  }
  if (leaves.length === 0) return sha('')
  if (leaves.length === 1) return Buffer.from(leaves[0] as Uint8Array)
  let k = 1
  while (k * 2 < leaves.length) k *= 2
  return sha(Buffer.from([1]), naiveRoot(leaves.slice(0, k)), naiveRoot(leaves.slice(k)))
}

/** A tree stored row by row, counting what is read. */
function storedTree(leaves: readonly Uint8Array[], batch = 37) {
  const rows = new Map<string, Uint8Array>()
  let edge = EMPTY_EDGE
  let root = EMPTY_ROOT
  for (let at = 0; at < leaves.length; at += batch) {
    const grown = appendLeaves(edge, leaves.slice(at, at + batch))
    edge = grown.edge
    root = grown.root
    for (const { level, index, hashes } of grown.writes) rows.set(`${level}/${index}`, hashes)
  }
  const asked: NodeRef[] = []
  const read: ReadNodes = async (wanted) => {
    asked.push(...wanted)
    return wanted.map(({ level, index }) => rows.get(`${level}/${index}`) ?? null)
  }
  return { rows, edge, root, read, asked }
}

const LEAVES = Array.from({ length: 700 }, (_, i) => leafHash(`entry ${i}`))

describe('roots', () => {
  // Leaves and roots of the vectors that implementations of RFC 6962 share.
  const leaves = ['', '\0', '\x10', ' !', '01', '@ABC', 'PQRSTUVW', '`abcdefghijklmno'].map(leafHash)
  it.each([
    [0, 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
    [1, '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d'],
    [2, 'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125'],
    [3, 'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77'],
    [4, 'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7'],
    [5, '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4'],
    [6, '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef'],
    [7, 'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c'],
    [8, '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328'],
  ])('of %i leaves is the known one', (size, root) => {
    expect(hex(naiveRoot(leaves.slice(0, size)))).toBe(root)
    expect(hex(appendLeaves(EMPTY_EDGE, leaves.slice(0, size)).root)).toBe(root)
    const frontier = new Frontier()
    for (const leaf of leaves.slice(0, size)) frontier.push(leaf)
    expect(hex(frontier.root())).toBe(root)
  })

  it('agree between rows, frontier and the definition at every size', async () => {
    const { read } = storedTree(LEAVES)
    const frontier = new Frontier()
    for (const [i, leaf] of LEAVES.entries()) {
      frontier.push(leaf)
      if (i % 17 === 0 || i === 255 || i === 256) expect(frontier.root()).toEqual(naiveRoot(LEAVES.slice(0, i + 1)))
      expect(await rootAt(i + 1, read)).toEqual(frontier.root())
    }
    expect(await rootAt(0, read)).toEqual(EMPTY_ROOT)
  })

  it('do not depend on how the leaves were batched', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 8 }), (batches) => {
        let edge = EMPTY_EDGE
        for (const count of batches) {
          edge = appendLeaves(edge, LEAVES.slice(edge.size, Math.min(LEAVES.length, edge.size + count))).edge
        }
        expect(edgeRoot(edge)).toEqual(appendLeaves(EMPTY_EDGE, LEAVES.slice(0, edge.size)).root)
      }),
    )
  })

  it('stay right across the third level of rows', () => {
    const leaf = LEAVES[0] as Uint8Array
    const frontier = new Frontier()
    const many = Array.from({ length: 65_536 + 300 }, () => leaf)
    for (const each of many) frontier.push(each)
    const { edge, root, rows } = storedTree(many, 40_000)
    expect(root).toEqual(frontier.root())
    expect(edge.rows).toHaveLength(3)
    expect([...rows.keys()].filter((key) => key.startsWith('2/'))).toEqual(['2/0'])
  })
})

describe('the edge', () => {
  it('is loaded as it was left, without reading complete rows', async () => {
    for (const size of [0, 1, 255, 256, 257, 511, 512, 700]) {
      const { edge, read, asked } = storedTree(LEAVES.slice(0, size), 700)
      const loaded = await loadEdge(size, read)
      expect(edgeRoot(loaded)).toEqual(naiveRoot(LEAVES.slice(0, size)))
      expect(loaded.size).toBe(edge.size)
      expect(asked.length).toBeLessThanOrEqual(2)
    }
    expect(edgeRefs(1_000_000)).toHaveLength(3)
  })

  it('is cut to the size asked for, so a row written ahead is harmless', async () => {
    const { read } = storedTree(LEAVES.slice(0, 250))
    const edge = await loadEdge(200, read)
    expect(edgeRoot(edge)).toEqual(naiveRoot(LEAVES.slice(0, 200)))
    expect(appendLeaves(edge, LEAVES.slice(200, 300)).root).toEqual(naiveRoot(LEAVES.slice(0, 300)))
  })

  it('names the row that is missing or short', async () => {
    const { read, rows } = storedTree(LEAVES)
    rows.set('0/2', (rows.get('0/2') as Uint8Array).subarray(0, 32))
    await expect(loadEdge(700, read)).rejects.toThrow(TreeDamage)
    await expect(inclusionProof(699, 700, read)).rejects.toThrow('0/2')
    await expect(leafHashes(690, 700, read)).rejects.toThrow(TreeDamage)
    rows.delete('0/0')
    await expect(inclusionProof(1, 700, read)).rejects.toThrow('0/0')
  })

  it('writes each changed row once, at its final width', () => {
    const first = appendLeaves(EMPTY_EDGE, LEAVES.slice(0, 200))
    const { writes } = appendLeaves(first.edge, LEAVES.slice(200, 700))
    expect(writes.map(({ level, index, hashes }) => [level, index, hashes.length / 32])).toEqual([
      [0, 0, 256],
      [0, 1, 256],
      [0, 2, 188],
      [1, 0, 2],
    ])
  })
})

it('hands out leaf hashes of any range', async () => {
  const { read } = storedTree(LEAVES)
  for (const [from, to] of [
    [0, 0],
    [0, 700],
    [250, 260],
    [256, 512],
    [699, 700],
  ] as const) {
    expect(await leafHashes(from, to, read)).toEqual(Buffer.concat(LEAVES.slice(from, to)))
  }
})

const SIZES = [
  1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 127, 128, 129, 255, 256, 257, 300, 511, 512, 513, 600,
]

describe('inclusion', () => {
  const { read } = storedTree(LEAVES)

  it('is proved for every entry of every size up to 70, and of larger ones', async () => {
    for (const size of [...Array.from({ length: 70 }, (_, i) => i + 1), ...SIZES]) {
      const root = naiveRoot(LEAVES.slice(0, size))
      for (let index = 0; index < size; index++) {
        const path = await inclusionProof(index, size, read)
        if (!verifyInclusion(LEAVES[index] as Uint8Array, index, size, path, root)) expect.fail(`${index} of ${size}`)
      }
    }
  })

  it('is not proved by anything else', async () => {
    const sized = fc
      .integer({ min: 2, max: 600 })
      .chain((size) => fc.tuple(fc.constant(size), fc.nat(size - 1), fc.nat()))
    await fc.assert(
      fc.asyncProperty(sized, fc.integer({ min: 0, max: 7 }), async ([size, index, where], bit) => {
        const root = await rootAt(size, read)
        const leaf = LEAVES[index] as Uint8Array
        const path = await inclusionProof(index, size, read)
        expect(verifyInclusion(leaf, index, size, path, root)).toBe(true)
        const all = [leaf, root, ...path]
        const bad = all.map((hash) => Uint8Array.from(hash))
        const target = bad[where % bad.length] as Uint8Array
        target[where % 32] = (target[where % 32] as number) ^ (1 << bit)
        const [badLeaf, badRoot, ...badPath] = bad as [Uint8Array, Uint8Array, ...Uint8Array[]]
        expect(verifyInclusion(badLeaf, index, size, badPath, badRoot)).toBe(false)
        expect(verifyInclusion(leaf, (index + 1) % size, size, path, root)).toBe(false)
        expect(verifyInclusion(leaf, index, size * 4, path, root)).toBe(false)
        expect(verifyInclusion(leaf, index, size, path.slice(1), root)).toBe(false)
        expect(verifyInclusion(leaf, index, size, [...path, leaf], root)).toBe(false)
      }),
    )
  })

  it('refuses places that are none', async () => {
    const leaf = LEAVES[0] as Uint8Array
    for (const [index, size] of [
      [0, 0],
      [1, 1],
      [-1, 1],
      [0.5, 1],
      [Number.NaN, 1],
      [0, Number.POSITIVE_INFINITY],
    ] as const) {
      expect(() => inclusionProof(index, size, read)).toThrow(RangeError)
      expect(verifyInclusion(leaf, index, size, [], leaf)).toBe(false)
    }
  })
})

describe('consistency', () => {
  const { read } = storedTree(LEAVES)

  it('is proved for every pair up to 70, and of larger ones', async () => {
    const sizes = [...new Set([...Array.from({ length: 71 }, (_, i) => i), ...SIZES])]
    const roots = new Map(sizes.map((size) => [size, naiveRoot(LEAVES.slice(0, size)) as Uint8Array]))
    for (const to of sizes) {
      for (const from of sizes.filter((size) => size <= to)) {
        const path = await consistencyProof(from, to, read)
        const holds = verifyConsistency(from, roots.get(from) as Uint8Array, to, roots.get(to) as Uint8Array, path)
        if (!holds) expect.fail(`${from} to ${to}`)
      }
    }
  })

  it('is not proved by anything else', async () => {
    const pair = fc
      .integer({ min: 2, max: 600 })
      .chain((to) => fc.tuple(fc.integer({ min: 1, max: to - 1 }), fc.constant(to)))
    await fc.assert(
      fc.asyncProperty(pair, fc.nat(), fc.integer({ min: 0, max: 7 }), async ([from, to], where, bit) => {
        const [oldRoot, newRoot] = [await rootAt(from, read), await rootAt(to, read)]
        const path = await consistencyProof(from, to, read)
        expect(verifyConsistency(from, oldRoot, to, newRoot, path)).toBe(true)
        const bad = [oldRoot, newRoot, ...path].map((hash) => Uint8Array.from(hash))
        const target = bad[where % bad.length] as Uint8Array
        target[where % 32] = (target[where % 32] as number) ^ (1 << bit)
        const [badOld, badNew, ...badPath] = bad as [Uint8Array, Uint8Array, ...Uint8Array[]]
        expect(verifyConsistency(from, badOld, to, badNew, badPath)).toBe(false)
        expect(verifyConsistency(from, oldRoot, to, newRoot, path.slice(1))).toBe(false)
        expect(verifyConsistency(from, oldRoot, to, newRoot, [...path, oldRoot])).toBe(false)
        expect(verifyConsistency(to, newRoot, from, oldRoot, path)).toBe(false)
      }),
    )
  })

  it('refuses sizes that are none', () => {
    expect(() => consistencyProof(2, 1, read)).toThrow(RangeError)
    expect(() => consistencyProof(-1, 1, read)).toThrow(RangeError)
    expect(verifyConsistency(1, EMPTY_ROOT, 2, EMPTY_ROOT, [])).toBe(false)
    expect(verifyConsistency(3, EMPTY_ROOT, 4, EMPTY_ROOT, [])).toBe(false)
    expect(verifyConsistency(Number.NaN, EMPTY_ROOT, 2, EMPTY_ROOT, [])).toBe(false)
  })
})

it('proves an entry of a million by at most six rows read in one call', async () => {
  const sizes: number[] = []
  const row = new Uint8Array(8192)
  const read: ReadNodes = async (wanted) => {
    sizes.push(wanted.length)
    return wanted.map(() => row)
  }
  for (const index of [0, 123_456, 999_999]) await inclusionProof(index, 1_000_000, read)
  await consistencyProof(123_456, 1_000_000, read)
  expect(sizes).toHaveLength(4)
  expect(Math.max(...sizes)).toBeLessThanOrEqual(6)
})
