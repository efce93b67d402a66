import { type Archiving, archivingIn } from '../audit.js'
import { archiveHash, isArchiveFile } from './archive.js'
import type { ArchiveFault, ArchiveRow, PlacedTile } from './export.js'
import type { Faults } from './faults.js'

/** Entries of which only the hashes were at hand, from the first to the last of them. */
export interface Unread {
  from: number
  to: number
}

/** The same bound as for faults: the list is for people, the count is exact. */
const KEPT = 100

/**
 * Old entries in files: whether the files are those the log speaks of, and which of their entries were not seen. What the bodies say
 * is checked like that of all others, tile by tile.
 */
export class ArchiveCheck {
  private readonly faults: Faults
  private tenant = ''
  private readonly rows: ArchiveRow[] = []
  private hash: string | null = null
  private broken = false
  private newest: Archiving | null = null
  private emptied = false
  readonly unread: Unread[] = []
  unreadEntries = 0

  constructor(faults: Faults) {
    this.faults = faults
  }

  begin(tenant: string): void {
    this.tenant = tenant
  }

  get files(): number {
    return this.rows.length
  }
  /** Entries that are in files, whether or not they are in the database as well. */
  get size(): number {
    return this.rows.at(-1)?.size ?? 0
  }

  archive(row: ArchiveRow): void {
    const { first, size, file } = row
    const from = this.size
    this.hash = archiveHash(this.tenant, this.hash, row)
    this.rows.push(row)
    if (first === from && size > first && isArchiveFile(file) && row.archive_hash === this.hash) return
    this.hash = row.archive_hash
    if (this.broken) return
    this.broken = true
    const message = `the archive ${file} of entries ${first} to ${size - 1} is not the next of the list`
    this.faults.add('archive_unvouched', message, { index: Math.min(from, first), to: Math.max(0, size - 1) })
  }

  fault({ file, fault, detail }: ArchiveFault): void {
    const row = this.rows.find((each) => each.file === file)
    const blame = row === undefined ? {} : { index: row.first, to: row.size - 1 }
    if (fault === 'missing') this.faults.add('archive_missing', `the archive ${file} is gone: ${detail}`, blame)
    else this.faults.add('archive_damaged', `the archive ${file} is damaged: ${detail}`, blame)
  }

  tile({ first_index, count, writer, seq, body }: PlacedTile, lines: readonly string[] | null): void {
    if (body !== null && lines !== null) {
      const said = archivingIn(body, lines)
      if (said !== null && said.size > (this.newest?.size ?? 0)) this.newest = said
      return
    }
    if (first_index === null || first_index + count > this.size) {
      if (this.emptied) return
      this.emptied = true
      const blame = { writer, seq, index: first_index, to: first_index === null ? null : first_index + count - 1 }
      this.faults.add(
        'tile_emptied',
        `tile ${seq} of writer ${writer} has no entries, and no archive holds them`,
        blame,
      )
      return
    }
    this.unreadEntries += count
    const last = this.unread.at(-1)
    if (last?.to === first_index - 1) last.to = first_index + count - 1
    else if (this.unread.length < KEPT) this.unread.push({ from: first_index, to: first_index + count - 1 })
  }

  /** After the last record: the newest entry about archives was written in one commit with the newest row, so it is never in a file. */
  end(): void {
    const { newest } = this
    if ((newest?.size ?? 0) === this.size && (newest?.archive_hash ?? null) === this.hash) return
    const to = Math.max(newest?.size ?? 0, this.size) - 1
    const index = this.rows.at(-1)?.first ?? 0
    const said = newest === null ? 'of no archive' : `of archives up to entry ${newest.size - 1}`
    const listed = this.rows.length === 0 ? 'none is listed' : `those listed end at entry ${this.size - 1}`
    const other = newest !== null && newest.size === this.size ? ', and they are others' : ''
    this.faults.add('archive_unvouched', `the log speaks ${said}; ${listed}${other}`, {
      index: Math.min(index, Math.max(0, to)),
      to: Math.max(0, to),
    })
  }
}
