import type { EffectContext, HandlerContext, HandlerJob } from '../../src/worker/handler.js'

/**
 * A worker's context for one job in a test: effects are kept in `committed` and `begun` as the plane would keep them, so
 * a second attempt is a second context over the same record.
 */
export interface TestContext extends HandlerContext {
  readonly begun: string[]
  readonly committed: Map<string, unknown>
  readonly abort: (reason?: unknown) => void
}

export interface TestContextOptions {
  constraints?: Record<string, unknown>
  remainingMs?: number
  committed?: Map<string, unknown>
}

export function testContext(options: TestContextOptions = {}): TestContext {
  const controller = new AbortController()
  const begun: string[] = []
  const committed = options.committed ?? new Map<string, unknown>()
  return {
    begun,
    committed,
    abort: (reason) => controller.abort(reason),
    signal: controller.signal,
    constraints: options.constraints ?? {},
    effects: [...committed].map(([key, result]) => ({ key, result })),
    remainingMs: () => options.remainingMs ?? 20_000,
    async effect<T>(key: string, fn: (effect: EffectContext) => Promise<T>): Promise<T> {
      if (committed.has(key)) return committed.get(key) as T
      begun.push(key)
      const result = await fn({ idempotencyKey: `idem-${key}`, signal: controller.signal })
      // Through JSON, as it would travel.
      committed.set(key, JSON.parse(JSON.stringify(result)))
      return result
    },
  }
}

export function testJob(input: unknown): HandlerJob {
  return { job_id: 'job_0123456789', topic: 'job.test', input }
}
