// Output screening, MB of text per second on one thread, against the built package (`npm run build` first).
//   node bench/screening/run.mjs [--json FILE] [--only WORD] [--rounds N]
// Subjects are interleaved: every round runs each once, and medians are compared, so a noisy machine slows all alike.
import { writeFileSync } from 'node:fs'
import { defaultOutputPolicy, screen } from '../../dist/core/output.js'
import { hostile, ordinary } from './texts.mjs'

const argument = (name) => {
  const at = process.argv.indexOf(name)
  return at < 0 ? null : process.argv[at + 1]
}
const only = argument('--only')
const rounds = Number(argument('--rounds') ?? 9)
const SIZE = 256 * 1024
const MIN_MS = 60

const policy = defaultOutputPolicy

const subjects = [...ordinary(SIZE), ...hostile(SIZE)].filter((s) => only === null || s.name.includes(only))

/** Bytes of the value as the worker sends it. */
const bytesOf = (value) => Buffer.byteLength(JSON.stringify(value))

for (const s of subjects) {
  s.bytes = s.values.reduce((n, v) => n + bytesOf(v), 0)
  s.samples = []
  s.cpuSamples = []
  s.verdicts = {}
  for (const v of s.values) {
    const { verdict } = screen(v, policy)
    s.verdicts[verdict] = (s.verdicts[verdict] ?? 0) + 1
  }
}

for (let round = 0; round < rounds; round++) {
  for (const s of subjects) {
    let done = 0
    const start = process.hrtime.bigint()
    const cpu = process.cpuUsage()
    let elapsed = 0
    do {
      for (const v of s.values) screen(v, policy)
      done += s.bytes
      elapsed = Number(process.hrtime.bigint() - start) / 1e6
    } while (elapsed < MIN_MS)
    s.samples.push(done / 1e6 / (elapsed / 1e3))
    const { user, system } = process.cpuUsage(cpu)
    s.cpuSamples.push(done / (user + system))
  }
}

const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1]
const rows = subjects.map((s) => ({
  work: 'screening',
  subject: s.name,
  kind: s.kind,
  median: Number(median(s.samples).toFixed(1)),
  // Per second of processor time: what other work on the machine does not slow.
  cpu_median: Number(median(s.cpuSamples).toFixed(1)),
  unit: 'MB/s',
  rounds,
  verdicts: s.verdicts,
}))
const clean = rows.filter((r) => r.kind === 'clean')
// What a byte of clean text costs, over all kinds in equal bytes: the harmonic mean.
const cleanAll = clean.length === 0 ? Number.NaN : clean.length / clean.reduce((n, r) => n + 1 / r.cpu_median, 0)

console.log(`Output screening, ${rounds} rounds, median MB/s, Node ${process.versions.node}`)
console.log(
  `${'subject'.padEnd(38)}${'kind'.padEnd(10)}${'MB/s'.padStart(8)}${'MB/cpu s'.padStart(10)}${'× clean per byte'.padStart(18)}  verdicts`,
)
for (const r of rows) {
  const ratio = (cleanAll / r.cpu_median).toFixed(2)
  console.log(
    `${r.subject.padEnd(38)}${r.kind.padEnd(10)}${r.median.toFixed(1).padStart(8)}${r.cpu_median.toFixed(1).padStart(10)}${ratio.padStart(18)}  ${JSON.stringify(r.verdicts)}`,
  )
}
console.log(`clean, all kinds of text in equal bytes: ${cleanAll.toFixed(1)} MB/cpu s`)

const file = argument('--json')
if (file !== null) writeFileSync(file, `${JSON.stringify(rows, null, 2)}\n`)
