import type { Job } from '../../src/core/job.js'
import type { Effect, Lease } from '../../src/core/lease.js'
import type { Principal } from '../../src/core/principal.js'
import type { Attempt } from './cast.js'
import { MAIL } from './policies.js'
import { ADA, byPassword, closeAdas, disable } from './scenes-people.js'
import type { Stage } from './stage.js'

/** What somebody else may do in between, on whatever the scene has; `can` says whether it has that. */
export interface Step {
  can(on: Stage): Promise<boolean>
  act(on: Stage): Promise<unknown>
}

const always = async () => true
const asks =
  (...rooms: string[]) =>
  async (on: Stage) =>
    rooms.some((room) => on.scene.startsWith(room))
const job =
  (...statuses: string[]) =>
  async (on: Stage) =>
    statuses.includes((await on.only<Job>('jobs'))?.status ?? '')
const isKnown =
  (principal: string, ...rooms: string[]) =>
  async (on: Stage) =>
    (await asks(...rooms)(on)) &&
    (await on.cast.rows<Principal>('principals')).some(
      (each) => each.principal === principal && each.disabled_at === null,
    )
const isAsked = async (on: Stage) => (await on.pending()).length > 0
const isInDoubt = async (on: Stage) => (await on.only<Effect>('effects'))?.status === 'begun'
const underLease = (act: (on: Stage, attempt: Attempt) => Promise<unknown>): Step => ({
  can: async (on) => (await live(on)) !== undefined,
  act: async (on) => {
    const attempt = await live(on)
    if (attempt !== undefined) await act(on, attempt)
  },
})

/** Whose commits carry the gate; to the others one activation is as good as another. */
const GATED = ['submit', 'dispatch', 'effect', 'approve', 'replay', 'rebind', 'activate', 'keys']

export const STEPS: Record<string, Step> = {
  'activates a denial': { can: always, act: (on) => on.cast.activate('closed') },
  'activates the same rules': { can: asks(...GATED), act: (on) => on.cast.activate('same') },
  'activates other questions': { can: asks(...GATED), act: (on) => on.cast.activate('tight') },
  'stops everything of the tenant': { can: asks(...GATED), act: (on) => on.cast.stop() },
  'revokes the agent’s key': { can: asks('submit'), act: (on) => on.cast.revoke(on.agent) },
  'revokes the approver’s key': { can: asks('approve'), act: (on) => on.cast.revoke(on.approver) },
  'revokes the worker’s key': {
    can: asks('dispatch', 'effect', 'heartbeat', 'settle'),
    act: (on) => on.cast.revoke(on.worker),
  },
  'disables the agent': {
    can: isKnown('agent:bot', 'submit', 'promote', 'workflows', 'break'),
    act: (on) => disable(on, 'agent:bot'),
  },
  'disables the person': { can: isKnown(ADA, 'links', 'accounts', 'sign-on'), act: (on) => disable(on, ADA) },
  'closes the account': { can: isKnown(ADA, 'accounts', 'sign-on'), act: closeAdas },
  'signs on': { can: isKnown(ADA, 'accounts', 'directory'), act: (on) => byPassword(on) },
  'cancels the job': {
    can: job('queued', 'retrying', 'pending_approval', 'running'),
    act: (on) => on.cast.cancel(on.job),
  },
  approves: { can: isAsked, act: (on) => on.answer(true, on.cast.seen.otherApprover) },
  rejects: { can: isAsked, act: (on) => on.answer(false, on.cast.seen.otherApprover) },
  'puts the questions again': { can: isAsked, act: (on) => on.cast.rebind() },
  'claims for another worker': {
    can: job('queued', 'retrying'),
    act: async (on) => {
      for (const attempt of await on.cast.claim(on.cast.seen.otherWorker, 2))
        await on.cast.work(attempt, { keys: ['pay'], result: null, stops: 2 })
    },
  },
  'reports success': underLease((on, attempt) => on.cast.report(attempt, { result: { other: true } })),
  'reports failure': underLease((on, attempt) => on.cast.report(attempt, { fails: 'transient', result: null })),
  'begins an effect': underLease((on, attempt) => on.cast.work(attempt, { keys: ['ship'], result: null, stops: 1 })),
  beats: underLease((on, { leased, as }) => on.cast.ask((t) => t.beat(leased.lease, MAIL, as))),
  'tells of an effect': { can: job('ambiguous'), act: (on) => on.cast.resolve(on.job) },
  'comes back with an effect': {
    can: async (on) => (await isInDoubt(on)) && on.cast.history.happened.size > 0,
    act: (on) => on.late(),
  },
  releases: { can: job('quarantined'), act: (on) => on.cast.judge(on.job, 'release') },
  'throws a result away': { can: job('quarantined'), act: (on) => on.cast.judge(on.job, 'discardResult') },
  replays: { can: job('dead_letter'), act: (on) => on.cast.judge(on.job, 'replay') },
  'gives up': { can: job('dead_letter'), act: (on) => on.cast.judge(on.job, 'discard') },
  // Integrating writes what only these read; the first two stand for all that write entries.
  integrates: { can: asks('submit', 'settle', 'integrate', 'timeline', 'explain'), act: (on) => on.cast.integrate() },
  'sweeps 5 s later': { can: job('running', 'ambiguous'), act: (on) => later(on, 5000) },
  'sweeps 61 s later': { can: always, act: (on) => later(on, 61_000) },
  'sweeps 11 min later': { can: isAsked, act: (on) => later(on, 660_000) },
}

/** Whoever was frozen meanwhile goes on with what it had read. */
async function later(on: Stage, ms: number): Promise<void> {
  on.cast.sim.advance(ms)
  await on.cast.sweep()
}

/** The attempt under way, as its worker knows it. */
async function live(on: Stage): Promise<Attempt | undefined> {
  const leases = (await on.cast.rows<Lease>('leases')).filter((lease) => lease.ended_at === null)
  return on.attempts.find((attempt) => leases.some((lease) => lease.lease_id === attempt.leased.lease))
}
