import { spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const alive = new Set()
process.once('exit', () => {
  for (const plane of alive) plane.discard()
})

/** Lines of a node's log that are kept: a node in trouble writes thousands. */
const KEPT_LINES = 20

/**
 * A control plane of one or several nodes, each the built command in a process of its own, with the settings of a fresh
 * installation. Without a database it runs on the embedded engine.
 * @returns `urls`, `keys` by role, `pids`, `said()`: what its nodes logged as errors, `stop()`, `discard()`
 */
export async function startPlane({ databaseUrl, natsUrl, nodes = 1, settings = {} } = {}) {
  const home = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
  const children = []
  const log = { count: 0, lines: [] }
  const plane = {
    urls: [],
    keys: {},
    home,
    get pids() {
      return children.map((child) => child.pid)
    },
    said: () => log,
    async stop() {
      await Promise.all(children.map((child) => ended(child, 'SIGTERM')))
      plane.discard()
    },
    discard() {
      for (const child of children) child.kill('SIGKILL')
      rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
      alive.delete(plane)
    },
  }
  alive.add(plane)
  const signingKey = join(home, 'signing.key')
  const { privateKey } = generateKeyPairSync('ed25519')
  writeFileSync(signingKey, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
  const env = {
    PATH: process.env.PATH,
    HOME: home,
    SALLYPORT_LOG_LEVEL: 'error',
    SALLYPORT_SIGNING_KEY: signingKey,
    ...(databaseUrl ? { SALLYPORT_DATABASE_URL: databaseUrl } : {}),
    ...(natsUrl ? { SALLYPORT_NATS_URL: natsUrl } : {}),
    ...settings,
  }
  try {
    // One after the other: the first makes the tables and the keys.
    for (let n = 0; n < nodes; n++) {
      const { child, said } = await startNode(join(home, `node-${n}`), env, log)
      children.push(child)
      plane.urls.push(said.url)
      if (n > 0) continue
      for (const [role, file] of Object.entries(said.key_files)) plane.keys[role] = readFileSync(file, 'utf8').trim()
    }
  } catch (error) {
    plane.discard()
    throw error
  }
  return plane
}

async function startNode(dataDir, env, log) {
  const child = spawn(
    process.execPath,
    ['--max-semi-space-size=32', MAIN, 'up', '--port', '0', '--data-dir', dataDir, '--json'],
    {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  createInterface({ input: child.stderr }).on('line', (line) => {
    log.count++
    if (log.lines.length < KEPT_LINES) log.lines.push(line)
  })
  let text = ''
  for await (const chunk of child.stdout.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    text += chunk
    try {
      const said = JSON.parse(text)
      if (said.url === undefined) break
      child.stdout.resume()
      return { child, said }
    } catch {} // not all of it yet
  }
  child.kill('SIGKILL')
  throw new Error(`a node did not start: ${[text.trim(), ...log.lines].join('\n')}`)
}

/** As asked, and after ten seconds as a crash would. */
async function ended(child, signal) {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  const hard = setTimeout(() => child.kill('SIGKILL'), 10_000)
  child.kill(signal)
  await exit
  clearTimeout(hard)
}
