import { ABSENCE, AGENT, APPROVAL, AT, DEPLOY, GRANT, GRANT_HASH } from './example-rows.js'

const page = <T>(...items: T[]) => ({ items, next_cursor: null })

/** Questions to people, and what they said beforehand. */
export const APPROVAL_EXAMPLES = {
  'approvals.list': { response: page(APPROVAL) },
  'approvals.get': {
    response: {
      ...APPROVAL,
      job: {
        agent_version: null,
        labels: DEPLOY.labels,
        risk_tags: [],
        environment: null,
        action_type: null,
        capability: null,
        action: null,
        workflow: null,
        timeout_ms: null,
        max_attempts: null,
        not_before: null,
        effective: { labels: { env: 'prod' }, risk_tags: [], environment: null, action_type: null },
        input: DEPLOY.input,
        context: null,
      },
    },
  },
  'approvals.approve': {
    request: { grant_hash: GRANT_HASH, note: 'change 4711' },
    response: {
      ...APPROVAL,
      status: 'approved',
      valid_until: AT + 86_433_000,
      answers: [{ by: 'approver:first', answer: 'approve', at: AT + 33_000, note: 'change 4711' }],
    },
  },
  'approvals.reject': {
    request: { reason: 'freeze until Monday', grant_hash: GRANT_HASH },
    response: {
      ...APPROVAL,
      status: 'rejected',
      answers: [{ by: 'approver:first', answer: 'reject', at: AT + 33_000, note: 'freeze until Monday' }],
    },
  },
  'approvals.edit': {
    request: { grant_hash: GRANT_HASH, input: { ...DEPLOY.input, version: '1.4.3' }, note: '1.4.2 was withdrawn' },
    response: {
      ...APPROVAL,
      status: 'approved',
      valid_until: AT + 86_433_000,
      asked_of: [],
      open: [],
      answers: [{ by: 'approver:first', answer: 'approve', at: AT + 33_000, note: '1.4.2 was withdrawn' }],
      edits: [{ by: 'approver:first', at: AT + 33_000, note: '1.4.2 was withdrawn', paths: ['version'] }],
    },
  },
  'approvals.request_changes': {
    request: { reason: 'name the ticket in context' },
    response: {
      ...APPROVAL,
      status: 'rejected',
      asked_of: [],
      open: [],
      answers: [{ by: 'approver:first', answer: 'reject', at: AT + 33_000, note: 'name the ticket in context' }],
    },
  },
  'grants.list': { response: page(GRANT) },
  'grants.create': {
    request: {
      agent: AGENT,
      topic: GRANT.topic,
      when: GRANT.when,
      uses: GRANT.uses,
      expires_at: GRANT.expires_at,
      reason: GRANT.reason,
    },
    response: { ...GRANT, used: 0 },
  },
  'grants.get': { response: GRANT },
  'grants.revoke': {
    response: { ...GRANT, state: 'revoked', revoked_at: AT + 60_000, revoked_by: 'approver:first' },
  },
  'absences.list': { response: page(ABSENCE) },
  'absences.put': {
    request: { from: ABSENCE.from, until: ABSENCE.until, delegate: ABSENCE.delegate },
    response: ABSENCE,
  },
}
