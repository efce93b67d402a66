import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import pg from 'pg'
import { inject } from 'vitest'
import { signingKeyPem } from '../../src/core/audit/keys.js'

let port: Promise<number> | null = null

/** Port of the Postgres that all test files of this run share. Its only user is `sallyport`, without a password. */
export function sharedPostgres(): Promise<number> {
  port ??= text(connect(inject('engines'))).then((answer) => {
    const { port, error } = JSON.parse(answer) as { port: number; error?: string }
    if (error !== undefined) throw new Error(error)
    return port
  })
  return port
}

/** A new, empty database on the shared Postgres; its URL. */
export async function database(): Promise<string> {
  const url = (name: string, at: number) => `postgresql://sallyport@127.0.0.1:${at}/${name}`
  const at = await sharedPostgres()
  const name = `t_${randomBytes(8).toString('hex')}`
  await sqlOn(url('postgres', at), `CREATE DATABASE ${name}`)
  return url(name, at)
}

/** Statements from outside, on a connection of their own that nothing of ours stands between. */
// biome-ignore lint/suspicious/noExplicitAny: rows of whatever is asked
export async function sqlOn(url: string, sql: string, params: unknown[] = []): Promise<any[]> {
  const client = new pg.Client({ connectionString: url, application_name: 'a test looks' })
  await client.connect()
  try {
    return (await client.query(sql, params.length === 0 ? undefined : params)).rows
  } finally {
    await client.end()
  }
}

/** What a node on Postgres needs beside the URL: on it no node makes its own key. */
export function signingKeyFile(path: string): string {
  writeFileSync(path, signingKeyPem(randomBytes(32)), { mode: 0o600 })
  return path
}
