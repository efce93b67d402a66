import type { Caller } from './access.js'
import type { Kind } from './principal.js'

/** Somebody who is to be one of two, as the directory has them now. */
export interface Party extends Pick<Caller, 'tenant' | 'principal' | 'permissions' | 'leads'> {
  /** Null where the directory never knew them: nobody is removed from it, so nothing is known against them. */
  kind: Kind | null
  /** Null as `kind`. */
  role: Caller['role'] | null
  /** They were disabled, or the key with which they spoke was revoked. */
  ended: boolean
  /** Who made keys of theirs, of revoked ones too. */
  makers: readonly string[]
}

/** Two keys of one automation are no second pair of eyes, whatever they may do. */
export const isPerson = ({ kind }: Pick<Party, 'kind'>): boolean => kind === null || kind === 'person'

/** Whether what this one said while they might still counts: `lacks` says what they would lack to say it now. */
export function stillCounts(
  first: Party,
  lacks: (as: Pick<Caller, 'tenant' | 'role' | 'permissions' | 'leads'>) => boolean,
) {
  if (first.ended || !isPerson(first)) return false
  return first.role === null || !lacks({ ...first, role: first.role })
}

/** Why these two may be one, in words; null where nothing says so. Whoever made a key of somebody could have said what they said. */
export function mayBeOne(first: Party, second: Party): string | null {
  if (first.principal === second.principal) return `${first.principal} asked for it: another person carries it out`
  const made = (by: Party, of: Party) => `${by.principal} made a key of ${of.principal}: a third person is needed`
  if (first.makers.includes(second.principal)) return made(second, first)
  return second.makers.includes(first.principal) ? made(first, second) : null
}
