import { isWellFormed } from '../canonical.js'
import { parseDuration } from '../policy/duration.js'
import { nearest } from '../policy/nearest.js'

/** One thing wrong in a declaration. `path` is the place inside it: `phases[2].gate.checks.p95_latency_ms`. */
export interface DeclarationFault {
  path: string
  code: 'unknown_key' | 'missing_key' | 'wrong_type' | 'bad_value' | 'duplicate_id' | 'too_large'
  message: string
  hint?: string
}

/** A value and where it stands. */
export interface Place {
  value: unknown
  path: string
}

/** More would bury the first ones. */
const MOST_FAULTS = 200
/** As `Name` of the contract: printable ASCII without space at the ends, so that no look-alike passes for another. */
const NAME = /^[!-~]([ -~]{0,198}[!-~])?$/
/** Who may be asked or told. */
const WHO = /^(team|role|principal|lead|oncall):[^\s]{1,128}$/

/**
 * Reads values that came in as JSON and collects what is wrong with them. Nothing is taken that is not the object's own, so a key named
 * like a part of every object is only an unknown one.
 */
export class Reader {
  readonly faults: DeclarationFault[] = []

  fault(at: Place, code: DeclarationFault['code'], message: string, hint?: string): null {
    if (this.faults.length < MOST_FAULTS)
      this.faults.push({ path: at.path, code, message, ...(hint === undefined ? {} : { hint }) })
    return null
  }

  /** The entries of an object; faults for what is none and for keys outside `known`. */
  object(at: Place, known: readonly string[]): Map<string, Place> | null {
    const { value } = at
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return this.fault(at, 'wrong_type', 'needs an object')
    const entries = new Map<string, Place>()
    for (const key of Object.keys(value)) {
      const place = { value: (value as Record<string, unknown>)[key], path: at.path === '' ? key : `${at.path}.${key}` }
      if (known.includes(key)) entries.set(key, place)
      else {
        const near = nearest(key, known)
        const hint = near === null ? `known keys: ${known.join(', ')}` : `did you mean '${near}'?`
        this.fault(
          { ...place, path: place.path.slice(0, 200) },
          'unknown_key',
          `unknown key '${key.slice(0, 60)}'`,
          hint,
        )
      }
    }
    return entries
  }

  needed(entries: Map<string, Place>, at: Place, key: string, hint?: string): Place | null {
    return entries.get(key) ?? this.fault(at, 'missing_key', `'${key}' is missing`, hint)
  }

  list(at: Place, most: number): Place[] | null {
    const { value, path } = at
    if (!Array.isArray(value)) return this.fault(at, 'wrong_type', 'needs a list')
    if (value.length === 0) return this.fault(at, 'bad_value', 'an empty list names nothing')
    if (value.length > most) return this.fault(at, 'too_large', `at most ${most}`)
    return value.map((item, n) => ({ value: item, path: `${path}[${n}]` }))
  }

  name(at: Place): string | null {
    const { value } = at
    // The usual slip: YAML reads a bare 2.0 as the number 2.
    if (typeof value === 'number') return this.fault(at, 'wrong_type', 'needs text', 'write it in quotes')
    if (typeof value !== 'string') return this.fault(at, 'wrong_type', 'needs text')
    if (NAME.test(value)) return value
    return this.fault(at, 'bad_value', `'${shown(value)}' is no name`, 'printable ASCII, at most 200 characters')
  }

  word<Word extends string>(at: Place, words: readonly Word[]): Word | null {
    const word = words.find((each) => each === at.value)
    if (word !== undefined) return word
    if (typeof at.value !== 'string') return this.fault(at, 'wrong_type', `needs one of ${words.join(', ')}`)
    return this.fault(at, 'bad_value', `'${shown(at.value)}' is not one of ${words.join(', ')}`)
  }

  /** People, by words as in `approval: {from}`; sorted, each once. */
  people(at: Place, most: number): string[] | null {
    const words = this.list(at, most)?.flatMap((item) => {
      if (typeof item.value === 'string' && WHO.test(item.value)) return [item.value]
      const hint = 'write team:x, role:x, principal:x, lead:x or oncall:x'
      return this.fault(item, 'bad_value', 'is nobody', hint) ?? []
    })
    return words === undefined || words.length === 0 ? null : [...new Set(words)].sort()
  }

  number(at: Place, least: number, most: number): number | null {
    const { value } = at
    if (typeof value !== 'number' || !Number.isFinite(value)) return this.fault(at, 'wrong_type', 'needs a number')
    return value >= least && value <= most ? value : this.fault(at, 'bad_value', `needs ${least} to ${most}`)
  }

  whole(at: Place, least: number, most: number): number | null {
    const value = this.number(at, least, most)
    if (value === null || Number.isSafeInteger(value)) return value
    return this.fault(at, 'wrong_type', 'needs a whole number')
  }

  /** `3d`, `90m` in ms. */
  duration(at: Place): number | null {
    const ms = typeof at.value === 'string' ? parseDuration(at.value) : null
    return ms ?? this.fault(at, 'bad_value', 'is no duration', 'write 15m, 4h or 3d')
  }
}

/** What a message may quote of a text from outside. */
const shown = (text: string): string => (isWellFormed(text) ? text.slice(0, 60) : '…')
