import { expect, test } from 'vitest'
import { testContext, testJob } from '../../test/worker/context.js'
import { BUILTIN_TOPICS, builtinHandlers } from './builtin.js'

test('serves the topics that are configured, or those asked for; none that is not there', () => {
  expect(Object.keys(builtinHandlers({}).topics)).toEqual([])
  expect(Object.keys(builtinHandlers({ integrations: {}, repo: { roots: ['.'] } }).topics)).toEqual([
    'job.repo.read',
    'job.integrations.call',
  ])
  expect(Object.keys(builtinHandlers({ topics: ['job.deploy.apply'] }).topics)).toEqual(['job.deploy.apply'])
  for (const topic of ['job.repo.write', '__proto__', 'constructor'])
    expect(() => builtinHandlers({ topics: [topic] })).toThrow(RangeError)
})

test('a topic without its configuration refuses', async () => {
  const { topics } = builtinHandlers({ topics: BUILTIN_TOPICS })
  const inputs: Record<string, unknown> = {
    'job.repo.read': { op: 'log' },
    'job.exec.shell': { command: 'true' },
    'job.integrations.call': { url: 'http://127.0.0.1:1/' },
    'job.deploy.apply': {},
  }
  for (const [topic, handler] of Object.entries(topics)) {
    const ctx = testContext()
    await expect(handler(testJob(inputs[topic]), ctx), topic).rejects.toMatchObject({
      name: 'TerminalError',
      code: expect.stringMatching(/^(not_configured|no_allow_list)$/),
    })
    expect(ctx.begun).toEqual([])
  }
})

test('a promised constraint is kept or refused by every handler that runs or calls something', async () => {
  const { topics, enforces } = builtinHandlers({ shell: { workdir: '/tmp' }, deploy: { command: ['true'] } })
  expect(enforces).toEqual(['allowed_hosts'])
  const ctx = () => testContext({ constraints: { allowed_hosts: ['api.example.com'] } })
  for (const [topic, input] of [
    ['job.exec.shell', { command: 'true' }],
    ['job.deploy.apply', {}],
  ] as const)
    await expect(topics[topic]?.(testJob(input), ctx())).rejects.toMatchObject({ code: 'constraint_not_enforced' })
})
