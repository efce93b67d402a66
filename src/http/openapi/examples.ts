import { APPROVAL_EXAMPLES } from './approval-examples.js'
import { AUTONOMY_EXAMPLES, SHADOWED } from './autonomy-examples.js'
import { CHANNEL_EXAMPLES } from './channel-examples.js'
import { COMPENSATION_EXAMPLES } from './compensation-examples.js'
import { DRILL_EXAMPLES } from './drill-examples.js'
import {
  ACCEPTED,
  AGENT,
  APPROVAL,
  AT,
  BOT,
  BREAKER,
  CALL,
  CONSTRAINTS,
  DEAD,
  DEPLOY,
  DEPLOY_DECISION,
  DIGEST,
  ENTRY,
  ERROR,
  FILES,
  GRANT_HASH,
  HEAD,
  JOB,
  JOB_HASH,
  KEY,
  LEASE,
  PATH,
  ROOT,
  SHORT,
  SNAPSHOT,
  STOP,
  STOPPED,
  STORED,
  TEAM,
} from './example-rows.js'
import { GATE_EXAMPLES } from './gate-examples.js'
import { READINESS_EXAMPLES } from './readiness-examples.js'
import { REPLAY_EXAMPLES } from './replay-examples.js'
import { ROLLOUT_EXAMPLES } from './rollout-examples.js'
import { SESSION_EXAMPLES } from './session-examples.js'

/**
 * What the document shows as requests and answers, by operationId: answers of a real server, shortened. They are one story, so
 * an id met in one example means the same job in the next. A test checks each against its schema.
 */

const DIRECTORY_FILE = { path: 'sallyport.yaml', text: 'version: v1\nteams:\n  - team: support\n' }

const page = <T>(...items: T[]) => ({ items, next_cursor: null })

/** A submit that waits for people. */
const PARKED = {
  job_id: APPROVAL.job_id,
  status: 'pending_approval',
  ...DEPLOY_DECISION,
  decision_id: 'dec_01m7vq209v4zj0rxakqawmbn0z',
  job_hash: JOB_HASH,
  run_id: 'run_01m7vq208tyz0h5yvbcm1x7y8v',
  approval_id: APPROVAL.approval_id,
  grant_hash: GRANT_HASH,
}
const CHANGE_WAITS = {
  ...STORED,
  asked: {
    ...PARKED,
    rules: ['policy-change'],
    reason: 'two people look at every change of the rules',
    constraints: {},
  },
}

export const EXAMPLES = {
  'jobs.submit': { request: DEPLOY, other: SHADOWED, response: PARKED },
  'jobs.submit_batch': {
    request: {
      jobs: [
        {
          topic: 'job.repo.read',
          input: { op: 'log', limit: 20 },
          run_id: 'nightly-review',
          idempotency_key: 'review-1',
        },
      ],
    },
    response: { items: [{ status: 202, body: ACCEPTED }] },
  },
  'jobs.list': {
    response: { items: [JOB], next_cursor: 'WzE3OTUxNTI3NDA1OTAsImpvYl8wMW03dnEyMDdlY3MxenduMTYyeTg3MmVkdCJd' },
  },
  'jobs.get': {
    response: {
      ...CALL,
      status: 'running',
      progress: { done: 3, of: 10 },
      effects: [{ key: 'call', status: 'begun', attempt: 1, begun_at: AT + 300, ended_at: null }],
    },
  },
  'jobs.timeline': { response: page(ENTRY) },
  'jobs.cancel': {
    request: { reason: 'no longer wanted' },
    response: { ...JOB, status: 'cancelled', status_reason: 'cancelled', updated_at: AT + 900, finished_at: AT + 900 },
  },
  'jobs.resolve': {
    request: {
      effect_key: 'call',
      happened: true,
      result: { status: 201 },
      note: 'seen in the log of the other side',
      then: 'retry',
    },
    response: { ...CALL, status: 'retrying', status_reason: 'resolved', max_attempts: 2 },
  },
  'results.get': {
    response: {
      job_id: CALL.job_id,
      verdict: 'REDACT',
      findings: [{ path: '/text', class: 'pii', count: 1, detector: 'email' }],
      output: { status: 200, text: 'write to [REDACTED:email]' },
      released_by: null,
    },
  },
  'results.release': {
    request: { note: 'a test key, long revoked' },
    response: {
      ...CALL,
      status: 'succeeded',
      status_reason: 'released',
      result_ptr: 'ptr_01m7vq20gf7tager3vjy7p2652',
      verdict: 'QUARANTINE',
      finished_at: AT + 900,
    },
  },
  'results.discard': {
    request: { note: 'a live key; rotated' },
    response: {
      ...CALL,
      status: 'discarded',
      status_reason: 'result_discarded',
      verdict: 'QUARANTINE',
      finished_at: AT + 900,
    },
  },
  'runs.get': {
    response: {
      run_id: JOB.run_id,
      workflow: 'review',
      created_at: AT,
      updated_at: AT,
      jobs: 1,
      by_status: { queued: 1 },
      items: [JOB],
    },
  },
  'runs.timeline': { response: page(ENTRY) },
  'pointers.get': { response: { ptr: JOB.input_ptr, kind: 'input', value: { op: 'log', limit: 20 } } },
  'decisions.get': {
    response: {
      decision_id: JOB.decision_id,
      door: 'submit',
      job_id: JOB.job_id,
      at: AT,
      agent: AGENT,
      topic: JOB.topic,
      decision: 'ALLOW',
      reason: JOB.reason,
      rules: JOB.rules,
      constraints: {},
      high_risk: false,
      policy_snapshot: SHORT,
      snapshot_digest: DIGEST,
      why: {
        decision: 'ALLOW',
        reason: JOB.reason,
        decided_by: 'allow-read-only',
        matched: [{ rule: 'allow-read-only', decision: 'ALLOW', reason: JOB.reason, on: 'server' }],
        nearly: [],
        overruled: [],
        denied_by_class: null,
      },
      reproduced: true,
    },
  },
  ...APPROVAL_EXAMPLES,
  ...GATE_EXAMPLES,
  'policy.get': { response: { ...SNAPSHOT, files: FILES } },
  'policy.evaluate': {
    request: { job: DEPLOY },
    response: {
      ...DEPLOY_DECISION,
      high_risk: false,
      effective: { labels: { env: 'prod' }, risk_tags: ['deploy'], environment: null, action_type: 'deploy' },
      submit: {
        status: 'pending_approval',
        code: null,
        missing: [],
        stop_id: null,
        retry_after_ms: null,
        granted_by: null,
        spot_check: null,
      },
      why: {
        decision: 'REQUIRE_APPROVAL',
        reason: DEPLOY_DECISION.reason,
        decided_by: 'require-approval-prod-deploy',
        matched: [
          {
            rule: 'require-approval-prod-deploy',
            decision: 'REQUIRE_APPROVAL',
            reason: DEPLOY_DECISION.reason,
            on: 'server',
          },
        ],
        nearly: [
          {
            rule: 'allow-non-prod-deploy',
            decision: 'ALLOW',
            failed: [{ condition: 'labels.env', expected: 'dev or staging or test', actual: 'prod', holds: false }],
          },
        ],
        overruled: [{ key: 'action_type', claimed: null, held: 'deploy' }],
        denied_by_class: null,
      },
    },
  },
  'policy.list_snapshots': { response: page(SNAPSHOT) },
  'policy.get_snapshot': { response: { ...SNAPSHOT, files: FILES } },
  'policy.create_snapshot': {
    request: { files: FILES, note: 'reads only', activate: false },
    response: { ...STORED, asked: null },
    other: CHANGE_WAITS,
  },
  'policy.activate_snapshot': { response: { ...SNAPSHOT, asked: null }, other: CHANGE_WAITS },
  'policy.roll_back': { response: { ...SNAPSHOT, asked: null }, other: CHANGE_WAITS },
  'policy.impact': {
    request: { policy_snapshot: SHORT, most: 2000 },
    response: {
      looked_at: 1,
      unchanged: 0,
      undecidable: 0,
      oldest_at: AT,
      changes: [
        {
          before: 'ALLOW',
          after: 'REQUIRE_APPROVAL',
          effect: 'tighter',
          count: 1,
          examples: [
            {
              decision_id: JOB.decision_id,
              job_id: JOB.job_id,
              at: AT,
              agent: AGENT,
              topic: JOB.topic,
              before: { decision: 'ALLOW', reason: JOB.reason, rules: JOB.rules },
              after: { decision: 'REQUIRE_APPROVAL', reason: 'reads are looked at', rules: ['reads'] },
            },
          ],
        },
      ],
      next: null,
      share: 1,
    },
  },
  'dead_letters.list': {
    response: page({
      job_id: DEAD.job_id,
      topic: DEAD.topic,
      agent: AGENT,
      owner: DEAD.owner,
      respond_by: DEAD.respond_by,
      overdue: false,
      dead_at: DEAD.finished_at,
      attempt: 1,
      error: ERROR,
      job: DEAD,
    }),
  },
  'dead_letters.replay': {
    request: { note: 'the repository is back' },
    response: { ...CALL, decision_id: 'dec_01m7vq20pez9t4yeh63cbymdpg', due_at: AT + 900, updated_at: AT + 900 },
  },
  'dead_letters.discard': {
    request: { reason: 'not needed any more' },
    response: { ...DEAD, status: 'discarded', status_reason: 'discarded', updated_at: AT + 900, finished_at: AT + 900 },
  },
  'workers.claim': {
    request: {
      worker_id: 'worker-1',
      claim_id: 'claim-0000-0001',
      topics: ['job.integrations.call'],
      capacity: 4,
      wait_ms: 20_000,
      enforces: ['timeout_ms', 'max_output_bytes', 'allowed_hosts'],
      effects: 'recorded',
    },
    response: {
      leases: [
        {
          lease: LEASE,
          attempt: 1,
          remaining_ms: 14_993,
          heartbeat_ms: 7500,
          constraints: CONSTRAINTS,
          job: {
            job_id: CALL.job_id,
            run_id: CALL.run_id,
            tenant: 'default',
            agent: AGENT,
            topic: CALL.topic,
            labels: {},
            risk_tags: [],
            environment: null,
            action_type: null,
            capability: null,
            action: null,
            workflow: null,
            input: { url: 'https://api.github.com/repos' },
            context: null,
            job_hash: CALL.job_hash,
            policy_snapshot: SHORT,
            max_attempts: 1,
          },
          effects: [],
        },
      ],
      head: HEAD.checkpoint,
    },
  },
  'leases.heartbeat': {
    request: { leases: [{ lease: LEASE, progress: { done: 3, of: 10 } }] },
    response: { leases: [{ lease: LEASE, answer: 'ok', remaining_ms: 14_988 }] },
  },
  'leases.effect': {
    request: { lease: LEASE, key: 'call', phase: 'begin' },
    response: {
      key: 'call',
      status: 'begun',
      idempotency_key: '7ab45294fa6be958c16373be286a40e13e80c566d4cfcd6e',
      remaining_ms: 14_980,
    },
  },
  'leases.complete': {
    request: [{ lease: LEASE, outcome: 'succeeded', result: { status: 200 }, usage: { tokens: 812, cost: 0.004 } }],
    response: { leases: [{ lease: LEASE, answer: 'ok', job_id: CALL.job_id, status: 'succeeded' }] },
  },
  'audit.list': { response: { items: [ENTRY], next_cursor: 'WzYsIiJd' } },
  'audit.head': { response: HEAD },
  'audit.prove_inclusion': {
    response: {
      index: 0,
      size: 43,
      leaf_hash: '5fff188687ef723af1d6b1f77f4e3b7114ee3880607b44bc966748ffd05b3b95',
      entry: '{"actor":"system:node","at":1795152739367,"kind":"writer.started","tenant":"default"}',
      path: PATH,
      root: ROOT,
      checkpoint: HEAD.checkpoint,
    },
  },
  'audit.prove_consistency': {
    response: {
      from: 1,
      to: 43,
      path: PATH,
      from_root: '5fff188687ef723af1d6b1f77f4e3b7114ee3880607b44bc966748ffd05b3b95',
      to_root: ROOT,
    },
  },
  'audit.export': {
    response: '{"record":"export","sallyport_audit_export":1,"tenant":"default","origin":"sallyport/default"}\n',
  },
  'events.stream': {
    response: 'id: 6\nevent: job.submitted\ndata: {"actor":"agent:support-bot","kind":"job.submitted"}\n\n',
  },
  'keys.list': { response: page(KEY) },
  'keys.create': {
    request: { role: 'worker', principal: KEY.principal, topics: KEY.topics, note: KEY.note },
    response: { ...KEY, key: 'sp_01m7vq20yzpycs45rwqy6qn2s7_0000000000000000000000000000000000000000000' },
  },
  'keys.revoke': { response: { ...KEY, revoked_at: AT + 900 } },
  'keys.rotate': {
    request: { overlap: 86_400_000 },
    response: {
      ...KEY,
      key_id: 'key_01m7w0d4kq2s8n5b7r3x9t6v1e',
      key: 'sp_01m7w0d4kq2s8n5b7r3x9t6v1e_0000000000000000000000000000000000000000000',
      rotates: { key_id: KEY.key_id, expires_at: AT + 86_400_000 },
    },
  },
  'tokens.create': {
    request: { minutes: 15, topics: ['job.build.image'], run_id: 'nightly-review' },
    response: {
      token: 'eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJzYWxseXBvcnQvZGVmYXVsdCJ9.c2lnbmF0dXJl',
      jti: 'tok_01m7w0d4m1c9f5h2j8k4p6q3za',
      key_id: KEY.key_id,
      topics: ['job.build.image'],
      run_id: 'nightly-review',
      permissions: null,
      expires_at: AT + 900_000,
    },
  },
  'tokens.jwks': {
    response: {
      keys: [
        {
          kty: 'OKP',
          crv: 'Ed25519',
          x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
          kid: 'kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k',
          use: 'sig',
          alg: 'EdDSA',
        },
      ],
    },
  },
  'stops.list': { response: page(STOP) },
  'stops.raise': {
    request: { scope: STOP.scope, reason: STOP.reason, wait_ms: 5000 },
    response: STOPPED,
  },
  'stops.get': { response: STOPPED },
  'stops.resume': {
    request: { stage: 'trial', note: 'mended in 2.1.1', trial_ms: 600_000, trial_limit: 10 },
    response: {
      ...STOPPED,
      resume: {
        stage: 'trial',
        by: 'person:lead',
        at: AT + 60_000,
        note: 'mended in 2.1.1',
        trial_ms: 600_000,
        trial_limit: 10,
      },
    },
  },
  'breakers.list': { response: page(BREAKER) },
  'breakers.close': {
    response: { ...BREAKER, state: 'closed', closed_at: AT + 90_000, closed_by: 'person:lead' },
  },
  'principals.list': { response: page(BOT) },
  'principals.get': { response: BOT },
  'principals.put': {
    request: { kind: 'agent', team: 'support', terms: { topics: BOT.terms.topics, risk_tier: 'medium' } },
    response: BOT,
  },
  'principals.disable': { response: { ...BOT, disabled_at: AT + 900 } },
  'principals.enable': { response: BOT },
  'teams.list': { response: page(TEAM) },
  'teams.put': { request: { leads: TEAM.leads, on_call: TEAM.on_call }, response: TEAM },
  'directory.diff': {
    request: DIRECTORY_FILE,
    response: { changes: [{ change: 'added', what: 'team', id: 'support', fields: [] }], notes: [] },
  },
  'directory.apply': {
    request: DIRECTORY_FILE,
    response: { changes: [{ change: 'added', what: 'team', id: 'support', fields: [] }], notes: [] },
  },
  ...AUTONOMY_EXAMPLES,
  ...CHANNEL_EXAMPLES,
  ...DRILL_EXAMPLES,
  ...READINESS_EXAMPLES,
  ...REPLAY_EXAMPLES,
  ...ROLLOUT_EXAMPLES,
  ...COMPENSATION_EXAMPLES,
  ...SESSION_EXAMPLES,
  'metrics.measurements': {
    response: {
      window_ms: 600_000,
      at: AT,
      items: [
        { metric: 'success-rate', text: '0.994', value: 0.994, unknown: null, samples: 500, sampled: false },
        {
          metric: 'high-risk-unapproved',
          text: '999999999',
          value: null,
          unknown: 'no lease was granted in the window',
          samples: 0,
          sampled: false,
        },
      ],
    },
  },
  'metrics.topics': {
    response: {
      items: [{ topic: 'job.repo.read', depth: 12, bounded: false, oldest_ms: 840, waiting_workers: 0 }],
      more: false,
    },
  },
  'metrics.exposition': {
    response: 'sallyport_jobs_total{tenant="default",topic="job.repo.read",event="submitted"} 12\n',
  },
  'metrics.get': { response: '0.994\n' },
  'system.health': { response: 'ok\n' },
  'system.ready': { response: 'ready\n' },
  'system.openapi': {},
  'system.docs': {},
} satisfies Record<string, { request?: unknown; response?: unknown; other?: unknown }>
