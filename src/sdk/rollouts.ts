import type {
  Retried,
  RetryCompensations,
  RollbackReport,
  SettleCompensation,
  Settled,
} from '../contract/compensations.js'
import type { Assignment, Rollout, RolloutPage, RolloutQuery } from '../contract/rollouts.js'
import { segment, type Transport } from './transport.js'

/** New versions of agents, workflows and policies that come in by stages. */
export interface Rollouts {
  list(query?: RolloutQuery): Promise<RolloutPage>
  get(rolloutId: string): Promise<Rollout>
  /** A draft of what the JSON says (docs/rollouts.md); 422 `invalid` names every fault with its path. */
  declare(declaration: unknown): Promise<Rollout>
  start(rolloutId: string): Promise<Rollout>
  pause(rolloutId: string, reason: string): Promise<Rollout>
  resume(rolloutId: string): Promise<Rollout>
  /** On evidence of its phase that says pass; 409 `gate_blocks` or `evidence_stale`. */
  promote(rolloutId: string, evidenceHash: string): Promise<Rollout>
  /** Asks to go on without the gate; another person who says the same carries it out. 403 `self_approval` for the same one. */
  override(rolloutId: string, reason: string, evidenceHash?: string): Promise<Rollout>
  rollBack(rolloutId: string, reason: string): Promise<Rollout>
  /** Which version a routing key falls to until the next step of the rollout. */
  assignment(rolloutId: string, key: string): Promise<Assignment>
  /** What its rollback did, with its times; 409 `illegal_transition` where it was not rolled back. */
  report(rolloutId: string): Promise<RollbackReport>
  /** Asks again for what stands in the way of its rollback. */
  retry(rolloutId: string, which?: RetryCompensations): Promise<Retried>
  /** Says that an effect was undone by hand, or need not be. */
  settle(rolloutId: string, what: SettleCompensation): Promise<Settled>
}

export function rolloutsOf(http: Transport): Rollouts {
  const at = (id: string, rest = '') => `/api/v1/rollouts/${segment(id)}${rest}`
  return {
    list: (query) => http.request('GET', '/api/v1/rollouts', { query }),
    get: (id) => http.request('GET', at(id)),
    declare: (declaration) => http.request('POST', '/api/v1/rollouts', { body: { declaration } }),
    start: (id) => http.request('POST', at(id, '/start')),
    pause: (id, reason) => http.request('POST', at(id, '/pause'), { body: { reason } }),
    resume: (id) => http.request('POST', at(id, '/resume')),
    promote: (id, evidence_hash) => http.request('POST', at(id, '/promote'), { body: { evidence_hash } }),
    override: (id, reason, evidence_hash) =>
      http.request('POST', at(id, '/override'), {
        body: { reason, ...(evidence_hash === undefined ? {} : { evidence_hash }) },
      }),
    rollBack: (id, reason) => http.request('POST', at(id, '/roll-back'), { body: { reason } }),
    assignment: (id, key) => http.request('GET', at(id, '/assignment'), { query: { key } }),
    report: (id) => http.request('GET', at(id, '/report')),
    retry: (id, which = {}) => http.request('POST', at(id, '/compensations/retry'), { body: which }),
    settle: (id, what) => http.request('POST', at(id, '/compensations/settle'), { body: what }),
  }
}
