import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { EXIT } from '../src/cli/exit.js'
import { registerReady } from '../src/cli/ready.js'
import type { Readiness } from '../src/contract/readiness.js'
import { startSallyport, type TestPlane } from '../src/testing.js'
import { proves } from './requirements.js'

let plane: TestPlane
const folder = mkdtempSync(join(tmpdir(), 'sallyport-ready-'))
beforeAll(async () => {
  plane = await startSallyport()
})
afterAll(async () => {
  await plane.stop()
  rmSync(folder, { recursive: true, force: true })
})

async function ask(accept: string, role: keyof TestPlane['keys'] = 'approver') {
  const answer = await fetch(`${plane.url}/api/v1/readiness`, { headers: { 'x-api-key': plane.keys[role], accept } })
  return { status: answer.status, type: answer.headers.get('content-type'), text: await answer.text() }
}

describe(`${proves('G9')} a fresh server`, () => {
  test('is not ready: nothing that a launch depends on was shown', async () => {
    const report = JSON.parse((await ask('*/*')).text) as Readiness
    expect([report.ready, report.controls.length, report.items.length]).toEqual([false, 20, 10])
    expect(report.items.filter(({ state }) => state === 'pass')).toEqual([])
    const shown = report.controls.filter(({ state, blocks_launch }) => blocks_launch && state === 'pass')
    // It has one agent, whose key is its own.
    expect(shown.map(({ id }) => id)).toEqual(['agent_identity'])
  })

  test.each([
    ['text/html,application/xhtml+xml;q=0.9,*/*;q=0.8', 'text/html', '✕ NOT READY'],
    ['text/markdown', 'text/markdown', '# Readiness of default: not ready'],
    ['text/html;q=0.2, application/json', 'application/json', '"ready":false'],
    ['text/html;q=0', 'application/json', '"ready":false'],
  ])('is told of as %s wants it', async (accept, type, part) => {
    const answer = await ask(accept)
    expect([answer.status, answer.type?.split(';')[0]]).toEqual([200, type])
    expect(answer.text).toContain(part)
  })

  test('says so to a script by the exit code, and to people in a file', async () => {
    const page = join(folder, 'ready.html')
    const { code, out } = await run('--html', page)
    expect(code).toBe(EXIT.no)
    expect(out).toContain('not ready: ')
    expect(readFileSync(page, 'utf8')).toContain('✕ NOT READY')
    const json = await run('--json')
    expect([json.code, (JSON.parse(json.out) as Readiness).ready]).toEqual([EXIT.no, false])
    expect(await run('--markdown')).toEqual({ code: EXIT.no, out: expect.stringContaining('# Readiness of default') })
  })

  test('takes a person’s word by the number of a control, which fills that and nothing else', async () => {
    const told = await run('attest', '19', '--note', 'read it', '--expires', '30d', '--json')
    const word = JSON.parse(told.out) as { attested_by: string; at: number; expires_at: number }
    expect([told.code, word.attested_by, Math.round((word.expires_at - word.at) / 86_400_000)]).toEqual([
      EXIT.done,
      'admin:first',
      30,
    ])
    const report = JSON.parse((await ask('application/json')).text) as Readiness
    expect(report.controls.find(({ number }) => number === 19)).toMatchObject({ state: 'pass', owner: 'admin:first' })
    expect(report.ready).toBe(false)
  })

  test('takes none for what rows show, and none for what is not there', async () => {
    expect((await run('attest', '1', '--note', 'it is so')).code).toBe(EXIT.usage)
    expect((await run('attest', '21', '--note', 'it is so')).code).toBe(EXIT.usage)
  })
})

/** The command as it is registered, against the server; its exit code is not this process's. */
async function run(...args: string[]): Promise<{ code: unknown; out: string }> {
  const written: string[] = []
  const spies = [process.stdout, process.stderr].map((stream) =>
    vi
      .spyOn(stream, 'write')
      .mockImplementation((text) => written.push(stream === process.stdout ? String(text) : '') > 0),
  )
  const program = new Command('sallyport').exitOverride()
  registerReady(program)
  const server = ['--url', plane.url, '--key-file', plane.keyFiles.admin as string]
  try {
    await program.parseAsync(['node', 'sallyport', 'ready', ...args, ...server])
    return { code: process.exitCode ?? 0, out: written.join('') }
  } finally {
    for (const spy of spies) spy.mockRestore()
    process.exitCode = 0
  }
}
