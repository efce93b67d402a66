import { AT } from './example-rows.js'

const DAY = 86_400_000
const EVIDENCE = '7d3c1f0a94b26e58c1d7f3a05b9e4c62d8a1f7b3065e9c4d2a8b7f1e3c5d9a06'
const GATE = {
  window: '1d',
  checks: { success_rate_pct: { target_gte: 99, min_samples: 500 }, p95_latency_ms: { target_lte: '+20%' } },
}

const DECLARATION = {
  rollout: 'support-bot-2',
  subject: { kind: 'agent', name: 'agent:support-bot', candidate: '2.0', stable: '1.9' },
  owners: { reliability: 'sre-oncall', governance: 'ai-governance', cost: 'finops' },
  stakeholders: ['team:support'],
  phases: [
    { name: 'quarter', share: 25, risk: 'mixed', min_duration: '5d', gate: GATE },
    {
      name: 'all',
      share: 100,
      risk: 'mixed',
      min_duration: '7d',
      gate: { window: '1d', checks: { success_rate_pct: { target_gte: 99 } } },
    },
  ],
}

const check = (metric: string, target: string, value: string | number) => ({ metric, [target]: value })
const gateOf = (...checks: object[]) => ({ window: '1d', window_ms: DAY, consecutive: 1, checks })

const DRAFT = {
  rollout_id: 'rol_01m7vps2w4k8r1y6t3z9b5n7qc',
  rollout: DECLARATION.rollout,
  subject: DECLARATION.subject,
  status: 'draft',
  share: 0,
  phase: { n: 0, of: 2, name: 'quarter', risk: 'mixed', began_at: null, served_ms: 0, left_ms: null },
  declaration: 'c2a87f1e3c5d9a067d3c1f0a94b26e58c1d7f3a05b9e4c62d8a1f7b3065e9c4d',
  declared_by: 'person:sre',
  declared_at: AT,
  started_at: null,
  steps: [],
  request: null,
  overridden: false,
  ended_at: null,
  ended_reason: null,
}

const RUNNING = {
  ...DRAFT,
  status: 'running',
  share: 25,
  phase: { ...DRAFT.phase, began_at: AT + 60_000, served_ms: DAY, left_ms: 4 * DAY },
  started_at: AT + 60_000,
}

const STEP = { phase: 0, at: AT + 6 * DAY, by: 'person:sre', asked_by: null, reason: null }
const ADVANCED = {
  ...RUNNING,
  share: 100,
  phase: { n: 1, of: 2, name: 'all', risk: 'mixed', began_at: AT + 6 * DAY, served_ms: 0, left_ms: 7 * DAY },
  steps: [{ ...STEP, how: 'evidence', evidence_hash: EVIDENCE }],
}

const DOCUMENT = {
  ...DECLARATION,
  routing: 'run',
  rest: 'stable',
  on_rollback: 'drain',
  promotion: 'manual',
  phases: [
    {
      name: 'quarter',
      share_bp: 2500,
      risk: 'mixed',
      min_duration_ms: 5 * DAY,
      reviewers: null,
      gate: gateOf(check('success_rate_pct', 'target_gte', 99), check('p95_latency_ms', 'target_lte', '+20%')),
    },
    {
      name: 'all',
      share_bp: 10_000,
      risk: 'mixed',
      min_duration_ms: 7 * DAY,
      reviewers: null,
      gate: gateOf(check('success_rate_pct', 'target_gte', 99)),
    },
  ],
  triggers: [{ trigger: 'error_rate', rule: 'over_baseline', times: 2, floor: 0.02, limit: 0, for_ms: 600_000 }],
}
const whole = <Summary extends object>(summary: Summary) => ({ ...summary, document: DOCUMENT })

const WHY = 'the number is wrong since the meter was replaced; looked at 600 jobs by hand'

export const ROLLOUT_EXAMPLES = {
  'rollouts.list': { response: { items: [RUNNING], next_cursor: null } },
  'rollouts.declare': { request: { declaration: DECLARATION }, response: whole(DRAFT) },
  'rollouts.get': { response: whole(RUNNING) },
  'rollouts.start': { response: whole({ ...RUNNING, phase: { ...RUNNING.phase, served_ms: 0, left_ms: 5 * DAY } }) },
  'rollouts.pause': {
    request: { reason: 'the bank is down for the weekend' },
    response: whole({ ...RUNNING, status: 'paused' }),
  },
  'rollouts.resume': { response: whole(RUNNING) },
  'rollouts.promote': { request: { evidence_hash: EVIDENCE }, response: whole(ADVANCED) },
  'rollouts.override': {
    request: { reason: WHY, evidence_hash: EVIDENCE },
    response: whole({
      ...RUNNING,
      request: {
        by: 'person:sre',
        at: AT + 2 * DAY,
        until: AT + 2 * DAY + 3_600_000,
        reason: WHY,
        evidence_hash: EVIDENCE,
      },
    }),
  },
  'rollouts.roll_back': {
    request: { reason: 'it quotes prices of last year' },
    response: whole({
      ...RUNNING,
      status: 'rolled_back',
      share: 0,
      phase: { ...RUNNING.phase, left_ms: null },
      ended_at: AT + 60_000 + DAY,
      ended_reason: 'it quotes prices of last year',
    }),
  },
  'rollouts.assignment': {
    response: {
      rollout_id: RUNNING.rollout_id,
      status: 'running',
      routing: 'run',
      key: 'nightly-review',
      bucket: 1342,
      share: 25,
      risk: 'mixed',
      variant: 'candidate',
      version: '2.0',
      reason: 'bucket 1342 of 2500',
      beyond: { variant: 'candidate', version: '2.0' },
    },
  },
}
