import type { CompiledPolicy } from './compile.js'
import { topicMatches } from './topics.js'

/**
 * What the plane itself does once the doors let it, as any other action: these topics are no worker's. Rules name them, so they are part
 * of the policy language.
 */
export const CHANGES = { activate: 'sallyport.policy.activate', rollback: 'sallyport.policy.rollback' } as const
export type ChangeKind = keyof typeof CHANGES
export const CHANGE_TOPICS: readonly string[] = Object.values(CHANGES)

const OWN = 'sallyport'

/** A topic that is kept for the plane itself. */
export const isOwn = (topic: string): boolean => topic.split('.')[0] === OWN

/**
 * Whether the policy has a say in what comes after it: only where a rule names the plane's own topics by their first word. A rule for
 * `>` was written with agents in mind; taken for this one too, a policy that denies what it does not know could never be replaced.
 */
export function governs({ document }: CompiledPolicy, kind: ChangeKind): boolean {
  const speaks = (pattern: string) => isOwn(pattern) && topicMatches(pattern, CHANGES[kind])
  return document.rules.some(({ match }) => match.topic?.some(speaks))
}

/** What is asked, as rules see it (`input.…`) and as reviewers are shown it. */
export interface Change {
  /** Digests: what is to be active, in the place of what. */
  snapshot: string
  before: string
  source: 'file' | 'api'
  rules: number
  author: string | null
  source_commit: string | null
  reviewers: string[]
  note: string | null
}

/** Null where an input, which an editing reviewer may have written, asks for nothing that could be done. */
export function changeOf(input: unknown): Pick<Change, 'snapshot' | 'before'> | null {
  if (typeof input !== 'object' || input === null) return null
  const { snapshot, before } = input as Partial<Record<keyof Change, unknown>>
  return isDigest(snapshot) && isDigest(before) ? { snapshot, before } : null
}

const isDigest = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)

/** Why what was let through can no longer be done; null where it can. */
export function changeFault(change: Pick<Change, 'before'> | null, active: string | null): string | null {
  if (change === null) return 'The input names no snapshot and what it takes the place of'
  // What was reviewed is the step from one policy to another.
  return active === change.before ? null : 'Another policy was activated since this was asked: ask again'
}
