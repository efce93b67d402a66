import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { atOnce } from '../../../test/support/at-once.js'
import { entryLine } from '../audit.js'
import { originOf, signCheckpoint } from './checkpoint.js'
import { type AuditRecord, type PlacedTile, readExport, recordLine, recordsOf, type WriterRow } from './export.js'
import { HASH_BYTES, leafHash } from './hash.js'
import { integrate } from './integrate.js'
import { formatVkey, readSigningKey, signatureChecker, signingKeyPem } from './keys.js'
import { type Chain, chainAfter, sealTile, startChain, type Tile, tileHash, tileLines } from './tile.js'
import { appendLeaves, type Edge, EMPTY_EDGE, leafHashes, type ReadNodes } from './tree.js'
import { type VerifyOptions, verifyExitCode, verifyLog } from './verify.js'

const key = readSigningKey(signingKeyPem(Buffer.alloc(32, 7)))
const thiefsKey = readSigningKey(signingKeyPem(Buffer.alloc(32, 9)))
const origin = originOf('default')

type WholeTile = PlacedTile & { body: string }

/** A log as its tables hold it. Tests tamper with it as one with access to the database would. */
interface Log {
  writers: WriterRow[]
  tiles: WholeTile[]
  waiting: Tile[]
  heads: { size: number; checkpoint: string }[]
}

/** Writes a log by the code under test's own sealing and integrating: `rounds` of [writer, entries], a head after each round. */
class LogWriter {
  readonly log: Log = { writers: [], tiles: [], waiting: [], heads: [] }
  private readonly rows = new Map<string, Uint8Array>()
  private readonly written = new Map<string, Chain>()
  private readonly placed = new Map<string, Chain>()
  private edge: Edge = EMPTY_EDGE
  private root: Uint8Array | null = null
  private clock = 1000
  private entries = 0

  commit(writer: string, lines: string[] | number): Tile {
    const fresh = startChain('default', writer, key.publicKey)
    if (!this.written.has(writer)) {
      this.placed.set(writer, fresh)
      const public_key = Buffer.from(key.publicKey).toString('base64')
      this.log.writers.push({ writer, public_key, started_at: this.clock, closed_at: null })
    }
    const content = typeof lines === 'number' ? Array.from({ length: lines }, () => this.entry()) : lines
    const tile = sealTile(this.written.get(writer) ?? fresh, this.clock++, content, key)
    this.written.set(writer, chainAfter(tile))
    this.log.waiting.push(tile)
    return tile
  }

  entry(): string {
    const job_id = `job_${this.entries++}`
    return entryLine({ kind: 'job.submitted', tenant: 'default', at: this.clock, actor: 'agent:a', job_id })
  }

  /** The integrator's closing entry for `writer`, in a tile of `by`. */
  close(writer: string, by: string): void {
    const chain = this.written.get(writer) as Chain
    const closing = { writer, last_seq: chain.seq - 1, last_hash: chain.prev_hash }
    const fact = { kind: 'writer.closed', tenant: 'default', at: this.clock, actor: 'system:integrator' } as const
    this.commit(by, [entryLine({ ...fact, ...closing })])
    for (const row of this.log.writers) if (row.writer === writer) row.closed_at = this.clock
  }

  async integrate(): Promise<void> {
    const check = signatureChecker(key.publicKey)
    const writers = new Map([...this.placed].map(([writer, chain]) => [writer, { chain, check }]))
    const standing = { origin, edge: this.edge, signedRoot: this.root, writers }
    const result = atOnce(integrate(standing, this.log.waiting, this.clock++))
    if (result.head === null || result.refused.length > 0) throw new Error('the sample log does not integrate')
    for (const { level, index, hashes } of result.writes) this.rows.set(`${level}/${index}`, hashes)
    for (const chain of result.chains) this.placed.set(chain.writer, chain)
    const read: ReadNodes = async (refs) => refs.map((ref) => this.rows.get(`${ref.level}/${ref.index}`) ?? null)
    for (const { writer, seq, first_index } of result.placements) {
      const tile = this.log.waiting.find((each) => each.writer === writer && each.seq === seq) as Tile
      const leaf_hashes = await leafHashes(first_index, first_index + tile.count, read)
      this.log.tiles.push({ ...tile, first_index, leaf_hashes })
    }
    this.log.waiting.length = 0
    this.log.heads.push({ size: result.head.size, checkpoint: signCheckpoint(result.head, key) })
    this.edge = result.edge
    this.root = result.head.root
  }
}

/**
 * 26 entries. Round 1: a 0-2, b 3-6 (head 7). Round 2: a 7, b 8-10, a 11-14 (head 15). Round 3: b 15-16, a 17-19 (head 20).
 * Round 4: c 20-21, a's closing by c 22, b 23-25 (head 26). One tile of b with 2 entries waits.
 */
async function sampleLog(): Promise<Log> {
  const writer = new LogWriter()
  const rounds: [string, number][][] = [
    [
      ['a', 3],
      ['b', 4],
    ],
    [
      ['a', 1],
      ['b', 3],
      ['a', 4],
    ],
    [
      ['b', 2],
      ['a', 3],
    ],
  ]
  for (const round of rounds) {
    for (const [name, count] of round) writer.commit(name, count)
    await writer.integrate()
  }
  writer.commit('c', 2)
  writer.close('a', 'c')
  writer.commit('b', 3)
  await writer.integrate()
  writer.commit('b', 2)
  return writer.log
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items
}

function records(log: Log, by = key): AsyncGenerator<AuditRecord> {
  return recordsOf({
    header: { tenant: 'default', origin, exported_at: 5000, key: formatVkey(origin, by.publicKey) },
    writers: () => each(log.writers),
    archives: () => each([]),
    tiles: () => each(log.tiles),
    heads: () => each(log.heads),
    waiting: () => each(log.waiting),
  })
}

/** Through the lines of an export file and back, as an auditor would see it. */
async function exported(log: Log): Promise<string[]> {
  const lines: string[] = []
  for await (const record of records(log)) lines.push(recordLine(record))
  return lines
}

async function verify(log: Log, options: VerifyOptions = {}) {
  return verifyLog(readExport(await exported(log)), { keys: [key.publicKey], ...options })
}

type Codes = {
  codes: string[]
  index: number | null
  to: number | null
  exact: boolean
  writer: string | null
  seq: number | null
}

async function found(log: Log, options: VerifyOptions = {}): Promise<Codes> {
  const report = await verify(log, options)
  expect(report.ok).toBe(false)
  expect(verifyExitCode(report)).toBe(1)
  const bad = report.first_bad_entry
  return {
    codes: [...new Set(report.faults.map((fault) => fault.code))],
    index: bad?.index ?? null,
    to: bad?.to ?? null,
    exact: bad?.exact ?? false,
    writer: bad?.writer ?? null,
    seq: bad?.seq ?? null,
  }
}

const tileAt = (log: Log, index: number): WholeTile => {
  const tile = log.tiles.find((t) => (t.first_index as number) <= index && index < (t.first_index as number) + t.count)
  if (!tile) throw new Error(`no tile at ${index}`)
  return tile
}

function editLine(log: Log, index: number, edit: (line: string) => string): WholeTile {
  const tile = tileAt(log, index)
  const lines = tileLines(tile)
  const at = index - (tile.first_index as number)
  lines[at] = edit(lines[at] as string)
  tile.body = lines.join('\n')
  return tile
}

/** Makes the stored hashes agree with the entries, as an attacker who knows the tables would. */
function restoreHashes(log: Log): void {
  for (const tile of log.tiles) tile.leaf_hashes = Buffer.concat(tileLines(tile).map(leafHash))
}

function cutTo(log: Log, size: number): void {
  log.tiles = log.tiles.filter((tile) => (tile.first_index as number) < size)
  log.waiting = []
}

/** Renumbers what is left, as if nothing had been taken. */
function renumber(log: Log): void {
  let first = 0
  for (const tile of log.tiles) {
    tile.first_index = first
    first += tile.count
  }
}

const sameLength = (line: string) => line.replace('agent:a', 'agent:b')

describe('an untouched log', () => {
  it('verifies, and says that nobody vouched for its length', async () => {
    const report = await verify(await sampleLog())
    expect(report).toMatchObject({
      ok: true,
      faults: [],
      key: 'GIVEN',
      entries: 26,
      waiting: 2,
      tiles: 11,
      writers: 3,
      heads: 4,
    })
    expect(report).toMatchObject({ truncation: 'NOT CHECKED', truncation_checked_to: null, first_bad_entry: null })
    expect(report.head?.size).toBe(26)
    expect(verifyExitCode(report)).toBe(3)
  })

  it('verifies against heads kept outside, whatever their order; those of other logs are passed over', async () => {
    const log = await sampleLog()
    const foreign = signCheckpoint({ origin: originOf('acme'), size: 900, root: leafHash('x'), at: 1, closed: [] }, key)
    const notes = log.heads.map((head) => head.checkpoint)
    const report = await verify(log, { outsideHeads: [notes[2], foreign, notes[0]] as string[] })
    expect(report).toMatchObject({ ok: true, truncation: 'CHECKED', truncation_checked_to: 20 })
    expect(verifyExitCode(report)).toBe(0)
    expect(await verify(log, { outsideHeads: [foreign] })).toMatchObject({ ok: true, truncation: 'NOT CHECKED' })
  })

  it('verifies on its own key, and says so', async () => {
    const report = await verifyLog(records(await sampleLog()))
    expect(report).toMatchObject({ ok: true, key: 'FROM EXPORT' })
  })

  it('verifies without stored hashes and when there is nothing in it', async () => {
    const log = await sampleLog()
    for (const tile of log.tiles) tile.leaf_hashes = null
    expect((await verify(log)).ok).toBe(true)
    expect(await verify({ writers: [], tiles: [], waiting: [], heads: [] })).toMatchObject({ ok: true, entries: 0 })
  })

  it('verifies whoever wrote how much when', async () => {
    const round = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.integer({ min: 1, max: 40 })), {
      minLength: 1,
      maxLength: 5,
    })
    await fc.assert(
      fc.asyncProperty(fc.array(round, { minLength: 1, maxLength: 5 }), async (rounds) => {
        const writer = new LogWriter()
        for (const commits of rounds) {
          for (const [name, count] of commits) writer.commit(name, count)
          await writer.integrate()
        }
        const notes = writer.log.heads.map((head) => head.checkpoint)
        expect(await verify(writer.log, { outsideHeads: notes })).toMatchObject({ ok: true, truncation: 'CHECKED' })
      }),
      { numRuns: 30 },
    )
  })
})

describe('tampering with entries', () => {
  it('an edited entry is named, wherever it is', async () => {
    for (let index = 0; index < 26; index++) {
      if (index === 22) continue // the closing entry, below
      const log = await sampleLog()
      const { writer, seq } = editLine(log, index, (line) => line.replace('job_', 'bob_'))
      const result = await found(log)
      expect(result).toMatchObject({ index, to: index, exact: true, writer, seq })
      expect(result.codes).toEqual(['tile_altered', 'entry_altered'])
    }
  })

  it('a rewrite of the same length is named', async () => {
    const log = await sampleLog()
    editLine(log, 12, sameLength)
    expect(await found(log)).toMatchObject({ index: 12, exact: true, writer: 'a', seq: 2 })
  })

  it('so are two edits, by the first', async () => {
    const log = await sampleLog()
    editLine(log, 18, sameLength)
    editLine(log, 4, sameLength)
    expect(await found(log)).toMatchObject({ index: 4, exact: true, writer: 'b', seq: 0 })
  })

  it('an edit with its stored hash is traced to the tile', async () => {
    const log = await sampleLog()
    editLine(log, 9, sameLength)
    restoreHashes(log)
    const result = await found(log)
    expect(result).toMatchObject({ index: 8, to: 10, exact: false, writer: 'b', seq: 1 })
    expect(result.codes).toEqual(['tile_altered', 'root_mismatch'])
  })

  it('an edit with stored hash, tile hash and chain made to fit has no signature', async () => {
    const log = await sampleLog()
    editLine(log, 9, sameLength)
    restoreHashes(log)
    let prev: string | null = null
    for (const tile of log.tiles.filter((each) => each.writer === 'b')) {
      if (prev !== null) tile.prev_hash = prev
      tile.hash = tileHash(tile)
      prev = tile.hash
    }
    const result = await found(log)
    expect(result).toMatchObject({ index: 8, to: 10, writer: 'b', seq: 1 })
    expect(result.codes).toContain('tile_signature')
  })

  it('an entry edited outside the tree, in a waiting tile, is traced to it', async () => {
    const log = await sampleLog()
    const tile = log.waiting[0] as Tile
    tile.body = sameLength(tile.body)
    expect(await found(log)).toEqual({
      codes: ['tile_altered'],
      index: null,
      to: null,
      exact: false,
      writer: 'b',
      seq: 4,
    })
  })

  it('a reordered pair is named by the first of the two', async () => {
    const log = await sampleLog()
    const tile = tileAt(log, 12)
    const [first, second, third, fourth] = tileLines(tile)
    tile.body = [first, third, second, fourth].join('\n')
    expect(await found(log)).toMatchObject({ index: 12, exact: true, writer: 'a', seq: 2 })
  })

  it('two tiles that changed places are caught, with their stored hashes or without', async () => {
    for (const withHashes of [true, false]) {
      const log = await sampleLog()
      const [a, b] = [tileAt(log, 7), tileAt(log, 8)] // a's one entry, b's three
      log.tiles.splice(log.tiles.indexOf(a), 2, b, a)
      const hashes = Buffer.concat([a.leaf_hashes as Uint8Array, b.leaf_hashes as Uint8Array])
      renumber(log)
      if (!withHashes) {
        b.leaf_hashes = hashes.subarray(0, b.count * HASH_BYTES)
        a.leaf_hashes = hashes.subarray(b.count * HASH_BYTES)
      }
      const result = await found(log)
      if (withHashes) expect(result).toMatchObject({ codes: ['root_mismatch'], index: 7, to: 14 })
      else expect(result).toMatchObject({ codes: ['entry_altered'], index: 7, exact: true })
    }
  })

  it('two tiles listed in the wrong order are caught', async () => {
    const log = await sampleLog()
    log.tiles.splice(2, 2, log.tiles[3] as WholeTile, log.tiles[2] as WholeTile)
    const result = await found(log)
    expect(result).toMatchObject({ index: 7, exact: true })
    expect(result.codes).toContain('entries_displaced')
  })

  it('an entry taken out of a tile is named', async () => {
    const log = await sampleLog()
    const tile = tileAt(log, 12)
    tile.body = tileLines(tile).toSpliced(1, 1).join('\n')
    const result = await found(log)
    expect(result).toMatchObject({ index: 12, exact: true, writer: 'a', seq: 2 })
    expect(result.codes).toContain('tile_count')
  })

  it('the last entry of a tile taken out is named', async () => {
    const log = await sampleLog()
    const tile = tileAt(log, 14)
    tile.body = tileLines(tile).slice(0, -1).join('\n')
    expect(await found(log)).toMatchObject({ index: 14, exact: true, writer: 'a', seq: 2 })
  })

  it('an entry taken out does not make heads from outside look wrong', async () => {
    const log = await sampleLog()
    const leaves = log.tiles.flatMap((tile) => tileLines(tile).map(leafHash)).slice(0, 13)
    const inside = { origin, size: 13, root: appendLeaves(EMPTY_EDGE, leaves).root, at: 1, closed: [] }
    const tile = tileAt(log, 12)
    tile.body = tileLines(tile).toSpliced(1, 1).join('\n')
    const outsideHeads = [signCheckpoint(inside, key), ...log.heads.map((head) => head.checkpoint)]
    expect((await found(log, { outsideHeads })).codes).toEqual(['tile_count', 'entry_altered'])
    expect((await verify(log, { outsideHeads: outsideHeads.slice(0, 3) })).truncation_checked_to).toBe(15)
  })

  it('a replacement character changed to a lone surrogate, which hashes alike, is refused', async () => {
    const writer = new LogWriter()
    writer.commit('a', ['{"note":"\ufffd"}'])
    await writer.integrate()
    const lines = await exported(writer.log)
    expect((await verifyLog(readExport(lines))).ok).toBe(true)
    const bad = lines.map((line) => line.replace('\ufffd', '\\ud800'))
    expect(bad).not.toEqual(lines)
    expect((await verifyLog(readExport(bad))).faults[0]).toMatchObject({ code: 'export_malformed' })
  })

  it('an entry taken out with the count made to fit is traced to the tile', async () => {
    const log = await sampleLog()
    const tile = tileAt(log, 12)
    tile.body = tileLines(tile).toSpliced(1, 1).join('\n')
    tile.count--
    restoreHashes(log)
    renumber(log)
    const result = await found(log)
    expect(result).toMatchObject({ index: 11, to: 13, writer: 'a', seq: 2 })
    expect(result.codes).toContain('tile_altered')
  })

  it('an entry slipped into a tile is named', async () => {
    const log = await sampleLog()
    editLine(log, 12, (line) => `${line}\n{"kind":"job.succeeded"}`)
    const result = await found(log)
    expect(result.codes).toContain('tile_count')
    expect(result).toMatchObject({ index: 13, exact: true })
  })
})

describe('tampering with tiles', () => {
  it('a removed middle is named by its first entry', async () => {
    for (const index of [3, 7, 11, 15]) {
      const log = await sampleLog()
      const tile = tileAt(log, index)
      log.tiles = log.tiles.filter((each) => each !== tile)
      const result = await found(log)
      expect(result).toMatchObject({ index: tile.first_index, exact: true })
      expect(result.codes).toContain('entries_missing')
    }
  })

  it('a removed middle with everything after it renumbered is traced to its chain', async () => {
    const log = await sampleLog()
    const removed = tileAt(log, 8) // b, seq 1; b's next is at 15, 12 once renumbered
    log.tiles = log.tiles.filter((each) => each !== removed)
    renumber(log)
    const result = await found(log)
    expect(result.codes).toContain('writer_gap')
    expect(result).toMatchObject({ index: 7, to: 12, writer: 'b', seq: 1 })
  })

  it('the first tile of a chain cannot be dropped either', async () => {
    const log = await sampleLog()
    log.tiles.shift()
    renumber(log)
    expect((await found(log)).codes).toContain('writer_gap')
  })

  it('a forged signature is traced to its tile', async () => {
    const log = await sampleLog()
    const tile = tileAt(log, 8)
    const { tenant, writer, seq, prev_hash, at } = tile
    tile.signature = sealTile({ tenant, writer, seq, prev_hash }, at, tileLines(tile), thiefsKey).signature
    expect(await found(log)).toMatchObject({ codes: ['tile_signature'], index: 8, to: 10, writer: 'b', seq: 1 })
  })

  it('a tile put twice is caught', async () => {
    const log = await sampleLog()
    const tile = tileAt(log, 8)
    log.tiles.splice(4, 0, { ...tile })
    renumber(log)
    expect((await found(log)).codes).toContain('writer_order')
  })

  it('another tile of the same writer and place, signed in a commit that was lost, is caught', async () => {
    const log = await sampleLog()
    const tile = tileAt(log, 8)
    const { tenant, writer, seq, prev_hash, at } = tile
    Object.assign(tile, sealTile({ tenant, writer, seq, prev_hash }, at, ['{"x":1}', '{"x":2}', '{"x":3}'], key))
    restoreHashes(log)
    const result = await found(log)
    expect(result.codes).toContain('writer_chain')
    expect(result).toMatchObject({ index: 7, to: 14 })
  })

  it('a tile of a writer that nobody listed is caught', async () => {
    const log = await sampleLog()
    log.writers = log.writers.filter(({ writer }) => writer !== 'c')
    expect(await found(log)).toMatchObject({ codes: ['writer_unknown'], index: 20, writer: 'c', seq: 0 })
  })

  it('a tile of another tenant is caught', async () => {
    const log = await sampleLog()
    const chain = startChain('acme', 'b', key.publicKey)
    const tile = log.waiting[0] as Tile
    Object.assign(tile, sealTile({ ...chain, seq: tile.seq, prev_hash: tile.prev_hash }, 1, ['{}'], key))
    expect((await found(log)).codes).toEqual(['tile_altered'])
  })

  it('wrong stored hashes are told from wrong entries', async () => {
    const log = await sampleLog()
    const hashes = tileAt(log, 12).leaf_hashes as Uint8Array
    hashes[HASH_BYTES] = (hashes[HASH_BYTES] as number) ^ 1
    expect(await found(log)).toMatchObject({ codes: ['stored_hash_altered'], index: 12, exact: true })
  })
})

describe('cutting', () => {
  it('a cut tail is named by the first entry that is gone', async () => {
    for (const size of [0, 7, 8, 15, 20]) {
      const log = await sampleLog()
      cutTo(log, size)
      const result = await found(log)
      expect(result).toMatchObject({ index: size, exact: true })
      expect(result.codes).toContain('tail_cut')
    }
  })

  it('an emptied log is caught by its heads', async () => {
    const log = await sampleLog()
    Object.assign(log, { tiles: [], waiting: [] })
    expect(await found(log)).toMatchObject({ index: 0, exact: true })
  })

  it('an emptied log without heads is caught by a head from outside, and by nothing else', async () => {
    const log = await sampleLog()
    const outsideHeads = [log.heads[1]?.checkpoint as string]
    const empty: Log = { writers: [], tiles: [], waiting: [], heads: [] }
    expect(verifyExitCode(await verify(empty))).toBe(3)
    expect(await found(empty, { outsideHeads })).toMatchObject({ codes: ['truncated'], index: 0, exact: true })
  })

  it('tail and head rewound to an earlier signed head are caught by a head from outside, and by nothing else', async () => {
    const log = await sampleLog()
    const last = log.heads.at(-1)?.checkpoint as string
    cutTo(log, 15)
    log.heads = log.heads.slice(0, 2)
    for (const row of log.writers) row.closed_at = null
    const alone = await verify(log)
    expect(alone).toMatchObject({ ok: true, truncation: 'NOT CHECKED' })
    expect(verifyExitCode(alone)).toBe(3)
    expect(await found(log, { outsideHeads: [last] })).toMatchObject({ codes: ['truncated'], index: 15, exact: true })
    expect((await verify(log, { outsideHeads: [log.heads[1]?.checkpoint as string] })).truncation_checked_to).toBe(15)
  })

  it('heads alone cut off leave entries that no head covers', async () => {
    const log = await sampleLog()
    log.heads.pop()
    expect(await found(log)).toMatchObject({ codes: ['head_missing'], index: 20, to: 25 })
  })

  it('a file cut in copying has no end', async () => {
    const log = await sampleLog()
    log.waiting = []
    const lines = await exported(log)
    const report = await verifyLog(readExport(lines.slice(0, -1)))
    expect(report.faults.map((fault) => fault.code)).toEqual(['export_malformed'])
    expect((await verifyLog(readExport([]))).ok).toBe(false)
  })

  it('a waiting tile left out of a file is missed in its counts', async () => {
    const lines = await exported(await sampleLog())
    const report = await verifyLog(readExport(lines.toSpliced(-2, 1)))
    expect(report.faults.map((fault) => fault.message)).toEqual([
      'the end counts 11 tiles, there are 10',
      'the end counts 28 entries, there are 26',
    ])
  })
})

describe('closing', () => {
  it('a closed writer’s last tile cannot be cut, though no other tile follows it', async () => {
    const log = await sampleLog()
    const last = tileAt(log, 17)
    log.tiles = log.tiles.filter((tile) => tile !== last)
    renumber(log)
    const result = await found(log)
    expect(result.codes).toContain('writer_cut')
    expect(result).toMatchObject({ index: 15, to: 19, writer: 'a', seq: 3 })
  })

  it('a closing entry that is gone is missed, because a head says so', async () => {
    const log = await sampleLog()
    editLine(log, 22, (line) => line.replace('writer.closed', 'writer.xlosed'))
    const result = await found(log)
    expect(result.codes).toContain('closing_missing')
    expect(result).toMatchObject({ index: 22, exact: true, writer: 'c' })
  })

  it('a writer that stopped without a closing entry while a head says it was closed', async () => {
    const writer = new LogWriter()
    writer.commit('a', 3)
    await writer.integrate()
    writer.commit('b', 2)
    await writer.integrate()
    const { log } = writer
    const leaves = log.tiles.flatMap((tile) => tileLines(tile).map(leafHash))
    const { root } = appendLeaves(EMPTY_EDGE, leaves)
    const lying = { origin, size: 5, root, at: 1, closed: [{ writer: 'a', last_seq: 0 }] }
    log.heads[1] = { size: 5, checkpoint: signCheckpoint(lying, key) }
    expect(await found(log)).toMatchObject({ codes: ['closing_missing'], index: 3, to: 4, writer: 'a', seq: 0 })
  })

  it('a writer listed as closed without a closing entry', async () => {
    const log = await sampleLog()
    for (const row of log.writers) row.closed_at = 9
    const result = await found(log)
    expect(result.codes).toEqual(['closing_missing'])
    expect((await verify(log)).faults.map((fault) => fault.writer)).toEqual(['b', 'c'])
  })

  it('a closing with another tile than the last, or two that differ', async () => {
    const closing = (last_seq: number, last_hash: string) =>
      entryLine({ kind: 'writer.closed', tenant: 'default', at: 1, actor: 'x', writer: 'a', last_seq, last_hash })
    const other = new LogWriter()
    other.commit('a', 3)
    other.commit('b', [closing(0, '0'.repeat(64))])
    await other.integrate()
    expect(await found(other.log)).toMatchObject({ codes: ['writer_chain'], index: 0, to: 3, writer: 'a', seq: 0 })
    const twice = new LogWriter()
    const { hash } = twice.commit('a', 3)
    twice.commit('b', [closing(0, hash), closing(1, hash)])
    await twice.integrate()
    const result = await found(twice.log)
    expect(result.codes).toContain('writer_chain')
    expect(result).toMatchObject({ index: 4, exact: true, writer: 'a' })
  })

  it('a tile after the closing, even a signed one', async () => {
    const writer = new LogWriter()
    writer.commit('a', 3)
    writer.close('a', 'b')
    writer.commit('a', 2)
    await writer.integrate()
    expect(await found(writer.log)).toMatchObject({ codes: ['writer_after_close'], index: 4, writer: 'a', seq: 1 })
  })
})

describe('heads', () => {
  const forged = (size: number, by = key) =>
    signCheckpoint({ origin, size, root: leafHash(`another history of ${size}`), at: 1, closed: [] }, by)

  it('two of one size that differ are a fork', async () => {
    for (const first of [true, false]) {
      const log = await sampleLog()
      log.heads.splice(first ? 1 : 2, 0, { size: 15, checkpoint: forged(15) })
      const result = await found(log)
      expect(result.codes).toContain('head_fork')
      expect(result).toMatchObject({ index: 7, to: 14 })
    }
  })

  it('one that a later head does not extend is told from altered entries', async () => {
    const log = await sampleLog()
    log.heads[1] = { size: 15, checkpoint: forged(15) }
    expect(await found(log)).toMatchObject({ codes: ['head_inconsistent'], index: 7, to: 14 })
  })

  it('the last one, over a history that is not this', async () => {
    const log = await sampleLog()
    log.heads[3] = { size: 26, checkpoint: forged(26) }
    const result = await found(log)
    expect(result.codes).toContain('root_mismatch')
    expect(result).toMatchObject({ index: 20, to: 25 })
  })

  it('one signed by another key does not count', async () => {
    const log = await sampleLog()
    log.heads[3] = { size: 26, checkpoint: forged(26, thiefsKey) }
    expect((await found(log)).codes).toEqual(['head_refused', 'head_missing'])
  })

  it('one that is out of place', async () => {
    const log = await sampleLog()
    log.heads.push(log.heads[0] as Log['heads'][0])
    expect((await found(log)).codes).toEqual(['head_misplaced'])
  })

  it('a whole history rewritten with the real key is caught by a head from outside', async () => {
    const outsideHeads = (await sampleLog()).heads.map((head) => head.checkpoint).slice(1, 3)
    const writer = new LogWriter()
    writer.commit('a', 40)
    await writer.integrate()
    expect((await verify(writer.log)).ok).toBe(true)
    const result = await found(writer.log, { outsideHeads })
    expect(result).toMatchObject({ codes: ['outside_head_mismatch'], index: 0, to: 14 })
  })

  it('one from outside that is false is found, whatever is listed before it', async () => {
    const log = await sampleLog()
    const outsideHeads = [log.heads[2]?.checkpoint as string, forged(7)]
    expect(await found(log, { outsideHeads })).toMatchObject({ codes: ['outside_head_mismatch'], index: 0, to: 6 })
  })

  it('one from outside that is forged or damaged is refused, not passed over', async () => {
    const log = await sampleLog()
    for (const note of [
      'nonsense',
      forged(15, thiefsKey),
      (log.heads[1] as Log['heads'][0]).checkpoint.replace('15', '14'),
    ]) {
      expect((await found(log, { outsideHeads: [note] })).codes).toEqual(['head_refused'])
    }
  })
})

describe('keys', () => {
  it('a log rewritten under another key is refused by whoever knows the key', async () => {
    const report = await verifyLog(records(await sampleLog()), { keys: [thiefsKey.publicKey] })
    expect(report.ok).toBe(false)
    expect(report.faults.map((fault) => fault.code)).toContain('key_refused')
  })

  it('a log that names another key than its writers used is refused', async () => {
    const report = await verifyLog(records(await sampleLog(), thiefsKey))
    expect(report.faults.map((fault) => fault.code)).toContain('key_refused')
  })

  it('a writer listed twice, perhaps with another key, is refused', async () => {
    const log = await sampleLog()
    log.writers.push(log.writers[0] as WriterRow)
    expect((await found(log)).codes).toEqual(['export_malformed'])
  })

  it('a log of another tenant is refused', async () => {
    const report = await verify(await sampleLog(), { tenant: 'acme' })
    expect(report.faults[0]).toMatchObject({ code: 'export_malformed' })
  })
})

describe('the file', () => {
  it('reads back as it was written', async () => {
    const log = await sampleLog()
    const direct: AuditRecord[] = []
    for await (const record of records(log)) direct.push(record)
    const read: AuditRecord[] = []
    for await (const record of readExport(await exported(log))) read.push(record)
    expect(read).toEqual(direct.map((record) => expect.objectContaining(record)))
  })

  it('is bad when any byte of it is changed', async () => {
    const lines = await exported(await sampleLog())
    const text = lines.join('\n')
    // What is not signed and not needed to verify may change unseen: when it was exported and when writers started or stopped.
    const free = [...text.matchAll(/"(exported_at|started_at|closed_at)":\d+/g)].map((m) => [
      m.index,
      m.index + m[0].length,
    ])
    await fc.assert(
      fc.asyncProperty(fc.nat(text.length - 1), fc.integer({ min: 0x20, max: 0x7e }), async (at, code) => {
        const replaced = String.fromCharCode(code)
        fc.pre(text[at] !== replaced && !free.some(([from, to]) => at >= (from as number) && at < (to as number)))
        const bad = text.slice(0, at) + replaced + text.slice(at + 1)
        const report = await verifyLog(readExport(bad.split('\n')), { keys: [key.publicKey] })
        expect(report.ok, `${at}: ${bad.slice(at - 30, at + 30)}`).toBe(false)
      }),
      { numRuns: 1000 },
    )
  })

  it.each([
    'x',
    'null',
    '[]',
    '{}',
    '{"record":"constructor"}',
    '{"record":"tile"}',
    '{"record":"head","checkpoint":"\\ud800"}',
    '{"record":"end","writers":-1,"tiles":0,"entries":0,"heads":0}',
    '{"record":"writer","writer":"a","public_key":"AA==","started_at":1.5,"closed_at":null}',
    `{"__proto__":{"record":"head","checkpoint":"x"}}`,
    '['.repeat(100_000),
  ])('never throws for a line that is none: %.40s', async (line) => {
    const lines = await exported(await sampleLog())
    for (const bad of [[line], [lines[0] as string, line], [...lines, line], [line, ...lines]]) {
      expect((await verifyLog(readExport(bad))).ok).toBe(false)
    }
  })

  it('has one beginning and nothing after its end', async () => {
    const lines = await exported(await sampleLog())
    const [first, second] = lines as [string, string]
    const messageOf = async (bad: string[]) => (await verifyLog(readExport(bad))).faults[0]?.message
    expect(await messageOf([first, ...lines])).toContain('second first record')
    expect(await messageOf([second, ...lines])).toContain('before the first')
    expect(await messageOf([...lines, second])).toContain('after the end')
  })

  it('has stored hashes that are whole', async () => {
    const lines = await exported(await sampleLog())
    const bad = lines.map((line) => line.replace(/"leaf_hashes":"[^"]*"/, '"leaf_hashes":"AAAA"'))
    expect((await verifyLog(readExport(bad))).faults[0]).toMatchObject({
      code: 'export_malformed',
      message: expect.stringContaining('leaf_hashes'),
    })
  })

  it('keeps the first hundred faults of a log that is bad everywhere', async () => {
    const lines = Array.from({ length: 500 }, () => 'x')
    const report = await verifyLog(readExport(lines))
    expect(report.faults).toHaveLength(100)
    expect(report.fault_count).toBe(501)
  })
})
