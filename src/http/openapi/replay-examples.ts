import { AT, JOB, SNAPSHOT } from './example-rows.js'

const DAY = 86_400_000
const { digest, policy_snapshot } = SNAPSHOT
const ITEM = {
  replay_id: 'rpl_01jz3t0c9e5m7q2w8x4y6z1a3b',
  status: 'done',
  ...{ policy_snapshot, digest, rollout_id: null, candidate: digest, asked_by: 'person:dana', asked_at: AT },
  progress: { scenario_runs: 407, recorded: 1 },
  ...{ finished_at: AT + 900, valid_until: AT + 900 + 7 * DAY, voided_at: null, reason: null },
  counts: {
    ...{ scenarios: 46, runs: 408, recorded: 1, denied: 291 },
    ...{ critical_bypasses: 1, bypasses: 1, overblocked: 0, unsafe_duplicates: 0 },
  },
  log: { entries: 291, sha256: '0f343b0931126a20f133d67c2b018a3b5dd7b5dbe1c1e6e7d3c1b7a6a5f4e3d2' },
}
const DECIDED = { DENY: 0, REQUIRE_APPROVAL: 0, ALLOW_WITH_CONSTRAINTS: 0, ALLOW: 0 }
const SUITE = {
  ...{ policy_snapshot, digest, scenarios: 46, runs: 407 },
  decided: { ...DECIDED, DENY: 291, REQUIRE_APPROVAL: 78, ALLOW_WITH_CONSTRAINTS: 22, ALLOW: 16 },
  ...{ logged: 291, critical_bypasses: 0, bypasses: 0, overblocked: 0, unsafe_duplicates: 0, findings: [] },
}
const RECORDED = {
  ...{ looked_at: 1, undecidable: 0, runs: 1, decided: { ...DECIDED, ALLOW: 1 }, logged: 0 },
  ...{ critical_bypasses: 1, bypasses: 1, unsafe_duplicates: 0 },
  findings: [
    {
      ...{ decision_id: JOB.decision_id, variant: null, agent: JOB.agent, topic: 'job.payments.refund' },
      ...{ critical: true, fault: 'bypass', before: 'DENY', after: 'ALLOW', of: null },
      ...{ rules: ['allow-refunds'], reason: 'small refunds are paid' },
    },
  ],
}
const NOTHING_YET = { finished_at: null, valid_until: null, voided_at: null, reason: null, counts: null, log: null }
const SUITE_FILE = `version: v1
scenarios:
  - { id: refund, about: money goes, kind: money, critical: true, job: { topic: job.payments.refund }, expect: DENY }
`
const ENTRY = {
  ...{ kind: 'job.denied', scenario: 'refund', variant: null, agent: 'agent:fixture', topic: 'job.payments.refund' },
  ...{
    decision: 'DENY',
    reason: 'no rule matched',
    rules: [],
    snapshot: digest,
    job_hash: JOB.job_hash,
    high_risk: true,
  },
}
const asked = {
  scenarios: [{ path: 'money.yaml', sha256: 'a8d1c2b3e4f5061728394a5b6c7d8e9fa8d1c2b3e4f5061728394a5b6c7d8e9f' }],
  recorded: { from: null, to: AT, limit: 10_000 },
  generated: [],
}

export const REPLAY_EXAMPLES = {
  'replays.ask': {
    request: {
      snapshot: policy_snapshot,
      scenarios: [{ path: 'money.yaml', text: SUITE_FILE }],
      recorded: { limit: 10_000 },
    },
    response: {
      ...ITEM,
      status: 'running',
      progress: { scenario_runs: 0, recorded: 0 },
      ...NOTHING_YET,
      ...{ asked, suite: null, recorded: null },
    },
  },
  'replays.list': { response: { items: [ITEM], next_cursor: null } },
  'replays.get': { response: { ...ITEM, asked, suite: SUITE, recorded: RECORDED } },
  'replays.log': { response: `${JSON.stringify(ENTRY)}\n` },
}
