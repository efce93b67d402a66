import { writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { proves } from '../requirements.js'
import { database, signingKeyFile, sqlOn } from '../support/engines.js'
import { endAll, type Server, scratch, startServer, until } from '../support/server.js'
import { startWire, type Wire } from '../support/wire.js'

/**
 * The wire between a node and Postgres fails around a commit. Nobody may be told something that is not so, and nothing may be
 * done twice: applied → 202; not applied → 503 store_unavailable; nobody can know → 503 outcome_unknown, and a repeat finds out.
 */

const POLICY = `
version: v1
default_decision: DENY
rules:
  - { id: do, match: { topic: job.do.* }, decision: ALLOW }
`
const place = scratch('lost')
let url: string
let wire: Wire
let server: Server

beforeAll(async () => {
  writeFileSync(place.at('policy.yaml'), POLICY)
  url = await database()
  wire = await startWire(Number(new URL(url).port))
  server = await startServer({
    dataDir: place.at('data'),
    policy: place.at('policy.yaml'),
    env: {
      SALLYPORT_DATABASE_URL: wire.through(url),
      SALLYPORT_SIGNING_KEY: signingKeyFile(place.at('signing.key')),
      SALLYPORT_LOG_LEVEL: 'fatal',
    },
  })
})
afterAll(async () => {
  await endAll()
  wire?.close()
  place.gone()
})

interface Answer {
  status: number
  code: string | undefined
  job_id: string | undefined
  replayed: boolean
  retryAfter: string | null
}

/** `mark` is in the job's input and so in the statement that writes it, and nowhere else. */
async function submit(mark: string, key: string | null = null): Promise<Answer> {
  const answer = await fetch(`${server.url}/api/v1/jobs`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-api-key': server.key('agent'),
      ...(key === null ? {} : { 'idempotency-key': key }),
    },
    body: JSON.stringify({ topic: 'job.do.it', run_id: mark, input: { mark: `<${mark}>` } }),
  })
  const body = (await answer.json()) as { code?: string; job_id?: string }
  return {
    status: answer.status,
    code: body.code,
    job_id: body.job_id,
    replayed: answer.headers.get('idempotency-replayed') === 'true',
    retryAfter: answer.headers.get('retry-after'),
  }
}
const rows = async (mark: string): Promise<number> =>
  (await sqlOn(url, 'SELECT count(*)::int AS n FROM jobs WHERE run_id = $1', [mark]))[0].n
const well = () => until('submits are taken again', async () => (await submit('well')).status === 202)

async function submitLosing(
  mark: string,
  fate: Parameters<Wire['onNext']>[1],
  key: string | null = null,
  meanwhile = () => {},
): Promise<Answer> {
  await well()
  const sprung = wire.onNext(`<${mark}>`, fate).then(meanwhile)
  const [answer] = await Promise.all([submit(mark, key), sprung])
  return answer
}

/** As a client repeats: after a 503, with the same key. */
const repeat = (mark: string, key: string) =>
  until('an answer other than 503', async () => {
    const answer = await submit(mark, key)
    return answer.status !== 503 && answer
  })

describe('the connection breaks', () => {
  test(`${proves('L2')} after the commit was done: the caller hears 202, and the job is there once`, async () => {
    for (let round = 0; round < 5; round++) {
      const answer = await submitLosing(`after-${round}`, 'lost after')
      expect(answer).toMatchObject({ status: 202 })
      expect(await rows(`after-${round}`)).toBe(1)
    }
  })

  test(`${proves('D10')} before the commit arrived: the caller hears 503 and to come again, and nothing was done`, async () => {
    for (let round = 0; round < 5; round++) {
      const answer = await submitLosing(`before-${round}`, 'lost before')
      expect(answer).toMatchObject({ status: 503, code: 'store_unavailable', retryAfter: '1' })
      expect(await rows(`before-${round}`)).toBe(0)
    }
  })

  test(`${proves('R6')} with an Idempotency-Key the repeat of either is done once and answered the same`, async () => {
    const first = await submitLosing('key-after', 'lost after', 'k-after')
    const again = await repeat('key-after', 'k-after')
    expect(again).toMatchObject({ status: 202, replayed: true, job_id: first.job_id })
    expect(await rows('key-after')).toBe(1)

    expect((await submitLosing('key-before', 'lost before', 'k-before')).status).toBe(503)
    const second = await repeat('key-before', 'k-before')
    expect(second).toMatchObject({ status: 202, replayed: false })
    expect(await submit('key-before', 'k-before')).toMatchObject({ status: 202, replayed: true, job_id: second.job_id })
    expect(await rows('key-before')).toBe(1)
  })
})

describe.each(['lost after', 'lost before'] as const)('%s, and Postgres is out of reach for a while', (fate) => {
  test('nobody can know: 503 outcome_unknown; with its key the repeat finds out', async () => {
    const mark = `unknown-${fate.replace(' ', '-')}`
    const answer = await submitLosing(mark, fate, mark, () => wire.refuse(true))
    expect(answer).toMatchObject({ status: 503, code: 'outcome_unknown', retryAfter: '1' })
    // Until it is known nothing may follow in the chain.
    expect(await submit('meanwhile')).toMatchObject({ status: 503, code: 'store_unavailable' })
    wire.refuse(false)
    expect(await repeat(mark, mark)).toMatchObject({ status: 202, replayed: fate === 'lost after' })
    expect([await rows(mark), await rows('meanwhile')]).toEqual([1, 0])
  })
})

test('nothing is ever answered on a connection gone silent: the caller hears of it within a stated time, applied is 202', async () => {
  const from = performance.now()
  const answer = await submitLosing('silent', 'silent after', 'silent')
  console.log(`a commit whose connection went silent was answered after ${Math.round(performance.now() - from)} ms`)
  expect(answer.status).toBe(202)
  expect(await rows('silent')).toBe(1)
})

test('what came of it all is one chain that verifies, and no job twice', async () => {
  await well()
  const verdict = await until('everything is integrated', async () => {
    const head = await server.client('admin').audit.head()
    const [{ n }] = await sqlOn(url, 'SELECT count(*)::int AS n FROM audit_tiles WHERE first_index IS NULL')
    return n === 0 ? head : null
  })
  expect(verdict.size).toBeGreaterThan(0)
  const twice = await sqlOn(url, "SELECT run_id FROM jobs WHERE run_id <> 'well' GROUP BY run_id HAVING count(*) > 1")
  expect(twice).toEqual([])
})
