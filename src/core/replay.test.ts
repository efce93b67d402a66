import { expect, test } from 'vitest'
import { finish, type Replay, type ReplayOutcome } from './replay.js'
import { RecordedReplay } from './scenario/recorded.js'

const REPLAY: Replay = {
  ...{
    tenant: 't',
    replay_id: 'rpl_1',
    status: 'running',
    digest: 'd',
    active: 'a',
    rollout_id: 'rol_1',
    candidate: '2',
  },
  ...{ asked: { scenarios: [], recorded: null, generated: [] }, asked_by: 'person:ann', asked_at: 1, tries: 1 },
  ...{ progress: { scenario_runs: 0, recorded: 0 }, finished_at: null, valid_until: null, voided_at: null },
  ...{ outcome: null, log_hash: null, log_parts: 0, log_entries: 0, reason: null },
}
const outcome = (denied: number): ReplayOutcome => {
  const { done } = new RecordedReplay({} as never, [], () => {})
  return { suite: null, recorded: { ...done, looked_at: 9, runs: 9, decided: { ...done.decided, DENY: denied } } }
}

test('a run whose log lacks an entry of a denial has failed, and says nothing about the candidate', () => {
  const log = { hash: 'h', parts: 1, entries: 2 }
  const failed = finish(REPLAY, outcome(3), log, 5, 'system:replayer')
  expect(failed.next).toMatchObject({ status: 'failed', outcome: null, valid_until: null, finished_at: 5 })
  expect(failed.facts).toMatchObject([{ kind: 'replay.failed', reason: 'the log has 2 entries of 3 denials' }])
  const done = finish(REPLAY, outcome(2), log, 5, 'system:replayer')
  expect(done.next).toMatchObject({ status: 'done', log_hash: 'h', log_entries: 2 })
  expect(done.facts).toMatchObject([
    { kind: 'replay.run', rollout_id: 'rol_1', scenarios: 0, recorded: 9, denied: 2, log_hash: 'h' },
  ])
})
