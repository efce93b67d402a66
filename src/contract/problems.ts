import { type Static, Type } from 'typebox'

/** RFC 9457. `status` is the number here and nowhere else; a job's state is the word. */
export const Problem = Type.Object(
  {
    type: Type.String({ description: 'Place in the error catalogue, /docs#error-<code>' }),
    title: Type.String(),
    status: Type.Integer({ description: 'The HTTP status' }),
    detail: Type.Optional(Type.String({ description: 'What is wrong with this very request' })),
    code: Type.String({ description: 'Stable, from the error catalogue' }),
    help: Type.Optional(Type.String({ description: 'What to do about it' })),
    retryable: Type.Boolean({ description: 'Whether the same request may succeed later without being changed' }),
    retry_after_ms: Type.Optional(Type.Integer({ description: 'When to try again; Retry-After has it in seconds' })),
    request_id: Type.Optional(Type.String({ description: 'Finds the request in the log of the server' })),
    faults: Type.Optional(
      Type.Array(
        Type.Object({
          path: Type.String(),
          message: Type.String(),
          line: Type.Optional(Type.Integer({ description: 'In a policy file' })),
          column: Type.Optional(Type.Integer({ description: 'In a policy file' })),
          file: Type.Optional(Type.String({ description: 'The policy file' })),
          at: Type.Optional(Type.String({ description: 'Place in the policy document, e.g. rules[0].decision' })),
          severity: Type.Optional(Type.String()),
          code: Type.Optional(Type.String({ description: 'What kind of fault of a policy, e.g. unknown_key' })),
          hint: Type.Optional(Type.String({ description: 'What would mend it' })),
        }),
        { description: 'Every fault of the request or the policy, at most 50 of a request' },
      ),
    ),
    decision: Type.Optional(Type.String({ description: 'DENY, with policy_denied and out_of_scope' })),
    missing: Type.Optional(
      Type.Array(Type.String(), { description: 'What the terms of the agent lack, with out_of_scope' }),
    ),
    fallback: Type.Optional(Type.String({ description: 'What people do instead of the agent, where its terms say' })),
    stop_id: Type.Optional(Type.String({ description: 'What stops it, with stopped and approval_frozen' })),
    rollout_id: Type.Optional(
      Type.String({ description: 'The rollout that keeps it from this caller, or that does not move' }),
    ),
    rollout_status: Type.Optional(Type.String({ description: 'State of the rollout, where a step is refused' })),
    decision_id: Type.Optional(Type.String()),
    reason: Type.Optional(Type.String({ description: 'The reason the policy gives' })),
    rules: Type.Optional(Type.Array(Type.String(), { description: 'Rules that matched, or the limit that is spent' })),
    policy_snapshot: Type.Optional(Type.String()),
    approval_id: Type.Optional(Type.String()),
    job_hash: Type.Optional(Type.String({ description: 'What an approval asks for now, with approval_stale' })),
    grant_hash: Type.Optional(Type.String({ description: 'What an approval asks for now, with approval_stale' })),
    job_status: Type.Optional(
      Type.String({ description: 'State of the job, with illegal_transition and result_not_ready' }),
    ),
    findings: Type.Optional(
      Type.Array(Type.Unknown(), { description: 'What the output screen found, with result_quarantined' }),
    ),
    topics: Type.Optional(Type.Array(Type.String(), { description: 'Topics of the key, with topic_refused' })),
    run_id: Type.Optional(Type.String({ description: 'The run of the token, with run_refused' })),
    rotated_to: Type.Optional(Type.String({ description: 'The key that follows it, with key_closed' })),
    from: Type.Optional(Type.Array(Type.String(), { description: 'Who may answer, with not_an_approver' })),
    stage: Type.Optional(Type.String({ description: 'The agent’s stage now, with stage_not_earned' })),
    criteria: Type.Optional(
      Type.Array(
        Type.Object({
          criterion: Type.String(),
          needs: Type.Number(),
          is: Type.Union([Type.Number(), Type.Null()]),
          holds: Type.Boolean(),
        }),
        { description: 'What the next stage needs, with stage_not_earned' },
      ),
    ),
    workflow: Type.Optional(Type.String({ description: 'The one on trial, with workflow_on_trial' })),
    opened_at: Type.Optional(Type.Integer()),
    ends: Type.Optional(
      Type.Object(
        { succeeded: Type.Integer(), failed: Type.Integer() },
        { description: 'How its jobs ended, with workflow_on_trial' },
      ),
    ),
    needs: Type.Optional(
      Type.Union([Type.Array(Type.String()), Type.String()], {
        description:
          'Permissions, any of which would do, or what of the request is more than the key has, with forbidden',
      }),
    ),
  },
  { description: 'Every refusal and fault, as application/problem+json (RFC 9457)' },
)
export type Problem = Static<typeof Problem>
