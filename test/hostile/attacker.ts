import { connect } from 'node:net'
import { pino } from 'pino'
import { expect } from 'vitest'
import type { Role } from '../../src/core/access.js'
import { readExport } from '../../src/core/audit/export.js'
import { parsePublicKey } from '../../src/core/audit/keys.js'
import { verifyLog } from '../../src/core/audit/verify.js'
import { ERRORS } from '../../src/errors.js'
import { storeSnapshot } from '../../src/journey/activate.js'
import { createKey } from '../../src/journey/keys.js'
import type { Seams } from '../../src/main.js'
import { startSallyport, type TestPlane } from '../../src/testing.js'

export const API = '/api/v1'

/** A plane whose log lines are kept, because what must not leave must not be logged either. */
export interface Target extends TestPlane {
  logged: string[]
}

export async function startTarget(policy?: string, seams: Seams = {}): Promise<Target> {
  const logged: string[] = []
  const log = pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) })
  const plane = await startSallyport({ ...(policy === undefined ? {} : { policy }), seams: { log, ...seams } })
  return { ...plane, logged }
}

export interface Answer {
  status: number
  headers: Headers
  text: string
  // biome-ignore lint/suspicious/noExplicitAny: whatever the server says
  body: any
}

/** One request as a well-behaved HTTP client sends it. `body` that is a string or bytes goes as it is. */
export async function call(
  plane: Pick<TestPlane, 'url'>,
  key: string | null,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const raw = typeof body === 'string' || body instanceof Uint8Array
  const response = await fetch(plane.url + path, {
    method,
    headers: {
      ...(key === null ? {} : { 'x-api-key': key }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: raw ? (body as string) : JSON.stringify(body) }),
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, text, body: parsed(text) }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Bytes straight onto a socket, where a client library would be too polite. Resolves with all that came back. */
export function raw(plane: Pick<TestPlane, 'url'>, bytes: string | Uint8Array, ms = 5000): Promise<string> {
  const { hostname, port } = new URL(plane.url)
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect(Number(port), hostname)
    const done = () => resolve(Buffer.concat(chunks).toString('latin1'))
    socket.setTimeout(ms, () => socket.destroy())
    socket.on('connect', () => socket.write(bytes))
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.on('error', (error: NodeJS.ErrnoException) =>
      ['EPIPE', 'ECONNRESET'].includes(error.code ?? '') ? done() : reject(error),
    )
    socket.on('close', done)
  })
}

/** A request in raw bytes with `Connection: close`, its length counted. */
export function http(
  method: string,
  path: string,
  key: string,
  body: string | Uint8Array = '',
  headers: string[] = [],
): Buffer {
  const bytes = Buffer.from(body)
  const length = headers.some((line) => /^(content-length|transfer-encoding):/i.test(line))
    ? []
    : [`Content-Length: ${bytes.length}`]
  const type = headers.some((line) => /^content-type:/i.test(line)) ? [] : ['Content-Type: application/json']
  const head = [
    `${method} ${path} HTTP/1.1`,
    'Host: plane',
    `X-API-Key: ${key}`,
    'Connection: close',
    ...type,
    ...length,
    ...headers,
  ]
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), bytes])
}

/** The first answer in what came back from a socket. */
export function answerIn(text: string): Answer {
  const [head = '', ...rest] = text.split('\r\n\r\n')
  const [line = '', ...fields] = head.split('\r\n')
  const headers = new Headers(
    fields.map((field): [string, string] => [
      field.slice(0, field.indexOf(':')),
      field.slice(field.indexOf(':') + 1).trim(),
    ]),
  )
  const body = Buffer.from(rest.join('\r\n\r\n'), 'latin1').toString('utf8')
  return { status: Number(line.split(' ')[1] ?? 0), headers, text: body, body: parsed(body) }
}

/** Words that only our inside would say: stacks, files, SQL, engines. */
const INSIDE =
  /\bat (async )?[\w.<>]+ \(|node_modules|\.ts:\d|\.js:\d|file:\/\/|SELECT |INSERT |SQLSTATE|pglite|postgres|DbError|EntryError|CanonicalError|FST_ERR|\bundefined\b/i

/** A refusal as every refusal must look: the status and code of the catalogue, problem+json, nothing of the inside. */
export function expectProblem(answer: Answer, ...codes: (keyof typeof ERRORS)[]): void {
  const { body } = answer
  expect(body?.code, `${answer.status} ${answer.text.slice(0, 300)}`).toBeOneOf(codes)
  expect(answer.status).toBe(ERRORS[body.code as keyof typeof ERRORS].status)
  expect(body.status).toBe(answer.status)
  expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
  expect(answer.text).not.toMatch(INSIDE)
}

/** A key of any role, by the journey the route uses; another tenant than `default` needs `foreignTenant` first. */
export async function makeKey(
  plane: TestPlane,
  role: Role,
  more: {
    tenant?: string
    principal?: string
    topics?: string[]
    act_as?: string[]
    team?: string
    expires_at?: number
  } = {},
): Promise<string> {
  const { tenant = 'default', ...body } = more
  return (
    await createKey(plane.world, tenant, 'system:test', { role: role as never, principal: `${role}:second`, ...body })
  ).key
}

/** Another tenant with a policy of its own, as it stands once somebody runs it. */
export async function makeTenant(plane: TestPlane, tenant: string, policy: string): Promise<void> {
  await storeSnapshot(plane.world, tenant, 'system:test', [{ path: 'policy.yaml', text: policy }], {
    source: 'api',
    activate: true,
    note: null,
  })
}

/** Waits until everything written so far is in the signed tree, then verifies the whole log as an outsider would. */
export async function verifyAudit(plane: TestPlane, key = plane.keys.admin): Promise<void> {
  await expect
    .poll(async () => (await call(plane, key, 'GET', `${API}/audit/head`)).status, { timeout: 10_000 })
    .toBe(200)
  const head = (await call(plane, key, 'GET', `${API}/audit/head`)).body
  const lines = (await call(plane, key, 'GET', `${API}/audit/export`)).text.split('\n').filter((line) => line !== '')
  const report = await verifyLog(readExport(lines), {
    keys: [parsePublicKey(head.public_key)],
    outsideHeads: [head.checkpoint],
  })
  expect(report.faults).toEqual([])
  expect(report).toMatchObject({ ok: true, truncation: 'CHECKED' })
}

/** The server is as good as before: it lives, lets through what it should, and its log holds. */
export async function expectStanding(plane: Target): Promise<void> {
  expect((await call(plane, null, 'GET', '/healthz')).status).toBe(200)
  expect((await call(plane, null, 'GET', '/readyz')).status).toBe(200)
  const allowed = await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, { topic: 'job.repo.read' })
  expect(allowed.status, allowed.text).toBe(202)
  await verifyAudit(plane)
  expect(faultsLogged(plane)).toEqual([])
}

/** What was logged as a fault of ours, each kind once. */
export function faultsLogged(plane: Target): string[] {
  const lines = plane.logged.map((line) => JSON.parse(line)).filter(({ level }) => level >= 50)
  return [...new Set(lines.map(({ msg, route, err }) => `${msg} ${route ?? ''}: ${err?.message ?? ''}`))]
}

/** Every row of every table as text, but for the body of sealed payloads, which is ciphertext. */
export async function dump(plane: TestPlane): Promise<string> {
  const tables = await plane.world.db.query<{ name: string }>(
    `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1`,
  )
  const parts: string[] = []
  for (const { name } of tables) {
    const rows = await plane.world.db.query<{ line: string }>(
      `SELECT row_to_json(t)::text AS line FROM "${name}" t${name === 'payloads' ? ` WHERE kind <> 'sealed'` : ''}`,
    )
    parts.push(...rows.map((row) => row.line))
  }
  return parts.join('\n')
}
