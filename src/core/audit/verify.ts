import { type Checkpoint, CheckpointError, checkpointOpener, type OpenCheckpoint, originOf } from './checkpoint.js'
import type { AuditRecord, ExportCounts, ExportHeader, PlacedTile } from './export.js'
import { type AuditFault, Faults, type FirstBadEntry } from './faults.js'
import { base64 } from './hash.js'
import { formatVkey, parsePublicKey } from './keys.js'
import { tileLines } from './tile.js'
import { ArchiveCheck, type Unread } from './verify-archives.js'
import { ChainCheck } from './verify-chains.js'
import { type OutsideHead, TreeCheck } from './verify-tree.js'

export interface VerifyOptions {
  /** Tenant the log must be of; without it, whatever the log says it is. */
  tenant?: string
  /** Raw public keys that are trusted. Without them the key in the log is taken at its word. */
  keys?: readonly Uint8Array[]
  /** Checkpoints kept outside the system. Those of other origins are passed over, so one file may serve all tenants. */
  outsideHeads?: readonly string[]
}

export interface VerifyReport {
  ok: boolean
  tenant: string
  origin: string
  key: 'GIVEN' | 'FROM EXPORT'
  /** In the tree. */
  entries: number
  /** In signed tiles that are not in the tree yet. */
  waiting: number
  tiles: number
  writers: number
  heads: number
  /** The largest head that holds. */
  head: { size: number; root: string; at: number | null; checkpoint: string } | null
  /** Whether a head from outside was there to say how long the log must be. */
  truncation: 'CHECKED' | 'NOT CHECKED'
  /** Size of the largest head from outside: what came after it could have been cut unseen. */
  truncation_checked_to: number | null
  /** Old entries in files; null where all are in the database. */
  archived: ArchivedReport | null
  first_bad_entry: FirstBadEntry | null
  /** The first 100. */
  faults: AuditFault[]
  fault_count: number
}

export interface ArchivedReport {
  files: number
  /** Entries that files hold: the first so many of the log. */
  entries: number
  /** Entries whose file was not at hand: that none was exchanged is shown by their hashes, what they say was not seen. */
  not_checked: number
  /** Where they are; the first 100 ranges. */
  unread: Unread[]
}

/**
 * Verifies a whole log from its records: every tile by itself, every writer's chain, every entry against every signed head.
 * Recomputes all hashes; believes signatures of trusted keys and nothing else. Reads once, holds O(log entries + writers).
 * Never throws for what the records hold.
 */
export async function verifyLog(
  records: AsyncIterable<AuditRecord> | Iterable<AuditRecord>,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const log = new LogCheck(options)
  for await (const record of records) log.take(record)
  return log.report()
}

/**
 * Exit code of `audit verify`: 0 verified, 1 faults, 3 no fault, but nobody could say whether the tail is all there, or what the
 * entries in files say that were not at hand.
 */
export function verifyExitCode(report: VerifyReport): 0 | 1 | 3 {
  if (!report.ok) return 1
  return report.truncation === 'CHECKED' && (report.archived?.not_checked ?? 0) === 0 ? 0 : 3
}

class LogCheck {
  private readonly options: VerifyOptions
  private readonly faults = new Faults()
  private readonly chains = new ChainCheck(this.faults)
  private readonly tree = new TreeCheck(this.faults)
  private readonly archives = new ArchiveCheck(this.faults)
  private readonly counts: ExportCounts = { writers: 0, tiles: 0, entries: 0, heads: 0 }
  private header: ExportHeader | null = null
  private open: OpenCheckpoint | null = null
  private waiting = 0
  private ended = false
  private best: VerifyReport['head'] = null

  constructor(options: VerifyOptions) {
    this.options = options
  }

  take(record: AuditRecord): void {
    if (record.record === 'malformed') {
      this.faults.add('export_malformed', `line ${record.line}: ${record.detail}`)
    } else if (record.record === 'export') {
      this.begin(record)
    } else if (this.header === null || this.ended) {
      this.faults.add(
        'export_malformed',
        `a ${record.record} record ${this.ended ? 'after the end' : 'before the first'}`,
      )
    } else if (record.record === 'writer') {
      this.counts.writers++
      this.chains.writer(record)
    } else if (record.record === 'archive') {
      this.archives.archive(record)
    } else if (record.record === 'archive_fault') {
      this.archives.fault(record)
    } else if (record.record === 'tile') {
      this.tile(record)
    } else if (record.record === 'head') {
      this.counts.heads++
      this.head(record.checkpoint)
    } else {
      this.end(record)
    }
  }

  private begin(header: ExportHeader): void {
    if (this.header !== null) {
      this.faults.add('export_malformed', 'a second first record')
      return
    }
    this.header = header
    this.faults.tenant = header.tenant
    const expected = this.options.tenant ?? header.tenant
    if (header.tenant !== expected || header.origin !== origin(expected)) {
      this.faults.add('export_malformed', `the log is of ${header.origin}, not of tenant ${expected}`)
    }
    const keys = this.trustedKeys(header)
    this.open = checkpointOpener(header.origin, keys)
    this.chains.begin(header.tenant, keys)
    this.tree.begin(this.outsideHeads(this.open))
    this.archives.begin(header.tenant)
  }

  /** The keys given, or else the one the log names; which must be a trusted one in any case, written as for this origin. */
  private trustedKeys({ key, origin }: ExportHeader): readonly Uint8Array[] {
    const given = this.options.keys
    try {
      const keys = given ?? [parsePublicKey(key)]
      if (!keys.some((each) => formatVkey(origin, each) === key)) {
        this.faults.add('key_refused', `the log names the key ${key}, which is not a trusted one of ${origin}`)
      }
      return keys
    } catch (error) {
      this.faults.add('key_refused', `the key of the log: ${(error as Error).message}`)
      return given ?? []
    }
  }

  private outsideHeads(open: OpenCheckpoint): OutsideHead[] {
    const heads: OutsideHead[] = []
    for (const note of this.options.outsideHeads ?? []) {
      try {
        const { size, root } = open(note)
        heads.push({ size, root })
      } catch (error) {
        if (error instanceof CheckpointError && error.fault === 'wrong_origin') continue
        this.faults.add('head_refused', `a head from outside: ${(error as Error).message}`)
      }
    }
    return heads.sort((a, b) => a.size - b.size)
  }

  private tile(tile: PlacedTile): void {
    this.counts.tiles++
    this.counts.entries += tile.count
    const { body } = tile
    const lines = body === null ? null : tileLines({ body })
    this.archives.tile(tile, lines)
    if (tile.first_index === null) {
      this.waiting += tile.count
      this.chains.tile(tile, lines, null)
      return
    }
    const place = this.tree.place(tile, lines)
    const altered = this.chains.tile(tile, lines, place)
    this.tree.grow(tile, place, altered)
  }

  private head(note: string): void {
    let head: Checkpoint
    try {
      head = (this.open as OpenCheckpoint)(note)
    } catch (error) {
      this.faults.add('head_refused', (error as Error).message)
      return
    }
    this.chains.closedBy(head)
    if (this.tree.head(head)) {
      this.best = { size: head.size, root: base64(head.root), at: head.at, checkpoint: note }
    }
    this.chains.trusted = this.tree.trusted
  }

  private end(counts: ExportCounts): void {
    this.ended = true
    for (const name of ['writers', 'tiles', 'entries', 'heads'] as const) {
      if (counts[name] === this.counts[name]) continue
      this.faults.add('export_malformed', `the end counts ${counts[name]} ${name}, there are ${this.counts[name]}`)
    }
  }

  report(): VerifyReport {
    if (this.header === null) this.faults.add('export_malformed', 'this is no export of an audit log')
    else if (!this.ended) this.faults.add('export_malformed', 'the export has no end: it was cut in writing or copying')
    this.tree.end()
    this.chains.end(this.tree.size)
    this.archives.end()
    const { files, size, unreadEntries, unread } = this.archives
    return {
      ok: this.faults.total === 0,
      tenant: this.header?.tenant ?? '',
      origin: this.header?.origin ?? '',
      key: this.options.keys ? 'GIVEN' : 'FROM EXPORT',
      entries: this.tree.size,
      waiting: this.waiting,
      tiles: this.counts.tiles,
      writers: this.counts.writers,
      heads: this.counts.heads,
      head: this.best,
      truncation: this.tree.checkedTo === null ? 'NOT CHECKED' : 'CHECKED',
      truncation_checked_to: this.tree.checkedTo,
      archived: files === 0 ? null : { files, entries: size, not_checked: unreadEntries, unread },
      first_bad_entry: this.faults.firstBadEntry(),
      faults: this.faults.kept,
      fault_count: this.faults.total,
    }
  }
}

function origin(tenant: string): string | null {
  try {
    return originOf(tenant)
  } catch {
    return null
  }
}
