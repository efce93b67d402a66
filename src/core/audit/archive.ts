import { canonical, sha256 } from '../canonical.js'
import { type ArchiveRow, type AuditRecord, type PlacedTile, readExport } from './export.js'

/**
 * Old entries in files outside the database. A file holds what stood in the tree from `first` on up to a signed head, as lines of
 * an export; header, hash and signature of every tile stay in the database, and so do the leaf hashes. So a file is believed for
 * nothing: each of its bodies has to be the one that was signed.
 */

/**
 * Over a row and the hash of the row before: the entry `audit.archived` of the newest file so vouches for the list of all of them,
 * also where the entries of the others lie in files that are not at hand.
 */
export function archiveHash(
  tenant: string,
  before: string | null,
  { first, size, file, sha256: hash }: Omit<ArchiveRow, 'archive_hash'>,
): string {
  return sha256(`sallyport/archive/v1\n${canonical({ tenant, before, first, size, file, sha256: hash })}`)
}

/** Hex digits of a file's hash in its name: enough that other bytes never get the same one by chance. */
const IN_NAME = 16
const FILE = /^(?:[A-Za-z0-9_-]|%[0-9A-F]{2}){1,255}\/[0-9]{1,16}-[0-9]{1,16}\.[0-9a-f]{16}\.jsonl\.gz$/
const PLAIN = /^[A-Za-z0-9_-]$/

/** The folder of a tenant, one path segment whatever it is called: all but letters, digits, `_` and `-` percent-encoded. */
export function archiveFolderOf(tenant: string): string {
  const encoded = [...Buffer.from(tenant)].map((byte) => {
    const char = String.fromCharCode(byte)
    return PLAIN.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  })
  const name = encoded.join('')
  return name.length <= 255 ? name : sha256(tenant)
}

export function archiveFileName(tenant: string, first: number, size: number, hash: string): string {
  return `${archiveFolderOf(tenant)}/${first}-${size}.${hash.slice(0, IN_NAME)}.jsonl.gz`
}

/** Whether this can be the name of such a file: rows and exports come from outside, and a name must not lead out of the folder. */
export const isArchiveFile = (file: string): boolean => FILE.test(file)

/** A file as it is read: its lines, and what the bytes read so far hash to. */
export interface ArchiveFile {
  /** Throws where the file is cut short or damaged. */
  lines: AsyncIterable<string>
  /** Hex; of the whole file once its lines are read. */
  sha256(): string
}
/** Null where there is no such file. */
type OpenArchive = (file: string) => Promise<ArchiveFile | null>

/**
 * The records of a log with the bodies that are in files put back, as far as there are files. A body that is in the database too is
 * left as it is, and the file is read all the same. Behind each file that is not what the log says stands a record of what is wrong;
 * where the records come from an export, it takes the place of what was said of that file there.
 */
export async function* withArchive(
  records: AsyncIterable<AuditRecord> | Iterable<AuditRecord>,
  open: OpenArchive,
): AsyncGenerator<AuditRecord> {
  const waiting: ArchiveRow[] = []
  const listed = new Set<string>()
  let segment: Segment | null = null
  try {
    for await (const record of records) {
      if (record.record === 'archive') {
        waiting.push(record)
        listed.add(record.file)
      }
      if (record.record === 'archive_fault' && listed.has(record.file)) continue
      if (record.record === 'end' || (record.record === 'tile' && record.first_index === null)) {
        if (segment !== null) yield* segment.close()
        segment = null
        for (const row of waiting.splice(0)) yield* (await Segment.open(row, open)).close()
      }
      if (record.record !== 'tile' || record.first_index === null) {
        yield record
        continue
      }
      while (record.first_index >= (segment?.row.size ?? 0)) {
        if (segment !== null) yield* segment.close()
        const row = waiting.shift()
        segment = row === undefined ? null : await Segment.open(row, open)
        if (segment === null) break
      }
      const body: string | null = segment === null ? null : await segment.bodyOf(record)
      yield { ...record, body: record.body ?? body }
      if (record.body === null && body === null) segment?.miss(record)
    }
  } finally {
    await segment?.leave()
  }
}

/** One file, read beside the tiles it covers. */
class Segment {
  readonly row: ArchiveRow
  private readonly file: ArchiveFile | null
  private readonly tiles: AsyncGenerator<PlacedTile> | null
  private next: PlacedTile | null = null
  private damage: string | null
  private missed: string | null = null
  private done = false

  private constructor(row: ArchiveRow, file: ArchiveFile | null, damage: string | null) {
    this.row = row
    this.file = file
    this.tiles = file === null ? null : tilesIn(file.lines)
    this.damage = damage
  }

  static async open(row: ArchiveRow, open: OpenArchive): Promise<Segment> {
    try {
      return new Segment(row, isArchiveFile(row.file) ? await open(row.file) : null, null)
    } catch (error) {
      return new Segment(row, null, (error as Error).message)
    }
  }

  /** Whoever reads the log may stop in the middle of it. */
  async leave(): Promise<void> {
    await this.tiles?.return(undefined)
  }

  /** Null where the file does not have it; what it has need not be the right one. */
  async bodyOf({ writer, seq, first_index }: PlacedTile): Promise<string | null> {
    const index = first_index as number
    if (index < this.row.first) return null
    while (!this.done && (this.next === null || (this.next.first_index ?? 0) < index)) await this.advance()
    const found = this.next
    if (found === null || found.first_index !== index || found.writer !== writer || found.seq !== seq) return null
    this.next = null
    return found.body
  }

  /** A tile that lost its body is not where the file has it. A file that cannot be read misses everything, and says so itself. */
  miss({ writer, seq, first_index }: PlacedTile): void {
    if (this.file === null || (first_index ?? 0) < this.row.first) return
    this.missed ??= `tile ${seq} of writer ${writer}, which stands at entry ${first_index}, is not there`
  }

  private async advance(): Promise<void> {
    this.next = null
    try {
      const { value, done } = (await this.tiles?.next()) ?? { done: true, value: undefined }
      if (done === true) this.done = true
      else this.next = value
    } catch (error) {
      this.done = true
      this.damage = (error as Error).message
    }
  }

  /** Reads what is left, for the hash is over the whole file. */
  async *close(): AsyncGenerator<AuditRecord> {
    const { file } = this.row
    if (this.file === null && this.damage === null) {
      yield { record: 'archive_fault', file, fault: 'missing', detail: 'there is no such file' }
      return
    }
    while (!this.done) await this.advance()
    const hash = this.file?.sha256() ?? ''
    const damage = this.damage ?? (hash === this.row.sha256 ? this.missed : otherHash(hash))
    if (damage !== null) yield { record: 'archive_fault', file, fault: 'damaged', detail: damage }
  }
}

const otherHash = (hash: string) => `its SHA-256 is ${hash}, which is not the one in the log`

async function* tilesIn(lines: AsyncIterable<string>): AsyncGenerator<PlacedTile> {
  for await (const record of readExport(lines)) {
    if (record.record === 'malformed') throw new Error(`line ${record.line}: ${record.detail}`)
    if (record.record === 'tile') yield record
  }
}
