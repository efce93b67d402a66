import { RE2JS } from 're2js'
import type { Json, JsonObject } from '../json.js'

/**
 * The subset of JSON Schema that `input_schema` may use, checked in time linear in schema × value. A keyword outside it
 * is refused when the policy is read: a keyword that is silently not enforced would be a hole. `pattern` runs on re2js,
 * because a schema is asked about hostile text; TypeBox compiles patterns to RegExp, which is why it is not used here.
 */
export interface SchemaFault {
  /** JSON pointer into the value, `` for the whole. */
  path: string
  message: string
}

export type Validator = (value: Json, path: string, faults: SchemaFault[]) => void

export class SchemaError extends Error {
  override readonly name = 'SchemaError'
}

const TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const
const MAX_FAULTS = 50
const MAX_DEPTH = 32

const typeOf = (value: Json) => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value)
const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function expect(condition: boolean, message: string): asserts condition {
  if (!condition) throw new SchemaError(message)
}

type Keyword = (argument: Json, schema: JsonObject, depth: number) => Validator

const ignored: Keyword = () => () => {}

/** A check on values of one type; values of other types pass, as JSON Schema has it. */
function bound(
  kind: 'string' | 'number' | 'array' | 'object',
  holds: (value: never, limit: number) => boolean,
  say: (limit: number) => string,
): Keyword {
  return (argument) => {
    expect(typeof argument === 'number' && Number.isFinite(argument), 'needs a number')
    return (value, path, faults) => {
      if (typeOf(value) === kind && !holds(value as never, argument)) faults.push({ path, message: say(argument) })
    }
  }
}

const equal = (a: Json, b: Json): boolean => {
  if (a === b) return true
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => equal(item, b[i]!))
  if (!isObject(a) || !isObject(b)) return false
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && equal(a[key]!, b[key]!))
}

const pointer = (path: string, key: string | number) =>
  `${path}/${String(key).replaceAll('~', '~0').replaceAll('/', '~1').slice(0, 100)}`

const KEYWORDS: Record<string, Keyword> = {
  $schema: ignored,
  title: ignored,
  description: ignored,
  examples: ignored,
  type: (argument) => {
    const names = Array.isArray(argument) ? argument : [argument]
    expect(
      names.every((name) => (TYPES as readonly Json[]).includes(name)),
      `type is one of ${TYPES.join(', ')}`,
    )
    return (value, path, faults) => {
      const have = typeOf(value)
      const fits = names.some((name) => name === have || (name === 'integer' && Number.isInteger(value)))
      if (!fits) faults.push({ path, message: `must be ${names.join(' or ')}` })
    }
  },
  enum: (argument) => {
    expect(Array.isArray(argument) && argument.length > 0, 'enum needs a list')
    return (value, path, faults) => {
      if (!argument.some((item) => equal(item, value))) {
        faults.push({ path, message: `must be one of ${argument.map((item) => JSON.stringify(item)).join(', ')}` })
      }
    }
  },
  const: (argument) => (value, path, faults) => {
    if (!equal(argument, value)) faults.push({ path, message: `must be ${JSON.stringify(argument)}` })
  },
  minimum: bound(
    'number',
    (value: number, limit) => value >= limit,
    (limit) => `must be at least ${limit}`,
  ),
  maximum: bound(
    'number',
    (value: number, limit) => value <= limit,
    (limit) => `must be at most ${limit}`,
  ),
  exclusiveMinimum: bound(
    'number',
    (value: number, limit) => value > limit,
    (limit) => `must be more than ${limit}`,
  ),
  exclusiveMaximum: bound(
    'number',
    (value: number, limit) => value < limit,
    (limit) => `must be less than ${limit}`,
  ),
  minLength: bound(
    'string',
    (value: string, n) => [...value].length >= n,
    (n) => `must have at least ${n} characters`,
  ),
  maxLength: bound(
    'string',
    (value: string, n) => [...value].length <= n,
    (n) => `must have at most ${n} characters`,
  ),
  minItems: bound(
    'array',
    (value: Json[], n) => value.length >= n,
    (n) => `must have at least ${n} items`,
  ),
  maxItems: bound(
    'array',
    (value: Json[], n) => value.length <= n,
    (n) => `must have at most ${n} items`,
  ),
  maxProperties: bound(
    'object',
    (value: JsonObject, n) => Object.keys(value).length <= n,
    (n) => `at most ${n} keys`,
  ),
  pattern: (argument) => {
    expect(typeof argument === 'string', 'pattern needs a string')
    let compiled: RE2JS
    try {
      compiled = RE2JS.compile(argument)
    } catch (error) {
      throw new SchemaError(`pattern: ${(error as Error).message}`)
    }
    return (value, path, faults) => {
      if (typeof value === 'string' && !compiled.matcher(value).find()) {
        faults.push({ path, message: `must match ${argument}` })
      }
    }
  },
  required: (argument) => {
    expect(Array.isArray(argument) && argument.every((key) => typeof key === 'string'), 'required needs a list of keys')
    return (value, path, faults) => {
      if (!isObject(value)) return
      for (const key of argument as string[]) {
        if (!Object.hasOwn(value, key)) faults.push({ path: pointer(path, key), message: 'is required' })
      }
    }
  },
  properties: (argument, _schema, depth) => {
    expect(isObject(argument), 'properties needs a map')
    const parts = Object.entries(argument).map(([key, part]) => [key, compileAt(part, depth)] as const)
    return (value, path, faults) => {
      if (!isObject(value)) return
      for (const [key, check] of parts) {
        if (Object.hasOwn(value, key)) check(value[key]!, pointer(path, key), faults)
      }
    }
  },
  additionalProperties: (argument, schema, depth) => {
    const known = new Set(isObject(schema.properties) ? Object.keys(schema.properties) : [])
    const check = typeof argument === 'boolean' ? null : compileAt(argument, depth)
    return (value, path, faults) => {
      if (argument === true || !isObject(value)) return
      for (const key of Object.keys(value)) {
        if (known.has(key) || faults.length >= MAX_FAULTS) continue
        if (check) check(value[key]!, pointer(path, key), faults)
        else faults.push({ path: pointer(path, key), message: 'is not a known key' })
      }
    }
  },
  items: (argument, _schema, depth) => {
    const check = compileAt(argument, depth)
    return (value, path, faults) => {
      if (!Array.isArray(value)) return
      for (let i = 0; i < value.length && faults.length < MAX_FAULTS; i++) check(value[i]!, pointer(path, i), faults)
    }
  },
  anyOf: (argument, _schema, depth) => {
    expect(Array.isArray(argument) && argument.length > 0, 'anyOf needs a list')
    const checks = argument.map((part) => compileAt(part, depth))
    return (value, path, faults) => {
      const fits = checks.some((check) => {
        const inner: SchemaFault[] = []
        check(value, path, inner)
        return inner.length === 0
      })
      if (!fits) faults.push({ path, message: 'fits none of the allowed forms' })
    }
  },
}

export const SCHEMA_KEYWORDS = Object.keys(KEYWORDS)

function compileAt(schema: Json, depth: number): Validator {
  expect(isObject(schema), 'a schema is a map')
  expect(depth < MAX_DEPTH, `nested deeper than ${MAX_DEPTH}`)
  const checks = Object.entries(schema).map(([keyword, argument]) => {
    expect(Object.hasOwn(KEYWORDS, keyword), `unknown schema keyword ${keyword}`)
    return KEYWORDS[keyword]!(argument, schema, depth + 1)
  })
  return (value, path, faults) => {
    for (const check of checks) if (faults.length < MAX_FAULTS) check(value, path, faults)
  }
}

/** Throws SchemaError on a keyword or argument outside the subset. */
export function compileSchema(schema: JsonObject): (value: Json) => SchemaFault[] {
  const check = compileAt(schema, 0)
  return (value) => {
    const faults: SchemaFault[] = []
    check(value, '', faults)
    return faults
  }
}
