/** What the verifier can find. A code keeps its meaning; the message says it for people. */
export type AuditFaultCode =
  | 'export_malformed' // a line that is no record, records out of order, or counts that differ
  | 'key_refused' // a key that cannot be used, or a writer's key nobody vouches for
  | 'tile_altered' // a tile does not hash to what was signed
  | 'tile_count' // entries were taken out of a tile or put in
  | 'tile_signature' // the signature of a tile is not its writer's
  | 'entry_altered' // an entry is not the one in the signed tree
  | 'stored_hash_altered' // the entry is right; the stored hash of it is not
  | 'entries_missing' // a gap in the tree
  | 'entries_displaced' // a tile stands where others were
  | 'writer_unknown'
  | 'writer_gap' // a tile of a chain is missing
  | 'writer_order' // a tile of a chain comes twice or too late
  | 'writer_chain' // a tile does not follow from the one before
  | 'writer_cut' // a closed chain ends before its last tile
  | 'writer_after_close'
  | 'closing_missing' // said to be closed, without the entry that closes it
  | 'head_refused' // a head that is malformed, another log's, or not signed by a trusted key
  | 'head_misplaced'
  | 'head_fork' // two signed heads of one size
  | 'head_inconsistent' // a signed head that a later one does not extend
  | 'head_missing' // entries after the last signed head
  | 'root_mismatch' // entries do not hash to the signed head
  | 'tail_cut' // a signed head is larger than what is left
  | 'outside_head_mismatch' // a head kept elsewhere says another history
  | 'tile_emptied' // a tile without its entries, and no file is said to hold them
  | 'archive_unvouched' // the list of files is not the one the log speaks of
  | 'archive_missing' // a file that the log names is gone
  | 'archive_damaged' // a file is not the one that the log names
  | 'truncated' // a head kept elsewhere is larger than this log

export interface AuditFault {
  code: AuditFaultCode
  message: string
  tenant: string
  writer: string | null
  seq: number | null
  /** The bad entry, or the first it could be. Null where no entry of the tree is meant. */
  index: number | null
  /** The last it could be; equal to `index` where it is known exactly. */
  to: number | null
}

export interface FirstBadEntry {
  /** Null: a tile outside the tree. */
  index: number | null
  to: number | null
  exact: boolean
  writer: string | null
  seq: number | null
}

export type Blame = Partial<Pick<AuditFault, 'writer' | 'seq' | 'index' | 'to'>>

/** A log that is bad everywhere must not fill the memory of who checks it: more are counted, not kept. */
const KEPT = 100

/** Collects faults and finds the first bad entry among them. */
export class Faults {
  tenant = ''
  total = 0
  readonly kept: AuditFault[] = []
  private first: AuditFault | null = null

  add(code: AuditFaultCode, message: string, blame: Blame = {}): void {
    const { writer = null, seq = null, index = null } = blame
    const fault = { code, message, tenant: this.tenant, writer, seq, index, to: blame.to ?? index }
    this.total++
    if (this.kept.length < KEPT) this.kept.push(fault)
    if (this.first === null || isEarlier(fault, this.first)) this.first = fault
  }

  firstBadEntry(): FirstBadEntry | null {
    if (this.first === null || (this.first.index === null && this.first.writer === null)) return null
    const { index, to, writer, seq } = this.first
    return { index, to, exact: index !== null && index === to, writer, seq }
  }
}

/**
 * Every fault bounds the first bad entry from both sides. One act of tampering shows as several faults; the one that ends
 * first is nearest to it, and of those the narrowest tells most.
 */
function isEarlier(a: AuditFault, b: AuditFault): boolean {
  if (a.to === null || b.to === null)
    return b.to === null && (a.to !== null || (b.writer === null && a.writer !== null))
  if (a.to !== b.to) return a.to < b.to
  const [fromA, fromB] = [a.index ?? 0, b.index ?? 0]
  if (fromA !== fromB) return fromA > fromB
  return b.writer === null && a.writer !== null
}
