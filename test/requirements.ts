/**
 * What Sallyport promises, by id, and which of it holds today with the proof of each.
 *
 * A test proves a promise by carrying its id in its title: test(`${proves('D3')} a denied job leaves no row`, …).
 * The title is the registry because it is the one thing that crosses vitest's processes as it is. At the end of a full
 * run `promises.reporter.ts` compares the tests that passed with LISTED and fails the run for what has no proof.
 */
export const PROMISES = {
  // The six layers
  L1: 'Execution bus: NATS with topics routed to subjects, bounded backpressure; in process when embedded',
  L2: 'Durable state of jobs, runs and attempts, with context and result pointers per job',
  L3: 'Scheduling: retries, timeouts, heartbeats, dead letters; nothing orphaned, no recorded effect run twice',
  L4: 'Policy is asked before a job is stored and again before it is dispatched; risky jobs wait for a person',
  L5: 'Every result is allowed, redacted or quarantined before anyone can read it',
  L6: 'An immutable timeline of action, decision, approver and outcome',
  // Decisions and policy
  D0: 'What an agent says about its job is a claim: leaving a label out never opens a door',
  D1: 'Four decisions: ALLOW, DENY, REQUIRE_APPROVAL, ALLOW_WITH_CONSTRAINTS',
  D2: 'YAML policy files matching on topic, labels, risk tags, environment, action type, capability and action',
  D3: 'A denial answers 403, is audited and stores no job; a wanted approval answers 202 pending_approval',
  D4: 'Approvals bind to policy snapshot and job hash; a change of either voids them',
  D5: 'Policies are validated, tested, diffed, activated and rolled back as content-addressed snapshots',
  D6: 'Conditions on arguments, amounts, time windows, data fields and agent confidence',
  D7: 'Rate and concurrency limits per rule, by agent, tenant or label',
  D8: 'Constraints are enforced; one that nobody can enforce is a denial',
  D9: 'Why and why not for every decision, the impact of a change beforehand, shadowed and conflicting rules',
  D10: 'Fail closed: no policy, a broken rule, a full queue or a lost store lets no job through',
  // Approvals and autonomy
  A1: 'Approval-first mode for all writes; high-risk kinds stay under approval',
  A2: "Approvals go to the owning department's lead",
  A3: 'Several levels, N of M, deadlines, escalation and delegation; a timeout never allows',
  A4: 'What you see is what you approve; nobody approves their own request',
  A5: 'Approve, reject, edit and approve, ask for changes; grants with a number of uses and an expiry',
  A6: 'Approvals by console, command line, e-mail, Slack, signed webhooks and PagerDuty',
  A7: 'Approval rate, latency and backlog are measured; automation is offered on evidence',
  A8: 'Progressive autonomy from shadow to autonomous, with promotion and demotion',
  A9: 'A circuit breaker disables an agent after repeated failures and tells its owner',
  A10: 'A kill switch by tenant, agent and topic that also stops work in flight; resuming takes two people',
  A11: 'Bounded workflows: start and end, a subset of the data, one workflow at a time',
  // Security
  S1: 'A principal of its own for every agent, worker and person; scoped keys, least privilege',
  S2: 'Keys rotate with overlap and no downtime, with reminders, logged',
  S3: 'Credentials are brokered to a worker for one lease and never travel in payloads',
  S4: 'An outbound network allowlist enforced per job',
  S5: 'Input is validated against a schema per topic, with limits of size and depth',
  S6: 'Prompt-injection signals in inputs and outputs; alerts on unusual denial and quarantine rates',
  S7: 'Sign-on for people, with roles; department leads see the audit of their agents',
  S8: 'TLS, security headers, limits at the edge, payloads encrypted at rest',
  // Reliability
  R1: 'Transient failures are retried with backoff and jitter, terminal ones are not',
  R2: 'A timeout budget per job class, for the attempt and for the queue',
  R3: 'Dead letters have an owner, a response time and a replay',
  R4: "A lost worker's job is queued again or parked, never undefined",
  R5: 'No side effect twice; an outcome that nobody knows is parked as ambiguous',
  R6: 'Idempotency keys on submission',
  R7: 'Compensation: registered undoing actions pass the same gates',
  R8: 'Load is shed with clear errors; circuit breakers toward outside systems',
  R9: 'Backup, restore and disaster drills with measured times',
  // Rollout, gates, drills
  G1: 'Phases from 0 to 100 % with risk filters, minimum durations and sticky assignment',
  G2: 'Gates on success rate, latency, approval queue, bypass, drills and reviews; a failing gate blocks',
  G3: 'An evidence object per gate, with counts, window, audit head and signature',
  G4: 'Automatic rollback on the trigger matrix',
  G5: 'Phase 0 replays recorded and synthetic scenarios without side effects',
  G6: 'Drills are objects with schedule, result and expiry',
  G7: 'Missing data or an inconclusive result never promotes',
  G8: 'The gate check and deployment drill scripts run as published',
  G9: 'A readiness report from live facts that passes or blocks',
  G10: 'Named owners and stakeholder communication in gates and rollbacks',
  // Observability and cost
  O1: 'Prometheus metrics, dashboards, alert rules, traces and structured logs',
  O2: 'Success rate, latency, decision mix, approval depth, errors by tool, time to completion',
  O3: 'Cost and token budgets per workflow, agent and tenant: reserved, settled, enforced',
  O4: 'A response cache for models, smaller models for routine work, cost anomalies',
  O5: 'Alerts to e-mail, Slack and PagerDuty; baselines and drift budgets',
  O6: 'Success metrics on a dashboard and in the readiness report',
  // Compliance
  C1: 'Tamper evidence anyone can check offline: signed heads and proofs; truncation and forks are found',
  C2: 'Retention, legal hold and export to SIEM formats and CSV',
  C3: 'A timeline per run from trigger to resolution that can be queried',
  C4: 'Reports mapped to SOC 2, ISO 27001, NIST AI RMF, GDPR and HIPAA from the live record',
  C5: 'Policy changes are reviewed, tagged and attributed',
  // Agents, workflows and where people meet it
  W1: 'Worker pools, horizontal scale, stateless nodes',
  W2: 'Orchestrated workflows of several agents: steps, dependencies, approvals, budgets',
  W3: 'TypeScript SDK, OpenAPI for everyone else, adapters for agent frameworks, an MCP gateway',
  W4: 'A web console for approvals, jobs, policies, audit and the rest',
  W5: 'A command line for everything an operator does',
  W6: 'Hosting recipes from a VM to Kubernetes, with canary and blue-green deployments',
  W7: 'Guides and runbooks: stop, isolate, replay, communicate',
} as const satisfies Record<string, string>

export type PromiseId = keyof typeof PROMISES

/** `test`: path of a test file that holds a passing test tagged with the id. `drill`, `command`: what a person runs. */
export interface Proof {
  kind: 'test' | 'drill' | 'command'
  name: string
}

export type Listing = Partial<Record<PromiseId, Proof[]>>

const tests = (...names: string[]): Proof[] => names.map((name) => ({ kind: 'test', name }))

/** The promises that hold today. Every entry has at least one `test`: a run can see only those pass. */
export const LISTED: Listing = {
  L1: tests('test/conformance/bus-nats.test.ts', 'test/conformance/events.test.ts', 'test/e2e/subscriber.test.ts'),
  L2: tests(
    'src/journey/submit.test.ts',
    'src/journey/settle.test.ts',
    'test/conformance/db-nodes.test.ts',
    'test/drills/faults.test.ts',
  ),
  L3: tests(
    'src/journey/settle.test.ts',
    'src/journey/effect.test.ts',
    'src/journey/pairs.test.ts',
    'src/loops/dispatcher.test.ts',
    'test/drills/faults.test.ts',
    'test/sim/seeds-1.test.ts',
  ),
  L4: tests('src/journey/doors.test.ts', 'src/journey/submit.test.ts', 'src/journey/dispatch.test.ts'),
  L5: tests('src/journey/settle.test.ts', 'src/journey/release.test.ts'),
  L6: tests('src/journey/submit.test.ts', 'test/sim/seeds-1.test.ts'),
  D0: tests('src/core/policy/evaluate.property.test.ts', 'src/core/policy/example.test.ts'),
  D1: tests('src/core/policy/golden.test.ts', 'src/journey/submit.test.ts'),
  D2: tests('src/core/policy/golden.test.ts'),
  D3: tests('src/journey/submit.test.ts', 'test/e2e/deployment-drill.test.ts'),
  D4: tests('src/journey/approve.test.ts'),
  D5: [
    ...tests('src/store/policies.test.ts'),
    { kind: 'command', name: 'sallyport policy check|test|diff|push|activate' },
  ],
  D6: tests('src/core/policy/worked.test.ts', 'src/core/calendar.test.ts', 'test/autonomy.test.ts'),
  D7: tests('src/journey/submit.test.ts', 'src/journey/dispatch.test.ts', 'test/drills/nodes.test.ts'),
  D8: tests('src/journey/dispatch.test.ts', 'src/journey/settle.test.ts'),
  D9: tests('src/core/policy/evaluate.test.ts', 'test/change-control.test.ts', 'src/journey/explain.test.ts'),
  D10: tests('src/journey/submit.test.ts', 'src/journey/dispatch.test.ts', 'src/store/ledger/queue.test.ts'),
  A1: tests('src/core/autonomy.test.ts', 'src/journey/promote.test.ts'),
  A2: tests('test/e2e/deployment-drill.test.ts', 'src/journey/flows.test.ts'),
  A3: tests('src/journey/flows.test.ts', 'src/journey/pairs.test.ts', 'src/journey/deliver.test.ts'),
  A4: tests('src/journey/approve.test.ts'),
  A5: tests('src/journey/flows.test.ts', 'src/journey/grants.test.ts'),
  A6: tests(
    'src/journey/links.test.ts',
    'src/journey/chat.test.ts',
    'test/channels.test.ts',
    'test/chat.test.ts',
    'test/drills/channels.test.ts',
    'test/drills/chat.test.ts',
  ),
  A7: tests('src/journey/promote.test.ts'),
  A8: tests('src/core/autonomy.test.ts', 'test/autonomy.test.ts', 'src/journey/rebind.test.ts'),
  A9: tests('src/journey/break.test.ts'),
  A10: tests('src/journey/stop.test.ts', 'test/drills/stop.test.ts', 'test/hostile/tokens.test.ts'),
  A11: tests('src/journey/workflows.test.ts'),
  S1: tests('test/directory.test.ts', 'src/journey/keys.test.ts', 'test/hostile/keys.test.ts'),
  S2: tests('src/journey/keys.test.ts', 'src/journey/reminders.test.ts'),
  S3: tests('src/journey/tokens.test.ts', 'test/hostile/tokens.test.ts'),
  S7: tests('test/sign-on.test.ts', 'test/hostile/sign-on.test.ts', 'test/directory.test.ts'),
  R1: tests('src/journey/settle.test.ts'),
  R2: tests('src/journey/dispatch.test.ts', 'src/journey/settle.test.ts'),
  R3: tests('src/journey/replay.test.ts', 'src/journey/sweep.test.ts'),
  R4: tests('src/journey/settle.test.ts', 'src/journey/pairs.test.ts'),
  R5: tests('src/journey/effect.test.ts', 'src/journey/pairs.test.ts', 'test/sim/seeds-1.test.ts'),
  R6: tests('src/journey/submit.test.ts'),
  R7: tests('src/journey/take-back.test.ts', 'test/rollback.test.ts'),
  R8: tests('test/drills/overload.test.ts', 'test/drills/faults-halfopen.test.ts', 'src/store/ledger/late.test.ts'),
  R9: tests('src/journey/drills.test.ts', 'test/drills/drills.test.ts'),
  G1: tests('src/journey/rollouts.test.ts', 'test/rollouts.test.ts', 'test/rollout-story.test.ts'),
  G2: tests('src/journey/readings.test.ts', 'test/rollout-story.test.ts'),
  G3: tests('src/journey/gate.test.ts', 'src/journey/readings.test.ts', 'test/e2e/gate-evidence.test.ts'),
  G4: tests(
    'src/journey/gate.test.ts',
    'src/journey/rollouts.test.ts',
    'src/journey/readings.test.ts',
    'src/journey/take-back.test.ts',
    'test/rollback.test.ts',
    'test/rollout-story.test.ts',
  ),
  G5: tests('src/core/scenario/run.test.ts', 'src/journey/replays.test.ts'),
  G6: tests(
    'src/core/drill.test.ts',
    'src/core/drill-proof.test.ts',
    'src/journey/drills.test.ts',
    'test/drills/drills.test.ts',
  ),
  G7: tests('src/journey/gate.test.ts', 'src/journey/readings.test.ts', 'test/rollout-story.test.ts'),
  G8: tests('test/e2e/gate-check.test.ts', 'test/e2e/deployment-drill.test.ts'),
  G9: tests('src/core/readiness.test.ts', 'src/journey/ready.test.ts', 'test/readiness.test.ts'),
  G10: tests('src/journey/take-back.test.ts', 'test/rollback.test.ts'),
  O1: tests('src/http/routes/metrics.test.ts'),
  O2: tests('src/journey/measure.test.ts', 'src/core/postmortem.test.ts', 'test/e2e/cli.test.ts'),
  O5: tests('test/channels.test.ts', 'src/journey/chat.test.ts', 'test/chat.test.ts'),
  C1: tests('test/e2e/cli.test.ts', 'test/sim/seeds-1.test.ts'),
  C3: tests('test/e2e/cli.test.ts'),
  C5: tests('test/change-control.test.ts', 'src/journey/change.test.ts'),
  W1: tests('test/drills/nodes.test.ts', 'test/drills/nodes-rolling.test.ts'),
  W5: tests('test/e2e/cli.test.ts', 'test/drills/drills.test.ts'),
  W7: tests('test/e2e/runbooks.test.ts'),
}

/** Of a listed promise: what does not hold yet. */
export const NOT_YET: Partial<Record<PromiseId, string>> = {
  L2: 'the embedded store survives a crash, not a power cut',
  R8: 'circuit breakers toward outside systems',
  A6: 'the console',
  G5: 'a rollout, from end to end, whose first phase asks for it',
  S3: 'credentials of outside systems brokered to a worker',
  O5: 'baselines and drift budgets',
  O1: 'dashboards, alert rules, traces',
  C1: 'a witness outside; forks are found by whoever keeps heads',
  W5: 'what later parts of the product add',
  W7: 'guides of workflow redesign, readiness and a reference architecture',
}

/** The tag of these promises, for the title of the test that proves them: `[D3 L4]`. */
export function proves(...ids: [PromiseId, ...PromiseId[]]): string {
  return `[${ids.join(' ')}]`
}

/** One finished test: path of its file from the root, its full title and whether it passed. */
export interface Outcome {
  file: string
  title: string
  passed: boolean
}

export interface Account {
  /** Listed promises without proof, one sentence each: the run fails. */
  unproven: string[]
  /** Promises a passing test proves though LISTED does not name them yet. */
  unlisted: PromiseId[]
  /** Promises without an entry in LISTED. */
  open: PromiseId[]
}

export function isPromise(id: string): id is PromiseId {
  return Object.hasOwn(PROMISES, id)
}

/** The promise ids in a title; a tag is brackets around nothing but known ids, so `[object Object]` is none. */
export function tagsOf(title: string): PromiseId[] {
  const tags: PromiseId[] = []
  for (const [, inner = ''] of title.matchAll(/\[([A-Z0-9 ]+)\]/g)) {
    const ids = inner.split(' ')
    if (ids.every(isPromise)) tags.push(...ids)
  }
  return tags
}

/** Holds what is listed against what a full run showed. A skipped or failed test proves nothing. */
export function account(listed: Listing, outcomes: Outcome[]): Account {
  const proved = new Map<PromiseId, Set<string>>()
  for (const { file, title, passed } of outcomes) {
    if (!passed) continue
    for (const id of tagsOf(title)) proved.set(id, (proved.get(id) ?? new Set()).add(file))
  }

  const unproven: string[] = []
  for (const [id, proofs] of Object.entries(listed) as [PromiseId, Proof[]][]) {
    const tests = proofs.filter(({ kind }) => kind === 'test')
    if (tests.length === 0) unproven.push(`${id} is listed without a test`)
    for (const { name } of tests) {
      if (!proved.get(id)?.has(name)) unproven.push(`${id} has no passing test in ${name}`)
    }
  }
  const ids = Object.keys(PROMISES) as PromiseId[]
  const open = ids.filter((id) => listed[id] === undefined)
  return { unproven, unlisted: open.filter((id) => proved.has(id)), open }
}
