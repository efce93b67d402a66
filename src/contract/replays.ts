import { type Static, Type } from 'typebox'
import { DecisionWord, Hash, HashOrShort, Id, Instant, Nullable } from './scalars.js'

const closed = { additionalProperties: false }
const MOST_TEXT = 131_072

const Variation = Type.Unsafe<'labels' | 'claims' | 'harmless' | 'spelling' | 'types' | 'wrapped' | 'emptied'>(
  Type.Union(
    (['labels', 'claims', 'harmless', 'spelling', 'types', 'wrapped', 'emptied'] as const).map((word) =>
      Type.Literal(word),
    ),
  ),
)
/** No control characters: the name is printed at terminals beside every fault. */
const FilePath = Type.String({ pattern: '^[^\\u0000-\\u001f\\u007f]+$', maxLength: 400 })
export const AskReplay = Type.Object(
  {
    snapshot: { ...HashOrShort, description: 'A stored snapshot, by digest or short form' },
    rollout_id: Type.Optional({
      ...Id,
      description:
        'Counts for this rollout alone. Of an agent or a workflow the snapshot has to be the active one, of a policy its candidate',
    }),
    scenarios: Type.Optional(
      Type.Array(Type.Object({ path: FilePath, text: Type.String({ maxLength: MOST_TEXT }) }, closed), {
        maxItems: 50,
        description: `Files of scenarios as YAML, ${MOST_TEXT} characters together`,
      }),
    ),
    recorded: Type.Optional(
      Type.Object(
        {
          from: Type.Optional(Instant),
          to: Type.Optional(Instant),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100_000, default: 10_000 })),
        },
        { ...closed, description: 'Recorded submits too, the newest first' },
      ),
    ),
    generated: Type.Optional(
      Type.Union([Type.Boolean(), Type.Array(Variation, { maxItems: 7, uniqueItems: true })], {
        description:
          "Whatever the policy's own tests, and recorded submits, show it keeps back is asked otherwise too: in all ways, or in these",
      }),
    ),
  },
  closed,
)
export type AskReplay = Static<typeof AskReplay>

const Count = Type.Integer({ minimum: 0 })
const Decided = Type.Object(
  { DENY: Count, REQUIRE_APPROVAL: Count, ALLOW_WITH_CONSTRAINTS: Count, ALLOW: Count },
  { description: 'Runs by what was decided' },
)
const Findings = { rules: Type.Array(Type.String()), reason: Type.String() }
const Suite = Type.Object({
  policy_snapshot: Type.String(),
  digest: Type.String(),
  scenarios: Count,
  runs: Type.Integer({ minimum: 0, description: 'Scenarios and their variants' }),
  decided: Decided,
  logged: Count,
  critical_bypasses: Count,
  bypasses: Count,
  overblocked: Count,
  unsafe_duplicates: Count,
  findings: Type.Array(
    Type.Object({
      scenario: Type.String(),
      variant: Nullable(Type.String()),
      kind: Type.String(),
      critical: Type.Boolean(),
      fault: Type.String({ description: 'bypass, overblocked or duplicate' }),
      decision: DecisionWord,
      at_least: DecisionWord,
      at_most: Nullable(DecisionWord),
      ...Findings,
    }),
    { description: 'At most 500; the counts are of all' },
  ),
})
const Recorded = Type.Object({
  looked_at: Count,
  undecidable: Type.Integer({ minimum: 0, description: 'Their payload was erased' }),
  runs: Type.Integer({ minimum: 0, description: 'Recorded submits and variants of them' }),
  decided: Decided,
  logged: Count,
  critical_bypasses: Type.Integer({
    minimum: 0,
    description: 'Done with nobody asked, though refused when it was recorded, or high risk',
  }),
  bypasses: Count,
  unsafe_duplicates: Type.Integer({
    minimum: 0,
    description:
      'The same submitted again in a run within ten minutes, both done alone, and no class says that is safe',
  }),
  findings: Type.Array(
    Type.Object({
      decision_id: Type.String(),
      variant: Nullable(Type.String()),
      agent: Type.String(),
      topic: Type.String(),
      critical: Type.Boolean(),
      fault: Type.String({ description: 'bypass or duplicate' }),
      before: DecisionWord,
      after: DecisionWord,
      of: Nullable(Type.String({ description: 'Of a duplicate: the decision before it' })),
      ...Findings,
    }),
    { description: 'At most 500; the counts are of all' },
  ),
})

const summary = {
  replay_id: Id,
  status: Type.Unsafe<'running' | 'done' | 'failed'>(
    Type.Union([Type.Literal('running'), Type.Literal('done'), Type.Literal('failed')]),
  ),
  policy_snapshot: Type.String({ description: 'Short form, e.g. v1:7f93d2c' }),
  digest: Type.String(),
  rollout_id: Nullable(Type.String()),
  candidate: Type.String({ description: 'Of the rollout; else the digest' }),
  asked_by: Type.String(),
  asked_at: Instant,
  progress: Type.Object({ scenario_runs: Count, recorded: Count }),
  finished_at: Nullable(Instant),
  valid_until: Nullable(
    Type.Integer({ description: 'A gate takes it until then, or until another snapshot becomes active, epoch ms' }),
  ),
  voided_at: Nullable(Type.Integer({ description: 'When another snapshot became active, epoch ms' })),
  reason: Nullable(Type.String({ description: 'Why it failed' })),
  counts: Nullable(
    Type.Object({
      scenarios: Type.Integer({ minimum: 0, description: 'Written ones: of the suite and of the policy’s tests' }),
      runs: Count,
      recorded: Count,
      denied: Count,
      critical_bypasses: Count,
      bypasses: Count,
      overblocked: Count,
      unsafe_duplicates: Count,
    }),
  ),
  log: Nullable(
    Type.Object({
      entries: Type.Integer({ minimum: 0, description: 'As many as were denied' }),
      sha256: { ...Hash, description: 'Over the log as it is served; the audit entry `replay.run` has it too' },
    }),
  ),
}
export const ReplayItem = Type.Object(summary)
export type ReplayItem = Static<typeof ReplayItem>
export const ReplayPage = Type.Object({ items: Type.Array(ReplayItem), next_cursor: Nullable(Type.String()) })
export type ReplayPage = Static<typeof ReplayPage>
export const Replay = Type.Object({
  ...summary,
  asked: Type.Object({
    scenarios: Type.Array(Type.Object({ path: Type.String(), sha256: Type.String() })),
    recorded: Nullable(Type.Object({ from: Nullable(Instant), to: Instant, limit: Type.Integer() })),
    generated: Type.Array(Variation),
  }),
  suite: Nullable(Suite),
  recorded: Nullable(Recorded),
})
export type Replay = Static<typeof Replay>
