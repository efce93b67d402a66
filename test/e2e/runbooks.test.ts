import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findProgram } from '../../scripts/engines.mjs'
import { FACT_KINDS } from '../../src/core/audit.js'
import { proves } from '../requirements.js'
import { type Known, missing, PARTS, readRunbook, type Step } from '../support/runbook.js'
import { CLI, endAll, sallyport, scratch, track } from '../support/server.js'
import { SCENES, type Stage, stage, workersGone } from './runbook-scenes.js'

/**
 * The runbooks of docs/operating as whoever is on call follows them: every command of every page, in order, typed into a shell, in the role
 * the page names, against a server of its own process, with what the page says is seen compared with what is.
 */
const DOCS = new URL('../../docs/operating/', import.meta.url).pathname
const INDEX = 'README.md'
const READ = (page: string) => readFileSync(`${DOCS}${page}`, 'utf8')
const PAGES = readdirSync(DOCS).filter((page) => page.endsWith('.md'))
/** In the order of their scenes: the last one ends the server of the others. */
const RUNBOOKS = PAGES.filter((page) => /^## Steps$/m.test(READ(page)))
  .map((page) => readRunbook(page, READ(page)))
  .sort((a, b) => Object.keys(SCENES).indexOf(a.page) - Object.keys(SCENES).indexOf(b.page))

const place = scratch('runbooks')
/** `sallyport` and the tools of Postgres, which Debian does not put on everybody's PATH. */
const POSTGRES = dirname(findProgram('pg_restore') ?? '/usr/bin/pg_restore')
const PATH = `${place.at('bin')}:${process.env.PATH}:${POSTGRES}`
/** Commands that ran, by page and line. */
const ran = new Set<string>()
let scene: Stage
beforeAll(async () => {
  mkdirSync(place.at('bin'))
  writeFileSync(place.at('bin', 'sallyport'), `#!/bin/sh\nexec '${process.execPath}' '${CLI}' "$@"\n`)
  chmodSync(place.at('bin', 'sallyport'), 0o755)
  scene = await stage(place.at)
})
afterAll(async () => {
  await workersGone()
  await endAll()
  place.gone()
})

describe('what the pages are', () => {
  test.each(RUNBOOKS)('$page has the one shape, and a scene', ({ page, parts, steps, text }) => {
    expect(parts.slice(0, PARTS.length)).toEqual(PARTS)
    expect(Object.keys(SCENES)).toContain(page)
    expect(text.match(/^ *```sh/gm)).toHaveLength(steps.length)
    expect(READ(INDEX)).toContain(`(${page})`)
  })

  test('the index names them all, and every page that is none', () => {
    const named = [...READ(INDEX).matchAll(/\]\(([a-z-]+\.md)\)/g)].map(([, page]) => page)
    expect([...new Set(named)].sort()).toEqual(PAGES.filter((page) => page !== INDEX).sort())
  })

  test('what they link to is there', () => {
    for (const page of PAGES)
      for (const [, to = '', anchor] of READ(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g)) {
        const path = to === '' ? `${DOCS}${page}` : `${DOCS}${to}`
        expect(existsSync(path), `${page} → ${to}`).toBe(true)
        if (anchor !== undefined)
          expect(anchorsOf(readFileSync(path, 'utf8')), `${page} → ${to}#${anchor}`).toContain(anchor)
      }
  })

  test('a signal they name is one: a kind of entry, a series of /metrics', async () => {
    const series = await (await fetch(`${scene.server.url}/metrics`)).text()
    const families = [...new Set(FACT_KINDS.map((kind) => kind.split('.')[0]))].join('|')
    for (const { page, text } of [...RUNBOOKS, { page: INDEX, text: READ(INDEX) }]) {
      for (const [, kind] of text.matchAll(new RegExp(`\`((?:${families})\\.[a-z_]+)\``, 'g')))
        expect(FACT_KINDS, page).toContain(kind)
      for (const [name] of text.matchAll(/\bsallyport_[a-z_]+/g))
        if (!series.includes(name)) expect.fail(`${page}: /metrics has no ${name}`)
    }
  })

  test('a command that they only mention is one', async () => {
    const steps = RUNBOOKS.flatMap((each) => each.steps.map(({ command }) => command))
    const mentioned = new Map<string, string>()
    for (const { page, text } of [...RUNBOOKS, { page: INDEX, text: READ(INDEX) }])
      for (const [command, words] of text.matchAll(/\bsallyport ([a-z]+(?: [a-z-]+)?)/g))
        if (!steps.some((step) => step.startsWith(command))) mentioned.set(words as string, page)
    for (const [words, page] of mentioned) {
      const [first, second] = words.split(' ') as [string, string | undefined]
      const help = await sallyport([first, '--help'])
      expect(help.exit, `${page}: sallyport ${words}`).toBe(0)
      if (second !== undefined && /^Commands:/m.test(help.out))
        expect(help.out, `${page}: sallyport ${words}`).toMatch(new RegExp(`^  ${second}\\b`, 'm'))
    }
  }, 60_000)
})

describe(`${proves('W7')} what the pages say is done and seen`, () => {
  test.each(RUNBOOKS)(
    '$page',
    async ({ page, steps }) => {
      const told = await SCENES[page]?.(scene)
      if (told === undefined) throw new Error(`${page} has no scene`)
      const { known, world = {}, gone } = told
      const stays: ChildProcess[] = []
      try {
        for (const step of steps) {
          if (step.when !== null) await world[step.when]?.()
          await follow(step, known, stays)
          ran.add(`${page}:${step.line}`)
        }
      } finally {
        await scene.lift()
        await Promise.all(stays.map(ended))
        await gone?.()
      }
    },
    180_000,
  )

  test('no command of a page was left out', () => {
    const written = RUNBOOKS.flatMap(({ page, steps }) => steps.map(({ line }) => `${page}:${line}`))
    expect([...ran].sort()).toEqual(written.sort())
  })
})

/** Of headings, as GitHub makes them. */
const anchorsOf = (text: string) =>
  [...text.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-'),
  )

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const over = once(child, 'exit')
  child.kill('SIGTERM')
  await over
}

/** What only looks may look again, as a person would: some of it takes a second to be so. */
const LOOKS =
  /^(curl|pg_isready|sallyport (\S+ (list|show|get|timeline|postmortem|verify|head|load|check|report|evaluate)\b))/
const PATIENCE_MS = 30_000
/** Writes what was typed and answered, to see what a page should say. */
const SHOW = process.env.SALLYPORT_SHOW !== undefined

async function follow(step: Step, known: Known, stays: ChildProcess[]): Promise<void> {
  const from = performance.now()
  const env = { ...known, ...(await scene.environment(step.as, known)) }
  for (;;) {
    const run = type(step, { ...env, PATH, HOME: place.dir })
    if (step.stays) stays.push(run.child)
    const exit = await run.over
    const read = { ...known }
    const lacks = missing(step.seen, run.output(), read)
    const isSo = lacks === null && (step.stays || exit === step.exit)
    if (isSo && SHOW)
      console.log(`${step.as}$ ${step.command}\n${run.output()}[${exit}, ${Math.round(performance.now() - from)} ms]`)
    if (isSo) return void Object.assign(known, read)
    if (!LOOKS.test(step.command) || performance.now() - from > PATIENCE_MS)
      expect.fail(
        `docs/operating/${step.page}:${step.line}: ${step.command}\n` +
          `exit ${exit}, expected ${step.exit}${lacks === null ? '' : `; nothing like: ${lacks}`}\n${run.output()}`,
      )
    await new Promise((again) => setTimeout(again, 100))
  }
}

/** In a shell. `over` is its exit code, or null once what is to be seen of a command that stays was seen. */
function type(
  step: Step,
  env: Record<string, string>,
): { child: ChildProcess; over: Promise<number | null>; output(): string } {
  const command = step.stays ? `exec ${step.command}` : step.command
  const child = track(
    spawn('bash', ['-euo', 'pipefail', '-c', command], { cwd: place.dir, env, stdio: ['ignore', 'pipe', 'pipe'] }),
  )
  let output = ''
  const over = new Promise<number | null>((resolve) => {
    child.once('close', (code) => resolve(code ?? -1))
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (chunk) => {
        output += chunk
        if (step.stays && missing(step.seen, output, { ...env }) === null) resolve(null)
      })
  })
  return { child, over, output: () => output }
}
