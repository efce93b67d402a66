import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { openPlane, type Tenancy, type TestPlane } from '../../test/plane.js'
import { UNBOUND } from '../core/principal.js'
import { applyDirectory } from '../journey/directory.js'
import { evaluateDry } from '../journey/explain.js'

const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: do, match: { topic: job.do.* }, decision: ALLOW }
`
let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const gateOf = async (t: Tenancy) => (await t.world.policies.active(t.tenant)).gate
const madeUp = (count: number) => Array.from({ length: count }, (_, n) => `agent:made-up-${n}`)
const bound = (t: Tenancy, topics: string[]) =>
  applyDirectory(
    t.world,
    t.admin,
    {
      teams: [{ team: 'desk', name: null, leads: [], on_call: [] }],
      principals: [
        {
          principal: 'agent:bot',
          kind: 'agent',
          role: 'agent',
          team: 'desk',
          name: null,
          email: null,
          terms: { ...UNBOUND, topics },
        },
      ],
    },
    'api',
  )
const LOOKED_UP = 'FROM principals WHERE tenant = $1 AND principal = wanted.name'
/** Somebody else is looked up while the first statement with these words is under way. */
function meanwhile(words: string, doIt: () => Promise<unknown>): void {
  let done = false
  plane.db.tap = async (sql, send) => {
    const rows = await send()
    if (!done && sql.includes(words)) {
      done = true
      await doIt()
    }
    return rows
  }
}

describe('what is known of agents, when all of it is forgotten while somebody reads', () => {
  const forgetting = async (t: Tenancy) => {
    const gate = await gateOf(t)
    await t.world.agents.ofAll(gate, madeUp(10_001))
    await t.world.agents.of(gate, 'agent:again')
  }

  test('is still what was asked for, and nothing of anybody else', async () => {
    const t = await plane.tenant(POLICY)
    await bound(t, ['job.none'])
    const gate = await gateOf(t)
    await t.world.agents.of(gate, 'agent:bot')
    meanwhile(LOOKED_UP, () => forgetting(t))
    const standings = await t.world.agents.ofAll(gate, ['agent:bot', 'agent:other'])
    expect(standings('agent:bot')?.topics).toEqual(['job.none'])
    expect(standings('agent:other')).toBeNull()
    expect(() => standings('agent:third')).toThrow('was not asked for')
  })

  test('binds at the second door', async () => {
    const t = await plane.tenant(POLICY)
    await bound(t, ['job.do.*'])
    await t.submit({ topic: 'job.do.it' })
    await bound(t, ['job.none'])
    await t.on(plane.node()).submit({ topic: 'job.do.it' }, null, t.otherAgent)
    await t.world.agents.ofAll(await gateOf(t), ['agent:bot', ...madeUp(9_999)])
    const dry = (agent: string) => evaluateDry(t.world, t.admin, { topic: 'job.do.it', agent }, undefined)
    meanwhile(LOOKED_UP, async () => {
      for (const n of [1, 2, 3]) await dry(`agent:again-${n}`)
    })
    const leased = await t.claim(['job.do.it'], { capacity: 5 })
    expect(leased.map(({ job }) => job.agent)).toEqual(['agent:other'])
  })
})

test('nor is the team of an agent lost, whose lead is asked', async () => {
  const t = await plane.tenant(POLICY)
  await bound(t, ['job.do.*'])
  const gate = await gateOf(t)
  await t.world.people.of(gate, ['agent:bot'])
  meanwhile('AS wanted(name)', async () => {
    await t.world.people.of(gate, madeUp(10_001))
    await t.world.people.of(gate, ['agent:again'])
  })
  const { teamsOf } = await t.world.people.of(gate, ['agent:bot', 'agent:other'])
  expect([...teamsOf]).toEqual([
    ['agent:bot', 'desk'],
    ['agent:other', null],
  ])
})
