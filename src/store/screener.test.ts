import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { canonical, isWellFormed, saltedHash, sha256 } from '../core/canonical.js'
import type { Json } from '../core/json.js'
import { DETECTORS, defaultOutputPolicy, type OutputPolicy, screen } from '../core/output.js'
import { manualClock } from '../platform/clock.js'
import { seededIds } from '../platform/ids.js'
import { openThreads, type Threads } from '../platform/threads.js'
import { isLarge, perform, type Screened, Screener, screening, type Task } from './screener.js'
import { Sealer } from './sealer.js'

const JOB = { tenant: 'default', job_id: 'job_1' }
const NOW = 1_700_000_000_000
const SALT = '5a'.repeat(16)
// Assembled here, so that no complete token stands in the repository.
const TOKEN = ['ghp', 'a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8'].join('_')
const CLEAN = { lines: Array.from({ length: 2000 }, (_, i) => `line ${i} has nothing in it`) }
const LEAKY = { lines: [...CLEAN.lines, `token ${TOKEN}`] }

const ids = seededIds(7)
const sealer = new Sealer('secret', ids)
const here = new Screener(ids, sealer, null)

describe('what is kept', () => {
  test('a clean value as its canonical text, with the hash that anyone can make again', async () => {
    const kept = await here.keep(JOB, 'result', { b: 1, a: 'x' }, defaultOutputPolicy, NOW)
    const body = '{"a":"x","b":1}'
    expect(kept).toMatchObject({ verdict: 'ALLOW', findings: [], summary: '', bytes: 15, digest: sha256(body) })
    expect(kept.payload).toMatchObject({ ...JOB, kind: 'result', body, created_at: NOW, expires_at: null })
    expect(kept.result_hash).toBe(saltedHash(kept.payload.salt, { a: 'x', b: 1 }))
  })

  test('a redacted value without its raw', async () => {
    const kept = await here.keep(JOB, 'effect', { note: TOKEN }, defaultOutputPolicy, NOW)
    expect(kept).toMatchObject({ verdict: 'REDACT', summary: 'github_token×1' })
    expect(kept.payload).toMatchObject({ kind: 'effect', body: '{"note":"[REDACTED:github_token]"}' })
    expect(kept.result_hash).toBe(saltedHash(kept.payload.salt, { note: '[REDACTED:github_token]' }))
    expect(kept.bytes).toBe(canonical({ note: TOKEN }).length)
  })

  test('a quarantined value sealed, for a time', async () => {
    const kept = await here.keep(JOB, 'result', { note: TOKEN }, { action: () => 'QUARANTINE' }, NOW)
    const { payload } = kept
    expect({ verdict: kept.verdict, kind: payload.kind }).toEqual({ verdict: 'QUARANTINE', kind: 'sealed' })
    expect(payload.expires_at).toBeGreaterThan(NOW)
    expect(payload.body).not.toContain(TOKEN)
    expect(sealer.open(payload.body as string, `default/${payload.ptr}`)).toBe(canonical({ note: TOKEN }))
    expect(kept.result_hash).toBe(saltedHash(payload.salt, canonical({ note: TOKEN })))
  })
})

describe('a thread', () => {
  const policies: OutputPolicy[] = [
    defaultOutputPolicy,
    { action: (name) => (name === 'email' ? 'ALLOW' : 'QUARANTINE') },
    { action: () => 'REDACT' },
  ]

  test('comes to the same as this one', () => {
    const texts = [TOKEN, 'jane@example.com', '4111 1111 1111 1111', 'plain', 'ü', '"\\']
    const value = fc.array(fc.oneof(fc.constantFrom(...texts), fc.jsonValue({ maxDepth: 3 }))) as fc.Arbitrary<Json>
    fc.assert(
      fc.property(value, fc.constantFrom(...policies), (raw, policy) => {
        if (!isWellFormed(JSON.stringify(raw))) return
        const actions = DETECTORS.map((d) => policy.action(d.name, d.class))
        const task = structuredClone({ raw, actions, salt: SALT })
        expect(structuredClone(perform(task))).toEqual(screening(raw, policy, SALT))
        expect(perform(task).verdict).toBe(screen(raw, policy).verdict)
      }),
    )
  })

  test('that was told less than it knows holds back what it found', () => {
    const short = { raw: { note: TOKEN }, actions: [], salt: SALT }
    expect(perform(short)).toMatchObject({ verdict: 'QUARANTINE', shown: '' })
  })
})

describe('a value is large', () => {
  test('for its text, its keys and its number of parts, and no small one is', () => {
    expect(isLarge('a'.repeat(33_000))).toBe(true)
    expect(isLarge({ ['k'.repeat(33_000)]: 1 })).toBe(true)
    expect(isLarge(Array.from({ length: 20_000 }, () => 1))).toBe(true)
    expect(isLarge(JSON.parse(`${'['.repeat(30_000)}${']'.repeat(30_000)}`) as Json)).toBe(true)
    expect(isLarge({ lines: CLEAN.lines.slice(0, 400) })).toBe(false)
    expect(isLarge(null)).toBe(false)
  })

  test('before its text is six times the limit', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), fc.integer({ min: 8, max: 400 }), (value, limit) => {
        if (!isLarge(value as Json, limit)) expect(JSON.stringify(value).length).toBeLessThanOrEqual(6 * limit + 8)
      }),
      { numRuns: 2000 },
    )
  })
})

const dir = mkdtempSync(join(tmpdir(), 'sallyport-screener-'))
const opened: Threads<Task, Screened>[] = []
afterAll(async () => {
  for (const threads of opened) await threads.close()
  rmSync(dir, { recursive: true })
})

/** A screener whose real threads do `body` with a task. */
function misled(name: string, body: string) {
  const file = join(dir, `${name}.mjs`)
  const clock = manualClock()
  writeFileSync(
    file,
    `import { parentPort } from 'node:worker_threads'\nparentPort.on('message', (task) => { ${body} })`,
  )
  const limits = { threads: 1, waiting: 1, timeoutMs: 1000, memoryMb: 32 }
  const threads = openThreads<Task, Screened>(pathToFileURL(file), limits, clock)
  opened.push(threads)
  return { screener: new Screener(ids, sealer, threads), clock }
}

const keep = (screener: Screener, raw: Json) => screener.keep(JOB, 'result', raw, defaultOutputPolicy, NOW)

describe('when the thread fails', () => {
  test.each([
    ['dies', 'process.exit(1)'],
    ['throws', 'throw new Error("planted")'],
    ['runs out of memory', 'for (const all = []; ; ) all.push(new Array(1000).fill(all.length))'],
  ])('and %s, the value is held back, clean or not', async (name, body) => {
    const { screener } = misled(name.replaceAll(' ', '-'), body)
    for (const raw of [CLEAN, LEAKY]) {
      const { verdict, payload } = await keep(screener, raw)
      expect({ verdict, kind: payload.kind }).toEqual({ verdict: 'QUARANTINE', kind: 'sealed' })
      expect(sealer.open(payload.body as string, `default/${payload.ptr}`)).toBe(canonical(raw))
    }
  })

  test('and is late, the value is held back', async () => {
    const { screener, clock } = misled('late', 'for (;;) {}')
    const kept = keep(screener, CLEAN)
    clock.advance(1000)
    expect((await kept).verdict).toBe('QUARANTINE')
  })

  test('small values are screened as ever, and large ones past the bound are refused undecided', async () => {
    const { screener, clock } = misled('busy', 'for (;;) {}')
    const [held, waits] = [keep(screener, CLEAN), keep(screener, CLEAN)]
    await expect(keep(screener, CLEAN)).rejects.toMatchObject({ code: 'overloaded' })
    expect((await keep(screener, { note: TOKEN })).verdict).toBe('REDACT')
    clock.advance(1000)
    expect((await held).verdict).toBe('QUARANTINE')
    clock.advance(1000)
    expect((await waits).verdict).toBe('QUARANTINE')
  })
})
