import { mkdirSync, readFileSync } from 'node:fs'
import { afterAll, expect, test } from 'vitest'
import { loadConfig } from '../../src/config.js'
import { readExport, recordsOf } from '../../src/core/audit/export.js'
import { verifyLog } from '../../src/core/audit/verify.js'
import { start } from '../../src/main.js'
import { type Clock, systemClock } from '../../src/platform/clock.js'
import { silentLog } from '../../src/platform/log.js'
import { createClient } from '../../src/sdk/client.js'
import { auditSource } from '../../src/store/audit-source.js'
import { scratch, until } from '../support/server.js'

const place = scratch('pruned')
afterAll(() => place.gone())

/** The time of this machine and so much more; what waits a minute waits until it is told. */
function clockAhead() {
  const minutes: (() => void)[] = []
  let ahead = 0
  const clock: Clock = {
    now: () => systemClock.now() + ahead,
    after(ms, fn) {
      if (ms !== 60_000) return systemClock.after(ms, fn)
      minutes.push(fn)
      return () => {}
    },
    turn: systemClock.turn,
  }
  return {
    clock,
    pass(ms: number) {
      ahead += ms
      for (const due of minutes.splice(0)) due()
    },
  }
}

test('a server told to keep jobs for 30 days answers 404 for older ones; its log still has them and verifies', async () => {
  const { clock, pass } = clockAhead()
  const config = loadConfig({ SALLYPORT_KEEP_JOBS: '30d' }, { dataDir: place.at('data'), port: 0 })
  const plane = await start(config, { memory: true, log: silentLog, clock })
  try {
    const call = async (role: string, method: string, path: string, body?: unknown) => {
      const key = readFileSync(plane.keyFiles[role] as string, 'utf8').trim()
      const answer = await fetch(`${plane.url}/api/v1${path}`, {
        method,
        headers: { 'x-api-key': key, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      return { status: answer.status, body: (await answer.json()) as unknown }
    }
    const submitted = async () =>
      (await call('agent', 'POST', '/jobs', { topic: 'job.repo.read', input: { op: 'log' } })).body as {
        job_id: string
        decision_id: string
      }
    const [old, open] = [await submitted(), await submitted()]
    await call('agent', 'POST', `/jobs/${old.job_id}/cancel`, {})
    pass(31 * 86_400_000)
    let status = 200
    for (; status === 200; ) status = (await call('admin', 'GET', `/jobs/${old.job_id}`)).status
    expect(status).toBe(404)
    for (const path of [`/jobs/${old.job_id}/timeline`, `/jobs/${old.job_id}/result`, `/decisions/${old.decision_id}`])
      expect([path, (await call('admin', 'GET', path)).status]).toEqual([path, 404])
    // It was not finished 30 days ago, whenever it was submitted.
    expect((await call('admin', 'GET', `/jobs/${open.job_id}/timeline`)).status).toBe(200)

    const log = (await call('admin', 'GET', '/audit?limit=200')).body as {
      items: { kind: string; facts: Record<string, unknown> }[]
    }
    const kinds = log.items.filter((entry) => entry.facts.job_id === old.job_id).map((entry) => entry.kind)
    expect(kinds).toEqual(expect.arrayContaining(['job.submitted', 'job.cancelled']))
    expect(log.items.filter((entry) => entry.kind === 'jobs.pruned')).toMatchObject([{ facts: { count: 1 } }])
    const publicKey = Buffer.from(
      (await plane.world.db.query<{ public_key: string }>('SELECT public_key FROM audit_writers'))[0]?.public_key ?? '',
      'base64',
    )
    const source = await auditSource(plane.world.db, 'default', publicKey, clock.now())
    expect(await verifyLog(recordsOf(source), { tenant: 'default', keys: [publicKey] })).toMatchObject({ ok: true })
    expect(await (await fetch(`${plane.url}/metrics`)).text()).toContain(
      'sallyport_jobs_pruned_total{tenant="default"} 1',
    )
  } finally {
    await plane.stop()
  }
})

test('a server told to keep audit entries for 30 days has older ones in files, and shows them as before', async () => {
  const { clock, pass } = clockAhead()
  const folder = place.at('archive')
  mkdirSync(folder)
  const settings = { SALLYPORT_KEEP_AUDIT: '30d', SALLYPORT_AUDIT_ARCHIVE: folder }
  const plane = await start(loadConfig(settings, { dataDir: place.at('archived'), port: 0 }), {
    memory: true,
    log: silentLog,
    clock,
  })
  try {
    const client = (role: string) =>
      createClient({ url: plane.url, apiKey: readFileSync(plane.keyFiles[role] as string, 'utf8').trim() })
    const { job_id } = await client('agent').jobs.submit({ topic: 'job.repo.read', input: { op: 'log' } })
    // Ended, so that nothing is added to its story once the clock is a month on.
    await client('admin').jobs.cancel(job_id)
    const shown = async () => {
      const log = await client('admin').audit.list({ limit: 500 })
      return { timeline: await client('admin').jobs.timeline(job_id), log: log.items.filter(({ at }) => at < until30) }
    }
    const until30 = clock.now() + 1000
    const placed = () => plane.world.db.query('SELECT 1 FROM audit_tiles WHERE first_index IS NULL LIMIT 1')
    await until('all is in the tree', async () => (await placed()).length === 0)
    const before = await shown()
    pass(31 * 86_400_000 + 1)
    const left = () =>
      plane.world.db.query('SELECT 1 FROM audit_tiles WHERE body IS NOT NULL AND at < $1 LIMIT 1', [until30])
    await until('old entries are in files', async () => {
      pass(60_000)
      return (await left()).length === 0
    })
    expect(await shown()).toEqual(before)
    const outsideHeads = [(await client('admin').audit.head()).checkpoint]
    const report = await verifyLog(readExport(client('admin').audit.export()), { outsideHeads })
    expect(report).toMatchObject({ ok: true, archived: { not_checked: 0 } })
    expect(report.archived?.entries).toBeGreaterThanOrEqual(before.log.length)
  } finally {
    await plane.stop()
  }
}, 60_000)
