import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { Validator } from '@seriousme/openapi-schema-validator'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { COMPONENTS } from '../src/contract/components.js'
import { Role } from '../src/contract/keys.js'
import { ROLES } from '../src/core/access.js'
import { JOB_STATUSES } from '../src/core/job.js'
import { ERRORS } from '../src/errors.js'
import { errorsMarkdown, permissionsMarkdown } from '../src/http/docs/markdown.js'
import type { Document, Media, Parameter } from '../src/http/openapi.js'
import { startSallyport } from '../src/testing.js'
import { generateClient } from './openapi/client.js'
import { driveEverything, type Seen } from './openapi/drive.js'
import { answerOf, faultsOf, follow, listsOf, operationsOf, refsOf } from './openapi/schemas.js'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
let document: Document
let seen: Seen[]

beforeAll(async () => {
  const driven = await driveEverything()
  document = driven.document as unknown as Document
  seen = driven.seen
}, 120_000)

describe('the document', () => {
  test('is valid OpenAPI 3.1', async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(document) as never)
    expect(errors).toBeUndefined()
    expect(valid).toBe(true)
    expect(document.openapi).toBe('3.1.0')
  })

  test('leads every reference somewhere and uses every component', () => {
    const refs = new Set(refsOf(document))
    for (const ref of refs) expect(follow(document, { $ref: ref }), ref).toBeDefined()
    for (const name of Object.keys(document.components.schemas))
      expect(refs, name).toContain(`#/components/schemas/${name}`)
  })

  test('has no two components with the same text, which would take each other’s name', () => {
    const texts = Object.values(COMPONENTS).map((schema) => JSON.stringify(schema))
    expect(new Set(texts).size).toBe(texts.length)
  })

  test('names every operation once, with a tag that is explained and its roles', () => {
    const operations = operationsOf(document).map(({ operation }) => operation)
    expect(new Set(operations.map((each) => each.operationId)).size).toBe(operations.length)
    const tags = document.tags.map(({ name }) => name)
    for (const each of operations) {
      expect(tags).toContain(each.tags[0])
      expect(each['x-roles'].length, `${each.operationId} is open to nobody`).toBeGreaterThan(0)
      expect(each.security.length === 0).toBe(each['x-permission'] === null)
    }
  })

  test('repeats the words of core: roles and states', () => {
    expect((Role as unknown as { anyOf: { const: string }[] }).anyOf.map((each) => each.const).sort()).toEqual(
      Object.keys(ROLES).sort(),
    )
    expect(document.components.schemas.JobStatus?.enum).toEqual([...JOB_STATUSES])
  })

  test('bounds every list a request may carry, or one body could keep a process busy', () => {
    const unbounded = operationsOf(document).flatMap(({ operation }) =>
      listsOf(document, operation.requestBody?.content['application/json']?.schema ?? {}).filter(
        (list) => list.maxItems === undefined,
      ),
    )
    expect(unbounded).toEqual([])
  })

  test('shows an example of every body and of every answer in JSON, and all of them fit', () => {
    const wrong: string[] = []
    const check = (where: string, media: Media, example: unknown) => {
      for (const fault of faultsOf(document, media.schema, example, true)) wrong.push(`${where}: ${fault}`)
    }
    for (const { operation } of operationsOf(document)) {
      const medias: [string, Media][] = Object.entries(operation.responses).flatMap(([status, { content = {} }]) =>
        Object.values(content).map((media): [string, Media] => [`${operation.operationId} ${status}`, media]),
      )
      const body = operation.requestBody?.content['application/json']
      if (body !== undefined) medias.push([`${operation.operationId} request`, body])
      for (const [where, media] of medias) {
        const examples = [
          ...('example' in media ? [media.example] : []),
          ...Object.values(media.examples ?? {}).map((each) => follow(document, each).value),
        ]
        if (examples.length === 0 && !/^system\.(openapi|docs)/.test(where)) wrong.push(`${where}: no example`)
        for (const example of examples) check(where, media, example)
      }
    }
    expect(wrong).toEqual([])
  })
})

describe('what the server answers', () => {
  test('is described: every operation was driven, every status and type is in the document', () => {
    const driven = new Set(seen.map(({ operation }) => operation))
    expect(
      operationsOf(document)
        .map(({ method, path }) => `${method} ${path}`)
        .sort(),
    ).toEqual([...driven].sort())
    for (const { operation, status, type } of seen) {
      const answer = answerOf(found(operation), status)
      expect(Object.keys(answer?.content ?? {}), `${operation} answered ${status} ${type}`).toContain(type)
    }
  })

  test('fits its schema and has no field that the document does not name', () => {
    const wrong = seen.flatMap(({ operation, status, type, body }) => {
      const media = answerOf(found(operation), status)?.content?.[type]
      if (media === undefined) return [`${operation} ${status}: not described`]
      return faultsOf(document, media.schema, body, true).map((fault) => `${operation} ${status}: ${fault}`)
    })
    expect(wrong).toEqual([])
  })

  test('has the code and the headers that the document names', () => {
    for (const { operation, status, type, headers, body } of seen) {
      const answer = answerOf(found(operation), status)
      const { code } = (body ?? {}) as { code?: string }
      if (type === 'application/problem+json')
        expect(
          Object.keys(answer?.content?.['application/problem+json']?.examples ?? {}),
          `${operation} ${code}`,
        ).toContain(code)
      for (const name of ['retry-after', 'idempotency-replayed', 'www-authenticate']) {
        if (!headers.has(name)) continue
        expect(
          Object.keys(answer?.headers ?? {}).map((each) => each.toLowerCase()),
          `${operation} ${status}`,
        ).toContain(name)
      }
    }
    expect(seen.filter(({ headers }) => headers.get('idempotency-replayed') === 'true')).toHaveLength(1)
  })

  const found = (driven: string) => {
    const [method = '', path = ''] = driven.split(' ')
    const operation = document.paths[path]?.[method.toLowerCase()]
    if (operation === undefined) throw new Error(`${driven} is not in the document`)
    return operation
  }
})

/** Type errors a caller shall get: where one does not come, the unused directive is the error. */
const USE = `import { client } from './client.js'
export async function use() {
  const api = client('', '')
  const accepted = await api['jobs.submit']({ body: { topic: 'job.x', labels: { env: 'prod' } } })
  const status: 'queued' | 'pending_approval' | string = accepted.status
  // @ts-expect-error a topic is a string
  await api['jobs.submit']({ body: { topic: 1 } })
  // @ts-expect-error a body is required
  await api['jobs.submit']({})
  // @ts-expect-error no such field
  await api['jobs.submit']({ body: { topic: 'a', topics: ['b'] } })
  // @ts-expect-error no such state
  await api['jobs.list']({ query: { status: 'lost' } })
  // @ts-expect-error an approval may be absent
  const id: string = accepted.approval_id
  return [status, id]
}
`

describe('a client generated from the document', () => {
  let dir: string
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'sallyport-client-'))
  })
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  test('compiles under strict and submits, reads, approves and is refused on a running server', async () => {
    writeFileSync(join(dir, 'client.ts'), generateClient(document))
    writeFileSync(join(dir, 'use.ts'), USE)
    writeFileSync(join(dir, 'package.json'), '{ "type": "module" }')
    const flags = [
      '--strict',
      '--target',
      'es2023',
      '--lib',
      'es2023,dom',
      '--module',
      'nodenext',
      '--types',
      '',
      '--skipLibCheck',
    ]
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
    const { stdout } = await promisify(execFile)(process.execPath, [tsc, ...flags, 'use.ts'], { cwd: dir }).catch(
      (error) => error,
    )
    expect(stdout).toBe('')
    const { client } = await import(pathToFileURL(join(dir, 'client.js')).href)
    const plane = await startSallyport()
    try {
      const [agent, approver] = [client(plane.url, plane.keys.agent), client(plane.url, plane.keys.approver)]
      const body = {
        topic: 'job.deploy.apply',
        labels: { env: 'prod' },
        input: { environment: 'prod', service: 'checkout' },
      }
      const accepted = await agent['jobs.submit']({ body, header: { 'Idempotency-Key': 'once' } })
      expect(accepted).toMatchObject({ status: 'pending_approval', decision: 'REQUIRE_APPROVAL' })
      const path = { approval_id: accepted.approval_id }
      const question = await approver['approvals.get']({ path })
      await expect(agent['approvals.approve']({ path, body: { grant_hash: question.grant_hash } })).rejects.toThrow(
        'forbidden',
      )
      const answered = await approver['approvals.approve']({ path, body: { grant_hash: question.grant_hash } })
      expect(answered.status).toBe('approved')
      expect(await agent['jobs.get']({ path: { job_id: accepted.job_id } })).toMatchObject({ status: 'queued' })
      const page = await agent['jobs.list']({ query: { status: 'queued', limit: 1 } })
      expect(page.items.map((job: { job_id: string }) => job.job_id)).toEqual([accepted.job_id])
      await expect(agent['jobs.submit']({ body: { topic: 'job.mail.send' } })).rejects.toMatchObject({
        problem: { code: 'policy_denied' },
      })
      expect(await agent['system.ready']()).toBe('ready\n')
    } finally {
      await plane.stop()
    }
  }, 120_000)
})

describe('what is generated for readers', () => {
  const again = 'is not what the code says: npm run build && node scripts/docs.mjs'

  test('docs/errors.md is the catalogue', () => {
    expect(readFileSync(join(ROOT, 'docs/errors.md'), 'utf8') === errorsMarkdown(), `docs/errors.md ${again}`).toBe(
      true,
    )
  })

  test('docs/permissions.md is the roles and the routes', () => {
    const text = readFileSync(join(ROOT, 'docs/permissions.md'), 'utf8')
    expect(text === permissionsMarkdown(document), `docs/permissions.md ${again}`).toBe(true)
  })

  test('the page at /docs stands alone and has a place for every operation, noun, state and error', () => {
    const page = seen.find(({ operation }) => operation === 'GET /docs')?.body as string
    expect(page.match(/<script|<link|<img|<iframe|@import|url\((?!#)|\son\w+=|src=/i)).toBeNull()
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id)
    expect(new Set(ids).size).toBe(ids.length)
    for (const code of Object.keys(ERRORS)) expect(ids).toContain(`error-${code}`)
    for (const { operation } of operationsOf(document)) expect(ids).toContain(operation.operationId)
    for (const name of Object.keys(document.components.schemas)) expect(ids).toContain(`schema-${name}`)
    for (const status of JOB_STATUSES) expect(ids).toContain(`state-${status}`)
    for (const [, target] of page.matchAll(/href="#([^"]+)"/g)) expect(ids).toContain(target)
  })

  test('every parameter in a path or query is explained', () => {
    for (const { operation } of operationsOf(document))
      for (const each of operation.parameters)
        expect(
          follow<Parameter>(document, each).description,
          `${operation.operationId} ${JSON.stringify(each)}`,
        ).toBeTruthy()
  })
})
