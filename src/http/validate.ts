import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { Settings } from 'typebox/system'
import { type FaultDetail, Problem } from '../errors.js'

/** More faults than anyone mends at once; a hostile body must not make the answer larger than itself. */
const MAX_FAULTS = 50

// The library stops at 8 and counts every unknown key twice, once in words we skip: eight unknown keys left no fault to show.
Settings.Set({ maxErrors: MAX_FAULTS * 4 })

export type Validator = (value: unknown) => void

/** Compiled once per route. Throws Problem `invalid` with every fault and its path; values are never coerced or dropped. */
export function validator(schema: TSchema, base = ''): Validator {
  const compiled = Compile(schema)
  return (value) => {
    if (compiled.Check(value)) return
    const long = overlong(schema, value, base)
    if (long !== null) throw new Problem('invalid', undefined, { faults: [long] })
    const faults: FaultDetail[] = []
    for (const error of compiled.Errors(value)) {
      if (faults.length === MAX_FAULTS) break
      if (error.keyword === 'boolean') continue // the same as additionalProperties, said twice
      faults.push(fault(base, error))
    }
    throw new Problem('invalid', undefined, { faults })
  }
}

/**
 * The first list or object with far more in it than its schema allows, asked for before the faults are listed: listing names
 * every item and compares equal ones pairwise, so one body of 300,000 equal tags held the process for more than nine minutes.
 */
function overlong(schema: TSchema, value: unknown, path: string): FaultDetail | null {
  if (typeof value !== 'object' || value === null) return null
  const {
    maxItems,
    items,
    properties = {},
  } = schema as { maxItems?: number; items?: TSchema; properties?: Record<string, TSchema> }
  if (Array.isArray(value)) {
    if (maxItems !== undefined && value.length > maxItems)
      return { path: path || '/', message: `must not have more than ${maxItems} items` }
    return items === undefined
      ? null
      : firstOf(value.entries(), ([index, each]) => overlong(items, each, `${path}/${index}`))
  }
  const most = keysAllowed(schema)
  const keys = Object.keys(value)
  if (keys.length > most) {
    const unknown = keys.filter((key) => !Object.hasOwn(properties, key))
    return { path: path || '/', message: `must not have more than ${most} properties: ${named(unknown)}` }
  }
  return firstOf(Object.entries(properties), ([name, each]) =>
    overlong(each, (value as Record<string, unknown>)[name], `${path}/${name}`),
  )
}

/** A few keys too many are named one by one with the other faults; more than that is no slip of the pen. */
const SLIPS = 20

function keysAllowed(schema: TSchema): number {
  const { maxProperties, additionalProperties, properties } = schema as {
    maxProperties?: number
    additionalProperties?: unknown
    properties?: object
  }
  if (maxProperties !== undefined) return maxProperties
  return additionalProperties === false && properties !== undefined
    ? Object.keys(properties).length + SLIPS
    : Number.POSITIVE_INFINITY
}

function firstOf<T>(each: Iterable<T>, look: (item: T) => FaultDetail | null): FaultDetail | null {
  for (const item of each) {
    const found = look(item)
    if (found !== null) return found
  }
  return null
}

const named = (keys: readonly string[]) => keys.slice(0, 5).join(', ').slice(0, 200)

function fault(
  base: string,
  error: { instancePath: string; message: string; keyword?: string; params?: unknown },
): FaultDetail {
  const params = (error.params ?? {}) as Record<string, unknown>
  const extra = params.additionalProperties ?? params.requiredProperties
  const names = Array.isArray(extra) ? `: ${named(extra)}` : ''
  return { path: `${base}${error.instancePath}` || '/', message: `${error.message}${names}` }
}

/** Query values arrive as text: a number or boolean where the schema says so, and nothing else is changed. */
export function coerceQuery(schema: TSchema, query: Record<string, unknown>): Record<string, unknown> {
  const properties = (schema as { properties?: Record<string, { type?: string }> }).properties ?? {}
  return Object.fromEntries(
    Object.entries(query).map(([name, value]) => {
      const type = properties[name]?.type
      if (type === 'boolean' && (value === 'true' || value === 'false')) return [name, value === 'true']
      return [
        name,
        (type === 'integer' || type === 'number') && typeof value === 'string' && /^-?\d{1,16}$/.test(value)
          ? Number(value)
          : value,
      ]
    }),
  )
}
