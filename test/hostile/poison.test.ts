import { afterAll, beforeAll, expect, test } from 'vitest'
import { API, call, faultsLogged, makeKey, startTarget, type Target, verifyAudit } from './attacker.js'

/**
 * Commits of many callers share one statement. A text that one of them chose and that could not be written down (half of a
 * surrogate pair where a message was cut, a key too long for an index) must fail nobody else, and best not even itself.
 */
const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.class.x, derive: { labels: { env: 'has(input.env) ? input.env : "none"' } } }
  - { topic: job.schema.x, input_schema: { type: object, properties: { a: { type: string, maxLength: 3 } }, additionalProperties: false } }
rules:
  - { id: good, match: { topic: job.good.x }, decision: ALLOW }
  - { id: space, match: { topic: job.space.x }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { allowed_namespaces: [a] } }
  - { id: tool, match: { topic: job.tool.x }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { allowed_tools: [a] } }
  - { id: class, match: { topic: job.class.x }, decision: ALLOW, limits: { rate: 5/hour, per: 'label:env' } }
  - { id: schema, match: { topic: job.schema.x }, decision: ALLOW }
  - { id: number, match: { topic: job.number.x }, when: 'input.a > 5', decision: ALLOW }
  - { id: index, match: { topic: job.index.x }, when: 'input[input.k] == 1', decision: ALLOW }
`
/** Cut anywhere from the 90th to the 210th character, some cut falls into the middle of a letter. */
const cut = (pad: number) => `${'n'.repeat(pad)}${'\u{1f600}'.repeat(80)}`
let plane: Target
let neighbour: string

beforeAll(async () => {
  plane = await startTarget(POLICY)
  neighbour = await makeKey(plane, 'agent', { principal: 'agent:neighbour' })
})
afterAll(() => plane?.stop())

const bodies: [string, (text: string) => object][] = [
  ['a namespace', (text) => ({ topic: 'job.space.x', input: { namespace: text } })],
  ['a tool', (text) => ({ topic: 'job.tool.x', input: { tool: text } })],
  ['a derived label', (text) => ({ topic: 'job.class.x', input: { env: text } })],
  [
    'a derived label of 100,000 characters that a limit counts by',
    (text) => ({ topic: 'job.class.x', input: { env: text.repeat(400) } }),
  ],
  ['an unknown key', (text) => ({ topic: 'job.schema.x', input: { [text]: 1 } })],
  ['a value out of its schema', (text) => ({ topic: 'job.schema.x', input: { a: text } })],
  ['an operand of the wrong type', (text) => ({ topic: 'job.number.x', input: { a: { [text]: 1 } } })],
  ['a key that an expression asks for', (text) => ({ topic: 'job.index.x', input: { k: text } })],
]
test.each(bodies)('%s', async (_, body) => {
  for (const pad of [98, 99, 127, 199, 200]) {
    const neighbours = Array.from({ length: 10 }, () =>
      call(plane, neighbour, 'POST', `${API}/jobs`, { topic: 'job.good.x' }),
    )
    const answer = await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, body(cut(pad)))
    expect([202, 403, 422, 429], answer.text.slice(0, 300)).toContain(answer.status)
    expect((await Promise.all(neighbours)).map((each) => each.status)).toEqual(Array(10).fill(202))
    if (answer.body.decision_id !== undefined)
      expect((await call(plane, plane.keys.agent, 'GET', `${API}/decisions/${answer.body.decision_id}`)).status).toBe(
        200,
      )
    expect(
      (await call(plane, plane.keys.agent, 'POST', `${API}/policy/evaluate`, { job: body(cut(pad)) })).status,
    ).toBe(200)
  }
})

test('after all of it the audit verifies, and no fault was logged', { timeout: 30_000 }, async () => {
  await verifyAudit(plane)
  expect(faultsLogged(plane)).toEqual([])
})
