import type { Absence, AbsencePage, PutAbsence } from '../contract/absences.js'
import type { Approval, ApprovalPage, ApprovalQuery, Approve, Edit, Reject } from '../contract/approvals.js'
import type {
  AuditHead,
  AuditPage,
  AuditQuery,
  ConsistencyProof,
  ConsistencyQuery,
  InclusionProof,
  InclusionQuery,
} from '../contract/audit.js'
import type {
  Autonomy,
  AutonomyList,
  Demote,
  Promote,
  PutAutonomy,
  ReviewLoad,
  Workflow,
  WorkflowList,
} from '../contract/autonomy.js'
import type {
  Channel,
  ChannelPage,
  ChannelTest,
  Delivery,
  DeliveryPage,
  DeliveryQuery,
  PutChannel,
} from '../contract/channels.js'
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
import type { Drill, DrillHistory, DrillList, DrillRun, ReportDrill, ScheduleDrill } from '../contract/drills.js'
import type { CreateGrant, Grant, GrantPage } from '../contract/grants.js'
import type { Job, Pointer, Run, Timeline } from '../contract/jobs.js'
import type { CreatedKey, CreateKey, Key, KeyPage, KeyQuery, RotatedKey, RotateKey } from '../contract/keys.js'
import type {
  CreateSnapshot,
  Evaluate,
  Evaluated,
  Impact,
  ImpactQuery,
  PolicyChange,
  Snapshot,
  SnapshotPage,
} from '../contract/policy.js'
import type { Attest, Attestation, Readiness } from '../contract/readiness.js'
import type { PageQuery } from '../contract/scalars.js'
import type { Invited, Session } from '../contract/sessions.js'
import type { Breaker, BreakerPage, RaiseStop, ResumeStop, Stop, StopPage, StopQuery } from '../contract/stops.js'
import type { CreatedToken, CreateToken } from '../contract/tokens.js'
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
import { type Replays, replaysOf } from './replays.js'
import { type Rollouts, rolloutsOf } from './rollouts.js'
import { type ConnectionOptions, createTransport, type RequestOptions, segment, type Transport } from './transport.js'

const READINESS = '/api/v1/readiness'
/** A day of leases is judged for it. */
const LONG_MS = 60_000

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
    /** Replaces the input and approves what the job is then; 403 `policy_denied` where policy denies that. */
    edit(approvalId: string, what: Edit): Promise<Approval>
    /** A no that says what would have to change; the agent reads it as `feedback` of its job. */
    requestChanges(approvalId: string, why: Reject): Promise<Approval>
  }
  /** Approvals given beforehand. */
  readonly grants: {
    list(query?: PageQuery): Promise<GrantPage>
    get(grantId: string): Promise<Grant>
    create(grant: CreateGrant): Promise<Grant>
    revoke(grantId: string): Promise<Grant>
  }
  /** Who is away, and who answers meanwhile. */
  readonly absences: {
    list(): Promise<AbsencePage>
    put(principal: string, absence: PutAbsence): Promise<Absence>
  }
  readonly policy: {
    /** The active snapshot; 503 `no_policy` where there is none. */
    get(): Promise<Snapshot>
    snapshots(query?: PageQuery): Promise<SnapshotPage>
    /** `id` as people write it (`v1:7f93d2c`) or the whole digest; with its files. */
    snapshot(id: string): Promise<Snapshot>
    /** Takes files as a new snapshot; 422 `policy_invalid` with every fault. Active only with `activate: true`. */
    create(snapshot: CreateSnapshot): Promise<PolicyChange>
    /** Not `active` in the answer where rules of the active policy have a say: `asked` names the job and its approval. */
    activate(id: string): Promise<PolicyChange>
    /** Activates what was active before the active one. */
    rollBack(): Promise<PolicyChange>
    /** Which recorded decisions a policy would have made otherwise. */
    impact(query: ImpactQuery): Promise<Impact>
    /** What would be decided and why, without doing or recording it. */
    evaluate(what: Evaluate): Promise<Evaluated>
  }
  readonly replays: Replays
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
    /** It may act again, whoever disabled it. */
    enable(principal: string): Promise<Principal>
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
  /** Who is told of what, and how that fares. */
  readonly channels: {
    list(): Promise<ChannelPage>
    get(channel: string): Promise<Channel>
    /** Declares it, or makes it what the body says; secrets stay in the server's environment. */
    put(channel: string, body: PutChannel): Promise<Channel>
    /** What waits for it is dropped. */
    remove(channel: string): Promise<Channel>
    /** Sends one message about nothing, now. */
    test(channel: string): Promise<ChannelTest>
  }
  readonly deliveries: {
    list(query?: DeliveryQuery): Promise<DeliveryPage>
    get(deliveryId: string): Promise<Delivery>
    /** Gives a dead message another day; 409 `not_dead`. */
    retry(deliveryId: string): Promise<Delivery>
  }
  /** How far agents are trusted to act by themselves. */
  readonly autonomy: {
    /** Agents under management. */
    list(): Promise<AutonomyList>
    get(agent: string): Promise<Autonomy>
    /** Puts it under management, or changes its spot check, bounds and who is asked; less of these is proposed, and holds once another says the same. */
    put(agent: string, body: PutAutonomy): Promise<Autonomy>
    /** Proposes the stage above; 409 `stage_not_earned` with every criterion. */
    promote(agent: string, body: Promote): Promise<Autonomy>
    /** Carries out what another person proposed. */
    confirm(agent: string, note?: string): Promise<Autonomy>
    demote(agent: string, body: Demote): Promise<Autonomy>
  }
  /** Bounded workflows of the active policy. */
  readonly workflows: {
    list(): Promise<WorkflowList>
    /** On trial from the answer on; 409 `workflow_on_trial` while another is, until three are proven. */
    open(workflow: string): Promise<Workflow>
    close(workflow: string): Promise<Workflow>
  }
  readonly reviews: {
    /** What waits for people, and how those fare who answer, over the last `days` (1 unless said). */
    load(days?: number): Promise<ReviewLoad>
  }
  /** The stop button. */
  readonly stops: {
    list(query?: StopQuery): Promise<StopPage>
    get(stopId: string): Promise<Stop>
    /**
     * From the answer on nothing of the scope goes on any node. Waits up to `wait_ms` (5,000 unless said) for every node and lease;
     * `state` says whether all confirmed.
     */
    raise(stop: RaiseStop): Promise<Stop>
    /** Asks for the next stage; the same from another person carries it out. 403 `self_approval` for the same one. */
    resume(stopId: string, how: ResumeStop): Promise<Stop>
  }
  /** Whether this installation may carry a launch. */
  readonly readiness: {
    get(): Promise<Readiness>
    /** The same to print, or to keep beside other documents. */
    text(form: 'text/html' | 'text/markdown'): Promise<string>
    attest(word: Attest): Promise<Attestation>
  }
  /** New versions of agents, workflows and policies that come in by stages. */
  readonly rollouts: Rollouts
  /** What is tried out on the running installation, so that gates can count on it. */
  readonly drills: {
    list(): Promise<DrillList>
    /** With its runs, newest first. */
    get(drill: string, query?: PageQuery): Promise<DrillHistory>
    /** What somebody played; the server looks for itself, and may say `failed` all the same. */
    report(drill: string, run: ReportDrill): Promise<DrillRun>
    schedule(drill: string, how: ScheduleDrill): Promise<Drill>
  }
  /** Agents that failures took out. */
  readonly breakers: {
    list(): Promise<BreakerPage>
    close(agent: string): Promise<Breaker>
  }
  readonly keys: {
    /** `key` in the answer is shown this once. */
    create(key: CreateKey): Promise<CreatedKey>
    list(query?: KeyQuery): Promise<KeyPage>
    revoke(keyId: string): Promise<Key>
    /** Another key with the same bounds; the old one opens for `overlap` ms more, a day unless said. 409 `key_closed`. */
    rotate(keyId: string, how?: RotateKey): Promise<RotatedKey>
  }
  /** `token` in the answer goes where a key goes: `createClient({ url, apiKey: token })`. */
  /** Who asks: of a session with what its pages have to send. */
  readonly session: { get(): Promise<Session> }
  readonly accounts: {
    /** The link is shown this once; with it the person chooses a password. */
    invite(principal: string): Promise<Invited>
    /** Forgets how a person signs on, and ends what is open. */
    close(principal: string): Promise<{ principal: string; closed: true }>
  }
  readonly tokens: { create(token: CreateToken): Promise<CreatedToken> }
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
    grants: {
      list: (query) => http.request('GET', '/api/v1/grants', { query }),
      get: (id) => http.request('GET', `/api/v1/grants/${segment(id)}`),
      create: (grant) => http.request('POST', '/api/v1/grants', { body: grant }),
      revoke: (id) => http.request('DELETE', `/api/v1/grants/${segment(id)}`, { repeatable: true }),
    },
    absences: {
      list: () => http.request('GET', '/api/v1/absences'),
      put: (principal, body) =>
        http.request('PUT', `/api/v1/absences/${segment(principal)}`, { body, repeatable: true }),
    },
    policy: policyOf(http),
    replays: replaysOf(http),
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
      enable: (id) => http.request('POST', `/api/v1/principals/${segment(id)}/enable`, { repeatable: true }),
    },
    teams: {
      list: () => http.request('GET', '/api/v1/teams'),
      put: (id, body) => http.request('PUT', `/api/v1/teams/${segment(id)}`, { body, repeatable: true }),
    },
    directory: {
      diff: (file) => http.request('POST', '/api/v1/directory/diff', { body: file, repeatable: true }),
      apply: (file) => http.request('POST', '/api/v1/directory/apply', { body: file, repeatable: true }),
    },
    channels: channelsOf(http),
    deliveries: deliveriesOf(http),
    autonomy: {
      list: () => http.request('GET', '/api/v1/autonomy'),
      get: (agent) => http.request('GET', `/api/v1/agents/${segment(agent)}/autonomy`),
      put: (agent, body) =>
        http.request('PUT', `/api/v1/agents/${segment(agent)}/autonomy`, { body, repeatable: true }),
      promote: (agent, body) => http.request('POST', `/api/v1/agents/${segment(agent)}/autonomy/promote`, { body }),
      confirm: (agent, note) =>
        http.request('POST', `/api/v1/agents/${segment(agent)}/autonomy/confirm`, {
          body: note === undefined ? {} : { note },
        }),
      demote: (agent, body) => http.request('POST', `/api/v1/agents/${segment(agent)}/autonomy/demote`, { body }),
    },
    workflows: {
      list: () => http.request('GET', '/api/v1/workflows'),
      open: (id) => http.request('POST', `/api/v1/workflows/${segment(id)}/open`),
      close: (id) => http.request('POST', `/api/v1/workflows/${segment(id)}/close`),
    },
    drills: {
      list: () => http.request('GET', '/api/v1/drills'),
      get: (id, query) => http.request('GET', `/api/v1/drills/${segment(id)}`, { query }),
      report: (id, run) => http.request('POST', `/api/v1/drills/${segment(id)}/runs`, { body: run }),
      schedule: (id, how) => http.request('PUT', `/api/v1/drills/${segment(id)}`, { body: how, repeatable: true }),
    },
    reviews: {
      load: (days) => http.request('GET', '/api/v1/reviews/load', { query: days === undefined ? {} : { days } }),
    },
    stops: {
      list: (query) => http.request('GET', '/api/v1/stops', { query }),
      get: (id) => http.request('GET', `/api/v1/stops/${segment(id)}`),
      raise: (stop) =>
        http.request('POST', '/api/v1/stops', {
          body: stop,
          repeatable: true,
          timeoutMs: (stop.wait_ms ?? 5_000) + 15_000,
        }),
      resume: (id, how) => http.request('POST', `/api/v1/stops/${segment(id)}/resume`, { body: how }),
    },
    readiness: {
      get: () => http.request('GET', READINESS, { timeoutMs: LONG_MS }),
      text: (accept) => http.request('GET', READINESS, { headers: { accept }, timeoutMs: LONG_MS }),
      attest: (body) => http.request('POST', `${READINESS}/attestations`, { body }),
    },
    rollouts: rolloutsOf(http),
    breakers: {
      list: () => http.request('GET', '/api/v1/breakers'),
      close: (agent) => http.request('POST', `/api/v1/breakers/${segment(agent)}/close`, { repeatable: true }),
    },
    keys: {
      create: (key) => http.request('POST', '/api/v1/keys', { body: key }),
      list: (query) => http.request('GET', '/api/v1/keys', { query }),
      revoke: (id) => http.request('DELETE', `/api/v1/keys/${segment(id)}`, { repeatable: true }),
      rotate: (id, how = {}) => http.request('POST', `/api/v1/keys/${segment(id)}/rotate`, { body: how }),
    },
    session: { get: () => http.request('GET', '/api/v1/session') },
    accounts: {
      invite: (principal) => http.request('POST', `/api/v1/accounts/${segment(principal)}/invite`),
      close: (principal) => http.request('DELETE', `/api/v1/accounts/${segment(principal)}`, { repeatable: true }),
    },
    tokens: { create: (token) => http.request('POST', '/api/v1/tokens', { body: token, repeatable: true }) },
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
    edit: (id, what) => http.request('POST', at(id, '/edit'), { body: what }),
    requestChanges: (id, why) => http.request('POST', at(id, '/request-changes'), { body: why }),
  }
}

function channelsOf(http: Transport): Client['channels'] {
  const at = (name: string, rest = '') => `/api/v1/channels/${segment(name)}${rest}`
  return {
    list: () => http.request('GET', '/api/v1/channels'),
    get: (name) => http.request('GET', at(name)),
    put: (name, body) => http.request('PUT', at(name), { body, repeatable: true }),
    remove: (name) => http.request('DELETE', at(name)),
    // The receiver has ten seconds of its own; a mail server ten for each step.
    test: (name) => http.request('POST', at(name, '/test'), { timeoutMs: 60_000 }),
  }
}

function deliveriesOf(http: Transport): Client['deliveries'] {
  return {
    list: (query) => http.request('GET', '/api/v1/deliveries', { query }),
    get: (id) => http.request('GET', `/api/v1/deliveries/${segment(id)}`),
    retry: (id) => http.request('POST', `/api/v1/deliveries/${segment(id)}/retry`),
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
