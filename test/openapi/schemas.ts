import { Compile } from 'typebox/schema'
import type { Answer, Document, Operation, Schema } from '../../src/http/openapi.js'

/** The document as a stranger has it: parsed from the bytes the server sent. */
export interface Found {
  path: string
  method: string
  operation: Operation
}

export function operationsOf(document: Document): Found[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
  )
}

/** Follows `$ref`s within the document. Throws where one leads nowhere. */
export function follow<T>(document: Document, value: T | { $ref: string }): T {
  if (typeof value !== 'object' || value === null || !('$ref' in value)) return value as T
  let at: unknown = document
  for (const step of value.$ref.slice(2).split('/')) at = (at as Record<string, unknown>)[step]
  if (at === undefined) throw new Error(`${value.$ref} leads nowhere`)
  return at as T
}

/** Every `$ref` in the document. */
export function refsOf(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, each]) => (key === '$ref' ? [each as string] : refsOf(each)))
}

/** Every list in a schema, components followed; no request of this API holds itself. */
export function listsOf(document: Document, schema: Schema): Schema[] {
  const { type, items, properties = {}, ...rest } = follow<Schema>(document, schema)
  const inner = [...(items === undefined ? [] : [items]), ...Object.values(properties as object)] as Schema[]
  return [...(type === 'array' ? [{ type, items, ...rest }] : []), ...inner.flatMap((each) => listsOf(document, each))]
}

/**
 * Faults of a value under a schema of the document, as sentences; none means it fits. `closed` refuses fields that the schema does
 * not name, where it names any: an answer with more than the document says is a document with a hole.
 */
export function faultsOf(document: Document, schema: Schema, value: unknown, closed = false): string[] {
  const components = closed ? { schemas: close(document.components.schemas) } : document.components
  const root = { ...((closed ? close(schema) : schema) as Schema), components }
  const [fits, errors] = Compile(root).Errors(value)
  return fits
    ? []
    : errors.map(({ instancePath, message, params }) => `${instancePath || '/'} ${message} ${JSON.stringify(params)}`)
}

function close(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(close)
  const closed = Object.fromEntries(Object.entries(value).map(([key, each]) => [key, close(each)]))
  return 'properties' in closed && closed.type === 'object' ? { additionalProperties: false, ...closed } : closed
}

/** The answer the document promises for a status, or undefined. */
export function answerOf(operation: Operation, status: number): Answer | undefined {
  return operation.responses[String(status)]
}
