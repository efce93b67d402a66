import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { loadConfig } from '../../src/config.js'
import { DbError } from '../../src/errors.js'
import { start } from '../../src/main.js'
import type { Db } from '../../src/platform/db/seam.js'
import { silentLog } from '../../src/platform/log.js'
import { createClient } from '../../src/sdk/client.js'
import { proves } from '../requirements.js'
import { endAll, type FirstRole, sallyport, scratch, startServer } from '../support/server.js'

/** The keys a newcomer finds, and those made over the command line. */

const place = scratch('keys')
const dataDir = place.at('data')
afterAll(async () => {
  await endAll()
  place.gone()
})

const configured = (n: number) => `sp_${String(n).repeat(26)}_${'k'.repeat(43)}`

test(`${proves('S1', 'W5')} the first start makes one key a role, 0600; the configured admin key is honoured, also when it changes`, async () => {
  const first = await startServer({ dataDir, env: { SALLYPORT_ADMIN_KEY: configured(1) } })
  const status = async (url: string, key: string) =>
    (await fetch(`${url}/api/v1/keys`, { headers: { 'x-api-key': key } })).status
  const texts: Partial<Record<FirstRole, string>> = {}
  for (const role of ['admin', 'agent', 'worker', 'approver'] as const) {
    const file = first.ready.key_files[role]
    expect([role, (statSync(file).mode & 0o777).toString(8)]).toEqual([role, '600'])
    expect([role, await status(first.url, first.key(role))]).toEqual([role, role === 'admin' ? 200 : 403])
    texts[role] = first.key(role)
  }
  expect((statSync(join(dataDir, 'keys')).mode & 0o777).toString(8)).toBe('700')
  expect((statSync(join(dataDir, 'signing.key')).mode & 0o777).toString(8)).toBe('600')
  expect(texts.admin).toBe(configured(1))
  expect(first.stderr() + JSON.stringify(first.ready)).not.toContain(configured(1))
  await first.end('SIGTERM')

  const second = await startServer({ dataDir })
  expect(second.ready.key_files).toEqual(first.ready.key_files)
  for (const role of ['admin', 'agent', 'worker', 'approver'] as const) expect(second.key(role)).toBe(texts[role])

  const revoked = (await second.client('admin').keys.list({ limit: 100 })).items.find(({ role }) => role === 'admin')
  await second.client('admin').keys.revoke(revoked?.key_id ?? '')
  await second.end('SIGTERM')
  const third = await startServer({ dataDir, env: { SALLYPORT_ADMIN_KEY: configured(2) } })
  expect(await status(third.url, configured(1))).toBe(401)
  expect(await status(third.url, configured(2))).toBe(200)
  expect(third.key('admin')).toBe(configured(2))
  expect(third.key('agent')).toBe(texts.agent)

  const file = place.at('bound.key')
  const args = [
    'keys',
    'create',
    '--role',
    'worker',
    '--principal',
    'worker:bound',
    '--topics',
    'job.repo.*',
    '--out',
    file,
  ]
  const env = { SALLYPORT_URL: third.url, SALLYPORT_API_KEY: third.key('admin') }
  const made = await sallyport([...args, '--json'], env)
  expect(made).toMatchObject({ exit: 0, json: { role: 'worker', topics: ['job.repo.*'] } })
  expect((statSync(file).mode & 0o777).toString(8)).toBe('600')
  const claim = async (topic: string) => {
    const answer = await fetch(`${third.url}/api/v1/workers/claim`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': readFileSync(file, 'utf8').trim() },
      body: JSON.stringify({ worker_id: 'bound', claim_id: `claim-${topic}`, topics: [topic], capacity: 1 }),
    })
    return [answer.status, ((await answer.json()) as { code?: string }).code ?? null]
  }
  expect(await claim('job.repo.read')).toEqual([200, null])
  expect(await claim('job.exec.shell')).toEqual([403, 'topic_refused'])
}, 90_000)

test(`${proves('S1')} a first start that ends among its keys is finished by the next, without a second admin`, async () => {
  const config = loadConfig({}, { dataDir: place.at('half'), port: 0 })
  const seams = { thread: false, log: silentLog }
  const dies = (db: Db): Db => ({
    ...db,
    query: (sql, params) =>
      params?.some((param) => String(param).includes('"worker:first"'))
        ? Promise.reject(new DbError('gone', '57P01'))
        : db.query(sql, params),
  })
  await expect(start(config, { ...seams, watch: dies })).rejects.toThrow()
  const admin = readFileSync(join(config.dataDir, 'keys', 'admin.key'), 'utf8')
  const plane = await start(config, seams)
  try {
    expect(readFileSync(plane.keyFiles.admin as string, 'utf8')).toBe(admin)
    const client = createClient({ url: plane.url, apiKey: admin.trim() })
    const roles = (await client.keys.list({ limit: 100 })).items.map(({ role }) => role)
    expect(roles.sort()).toEqual(['admin', 'agent', 'approver', 'worker'])
    for (const role of ['agent', 'worker', 'approver']) {
      const key = readFileSync(plane.keyFiles[role] as string, 'utf8').trim()
      expect((await fetch(`${plane.url}/api/v1/keys`, { headers: { 'x-api-key': key } })).status).toBe(403)
    }
  } finally {
    await plane.stop()
  }
}, 60_000)
