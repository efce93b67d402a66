import type { Db } from '../platform/db/seam.js'

interface BacklogRow {
  topic: string
  /** Epoch ms of the entry that says so. */
  since: number
}

const OF_TENANT = 'SELECT topic, since FROM backlogs WHERE tenant = $1'
const BEGIN = `INSERT INTO backlogs (tenant, topic, since)
  SELECT $1, topic, since FROM json_to_recordset($2::json) AS x(topic text, since bigint) ON CONFLICT (tenant, topic) DO NOTHING`
const END = `DELETE FROM backlogs USING json_array_elements_text($2::json) AS x(topic)
  WHERE backlogs.tenant = $1 AND backlogs.topic = x.topic`

/** Topics whose queue was said to be backlogged and not yet to have recovered: at most as many as are looked at. */
export function backlogsOf(db: Db, tenant: string): Promise<BacklogRow[]> {
  return db.query<BacklogRow>(OF_TENANT, [tenant])
}
export async function beginBacklogs(db: Db, tenant: string, begun: readonly BacklogRow[]): Promise<void> {
  if (begun.length > 0) await db.query(BEGIN, [tenant, JSON.stringify(begun)])
}
export async function endBacklogs(db: Db, tenant: string, topics: readonly string[]): Promise<void> {
  if (topics.length > 0) await db.query(END, [tenant, JSON.stringify(topics)])
}
