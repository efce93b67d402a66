/** The jobs, approvals and entries that examples.ts tells its story with: rows of a real server, shortened. */

export const AT = 1_795_152_740_374
export const AGENT = 'agent:support-bot'
export const DIGEST = 'cbfa48249dfe1095949ed886c35869af283954bc771fc485e60c7738f0ef0817'
export const SHORT = 'v1:cbfa482'
export const JOB_HASH = '276a9092ca496d610298154ade1118e4cc9857a824d04dc6f2fff77797c77eb6'
export const GRANT_HASH = '21107d51c4990eb0d377ed2cfe22967f13facd7e1b3fdfdcc8371a2e063bc866'
export const LEASE = 'lease_01m7vq20aw325t1qde1h0hg91c'

/** A read in a repository, allowed at once. */
export const JOB = {
  job_id: 'job_01m7vq200p2s95ap01zjtm7w6s',
  tenant: 'default',
  run_id: 'nightly-review',
  workflow: 'review',
  agent: AGENT,
  agent_version: null,
  rollout_id: null,
  variant: null,
  requested_by: AGENT,
  topic: 'job.repo.read',
  labels: { team: 'platform' },
  risk_tags: [],
  environment: null,
  action_type: null,
  capability: null,
  action: null,
  priority: 5,
  status: 'queued',
  status_reason: null,
  attempt: 0,
  max_attempts: 3,
  timeout_ms: 30_000,
  decision: 'ALLOW',
  decision_id: 'dec_01m7vq200pp314mwvbpeg09a63',
  reason: 'read-only operation',
  rules: ['allow-read-only'],
  constraints: {},
  policy_snapshot: SHORT,
  high_risk: false,
  job_hash: '5ff20a06bafba4d5195110f2d78fc355a80d0ea02492249924bae9efde5af676',
  grant_hash: null,
  approval_id: null,
  granted_by: null,
  revises: null,
  context_ptr: 'ptr_01m7vq200pxtcpr01906v4en5r',
  input_ptr: 'ptr_01m7vq200pr4w2gdwnjszsx2h7',
  result_ptr: null,
  verdict: null,
  error: null,
  progress: null,
  cancel_requested: false,
  owner: 'team:platform',
  respond_by: null,
  created_at: AT,
  updated_at: AT,
  due_at: AT,
  finished_at: null,
}

/** A production deploy, parked until somebody approves. */
export const DEPLOY = {
  topic: 'job.deploy.apply',
  labels: { env: 'prod' },
  input: { environment: 'prod', service: 'checkout', version: '1.4.2' },
}
export const DEPLOY_DECISION = {
  decision: 'REQUIRE_APPROVAL',
  reason: 'production deploy needs human sign-off',
  rules: ['require-approval-prod-deploy'],
  constraints: {},
  policy_snapshot: SHORT,
}
export const APPROVAL = {
  approval_id: 'apr_01m7vq208t30m5m2kwr6g2rgba',
  status: 'pending',
  job_id: 'job_01m7vq208t58g43qpej9jp1qzt',
  topic: DEPLOY.topic,
  agent: AGENT,
  requested_by: AGENT,
  requested_at: AT,
  expires_at: AT + 14_400_000,
  valid_until: null,
  reason: DEPLOY_DECISION.reason,
  rules: DEPLOY_DECISION.rules,
  constraints: {},
  policy_snapshot: SHORT,
  job_hash: JOB_HASH,
  grant_hash: GRANT_HASH,
  short_hash: 'v1:21107d5',
  specs: [{ from: ['role:approver'], need: 1, within_ms: 14_400_000, then: 'deny', valid_for_ms: 86_400_000 }],
  asked_of: ['approver:first'],
  open: [{ flow: 0, level: 0, since: AT, missing: 1 }],
  escalations: [],
  reminders: [],
  answers: [],
  edits: [],
}
export const GRANT = {
  grant_id: 'grt_01m7vq208t9h1qk3s5x7c2d4ef',
  agent: AGENT,
  topic: 'job.tickets.close',
  when: 'input.amount <= 20',
  uses: 50,
  used: 3,
  expires_at: AT + 604_800_000,
  reason: 'small refunds during the sale',
  granted_by: 'approver:first',
  created_at: AT,
  revoked_at: null,
  revoked_by: null,
  state: 'active',
}
export const ABSENCE = {
  principal: 'person:ann',
  from: AT,
  until: AT + 1_209_600_000,
  delegate: 'person:ben',
  away: true,
  updated_at: AT,
  updated_by: 'person:ann',
}

/** A call to another service, run by a worker under constraints. */
export const CONSTRAINTS = { timeout_ms: 15_000, allowed_hosts: ['api.github.com'], max_output_bytes: 1_048_576 }
export const CALL = {
  ...JOB,
  job_id: 'job_01m7vq20af3ketd6h22gvhezjw',
  run_id: 'run_01m7vq20afy1jm0xaa6yarpee3',
  workflow: null,
  topic: 'job.integrations.call',
  labels: {},
  attempt: 1,
  max_attempts: 1,
  timeout_ms: 15_000,
  decision: 'ALLOW_WITH_CONSTRAINTS',
  decision_id: 'dec_01m7vq20dw99xcpa07j35e20mh',
  reason: 'external calls restricted to approved endpoints',
  rules: ['constrain-external-egress'],
  constraints: CONSTRAINTS,
  job_hash: 'faecf7e16fa866d9a931ac4520a52767f4c47a0e2e2e2df73db8b64f429b34aa',
  context_ptr: null,
  input_ptr: 'ptr_01m7vq20d9c5vtnf6h9e9axhhc',
  updated_at: AT + 500,
}
export const ERROR = { class: 'terminal', code: 'http_404', message: 'no such repository' }
export const DEAD = {
  ...CALL,
  status: 'dead_letter',
  status_reason: 'terminal_failure',
  error: ERROR,
  respond_by: AT + 14_400_000,
  finished_at: AT + 500,
}

export const ENTRY = {
  at: AT,
  kind: 'job.submitted',
  actor: AGENT,
  writer: 'wr_01m7vq1yn4aqbm21hw8hq0q6bd',
  seq: 5,
  index: 6,
  facts: {
    agent: AGENT,
    decision: 'ALLOW',
    decision_id: JOB.decision_id,
    job_hash: JOB.job_hash,
    job_id: JOB.job_id,
    reason: JOB.reason,
    rules: 'allow-read-only',
    run_id: JOB.run_id,
    snapshot: DIGEST,
    status: 'queued',
    topic: JOB.topic,
  },
}
export const HEAD = {
  size: 43,
  root: 'UgZmSLTS88tGa/XMy9H4qWz1a1zPcxFYhztg31e5ei8=',
  checkpoint:
    'sallyport/default\n43\nUgZmSLTS88tGa/XMy9H4qWz1a1zPcxFYhztg31e5ei8=\nat 1795152741211\n\n— sallyport/default aCo5kTUXZdNQPWE9LcecZ/ynXRZ/CdzqOgRpKjp1LaLYEBNZDZhoJtIZnLpoF3UMwiUZQoTw+tyTahj/wqv2qo8EoQg=\n',
  public_key: 'sallyport/default+682a3991+AQA8NUje+aG45PJQyU8sOmJKAoIPxCcaVEekFhADPNDL',
  at: 1_795_152_741_211,
}
export const PATH = [
  'ab6b5f46a9031e6d7d35124a6d62a2c730b6ed4638a786bcf61680b928ab51c2',
  '5e24e6461f1bd29e46bf17ecad758d8d67596a5079e01fe5e1f974735e65ce95',
]
export const ROOT = '52066648b4d2f3cb466bf5cccbd1f8a96cf56b5ccf731158873b60df57b97a2f'

const POLICY = `version: v1
default_decision: DENY
rules:
  - id: allow-read-only
    match: { topic: job.repo.read }
    decision: ALLOW
    reason: read-only operation
`
export const SNAPSHOT = {
  policy_snapshot: SHORT,
  digest: DIGEST,
  active: true,
  source: 'file',
  note: null,
  author: null,
  source_commit: null,
  reviewers: [],
  created_by: 'system:file',
  created_at: AT,
  activated_at: AT,
  rules: 1,
  warnings: [],
}
export const FILES = [{ path: 'policy.yaml', text: POLICY }]
export const STORED = { ...SNAPSHOT, active: false, source: 'api', created_by: 'admin:first', activated_at: null }

export const KEY = {
  key_id: 'key_01m7vq20yzpycs45rwqy6qn2s7',
  role: 'worker',
  principal: 'worker:builds',
  team: null,
  topics: ['job.build.>'],
  act_as: [],
  permissions: null,
  note: 'build machines',
  created_at: AT,
  created_by: 'admin:first',
  expires_at: null,
  revoked_at: null,
  rotated_to: null,
  disabled_at: null,
  last_used_at: null,
  due: [],
}

export const BOT = {
  principal: 'agent:support-bot',
  kind: 'agent',
  role: 'agent',
  team: 'support',
  name: 'Support assistant',
  email: null,
  slack: null,
  terms: {
    version: '2.1.0',
    topics: ['job.tickets.*', 'job.refunds.create'],
    actions: ['read', 'write', 'refund'],
    data: [{ system: 'crm', tables: ['customers'], fields: ['name', 'email'], access: 'read' }],
    risk_tier: 'medium',
    fallback: 'Answer tickets by hand; refunds go to finance.',
  },
  source: 'file',
  created_at: AT,
  updated_at: AT,
  updated_by: 'admin:first',
  disabled_at: null,
}
export const TEAM = {
  team: 'support',
  name: 'Customer support',
  leads: ['person:support-lead'],
  on_call: ['person:support-lead', 'person:support-deputy'],
  source: 'file',
  updated_at: AT,
  updated_by: 'admin:first',
}

export const ACCEPTED = {
  job_id: JOB.job_id,
  status: 'queued',
  decision: 'ALLOW',
  decision_id: JOB.decision_id,
  reason: JOB.reason,
  rules: JOB.rules,
  constraints: {},
  policy_snapshot: SHORT,
  job_hash: JOB.job_hash,
  run_id: JOB.run_id,
}

/** An agent is stopped while it pays: its lease ended, and nobody knows whether the money went. */
export const STOP = {
  stop_id: 'stop_01m7vps2w4k8r1y6t3z9b5n7qc',
  scope: { agent: AGENT },
  reason: 'it pays twice',
  raised_by: 'person:lead',
  raised_at: AT,
  stage: 'stopped',
  trial_until: null,
  trial_limit: null,
  resume: null,
  steps: [],
  ended_at: null,
}
export const STOPPED = {
  ...STOP,
  state: 'confirmed',
  refused_ms: 14,
  confirmed_ms: 640,
  nodes: [
    { node: 'plane-1/4711', confirmed_ms: 159, silent_ms: 820 },
    { node: 'plane-2/4712', confirmed_ms: 201, silent_ms: 1310 },
  ],
  leases: { total: 1, ended: 1, open: 0, ended_ms: 640 },
  open_effects: [
    {
      tenant: 'default',
      job_id: JOB.job_id,
      effect_key: 'pay',
      begun_at: AT - 300,
      agent: AGENT,
      topic: 'job.refunds.pay',
      job_status: 'ambiguous',
    },
  ],
  open_effects_total: 1,
  warning: null,
}
export const BREAKER = {
  agent: AGENT,
  state: 'open',
  failures: 3,
  reason: '3 failures in a row',
  opened_at: AT,
  retry_at: AT + 600_000,
  cool_down_ms: 600_000,
  closed_at: null,
  closed_by: null,
}
