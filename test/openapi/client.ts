import type { Document, Parameter, Schema } from '../../src/http/openapi.js'
import { follow, operationsOf } from './schemas.js'

/**
 * TypeScript of a client, made from the document and from nothing else: a type for every component and a function for
 * every operation, under its operationId. Here rather than a package, because those that exist need the compiler's own API,
 * which the compiler this project uses no longer has.
 */
export function generateClient(document: Document): string {
  const types = Object.entries(document.components.schemas).map(
    ([name, schema]) => `export type ${name} = ${typeOf(schema)}`,
  )
  const operations = operationsOf(document).map(({ path, method, operation }) => {
    const parameters = operation.parameters.map((each) => follow<Parameter>(document, each))
    const body = operation.requestBody?.content['application/json']?.schema
    const [, success] = Object.entries(operation.responses).find(([status]) => status.startsWith('2')) ?? []
    const media = Object.entries(success?.content ?? {})[0]
    const given = [
      ...(['path', 'query', 'header'] as const).flatMap((place) =>
        group(
          place,
          parameters.filter((each) => each.in === place),
        ),
      ),
      ...(body === undefined ? [] : [`body${operation.requestBody?.required ? '' : '?'}: ${typeOf(body)}`]),
    ]
    const optional = given.every((each) => /^\w+\?:/.test(each)) ? '?' : ''
    const reads = media?.[0].endsWith('json') ? 'json' : 'text'
    const call = `{ method: '${method}', path: '${path}', reads: '${reads}' }`
    return `  '${operation.operationId}': (ask${optional}: { ${given.join('; ')} }) => call<${typeOf(media?.[1].schema ?? {})}>(${call}, ask ?? {}),`
  })
  return [
    ...types,
    RUNTIME,
    'export const client = (base: string, key: string) => {',
    '  const call = caller(base, key)',
    '  return {',
    ...operations,
    '  }',
    '}',
    '',
  ].join('\n')
}

function group(place: string, parameters: Parameter[]): string[] {
  if (parameters.length === 0) return []
  const optional = parameters.some((each) => each.required) ? '' : '?'
  const fields = parameters.map((each) => `'${each.name}'${each.required ? '' : '?'}: ${typeOf(each.schema)}`)
  return [`${place}${optional}: { ${fields.join('; ')} }`]
}

function typeOf(schema: Schema): string {
  if (typeof schema.$ref === 'string') return schema.$ref.split('/').at(-1) as string
  if (Array.isArray(schema.enum)) return schema.enum.map((each) => JSON.stringify(each)).join(' | ')
  if ('const' in schema) return JSON.stringify(schema.const)
  if (Array.isArray(schema.anyOf)) return schema.anyOf.map(typeOf).join(' | ')
  if (schema.type === 'array') return `(${typeOf((schema.items ?? {}) as Schema)})[]`
  if (schema.type === 'object') return objectOf(schema)
  if (schema.type === 'integer' || schema.type === 'number') return 'number'
  if (schema.type === 'string' || schema.type === 'boolean' || schema.type === 'null') return schema.type
  return 'unknown'
}

function objectOf(schema: Schema): string {
  const required = (schema.required ?? []) as string[]
  const fields = Object.entries((schema.properties ?? {}) as Record<string, Schema>).map(
    ([name, each]) => `'${name}'${required.includes(name) ? '' : '?'}: ${typeOf(each)}`,
  )
  if (fields.length > 0) return `{ ${fields.join('; ')} }`
  const [pattern] = Object.values((schema.patternProperties ?? {}) as Record<string, Schema>)
  return `Record<string, ${typeOf((schema.additionalProperties || pattern || {}) as Schema)}>`
}

const RUNTIME = `
export class Refused extends Error {
  readonly problem: Problem
  constructor(problem: Problem) {
    super(problem.code)
    this.problem = problem
  }
}
interface Ask { path?: Record<string, string>; query?: Record<string, unknown>; header?: Record<string, string>; body?: unknown }
interface Of { method: string; path: string; reads: 'json' | 'text' }
const caller = (base: string, key: string) => async <T>(of: Of, ask: Ask): Promise<T> => {
  const path = of.path.replaceAll(/\\{(\\w+)\\}/g, (_, name: string) => encodeURIComponent(ask.path?.[name] ?? ''))
  const query = new URLSearchParams(Object.entries(ask.query ?? {}).map(([name, value]) => [name, String(value)]))
  const response = await fetch(base + path + (query.size === 0 ? '' : '?' + query), {
    method: of.method,
    headers: { 'x-api-key': key, ...(ask.body === undefined ? {} : { 'content-type': 'application/json' }), ...ask.header },
    ...(ask.body === undefined ? {} : { body: JSON.stringify(ask.body) }),
  })
  if (!response.ok) throw new Refused((await response.json()) as Problem)
  return (of.reads === 'json' ? await response.json() : await response.text()) as T
}
`
