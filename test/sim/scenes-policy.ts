import { CHANGES } from '../../src/core/policy/change.js'
import { activate } from '../../src/journey/activate.js'
import { declareRollout, stepRollout } from '../../src/journey/rollouts.js'
import { submitOwn } from '../../src/journey/submit.js'
import { done } from './cast.js'
import { GOVERNED, POLICIES } from './policies.js'
import type { Scene } from './scenes.js'
import type { Stage } from './stage.js'

/** A stored policy that the active one has a say in, asked for and let through, and waiting for whoever does it. */
async function wanted(on: Stage): Promise<void> {
  await on.cast.ask((t) => t.activate(GOVERNED))
  const stored = await on.cast.ask((t) => t.activate(POLICIES.same))
  const [gate] = await on.cast.rows<{ snapshot: string }>('gates')
  if (!done(stored) || gate === undefined) return
  const input = { snapshot: stored.snapshot.digest, before: gate.snapshot }
  await on.cast.ask((t) => submitOwn(t.world, t.admin, { topic: CHANGES.activate, input }, null))
}

async function changed(on: Stage): Promise<void> {
  await on.cast.change()
  const [gate] = await on.cast.rows<{ snapshot: string }>('gates')
  on.cast.history.expects('change of policy', { kind: 'policy.activated', snapshot: gate?.snapshot })
}

const ROLLOUT = {
  rollout: 'bot-2',
  subject: { kind: 'agent', name: 'agent:bot', candidate: '2', stable: '1' },
  owners: { reliability: 'a', governance: 'b', cost: 'c' },
  stakeholders: ['role:operator'],
  phases: [
    {
      ...{ name: 'all', share: 100, risk: 'mixed', min_duration: '1h' },
      gate: { window: '10m', checks: { unapproved_high_risk_actions: { target_eq: 0 } } },
    },
  ],
}
/** A candidate that does all of its agent's work. */
async function rolledOut(on: Stage): Promise<string | null> {
  const declared = await on.cast.ask((t) => declareRollout(t.world, t.admin, ROLLOUT))
  if (!done(declared)) return null
  const begun = await on.cast.ask((t) => stepRollout(t.world, t.operator, declared.rollout_id, { event: 'start' }))
  return done(begun) ? begun.rollout_id : null
}

export const POLICY: Scene[] = [
  {
    name: 'rollouts: declared and started',
    arrange: (on) => on.submit(),
    act: async (on) => {
      const rollout_id = await rolledOut(on)
      if (rollout_id !== null) on.cast.history.expects('a rollout', { kind: 'rollout.started', rollout_id })
      await on.submit()
    },
  },
  {
    name: 'rollouts: taken back, with a job of the candidate queued',
    arrange: async (on) => {
      await rolledOut(on)
      await on.submit()
    },
    act: async (on) => {
      const [row] = await on.cast.rows<{ rollout_id: string }>('rollouts')
      const event = { event: 'roll_back', reason: 'no' } as const
      const back = await on.cast.ask((t) => stepRollout(t.world, t.operator, row?.rollout_id ?? '', event))
      if (done(back))
        on.cast.history.expects('a rollback', { kind: 'rollout.rolled_back', rollout_id: back.rollout_id })
    },
  },
  { name: 'activate: a new policy', arrange: (on) => on.asked(), act: (on) => on.cast.activate('closed') },
  {
    name: 'activate: a stored one',
    arrange: async (on) => {
      await on.submit()
      await on.cast.activate('same')
    },
    act: async (on) => {
      const [old] = await on.cast.rows<{ digest: string }>('policy_snapshots')
      const stored = await on.cast.ask((t) => activate(t.world, on.cast.tenant, 'person:root', old?.digest ?? ''))
      if (done(stored)) on.cast.history.expects('activation', { kind: 'policy.activated', snapshot: old?.digest })
    },
  },
  {
    name: 'rebind: two that wait',
    arrange: async (on) => {
      await on.asked()
      await on.asked()
      await on.cast.activate('same')
    },
    act: (on) => on.cast.rebind(),
  },
  {
    name: 'rebind: what is asked otherwise by now',
    arrange: async (on) => {
      await on.asked()
      await on.cast.activate('tight')
    },
    act: (on) => on.cast.rebind(),
  },
  { name: 'change: let through', arrange: wanted, act: changed },
  {
    name: 'change: overtaken',
    arrange: async (on) => {
      await wanted(on)
      await wanted(on)
    },
    act: changed,
  },
]
