import { describe, expect, test } from 'vitest'
import { proves } from '../../test/requirements.js'
import type { DrillName } from './drill.js'
import { DRILL_NAMES } from './drill.js'
import type { Attestation, DrillFacts, Facts, RolloutFacts, SubmitterFact, TopicFacts } from './readiness/facts.js'
import type { ReadyState } from './readiness/finding.js'
import { credentialsOf, type DoorLease, dispatchDoor, egressOf } from './readiness/observe.js'
import { CONTROL_IDS, ITEM_IDS, readiness } from './readiness.js'

const DAY = 86_400_000
const AT = 1_795_000_000_000
const drill = (more: object = {}) => ({ passed: true, at: AT - DAY, valid_until: AT + DAY, drill_id: 'drl_1', ...more })
const drills = (change: Partial<DrillFacts> = {}): DrillFacts =>
  ({ ...Object.fromEntries(DRILL_NAMES.map((name) => [name, drill()])), ...change }) as DrillFacts
const NO_WRONG = { sampled: 9, newest_at: AT - 1, wrong: [] }
const WRONG = { ...NO_WRONG, wrong: [{ id: 'x_1', why: 'no decision' }] }
const NONE = { sampled: 0, newest_at: null, wrong: [] }

const agent = (principal: string, more: Partial<SubmitterFact> = {}): SubmitterFact => ({
  principal,
  kind: 'agent',
  role: 'agent',
  keys: 1,
  agents: [principal],
  scoped: true,
  ...more,
})
const topic = (name: string, more: Partial<TopicFacts> = {}): TopicFacts => ({
  topic: name,
  jobs: 3,
  timeout: { pattern: name, ms: 1000 },
  schema: true,
  owner: 'team:desk',
  respond_within_ms: 1000,
  ...more,
})
const TOPICS = [topic('job.a'), topic('job.b')]
const ROLLOUT: RolloutFacts = {
  rollout_id: 'rol_1',
  name: 'bot-2',
  status: 'running',
  declared_at: AT - DAY,
  since: AT - DAY,
  phase: 1,
  phases: 5,
  overridden: false,
  promoted: 1,
  metrics: ['success_rate_pct', 'p95_latency_ms', 'approval_queue_median_sec', 'unapproved_high_risk_actions'],
  triggers: ['error_rate', 'p95_latency', 'policy_bypass', 'unapproved_high_risk'],
  owners: { reliability: 'sre', governance: 'gov', cost: 'finops' },
  stakeholders: ['team:desk'],
}

/** An installation that shows everything. */
const READY: Facts = {
  tenant: 't',
  policy: {
    snapshot: 'a'.repeat(64),
    activated_at: AT - DAY,
    rules: 12,
    asking: 5,
    default_decision: 'DENY',
    warnings: [],
    egress: { rules: ['calls'], open: [] },
    output_rules: 1,
    letting: [],
  },
  drills: drills(),
  submits: NO_WRONG,
  dispatches: NO_WRONG,
  risks: { value: 0, unknown: null, samples: 40, window_ms: DAY, at: AT },
  approvals: { ...NO_WRONG, answered: 4, approvers: 2 },
  record: {
    ...NO_WRONG,
    unreadable: 0,
    newest_run: 'run_1',
    results: 4,
    pointed: 4,
    head: { size: 99, at: AT - 1 },
    waiting_since: AT - 900,
  },
  credentials: {
    submitting: [agent('agent:a'), agent('agent:b')],
    keys: 6,
    overdue: [],
    oldest_at: AT - DAY,
    rotated: 1,
    rotated_at: AT - DAY,
  },
  topics: TOPICS,
  egress: { leases: 9, unbound: [], unlisted: [], newest_at: AT - 1 },
  output: { sampled: 9, ALLOW: 7, REDACT: 1, QUARANTINE: 1, wrong: [], newest_at: AT - 1 },
  failures: { leases: 40, transient: 2, terminal: 1, lost: 1, newest_at: AT - 1 },
  deadLetters: { open: 1, overdue: 0, more: false },
  watchdog: { live: 2, stale: [], in_doubt: 0 },
  rollouts: [ROLLOUT],
  costs: { sampled: 9, told: 9, cost: 1.5 },
  store: { engine: 'postgres', fsync: 'on', synchronous_commit: 'on' },
  people: { teams: ['desk'], on_call: ['desk'] },
  rollbackChannels: ['ops'],
}

const word = (subject: string, more: Partial<Attestation> = {}): Attestation => ({
  tenant: 't',
  attestation_id: 'att_1',
  subject,
  attested_by: 'person:olga',
  key_id: 'key_1',
  note: 'read it',
  link: 'https://wiki.example.com/x',
  at: AT - DAY,
  expires_at: AT + DAY,
  ...more,
})
/** Whatever no row ever shows. */
const WORDS = [word('cost_budgets'), word('on_call_runbook')]

const judge = (change: Partial<Facts> = {}, words: readonly Attestation[] = WORDS) =>
  readiness({ ...READY, ...change }, words, AT)
const of = (report: ReturnType<typeof judge>, id: string) => {
  const found = [...report.controls, ...report.items].find((entry) => entry.id === id)
  if (found === undefined) throw new Error(`there is no ${id}`)
  return found
}
const policy = (more: object) => ({ policy: { ...READY.policy, ...more } as Facts['policy'] })
const credentials = (more: object) => ({ credentials: { ...READY.credentials, ...more } })
const only = (name: DrillName, to: object | null) => ({ drills: drills({ [name]: to === null ? null : drill(to) }) })
const rollout = (more: Partial<RolloutFacts>) => ({ rollouts: [{ ...ROLLOUT, ...more }] })
const [EXPIRED, FAILED] = [{ valid_until: AT }, { passed: false }]

/** What changes one fact, and what that makes of the control or item. `word`: with nobody's word for anything. */
const TABLE: [string, ReadyState, Partial<Facts>, 'wordless'?][] = [
  ['submit_check', 'block', { submits: WRONG }],
  ['submit_check', 'block', { policy: null }],
  ['submit_check', 'block', only('deny', FAILED)],
  ['submit_check', 'unknown', { submits: NONE }],
  ['submit_check', 'unknown', only('deny', EXPIRED)],
  ['submit_check', 'unknown', only('deny', null)],
  ['dispatch_check', 'block', { dispatches: WRONG }],
  ['dispatch_check', 'unknown', { dispatches: NONE }],
  ['dispatch_check', 'unknown', only('deny', EXPIRED)],
  ['approval_routing', 'block', { risks: { ...READY.risks, value: 1 } }],
  [
    'approval_routing',
    'block',
    policy({ warnings: [{ code: 'high_risk_allowed', at: 'rule:x', message: 'permits it' }] }),
  ],
  ['approval_routing', 'block', policy({ warnings: [{ code: 'open_default', at: '', message: 'open' }] })],
  ['approval_routing', 'block', { approvals: { ...READY.approvals, approvers: 0 } }],
  ['approval_routing', 'unknown', { risks: { ...READY.risks, value: null, unknown: 'no lease' } }],
  ['approval_routing', 'unknown', policy({ asking: 0 })],
  ['approval_routing', 'pass', policy({ warnings: [{ code: 'redundant_rule', at: 'rule:x', message: 'twice' }] })],
  ['approval_binding', 'block', { approvals: { ...READY.approvals, ...WRONG } }],
  ['approval_binding', 'block', only('approval', FAILED)],
  ['approval_binding', 'unknown', { approvals: { ...READY.approvals, ...NONE } }],
  ['approval_binding', 'unknown', only('approval', null)],
  ['decision_timeline', 'block', { record: { ...READY.record, ...WRONG } }],
  ['decision_timeline', 'block', { record: { ...READY.record, waiting_since: AT - 61_000 } }],
  ['decision_timeline', 'unknown', { record: { ...READY.record, ...NONE } }],
  ['decision_timeline', 'unknown', { record: { ...READY.record, unreadable: 1 } }],
  ['decision_timeline', 'unknown', { record: { ...READY.record, head: null } }],
  [
    'agent_identity',
    'block',
    credentials({ submitting: [agent('service:router', { kind: 'service', agents: ['agent:a', 'agent:b'] })] }),
  ],
  [
    'agent_identity',
    'block',
    credentials({ submitting: [agent('person:ann', { kind: 'person', agents: ['agent:a'] })] }),
  ],
  ['agent_identity', 'unknown', credentials({ submitting: [] })],
  ['key_rotation', 'block', credentials({ overdue: ['key_1 of agent:a'] })],
  ['key_rotation', 'unknown', credentials({ rotated: 0, rotated_at: null })],
  ['egress_allowlist', 'block', policy({ egress: { rules: ['calls'], open: ['calls'] } })],
  ['egress_allowlist', 'block', { egress: { ...READY.egress, unbound: [{ id: 'lease_1', why: 'job.x' }] } }],
  ['egress_allowlist', 'block', { policy: null }],
  ['egress_allowlist', 'unknown', { egress: { ...READY.egress, unlisted: ['job.x'] } }],
  ['input_schemas', 'block', { topics: [topic('job.a', { schema: false })] }],
  ['input_schemas', 'unknown', { topics: [] }],
  ['output_safety', 'block', { output: { ...READY.output, wrong: [{ id: 'job_1', why: 'succeeded' }] } }],
  ['output_safety', 'block', policy({ letting: ['all secret'] })],
  ['output_safety', 'unknown', { output: { ...READY.output, sampled: 0 } }],
  ['retry_classes', 'block', { failures: { ...READY.failures, transient: 20, terminal: 0 } }],
  ['retry_classes', 'unknown', { failures: { ...READY.failures, terminal: 0 } }],
  ['timeout_budgets', 'block', { topics: [topic('job.a', { timeout: null })] }],
  ['timeout_budgets', 'block', { topics: TOPICS.map((each) => ({ ...each, timeout: { pattern: 'job.>', ms: 1 } })) }],
  ['timeout_budgets', 'pass', { topics: [topic('job.a', { timeout: { pattern: 'job.>', ms: 1 } })] }],
  ['timeout_budgets', 'unknown', { topics: [] }],
  ['dead_letter_owners', 'block', { topics: [topic('job.a', { owner: null })] }],
  ['dead_letter_owners', 'block', { topics: [topic('job.a', { respond_within_ms: null })] }],
  ['dead_letter_owners', 'block', { topics: [topic('job.a', { owner: 'team:gone' })] }],
  ['dead_letter_owners', 'block', { deadLetters: { open: 1, overdue: 1, more: false } }],
  ['dead_letter_owners', 'unknown', { topics: [] }],
  ['heartbeat_watchdog', 'block', { watchdog: { ...READY.watchdog, stale: ['lease_1'] } }],
  ['heartbeat_watchdog', 'block', only('worker-crash', FAILED)],
  ['heartbeat_watchdog', 'pass', only('worker-crash', EXPIRED)],
  ['heartbeat_watchdog', 'unknown', { ...only('worker-crash', EXPIRED), failures: { ...READY.failures, lost: 0 } }],
  ['idempotent_effects', 'block', only('worker-crash', FAILED)],
  ['idempotent_effects', 'unknown', only('worker-crash', null)],
  ['idempotent_effects', 'unknown', { watchdog: { ...READY.watchdog, in_doubt: 1 } }],
  ['canary_gates', 'block', rollout({ overridden: true })],
  ['canary_gates', 'unknown', { rollouts: [] }],
  ['canary_gates', 'unknown', rollout({ status: 'draft' })],
  ['canary_gates', 'pass', rollout({ status: 'rolled_back' })],
  ['trigger_matrix', 'block', rollout({ triggers: ['error_rate', 'p95_latency', 'policy_bypass'] })],
  ['trigger_matrix', 'block', only('rollback', FAILED)],
  ['trigger_matrix', 'unknown', { rollouts: [] }],
  ['cost_budgets', 'unknown', {}, 'wordless'],
  ['cost_budgets', 'pass', {}],
  ['on_call_runbook', 'unknown', {}, 'wordless'],
  ['on_call_runbook', 'block', only('stop', FAILED)],
  ['on_call_runbook', 'pass', {}],
  ['incident_replay', 'block', only('incident-replay', FAILED)],
  ['incident_replay', 'unknown', only('incident-replay', EXPIRED)],
  ['both_doors', 'block', { dispatches: WRONG }],
  ['both_doors', 'unknown', { submits: NONE }],
  ['approvals_bound', 'block', { approvals: { ...READY.approvals, ...WRONG } }],
  ['approvals_bound', 'unknown', only('approval', null)],
  ['run_state', 'block', { store: { engine: 'postgres', fsync: 'off', synchronous_commit: 'on' } }],
  ['run_state', 'block', { record: { ...READY.record, pointed: 3 } }],
  ['run_state', 'block', only('restore', FAILED)],
  ['run_state', 'unknown', { store: { engine: 'pglite', fsync: null, synchronous_commit: null } }],
  ['retries_tried', 'block', only('worker-crash', FAILED)],
  ['retries_tried', 'unknown', only('worker-crash', EXPIRED)],
  ['output_visible', 'block', { record: { ...READY.record, ...WRONG } }],
  ['output_visible', 'unknown', { output: { ...READY.output, sampled: 0 } }],
  ['dead_letters_owned', 'block', { deadLetters: { open: 1, overdue: 1, more: false } }],
  ['dead_letters_owned', 'unknown', { topics: [] }],
  ['credentials_scoped', 'block', credentials({ submitting: [agent('agent:a', { scoped: false })] })],
  ['credentials_scoped', 'unknown', credentials({ rotated: 0 })],
  ['gates_automatic', 'block', rollout({ metrics: ['success_rate_pct', 'p95_latency_ms', 'deny_ratio'] })],
  ['gates_automatic', 'unknown', { rollouts: [] }],
  ['rollback_told', 'block', { rollbackChannels: [] }],
  ['rollback_told', 'block', rollout({ stakeholders: [] })],
  ['rollback_told', 'unknown', only('rollback', EXPIRED)],
  ['on_call_answers', 'block', { record: { ...READY.record, ...WRONG } }],
  ['on_call_answers', 'unknown', { people: { teams: ['desk'], on_call: [] } }],
]

describe(`${proves('G9')} the readiness report`, () => {
  test('is ready where every fact is there, and names 20 controls and ten items', () => {
    const report = judge()
    expect(report.blocked_by).toEqual([])
    expect([report.ready, report.controls.length, report.items.length]).toEqual([true, 20, 10])
    expect([...report.controls, ...report.items].filter(({ state }) => state !== 'pass')).toEqual([])
    for (const entry of [...report.controls, ...report.items]) {
      expect(entry.reason, entry.id).not.toBe('')
      expect(entry.link, entry.id).toMatch(/^(\/|docs\/|https:)/)
      expect(entry.owner, entry.id).not.toBeNull()
    }
  })

  test.each(TABLE)('%s is %s', (id, state, change, wordless) => {
    const entry = of(judge(change, wordless ? [] : WORDS), id)
    expect({ state: entry.state, reason: entry.reason }).toEqual({ state, reason: entry.reason })
  })

  test('the table shows each control and item in all three states', () => {
    // What passes in READY need not be listed; what never can be wrong by itself is said here.
    const NEVER_WRONG = ['cost_budgets']
    for (const id of [...CONTROL_IDS, ...ITEM_IDS]) {
      const states = new Set(TABLE.filter(([each]) => each === id).map(([, state]) => state))
      expect(states.has('unknown'), `${id} unknown`).toBe(true)
      expect(states.has('block') || NEVER_WRONG.includes(id), `${id} block`).toBe(true)
    }
  })

  test('the launch-blocking set is 1 to 6, 10, 13, 16, 17 and all ten items', () => {
    const { controls, items } = judge()
    const numbers = controls.filter(({ blocks_launch }) => blocks_launch).map(({ number }) => number)
    expect(numbers).toEqual([1, 2, 3, 4, 5, 6, 10, 13, 16, 17])
    expect(items.every(({ blocks_launch }) => blocks_launch)).toBe(true)
  })

  test.each(TABLE.filter(([, state]) => state !== 'pass'))(
    '%s at %s: ready only where it holds up no launch',
    (id, _state, change, wordless) => {
      const report = judge(change, wordless ? [] : WORDS)
      const entry = of(report, id)
      expect(report.blocked_by.includes(id)).toBe(entry.blocks_launch)
      if (entry.blocks_launch) expect(report.ready).toBe(false)
      const held = [...report.controls, ...report.items].some((each) => each.blocks_launch && each.state !== 'pass')
      expect(report.ready).toBe(!held)
    },
  )

  test('control 18 alone, which no item repeats, does not hold a launch up', () => {
    const report = judge({}, [word('on_call_runbook')])
    expect([of(report, 'cost_budgets').state, report.ready]).toEqual(['unknown', true])
  })
})

describe('a person’s word', () => {
  const embedded: Partial<Facts> = { store: { engine: 'pglite', fsync: null, synchronous_commit: null } }

  test('fills what no row shows, is named, and counts until it expires', () => {
    const with_ = (more: Partial<Attestation>) => of(judge({}, [word('cost_budgets', more)]), 'cost_budgets')
    const entry = with_({})
    expect([entry.state, entry.owner, entry.expires_at, entry.attestation?.counts]).toEqual([
      'pass',
      'person:olga',
      AT + DAY,
      true,
    ])
    expect(entry.reason).toContain('person:olga attests it')
    expect([with_({ expires_at: AT }).state, with_({ expires_at: AT }).attestation?.counts]).toEqual(['unknown', false])
  })

  test('takes two people where a launch waits for it, and lasts as long as both', () => {
    const with_ = (...words: Attestation[]) => of(judge(embedded, [...WORDS, ...words]), 'run_state')
    const alone = with_(word('run_state'))
    expect([alone.state, alone.attestation?.counts]).toEqual(['unknown', false])
    expect(alone.reason).toContain('one person more has to')
    const other = { attested_by: 'person:ben', attestation_id: 'att_2', at: AT - 1, expires_at: AT + 9 }
    const both = with_(word('run_state'), word('run_state', other))
    expect([both.state, both.owner, both.expires_at, both.attestation?.counts]).toEqual([
      'pass',
      'person:ben',
      AT + 9,
      true,
    ])
    expect(with_(word('run_state'), word('run_state', { ...other, expires_at: AT })).state).toBe('unknown')
  })

  test('never stands against a fact, nor where none is asked for', () => {
    const words = [...WORDS, word('run_state'), word('submit_check'), word('key_rotation')]
    expect(of(judge({ ...embedded, ...only('restore', FAILED) }, words), 'run_state').state).toBe('block')
    expect(of(judge(credentials({ overdue: ['key_1'] }), words), 'key_rotation').state).toBe('block')
    expect(of(judge({ submits: NONE }, words), 'submit_check').state).toBe('unknown')
  })

  test('counts for the item that is made of the control as well', () => {
    const never = credentials({ rotated: 0, rotated_at: null })
    expect(of(judge(never), 'credentials_scoped').state).toBe('unknown')
    const words = ['person:olga', 'person:ben'].map((attested_by) => word('key_rotation', { attested_by }))
    expect(of(judge(never, [...WORDS, ...words]), 'credentials_scoped').state).toBe('pass')
  })

  test('fills only its own part of an entry', () => {
    const report = judge({ people: { teams: ['desk'], on_call: [] }, ...only('incident-replay', null) }, [
      ...WORDS,
      word('on_call_answers'),
      word('on_call_answers', { attested_by: 'person:ben' }),
    ])
    expect(of(report, 'on_call_answers').state).toBe('unknown')
  })
})

test('owner and date are of the fact that decided: who runs the drill, else whom the rollout names', () => {
  const report = judge({ drills: drills({ 'incident-replay': drill({ owner: 'team:sre' }) }) })
  expect(of(report, 'incident_replay').owner).toBe('team:sre')
  expect(of(report, 'incident_replay').at).toBe(AT - DAY)
  expect(of(report, 'agent_identity').owner).toBe('gov')
  expect(of(report, 'heartbeat_watchdog').owner).toBe('sre')
  expect(of(judge({ rollouts: [] }), 'agent_identity').owner).toBeNull()
})

describe('what rows are taken for', () => {
  const LEASE: DoorLease = {
    ...{ lease_id: 'l', granted_at: 5, topic: 'job.do', decision: 'ALLOW', snapshot: 'new', hosts: false },
    ...{ outcome: null, error_class: null, rollout_id: null, candidate: null, risk_tags: ['egress'] },
  }

  test('what the plane asks for in its own name is no credential of two agents', () => {
    const asked = (requested_by: string) =>
      ['agent:a', 'agent:b'].map((name) => ({
        ...{ job_id: 'j', agent: name, requested_by, topic: 'job.undo', created_at: 1, decision: 'ALLOW' },
        ...{ snapshot: 's', decided_at: 1 },
      }))
    const of = (name: string) =>
      credentialsOf([], asked(name), new Map(), { rotated: 1, rotated_at: AT }, AT).submitting.map((s) => s.principal)
    expect([of('system:rollouts'), of('service:router')]).toEqual([[], ['service:router']])
  })

  test('another snapshot than the active one decides what a policy rollout has as its candidate, and nothing else', () => {
    const of = (more: Partial<DoorLease>) => dispatchDoor([{ ...LEASE, ...more }], new Map([['old', 1]])).wrong.length
    expect(of({ rollout_id: 'rol', candidate: 'new' })).toBe(0)
    expect(of({ rollout_id: 'rol', candidate: 'other' })).toBe(1)
    expect(of({ rollout_id: 'rol', candidate: null })).toBe(1)
    expect(of({ rollout_id: 'rol', snapshot: 'old' })).toBe(0)
  })

  test('how far back the newest go is said: what lies before them was not looked at', () => {
    const leases = [61_000, 1_000].map((granted_at) => ({ ...LEASE, granted_at, snapshot: 'old' }))
    const dispatches = dispatchDoor(leases, new Map([['old', 1]]))
    expect(of(judge({ dispatches }), 'dispatch_check').findings[1]?.reason).toContain('2 newest leases, of 60 s, hold')
  })

  test('only the topic of drills is left out, and none that is called like it', () => {
    const of = (name: string) => egressOf([{ ...LEASE, topic: name }]).unbound.length
    expect([of('job.drill.effect'), of('job.drill.payments'), of('job.drill.effect.more')]).toEqual([0, 1, 1])
  })
})
