/**
 * What a node does past its capacity, with sizes that are worth a table:
 *   node test/drills/overload-run.mjs [--only WORD] [--out FILE.json]
 * Needs dist/ (npm run build). Takes about five minutes.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values } = parseArgs({ options: { only: { type: 'string' }, out: { type: 'string' } } })
const root = fileURLToPath(new URL('../..', import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), 'sallyport-overload-run-'))
const file = values.out === undefined ? join(scratch, 'rows.json') : resolve(values.out)
const args = ['run', 'test/drills/overload.test.ts', '--disable-console-intercept']
if (values.only !== undefined) args.push('-t', values.only)
// Through the test runner: it strips the types, which Node 20 does not.
const child = spawn(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), ...args], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, SALLYPORT_OVERLOAD: file },
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
const [code] = await once(child, 'exit')
if (existsSync(file)) {
  let last = ''
  for (const { scenario, what, value, unit } of JSON.parse(readFileSync(file, 'utf8'))) {
    if (scenario !== last) console.log(`\n${scenario}`)
    last = scenario
    console.log(`  ${what.padEnd(34)} ${String(value).padStart(10)} ${unit}`)
  }
}
rmSync(scratch, { recursive: true, force: true })
process.exitCode = code ?? 1
