import { describe, expect, test } from 'vitest'
import type { Assignment, Rollout } from '../contract/rollouts.js'
import { declarationOf, warningsOf } from './rollout-files.js'
import { assignmentText, bar, documentText, rolloutTable, rolloutText } from './rollout-text.js'
import { colorsFor, type Terminal } from './terminal.js'

const terminal = { color: colorsFor({ isTTY: false, write: () => {} }, {}), width: null } as Terminal
const DAY = 86_400_000
const phase = (name: string, share_bp: number) => ({
  ...{ name, share_bp, risk: 'mixed', min_duration_ms: 3 * DAY, reviewers: null, gate: {} },
})

function rollout(given: object = {}): Rollout {
  const subject = { kind: 'agent', name: 'agent:bot', candidate: '2', stable: '1' }
  return {
    rollout_id: 'rol_1',
    rollout: 'bot-2',
    subject,
    status: 'running',
    share: 25,
    phase: { n: 1, of: 3, name: 'quarter', risk: 'mixed', began_at: 1, served_ms: DAY, left_ms: 2 * DAY },
    declaration: 'd',
    declared_by: 'person:ann',
    declared_at: 0,
    started_at: 0,
    steps: [
      {
        ...{ phase: 0, at: 1, by: 'person:ben', how: 'evidence', evidence_hash: '7d3c1f0a94b2' },
        ...{ asked_by: null, reason: null },
      },
    ],
    request: null,
    overridden: false,
    ended_at: null,
    ended_reason: null,
    document: {
      ...{ rollout: 'bot-2', subject, routing: 'run', rest: 'stable', on_rollback: 'drain', promotion: 'manual' },
      owners: { reliability: 'sre', governance: 'gov', cost: 'fin' },
      ...{ stakeholders: ['team:support'], phases: [phase('canary', 5), phase('quarter', 2500), phase('all', 10_000)] },
      triggers: [],
    },
    ...given,
  } as Rollout
}

/** The drawing of `rollouts show`. */
const drawn = (given: object = {}) => rolloutText(rollout(given), terminal).split('\n\n')[1]

describe('rollouts show', () => {
  test('draws the phases: what was left and how, where it is and how long yet, what comes', () => {
    expect(drawn()).toBe(
      [
        '   PHASE    SHARE                         RISK   LASTS',
        '✓  canary   █···················  0.05 %  mixed  3 d    on evidence 7d3c1f0a by person:ben',
        '▶  quarter  █████···············    25 %  mixed  3 d    2 d left',
        '   all      ████████████████████   100 %  mixed  3 d',
      ].join('\n'),
    )
  })

  test('says of an override who and why, of a pause that it is one, of a rollback where', () => {
    const step = { ...rollout().steps[0], how: 'override', asked_by: 'person:ann', reason: 'launch' }
    expect(drawn({ steps: [step] })).toContain('overridden by person:ann and person:ben: launch')
    expect(drawn({ status: 'paused' })).toMatch(/▶ {2}quarter .* paused, 2 d left$/m)
    const ended = {
      status: 'rolled_back',
      share: 0,
      ended_reason: 'it drifts',
      phase: { ...rollout().phase, left_ms: null },
    }
    expect(drawn(ended)).toMatch(/✗ {2}quarter .* rolled back here$/m)
    expect(rolloutText(rollout(ended), terminal)).toMatch(/^because +it drifts$/m)
    expect(drawn({ phase: { ...rollout().phase, left_ms: 0 } })).toMatch(/▶ {2}quarter .* long enough$/m)
  })

  test('draws no place where it has not begun', () => {
    const first = { n: 0, of: 3, name: 'canary', risk: 'mixed', began_at: null, served_ms: 0, left_ms: null }
    expect(drawn({ status: 'draft', share: 0, steps: [], phase: first })).not.toMatch(/[✓▶✗]/)
  })

  test('says what one person asked for, and that a phase was left without its gate', () => {
    const request = { by: 'person:ann', at: 0, until: 3_600_000, reason: 'launch', evidence_hash: null }
    const text = rolloutText(rollout({ request, overridden: true }), terminal)
    expect(text).toContain('to go on without the gate, by person:ann until 1970-01-01 01:00:00Z: launch')
    expect(text).toMatch(/^overridden +yes/m)
  })

  test('shows nothing that moves the cursor', () => {
    const text = rolloutText(
      rollout({ status: 'rolled_back', ended_reason: '\u001b[2Jgone\nstatus  promoted' }),
      terminal,
    )
    expect(text).not.toContain('\u001b')
    expect(text).not.toMatch(/^status {2}promoted/m)
  })
})

test.each([
  [0, 0],
  [0.01, 1],
  [5, 1],
  [25, 5],
  [99.99, 19],
  [100, 20],
])('a bar of %s percent has %d of 20 cells', (percent, cells) => {
  expect(bar(percent)).toBe('█'.repeat(cells) + '·'.repeat(20 - cells))
})

test('rollouts list names where each is', () => {
  expect(rolloutTable([rollout()], terminal)).toContain(
    'rol_1    bot-2  agent agent:bot 1 → 2  running  quarter (2 of 3)   25 %  2 d left',
  )
})

test('rollouts assignment says what becomes of work that the phase does not admit', () => {
  const given = { key: 'run-1', bucket: 7, reason: 'bucket 7 of 2500', risk: 'read_only', variant: 'candidate' }
  const text = (beyond: object) => assignmentText({ ...given, version: '2', beyond } as Assignment, terminal)
  expect(text({ variant: 'manual', version: null })).toMatch(/^other work +what is not read_only goes to manual$/m)
  expect(text({ variant: 'candidate', version: '2' })).not.toContain('other work')
})

const FILE = `rollout: bot-2
subject: { kind: agent, name: 'agent:bot', candidate: '2', stable: '1' }
owners: { reliability: sre, governance: gov, cost: fin }
stakeholders: [team:support]
`

describe('a declaration in a file', () => {
  const faultsOf = (text: string) => {
    try {
      declarationOf('r.yaml', text)
    } catch (error) {
      return (error as { faults: { path: string; message: string }[] }).faults.map((f) => `${f.path} ${f.message}`)
    }
    throw new Error('no fault')
  }

  test('is read as YAML and as JSON, with the same digest', () => {
    const { digest, value, document } = declarationOf('r.yaml', FILE)
    expect(declarationOf('r.json', JSON.stringify(value)).digest).toBe(digest)
    expect(documentText(document, digest, terminal)).toMatch(/^half +█{10}·{10} +50 % /m)
  })

  test('is told its faults with line and column', () => {
    expect(faultsOf(FILE.replace("stable: '1'", 'stable: 1'))).toEqual(['r.yaml:2:68 subject.stable: needs text'])
    expect(faultsOf(`${FILE}rest: nobody\nreviewers: { from: [role:approver, nobody] }\n`)).toEqual([
      "r.yaml:5:7 rest: 'nobody' is not one of stable, shadow, manual",
      'r.yaml:6:36 reviewers.from[1]: is nobody',
    ])
    expect(faultsOf(FILE.replace('owners', 'owner'))).toEqual([
      "r.yaml:3:8 owner: unknown key 'owner'",
      "r.yaml:1:1 'owners' is missing",
    ])
  })

  test('is bounded as policy files are: no aliases, no keys twice, no nesting without end', () => {
    expect(faultsOf('a: &x [1]\nb: *x\n')[0]).toContain('aliases are not allowed')
    expect(faultsOf(`${FILE}rollout: again\n`)[0]).toContain('given twice')
    expect(faultsOf(`a: ${'['.repeat(5000)}`)).not.toEqual([])
    expect(faultsOf(`a: ${'['.repeat(60)}1${']'.repeat(60)}`)[0]).toContain('nested deeper')
    expect(faultsOf('')).not.toEqual([])
  })

  test('warns where nobody but people do the work while the share is nothing', () => {
    const read = (text: string) => warningsOf(declarationOf('r.yaml', text).document)
    expect(read(FILE)).toEqual([])
    expect(read(`${FILE}rest: manual\n`)).toEqual([
      'phase replay has share 0 and rest is manual: while it lasts, all work of agent:bot is refused, so that people do it',
    ])
    expect(read(`${FILE}rest: shadow\n`)[0]).toContain('is only recorded and not done')
  })
})
