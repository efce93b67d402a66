import { AT, DIGEST } from './example-rows.js'

const NINETY_DAYS_MS = 7_776_000_000
const WORD = {
  attestation_id: 'att_01m7vq208t9h1qk3s5x7c2d4ef',
  subject: 'on_call_runbook',
  attested_by: 'person:olga',
  note: 'read it with those on call',
  link: 'https://wiki.example.com/runbooks/agents',
  at: AT,
  expires_at: AT + NINETY_DAYS_MS,
}

const NEVER = 'the incident-replay drill was never run: sallyport drill run incident-replay'
const FINDING = {
  state: 'unknown',
  reason: NEVER,
  link: '/api/v1/drills/incident-replay',
  at: null,
  expires_at: null,
  owner: null,
  attestable: null,
}

const ENTRY = {
  id: 'incident_replay',
  number: 20,
  area: 'Compliance',
  title: 'An incident can be told from the record',
  signal: 'One run was reconstructed from end to end, lately',
  blocks_launch: false,
  state: 'unknown',
  reason: NEVER,
  link: '/api/v1/drills/incident-replay',
  findings: [FINDING],
  owner: 'ai-governance',
  at: null,
  expires_at: null,
  attestable: null,
  attestation: null,
}

const REPORT = {
  ready: false,
  at: AT,
  tenant: 'default',
  snapshot: DIGEST,
  controls: [ENTRY],
  items: [],
  blocked_by: ['on_call_answers'],
}

export const READINESS_EXAMPLES = {
  'readiness.get': { response: REPORT },
  'readiness.attest': {
    request: { subject: WORD.subject, note: WORD.note, link: WORD.link },
    response: WORD,
  },
}
