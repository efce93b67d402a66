/**
 * Fault rounds with real processes, as many as wanted:
 *   node test/drills/faults-run.mjs [--rounds 20] [--seed N] [--out FILE.json]
 * Needs dist/ (npm run build). Prints what was killed, how often, and what was lost; exits 1 when a round did not hold.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '20' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    out: { type: 'string' },
  },
})
const root = fileURLToPath(new URL('../..', import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), 'sallyport-fault-run-'))
const file = values.out === undefined ? join(scratch, 'matrix.json') : resolve(values.out)
// Through the test runner: it strips the types, which Node 20 does not.
const child = spawn(
  process.execPath,
  [join(root, 'node_modules/vitest/vitest.mjs'), 'run', 'test/drills/faults.test.ts', '--disable-console-intercept'],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      SALLYPORT_FAULT_SEED: values.seed,
      SALLYPORT_ROUNDS: values.rounds,
      SALLYPORT_FAULT_MATRIX: file,
    },
  },
)
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
const [code] = await once(child, 'exit')
if (existsSync(file)) console.log(asMarkdown(JSON.parse(readFileSync(file, 'utf8'))))
rmSync(scratch, { recursive: true, force: true })
process.exitCode = code ?? 1

function asMarkdown({ rounds, seeds, faults, jobs, effects, entries, heads, lost, quiet_ms_most }) {
  const row = (...cells) => `| ${cells.join(' | ')} |`
  return [
    '',
    `${rounds} rounds (seeds ${seeds[0]} to ${seeds.at(-1)}): ${jobs} jobs acknowledged, ${effects} effects done outside, ${entries} audit entries verified against ${heads} heads kept outside. Quiet at most ${quiet_ms_most} ms after the last repair.`,
    '',
    row('what was done', 'times', 'of them alone', 'violations in those rounds'),
    row('---', '---:', '---:', '---:'),
    ...faults.map(({ fault, times, alone, violations }) => row(fault, times, alone, violations.length)),
    '',
    row('what was lost', ''),
    row('---', '---:'),
    ...Object.entries(lost).map(([what, n]) => row(what.replaceAll('_', ' '), n)),
    ...[...new Set(faults.flatMap(({ violations }) => violations))].slice(0, 50).map((each) => `\n- ${each}`),
  ].join('\n')
}
