import type { Approval, ApprovalPage, ApprovalQuery, Approve, Reject } from '../contract/approvals.js'
import type {
  AuditHead,
  AuditPage,
  AuditQuery,
  ConsistencyProof,
  ConsistencyQuery,
  InclusionProof,
  InclusionQuery,
} from '../contract/audit.js'
import type { DeadLetterPage } from '../contract/dead-letters.js'
import type { Decision } from '../contract/decisions.js'
import type {
  DirectoryChanges,
  DirectoryFile,
  Principal,
  PrincipalPage,
  PutPrincipal,
  PutTeam,
  Team,
  TeamPage,
} from '../contract/directory.js'
import type { Job, Pointer, Run, Timeline } from '../contract/jobs.js'
import type { CreatedKey, CreateKey, Key, KeyPage } from '../contract/keys.js'
import type {
  CreateSnapshot,
  Evaluate,
  Evaluated,
  Impact,
  ImpactQuery,
  Snapshot,
  SnapshotPage,
} from '../contract/policy.js'
import type { PageQuery } from '../contract/scalars.js'
import type {
  Claim,
  Claimed,
  CompleteAnswer,
  Completion,
  Effect,
  EffectAnswer,
  Heartbeat,
  HeartbeatAnswer,
} from '../contract/workers.js'
import { SallyportError } from './errors.js'
import { type Jobs, jobsOf } from './jobs.js'
import { eachLine } from './pages.js'
import { type ConnectionOptions, createTransport, type RequestOptions, segment, type Transport } from './transport.js'

/** Everything the API can do, typed by the contract. Every method throws `SallyportError`; ids and cursors are opaque. */
export interface Client {
  readonly jobs: Jobs
  readonly decisions: { get(decisionId: string): Promise<Decision> }
  readonly runs: {
    get(runId: string): Promise<Run>
    timeline(runId: string, query?: PageQuery): Promise<Timeline>
  }
  readonly pointers: { get(ptr: string): Promise<Pointer> }
  readonly approvals: {
    list(query?: ApprovalQuery): Promise<ApprovalPage>
    get(approvalId: string): Promise<Approval>
    /**
     * `saw` echoes what the reviewer was shown: `grant_hash`, or `job_hash` with `policy_snapshot`.
     * 409 `approval_stale` when that is no longer what would be approved, 403 `self_approval`, 403 `policy_denied` when a DENY came since.
     */
    approve(approvalId: string, saw: Approve): Promise<Approval>
    reject(approvalId: string, why: Reject): Promise<Approval>
  }
  readonly policy: {
    /** The active snapshot; 503 `no_policy` where there is none. */
    get(): Promise<Snapshot>
    snapshots(query?: PageQuery): Promise<SnapshotPage>
    /** `id` as people write it (`v1:7f93d2c`) or the whole digest; with its files. */
    snapshot(id: string): Promise<Snapshot>
    /** Takes files as a new snapshot; 422 `policy_invalid` with every fault. Active only with `activate: true`. */
    create(snapshot: CreateSnapshot): Promise<Snapshot>
    activate(id: string): Promise<Snapshot>
    /** Activates what was active before the active one. */
    rollBack(): Promise<Snapshot>
    /** Which recorded decisions a policy would have made otherwise. */
    impact(query: ImpactQuery): Promise<Impact>
    /** What would be decided and why, without doing or recording it. */
    evaluate(what: Evaluate): Promise<Evaluated>
  }
  readonly deadLetters: {
    list(query?: PageQuery): Promise<DeadLetterPage>
    /** Opens a new attempt budget; the job passes both doors again and keeps its committed effects. */
    replay(jobId: string, note?: string): Promise<Job>
    discard(jobId: string, reason: string): Promise<Job>
  }
  readonly principals: {
    list(query?: PageQuery): Promise<PrincipalPage>
    get(principal: string): Promise<Principal>
    /** Declares it, or makes it what the body says. */
    put(principal: string, body: PutPrincipal): Promise<Principal>
    /** From the answer on no key of it opens anything. */
    disable(principal: string): Promise<Principal>
  }
  readonly teams: {
    list(): Promise<TeamPage>
    put(team: string, body: PutTeam): Promise<Team>
  }
  /** `sallyport.yaml`, as it stands in the file. */
  readonly directory: {
    diff(file: DirectoryFile): Promise<DirectoryChanges>
    /** Whom an earlier file declared and this one leaves out is disabled. */
    apply(file: DirectoryFile): Promise<DirectoryChanges>
  }
  readonly keys: {
    /** `key` in the answer is shown this once. */
    create(key: CreateKey): Promise<CreatedKey>
    list(query?: PageQuery): Promise<KeyPage>
    revoke(keyId: string): Promise<Key>
  }
  readonly audit: {
    list(query?: AuditQuery): Promise<AuditPage>
    /** Newest signed head; keep it somewhere else: it proves later that nothing was cut off. */
    head(): Promise<AuditHead>
    inclusion(query: InclusionQuery): Promise<InclusionProof>
    consistency(query: ConsistencyQuery): Promise<ConsistencyProof>
    /** The whole log as JSON Lines, one line at a time and byte for byte, for `sallyport audit verify`. Memory does not grow with it. */
    export(options?: { signal?: AbortSignal }): AsyncIterable<string>
  }
  /** What a worker says; `createWorker` does all of this by itself. Each may be repeated with the same body. */
  readonly worker: {
    /** Waits up to `wait_ms` for work; the answer may be empty. */
    claim(claim: Claim, options?: { signal?: AbortSignal; timeoutMs?: number }): Promise<Claimed>
    heartbeat(beats: Heartbeat, options?: { signal?: AbortSignal; timeoutMs?: number }): Promise<HeartbeatAnswer>
    effect(effect: Effect, options?: { signal?: AbortSignal; timeoutMs?: number }): Promise<EffectAnswer>
    complete(completions: Completion[], options?: { signal?: AbortSignal }): Promise<CompleteAnswer>
  }
  /** Whether the server would take work now, and what it says about itself. Throws only when it is `unreachable`. */
  health(): Promise<{ ready: boolean; detail: unknown }>
  /** Any other request, e.g. `request('GET', '/metrics/success-rate', { query: { window: '10m' } })`: the parsed body, or text. */
  request<T = unknown>(method: string, path: string, options?: RequestOptions): Promise<T>
}

/**
 * A client of one server.
 *
 * ```js
 * const sallyport = createClient({ url: 'http://127.0.0.1:8080', apiKey: process.env.SALLYPORT_API_KEY })
 * const { output } = await sallyport.jobs.run({ topic: 'job.repo.read', input: { op: 'log', limit: 5 } })
 * ```
 *
 * Throws `TypeError` when `url` is no http(s) address or `apiKey` cannot be a key; it connects to nothing yet.
 */
export function createClient(options: ConnectionOptions): Client {
  const http = createTransport(options)
  return {
    jobs: jobsOf(http),
    decisions: { get: (id) => http.request('GET', `/api/v1/decisions/${segment(id)}`) },
    runs: {
      get: (id) => http.request('GET', `/api/v1/runs/${segment(id)}`),
      timeline: (id, query) => http.request('GET', `/api/v1/runs/${segment(id)}/timeline`, { query }),
    },
    pointers: { get: (ptr) => http.request('GET', `/api/v1/pointers/${segment(ptr)}`) },
    approvals: approvalsOf(http),
    policy: policyOf(http),
    deadLetters: {
      list: (query) => http.request('GET', '/api/v1/dead-letters', { query }),
      replay: (id, note) =>
        http.request('POST', `/api/v1/dead-letters/${segment(id)}/replay`, {
          body: note === undefined ? {} : { note },
        }),
      discard: (id, reason) =>
        http.request('POST', `/api/v1/dead-letters/${segment(id)}/discard`, { body: { reason } }),
    },
    principals: {
      list: (query) => http.request('GET', '/api/v1/principals', { query }),
      get: (id) => http.request('GET', `/api/v1/principals/${segment(id)}`),
      put: (id, body) => http.request('PUT', `/api/v1/principals/${segment(id)}`, { body, repeatable: true }),
      disable: (id) => http.request('DELETE', `/api/v1/principals/${segment(id)}`, { repeatable: true }),
    },
    teams: {
      list: () => http.request('GET', '/api/v1/teams'),
      put: (id, body) => http.request('PUT', `/api/v1/teams/${segment(id)}`, { body, repeatable: true }),
    },
    directory: {
      diff: (file) => http.request('POST', '/api/v1/directory/diff', { body: file, repeatable: true }),
      apply: (file) => http.request('POST', '/api/v1/directory/apply', { body: file, repeatable: true }),
    },
    keys: {
      create: (key) => http.request('POST', '/api/v1/keys', { body: key }),
      list: (query) => http.request('GET', '/api/v1/keys', { query }),
      revoke: (id) => http.request('DELETE', `/api/v1/keys/${segment(id)}`, { repeatable: true }),
    },
    audit: auditOf(http),
    worker: workerOf(http),
    health: () => healthOf(http),
    request: (method, path, given) => http.request(method, path, given),
  }
}

function approvalsOf(http: Transport): Client['approvals'] {
  const at = (id: string, rest = '') => `/api/v1/approvals/${segment(id)}${rest}`
  return {
    list: (query) => http.request('GET', '/api/v1/approvals', { query }),
    get: (id) => http.request('GET', at(id)),
    approve: (id, saw) => http.request('POST', at(id, '/approve'), { body: saw }),
    reject: (id, why) => http.request('POST', at(id, '/reject'), { body: why }),
  }
}

function policyOf(http: Transport): Client['policy'] {
  const at = (id: string, rest = '') => `/api/v1/policy/snapshots/${segment(id)}${rest}`
  return {
    get: () => http.request('GET', '/api/v1/policy'),
    snapshots: (query) => http.request('GET', '/api/v1/policy/snapshots', { query }),
    snapshot: (id) => http.request('GET', at(id)),
    create: (snapshot) => http.request('POST', '/api/v1/policy/snapshots', { body: snapshot }),
    activate: (id) => http.request('POST', at(id, '/activate'), { body: {} }),
    rollBack: () => http.request('POST', '/api/v1/policy/rollback'),
    impact: (query) => http.request('POST', '/api/v1/policy/impact', { body: query, repeatable: true }),
    evaluate: (what) => http.request('POST', '/api/v1/policy/evaluate', { body: what, repeatable: true }),
  }
}

function auditOf(http: Transport): Client['audit'] {
  return {
    list: (query) => http.request('GET', '/api/v1/audit', { query }),
    head: () => http.request('GET', '/api/v1/audit/head'),
    inclusion: (query) => http.request('GET', '/api/v1/audit/proof/inclusion', { query }),
    consistency: (query) => http.request('GET', '/api/v1/audit/proof/consistency', { query }),
    async *export({ signal } = {}) {
      const answer = await http.open('GET', '/api/v1/audit/export', { signal })
      if (answer.body !== null) yield* eachLine(answer.body, signal)
    },
  }
}

function workerOf(http: Transport): Client['worker'] {
  const post = <T>(path: string, body: unknown, options: RequestOptions = {}) =>
    http.request<T>('POST', path, { ...options, body, repeatable: true })
  return {
    claim: (claim, options) =>
      // The server holds the answer back for wait_ms, so the deadline starts after it.
      post('/api/v1/workers/claim', claim, { timeoutMs: (claim.wait_ms ?? 0) + 15_000, ...options }),
    heartbeat: (beats, options) => post('/api/v1/leases/heartbeat', beats, options),
    effect: (effect, options) => post('/api/v1/leases/effects', effect, options),
    complete: (completions, options) => post('/api/v1/leases/complete', completions, options),
  }
}

async function healthOf(http: Transport): Promise<{ ready: boolean; detail: unknown }> {
  try {
    return { ready: true, detail: await http.request('GET', '/readyz', { retries: 0 }) }
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code === 'unreachable') throw error
    return { ready: false, detail: error.problem ?? error.message }
  }
}
