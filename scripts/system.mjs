import { spawnSync } from 'node:child_process'
import { findProgram } from './engines.mjs'
import { Failure, must, step } from './process.mjs'

/** What the tests need of the system beside Node. `apt` names the Debian package. */
const NEEDS = [
  { command: 'git', apt: 'git', why: 'the built-in worker reads repositories' },
  { command: 'curl', apt: 'curl', why: 'the README and the deployment drill speak curl' },
  { command: 'bc', apt: 'bc', why: 'gate-check.sh compares decimals with it' },
]

/** Servers that benchmarks run private instances of. */
export const SERVERS = [
  { command: 'postgres', apt: 'postgresql', why: 'the durable store' },
  { command: 'nats-server', apt: 'nats-server', why: 'the bus of several nodes' },
  { command: 'redis-server', apt: 'redis-server', why: 'BullMQ, which is measured beside it, lives there' },
]

const present = (command, args) => spawnSync(command, args, { stdio: 'ignore' }).status === 0

/** Installs what is missing where the system lets us; otherwise throws with the one command that would. */
export async function systemNeeds(needs = NEEDS, who = 'the tests') {
  const missing = needs.filter(({ command }) => findProgram(command) === undefined)
  if (missing.length === 0) return

  const packages = missing.map(({ apt }) => apt)
  const asked = missing.map(({ command, why }) => `${command} (${why})`).join(', ')
  const advice = `${who} need ${asked}: sudo apt-get install -y ${packages.join(' ')}`
  if (!present('apt-get', ['--version'])) throw new Failure(advice)
  const asRoot = process.getuid?.() === 0
  if (!asRoot && !present('sudo', ['-n', 'true'])) throw new Failure(advice)

  const apt = (...args) => {
    const command = ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-qq', ...args]
    const [first, ...rest] = asRoot ? command : ['sudo', '-n', ...command]
    return must(first, rest)
  }
  await step(`installing ${packages.join(', ')} (apt-get)`, async () => {
    await apt('update')
    await apt('install', '-y', '--no-install-recommends', ...packages)
  }).catch((error) => {
    throw new Failure(`${error.message}\n${advice}`)
  })
}
