import * as Wire from '../../contract/rollouts.js'
import { type Caller, may } from '../../core/access.js'
import { assignmentOf, shareNow } from '../../core/rollout/assignment.js'
import { OVERRIDE_MS, runFor } from '../../core/rollout/step.js'
import { Problem } from '../../errors.js'
import { type Asked, declareRollout, stepRollout } from '../../journey/rollouts.js'
import { getRollout, listRollouts, type RolloutRow } from '../../store/rollouts.js'
import type { World } from '../../store/world.js'
import type { Call, Route } from '../route.js'

const READ = ['rollouts:read'] as const
const WRITE = ['rollouts:write'] as const

/** Bringing in a new version of an agent, a workflow or a policy by stages. */
export function rolloutRoutes(world: World): Route[] {
  return [
    {
      method: 'GET',
      path: '/rollouts',
      permission: READ,
      tag: 'rollouts',
      summary: 'Rollouts, newest first',
      query: Wire.RolloutQuery,
      success: { status: 200, schema: Wire.RolloutPage, description: 'A page' },
      errors: ['invalid'],
      async handler({ caller, query }) {
        const { items, next_cursor } = await listRollouts(world.db, caller.tenant, query as Wire.RolloutQuery)
        const now = world.clock.now()
        return { body: { items: items.map((rollout) => summaryOf(rollout, now)), next_cursor } }
      },
    },
    {
      method: 'POST',
      path: '/rollouts',
      permission: WRITE,
      tag: 'rollouts',
      summary: 'Declare a rollout: a draft, of which nothing runs',
      description:
        'What it says never changes afterwards: evidence of its gates names it by its digest. Another declaration is another rollout.',
      body: Wire.DeclareRollout,
      success: { status: 201, schema: Wire.Rollout, description: 'The draft, with what was left out filled in' },
      errors: ['invalid', 'not_found', 'overloaded'],
      async handler({ caller, body }) {
        const { declaration } = body as Wire.DeclareRollout
        return { status: 201, body: viewRollout(await declareRollout(world, caller, declaration), world.clock.now()) }
      },
    },
    {
      method: 'GET',
      path: '/rollouts/{rollout_id}',
      permission: READ,
      tag: 'rollouts',
      summary: 'A rollout: where it is, how it came there, and what it was declared as',
      success: { status: 200, schema: Wire.Rollout, description: 'The rollout' },
      errors: ['not_found'],
      async handler({ caller, params }) {
        const rollout = await getRollout(world.db, caller.tenant, params.rollout_id as string)
        if (rollout === null) throw new Problem('not_found')
        return { body: viewRollout(rollout, world.clock.now()) }
      },
    },
    ...stepRoutes(world),
    {
      method: 'GET',
      path: '/rollouts/{rollout_id}/assignment',
      permission: ['rollouts:read', 'rollouts:read_own'],
      tag: 'rollouts',
      summary: 'Which version a routing key falls to now',
      description:
        'For a router in front of the versions of an agent; the same answer until the next step of the rollout. The door draws anew and by the same rule: an agent that says another `agent_version` with its submit is refused. An agent may ask about rollouts of its own.',
      query: Wire.AssignmentQuery,
      success: { status: 200, schema: Wire.Assignment, description: 'Who does it' },
      errors: ['invalid', 'not_found'],
      async handler({ caller, params, query }) {
        const rollout = await getRollout(world.db, caller.tenant, params.rollout_id as string)
        if (rollout === null || !maySee(caller, rollout)) throw new Problem('not_found')
        return { body: viewAssignment(rollout, (query as Wire.AssignmentQuery).key) }
      },
    },
  ]
}

/** An agent's own are those about itself; what it may not see does not exist for it. */
const maySee = (caller: Caller, { document: { subject } }: RolloutRow): boolean =>
  may(caller, 'rollouts:read') || (subject.kind === 'agent' && subject.name === caller.principal)

function stepRoutes(world: World): Route[] {
  const route = (
    name: string,
    summary: string,
    { asked, ...more }: Pick<Route, 'description' | 'body' | 'errors'> & { asked: (body: unknown) => Asked },
  ): Route => ({
    method: 'POST',
    path: `/rollouts/{rollout_id}/${name}`,
    permission: WRITE,
    tag: 'rollouts',
    summary,
    success: { status: 200, schema: Wire.Rollout, description: 'The rollout as it stands now' },
    ...more,
    async handler({ caller, params, body }: Call) {
      const stepped = await stepRollout(world, caller, params.rollout_id as string, asked(body))
      return { body: viewRollout(stepped, world.clock.now()) }
    },
  })
  const errors = ['not_found', 'illegal_transition', 'overloaded'] as const
  return [
    route('start', 'Start its first phase', {
      description: 'One rollout of a subject runs at a time. A policy is started against the active snapshot only.',
      errors: [...errors, 'gate_blocks'],
      asked: () => ({ event: 'start' }),
    }),
    route('pause', 'Keep its slice as it is, and its clock', {
      description: 'Work goes on as before; nothing promotes it, and the minimum duration does not run.',
      body: Wire.PauseRollout,
      errors: [...errors, 'invalid'],
      asked: (body) => ({ event: 'pause', reason: (body as Wire.PauseRollout).reason }),
    }),
    route('resume', 'Go on after a pause', { errors, asked: () => ({ event: 'resume' }) }),
    route('promote', 'Leave its phase upward on evidence that says pass', {
      description: 'The next phase begins, or, after the last, the candidate is the stable version from the answer on.',
      body: Wire.PromoteRollout,
      errors: [...errors, 'invalid', 'gate_blocks', 'evidence_stale'],
      asked: (body) => ({ event: 'promote', evidence_hash: (body as Wire.PromoteRollout).evidence_hash }),
    }),
    route('override', 'Ask to go on without the gate, or carry out what another person asked for', {
      description:
        'The first call records why (`request` of the answer); another person with the same `evidence_hash` within an hour carries it out. Both stay on the rollout for good. Whoever made a key of the first is no other person.',
      body: Wire.OverrideRollout,
      errors: [...errors, 'invalid', 'gate_blocks', 'evidence_stale', 'self_approval', 'forbidden'],
      asked(body) {
        const { reason, evidence_hash = null } = body as Wire.OverrideRollout
        return { event: 'override', reason, evidence_hash }
      },
    }),
    route('roll-back', 'Take the candidate back at once', {
      description:
        'One person is enough. From the answer on no work is drawn for the candidate and none of what it has not begun is given to it. A rollout that was taken back stays so.',
      body: Wire.RollBackRollout,
      errors: [...errors, 'invalid'],
      asked: (body) => ({ event: 'roll_back', reason: (body as Wire.RollBackRollout).reason }),
    }),
  ]
}

function phaseOf(rollout: RolloutRow, now: number): Wire.RolloutPhase {
  const { document, phase: n, status, phase_at: began_at } = rollout
  const { name = '', risk = 'read_only', min_duration_ms = 0 } = document.phases[n] ?? {}
  const served_ms = runFor(rollout, now)
  const isLive = status === 'running' || status === 'paused'
  const left_ms = isLive ? Math.max(0, min_duration_ms - served_ms) : null
  return { n, of: document.phases.length, name, risk, began_at, served_ms, left_ms }
}

/** With which key somebody asked is nobody's to read. */
function requestOf({ request }: RolloutRow): Wire.RolloutSummary['request'] {
  if (request === null) return null
  const { by, at, reason, evidence_hash } = request
  return { by, at, until: at + OVERRIDE_MS, reason, evidence_hash }
}

function summaryOf(rollout: RolloutRow, now: number): Wire.RolloutSummary {
  const { rollout_id, document, status, declaration, declared_by, declared_at, started_at } = rollout
  const { steps, overridden, ended_at, ended_reason } = rollout
  return {
    rollout_id,
    rollout: document.rollout,
    subject: document.subject,
    status,
    share: shareNow(rollout) / 100,
    phase: phaseOf(rollout, now),
    declaration,
    declared_by,
    declared_at,
    started_at,
    steps,
    request: requestOf(rollout),
    overridden,
    ended_at,
    ended_reason,
  }
}

const viewRollout = (rollout: RolloutRow, now: number): Wire.Rollout => ({
  ...summaryOf(rollout, now),
  document: rollout.document,
})

function viewAssignment(rollout: RolloutRow, key: string): Wire.Assignment {
  const { rollout_id, status, document, phase } = rollout
  const risk = document.phases[phase]?.risk ?? 'read_only'
  const share = shareNow(rollout) / 100
  return { rollout_id, status, routing: document.routing, key, share, risk, ...assignmentOf(rollout, key) }
}
