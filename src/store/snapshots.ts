import type { Json } from '../core/json.js'
import type { Db } from '../platform/db/seam.js'

export interface SnapshotRow {
  tenant: string
  digest: string
  source: 'file' | 'api'
  files: { path: string; text: string }[]
  warnings: Json
  rules: number
  note: string | null
  /** Who wrote it, from which commit, and who looked at it: as whoever stored it says. */
  author: string | null
  source_commit: string | null
  reviewers: string[]
  created_by: string
  created_at: number
  activated_at: number | null
  /** What was active when this became so, by a change and not by a rollback. */
  replaced: string | null
}

const GET = 'SELECT * FROM policy_snapshots WHERE tenant = $1 AND digest = $2'
const LIKE = 'SELECT * FROM policy_snapshots WHERE tenant = $1 AND digest LIKE $2 ORDER BY digest LIMIT 2'
const BEFORE_IT = `SELECT b.* FROM policy_snapshots s JOIN policy_snapshots b ON b.tenant = s.tenant AND b.digest = s.replaced
  WHERE s.tenant = $1 AND s.digest = $2`
const LIST = 'SELECT * FROM policy_snapshots WHERE tenant = $1 ORDER BY created_at DESC, digest LIMIT 500'

export async function getSnapshot(db: Db, tenant: string, digest: string): Promise<SnapshotRow | null> {
  return (await db.query<SnapshotRow>(GET, [tenant, digest]))[0] ?? null
}

/** By what a person types: a whole digest or `v1:7f93d2c`. Null when none or more than one begins so. */
export async function findSnapshot(db: Db, tenant: string, id: string): Promise<SnapshotRow | null> {
  const hex = id.startsWith('v1:') ? id.slice(3) : id
  if (!/^[0-9a-f]{7,64}$/.test(hex)) return null
  const rows = await db.query<SnapshotRow>(LIKE, [tenant, `${hex}%`])
  return rows.length === 1 ? (rows[0] as SnapshotRow) : null
}

/** What was active before this one became so, and it is gone back to step by step; null where nothing was. */
export async function snapshotBefore(db: Db, tenant: string, digest: string): Promise<SnapshotRow | null> {
  return (await db.query<SnapshotRow>(BEFORE_IT, [tenant, digest]))[0] ?? null
}

export function listSnapshots(db: Db, tenant: string): Promise<SnapshotRow[]> {
  return db.query<SnapshotRow>(LIST, [tenant])
}
