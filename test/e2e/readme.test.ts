import { execFile, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parsePolicy } from '../../src/core/policy/parse.js'

/** The README is run as it stands: its `sh` blocks in order, against a server of this test; its policy is parsed. */
const ROOT = new URL('../..', import.meta.url).pathname
const README = readFileSync(join(ROOT, 'README.md'), 'utf8')
const blocks = (language: string) =>
  [...README.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map((m) => m[1] as string)

const dataDir = mkdtempSync(join(tmpdir(), 'sallyport-readme-'))
let url = ''
let stop: () => Promise<void>

beforeAll(async () => {
  const server = spawn(process.execPath, ['dist/cli/main.js', 'up', '--json', '--port', '0', '--data-dir', dataDir], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  stop = () =>
    new Promise((done) => {
      server.once('exit', () => done())
      server.kill('SIGTERM')
    })
  let said = ''
  url = await new Promise((resolve, reject) => {
    server.stderr.on('data', (chunk) => {
      said += chunk
    })
    server.stdout.on('data', (chunk) => {
      said += chunk
      const found = /"url":\s*"([^"]+)"/.exec(said)
      if (found) resolve(found[1] as string)
    })
    server.once('exit', (code) => reject(new Error(`the server ended with ${code}: ${said}`)))
  })
})
afterAll(async () => {
  await stop()
  rmSync(dataDir, { recursive: true, force: true })
})

test('its commands do what it says', { timeout: 120_000 }, async () => {
  const script = blocks('sh')
    .join('\n')
    .replaceAll('http://127.0.0.1:8080', url)
    .replaceAll('.sallyport/', `${dataDir}/`)
  expect(script).toContain(url)
  const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], {
    cwd: ROOT,
    env: { ...process.env, SALLYPORT_URL: url, SALLYPORT_DATA_DIR: dataDir },
  })
  expect(stdout).toContain('"decision":"DENY"')
  expect(stdout).toContain('"status":"pending_approval"')
  expect(stdout).toContain('job.repo.read')
  expect(stdout).toMatch(/truncation +NOT CHECKED/)
})

test('its policy has no fault', () => {
  const [text] = blocks('yaml')
  const { document, faults } = parsePolicy([{ path: 'README.md', text: text as string }])
  expect(faults.filter((fault) => fault.severity === 'error')).toEqual([])
  expect(document?.rules.map((rule) => rule.id)).toEqual(['refunds-over-50', 'small-refunds'])
})
