import pg from 'pg'

/**
 * Columns that hold an id of ours. A copy's id keeps prefix and random part and gets another time part, `00` and its number:
 * it stays unique, stays the same in all tables, and sorts before every real one, as an older job's would.
 */
const IDS = [
  'job_id',
  'run_id',
  'ptr',
  'input_ptr',
  'context_ptr',
  'result_ptr',
  'decision_id',
  'approval_id',
  'lease_id',
  'claim_id',
  'writer',
  'batch_id',
]
/** Places in the audit tree: copies go below zero, where the tree of the real entries is not disturbed. */
const PLACES = ['idx', 'first_index']
/** Not a row for each job: the tree's nodes and heads are derived from real entries only, the rest is configuration or counters. */
const LEFT_OUT = new Set([
  'audit_nodes',
  'audit_heads',
  'audit_writers',
  'gates',
  'policy_snapshots',
  'keys',
  'limits',
  'schema_migrations',
  'migrations',
])
/** Jobs a statement. */
const STEP = 20_000

/**
 * Fills the tables of a database with finished jobs. What is there at first is the pattern: all of it must be finished, and
 * integrated. Which tables and columns there are is read from the catalogue, so that a new one is not forgotten.
 */
export async function openFiller(databaseUrl) {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  const tables = await growing(client)
  await client.query('SET synchronous_commit = off; CREATE SCHEMA pattern')
  for (const { table, pattern } of tables) await client.query(`CREATE TABLE pattern.${table} AS ${pattern}`)
  const count = async (table) => Number((await client.query(`SELECT count(*) AS n FROM ${table}`)).rows[0].n)
  const each = await count('pattern.jobs')
  let copies = 0
  return {
    tables: tables.map(({ table }) => table),
    /** Adds copies until `jobs` holds about `target` rows, and leaves the tables as vacuum would. Answers how many it holds. */
    async fill(target, say) {
      const missing = Math.max(0, Math.round((target - (await count('jobs'))) / each))
      for (const last = copies + missing; copies < last; ) {
        const to = Math.min(last, copies + Math.ceil(STEP / each))
        say(`filling to ${target.toLocaleString('en-US')} jobs: ${Math.round(100 * (1 - (last - to) / missing))} %`)
        for (const { copy } of tables) await client.query(copy, [copies + 1, to])
        copies = to
      }
      if (missing > 0) {
        await client.query('VACUUM ANALYZE')
        await client.query('CHECKPOINT')
      }
      return count('jobs')
    },
    close: () => client.end(),
  }
}

async function growing(client) {
  const { rows } = await client.query(
    `SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c
     JOIN information_schema.tables t USING (table_schema, table_name)
     WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND is_generated = 'NEVER' ORDER BY ordinal_position`,
  )
  const tables = new Map()
  for (const row of rows) tables.set(row.table_name, [...(tables.get(row.table_name) ?? []), row])
  return [...tables]
    .filter(([table, columns]) => !LEFT_OUT.has(table) && columns.some(({ column_name }) => IDS.includes(column_name)))
    .map(([table, columns]) => ({
      table,
      // A tile that is not in the tree yet would be integrated once for each copy.
      pattern: `SELECT * FROM ${table}${columns.some((c) => c.column_name === 'first_index') ? ' WHERE first_index IS NOT NULL' : ''}`,
      copy: copyOf(table, columns),
    }))
}

function copyOf(table, columns) {
  const names = columns.map(({ column_name }) => column_name)
  const values = columns.map(({ column_name: name, data_type }) => {
    if (PLACES.includes(name)) return `t.${name} - k * 1000000000`
    if (!IDS.includes(name) || data_type !== 'text') return `t.${name}`
    return `regexp_replace(t.${name}, '^([a-z]+_)..........', '\\1' || '00' || lpad(k::text, 8, '0'))`
  })
  return `INSERT INTO ${table} (${names.join(', ')})
    SELECT ${values.join(', ')} FROM generate_series($1::bigint, $2::bigint) AS k, pattern.${table} AS t ORDER BY k`
}
