import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { lockDirectory } from '../../src/platform/db/lock.js'
import { proves } from '../requirements.js'
import { dice, endAll, preparedDataDir, sallyport, scratch, spawnUp, startServer, until } from '../support/server.js'

const place = scratch('lock')
afterAll(async () => {
  await endAll()
  place.gone()
})

describe('one server to a data directory', () => {
  test(`${proves('L2')} a second is refused, a killed one's successor is not, even if its pid is somebody else's now`, async () => {
    const dataDir = await preparedDataDir(place.at('one'))
    const first = await startServer({ dataDir })

    const second = spawnUp({ dataDir })
    expect(await second.ended).toEqual({ code: 1, signal: null })
    expect(JSON.parse(second.out()).error).toMatchObject({ code: 'cannot_start' })
    expect(second.out()).toContain(`Another Sallyport is running on ${dataDir}`)
    const offline = await sallyport(['audit', 'verify', '--data-dir', dataDir, '--json'])
    expect(offline).toMatchObject({ exit: 1, json: { error: { code: 'in_use' } } })
    expect((await fetch(`${first.url}/readyz`)).status).toBe(200)

    await first.end('SIGKILL')
    expect(JSON.parse(readFileSync(join(dataDir, 'lock.json'), 'utf8')).pid).toBe(first.pid)
    writeFileSync(join(dataDir, 'lock.json'), JSON.stringify({ pid: process.pid }))
    const successor = await startServer({ dataDir })
    expect(JSON.parse(readFileSync(join(dataDir, 'lock.json'), 'utf8')).pid).toBe(successor.pid)

    expect(await successor.end('SIGTERM')).toMatchObject({ code: 0 })
    expect(existsSync(join(dataDir, 'lock.sock'))).toBe(false)
    expect(await sallyport(['audit', 'verify', '--data-dir', dataDir])).toMatchObject({ exit: 3 })
  }, 60_000)

  test('of two started at the same instant one wins, on an empty directory', async () => {
    const both = [spawnUp({ dataDir: place.at('two') }), spawnUp({ dataDir: place.at('two') })]
    const loser = await Promise.race(both.map((up) => up.ended.then(() => up)))
    expect(loser.out()).toContain('Another Sallyport is running')
    const winner = both.find((up) => up !== loser)
    await until('the other one is ready', () => winner?.out().includes('"url"'))
    expect(winner?.child.exitCode).toBeNull()
  }, 60_000)

  test('of many who want the lock exactly one gets it, each of ten times', async () => {
    const names = ['short', 'l'.repeat(120)]
    for (let n = 0; n < 10; n++) {
      const dir = place.at(`race-${n}`, names[n % 2] as string)
      const tries = await Promise.allSettled(Array.from({ length: 8 }, () => lockDirectory(dir)))
      const won = tries.filter((each) => each.status === 'fulfilled')
      expect(won).toHaveLength(1)
      await won[0]?.value.release()
      const again = await lockDirectory(dir)
      await again.release()
    }
  })

  test('a path too long for a socket is locked all the same', async () => {
    const dataDir = await preparedDataDir(place.at('deep', 'd'.repeat(60), 'd'.repeat(60)))
    const first = await startServer({ dataDir })
    const second = spawnUp({ dataDir })
    expect(await second.ended).toEqual({ code: 1, signal: null })
    expect(second.out()).toContain('Another Sallyport is running')
    expect(await first.end('SIGTERM')).toMatchObject({ code: 0 })
  }, 60_000)
})

describe('a first start that is killed', () => {
  test(`${proves('L2')} is made good by the next`, async () => {
    const chance = dice('kill a first start')
    const dataDir = place.at('early')
    // What one that was killed in its last milliseconds leaves: it looks whole, and cannot be opened.
    mkdirSync(join(dataDir, 'pgdata.making'), { recursive: true })
    writeFileSync(join(dataDir, 'pgdata.making', 'PG_VERSION'), '')
    // In the making of the database, at its end, in the making of the schema, of the signing key, and between the first key and the last.
    const moments: [string, number][] = [
      [join('pgdata.making', 'global'), 100],
      [join('pgdata.making', 'PG_VERSION'), 20],
      ['pgdata', 800],
      ['signing.key', 30],
      [join('keys', 'admin.key'), 0],
    ]
    for (const [file, most] of moments) {
      const { child, ended, out, err } = spawnUp({ dataDir })
      await until(
        `${file} is there`,
        () => {
          if (child.exitCode !== null) throw new Error(`up ended with ${child.exitCode}`)
          return existsSync(join(dataDir, file))
        },
        60_000,
      ).catch((error: Error) => {
        throw new Error(`${error.message}; up said ${out()}${err()}`)
      })
      await new Promise((resolve) => setTimeout(resolve, chance.whole(0, most))) // where in it the blow falls
      child.kill('SIGKILL')
      await ended
    }
    // What a kill leaves that falls between the making and the writing of a start's first file.
    writeFileSync(join(dataDir, 'pgdata', 'postmaster.pid'), '')
    const server = await startServer({ dataDir })
    for (const role of ['admin', 'agent', 'worker', 'approver'] as const) {
      const answer = await fetch(`${server.url}/api/v1/jobs`, { headers: { 'x-api-key': server.key(role) } })
      expect([role, answer.status]).toEqual([role, role === 'worker' ? 403 : 200])
    }
    expect(await server.end('SIGTERM')).toMatchObject({ code: 0 })
    expect(await sallyport(['audit', 'verify', '--data-dir', dataDir])).toMatchObject({ exit: 3 })
  }, 240_000)

  test('a database that cannot be opened ends the start', async () => {
    const dataDir = place.at('broken')
    mkdirSync(join(dataDir, 'pgdata'), { recursive: true })
    writeFileSync(join(dataDir, 'pgdata', 'PG_VERSION'), '')
    const { ended, out } = spawnUp({ dataDir })
    expect(await ended).toEqual({ code: 1, signal: null })
    expect(JSON.parse(out()).error.message).toContain('could not be opened at')
  }, 60_000)

  test('a log is never continued under a new key', async () => {
    const dataDir = place.at('early')
    rmSync(join(dataDir, 'signing.key'))
    const { ended, out } = spawnUp({ dataDir })
    expect(await ended).toEqual({ code: 1, signal: null })
    expect(out()).toMatch(/SALLYPORT_SIGNING_KEY names .*signing\.key: it is gone/)
    expect(existsSync(join(dataDir, 'signing.key'))).toBe(false)
  }, 60_000)
})
