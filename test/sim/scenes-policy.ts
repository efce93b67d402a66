import { CHANGES } from '../../src/core/policy/change.js'
import { activate } from '../../src/journey/activate.js'
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

export const POLICY: Scene[] = [
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
