import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** A fault the reader can act on: printed without a stack. */
export class Failure extends Error {
  expected = true
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP']

/**
 * Runs a command to its end and answers { code, output }; a signal counts as 128 + its number.
 * Signals to us go on to the child for as long as it lives: an `npm ci` left behind would go on writing without the lock.
 */
export function spawned(command, args, { show = false, onStart = () => {} } = {}) {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { cwd: root, stdio: show ? 'inherit' : ['ignore', 'pipe', 'pipe'] })
    if (child.pid !== undefined) onStart(child.pid)
    const forward = (signal) => child.kill(signal)
    for (const signal of SIGNALS) process.on(signal, forward)
    const restore = () => {
      for (const signal of SIGNALS) process.off(signal, forward)
    }

    const chunks = []
    child.stdout?.on('data', (chunk) => chunks.push(chunk))
    child.stderr?.on('data', (chunk) => chunks.push(chunk))
    child.on('error', (error) => {
      restore()
      fail(new Failure(`cannot run ${command}: ${error.message}`))
    })
    child.on('close', (code, signal) => {
      restore()
      done({ code: code ?? 128 + (constants.signals[signal] ?? 0), output: Buffer.concat(chunks).toString() })
    })
  })
}

/** Runs a Node script in front of the reader; answers its exit code. */
export async function node(args) {
  const { code } = await spawned(process.execPath, args, { show: true })
  return code
}

/** Runs a tool out of node_modules by its own script: no shell, no PATH. Throws with its output when it fails. */
export async function tool(script, args) {
  await must(process.execPath, [join(root, 'node_modules', script), ...args])
}

export async function must(command, args, options) {
  const { code, output } = await spawned(command, args, options)
  if (code !== 0) throw new Failure(`${output.trimEnd()}\n\n${[command, ...args].join(' ')} failed (exit ${code})`)
}

/** One line before the work and the seconds behind it, so that a minute of silence never looks like a hang. */
export async function step(title, work) {
  const started = performance.now()
  process.stdout.write(`${title} … `)
  try {
    await work()
  } catch (error) {
    process.stdout.write('failed\n')
    throw error
  }
  process.stdout.write(`${((performance.now() - started) / 1000).toFixed(1)} s\n`)
}
