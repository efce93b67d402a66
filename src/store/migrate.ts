import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Db } from '../platform/db/seam.js'

const TABLE =
  'CREATE TABLE IF NOT EXISTS schema_migrations (version int NOT NULL PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at bigint NOT NULL)'
const APPLIED = 'SELECT version, name, checksum FROM schema_migrations ORDER BY version'

export class MigrationError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'MigrationError'
  }
}

/**
 * Forward only, in the order of their names. Each file runs in one transaction together with its row. A file that changed or
 * moved after it was applied, or a schema newer than this code, stops the start: guessing here corrupts data.
 * @param dir folder of NNNN_name.sql
 */
export async function migrate(db: Db, dir: string, now: number): Promise<number> {
  await db.script(TABLE)
  const files = readdirSync(dir)
    .filter((name) => /^\d{4}_.+\.sql$/.test(name))
    .sort()
  const applied = await db.query<{ version: number; name: string; checksum: string }>(APPLIED)
  for (const [i, row] of applied.entries()) {
    const name = files[i]
    if (name === undefined)
      throw new MigrationError(
        `The database has migration ${row.name}, which this version does not know: it is newer than the code. Upgrade Sallyport.`,
      )
    const checksum = checksumOf(join(dir, name))
    if (row.name !== name || row.checksum !== checksum)
      throw new MigrationError(
        `Migration ${row.name} in the database is not the one in ${name}: applied migrations must not change.`,
      )
  }
  for (const name of files.slice(applied.length)) {
    const text = readFileSync(join(dir, name), 'utf8')
    const row = [Number(name.slice(0, 4)), quote(name), quote(checksumOf(join(dir, name))), now].join(', ')
    await db.script(`${text}\nINSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES (${row});`)
  }
  return files.length
}

const checksumOf = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex')
const quote = (text: string) => `'${text.replaceAll("'", "''")}'`
