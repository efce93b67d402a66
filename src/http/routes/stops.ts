import * as Wire from '../../contract/stops.js'
import type { Stop, StopScope } from '../../core/stop.js'
import { resumeStop } from '../../journey/resume.js'
import { raiseStop } from '../../journey/stop.js'
import { awaitStop, type StopStatus } from '../../journey/stop-status.js'
import { pageOfStops } from '../../store/stops.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

const WAIT_MS = 5000
const WRITE = ['stops:write', 'stops:write_led'] as const

/** The stop button: what a person stops at once, what came of it, and how two people resume it. */
export function stopRoutes(world: World): Route[] {
  return [
    {
      method: 'GET',
      path: '/stops',
      permission: ['stops:read'],
      tag: 'stops',
      summary: 'Stops, newest first',
      query: Wire.StopQuery,
      success: { status: 200, schema: Wire.StopPage, description: 'A page' },
      errors: ['invalid'],
      async handler({ caller, query }) {
        const { items, next_cursor } = await pageOfStops(world.db, caller.tenant, query as Wire.StopQuery)
        return { body: { items: items.map(summaryOf), next_cursor } }
      },
    },
    {
      method: 'POST',
      path: '/stops',
      permission: WRITE,
      tag: 'stops',
      summary: 'Stop a tenant, team, agent, topic or everything',
      description:
        'From the answer on nothing of it is submitted, approved, leased or begun on any node; running work is asked to stop with its next heartbeat. `state` is `confirmed` only where every node and every lease confirmed. Who leads a team may stop it and its agents.',
      body: Wire.RaiseStop,
      success: { status: 201, schema: Wire.Stop, description: 'The stop, with what was measured until now' },
      errors: ['invalid', 'forbidden', 'overloaded'],
      async handler({ caller, body }) {
        const { scope, reason, wait_ms = WAIT_MS } = body as Wire.RaiseStop
        const { stop_id } = await raiseStop(world, caller, { ...scopeOf(scope), reason })
        return { status: 201, body: viewStop(await awaitStop(world, caller, stop_id, wait_ms)) }
      },
    },
    {
      method: 'GET',
      path: '/stops/{stop_id}',
      permission: ['stops:read'],
      tag: 'stops',
      summary: 'A stop with what came of it: nodes, leases and effects that are still open',
      success: { status: 200, schema: Wire.Stop, description: 'The stop' },
      errors: ['not_found'],
      handler: async ({ caller, params }) => ({
        body: viewStop(await awaitStop(world, caller, params.stop_id as string, 0)),
      }),
    },
    {
      method: 'POST',
      path: '/stops/{stop_id}/resume',
      permission: WRITE,
      tag: 'stops',
      summary: 'Ask for the next stage, or carry out what another person asked for',
      description:
        'The first call records what is wanted (`resume` of the answer); the same from another person within an hour carries it out: from its answer on the door reads the new `stage`. Other terms of the trial are another request. Whoever made a key of the first is no other person. First a trial, then the end.',
      body: Wire.ResumeStop,
      success: { status: 202, schema: Wire.Stop, description: 'The stop as it stands now' },
      errors: ['invalid', 'not_found', 'forbidden', 'self_approval', 'illegal_transition', 'overloaded'],
      async handler({ caller, params, body }) {
        const { stage, note, trial_ms = null, trial_limit = null } = body as Wire.ResumeStop
        const stop_id = params.stop_id as string
        await resumeStop(world, caller, stop_id, { stage, note, trial_ms, trial_limit })
        return { status: 202, body: viewStop(await awaitStop(world, caller, stop_id, 0)) }
      },
    },
  ]
}

function scopeOf(scope: Wire.StopScope): { scope: StopScope; target: string | null } {
  if ('tenant' in scope) return { scope: 'tenant', target: null }
  if ('team' in scope) return { scope: 'team', target: scope.team }
  if ('agent' in scope) return { scope: 'agent', target: scope.agent }
  if ('topic' in scope) return { scope: 'topic', target: scope.topic }
  return { scope: 'everything', target: null }
}

function wireScope({ scope, target }: Stop): Wire.StopScope {
  if (scope === 'team') return { team: target ?? '' }
  if (scope === 'agent') return { agent: target ?? '' }
  if (scope === 'topic') return { topic: target ?? '' }
  return scope === 'tenant' ? { tenant: true } : { everything: true }
}

/** With which key somebody asked is nobody's to read. */
function withoutKey(resume: Stop['resume']): Wire.StopSummary['resume'] {
  if (resume === null) return null
  const { key_id: _key, ...shown } = resume
  return shown
}

function summaryOf(stop: Stop): Wire.StopSummary {
  const { stop_id, reason, raised_by, raised_at, stage, trial_until, trial_limit, resume, steps, ended_at } = stop
  const scope = wireScope(stop)
  const shown = { stop_id, scope, reason, raised_by, raised_at, stage, trial_until, trial_limit, steps, ended_at }
  return { ...shown, resume: withoutKey(resume) }
}

function viewStop(status: StopStatus): Wire.Stop {
  const { stop, confirmed, confirmed_ms, nodes, leases, effects, effects_total, warning } = status
  return {
    ...summaryOf(stop),
    state: confirmed ? 'confirmed' : 'unconfirmed',
    refused_ms: stop.refused_ms,
    confirmed_ms,
    nodes,
    leases,
    open_effects: effects.map(({ status, ...shown }) => ({ ...shown, job_status: status })),
    open_effects_total: effects_total,
    warning,
  }
}
