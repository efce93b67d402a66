import { appendFileSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openPglite } from '../platform/db/pglite.js'
import type { Db } from '../platform/db/seam.js'
import { MigrationError, migrate } from './migrate.js'

let db: Db
let dir: string
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sallyport-migrate-'))
  copyFileSync(fileURLToPath(new URL('../../migrations/0001_spine.sql', import.meta.url)), join(dir, '0001_spine.sql'))
  db = await openPglite(null)
})
afterAll(async () => {
  await db.close()
  rmSync(dir, { recursive: true })
})

test('migrations are applied once, forward only, and whole or not at all', async () => {
  const applied = await migrate(db, dir, 5)
  expect(applied).toBeGreaterThan(0)
  expect(await migrate(db, dir, 6)).toBe(applied)
  writeFileSync(join(dir, '0002_half.sql'), 'CREATE TABLE half (n int); SELECT 1 / 0;')
  await expect(migrate(db, dir, 7)).rejects.toThrow()
  expect(await db.query("SELECT 1 FROM information_schema.tables WHERE table_name = 'half'")).toEqual([])
  writeFileSync(join(dir, '0002_half.sql'), 'CREATE TABLE half (n int);')
  expect(await migrate(db, dir, 8)).toBe(applied + 1)
  expect(await db.query('SELECT version, applied_at FROM schema_migrations ORDER BY version')).toEqual([
    { version: 1, applied_at: 5 },
    { version: 2, applied_at: 8 },
  ])
})

test('a file changed after it was applied stops the start, and so does a database newer than the code', async () => {
  appendFileSync(join(dir, '0002_half.sql'), '\n-- changed\n')
  await expect(migrate(db, dir, 9)).rejects.toThrow(MigrationError)
  rmSync(join(dir, '0002_half.sql'))
  await expect(migrate(db, dir, 9)).rejects.toThrow(/newer than the code/)
})
