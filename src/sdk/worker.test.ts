import { inspect } from 'node:util'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createWaiting, problem, startWorkerPlane, type WorkerPlane } from '../../test/stand-in.js'
import { TerminalError, TransientError } from './errors.js'
import { AttemptAborted, RESULT_BYTES } from './outcome.js'
import {
  createWorker,
  type Fork,
  type Handler,
  type HandlerContext,
  type Worker,
  type WorkerOptions,
} from './worker.js'

const KEY = 'sp_worker_key_of_a_test'
const TOPIC = 'job.test.echo'
const open: { plane: WorkerPlane; worker: Worker }[] = []

async function begin(handler: Handler, options: Partial<WorkerOptions> = {}) {
  const plane = await startWorkerPlane()
  const events: { event: string; [about: string]: unknown }[] = []
  const worker = createWorker({
    url: plane.url,
    apiKey: KEY,
    topics: { [TOPIC]: handler },
    log: (entry) => events.push(entry),
    ...options,
  })
  open.push({ plane, worker })
  await worker.start()
  return { plane, worker, events }
}

afterEach(async () => {
  for (const { plane, worker } of open.splice(0)) {
    await worker.stop({ graceMs: 0 })
    await plane.close()
  }
})

/** Waits until the worker, which tells nobody, has come that far. */
const reaches = (worker: Worker, stats: Partial<Worker['stats']>) =>
  vi.waitFor(() => expect(worker.stats).toMatchObject(stats), { timeout: 20_000, interval: 5 })

const forever = (ctx: HandlerContext) =>
  new Promise((_, reject) => ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason)))

describe('the ordinary way', () => {
  test('claims what it can do, runs it and reports the result', async () => {
    const { plane, worker } = await begin((job, ctx) => {
      ctx.usage({ tokens: 10 })
      ctx.usage({ tokens: 5, cost: 0.5 })
      return { said: job.input, attempt: ctx.attempt, key: ctx.idempotencyKey }
    })
    const lease = plane.offer({ attempt: 2 })
    expect(await plane.report(lease)).toEqual({
      lease,
      outcome: 'succeeded',
      result: { said: { text: 'hello' }, attempt: 2, key: 'job_0123456789' },
      usage: { tokens: 15, cost: 0.5 },
    })
    const [first, second] = plane.claims
    expect(first).toMatchObject({
      worker_id: worker.id,
      topics: [TOPIC],
      capacity: 8,
      wait_ms: 0,
      enforces: ['allowed_hosts'],
      effects: 'recorded',
    })
    expect(second).toMatchObject({ wait_ms: 20_000 })
    expect(second?.claim_id).not.toBe(first?.claim_id)
  })

  test('never has more at work than its concurrency, and takes several leases at once', async () => {
    let atWork = 0
    let most = 0
    const gate = createWaiting()
    let released = false
    const { plane, worker } = await begin(
      async () => {
        most = Math.max(most, ++atWork)
        await gate.until(() => released || undefined)
        atWork--
      },
      { concurrency: 3 },
    )
    const leases = Array.from({ length: 7 }, () => plane.offer())
    await reaches(worker, { running: 3 })
    released = true
    gate.poke()
    await Promise.all(leases.map((lease) => plane.report(lease)))
    expect(most).toBe(3)
    expect(Math.max(...plane.claims.map((claim) => claim.capacity))).toBe(3)
  })

  test('reports that come up during a report go together in the next', async () => {
    const { plane, worker } = await begin(() => null)
    const held = createWaiting()
    let release = false
    plane.intercept = (request) => {
      if (request.path !== '/api/v1/leases/complete' || plane.reports.length > 0 || release) return undefined
      return held.until(() => release || undefined).then(() => undefined)
    }
    const first = plane.offer()
    await plane.until(() => plane.seen.find((request) => request.path === '/api/v1/leases/complete'))
    const rest = [plane.offer(), plane.offer(), plane.offer()]
    await reaches(worker, { unreported: 4 })
    release = true
    held.poke()
    await Promise.all([first, ...rest].map((lease) => plane.report(lease)))
    expect(plane.reports.map((batch) => batch.length)).toEqual([1, 3])
  })
})

describe('failures', () => {
  const cases: [string, () => unknown, object][] = [
    [
      'TransientError',
      () => new TransientError('busy', 'later'),
      { class: 'transient', code: 'busy', message: 'later' },
    ],
    ['TerminalError', () => new TerminalError('no way!', 'x'), { class: 'terminal', code: 'no_way_', message: 'x' }],
    ['an unknown error', () => new Error('odd'), { class: 'transient', code: 'handler_error', message: 'odd' }],
    ['a system error', () => Object.assign(new Error('gone'), { code: 'ECONNRESET' }), { code: 'ECONNRESET' }],
    ['no error at all', () => 'text', { class: 'transient', code: 'handler_error', message: 'text' }],
  ]
  test.each(cases)('%s', async (_, error, expected) => {
    const { plane } = await begin(() => {
      throw error()
    })
    const report = await plane.report(plane.offer())
    expect(report.outcome).toBe('failed')
    expect(report.error).toMatchObject(expected)
  })

  test('a result that cannot be sent is a terminal failure', async () => {
    const results = [() => 'x'.repeat(RESULT_BYTES), () => 1n]
    const { plane } = await begin(() => results.shift()?.())
    expect((await plane.report(plane.offer())).error).toMatchObject({ class: 'terminal', code: 'result_too_large' })
    expect((await plane.report(plane.offer())).error).toMatchObject({ class: 'terminal', code: 'result_not_json' })
  })

  test('a result the server refuses costs its own job, not those in the same body', async () => {
    const gate = createWaiting()
    let released = false
    const { plane, worker } = await begin((job) => job.input)
    const refused: number[] = []
    plane.intercept = async ({ path, body }) => {
      if (!path.endsWith('complete')) return undefined
      await gate.until(() => released || undefined)
      if (!JSON.stringify(body).includes('poison')) return undefined
      refused.push(body.length)
      return problem(400, 'malformed')
    }
    const first = plane.offer()
    await reaches(worker, { unreported: 1 })
    const good = [first, plane.offer()]
    const bad = plane.offer({ job: { input: 'poison' } })
    good.push(plane.offer())
    await reaches(worker, { unreported: 4 })
    released = true
    gate.poke()
    expect((await plane.report(bad)).error).toMatchObject({ class: 'terminal', code: 'result_refused' })
    for (const lease of good) expect((await plane.report(lease)).outcome).toBe('succeeded')
    // Together with two good ones, then alone.
    expect(refused).toEqual([3, 1])
  })
})

describe('aborts', () => {
  const watched = () => {
    const seen: AttemptAborted[] = []
    const handler: Handler = async (_, ctx) => {
      await forever(ctx).catch((reason) => {
        seen.push(reason)
        throw new Error('an echo')
      })
    }
    return { seen, handler }
  }

  test('a cancelled job: the handler is told, and the end reported', async () => {
    const { seen, handler } = watched()
    const { plane } = await begin(handler)
    const lease = plane.offer({ heartbeat_ms: 50 })
    plane.words.set(lease, 'cancel')
    expect((await plane.report(lease)).error).toMatchObject({ class: 'transient', code: 'cancelled' })
    expect(seen).toMatchObject([{ why: 'cancel' }])
    expect(seen[0]).toBeInstanceOf(AttemptAborted)
  })

  test('a lost lease: the handler is told, nothing is reported or kept alive any more', async () => {
    const { seen, handler } = watched()
    const { plane, worker } = await begin(handler)
    const lease = plane.offer({ heartbeat_ms: 50 })
    plane.words.set(lease, 'lost')
    await reaches(worker, { lost: 1, running: 0 })
    const marker = plane.offer({ remaining_ms: 10 })
    await plane.report(marker)
    expect(seen[0]).toMatchObject({ why: 'lost' })
    expect(plane.reports.flat().map((report) => report.lease)).toEqual([marker])
    expect(plane.beats.flatMap((beat) => beat.leases).filter((beat) => beat.lease === lease)).toHaveLength(1)
  })

  test('a lost lease whose handler does not listen is kept alive no longer, and still fills its place', async () => {
    const { plane, worker } = await begin(() => new Promise(() => {}))
    const deaf = plane.offer({ heartbeat_ms: 40 })
    plane.words.set(deaf, 'lost')
    await plane.until(() => plane.beats[0])
    const other = plane.offer({ heartbeat_ms: 40 })
    await plane.until(() =>
      plane.beats.flatMap((beat) => beat.leases).filter((b) => b.lease === other)[2] ? true : undefined,
    )
    expect(plane.beats.flatMap((beat) => beat.leases).filter((beat) => beat.lease === deaf)).toHaveLength(1)
    expect(worker.stats.running).toBe(2)
  })

  test('the time of the attempt is over', async () => {
    const { handler } = watched()
    const { plane } = await begin(handler)
    expect((await plane.report(plane.offer({ remaining_ms: 30 }))).error).toMatchObject({ code: 'timeout' })
  })

  test('a lease that arrives too late is not begun', async () => {
    let called = false
    const { plane } = await begin(() => {
      called = true
    })
    expect((await plane.report(plane.offer({ remaining_ms: -1 }))).error).toMatchObject({ code: 'timeout' })
    expect(called).toBe(false)
  })

  test('heartbeats that do not get through for three intervals end the attempt', async () => {
    const { seen, handler } = watched()
    const { plane } = await begin(handler)
    plane.intercept = ({ path }) => (path.endsWith('heartbeat') ? 'drop' : undefined)
    const lease = plane.offer({ heartbeat_ms: 40 })
    expect((await plane.report(lease)).error).toMatchObject({ class: 'transient', code: 'server_silent' })
    expect(seen).toMatchObject([{ why: 'silent' }])
  })

  test('what finished all the same is reported as what it is', async () => {
    const { plane } = await begin(async (_, ctx) => {
      await forever(ctx).catch(() => {})
      return 'done'
    })
    const lease = plane.offer({ heartbeat_ms: 50 })
    plane.words.set(lease, 'cancel')
    expect(await plane.report(lease)).toMatchObject({ outcome: 'succeeded', result: 'done' })
  })
})

describe('heartbeats', () => {
  test('carry progress, the newest value, and many leases in one request', async () => {
    const { plane } = await begin(async (_, ctx) => {
      for (const n of [1, 2, 3]) ctx.progress({ n })
      ctx.progress(10n)
      ctx.progress('x'.repeat(20_000))
      await forever(ctx)
    })
    const [a, b] = [plane.offer({ heartbeat_ms: 3_000 }), plane.offer({ heartbeat_ms: 3_000 })]
    const beat = await plane.until(() => plane.beats.find((one) => one.leases.length === 2))
    expect(beat.leases).toEqual([a, b].map((lease) => ({ lease, progress: { n: 3 } })))
  })

  test('of leases that began apart fall into step', async () => {
    const { plane, worker } = await begin((_, ctx) => forever(ctx))
    const a = plane.offer({ heartbeat_ms: 400 })
    await reaches(worker, { running: 1 })
    const b = plane.offer({ heartbeat_ms: 400 })
    expect(await plane.until(() => plane.beats[0])).toEqual({ leases: [{ lease: a }, { lease: b }] })
  })

  test('go on without progress that the server refuses', async () => {
    const { plane } = await begin(async (_, ctx) => {
      ctx.progress('poison')
      await forever(ctx)
    })
    plane.intercept = ({ path, body }) =>
      path.endsWith('heartbeat') && JSON.stringify(body).includes('poison') ? problem(400, 'malformed') : undefined
    const lease = plane.offer({ heartbeat_ms: 200 })
    expect(await plane.until(() => plane.beats[0])).toEqual({ leases: [{ lease }] })
  })
})

describe('effects', () => {
  test('begin before and commit after, with the key for the outside system', async () => {
    const order: string[] = []
    const { plane } = await begin((_, ctx) =>
      ctx.effect('send', async ({ idempotencyKey, remainingMs }) => {
        order.push(`${plane.effects.length} ${idempotencyKey} ${remainingMs() > 50_000}`)
        return { id: 7 }
      }),
    )
    const lease = plane.offer()
    expect(await plane.report(lease)).toMatchObject({ outcome: 'succeeded', result: { id: 7 } })
    expect(order).toEqual(['1 idem-send true'])
    expect(plane.effects).toEqual([
      { lease, key: 'send', phase: 'begin' },
      { lease, key: 'send', phase: 'commit', result: { id: 7 } },
    ])
  })

  test('the time left is whole, so a handler can give it to AbortSignal.timeout', async () => {
    const { plane } = await begin((_, ctx) =>
      ctx.effect('send', async ({ remainingMs }) =>
        [ctx.remainingMs(), remainingMs()].map((left) => AbortSignal.timeout(left).aborted),
      ),
    )
    const lease = plane.offer()
    expect(await plane.report(lease)).toMatchObject({ outcome: 'succeeded', result: [false, false] })
  })

  test('what was committed is not done again: by an earlier attempt, another node, or twice in this one', async () => {
    let calls = 0
    const { plane } = await begin(async (_, ctx) => {
      const act = () => ++calls
      return [
        await ctx.effect('old', act),
        await ctx.effect('elsewhere', act),
        ...(await Promise.all([ctx.effect('new', act), ctx.effect('new', act)])),
        await ctx.effect('new', act),
        ctx.effects.map((effect) => effect.key),
      ]
    })
    plane.intercept = ({ path, body }) =>
      path.endsWith('effects') && body.key === 'elsewhere'
        ? { body: { key: body.key, status: 'committed', idempotency_key: 'i', remaining_ms: 9_000, result: 'theirs' } }
        : undefined
    const effects = [
      { key: 'old', status: 'committed', result: 'recorded' },
      { key: 'odd', status: 'begun', result: null },
    ]
    const report = await plane.report(plane.offer({ effects }))
    expect(report.result).toEqual(['recorded', 'theirs', 1, 1, 1, ['old']])
    expect(calls).toBe(1)
  })

  test('one that throws stays begun and is not tried again in this attempt', async () => {
    let calls = 0
    const { plane } = await begin(async (_, ctx) => {
      const act = () => {
        calls++
        throw new TerminalError('half', 'no telling')
      }
      await ctx.effect('pay', act).catch(() => {})
      await ctx.effect('pay', act)
    })
    const lease = plane.offer()
    expect((await plane.report(lease)).error).toMatchObject({ code: 'half' })
    expect(calls).toBe(1)
    expect(plane.effects.map((effect) => effect.phase)).toEqual(['begin'])
  })

  test('lost answers are asked for again; the act is not', async () => {
    let calls = 0
    const dropped = new Set<string>()
    const { plane } = await begin((_, ctx) => ctx.effect('pay', () => ++calls))
    plane.intercept = ({ path, body }) => {
      if (!path.endsWith('effects') || dropped.has(body.phase)) return undefined
      dropped.add(body.phase)
      return 'drop'
    }
    expect((await plane.report(plane.offer())).outcome).toBe('succeeded')
    expect(calls).toBe(1)
    expect(dropped).toEqual(new Set(['begin', 'commit']))
  })

  test('none begins with less than 2 s left, nor when the server leaves less', async () => {
    let calls = 0
    const { plane } = await begin((_, ctx) => ctx.effect('pay', () => ++calls))
    expect((await plane.report(plane.offer({ remaining_ms: 1_900 }))).error).toMatchObject({ code: 'too_little_time' })
    expect(plane.effects).toEqual([])
    plane.intercept = ({ path, body }) =>
      path.endsWith('effects')
        ? { body: { key: body.key, status: 'begun', idempotency_key: 'i', remaining_ms: 1_900 } }
        : undefined
    expect((await plane.report(plane.offer())).error).toMatchObject({ code: 'too_little_time' })
    expect(calls).toBe(0)
  })

  test('a running one is told to end 2 s before the attempt is over, and can still be committed', async () => {
    const { plane } = await begin((_, ctx) =>
      ctx.effect(
        'long',
        ({ signal }) =>
          new Promise((resolve) =>
            signal.addEventListener('abort', () => resolve({ partly: true, over: ctx.signal.aborted })),
          ),
      ),
    )
    const lease = plane.offer({ remaining_ms: 2_200 })
    expect(await plane.report(lease)).toMatchObject({ outcome: 'succeeded', result: { partly: true, over: false } })
    expect(plane.effects.at(-1)).toMatchObject({ phase: 'commit' })
  })

  test('refused: the job is stopped, or the lease lost', async () => {
    let calls = 0
    const { plane, worker } = await begin((_, ctx) => ctx.effect('pay', () => ++calls))
    plane.intercept = ({ path }) => (path.endsWith('effects') ? problem(409, 'effect_refused') : undefined)
    expect((await plane.report(plane.offer())).error).toMatchObject({ code: 'effect_refused' })
    plane.intercept = ({ path }) => (path.endsWith('effects') ? problem(409, 'lease_lost') : undefined)
    plane.offer()
    await reaches(worker, { lost: 1 })
    expect(calls).toBe(0)
    expect(plane.reports.flat()).toHaveLength(1)
  })

  test('that it happened is recorded even where its result is not taken, or not wanted', async () => {
    const { plane } = await begin(async (_, ctx) => {
      await ctx.effect('secret', () => ({ token: 't' }), { retain: false })
      await ctx.effect('odd', () => 'poison')
    })
    plane.intercept = ({ path, body }) =>
      path.endsWith('effects') && body.result === 'poison' ? problem(400, 'malformed') : undefined
    expect((await plane.report(plane.offer())).error).toMatchObject({
      class: 'terminal',
      code: 'effect_result_refused',
    })
    expect(plane.effects.filter((effect) => effect.phase === 'commit')).toMatchObject([
      { key: 'secret', result: null },
      { key: 'odd', result: null },
    ])
  })

  test('one that was not awaited ends before the report, and none begins after it', async () => {
    const late = createWaiting()
    let context: HandlerContext | undefined
    const { plane } = await begin((_, ctx) => {
      context = ctx
      void ctx.effect('floating', () => 1)
      void ctx.effect('no key', () => 1)
      return 'done'
    })
    plane.intercept = ({ path }) => {
      if (path.endsWith('complete')) expect(plane.effects.map((effect) => effect.phase)).toEqual(['begin', 'commit'])
      late.poke()
      return undefined
    }
    await plane.report(plane.offer())
    await expect(context?.effect('late', () => 1)).rejects.toMatchObject({ code: 'attempt_over' })
  })
})

describe('the server goes away', () => {
  test('a lost claim is repeated under its id, a lost report as it was', async () => {
    const { plane } = await begin(() => 'done')
    const poll = await plane.until(() => plane.claims[1])
    for (const path of ['/api/v1/workers/claim', '/api/v1/leases/complete']) plane.losing.add(path)
    const lease = plane.offer()
    expect((await plane.report(lease)).outcome).toBe('succeeded')
    await plane.until(() => (plane.reports.length === 2 ? true : undefined))
    expect(plane.claims[2]).toEqual(poll)
    expect(plane.reports[1]).toEqual(plane.reports[0])
  })

  test('a server that restarts is waited for', async () => {
    const { plane, events } = await begin(() => 'done')
    const port = Number(new URL(plane.url).port)
    await plane.until(() => plane.claims[1])
    await plane.close()
    const again = await startWorkerPlane(port)
    try {
      expect((await again.report(again.offer())).outcome).toBe('succeeded')
      expect(events).toContainEqual(expect.objectContaining({ event: 'claim_failed', code: 'unreachable' }))
    } finally {
      await open[0]?.worker.stop({ graceMs: 0 })
      await again.close()
    }
  })

  test('start waits for a server that is not there yet, and fails on one that refuses', async () => {
    const refusing = await startWorkerPlane()
    refusing.intercept = () => problem(401, 'unauthenticated')
    const topics = { [TOPIC]: () => null }
    const options = { apiKey: KEY, topics, log: () => {} }
    await expect(createWorker({ url: refusing.url, ...options }).start()).rejects.toMatchObject({
      code: 'unauthenticated',
    })
    await refusing.close()
    const port = Number(new URL(refusing.url).port)
    const tried = createWaiting()
    let attempts = 0
    const log = () => {
      attempts++
      tried.poke()
    }
    const worker = createWorker({ url: refusing.url, ...options, log })
    const started = worker.start()
    await tried.until(() => (attempts > 0 ? true : undefined))
    const plane = await startWorkerPlane(port)
    open.push({ plane, worker })
    await started
    expect(plane.claims).not.toHaveLength(0)
  })

  test('a server that answers empty at once is not asked in a loop', async () => {
    const { plane } = await begin(() => null, { waitMs: 0 })
    const began = performance.now()
    await plane.until(() => plane.claims[4])
    expect(performance.now() - began).toBeGreaterThanOrEqual(3 * 99)
  })
})

describe('stop', () => {
  test('lets handlers finish, reports them and takes nothing new', async () => {
    const gate = createWaiting()
    let ready = false
    const { plane, worker } = await begin(async () => {
      await gate.until(() => ready || undefined)
      return 'finished'
    })
    const lease = plane.offer()
    await reaches(worker, { running: 1 })
    const stopped = worker.stop({ graceMs: 60_000 })
    ready = true
    gate.poke()
    await stopped
    expect(plane.reports.flat()).toMatchObject([{ lease, outcome: 'succeeded', result: 'finished' }])
    const claims = plane.claims.length
    plane.offer()
    expect(worker.stats).toMatchObject({ running: 0, unreported: 0, succeeded: 1 })
    expect(plane.claims).toHaveLength(claims)
  })

  test('a second one does not wait; what is left is given back, obedient or not', async () => {
    const whys: unknown[] = []
    let calls = 0
    const { plane, worker } = await begin(async (_, ctx) => {
      ctx.signal.addEventListener('abort', () => whys.push(ctx.signal.reason.why))
      if (++calls === 1) await forever(ctx)
      else await new Promise(() => {})
    })
    const leases = [plane.offer(), plane.offer()]
    await reaches(worker, { running: 2 })
    const first = worker.stop({ graceMs: 60_000 })
    await Promise.all([first, worker.stop()])
    expect(whys).toEqual(['stop', 'stop'])
    expect(
      plane.reports
        .flat()
        .map((report) => report.lease)
        .sort(),
    ).toEqual([...leases].sort())
    for (const report of plane.reports.flat())
      expect(report.error).toMatchObject({ class: 'transient', code: 'worker_stopped' })
  })

  test('brings home the leases of a claim that it cut off', async () => {
    const { plane, worker } = await begin(() => 'done')
    const poll = await plane.until(() => plane.claims[1])
    const stopped = worker.stop({ graceMs: 60_000 })
    // Granted while the worker was hanging up: the second request under this id finds it.
    const lease = plane.offer()
    await stopped
    expect(plane.claims.at(-1)).toMatchObject({ claim_id: poll.claim_id, wait_ms: 0, capacity: 1 })
    expect(plane.reports.flat()).toMatchObject([{ lease, outcome: 'succeeded' }])
  })

  test('without a server it ends all the same', async () => {
    const { plane, worker, events } = await begin(() => 'done')
    plane.intercept = ({ path }) => (path.endsWith('complete') ? 'drop' : undefined)
    plane.offer()
    await reaches(worker, { unreported: 1 })
    plane.intercept = () => 'drop'
    await Promise.all([worker.stop(), worker.stop()])
    expect(events).toContainEqual(expect.objectContaining({ event: 'reports_dropped' }))
    expect(worker.stats.unreported).toBe(0)
  })

  test('before the first contact, start is told', async () => {
    const plane = await startWorkerPlane()
    await plane.close()
    const worker = createWorker({ url: plane.url, apiKey: KEY, topics: { [TOPIC]: () => null }, log: () => {} })
    const started = worker.start()
    const rejected = expect(started).rejects.toMatchObject({ code: 'stopped' })
    await worker.stop()
    await rejected
  })
})

describe('what it keeps and shows', () => {
  const head = (size: number, letter: string) =>
    `sallyport/default\n${size}\n${letter.repeat(43)}=\nat 1\n\n— sallyport AAAA\n`

  test('the largest signed head, and an alarm for a second one of the same size', async () => {
    const heads: number[] = []
    const forks: Fork[] = []
    const { plane, worker, events } = await begin(() => null, {
      onHead: (one) => heads.push(one.size),
      onFork: (fork) => forks.push(fork),
    })
    for (const next of [head(5, 'A'), head(9, 'B'), head(9, 'C'), 'garbage']) {
      plane.head = next
      await plane.report(plane.offer())
    }
    expect(heads).toEqual([5, 9])
    expect(worker.head).toMatchObject({ size: 9, root: `${'B'.repeat(43)}=`, checkpoint: head(9, 'B') })
    expect(forks).toMatchObject([{ kind: 'other_root', known: { size: 9 }, seen: { size: 9 } }])
    expect(events).toContainEqual(expect.objectContaining({ level: 'error', event: 'audit_log_forked' }))
    expect(events).toContainEqual(expect.objectContaining({ event: 'head_unreadable' }))
  })

  test('not the key', async () => {
    const { worker, events } = await begin(() => null)
    expect(inspect([worker, events], { depth: null, showHidden: true })).not.toContain(KEY)
  })

  test('options that cannot work are refused', () => {
    const base = { url: 'http://localhost', apiKey: KEY }
    expect(() => createWorker({ ...base, topics: {} })).toThrow(TypeError)
    expect(() => createWorker({ ...base, topics: { a: 1 as never } })).toThrow(TypeError)
    expect(() => createWorker({ ...base, topics: { a: () => 1 }, concurrency: 0 })).toThrow(TypeError)
  })
})
