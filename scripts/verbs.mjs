import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from './build.mjs'
import { install } from './install.mjs'
import { withLock } from './lock.mjs'
import { Failure, node, root, step, tool } from './process.mjs'
import { SERVERS, systemNeeds } from './system.mjs'

const VERBS = {
  start: ['install, build, run the control plane (arguments go to `sallyport up`)', (args) => cli(['up', ...args])],
  demo: ['install, build, play the demonstration', (args) => cli(['demo', ...args])],
  cli: ['install, build, then any command: `npm run sallyport -- jobs list`', cli],
  build: ['install and build dist/', prepare],
  check: ['format, lint and types, nothing written', check],
  test: ['check, then every test (arguments go to vitest)', test],
  soak: ['seeded fault runs until --minutes N are over; --seed S, --rounds R of real processes, --engine E', soak],
  bench: ['every benchmark, or --only WORD; --quick; --json FILE keeps the rows', bench],
}

export async function run([verb, ...args]) {
  const entry = Object.hasOwn(VERBS, verb ?? '') ? VERBS[verb] : undefined
  if (!entry) {
    const lines = Object.entries(VERBS).map(([name, [help]]) => `  ${name.padEnd(6)} ${help}`)
    throw new Failure(`${verb ? `no such verb: ${verb}` : 'which verb?'}\n${lines.join('\n')}`)
  }
  await entry[1](args)
}

/** Dependencies and dist/ as the lock file and the sources say. Locked: two at once would install over each other. */
async function prepare() {
  await withLock(join(root, '.setup.lock'), async (share) => {
    await install(share)
    await build()
  })
}

/**
 * Runs the command line in this very process. A child was rejected: Ctrl-C reaches a whole process group and npm
 * forwards it once more, so a parent that forwards too would turn one Ctrl-C into three and cut the drain short.
 */
async function cli(args) {
  await prepare()
  const main = join(root, 'dist/cli/main.js')
  if (!existsSync(main)) throw new Failure('dist/cli/main.js is not there: this version has no command line yet')
  process.argv = [process.execPath, main, ...args]
  await import(pathToFileURL(main).href)
}

async function check() {
  await prepare()
  const colors = `--colors=${process.stdout.isTTY ? 'force' : 'off'}` // what it finds comes to us through a pipe
  await step('checking format and lint (biome ci)', () => tool('@biomejs/biome/bin/biome', ['ci', colors, '.']))
  await step('checking types (tsc)', () => tool('typescript/bin/tsc', ['-p', 'tsconfig.check.json']))
}

async function test(args) {
  await systemNeeds()
  await check()
  process.exitCode = await node([join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...args])
}

/** Fault runs for as long as asked; the settings go by the environment, because vitest takes no arguments for its tests. */
async function soak(args) {
  const number = /^\d+(\.\d+)?$/
  const flags = { '--minutes': number, '--seed': number, '--rounds': number, '--engine': /^(pglite|postgres)$/ }
  for (let at = 0; at < args.length; at += 2) {
    const [flag, value] = args.slice(at, at + 2)
    if (!Object.hasOwn(flags, flag) || !flags[flag].test(value ?? ''))
      throw new Failure(
        `npm run soak -- --minutes N [--seed S] [--rounds R] [--engine pglite|postgres]; not: ${flag} ${value ?? ''}`,
      )
    process.env[`SALLYPORT_SOAK_${flag.slice(2).toUpperCase()}`] = value
  }
  await systemNeeds()
  await prepare()
  const config = join(root, 'test/sim/soak.config.ts')
  process.exitCode = await node([join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--config', config])
}

/**
 * Each bench writes its own rows, and they end in one file: `[{work, subject, median, unit, ...}]`. What they compare with is
 * installed here and nowhere else. WORD may be the name of a bench, which then also gets arguments of its own.
 */
async function bench(args) {
  const { word, file, rest } = benchArguments(args)
  await prepare()
  await systemNeeds(SERVERS, 'the benchmarks')
  const home = join(root, 'bench')
  await withLock(join(root, '.setup.lock'), (share) => install(share, home))

  const all = readdirSync(home).filter((name) => existsSync(join(home, name, 'run.mjs')))
  const names = all.includes(word) ? [word] : all.sort()
  const only = word === undefined || all.includes(word) ? [] : ['--only', word]
  const scratch = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
  const rows = []
  const failed = []
  try {
    for (const name of names) {
      const begun = performance.now()
      console.log(`\nbench ${name}`)
      const out = join(scratch, `${name}.json`)
      const code = await node([join(home, name, 'run.mjs'), ...rest, ...only, ...(file ? ['--json', out] : [])])
      if (code !== 0) failed.push(name)
      if (existsSync(out)) rows.push(...JSON.parse(readFileSync(out, 'utf8')))
      console.log(`bench ${name}: ${((performance.now() - begun) / 1000).toFixed(0)} s`)
    }
    if (file) writeFileSync(resolve(file), `${JSON.stringify(rows, null, 2)}\n`)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
  if (failed.length > 0) throw new Failure(`bench failed: ${failed.join(', ')}`)
}

function benchArguments(args) {
  let rest = args
  const take = (flag, example) => {
    const at = rest.indexOf(flag)
    if (at < 0) return undefined
    const value = rest[at + 1]
    if (!value) throw new Failure(`${flag} needs a value: npm run bench -- ${flag} ${example}`)
    rest = rest.toSpliced(at, 2)
    return value
  }
  return { word: take('--only', 'singles'), file: take('--json', 'rows.json'), rest }
}
