import { existsSync, rmSync, writeFileSync } from 'node:fs'
import type { Db } from './seam.js'

/**
 * Opens a database directory, or makes it. Making one takes seconds, and a process killed in them leaves half a database that
 * no later start could open. So a mark stands beside it for that time; where one is found, nobody was ever promised anything
 * of what it marks, and the directory is made anew. Without a mark nothing is ever removed.
 */
export async function openWhole(dir: string, open: (dir: string) => Promise<Db>): Promise<Db> {
  const mark = `${dir}.unfinished`
  if (existsSync(mark)) rmSync(dir, { recursive: true, force: true })
  else if (existsSync(dir)) return open(dir)
  writeFileSync(mark, 'the database beside this was not made to its end\n', { mode: 0o600 })
  const db = await open(dir)
  rmSync(mark)
  return db
}
