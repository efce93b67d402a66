import { AT } from './example-rows.js'

const JOB = 'job_01m7vps2w4k8r1y6t3z9b5n7qc'
const UNDOES = 'job_01m7vpw4k8r1y6t3z9b5n7qc2s'
const BACK = AT + 86_400_000

const COMPENSATION = {
  job_id: JOB,
  run_id: 'nightly-review',
  effect_key: 'ticket',
  topic: 'job.tickets.close',
  effect_at: BACK - 40_000,
  status: 'done',
  reason: null,
  tries: 1,
  asked_at: BACK + 900,
  ended_at: BACK + 95_000,
  took_ms: 95_000,
  settled_by: null,
  raised_by: null,
  job: { job_id: UNDOES, status: 'succeeded' },
  decision: {
    decision_id: 'dec_01m7vpw4k8r1y6t3z9b5n7qc2s',
    decision: 'REQUIRE_APPROVAL',
    reason: 'closing tickets needs support',
    rules: ['close-tickets'],
  },
  approval: {
    approval_id: 'apr_01m7vpw4k8r1y6t3z9b5n7qc2t',
    status: 'approved',
    answers: [{ by: 'person:ann', answer: 'approve', at: BACK + 80_000 }],
  },
}

const REPORT = {
  rollout_id: 'rol_01m7vps2w4k8r1y6t3z9b5n7qc',
  rollout: 'support-bot-2',
  subject: { kind: 'agent', name: 'agent:support-bot', candidate: '2.0', stable: '1.9' },
  owners: { reliability: 'sre-oncall', governance: 'ai-governance', cost: 'finops' },
  stakeholders: ['team:support'],
  rolled_back: { at: BACK, by: 'system:rollouts', trigger: 'error_rate', reason: '7.1 % against 1.2 %, 212 jobs' },
  detection: { from: BACK - 610_000, took_ms: 610_000 },
  stop: { confirmed_ms: 240, nodes: [{ node: 'plane-1/4711', confirmed_ms: 240, silent_ms: 800 }] },
  work: { on_rollback: 'drain', leases: 3, open: 0, ended_ms: 21_400, refused: 12 },
  compensations: { total: 1, by_status: { done: 1 }, items: [COMPENSATION] },
  recovery: { recovered_at: BACK + 96_000, took_ms: 96_000 },
  told: [
    {
      channel: 'support',
      recipient: 'principal:person:ann',
      event: 'rollout.rolled_back',
      index: 88_213,
      status: 'sent',
      at: BACK + 1900,
    },
  ],
  timeline: [
    {
      at: BACK,
      kind: 'rollout.rolled_back',
      actor: 'system:rollouts',
      writer: 'wr_01m7vps2w4k8r1y6t3z9b5n7qc',
      seq: 412,
      index: 88_213,
      facts: { rollout_id: 'rol_01m7vps2w4k8r1y6t3z9b5n7qc', trigger: 'error_rate', phase: 1 },
    },
  ],
}

export const COMPENSATION_EXAMPLES = {
  'rollouts.report': { response: REPORT },
  'rollouts.report_markdown': { response: '# Rollback of support&#45;bot&#45;2\n' },
  'rollouts.compensations.retry': {
    request: { note: 'the ticket system is back' },
    response: { asked: 0, replayed: [UNDOES], refused: [] },
  },
  'rollouts.compensations.settle': {
    request: { job_id: JOB, effect_key: 'ticket', note: 'closed by hand, ticket 4711' },
    response: { job_id: JOB, effect_key: 'ticket', status: 'settled', settled_by: 'person:sre' },
  },
}
