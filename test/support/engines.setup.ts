import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { type PostgresInstance, startPostgres } from '../../scripts/engines.mjs'

declare module 'vitest' {
  interface ProvidedContext {
    /** Socket at which test files ask for the shared engines. */
    engines: string
  }
}

/**
 * One private Postgres for all test files of a run, started when the first of them asks: starting one takes 2 s, a database
 * on it 50 ms, and a run of a few unit tests needs none. Whoever kills or freezes it starts one of their own.
 */
export default function setup(project: TestProject): () => Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-engines-'))
  const socket = join(dir, 'engines.sock')
  let postgres: Promise<PostgresInstance> | null = null
  const server = createServer((asking) => {
    asking.on('error', () => {})
    postgres ??= startPostgres({ settings: { max_connections: 400, track_commit_timestamp: 'on' } })
    postgres.then(
      ({ port }) => asking.end(JSON.stringify({ port })),
      (error: Error) => asking.end(JSON.stringify({ error: error.message })),
    )
  })
  server.listen(socket)
  project.provide('engines', socket)
  return async () => {
    server.close()
    ;(await postgres?.catch(() => null))?.discard()
    rmSync(dir, { recursive: true, force: true })
  }
}
