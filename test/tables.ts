import type { Db } from '../src/platform/db/seam.js'
import { type DecisionRow, decisionOfJob, decisionOfLease } from '../src/store/decisions.js'
import { JOB_COLUMNS, type JobRow, jobOf } from '../src/store/jobs.js'
import { LEASE_COLUMNS, type LeaseRow, leaseOf } from '../src/store/leases.js'
import { getPayload, type OwnKind, pointerTo } from '../src/store/payloads.js'

/** Everything a tenant has of a kind, as the product sees it: a decision or a payload may stand in the row of its job or lease. */
export async function tableOf<Row>(db: Db, table: string, tenant: string): Promise<Row[]> {
  const all = <R>(columns: string, from: string) =>
    db.query<R>(`SELECT ${columns} FROM ${from} WHERE tenant = $1`, [tenant])
  const jobs = () => all<JobRow>(JOB_COLUMNS.columns, 'jobs')
  const leases = () => all<LeaseRow>(LEASE_COLUMNS, 'leases')
  if (table === 'jobs') return (await jobs()).map(jobOf) as Row[]
  if (table === 'leases') return (await leases()).map(leaseOf) as Row[]
  if (table === 'payloads') {
    const rows = await all<{ job_id: string } & Record<OwnKind, string | null>>(
      'job_id, input, context, result',
      'jobs',
    )
    const own = rows.flatMap((row) =>
      (['input', 'context', 'result'] as const).map((kind) => pointerTo(row.job_id, kind)),
    )
    const held = await Promise.all(own.map((ptr) => getPayload(db, tenant, ptr)))
    return [...(await all<Row>('*', 'payloads')), ...(held.filter((row) => row !== null) as Row[])]
  }
  if (table !== 'decisions') return all<Row>('*', table)
  const byId = new Map((await jobs()).map((row) => [row.job_id, row]))
  const own = await all<DecisionRow & { tile: string | null }>('*', 'decisions')
  return [
    ...own.map(({ tile: _tile, ...row }) => row),
    ...[...byId.values()].map(decisionOfJob),
    ...(await leases()).flatMap((lease) => {
      const job = byId.get(lease.job_id)
      return job === undefined ? [] : [decisionOfLease(lease, job)]
    }),
  ] as Row[]
}
