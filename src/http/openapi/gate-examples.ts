import { AT } from './example-rows.js'

const DAY = 86_400_000
const EVIDENCE_HASH = '7d3c1f0a94b26e58c1d7f3a05b9e4c62d8a1f7b3065e9c4d2a8b7f1e3c5d9a06'
const DECLARATION = 'c2a87f1e3c5d9a067d3c1f0a94b26e58c1d7f3a05b9e4c62d8a1f7b3065e9c4d'
const ROLLOUT = 'rol_01m7vps2w4k8r1y6t3z9b5n7qc'
const TO = AT + 6 * DAY
const FROM = TO - DAY

const CHECK = { metric: 'success_rate_pct', target: { op: 'gte', value: 99 }, min_samples: 500, confidence: 0.95 }
const READING = {
  kind: 'rate',
  metric: 'success_rate_pct',
  query: `samples of ${ROLLOUT}, candidate, at >= ${FROM} and < ${TO}, in the first 48211 entries of the log; outcome: those that succeeded`,
  from: FROM,
  to: TO,
  hits: 9968,
  of: 10_000,
}
const BASIS = {
  rollout_id: ROLLOUT,
  rollout: 'support-bot-2',
  declaration: DECLARATION,
  phase: 0,
  phases: 2,
  share_bp: 2500,
  gate: { window: '1d', window_ms: DAY, consecutive: 1, checks: [CHECK] },
  owners: { reliability: 'sre-oncall', governance: 'ai-governance', cost: 'finops' },
  snapshot: '7f93d2c4a1b8e05d6c3f9a7b2e1d4c8f5a6b3c9d0e7f1a2b4c5d6e8f9a0b1c2d',
  reviewed_by: ['person:ann'],
  now: TO + 2000,
  to: TO,
  phase_at: AT + 60_000,
  candidate: [READING],
  control: [],
  past: [],
  tree_head: {
    size: 48_211,
    root: 'CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=',
    note: 'sallyport/default\n48211\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— sallyport/default Az3grlgt…\n',
  },
}
const DETAIL = {
  metric: 'success_rate_pct',
  op: 'gte',
  value: 99.68,
  target: 99,
  samples: 10_000,
  bound: { side: 'lower', confidence: 0.95, value: 99.574871 },
  baseline: null,
  outcome: 'pass',
  reason: 'lower bound 99.574871 (9968 of 10000, confidence 0.95)',
  pass: true,
}
const EVIDENCE = {
  gate_id: `support-bot-2-phase-0-${new Date(TO).toISOString().slice(0, 10)}`,
  traffic_slice: '25%',
  checks: { success_rate_pct: { value: 99.68, target_gte: 99, pass: true } },
  policy_snapshot: 'v1:7f93d2c',
  reviewed_by: 'person:ann',
  decision: 'promote_to_phase_1',
  outcome: 'pass',
  reason: '1 of 1 checks pass',
  window_from: FROM,
  window_to: TO,
  details: [DETAIL],
  basis: BASIS,
  seal: {
    evidence_hash: EVIDENCE_HASH,
    form: 'gate',
    signature: 'w5o0Hh1m6m1c2fX1Yc5rj0Kk3oQ0q8m4m2v9l7Yy5b3S1n8f6d4s2a0p9o7i5u3y1t8r6e4w2q0z9x7c5v3bAg==',
    public_key: 'sallyport/default+033de0ae+AZ0n2x1Hn0j3oUu9s1qfQm5rY0tXw3kq7d8n2c5b1v6e',
  },
}
const ITEM = {
  ...{ evidence_hash: EVIDENCE_HASH, rollout_id: ROLLOUT, declaration: DECLARATION, phase: 0, form: 'gate' },
  ...{ outcome: 'pass', evaluated_at: TO + 2000, reviewed_by: ['person:ann'] },
}
const SIGNATURE = {
  ...{ review_id: 'rev_01m7vps2w4k8r1y6t3z9b5n7qc', rollout_id: ROLLOUT, review: 'signature', phase: 0 },
  ...{ by: 'person:ann', at: TO - 60_000, valid_until: TO + 7 * DAY, clean: null, critical_incidents: null },
  ...{ evidence_hash: EVIDENCE_HASH, note: 'read every denial of the week' },
}
const WEEK = {
  ...SIGNATURE,
  ...{ review_id: 'rev_01m7vps2w4k8r1y6t3z9b5n7qd', review: 'week', valid_until: TO + 9 * DAY },
  ...{ clean: true, critical_incidents: 0, evidence_hash: null, note: 'one question was answered late' },
}

export const GATE_EXAMPLES = {
  'gates.evaluate': { request: { form: 'gate' }, response: EVIDENCE },
  'gates.evidence': { response: { items: [ITEM], next_cursor: null } },
  'gates.get_evidence': { response: EVIDENCE },
  'gates.reviews': { response: { items: [WEEK, SIGNATURE], next_cursor: null } },
  'gates.review': {
    request: { review: 'signature', phase: 0, evidence_hash: EVIDENCE_HASH, note: SIGNATURE.note },
    response: SIGNATURE,
  },
}
