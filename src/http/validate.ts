import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { type FaultDetail, Problem } from '../errors.js'

/** More faults than anyone mends at once; a hostile body must not make the answer larger than itself. */
const MAX_FAULTS = 50

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
 * The first list with more items than its schema allows, asked for before the faults are listed: listing them compares equal
 * items pairwise and names every item, so one body of 300,000 equal tags held the process for more than nine minutes.
 */
function overlong(schema: TSchema, value: unknown, path: string): FaultDetail | null {
  const { maxItems, items, properties } = schema as {
    maxItems?: number
    items?: TSchema
    properties?: Record<string, TSchema>
  }
  if (typeof value !== 'object' || value === null) return null
  if (Array.isArray(value) && maxItems !== undefined && value.length > maxItems)
    return { path: path || '/', message: `must not have more than ${maxItems} items` }
  const within = Array.isArray(value)
    ? value.map((each, index): [TSchema | undefined, unknown, string | number] => [items, each, index])
    : Object.entries(properties ?? {}).map(([name, each]): [TSchema | undefined, unknown, string] => [
        each,
        (value as Record<string, unknown>)[name],
        name,
      ])
  for (const [inner, each, name] of within) {
    const found = inner === undefined ? null : overlong(inner, each, `${path}/${name}`)
    if (found !== null) return found
  }
  return null
}

function fault(
  base: string,
  error: { instancePath: string; message: string; keyword?: string; params?: unknown },
): FaultDetail {
  const params = (error.params ?? {}) as Record<string, unknown>
  const extra = params.additionalProperties ?? params.requiredProperties
  const named = Array.isArray(extra) ? `: ${extra.slice(0, 5).join(', ').slice(0, 200)}` : ''
  return { path: `${base}${error.instancePath}` || '/', message: `${error.message}${named}` }
}

/** Query values arrive as text: a number where the schema says number, and nothing else is changed. */
export function coerceQuery(schema: TSchema, query: Record<string, unknown>): Record<string, unknown> {
  const properties = (schema as { properties?: Record<string, { type?: string }> }).properties ?? {}
  return Object.fromEntries(
    Object.entries(query).map(([name, value]) => {
      const type = properties[name]?.type
      return [
        name,
        (type === 'integer' || type === 'number') && typeof value === 'string' && /^-?\d{1,16}$/.test(value)
          ? Number(value)
          : value,
      ]
    }),
  )
}
