import { AT, DEPLOY_DECISION, JOB_HASH } from './example-rows.js'

/** What is recorded of an agent in the shadow. */
export const SHADOWED = {
  status: 'shadowed',
  ...DEPLOY_DECISION,
  decision_id: 'dec_01m7vq209v4zj0rxakqawmbn0z',
  job_hash: JOB_HASH,
}

const STANDS = {
  agent: 'agent:support-bot',
  stage: 'supervised',
  since: AT - 1_814_400_000,
  spot_check: 5,
  least: 2,
  most: 20,
  asks: ['lead:owner'],
  proposal: { to: 'assisted', by: 'person:lead', at: AT, note: 'three quiet weeks' },
}

const AUTONOMY = {
  ...STANDS,
  numbers: {
    in_stage_ms: 1_814_400_000,
    actions: 212,
    error_rate: 0.0047,
    answered: 118,
    approval_rate: 0.97,
    answered_week: 55,
    approval_rate_week: 0.98,
    denial_rate: null,
  },
  criteria: [
    { criterion: 'days', needs: 14, is: 21, holds: true },
    { criterion: 'actions', needs: 50, is: 212, holds: true },
    { criterion: 'error_rate', needs: 0.02, is: 0.0047, holds: true },
    { criterion: 'answered', needs: 30, is: 118, holds: true },
    { criterion: 'answered_week', needs: 10, is: 55, holds: true },
    { criterion: 'approval_rate', needs: 0.95, is: 0.98, holds: true },
  ],
}

const REVIEW_LOAD = {
  window_ms: 86_400_000,
  pending: 4,
  oldest_at: AT - 900_000,
  answered: 61,
  median_wait_ms: 240_000,
  p95_wait_ms: 1_500_000,
  burden: 'light',
  reviewers: [{ principal: 'person:lead', pending: 4, answered: 61, approved: 59, median_wait_ms: 240_000 }],
}

const WORKFLOW = {
  workflow: 'lead-routing',
  topics: ['job.crm.*'],
  starts: "timestamp(input.created) > now - duration('24h')",
  ends: "input.status == 'routed'",
  data: [{ system: 'crm', tables: ['leads'], fields: ['owner', 'region'], access: 'write' }],
  state: 'trial',
  opened_at: AT,
  opened_by: 'person:root',
  closed_at: null,
  succeeded: 112,
  failed: 1,
}

export const AUTONOMY_EXAMPLES = {
  'workflows.list': { response: { items: [WORKFLOW], next_cursor: null } },
  'workflows.open': { response: { ...WORKFLOW, succeeded: 0, failed: 0 } },
  'workflows.close': { response: { ...WORKFLOW, state: 'closed', closed_at: AT + 900 } },
  'autonomy.list': { response: { items: [STANDS], next_cursor: null } },
  'autonomy.get': { response: AUTONOMY },
  'autonomy.put': {
    request: { stage: 'supervised', spot_check: 5, least: 2, most: 20, asks: ['lead:owner'] },
    response: { ...AUTONOMY, proposal: null },
    other: {
      ...AUTONOMY,
      proposal: { to: 'supervised', by: 'person:lead', at: AT, note: null, settings: { spot_check: 3 } },
    },
  },
  'autonomy.promote': { request: { to: 'assisted', note: 'three quiet weeks' }, response: AUTONOMY },
  'autonomy.confirm': {
    request: { note: 'seen' },
    response: { ...AUTONOMY, stage: 'assisted', since: AT + 900, proposal: null },
  },
  'autonomy.demote': {
    request: { to: 'advisor', note: 'wrong orders refunded' },
    response: { ...AUTONOMY, stage: 'advisor', since: AT + 900, proposal: null },
  },
  'reviews.load': { response: REVIEW_LOAD },
}
