import * as Workers from '../../contract/workers.js'
import type { Caller } from '../../core/access.js'
import { type OutputPolicy, screenText } from '../../core/output.js'
import { isOwn } from '../../core/policy/change.js'
import { topicMatches } from '../../core/policy/topics.js'
import { Problem } from '../../errors.js'
import { effect } from '../../journey/effect.js'
import { heartbeat } from '../../journey/heartbeat.js'
import { settle } from '../../journey/settle.js'
import type { Dispatcher } from '../../loops/dispatcher.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

const WORK = ['work:claim'] as const

/** A claim names topics its key is bound to; anything else would let one worker's key read another's work. */
function assertTopics(caller: Caller, topics: readonly string[]): void {
  const bound = caller.topics
  const own = topics.filter(isOwn)
  if (own.length > 0) throw new Problem('topic_refused', `${own.join(', ')} is done by the plane itself`)
  if (bound === null) return
  const refused = topics.filter((topic) => !bound.some((pattern) => topicMatches(pattern, topic)))
  if (refused.length > 0)
    throw new Problem('topic_refused', `This key is not bound to ${refused.join(', ')}`, { topics: bound })
}

/** Credentials only: order numbers in an effect's key look like card and telephone numbers, and are what such a key is for. */
const NO_CREDENTIALS: OutputPolicy = { action: (_detector, cls) => (cls === 'pii' ? 'ALLOW' : 'QUARANTINE') }

/** Names that a worker chooses stand in rows and in the log as they are, so they are screened by being refused. */
function assertNoCredential(names: Record<string, string>): void {
  const found = Object.keys(names).filter(
    (path) => screenText(names[path] as string, NO_CREDENTIALS).verdict !== 'ALLOW',
  )
  if (found.length > 0)
    throw new Problem('invalid', undefined, {
      faults: found.map((path) => ({ path, message: 'must not hold a credential: it is kept in the log' })),
    })
}

/** The newest signed audit head of a tenant, from memory: it goes out with every claim, so that many workers are witnesses. */
export type HeadOf = (tenant: string) => Promise<string | null>

export function workerRoutes(world: World, dispatcher: Dispatcher, headOf: HeadOf): Route[] {
  return [
    {
      method: 'POST',
      path: '/workers/claim',
      permission: WORK,
      tag: 'workers',
      summary: 'Ask for work: long poll, several leases at once',
      body: Workers.Claim,
      success: { status: 200, schema: Workers.Claimed, description: 'Leases, perhaps none' },
      errors: ['invalid', 'topic_refused', 'no_policy', 'draining'],
      async handler({ caller, body, signal }) {
        const claim = body as Workers.Claim
        assertTopics(caller, claim.topics)
        assertNoCredential({ '/worker_id': claim.worker_id, '/claim_id': claim.claim_id })
        const claiming = {
          tenant: caller.tenant,
          key: caller,
          principal: caller.principal,
          worker: claim.worker_id,
          claim_id: claim.claim_id,
          topics: claim.topics,
          capacity: claim.capacity,
          enforces: claim.enforces ?? [],
          serves: claim.serves ?? [],
          effects: claim.effects ?? 'recorded',
        }
        const leases = await dispatcher.claim(claiming, claim.wait_ms ?? 0, signal)
        return { body: { leases, head: await headOf(caller.tenant) } }
      },
    },
    {
      method: 'POST',
      path: '/leases/heartbeat',
      permission: WORK,
      tag: 'workers',
      summary: 'Say that attempts live; learn which to stop',
      body: Workers.Heartbeat,
      success: { status: 200, schema: Workers.HeartbeatAnswer, description: 'ok, cancel or lost for each lease' },
      errors: ['invalid'],
      handler: async ({ caller, body }) => ({ body: await heartbeat(world, caller, body as Workers.Heartbeat) }),
    },
    {
      method: 'POST',
      path: '/leases/effects',
      permission: WORK,
      tag: 'workers',
      summary: 'Record that an outside action begins, or that it is done',
      body: Workers.Effect,
      success: {
        status: 200,
        schema: Workers.EffectAnswer,
        description: 'The effect; when it was committed before, its recorded result',
      },
      errors: ['invalid', 'lease_lost', 'effect_refused'],
      async handler({ caller, body }) {
        const request = body as Workers.Effect
        const { compensation } = request
        assertNoCredential({
          '/key': request.key,
          ...(compensation === undefined ? {} : { '/compensation/topic': compensation.topic }),
        })
        return { body: await effect(world, caller, request) }
      },
    },
    {
      method: 'POST',
      path: '/leases/complete',
      permission: WORK,
      tag: 'workers',
      summary: 'Report how attempts ended',
      body: Workers.Complete,
      success: { status: 200, schema: Workers.CompleteAnswer, description: 'ok, lost or conflict for each lease' },
      errors: ['invalid'],
      handler: async ({ caller, body }) => ({
        body: { leases: await settle(world, caller, body as Workers.Completion[]) },
      }),
    },
  ]
}
