import { AT } from './example-rows.js'

const MADE = { decision_id: 'dec_01m7vps2s1bjb3ds4rbp6kekzg' }
const CHECK = { name: 'job.exec.shell is answered 403', pass: true, detail: 'policy_denied' }

const RUN = {
  drill_id: 'drl_01m7vq208t9h1qk3s5x7c2d4ef',
  drill: 'deny',
  outcome: 'passed',
  at: AT,
  valid_until: AT + 691_200_000,
  took_ms: 640,
  made: MADE,
  checks: [
    { by: 'reporter', ...CHECK },
    { by: 'server', name: 'it left no job', pass: true, detail: 'none' },
  ],
  figures: {},
  recorded_by: 'person:sre',
}

const DRILL = {
  drill: 'deny',
  title: 'A forbidden action is refused, recorded, and leaves no job',
  owner: 'team:sre',
  every_ms: 604_800_000,
  due_at: AT + 604_800_000,
  stands: true,
  newest: RUN,
}

export const DRILL_EXAMPLES = {
  'drills.list': { response: { items: [DRILL], next_cursor: null } },
  'drills.get': { response: { ...DRILL, runs: { items: [RUN], next_cursor: null } } },
  'drills.report': { request: { took_ms: 640, made: MADE, checks: [CHECK] }, response: RUN },
  'drills.schedule': { request: { owner: 'team:sre', every_ms: 604_800_000 }, response: DRILL },
}
