import { DbError } from '../../errors.js'
import type { Param } from './seam.js'

/**
 * Every statement is a constant, planned once: planning the commit took 2.4 to 4 ms of its 3.5 to 5. Generic plans, and no
 * sequential, hash or merge scans: a plan cached on an empty table must still be right at a million rows.
 */
export const SETTINGS: Record<string, string> = {
  plan_cache_mode: 'force_generic_plan',
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  enable_bitmapscan: 'off',
  jit: 'off',
  timezone: 'UTC',
}

/** By type OID, from the engine's text: what is not named here stays text. */
const PARSERS: Record<number, (text: string) => unknown> = {
  16: (text) => text === 't', // bool
  17: (text) => new Uint8Array(Buffer.from(text.slice(2), 'hex')), // bytea
  20: toSafeInteger, // int8
  21: Number, // int2
  23: Number, // int4
  114: JSON.parse, // json
  700: Number, // float4
  701: Number, // float8
  1700: Number, // numeric
  3802: JSON.parse, // jsonb
}

const asIs = (text: string) => text

export function parserOf(oid: number): (text: string) => unknown {
  return PARSERS[oid] ?? asIs
}

/** As the wire takes it: text, or bytes that are in binary form already. */
export function onWire(param: Param): string | Buffer | null {
  if (param === null || typeof param === 'string') return param
  return param instanceof Uint8Array ? Buffer.from(param.buffer, param.byteOffset, param.length) : String(param)
}

function toSafeInteger(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new DbError(`int8 out of range: ${text}`, '22003')
  return value
}

/**
 * What may be logged of an engine's error. Its detail quotes whole rows ("Failing row contains …") and a data exception quotes
 * the value it stumbled over; both are payloads of agents and workers, and no log may hold them.
 */
export function asDbError(cause: unknown): DbError {
  if (cause instanceof DbError) return cause
  const { message, code, table, column, constraint } = cause as Record<string, string | undefined>
  const state = code ?? 'XX000'
  const text = state.startsWith('22') ? 'data exception' : (message ?? 'the engine failed')
  const where = Object.entries({ table, column, constraint }).flatMap(([name, value]) =>
    value ? [`${name} ${value}`] : [],
  )
  return new DbError([`${text} (${state})`, ...where].join(', '), state)
}
