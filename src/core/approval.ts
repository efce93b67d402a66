import type { ApprovalSpec } from './policy/document.js'

/** A question to people, bound to exactly what they are shown. */
export interface Approval {
  tenant: string
  approval_id: string
  version: number
  job_id: string
  status: 'pending' | 'approved' | 'rejected' | 'expired' | 'void'
  requested_by: string
  /** Who caused this question: the requester, or whoever replayed the job. May no more answer it than the requester. */
  raised_by: string
  agent: string
  topic: string
  requested_at: number
  expires_at: number
  valid_until: number | null
  decision_id: string
  reason: string
  rules: string[]
  constraints: Record<string, import('./json.js').Json>
  specs: ApprovalSpec[]
  snapshot: string
  job_hash: string
  grant_hash: string
  bound_hash: string
  answers: Answer[]
}

export interface Answer {
  by: string
  role: string
  team: string | null
  /** The key it was given with: an answer of a key that was revoked since counts no more. */
  key_id: string
  answer: 'approve' | 'reject'
  at: number
  note: string | null
}

export interface Reviewer {
  principal: string
  role: string
  team: string | null
}

/** Whether this reviewer is one of those a spec asks. An admin stands in for a role, never for a team or a named person. */
export function mayAnswer(spec: ApprovalSpec, reviewer: Reviewer): boolean {
  return spec.from.some((who) => {
    const at = who.indexOf(':')
    const name = who.slice(at + 1)
    switch (who.slice(0, at)) {
      case 'role':
        return reviewer.role === name || reviewer.role === 'admin'
      case 'team':
        return reviewer.team === name
      case 'principal':
        return reviewer.principal === name
      default:
        return false
    }
  })
}

/** Every spec has its number of distinct people. One person may serve several specs, never one spec twice. */
export function isSatisfied(specs: readonly ApprovalSpec[], answers: readonly Answer[]): boolean {
  return specs.every((spec) => {
    const people = new Set<string>()
    for (const a of answers) {
      if (a.answer === 'approve' && mayAnswer(spec, { principal: a.by, role: a.role, team: a.team })) people.add(a.by)
    }
    return people.size >= spec.need
  })
}

/** The earliest deadline of all specs binds; past it the approval expires, and an expiry never allows. */
export function expiryOf(specs: readonly ApprovalSpec[], now: number): number {
  return now + Math.min(...specs.map((s) => s.within_ms))
}

export function validUntil(specs: readonly ApprovalSpec[], now: number): number {
  return now + Math.min(...specs.map((s) => s.valid_for_ms))
}
