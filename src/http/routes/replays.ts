import * as Wire from '../../contract/replays.js'
import { PageQuery } from '../../contract/scalars.js'
import { shortForm } from '../../core/binding.js'
import { sha256 } from '../../core/canonical.js'
import { countsOf, MOST_TEXT, type Replay, USUAL_RECORDED } from '../../core/replay.js'
import { VARIATIONS } from '../../core/scenario/document.js'
import { Problem } from '../../errors.js'
import { askReplay } from '../../journey/replays.js'
import type { Loop } from '../../loops/loop.js'
import { getReplay, pageOfReplays, replayLog } from '../../store/replays.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

/** Scenarios and recorded submits through a stored snapshot, without side effects; what a gate reads of them. */
export function replayRoutes(world: World, replayer: Pick<Loop, 'wake'>): Route[] {
  const found = async (tenant: string, replay_id: string) => {
    const replay = await getReplay(world.db, tenant, replay_id)
    if (replay === null) throw new Problem('not_found')
    return replay
  }
  return [
    {
      method: 'POST',
      path: '/replays',
      permission: ['policy:write'],
      tag: 'policy',
      summary: 'Put scenarios and recorded submits to the door of a stored snapshot; nothing is done',
      description:
        'The server runs them and works out what came of it: ask GET /replays/{replay_id} until `status` is not `running`. A run that a node leaves unfinished another begins anew.',
      body: Wire.AskReplay,
      success: { status: 202, schema: Wire.Replay, description: 'Asked for: it begins within a second' },
      errors: ['invalid', 'not_found', 'no_policy', 'rate_limited', 'overloaded'],
      async handler({ caller, body }) {
        const { snapshot, rollout_id = null, scenarios = [], recorded, generated = false } = body as Wire.AskReplay
        if (scenarios.reduce((sum, { text }) => sum + text.length, 0) > MOST_TEXT)
          throw invalid('/scenarios', `they are longer than ${MOST_TEXT} characters together`)
        const { from = null, to = world.clock.now(), limit = USUAL_RECORDED } = recorded ?? {}
        const asked = {
          scenarios,
          recorded: recorded === undefined ? null : { from, to, limit },
          generated: generated === true ? [...VARIATIONS] : generated === false ? [] : generated,
        }
        const replay = await askReplay(world, caller, { snapshot, rollout_id, ...asked })
        replayer.wake()
        return { status: 202, body: viewReplay(replay) }
      },
    },
    {
      method: 'GET',
      path: '/replays',
      permission: ['jobs:read'],
      tag: 'policy',
      summary: 'Replays, newest first',
      query: PageQuery,
      success: { status: 200, schema: Wire.ReplayPage, description: 'A page' },
      errors: ['invalid'],
      async handler({ caller, query }) {
        const { items, next_cursor } = await pageOfReplays(world.db, caller.tenant, query as PageQuery)
        return { body: { items: items.map(viewItem), next_cursor } }
      },
    },
    {
      method: 'GET',
      path: '/replays/{replay_id}',
      permission: ['jobs:read'],
      tag: 'policy',
      summary: 'A replay with its progress, its counts and what it found',
      success: { status: 200, schema: Wire.Replay, description: 'The replay' },
      errors: ['not_found'],
      handler: async ({ caller, params }) => ({
        body: viewReplay(await found(caller.tenant, params.replay_id as string)),
      }),
    },
    {
      method: 'GET',
      path: '/replays/{replay_id}/log',
      permission: ['jobs:read'],
      tag: 'policy',
      summary: 'The log of a replay that is done: an entry for each denial',
      success: {
        status: 200,
        description: 'JSON Lines; `log.sha256` of the replay is the hash of these bytes',
        contentType: 'application/jsonl',
      },
      errors: ['not_found'],
      async handler({ caller, params }) {
        const replay = await found(caller.tenant, params.replay_id as string)
        if (replay.status !== 'done') throw new Problem('not_found', `The replay is ${replay.status}: it has no log`)
        return { headers: { 'content-type': 'application/jsonl' }, stream: replayLog(world.db, replay) }
      },
    },
  ]
}

const invalid = (path: string, message: string) => new Problem('invalid', undefined, { faults: [{ path, message }] })

function viewItem(replay: Replay): Wire.ReplayItem {
  const { replay_id, status, digest, rollout_id, candidate, asked_by, asked_at, progress, finished_at } = replay
  const { valid_until, voided_at, reason, outcome, log_hash, log_entries } = replay
  return {
    ...{ replay_id, status, policy_snapshot: shortForm(digest), digest, rollout_id, candidate, asked_by, asked_at },
    ...{ progress, finished_at, valid_until, voided_at, reason },
    counts: outcome === null ? null : countsOf(outcome),
    log: log_hash === null ? null : { entries: log_entries, sha256: log_hash },
  }
}

function viewReplay(replay: Replay): Wire.Replay {
  const { scenarios, recorded, generated } = replay.asked
  return {
    ...viewItem(replay),
    asked: {
      scenarios: scenarios.map(({ path, text }) => ({ path, sha256: sha256(text) })),
      recorded,
      generated,
    },
    suite: replay.outcome?.suite ?? null,
    recorded: replay.outcome?.recorded ?? null,
  }
}
