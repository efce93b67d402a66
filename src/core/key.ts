import type { Caller, Permission, Role } from './access.js'
import { may, ROLES } from './access.js'
import { patternCovers } from './policy/topics.js'

const DAY_MS = 86_400_000
/** A key is renewed every 90 days; a week before is time enough to plan it. */
export const ROTATE_MS = 90 * DAY_MS
export const NOTICE_MS = 7 * DAY_MS

/** How long the old key still opens after a rotation: a day unless said, and at most 30 days. */
export const OVERLAP_MS = DAY_MS

/** Why somebody should look at a key: it nears 90 days, is past them, or expires within a week. */
export type DueStage = 'rotation' | 'overdue' | 'expiry'

interface Lifetime {
  created_at: number
  expires_at: number | null
  revoked_at: number | null
  rotated_to: string | null
  /** Of its principal. */
  disabled_at: number | null
}

/** Why a key opens nothing, or null while it does. */
export function endOf(
  { expires_at, revoked_at, disabled_at }: Pick<Lifetime, 'expires_at' | 'revoked_at' | 'disabled_at'>,
  now: number,
): 'revoked' | 'disabled' | 'expired' | null {
  if (revoked_at !== null) return 'revoked'
  if (disabled_at !== null) return 'disabled'
  return expires_at !== null && expires_at <= now ? 'expired' : null
}

/** What the store knows now of who asks: of the key, link or person they came with. */
export interface KnownNow {
  has_row: boolean
  revoked_at: number | null
  disabled_at: number | null
  expires_at: number | null
  /** Null: nothing is known of them. */
  role: Role | null
}

export type Lapse = 'gone' | 'revoked' | 'disabled' | 'expired' | 'changed'

/** Ids of what the store has a row for. Who comes by a click in Slack, or is the plane itself, stands as their principal does. */
const ON_RECORD = /^(key|link)_[0-9a-z]{26}$/

/** Why who asks may not go on with what they were let in for; null while they may. A token ends by itself, before its key does. */
export function lapseOf(
  { key_id, role, expires_at = null }: { key_id: string; role?: Role; expires_at?: number | null },
  known: KnownNow,
  now: number,
): Lapse | null {
  if (!known.has_row && ON_RECORD.test(key_id)) return 'gone'
  const end = endOf(known, now) ?? endOf({ revoked_at: null, disabled_at: null, expires_at }, now)
  if (end !== null) return end
  return role !== undefined && known.role !== null && role !== known.role ? 'changed' : null
}

/** As whoever asks is told. */
export const LAPSED: Record<Lapse, string> = {
  gone: 'The key is no longer kept',
  revoked: 'The key was revoked',
  disabled: 'Its principal was disabled',
  expired: 'The key has expired',
  changed: 'Its principal has another role than when this was asked: ask again',
}

/** What is due about a key. Nothing about one that opens nothing, or that has a successor already: its end is what was wanted. */
export function dueOf(key: Lifetime, now: number): DueStage[] {
  if (key.rotated_to !== null || endOf(key, now) !== null) return []
  const age = now - key.created_at
  const due: DueStage[] = []
  if (age >= ROTATE_MS) due.push('overdue')
  else if (age >= ROTATE_MS - NOTICE_MS) due.push('rotation')
  if (key.expires_at !== null && key.expires_at - now <= NOTICE_MS) due.push('expiry')
  return due
}

/** What a key may do: its role, narrowed where it is narrowed. */
export function permissionsOf({ role, permissions }: { role: Role; permissions: readonly Permission[] | null }) {
  return ROLES[role].filter((permission) => may({ role, permissions }, permission))
}

/** What somebody asks to hand on: as a key or as a token. */
export interface Asked {
  permissions: readonly Permission[]
  /** Null: any. */
  topics: readonly string[] | null
  act_as: readonly string[]
}

/** What of this is more than the caller has, in words; empty where it may hand all of it on. */
export function beyond(caller: Pick<Caller, 'role' | 'permissions' | 'topics' | 'act_as' | 'principal'>, asked: Asked) {
  const missing: string[] = asked.permissions.filter((permission) => !may(caller, permission))
  const { topics } = caller
  if (topics !== null) {
    const uncovered = (asked.topics ?? ['>']).filter((narrow) => !topics.some((wide) => patternCovers(wide, narrow)))
    missing.push(...uncovered.map((topic) => `topic ${topic}`))
  }
  const stranger = (agent: string) => agent !== caller.principal && !caller.act_as.includes(agent)
  missing.push(...asked.act_as.filter(stranger).map((agent) => `act as ${agent}`))
  return missing
}

/**
 * As `beyond`, for the making of keys. An admin whose key is not narrowed makes keys for parts that it does not play itself, a
 * worker's and those of agents: that is what `keys:write` is. A narrowed one would make itself whole again that way.
 */
export function beyondMaker(caller: Parameters<typeof beyond>[0], asked: Asked): string[] {
  return isWhole(caller) ? [] : beyond(caller, asked)
}

/** Whether it is all that an admin has. */
export const isWhole = ({ role, permissions, topics }: Pick<Caller, 'role' | 'permissions' | 'topics'>) =>
  role === 'admin' && permissions === null && topics === null
