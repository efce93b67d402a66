import type { ErrorCode } from '../../errors.js'
import { EXAMPLES } from './examples.js'

/** What the document says of an operation beyond its route. */
export interface OperationNotes {
  /** Stable: generated clients name their methods after it. */
  id: string
  request?: unknown
  response?: unknown
  /** Answers in plain text beside the success, by status. */
  plain?: Record<string, { description: string; example: string }>
}

const op = (id: keyof typeof EXAMPLES): OperationNotes => ({ id, ...EXAMPLES[id] })

/** By method and path of the route; a route without an entry stops the document and its test. */
export const OPERATIONS: Record<string, OperationNotes> = {
  'POST /jobs': op('jobs.submit'),
  'POST /jobs/batch': op('jobs.submit_batch'),
  'GET /jobs': op('jobs.list'),
  'GET /jobs/{job_id}': op('jobs.get'),
  'GET /jobs/{job_id}/timeline': op('jobs.timeline'),
  'POST /jobs/{job_id}/cancel': op('jobs.cancel'),
  'POST /jobs/{job_id}/resolve': op('jobs.resolve'),
  'GET /jobs/{job_id}/result': op('results.get'),
  'POST /jobs/{job_id}/result/release': op('results.release'),
  'POST /jobs/{job_id}/result/discard': op('results.discard'),
  'GET /runs/{run_id}': op('runs.get'),
  'GET /runs/{run_id}/timeline': op('runs.timeline'),
  'GET /pointers/{ptr}': op('pointers.get'),
  'GET /decisions/{decision_id}': op('decisions.get'),
  'GET /approvals': op('approvals.list'),
  'GET /approvals/{approval_id}': op('approvals.get'),
  'POST /approvals/{approval_id}/approve': op('approvals.approve'),
  'POST /approvals/{approval_id}/reject': op('approvals.reject'),
  'GET /policy': op('policy.get'),
  'POST /policy/evaluate': op('policy.evaluate'),
  'GET /policy/snapshots': op('policy.list_snapshots'),
  'GET /policy/snapshots/{id}': op('policy.get_snapshot'),
  'POST /policy/snapshots': op('policy.create_snapshot'),
  'POST /policy/snapshots/{id}/activate': op('policy.activate_snapshot'),
  'POST /policy/rollback': op('policy.roll_back'),
  'POST /policy/impact': op('policy.impact'),
  'GET /dead-letters': op('dead_letters.list'),
  'POST /dead-letters/{job_id}/replay': op('dead_letters.replay'),
  'POST /dead-letters/{job_id}/discard': op('dead_letters.discard'),
  'POST /workers/claim': op('workers.claim'),
  'POST /leases/heartbeat': op('leases.heartbeat'),
  'POST /leases/effects': op('leases.effect'),
  'POST /leases/complete': op('leases.complete'),
  'GET /audit': op('audit.list'),
  'GET /audit/head': op('audit.head'),
  'GET /audit/proof/inclusion': op('audit.prove_inclusion'),
  'GET /audit/proof/consistency': op('audit.prove_consistency'),
  'GET /audit/export': op('audit.export'),
  'GET /events': op('events.stream'),
  'GET /keys': op('keys.list'),
  'POST /keys': op('keys.create'),
  'DELETE /keys/{key_id}': op('keys.revoke'),
  'GET /principals': op('principals.list'),
  'GET /principals/{principal}': op('principals.get'),
  'PUT /principals/{principal}': op('principals.put'),
  'DELETE /principals/{principal}': op('principals.disable'),
  'GET /teams': op('teams.list'),
  'PUT /teams/{team}': op('teams.put'),
  'POST /directory/diff': op('directory.diff'),
  'POST /directory/apply': op('directory.apply'),
  'GET /measurements': op('metrics.measurements'),
  'GET /topics': op('metrics.topics'),
  'GET /metrics': op('metrics.exposition'),
  'GET /metrics/{metric}': {
    ...op('metrics.get'),
    plain: {
      401: { description: 'No key where one is needed', example: '999999999\n' },
      403: { description: 'Not with this key', example: '999999999\n' },
      404: { description: 'No metric of this name', example: '999999999\n' },
      422: { description: 'The window is none', example: '0\n' },
      500: { description: 'An unexpected fault', example: '999999999\n' },
      503: { description: 'The store does not answer, or too much is asked at once', example: '999999999\n' },
    },
  },
  'GET /healthz': op('system.health'),
  'GET /readyz': {
    ...op('system.ready'),
    plain: { 503: { description: 'Not ready, and why', example: 'draining\n' } },
  },
  'GET /openapi.json': op('system.openapi'),
  'GET /docs': op('system.docs'),
}

/** In the order of the document. */
export const TAGS: { name: string; description: string }[] = [
  { name: 'jobs', description: 'One action an agent wants: submitted, decided, followed, cancelled.' },
  { name: 'results', description: 'What a job returned. Nothing a worker sent is readable before it was screened.' },
  { name: 'runs', description: 'The jobs of one task, and the texts their pointers stand for.' },
  { name: 'decisions', description: 'Every decision of every door with its why, also those that left no job.' },
  { name: 'approvals', description: 'Questions to people. An answer is bound to exactly what was seen.' },
  { name: 'policy', description: 'Content-addressed snapshots: stored, tried without effect, activated, rolled back.' },
  { name: 'dead letters', description: 'Jobs that failed for good, waiting for a person.' },
  {
    name: 'workers',
    description: 'For workers: take leases, keep them alive, record effects, report how attempts ended.',
  },
  { name: 'audit', description: 'The tamper-evident log: search, signed heads, proofs, export, live events.' },
  { name: 'keys', description: 'Keys of the tenant.' },
  { name: 'directory', description: 'People, agents, workers, services and their teams.' },
  {
    name: 'metrics',
    description: 'Counts for Prometheus, numbers for gates, and what waits on each topic.',
  },
  { name: 'system', description: 'At the root and without a key: for load balancers and readers.' },
]

/** Parameters mean the same wherever they stand. */
export const PARAMETERS: Record<string, { description: string; example?: string }> = {
  job_id: { description: 'Id of a job', example: 'job_01m7vps2s1p9v28j62q3dmz1s8' },
  run_id: { description: 'Id of a run, yours or one made for you', example: 'nightly-review' },
  ptr: {
    description: 'A pointer from a job: context_ptr, input_ptr or result_ptr',
    example: 'ptr_01m7vps2s1m3xk0w5gqhy2d9fa',
  },
  decision_id: { description: 'Id of a decision', example: 'dec_01m7vps2s1bjb3ds4rbp6kekzg' },
  approval_id: { description: 'Id of an approval', example: 'apr_01m7vps2s1c6r0v9q4h8e7t2nd' },
  key_id: { description: 'Id of a key; never its secret', example: 'key_01m7vps2vbdsv6htym2sb4ntms' },
  id: { description: 'Digest of a snapshot, whole or short', example: 'v1:7f93d2c' },
  cursor: { description: 'next_cursor of the page before, unchanged' },
  limit: { description: 'Items on a page' },
  status: { description: 'Only in this state' },
  topic: { description: 'Only this topic, exactly' },
  agent: { description: 'Only of this agent' },
  kind: { description: 'Only this kind of entry, e.g. job.submitted' },
  actor: { description: 'Only what this principal did' },
  from: { description: 'Audit search: entries at or after this instant. Consistency proof: size of the older tree' },
  to: {
    description:
      'Audit search: entries before this instant. Consistency proof: size of the newer tree, the newest when left out',
  },
  index: { description: 'Place of the entry in the tree, from 0' },
  after_index: { description: 'Only entries after this place in the tree, e.g. what a subscriber has missed' },
  metric: { description: 'Name of a number', example: 'success-rate' },
  window: { description: 'The time up to now that is looked at: a number and s, m, h or d; 10m when left out' },
  tenant: { description: 'Whose numbers; the tenant of the key, or default without one, when left out' },
  size: { description: 'Size of the tree the proof is for, the newest when left out' },
}

/** What problems say beyond the catalogue, where they say more. */
export const PROBLEM_EXAMPLES: Partial<Record<ErrorCode, Record<string, unknown>>> = {
  invalid: { faults: [{ path: '/topic', message: 'must match pattern "^[a-z0-9_-]+(\\.[a-z0-9_-]+)*$"' }] },
  malformed: { detail: 'A repeated key at character 15' },
  forbidden: { needs: ['jobs:submit'] },
  topic_refused: { detail: 'This key is not bound to job.deploy.apply', topics: ['job.repo.read'] },
  policy_denied: {
    detail: 'no rule matches',
    decision: 'DENY',
    decision_id: 'dec_01m7vps2s1bjb3ds4rbp6kekzg',
    reason: 'no rule matches',
    rules: [],
    policy_snapshot: 'v1:cbfa482',
  },
  not_an_approver: { from: ['team:finance'] },
  result_quarantined: { findings: [{ class: 'private_key', path: '/text', count: 1 }] },
  illegal_transition: { detail: 'A job that is succeeded takes no cancel', job_status: 'succeeded' },
  result_not_ready: { detail: 'The job is queued', job_status: 'queued' },
  effect_not_decidable: { retry_after_ms: 14_200 },
  rate_limited: { retry_after_ms: 42_000, rules: ['refunds-over-50'] },
  overloaded: { retry_after_ms: 200 },
}
