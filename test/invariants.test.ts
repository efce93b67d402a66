import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  auditVerifies,
  type Checker,
  decisionsReproduce,
  effectsAreNotLost,
  everyJobEnded,
  factsFoldToRows,
  leasesWereAllowed,
  limitsAreHeld,
  oneLiveLease,
  violations,
} from './invariants.js'
import { openPlane, type Tenancy, type TestPlane } from './plane.js'
import { POLICIES } from './sim/policies.js'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterAll(() => plane.close())

describe('a planted violation is found by', () => {
  /** A tenant in which everything has happened that the checkers speak about. */
  async function lively(): Promise<Tenancy> {
    const t = await plane.tenant(POLICIES.open)
    const asked = await t.submit({ topic: 'job.ask.it' })
    await t.approve(asked.approval_id as string)
    const [approved] = await t.claim(['job.ask.it'])
    await t.succeed(approved?.lease as string, 1)
    const running = await t.lease({ topic: 'job.do.it' })
    await t.begin(running.lease, 'pay')
    expect(await violations(plane, t.tenant)).toEqual([])
    return t
  }
  const plants: [name: string, checker: Checker, sql: string][] = [
    [
      'auditVerifies: an altered entry',
      auditVerifies,
      "UPDATE audit_tiles SET body = replace(body, 'job.ask.it', 'job.ask.no') WHERE tenant = $1",
    ],
    [
      'auditVerifies: a cut tile',
      auditVerifies,
      'DELETE FROM audit_tiles WHERE tenant = $1 AND seq = (SELECT max(seq) - 1 FROM audit_tiles WHERE tenant = $1)',
    ],
    [
      'factsFoldToRows: a status nobody recorded',
      factsFoldToRows,
      "UPDATE jobs SET status = 'cancelled' WHERE tenant = $1 AND status = 'succeeded'",
    ],
    [
      'factsFoldToRows: an attempt too many',
      factsFoldToRows,
      "UPDATE jobs SET state = jsonb_set(state::jsonb, '{attempt}', to_jsonb(coalesce((state ->> 'attempt')::int, 0) + 1))::json WHERE tenant = $1",
    ],
    [
      'decisionsReproduce: another reason',
      decisionsReproduce,
      "UPDATE leases SET made = jsonb_set(made::jsonb, '{decided,reason}', '\"I said so\"')::json WHERE tenant = $1",
    ],
    [
      'decisionsReproduce: another word',
      decisionsReproduce,
      "UPDATE jobs SET claim = jsonb_set(claim::jsonb, '{first,decision}', '\"DENY\"')::json WHERE tenant = $1",
    ],
    [
      'decisionsReproduce: another time',
      decisionsReproduce,
      "UPDATE jobs SET claim = jsonb_set(claim::jsonb, '{first,standing,door}', '\"dispatch\"')::json WHERE tenant = $1",
    ],
    [
      'leasesWereAllowed: a denial',
      leasesWereAllowed,
      "UPDATE leases SET made = jsonb_set(made::jsonb, '{decided,decision}', '\"DENY\"')::json WHERE tenant = $1",
    ],
    [
      'leasesWereAllowed: an approval taken back',
      leasesWereAllowed,
      "UPDATE approvals SET status = 'rejected' WHERE tenant = $1",
    ],
    [
      'leasesWereAllowed: answers that are none',
      leasesWereAllowed,
      "UPDATE approvals SET answers = '[]' WHERE tenant = $1",
    ],
    [
      'leasesWereAllowed: an answer of the one who asked',
      leasesWereAllowed,
      "UPDATE approvals SET requested_by = 'person:ann' WHERE tenant = $1",
    ],
    [
      'leasesWereAllowed: another snapshot',
      leasesWereAllowed,
      "UPDATE leases SET made = jsonb_set(made::jsonb, '{decided,snapshot}', '\"other\"')::json WHERE tenant = $1",
    ],
    [
      'leasesWereAllowed: a lease from nowhere',
      leasesWereAllowed,
      "INSERT INTO leases SELECT tenant, 'lease_planted', job_id, attempt, principal, claim_id, granted_at, beat_at, expires_at, made, null, 1 FROM leases WHERE tenant = $1 LIMIT 1",
    ],
    ['oneLiveLease: a lease that never ended', oneLiveLease, 'UPDATE leases SET ended_at = NULL WHERE tenant = $1'],
    [
      'oneLiveLease: a running job whose lease has ended',
      oneLiveLease,
      'UPDATE leases SET ended_at = 1 WHERE tenant = $1',
    ],
    ['limitsAreHeld: a place lost', limitsAreHeld, 'UPDATE limits SET held = held + 1 WHERE tenant = $1'],
    ['limitsAreHeld: a place given twice', limitsAreHeld, 'UPDATE limits SET held = 0 WHERE tenant = $1'],
    [
      'effectsAreNotLost: a job run again over an open effect',
      effectsAreNotLost,
      "UPDATE effects SET lease_id = 'lease_before' WHERE tenant = $1",
    ],
    [
      'everyJobEnded: a job nobody will ever take',
      everyJobEnded,
      "UPDATE jobs SET state = (state::jsonb - 'status_reason')::json WHERE tenant = $1 AND status = 'running'",
    ],
  ]
  test.each(plants)('%s', async (_, checker, sql) => {
    const t = await lively()
    await plane.db.query(sql, [t.tenant])
    expect(await checker(plane, t.tenant)).not.toEqual([])
  })
})
