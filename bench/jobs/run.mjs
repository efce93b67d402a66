/**
 * node bench/jobs/run.mjs [--only WORD] [--json FILE] [--rounds N] [--seconds S] [--quick]
 *
 * Governed jobs over HTTP, submit → lease → settle with a screened result of 4 KB, beside bare queues on the same engines.
 * Subjects take turns in every round, so that a slow minute of the machine hits all of them; medians over rounds.
 */
import { defaultOutputPolicy, screen } from '../../dist/core/output.js'
import { figure, keep, median, optionsOf, progress, progressEnds, quantile, table } from '../report.mjs'
import { bringUp, cpuBy } from './subjects.mjs'
import { makeResults } from './texts.mjs'

const options = optionsOf({ seconds: { type: 'string' } })
const ROUNDS = Number(options.rounds ?? (options.quick ? 1 : 5))
const MS = Number(options.seconds ?? (options.quick ? 1.2 : 2.5)) * 1000
/** The integrator, vacuum and completions in the background belong to the jobs that caused them: counted, and not left to the next. */
const AFTERMATH_MS = 1200

/** `unfinished`: submitters hold back while so many jobs have not ended; with as many as there are lanes, each waits for its job. */
const WORKS = [
  { work: 'job, singles at 64', mode: 'singles', lanes: 64, size: 1, unfinished: 512 },
  { work: 'job, singles, 64 in flight', mode: 'singles', lanes: 64, size: 1, unfinished: 64 },
  { work: 'job, batches of 100', mode: 'batches', lanes: 8, size: 100, unfinished: 2400 },
  { work: 'submit → handler start, idle', mode: 'alone', samples: options.quick ? 10 : 25 },
]

const word = options.only.toLowerCase()
const has = (text) => text.toLowerCase().includes(word)
const works = WORKS.some(({ work }) => has(work)) ? WORKS.filter(({ work }) => has(work)) : WORKS
const named = works !== WORKS || WORKS.every(({ work }) => has(work))

// What is measured is the way of a clean result; one that is redacted or quarantined takes another.
for (const result of makeResults()) {
  const { verdict } = screen(result, defaultOutputPolicy)
  if (verdict !== 'ALLOW') throw new Error(`the bench's own result is answered ${verdict}`)
}

const { subjects, faults, down } = await bringUp((name) => named || has(name), progress)
const broken = new Set()
const rows = []
try {
  if (subjects.length > 0) {
    for (const subject of subjects) await orBroken(subject, () => warmUp(subject))
    for (const work of works) rows.push(...(await compare(work)))
    show(rows)
    for (const { name, said } of subjects) {
      const { count, lines } = said?.() ?? { count: 0 }
      if (count > 0) console.log(`trouble: ${name} logged ${count} lines, the first: ${lines[0].slice(0, 300)}`)
    }
    keep(options.json, rows)
  }
} finally {
  await down()
  progressEnds()
}
for (const fault of faults) console.log(`trouble: ${fault}`)
if (faults.length > 0) process.exitCode = 1

/** A subject that fails is told of and left out from there; the others are still worth knowing. */
async function orBroken(subject, work) {
  try {
    await work()
  } catch (error) {
    broken.add(subject)
    faults.push(`${subject.name}: ${error.message.split('\n')[0]}`)
  }
}

/** Plans, code and connections get warm, and the tables hold something. */
async function warmUp(subject) {
  progress(`warming ${subject.name}`)
  await subject.call('work', { mode: 'singles' })
  await subject.call('round', { ms: options.quick ? 700 : 2500, lanes: 64, size: 1, unfinished: 512 })
  await subject.call('rest')
}

async function compare(work) {
  const taken = subjects.map((subject) => ({ subject, rounds: [] }))
  for (let round = 1; round <= ROUNDS; round++) {
    for (const { subject, rounds } of taken) {
      if (broken.has(subject)) continue
      progress(`${work.work}: round ${round} of ${ROUNDS}, ${subject.name}`)
      await orBroken(subject, async () => {
        rounds.push(await (work.mode === 'alone' ? alone(subject, work) : underLoad(subject, work)))
      })
    }
  }
  const whole = taken.filter(({ subject }) => !broken.has(subject))
  return whole.flatMap(({ subject, rounds }) =>
    work.mode === 'alone' ? aloneRows(work, subject, rounds) : [loadRow(work, subject, rounds)],
  )
}

async function underLoad(subject, { mode, lanes, size, unfinished }) {
  await subject.call('work', { mode })
  const before = cpuBy(subject.processes)
  const measured = await subject.call('round', { ms: MS, lanes, size, unfinished })
  await subject.call('rest')
  await new Promise((turn) => setTimeout(turn, AFTERMATH_MS))
  const after = cpuBy(subject.processes)
  const cpu_us = Object.fromEntries(
    Object.keys(after).map((name) => [name, (after[name] - before[name]) / measured.jobs]),
  )
  return { ...measured, rate: (measured.jobs / measured.elapsed_ms) * 1000, cpu_us }
}

async function alone(subject, { mode, samples }) {
  await subject.call('work', { mode })
  const measured = await subject.call('alone', { samples, gap_ms: subject.gap_ms })
  await subject.call('rest')
  return measured
}

function loadRow({ work }, { name, ours, processes }, rounds) {
  const middle = (pick) => round3(median(rounds.map(pick)))
  return {
    work: ours ? `governed ${work}` : `bare ${work}`,
    subject: name,
    median: middle((r) => r.rate),
    unit: 'jobs/s',
    p50_ms: middle((r) => r.p50_ms),
    p99_ms: middle((r) => r.p99_ms),
    rounds: ROUNDS,
    lowest: round3(Math.min(...rounds.map((r) => r.rate))),
    highest: round3(Math.max(...rounds.map((r) => r.rate))),
    jobs: rounds.reduce((sum, r) => sum + r.jobs, 0),
    cpu_us: Object.fromEntries(Object.keys(processes).map((each) => [each, middle((r) => r.cpu_us[each])])),
  }
}

/** All samples of all rounds together: a p99 of 25 would be their maximum. */
function aloneRows({ work }, { name, ours }, rounds) {
  const row = (title, samples) => ({
    work: title,
    subject: name,
    median: round3(median(samples)),
    unit: 'ms',
    p50_ms: round3(median(samples)),
    p99_ms: round3(quantile(samples, 0.99)),
    rounds: ROUNDS,
    samples: samples.length,
  })
  const handler = rounds.flatMap((r) => r.handler)
  const whole = rounds.flatMap((r) => r.whole)
  return [row(work, handler), ...(ours ? [row('governed job, alone, submit → settled', whole)] : [])]
}

function round3(value) {
  return Number(value.toPrecision(4))
}

function show(rows) {
  progressEnds()
  const names = ['node', 'client', 'postgres', 'nats', 'redis', 'load'].filter((name) =>
    rows.some(({ cpu_us }) => cpu_us?.[name] !== undefined),
  )
  const columns = ['work', 'subject', 'median', 'unit', 'p50 ms', 'p99 ms', 'rounds', ...names.map((n) => `${n} µs`)]
  const cells = rows.map((r) => [
    r.work,
    r.subject,
    figure(r.median),
    r.unit,
    figure(r.p50_ms),
    figure(r.p99_ms),
    r.lowest === undefined ? `${r.samples} samples` : `${figure(r.lowest)}–${figure(r.highest)}`,
    ...names.map((name) => figure(r.cpu_us?.[name])),
  ])
  console.log(table(columns, cells))
  console.log(
    `\nRounds: the slowest and the fastest. µs: processor time for each job, by process, with what follows in the next ${AFTERMATH_MS / 1000} s.
The bare queues do no HTTP, policy, audit or screening, and their client is the load. The embedded engine never waits for the disk.`,
  )
}
