/**
 * node bench/screening/run.mjs [--json FILE] [--only WORD] [--rounds N] [--quick]
 *
 * Output screening, MB of JSON per second on one thread, against the built package, beside secretlint on the same clean texts
 * and texts with finds. Subjects take turns in every round, so that a slow minute of the machine hits all of them.
 */
import { defaultOutputPolicy, screen } from '../../dist/core/output.js'
import { keep, median, optionsOf, table } from '../report.mjs'
import { hostile, ordinary } from './texts.mjs'

const options = optionsOf()
const ROUNDS = Number(options.rounds ?? (options.quick ? 3 : 9))
const SIZE = 256 * 1024
const MIN_MS = options.quick ? 20 : 60

/** What secretlint makes of a text with its recommended rules, or null where it is not installed (bench/package.json). */
async function secretlint() {
  try {
    const { lintSource } = await import('@secretlint/core')
    const { creator } = await import('@secretlint/secretlint-rule-preset-recommend')
    const rules = [{ id: '@secretlint/secretlint-rule-preset-recommend', rule: creator, options: {} }]
    return async (content) => {
      const source = { filePath: '/result.json', content, ext: '.json', contentType: 'text' }
      return (await lintSource({ source, options: { config: { rules }, noPhysicFilePath: true } })).messages.length
    }
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error
    console.error('secretlint is not installed: npm ci in bench/ brings it')
    return null
  }
}

/** Values as a parser makes them of what the worker sent: the texts of the generator are slices of larger ones, and slower. */
const parsed = (subject) => {
  const texts = subject.values.map((value) => JSON.stringify(value))
  return { ...subject, values: texts.map((text) => JSON.parse(text)), texts }
}

const lint = await secretlint()
const subjects = [...ordinary(SIZE), ...hostile(SIZE)].map(parsed).flatMap((text) => {
  const bytes = text.texts.reduce((sum, json) => sum + Buffer.byteLength(json), 0)
  const base = { work: `screening, ${text.kind}: ${text.name}`, kind: text.kind, bytes, samples: [], cpu: [] }
  const own = {
    ...base,
    subject: 'sallyport',
    run: () => {
      const seen = {}
      for (const value of text.values) {
        const { verdict } = screen(value, defaultOutputPolicy)
        seen[verdict] = (seen[verdict] ?? 0) + 1
      }
      return seen
    },
  }
  if (lint === null || text.kind === 'hostile') return [own]
  const other = {
    ...base,
    samples: [],
    cpu: [],
    subject: 'secretlint',
    run: async () => {
      let finds = 0
      for (const json of text.texts) finds += await lint(json)
      return { finds }
    },
  }
  return [own, other]
})
const wanted = subjects.filter((s) => s.work.includes(options.only) || s.subject.includes(options.only))

for (const s of wanted) {
  const warm = performance.now() + 3 * MIN_MS
  do s.seen = await s.run()
  while (performance.now() < warm)
}
for (let round = 0; round < ROUNDS; round++) {
  for (const s of wanted) {
    let done = 0
    let elapsed = 0
    const cpu = process.cpuUsage()
    const start = performance.now()
    do {
      const answer = s.run()
      if (answer instanceof Promise) await answer
      done += s.bytes
      elapsed = performance.now() - start
    } while (elapsed < MIN_MS)
    s.samples.push(done / 1e3 / elapsed)
    const { user, system } = process.cpuUsage(cpu)
    s.cpu.push(done / (user + system))
  }
}

const rows = wanted.map((s) => ({
  work: s.work,
  subject: s.subject,
  median: Number(median(s.samples).toFixed(1)),
  unit: 'MB/s',
  rounds: ROUNDS,
  // Per second of processor time: what other work on the machine does not slow.
  per_cpu_s: Number(median(s.cpu).toFixed(1)),
  seen: s.seen,
}))
const own = rows.filter((row) => row.subject === 'sallyport')
const clean = own.filter((row) => row.work.startsWith('screening, clean'))
// What a byte of clean text costs, over all kinds in equal bytes: the harmonic mean.
const mean = (of) => clean.length / clean.reduce((sum, row) => sum + 1 / row[of], 0)

console.log(`Output screening, ${ROUNDS} rounds, medians, Node ${process.versions.node}\n`)
console.log(
  table(
    ['work', 'subject', 'MB/s', 'MB/cpu s', '× clean a byte', 'seen'],
    rows.map((row) => [
      row.work,
      row.subject,
      row.median.toFixed(1),
      row.per_cpu_s.toFixed(1),
      clean.length === 0 ? '' : (mean('per_cpu_s') / row.per_cpu_s).toFixed(2),
      Object.entries(row.seen)
        .map(([what, count]) => `${what} ${count}`)
        .join(' '),
    ]),
  ),
)
if (clean.length > 0) {
  console.log(
    `\nclean, all kinds of text in equal bytes: ${mean('median').toFixed(1)} MB/s, ${mean('per_cpu_s').toFixed(1)} MB/cpu s`,
  )
  const dear = own.filter((row) => row.work.includes('hostile') && mean('per_cpu_s') / row.per_cpu_s > 3)
  console.log(`hostile texts past 3× of that: ${dear.map((row) => row.work.split(': ')[1]).join(', ') || 'none'}`)
}
keep(options.json, rows)
// secretlint marks every text for a profile of its own: a million marks later, reading them kept this process busy for a quarter of an hour.
process.stdout.write('', () => process.exit())
