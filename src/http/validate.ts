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
    const faults: FaultDetail[] = []
    for (const error of compiled.Errors(value)) {
      if (faults.length === MAX_FAULTS) break
      if (error.keyword === 'boolean') continue // the same as additionalProperties, said twice
      faults.push(fault(base, error))
    }
    throw new Problem('invalid', undefined, { faults })
  }
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
