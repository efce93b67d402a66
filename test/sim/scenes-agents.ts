import type { Stage as Autonomy } from '../../src/core/autonomy.js'
import { closeBreaker, turnBreakers } from '../../src/journey/break.js'
import {
  confirmPromotion,
  declareAutonomy,
  demote,
  proposePromotion,
  watchAutonomy,
} from '../../src/journey/promote.js'
import { rebindStaged } from '../../src/journey/rebind.js'
import { rebalanceReviews } from '../../src/journey/review-load.js'
import { submit } from '../../src/journey/submit.js'
import { closeWorkflow, openWorkflow } from '../../src/journey/workflows.js'
import { done } from './cast.js'
import { BOUNDED } from './policies.js'
import type { Scene } from './scenes.js'
import { declare } from './scenes-people.js'
import type { Stage } from './stage.js'

const DAY = 86_400_000
const AGENT = 'agent:bot'

/** An agent of the directory, under management at the stage. */
async function managed(on: Stage, stage: Autonomy | null): Promise<void> {
  const none = { team: null, name: null, email: null, terms: null }
  await declare(on, [{ principal: AGENT, kind: 'agent', role: 'agent', ...none }])
  if (stage !== null) await manage(on, stage)
}

async function manage(on: Stage, stage: Autonomy): Promise<void> {
  const made = await on.cast.ask((t) => declareAutonomy(t.world, t.operator, AGENT, { stage }))
  if (done(made)) on.cast.history.expects(`${AGENT} is ${stage}`, { kind: 'autonomy.declared', agent: AGENT, stage })
}

/** What three days of shadow have to show. */
async function earned(on: Stage): Promise<void> {
  await managed(on, 'shadow')
  on.cast.sim.advance(3 * DAY)
  const one = () => on.cast.ask((t) => submit(t.world, on.agent, { topic: 'job.do.it' }, null))
  await Promise.all(Array.from({ length: 20 }, one))
}

async function propose(on: Stage): Promise<void> {
  const asked = { to: 'advisor', note: null } as const
  const made = await on.cast.ask((t) => proposePromotion(t.world, t.operator, AGENT, asked))
  if (done(made)) on.cast.history.expects('proposal', { kind: 'autonomy.proposed', agent: AGENT, to: 'advisor' })
}

/** Jobs of the agent that end badly, as many as a breaker bears in a row. */
async function failures(on: Stage): Promise<void> {
  for (let n = 0; n < 3; n++) {
    await on.lease()
    await on.work({ fails: 'terminal' })
    on.attempts = []
  }
}

/** As the loop takes it, twice: whoever was overtaken at the gate sees it the next time. */
async function turn(on: Stage): Promise<void> {
  for (let rounds = 0; rounds < 2; rounds++) {
    const turns = await on.cast.ask((t) => turnBreakers(t.world, on.cast.sim.now() - 600_000))
    for (const { agent, state } of done(turns) ? turns : [])
      on.cast.history.expects(`the breaker of ${agent}`, {
        kind: state === 'open' ? 'breaker.opened' : 'breaker.closed',
        agent,
      })
  }
}

async function opened(on: Stage): Promise<void> {
  const made = await on.cast.ask((t) => openWorkflow(t.world, t.operator, 'one'))
  if (done(made))
    on.cast.history.expects('workflow', { kind: 'workflow.opened', workflow: 'one', opened_at: made.opened_at })
}

async function withWorkflow(on: Stage): Promise<void> {
  await on.cast.ask((t) => t.activate(BOUNDED))
  on.agent = await on.cast.createKey(on.agent)
}

/** A case of the workflow, inside its bounds. */
async function bounded(on: Stage): Promise<void> {
  const body = { topic: 'job.do.it', input: { table: 'leads', n: on.job.length }, workflow: 'one' }
  on.job = (await on.cast.submit(body, null, on.agent)) ?? on.job
}

/** How far an agent is trusted, and who takes it back. */
export const AGENTS: Scene[] = [
  {
    name: 'promote: put under management, with a job queued',
    arrange: async (on) => {
      await managed(on, null)
      await on.submit()
    },
    act: async (on) => {
      await manage(on, 'advisor')
      await on.claim()
    },
  },
  { name: 'promote: proposed', arrange: earned, act: propose },
  {
    name: 'promote: confirmed by another',
    arrange: async (on) => {
      await earned(on)
      await propose(on)
    },
    act: async (on) => {
      const made = await on.cast.ask((t) => confirmPromotion(t.world, t.admin, AGENT, null))
      if (done(made))
        on.cast.history.expects('promotion', { kind: 'autonomy.promoted', agent: AGENT, stage: 'advisor' })
    },
  },
  {
    name: 'promote: demoted, with a job queued',
    arrange: async (on) => {
      await managed(on, 'autonomous')
      await on.submit()
    },
    act: async (on) => {
      const made = await on.cast.ask((t) => demote(t.world, t.operator, AGENT, { to: 'advisor', note: 'odd' }))
      if (done(made)) on.cast.history.expects('demotion', { kind: 'autonomy.demoted', agent: AGENT, stage: 'advisor' })
      await on.claim()
    },
  },
  {
    name: 'promote: put back by itself, its breaker open',
    arrange: async (on) => {
      await managed(on, 'autonomous')
      await failures(on)
      await turn(on)
    },
    act: async (on) => {
      const back = await on.cast.ask((t) => watchAutonomy(t.world))
      for (const { agent, stage } of done(back) ? back : [])
        on.cast.history.expects(`${agent} put back`, { kind: 'autonomy.demoted', agent, stage })
    },
  },
  {
    name: 'rebind: what an earlier stage asked',
    arrange: async (on) => {
      await managed(on, 'autonomous')
      await on.asked()
      const made = await on.cast.ask((t) => demote(t.world, t.operator, AGENT, { to: 'shadow', note: 'odd' }))
      if (done(made)) on.cast.history.expects('demotion', { kind: 'autonomy.demoted', agent: AGENT, stage: 'shadow' })
    },
    act: async (on) => {
      await on.cast.ask((t) => rebindStaged(t.world, t.tenant))
    },
  },
  {
    name: 'review-load: the spot check moved',
    arrange: async (on) => {
      await managed(on, 'assisted')
      await on.asked()
      await on.answer()
    },
    act: async (on) => {
      const moved = await on.cast.ask((t) => rebalanceReviews(t.world))
      for (const { agent, spot_check } of done(moved) ? moved : [])
        on.cast.history.expects(`spot check of ${agent}`, { kind: 'autonomy.adjusted', agent, spot_check })
    },
  },
  {
    name: 'workflows: opened, and a case of it',
    arrange: withWorkflow,
    act: async (on) => {
      await opened(on)
      await bounded(on)
    },
  },
  {
    name: 'workflows: closed, with a case queued',
    arrange: async (on) => {
      await withWorkflow(on)
      await opened(on)
      await bounded(on)
    },
    act: async (on) => {
      const made = await on.cast.ask((t) => closeWorkflow(t.world, t.admin, 'one'))
      if (done(made)) on.cast.history.expects('end of workflow', { kind: 'workflow.closed', workflow: 'one' })
      await on.claim()
    },
  },
  { name: 'break: opened by failures', arrange: failures, act: turn },
  {
    name: 'break: closed by a person',
    arrange: async (on) => {
      await failures(on)
      await turn(on)
    },
    act: async (on) => {
      const closed = await on.cast.ask((t) => closeBreaker(t.world, t.operator, AGENT))
      if (done(closed)) on.cast.history.expects('a closed breaker', { kind: 'breaker.closed', agent: AGENT })
      await on.submit()
    },
  },
  {
    name: 'cancel: a spot check, which falls on the next job',
    arrange: async (on) => {
      await managed(on, 'assisted')
      const every = { stage: 'assisted', spot_check: 100, most: 100 } as const
      await on.cast.ask((t) => declareAutonomy(t.world, t.operator, AGENT, every))
      await on.submit()
    },
    act: async (on) => {
      await on.cast.cancel(on.job)
      await on.submit()
      await on.answer()
      await on.claim()
    },
  },
]
