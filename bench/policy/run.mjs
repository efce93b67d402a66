/**
 * node bench/policy/run.mjs [--json FILE] [--only WORD] [--rounds N] [--quick]
 *
 * Policy decisions per second on one thread, beside three other engines on the same rules and claims. Subjects take turns
 * in every round, so that a slow minute of the machine hits all of them; medians over rounds. p50 and p99 come from single
 * timed calls and include the timer itself, about 0.1 µs. Needs a build: npx tsc -p tsconfig.json
 */
import { keep, median, optionsOf, table } from '../report.mjs'
import { agentGovernance, casbin, cedar, sallyport } from './subjects.mjs'
import { makeClaims, makeRules } from './workload.mjs'

const options = optionsOf()
const ROUNDS = Number(options.rounds ?? (options.quick ? 2 : 7))
/**
 * Distinct claims, each an object and strings of its own. A server decides a claim it has just parsed, so it is warm; many
 * more claims than this measure how fast the machine reads 20 MB of cold JSON (16,381 of them cost about a third).
 */
const CLAIMS = 4093
const ROUND_MS = options.quick ? 150 : 400

const WORKS = [
  { work: 'decision, 1,000 rules', rules: makeRules(1000), others: true },
  { work: 'decision, 1,000 rules, 10 % with when', rules: makeRules(1000, 0.1), others: true },
  { work: 'decision, 10,000 rules', rules: makeRules(10_000), others: false },
]

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]

/** Calls for about ROUND_MS; returns calls per second. The answers are added up so that none can be left out. */
function measureRate(run, claims, state) {
  const started = performance.now()
  let calls = 0
  let elapsed = 0
  while (elapsed < ROUND_MS) {
    const batch = state.batch
    for (let i = 0; i < batch; i++) {
      const answer = run(claims[state.at])
      state.at = state.at + 1 === claims.length ? 0 : state.at + 1
      if (answer === undefined) throw new Error('no answer')
    }
    calls += batch
    elapsed = performance.now() - started
  }
  state.batch = Math.max(1, Math.floor((calls / elapsed) * 10))
  return (calls / elapsed) * 1000
}

/** Topics are planned and sets of rules judged when first met; a server is past that after its first seconds. */
function warmUp({ run, state }, claims) {
  const until = performance.now() + (options.quick ? 500 : 2000)
  for (let i = 0; i < 3 * claims.length && performance.now() < until; i++) run(claims[i % claims.length])
  measureRate(run, claims, state)
}

function measureLatency(run, claims, samples) {
  const times = new Float64Array(samples)
  for (let i = 0; i < samples; i++) {
    const claim = claims[i % claims.length]
    const before = process.hrtime.bigint()
    run(claim)
    times[i] = Number(process.hrtime.bigint() - before) / 1e6
  }
  times.sort()
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) }
}

const results = []
for (const { work, rules, others } of WORKS) {
  if (!`policy ${work}`.includes(options.only)) continue
  const claims = makeClaims(CLAIMS, rules.length)
  const builders = others ? { sallyport, casbin, cedar, agentGovernance } : { sallyport }
  const names = {
    sallyport: 'sallyport',
    casbin: 'casbin',
    cedar: 'cedar-wasm preparsed',
    agentGovernance: 'MS AGT SDK',
  }
  const subjects = []
  for (const [key, build] of Object.entries(builders)) {
    subjects.push({ name: names[key], ...(await build(rules)), rates: [], state: { at: 0, batch: 1 } })
  }
  const agreement = agree(subjects, claims.slice(0, 300))
  for (const subject of subjects) warmUp(subject, claims)
  for (let round = 0; round < ROUNDS; round++) {
    for (const subject of subjects) subject.rates.push(measureRate(subject.run, claims, subject.state))
  }
  for (const { name, run, rates } of subjects) {
    const rate = median(rates)
    const { p50, p99 } = measureLatency(run, claims, Math.min(200_000, Math.max(200, Math.floor(rate))))
    results.push({
      work: `policy ${work}`,
      subject: name,
      median: Math.round(rate),
      unit: 'decisions/s',
      p50_ms: p50,
      p99_ms: p99,
      rounds: ROUNDS,
      agreement: agreement[name],
    })
  }
}

/** Share of claims where a subject says what we say (for casbin, which has no third answer: allowed or not). */
function agree(subjects, claims) {
  const [reference] = subjects
  return Object.fromEntries(
    subjects.map(({ name, decide }) => {
      const same = claims.filter((claim) => {
        const [a, b] = [reference.decide(claim), decide(claim)]
        return name === 'casbin' ? (a === 'ALLOW') === (b === 'ALLOW') : a === b
      })
      return [name, same.length / claims.length]
    }),
  )
}

const columns = ['work', 'subject', 'decisions/s', 'p50 µs', 'p99 µs', 'ours ÷ it', 'same answer']
const rows = results.map(({ work, subject, median: rate, p50_ms, p99_ms, agreement }) => {
  const ours = results.find((each) => each.work === work && each.subject === 'sallyport').median
  return [
    work,
    subject,
    rate.toLocaleString('en-US'),
    (p50_ms * 1000).toFixed(2),
    (p99_ms * 1000).toFixed(2),
    `${(ours / rate).toFixed(1)}×`,
    `${(agreement * 100).toFixed(0)} %`,
  ]
})
if (rows.length > 0) console.log(table(columns, rows))
keep(options.json, results)
