import type { TSchema } from 'typebox'
import { COMPONENTS } from '../contract/components.js'
import { Problem as ProblemSchema } from '../contract/problems.js'
import { type Permission, ROLES } from '../core/access.js'
import { ERRORS, type ErrorCode, Problem } from '../errors.js'
import { OPERATIONS, type OperationNotes, PARAMETERS, PROBLEM_EXAMPLES, TAGS } from './openapi/operations.js'
import { problemBody } from './problem.js'
import type { Route } from './route.js'

const PREFIX = '/api/v1'
const INTRODUCTION = `The control plane between AI agents and the systems they act on. Every action passes two doors: policy before it is recorded, and
policy again before a worker may touch it. A refusal or fault is a problem (RFC 9457) with a stable \`code\`.
Instants are milliseconds since 1970-01-01 UTC. Lists answer \`{items, next_cursor}\`: send \`next_cursor\` back as \`cursor\` until it is null.
Unknown fields, repeated keys and unknown query parameters are refused, never ignored.`

/** A JSON Schema 2020-12 object, as OpenAPI 3.1 takes it. */
export type Schema = Record<string, unknown>

export interface Parameter {
  name: string
  in: 'path' | 'query' | 'header'
  required: boolean
  description?: string
  schema: Schema
  example?: unknown
}

export interface Media {
  schema: Schema
  example?: unknown
  examples?: Record<string, { summary?: string; value?: unknown; $ref?: string }>
}

export interface Answer {
  description: string
  headers?: Record<string, unknown>
  content?: Record<string, Media>
}

export interface Operation {
  operationId: string
  tags: string[]
  summary: string
  description?: string
  security: Record<string, string[]>[]
  parameters: (Parameter | { $ref: string })[]
  requestBody?: { required: boolean; content: Record<string, Media> }
  responses: Record<string, Answer>
  'x-permission': readonly Permission[] | null
  'x-roles': string[]
}

export interface Document {
  openapi: string
  info: Record<string, unknown>
  servers: { url: string; description: string }[]
  tags: { name: string; description: string }[]
  paths: Record<string, Record<string, Operation>>
  components: {
    schemas: Record<string, Schema>
    parameters: Record<string, Parameter>
    headers: Record<string, Schema>
    examples: Record<string, { summary: string; value: Record<string, unknown> }>
    securitySchemes: Record<string, Schema>
  }
}

const built = new WeakMap<readonly Route[], Document>()

/** The OpenAPI 3.1 document of these routes, built once for a list of routes: it cannot change while a process runs. */
export function openapi(routes: readonly Route[], version: string): Document {
  const known = built.get(routes)
  if (known !== undefined) return known
  const document = build(routes, version)
  built.set(routes, document)
  return document
}

/** Where a route is served. */
export const pathOf = (route: Pick<Route, 'path' | 'root'>) => (route.root ? '' : PREFIX) + route.path

function build(routes: readonly Route[], version: string): Document {
  const paths: Document['paths'] = {}
  for (const route of routes) {
    const path = pathOf(route)
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route) }
  }
  const used = new Set(routes.map((route) => route.tag))
  return {
    openapi: '3.1.0',
    info: {
      title: 'Sallyport',
      version,
      summary:
        'Decides every action of an AI agent twice, asks people, dispatches, screens what comes back and proves all of it',
      description: INTRODUCTION,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/', description: 'The server this document came from' }],
    tags: TAGS.filter((tag) => used.has(tag.name)),
    paths,
    components: {
      schemas: Object.fromEntries(Object.entries(COMPONENTS).map(([name, schema]) => [name, inside(schema)])),
      parameters: { TenantId: TENANT_ID },
      headers: HEADERS,
      examples: Object.fromEntries((Object.keys(ERRORS) as ErrorCode[]).map((code) => [code, problemExample(code)])),
      securitySchemes: {
        apiKey: {
          type: 'apiKey',
          in: 'header',
          name: 'X-API-Key',
          description: 'A key, sp_…, as `sallyport keys create` printed it',
        },
        bearer: { type: 'http', scheme: 'bearer', description: 'The same key as a bearer token' },
        session: {
          type: 'apiKey',
          in: 'cookie',
          name: 'sallyport_session',
          description:
            'What signing on sets; `__Host-sallyport_session` under https. Whatever is more than looking needs `X-CSRF-Token` too, as GET /api/v1/session tells it',
        },
      },
    },
  }
}

const TENANT_ID: Parameter = {
  name: 'X-Tenant-ID',
  in: 'header',
  required: false,
  description:
    'The tenant meant. A key has one tenant, so another one here is refused; leave it out and the tenant of the key is meant.',
  schema: { type: 'string' },
  example: 'default',
}

const HEADERS = {
  'Retry-After': { description: 'Seconds to wait before another try', schema: { type: 'integer', minimum: 1 } },
  'Idempotency-Replayed': {
    description: 'Present when this is the answer of an earlier request with the same key',
    schema: { type: 'string', enum: ['true'] },
  },
  'WWW-Authenticate': { description: 'Bearer', schema: { type: 'string' } },
}

function operation(route: Route): Operation {
  const key = `${route.method} ${route.path}`
  const notes = OPERATIONS[key]
  if (notes === undefined) throw new Error(`${key} has no entry in http/openapi/operations.ts`)
  const body = route.body === undefined ? undefined : media(route.body, notes.request)
  return {
    operationId: notes.id,
    tags: [route.tag],
    summary: route.summary,
    ...(route.description === undefined ? {} : { description: route.description }),
    security:
      route.permission === null
        ? []
        : [
            { apiKey: [] },
            { bearer: [] },
            ...(takesSession(route) ? [{ session: [] }] : []),
            ...(route.keyless === undefined ? [] : [{}]),
          ],
    parameters: parameters(route),
    ...(body === undefined
      ? {}
      : { requestBody: { required: route.optionalBody !== true, content: { 'application/json': body } } }),
    responses: responses(route, notes),
    'x-permission': route.permission,
    'x-roles': Object.entries(ROLES)
      .filter(([, held]) => route.permission?.some((each) => held.includes(each)) ?? true)
      .map(([role]) => role),
  }
}

/** People have sessions, workers have none. */
const takesSession = ({ permission }: Route) => permission !== null && !permission.includes('work:claim')

function parameters(route: Route): Operation['parameters'] {
  const inPath = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name = '']): Parameter => {
    const known = PARAMETERS[name]
    return { name, in: 'path', required: true, ...known, schema: { type: 'string' } }
  })
  const { properties = {}, required = [] } = (route.query ?? {}) as {
    properties?: Record<string, TSchema>
    required?: string[]
  }
  const inQuery = Object.entries(properties).map(([name, schema]): Parameter => {
    const known = PARAMETERS[name]
    return {
      name,
      in: 'query',
      required: required.includes(name),
      ...(known === undefined ? {} : { description: known.description }),
      schema: refer(schema) as Schema,
    }
  })
  const inHeader = (route.headers ?? []).map(
    ({ name, description }): Parameter => ({
      name,
      in: 'header',
      required: false,
      description,
      schema: { type: 'string' },
    }),
  )
  return [
    ...inPath,
    ...inQuery,
    ...inHeader,
    ...(route.permission === null ? [] : [{ $ref: '#/components/parameters/TenantId' }]),
  ]
}

function responses(route: Route, notes: OperationNotes): Record<string, Answer> {
  const { status, description, schema, contentType = 'application/json' } = route.success
  const found = contentType.startsWith('application/json')
    ? media(schema, notes.response)
    : { ...media(schema ?? TEXT, notes.response) }
  const replays = route.headers?.some(({ name }) => name === 'Idempotency-Key')
  const answers: Record<string, Answer> = {
    [status]: {
      description,
      ...(replays ? { headers: headerRefs(['Idempotency-Replayed']) } : {}),
      content: { [contentType]: found },
    },
  }
  if (route.other !== undefined) {
    const { status, description, schema } = route.other
    answers[status] = { description, content: { 'application/json': media(schema, notes.other) } }
  }
  for (const [code, text] of Object.entries(notes.plain ?? {}))
    answers[code] = {
      description: text.description,
      ...answerHeaders(Number(code)),
      content: { [contentType]: media(TEXT, text.example) },
    }
  for (const [code, codes] of byStatus(errorsOf(route))) answers[code] ??= problems(code, codes)
  return answers
}

const TEXT = { type: 'string' } as TSchema

/** What any route of its kind may answer beside what it names: a client that handles only the named ones is not done. */
function errorsOf(route: Route): ErrorCode[] {
  const codes = new Set<ErrorCode>(route.errors)
  if (route.permission !== null)
    for (const code of ['unauthenticated', 'forbidden', 'rate_limited', 'store_unavailable'] as const) codes.add(code)
  if (route.body !== undefined)
    for (const code of ['malformed', 'invalid', 'too_large', 'unsupported_media_type'] as const) codes.add(code)
  if (route.permission !== null && route.method !== 'GET') codes.add('overloaded')
  if (route.method !== 'GET' && takesSession(route)) codes.add('csrf')
  if (route.permission !== null) codes.add('internal')
  return [...codes]
}

function byStatus(codes: readonly ErrorCode[]): [number, ErrorCode[]][] {
  const found = new Map<number, ErrorCode[]>()
  for (const code of codes) found.set(ERRORS[code].status, [...(found.get(ERRORS[code].status) ?? []), code])
  return [...found].sort(([a], [b]) => a - b)
}

/** Refusals of a status that mostly names no time, which do. */
const WAITING: readonly ErrorCode[] = ['effect_not_decidable', 'breaker_open']

function problems(status: number, codes: readonly ErrorCode[]): Answer {
  return {
    description: codes.map((code) => `\`${code}\`: ${ERRORS[code].title}`).join('; '),
    ...answerHeaders(status, codes.some((code) => WAITING.includes(code)) || undefined),
    content: {
      'application/problem+json': {
        schema: refer(ProblemSchema) as Schema,
        examples: Object.fromEntries(codes.map((code) => [code, { $ref: `#/components/examples/${code}` }])),
      },
    },
  }
}

function answerHeaders(status: number, waits = status === 429 || status === 503): Pick<Answer, 'headers'> {
  const named = [...(waits ? ['Retry-After'] : []), ...(status === 401 ? ['WWW-Authenticate'] : [])]
  return named.length === 0 ? {} : { headers: headerRefs(named) }
}

const headerRefs = (names: readonly string[]) =>
  Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]))

function problemExample(code: ErrorCode): { summary: string; value: Record<string, unknown> } {
  const { detail, ...extra } = PROBLEM_EXAMPLES[code] ?? {}
  return {
    summary: ERRORS[code].title,
    value: problemBody(new Problem(code, detail as string | undefined, extra), 'req_01m7vps2tyq6rwk9x3083s154h'),
  }
}

function media(schema: TSchema | undefined, example: unknown): Media {
  return {
    schema: schema === undefined ? {} : (refer(schema) as Schema),
    ...(example === undefined ? {} : { example }),
  }
}

/**
 * By their text, not by identity: Type.Optional and spreading copy a schema, and the copy is the same noun. A test holds
 * that no two components have the same text.
 */
const NAMES = new Map(Object.entries(COMPONENTS).map(([name, schema]) => [JSON.stringify(schema), name]))

/** The schema as a document shows it, components by reference at every depth. */
function refer(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  const name = Array.isArray(value) ? undefined : NAMES.get(JSON.stringify(value))
  return name === undefined ? inside(value) : { $ref: `#/components/schemas/${name}` }
}

function inside(value: object): Schema {
  if (Array.isArray(value)) return value.map(refer) as unknown as Schema
  return plain(Object.fromEntries(Object.entries(value).map(([key, each]) => [key, refer(each)])))
}

/** The same schema in the words that generators of clients know: a choice of words is an enum, an open record has additionalProperties. */
function plain(schema: Schema): Schema {
  const choice = schema.anyOf as { const?: unknown }[] | undefined
  if (Array.isArray(choice) && choice.every((each) => typeof each.const === 'string')) {
    const { anyOf: _, ...rest } = schema
    return { type: 'string', enum: choice.map((each) => each.const), ...rest }
  }
  const patterns = schema.patternProperties as Record<string, unknown> | undefined
  if (patterns !== undefined && Object.keys(patterns).join() === '^.*$') {
    const { patternProperties: _, ...rest } = schema
    return { ...rest, additionalProperties: patterns['^.*$'] }
  }
  return schema
}
