import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { EXIT } from '../src/cli/exit.js'
import { registerRollouts } from '../src/cli/rollouts.js'
import { makeKey, startTarget, type Target } from './hostile/attacker.js'

/** The command as it is typed, against a server; what docs/rollouts.md types is typed here. */
const DOC = readFileSync(new URL('../docs/rollouts.md', import.meta.url), 'utf8')
const DECLARATION = /^```yaml\n(rollout: [\s\S]*?)^```$/m.exec(DOC)?.[1] ?? ''
const PART = /^## On the command line\n([\s\S]*?)^## /m.exec(DOC)?.[1] ?? ''

let plane: Target
const home = mkdtempSync(join(tmpdir(), 'sallyport-rollouts-'))
const file = (name: string, text: string) => {
  writeFileSync(join(home, name), text, { mode: 0o600 })
  return join(home, name)
}
let said = { out: '', err: '' }

beforeAll(async () => {
  plane = await startTarget()
  for (const principal of ['person:ann', 'person:ben'])
    file(`${principal}.key`, await makeKey(plane, 'operator', { principal }))
  file('viewer.key', await makeKey(plane, 'viewer', { principal: 'person:vic' }))
})
afterAll(async () => {
  await plane?.stop()
  rmSync(home, { recursive: true, force: true })
})
beforeEach(() => {
  const keep = (stream: 'out' | 'err') => (text: unknown) => {
    said[stream] += text
    return true
  }
  vi.spyOn(process.stdout, 'write').mockImplementation(keep('out') as never)
  vi.spyOn(process.stderr, 'write').mockImplementation(keep('err') as never)
})
afterEach(() => vi.restoreAllMocks())

/** Words of a shell line with nothing in it but double quotes. */
const wordsOf = (line: string) =>
  [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '')

async function type(line: string, as = 'person:ann'): Promise<{ exit: unknown; out: string; err: string }> {
  said = { out: '', err: '' }
  const before = process.exitCode
  const [, ...words] = wordsOf(line)
  const program = new Command('sallyport').exitOverride()
  registerRollouts(program)
  const server = words[1] === 'check' ? [] : ['--url', plane.url, '--key-file', join(home, `${as}.key`)]
  try {
    await program.parseAsync([...words, ...server], { from: 'user' })
    return { exit: process.exitCode, ...said }
  } finally {
    process.exitCode = before
  }
}

const idIn = (text: string) => /rol_\w+/.exec(text)?.[0] ?? ''
const inDoc = (text: string) => text.replace('rollout.yaml', join(home, 'rollout.yaml'))

describe('sallyport rollouts', () => {
  test('does what docs/rollouts.md says, from check to roll-back, and draws what it shows', async () => {
    file('rollout.yaml', DECLARATION)
    const blocks = [...PART.matchAll(/^```(sh|text)(?: (\S+))?\n([\s\S]*?)^```$/gm)]
    let [id, shown, typed] = ['', '', 0]
    for (const [, kind, who = 'person:ann', body = ''] of blocks) {
      if (kind === 'text') {
        expect(shown).toContain(body.trimEnd())
        continue
      }
      for (const line of body.trimEnd().split('\n')) {
        const { exit, out, err } = await type(inDoc(line.replaceAll('$ROLLOUT', id)), who)
        expect([exit, out === '', line], err).toEqual([EXIT.done, false, line])
        if (line.includes(' declare ')) id = idIn(out)
        if (line.includes(' show ')) shown = out
        if (line.includes(' list ')) expect(out).toContain(id)
        if (line.includes(' override ') && who === 'person:ann')
          expect(err).toContain(`another person does it: sallyport rollouts override ${id} --reason`)
        typed++
      }
    }
    expect(typed).toBe(11)
    const { out } = await type(`sallyport rollouts show ${id} --json`)
    expect(JSON.parse(out)).toMatchObject({ status: 'rolled_back', overridden: true, phase: { n: 1 } })
  })

  test('exits by what came of it: 1 where the answer is no, 4 for nothing, 5 for who may not', async () => {
    const declared = file('two.yaml', DECLARATION.replaceAll('support-bot', 'other-bot'))
    const id = idIn((await type(`sallyport rollouts declare ${declared}`)).out)
    const exits = async (line: string, as?: string) => (await type(`sallyport rollouts ${line}`, as)).exit
    expect(await exits(`resume ${id}`)).toBe(EXIT.no)
    expect(await exits(`start ${id}`, 'viewer')).toBe(EXIT.forbidden)
    expect(await exits(`show ${id.replace(/.{8}$/, '00000000')}`)).toBe(EXIT.notFound)
    expect(await exits(`start ${id}`)).toBe(EXIT.done)
    expect(await exits(`promote ${id} --evidence ${'f'.repeat(64)}`)).toBe(EXIT.notFound)
    expect(await exits(`override ${id} --reason launch`)).toBe(EXIT.done)
    expect(await exits(`override ${id} --reason launch`)).toBe(EXIT.forbidden)
    expect(await exits(`override ${id} --reason launch --evidence ${'f'.repeat(64)}`, 'person:ben')).toBe(EXIT.notFound)
    expect(await exits(`check ${join(home, 'none.yaml')}`)).toBe(EXIT.notFound)
  })

  test('sends no declaration with a fault; one that diverts all work says so', async () => {
    const bad = file('bad.yaml', DECLARATION.replace('rest: stable', 'rest: nobody'))
    for (const command of ['check', 'declare']) {
      const { exit, err } = await type(`sallyport rollouts ${command} ${bad}`)
      expect(exit).toBe(EXIT.no)
      expect(err).toContain(`${bad}:4:7  rest: 'nobody' is not one of stable, shadow, manual`)
    }
    const diverts = DECLARATION.replace('rest: stable', 'rest: manual').replace(/^phases:[\s\S]*/m, '')
    const { exit, err } = await type(`sallyport rollouts check ${file('diverts.yaml', diverts)}`)
    expect([exit, err]).toEqual([
      EXIT.done,
      expect.stringContaining('look: phase replay has share 0 and rest is manual'),
    ])
  })
})
