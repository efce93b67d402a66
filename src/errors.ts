/**
 * The one catalogue of errors. A code is a promise: it never changes its meaning and its status.
 * `retryable` says whether the same request may succeed later without being changed.
 * docs/errors.md is generated from this object and a test compares the two.
 */
export const ERRORS = {
  invalid: {
    status: 422,
    retryable: false,
    title: 'The request does not fit its schema',
    help: 'Mend every fault listed under `faults`; each names its path.',
  },
  malformed: {
    status: 400,
    retryable: false,
    title: 'The body is not acceptable JSON',
    help: 'Send one UTF-8 JSON value without repeated keys, NUL, lone surrogates or `__proto__`, nested at most 64 deep.',
  },
  too_large: {
    status: 413,
    retryable: false,
    title: 'The body is too large',
    help: 'Send at most 2 MiB and 100,000 values; put large material elsewhere and send a reference.',
  },
  unsupported_media_type: {
    status: 415,
    retryable: false,
    title: 'The body is not JSON',
    help: 'Send `Content-Type: application/json`.',
  },
  unauthenticated: {
    status: 401,
    retryable: false,
    title: 'No valid key',
    help: 'Send `X-API-Key: sp_…` or `Authorization: Bearer sp_…`. Keys are made with `sallyport keys create`.',
  },
  sign_on_failed: {
    status: 401,
    retryable: false,
    title: 'That did not sign you on',
    help: 'Try again from /sign-on; where the password is lost, an admin invites you again.',
  },
  forbidden: {
    status: 403,
    retryable: false,
    title: 'The key may not do this',
    help: 'Use a key that may do it; `needs`, where it is there, says which permission.',
  },
  act_as_refused: {
    status: 403,
    retryable: false,
    title: 'The key may not act as this agent',
    help: 'Leave `agent` out, or use the key of that agent.',
  },
  topic_refused: {
    status: 403,
    retryable: false,
    title: 'The key is not bound to this topic',
    help: 'Use a key whose topics cover it: `sallyport keys create --topics …`.',
  },
  run_refused: {
    status: 403,
    retryable: false,
    title: 'The token is bound to another run',
    help: 'Send the `run_id` it was minted for, or use a token without one.',
  },
  csrf: {
    status: 403,
    retryable: false,
    title: 'A session alone does not do this',
    help: 'Send `X-CSRF-Token` as GET /api/v1/session tells it, from a page of this server; or use a key.',
  },
  not_admitted: {
    status: 403,
    retryable: false,
    title: 'Nobody here is you',
    help: 'An admin declares you with your e-mail address, or maps one of your groups: docs/sign-on.md.',
  },
  self_approval: {
    status: 403,
    retryable: false,
    title: 'Nobody approves what they requested',
    help: 'Ask somebody else.',
  },
  not_an_approver: {
    status: 403,
    retryable: false,
    title: 'The approval asks for somebody else',
    help: 'See `approval.from` of the approval.',
  },
  policy_denied: {
    status: 403,
    retryable: false,
    title: 'Policy denies this action',
    help: 'Read `reason` and `rules`; `sallyport policy explain` shows the why-not.',
  },
  manual_path: {
    status: 403,
    retryable: false,
    title: 'People do this while a rollout runs',
    help: 'The rollout of this agent leaves work outside its slice to people; `fallback` says what they do, `sallyport rollouts list` which rollout it is.',
  },
  version_refused: {
    status: 403,
    retryable: false,
    title: 'Another version of the agent does this',
    help: 'Ask GET /rollouts/{rollout_id}/assignment which version a routing key falls to, and submit as that one.',
  },
  rolled_back: {
    status: 403,
    retryable: false,
    title: 'The candidate that this was for was rolled back',
    help: 'Submit it again: the stable version does it. `sallyport rollouts show` says why the candidate was taken back.',
  },
  gate_blocks: {
    status: 409,
    retryable: false,
    title: 'The gate does not let this phase go on',
    help: '`detail` says what is missing; only evidence that says pass promotes. Two people together may override it, for good on record.',
  },
  evidence_stale: {
    status: 409,
    retryable: false,
    title: 'The evidence is not of the gate that stands before the rollout now',
    help: 'Ask the gate again with `sallyport gate evaluate` and promote on what it says.',
  },
  out_of_scope: {
    status: 403,
    retryable: false,
    title: 'The agent is not scoped for this action',
    help: '`missing` names what its terms lack; an admin changes them with `sallyport apply` or PUT /principals/{principal}.',
  },
  stopped: {
    status: 403,
    retryable: false,
    title: 'This work is stopped',
    help: 'A person stopped it: `reason` says why, `fallback` what people do meanwhile. GET /stops/{stop_id} shows it; two people resume it.',
  },
  breaker_open: {
    status: 403,
    retryable: true,
    title: 'The agent is out after failures',
    help: 'It is tried again by itself after `Retry-After`; `sallyport breakers close` ends it before, `fallback` says what people do meanwhile.',
  },
  result_quarantined: {
    status: 403,
    retryable: false,
    title: 'The result is held back',
    help: 'A person with `results:release` may release or discard it.',
  },
  not_found: {
    status: 404,
    retryable: false,
    title: 'There is no such thing here',
    help: 'Check the id, the tenant of the key, and whether it was ever declared.',
  },
  method_not_allowed: { status: 405, retryable: false, title: 'This method is not served here', help: 'See /docs.' },
  idempotency_conflict: {
    status: 409,
    retryable: false,
    title: 'The idempotency key was used for another request',
    help: 'Use a new key for a new request.',
  },
  illegal_transition: {
    status: 409,
    retryable: false,
    title: 'The state does not allow this',
    help: 'Read the current `status` and decide again.',
  },
  approval_stale: {
    status: 409,
    retryable: false,
    title: 'What you saw is not what would be approved',
    help: 'Read the approval again and echo its new `grant_hash`.',
  },
  key_closed: {
    status: 409,
    retryable: false,
    title: 'The key is revoked, expired or rotated already',
    help: 'See `sallyport keys list`; make a new key where none follows it.',
  },
  approval_frozen: {
    status: 409,
    retryable: false,
    title: 'The work is stopped, and nothing about it is answered',
    help: 'Resume the stop first; what is not answered in its time still expires.',
  },
  approval_closed: {
    status: 409,
    retryable: false,
    title: 'The approval is already answered, expired or void',
    help: 'Read the approval: it says how it ended. Where nobody said yes and the work is still wanted, submit again.',
  },
  workflow_on_trial: {
    status: 409,
    retryable: false,
    title: 'Another workflow is still on trial',
    help: 'One at a time until three ran well for a week each: see `sallyport workflows list`; close the one on trial, or wait.',
  },
  stage_not_earned: {
    status: 409,
    retryable: false,
    title: 'The agent has not earned the next stage yet',
    help: '`criteria` says what holds and what does not; GET /agents/{agent}/autonomy shows it as it is now.',
  },
  result_not_ready: {
    status: 409,
    retryable: true,
    title: 'There is no result yet',
    help: 'Ask again when the job has finished.',
  },
  lease_lost: {
    status: 409,
    retryable: false,
    title: 'The lease is no longer yours',
    help: 'Stop this attempt; another may hold the job.',
  },
  effect_refused: {
    status: 409,
    retryable: false,
    title: 'The effect may not begin',
    help: 'The job is cancelled or stopped, policy binds it tighter than its lease was told, its lease is too short, or it has 1,000 effects; stop this attempt.',
  },
  effect_not_decidable: {
    status: 409,
    retryable: true,
    title: 'The effect may still happen',
    help: 'Wait until the hard end of the lease, named in `retry_after_ms`.',
  },
  completion_conflict: {
    status: 409,
    retryable: false,
    title: 'The lease was completed with another outcome',
    help: 'The first completion stands.',
  },
  snapshot_conflict: {
    status: 409,
    retryable: true,
    title: 'The active snapshot changed meanwhile',
    help: 'Read /policy and decide again.',
  },
  link_gone: {
    status: 410,
    retryable: false,
    title: 'This link leads nowhere any more',
    help: 'It was used, its time is over, or the question was answered; see `sallyport approvals list`.',
  },
  link_page: {
    status: 403,
    retryable: false,
    title: 'The answer did not come from a page of this link, or from one that is over an hour old',
    help: 'Open the link of the mail again and answer there.',
  },
  chat_unsigned: {
    status: 401,
    retryable: false,
    title: 'This is not signed as the channel’s app signs, or not now',
    help: 'Compare the app’s signing secret with the variable that `signing_env` names, and the clocks: five minutes are let pass.',
  },
  chat_replayed: {
    status: 409,
    retryable: false,
    title: 'This request was taken before',
    help: 'Click again: every click is signed anew.',
  },
  chat_refused: {
    status: 403,
    retryable: false,
    title: 'This cannot be answered from there, or not by you',
    help: 'Whoever clicks is a person with this `slack` id, in the workspace that the channel names; see docs/channels.md.',
  },
  not_dead: {
    status: 409,
    retryable: false,
    title: 'Only a dead delivery is sent again',
    help: 'See `sallyport deliveries list`; what is pending is tried by itself.',
  },
  invitation_closed: {
    status: 410,
    retryable: false,
    title: 'The invitation was used, replaced, or is too old',
    help: 'An admin invites you again: `sallyport accounts invite person:NAME`.',
  },
  policy_invalid: {
    status: 422,
    retryable: false,
    title: 'The policy has faults',
    help: 'Each fault names line and column; `sallyport policy check FILE` shows the same, but for what only the server knows, such as who there is.',
  },
  directory_invalid: {
    status: 422,
    retryable: false,
    title: 'The directory file has faults',
    help: 'Each fault names line and column; `sallyport diff FILE` shows the same.',
  },
  rate_limited: { status: 429, retryable: true, title: 'Too many', help: 'Wait as `Retry-After` says.' },
  overloaded: {
    status: 503,
    retryable: true,
    title: 'More work than can be taken',
    help: 'Wait as `Retry-After` says; nothing of this request was recorded.',
  },
  no_policy: {
    status: 503,
    retryable: true,
    title: 'No policy is active',
    help: 'Activate a snapshot: nothing is let through without one.',
  },
  outcome_unknown: {
    status: 503,
    retryable: true,
    title: 'It is not known whether this was recorded',
    help: 'Repeat with the same Idempotency-Key: it is done at most once.',
  },
  store_unavailable: {
    status: 503,
    retryable: true,
    title: 'The store does not answer',
    help: 'Nothing is let through while it is gone; try again.',
  },
  archived: {
    status: 503,
    retryable: true,
    title: 'The entry is in an archive that cannot be read here',
    help: 'The detail names the file; see that the folder of SALLYPORT_AUDIT_ARCHIVE is there on this node.',
  },
  provider_unavailable: {
    status: 503,
    retryable: true,
    title: 'The provider people sign on at does not answer',
    help: 'Sessions and keys go on; try again in a moment.',
  },
  draining: {
    status: 503,
    retryable: true,
    title: 'This node is stopping',
    help: 'Ask another node, or again in a moment.',
  },
  internal: {
    status: 500,
    retryable: true,
    title: 'An unexpected fault',
    help: 'The log has the cause under `request_id`.',
  },
} as const satisfies Record<string, { status: number; retryable: boolean; title: string; help: string }>

export type ErrorCode = keyof typeof ERRORS

/** One fault of an invalid request or file: where, and what would mend it. */
export interface FaultDetail {
  path: string
  message: string
}

/**
 * The only exception that reaches a caller. `detail` and `extra` are public; `cause` is for the log alone.
 * Denials are values, not exceptions, until the edge turns them into an answer.
 */
export class Problem extends Error {
  readonly code: ErrorCode
  readonly extra: Record<string, unknown>
  constructor(code: ErrorCode, detail?: string, extra: Record<string, unknown> = {}, cause?: unknown) {
    super(detail ?? ERRORS[code].title, cause === undefined ? undefined : { cause })
    this.name = 'Problem'
    this.code = code
    this.extra = extra
  }
  get status(): number {
    return ERRORS[this.code].status
  }
}

/** The engine said no: `state` is the SQLSTATE. A lost connection has state '08006'. */
export class DbError extends Error {
  readonly state: string
  constructor(message: string, state: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'DbError'
    this.state = state
  }
}

/**
 * The engine is not there, or not for us now: no connection (08), no resources (53), ended or cancelled from outside (57), locked
 * (55P03). Nothing about the request is wrong; it may come again.
 */
export function isAbsent(error: unknown): boolean {
  return error instanceof DbError && (/^(08|53|57)/.test(error.state) || error.state === '55P03')
}
