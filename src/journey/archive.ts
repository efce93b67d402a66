import { archiveFileName, archiveHash } from '../core/audit/archive.js'
import { type AuditRecord, recordLine } from '../core/audit/export.js'
import type { SigningKey } from '../core/audit/keys.js'
import type { ArchiveFolder, Draft } from '../store/archive-folder.js'
import { segmentRecords, Unarchivable } from '../store/archive-segment.js'
import {
  type ArchiveFileRow,
  emptyTiles,
  fullArchives,
  markEmptied,
  newestArchive,
  oldestLeft,
  segmentEnd,
} from '../store/archives.js'
import { auditTenants } from '../store/audit.js'
import type { World } from '../store/world.js'

/** A file is made once a day of each tenant, unless there is more than fits into one: a quiet log must not become a heap of files. */
const DAY_MS = 86_400_000
/** Of one file. More is left to the next one; to find where it ends, so many headers are looked at. */
const SEGMENT = { bytes: 64 * 1024 * 1024, tiles: 50_000 }
/** Of one member of the file: to read one tile of it, so much is unpacked: the timeline of an old job takes 4 ms. */
const PART_BYTES = 256 * 1024
/** Bodies taken out in one statement: 2 to 3 ms. */
const EMPTIED = 200

export interface Archived {
  tenant: string
  /** The file that was added; null where none was due. */
  row: ArchiveFileRow | null
  /** Why this tenant's round ended; the others' went on. */
  failed: Error | null
}

/**
 * One file at most of every tenant whose log has entries that are old enough: choose → check → write → commit → empty. Whatever ends
 * between two of these loses nothing: before the commit the entries are in the database, after it in both, and the next round goes on.
 * Of several nodes one should do it; two at once cost one of them its work.
 */
export async function archive(
  world: World,
  folder: ArchiveFolder,
  key: SigningKey,
  keepMs: number,
  skips: (tenant: string) => boolean = () => false,
): Promise<Archived[]> {
  const done: Archived[] = []
  for (const tenant of await auditTenants(world.db)) {
    if (skips(tenant)) continue
    try {
      const row = await archiveTenant(world, folder, key, keepMs, tenant)
      if (row !== null) done.push({ tenant, row, failed: null })
    } catch (failed) {
      done.push({ tenant, row: null, failed: failed as Error })
    }
  }
  return done
}

async function archiveTenant(
  world: World,
  folder: ArchiveFolder,
  key: SigningKey,
  keepMs: number,
  tenant: string,
): Promise<ArchiveFileRow | null> {
  for (const row of await fullArchives(world.db, tenant)) await empty(world, folder, row)
  const chosen = await choose(world, folder, keepMs, tenant)
  if (chosen === null) return null
  const row = await write(world, folder, key, chosen)
  await say(world, row)
  await empty(world, folder, row)
  return row
}

/** What goes into the next file. */
interface Segment {
  tenant: string
  first: number
  /** Of the signed head it ends with. */
  size: number
  /** `archive_hash` of the file before; null for the first. */
  before: string | null
}

async function choose(
  { db, clock }: World,
  folder: ArchiveFolder,
  keepMs: number,
  tenant: string,
): Promise<Segment | null> {
  const last = await newestArchive(db, tenant)
  const first = last?.size ?? 0
  const before = clock.now() - keepMs
  const oldest = await oldestLeft(db, tenant, first)
  if (oldest === null || oldest >= before - DAY_MS) return null
  const size = await segmentEnd(db, tenant, first, { before, ...SEGMENT })
  if (size === null) return null
  // A folder that is not mounted is empty as well: what is written there would be seen by nobody.
  if (last !== null && (await folder.hashOf(last.file)) !== last.sha256)
    throw new Unarchivable(tenant, `the archive before, ${last.file}, is not in ${folder.dir} as it was written`)
  return { tenant, first, size, before: last?.archive_hash ?? null }
}

async function write(world: World, folder: ArchiveFolder, key: SigningKey, segment: Segment): Promise<ArchiveFileRow> {
  const { tenant, first, size, before } = segment
  const at = world.clock.now()
  const draft = await folder.draft(tenant, world.ids.id('part', at))
  try {
    const parts = await writeParts(draft, segmentRecords(world.db, key, segment))
    const kept = await draft.keep((sha256) => archiveFileName(tenant, first, size, sha256))
    const row = { tenant, first, size, ...kept, parts, at, emptied_at: null }
    return { ...row, archive_hash: archiveHash(tenant, before, row) }
  } catch (error) {
    await draft.drop()
    throw error
  }
}

/** Members of about PART_BYTES; each but the first begins with a tile, so that its first index says what is in it. */
async function writeParts(draft: Draft, records: AsyncIterable<AuditRecord>): Promise<ArchiveFileRow['parts']> {
  const parts: ArchiveFileRow['parts'] = []
  let text = ''
  let first = -1
  const flush = async () => {
    parts.push([first, await draft.add(text)])
    text = ''
    first = -1
  }
  for await (const record of records) {
    if (record.record === 'tile') {
      if (text.length >= PART_BYTES) await flush()
      if (first === -1) first = record.first_index ?? 0
    }
    text += `${recordLine(record)}\n`
  }
  await flush()
  return parts
}

/** Row and entry in one commit: from here on the file is part of the evidence. Throws what `commit` throws. */
async function say(world: World, row: ArchiveFileRow): Promise<void> {
  const { tenant, first, size, file, sha256, archive_hash, at } = row
  await world.ledger.commit({
    tenant,
    gate: null,
    alone: [],
    rows: {},
    admin: { archives: [row] },
    facts: [
      {
        kind: 'audit.archived',
        tenant,
        at,
        actor: 'system:archiver',
        first,
        size,
        file,
        sha256,
        archive_hash,
      },
    ],
  })
}

/** Takes the bodies out of the database, once more only if the file is there: a round that was cut off is ended by a later one. */
async function empty(world: World, folder: ArchiveFolder, row: ArchiveFileRow): Promise<void> {
  const { tenant, first, file, sha256 } = row
  if ((await folder.hashOf(file)) !== sha256)
    throw new Unarchivable(
      tenant,
      `the archive ${file} is not in ${folder.dir} as it was written; nothing is taken out`,
    )
  for (let from: number | null = first; from !== null; ) from = await emptyTiles(world.db, tenant, row, from, EMPTIED)
  await markEmptied(world.db, tenant, row, world.clock.now())
}
