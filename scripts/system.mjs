import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { findProgram } from './engines.mjs'
import { Failure, must, step } from './process.mjs'

const POSTGRES = { command: 'postgres', apt: 'postgresql', atLeast: 15, why: 'the durable store' }
const NATS = { command: 'nats-server', apt: 'nats-server', why: 'the bus of several nodes' }

/** What the tests need of the system beside Node. `apt` names the Debian package. Of the servers they start private instances. */
const NEEDS = [
  { command: 'git', apt: 'git', why: 'the built-in worker reads repositories' },
  { command: 'curl', apt: 'curl', why: 'the README and the deployment drill speak curl' },
  { command: 'bc', apt: 'bc', why: 'gate-check.sh compares decimals with it' },
  { command: 'openssl', apt: 'openssl', why: 'certificates are made for the tests of TLS' },
  POSTGRES,
  NATS,
]

/** Servers that benchmarks run private instances of. */
export const SERVERS = [
  POSTGRES,
  NATS,
  { command: 'redis-server', apt: 'redis-server', why: 'BullMQ, which is measured beside it, lives there' },
]

/** Debian asks this program before a package starts its service; 101 is no. */
const POLICY = '/usr/sbin/policy-rc.d'

const present = (command, args) => spawnSync(command, args, { stdio: 'ignore' }).status === 0

/** Installs what is missing where the system lets us; otherwise throws with the one command that would. */
export async function systemNeeds(needs = NEEDS, who = 'the tests', policy = POLICY) {
  const missing = needs.filter(({ command }) => findProgram(command) === undefined)
  if (missing.length > 0) await install(missing, who, policy)
  for (const { command, atLeast } of needs) if (atLeast !== undefined) mustBe(command, atLeast, who)
}

async function install(missing, who, policy) {
  const packages = missing.map(({ apt }) => apt)
  const asked = missing.map(({ command, why }) => `${command} (${why})`).join(', ')
  const advice = `${who} need ${asked}: sudo apt-get install -y ${packages.join(' ')}`
  if (!present('apt-get', ['--version'])) throw new Failure(advice)
  const asRoot = process.getuid?.() === 0
  if (!asRoot && !present('sudo', ['-n', 'true'])) throw new Failure(advice)

  const root = (...command) => (asRoot ? must(command[0], command.slice(1)) : must('sudo', ['-n', ...command]))
  const apt = (...args) => root('env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-qq', ...args)
  await step(`installing ${packages.join(', ')} (apt-get)`, async () => {
    await apt('update')
    await unstarted(policy, root, () => apt('install', '-y', '--no-install-recommends', ...packages))
  }).catch((error) => {
    throw new Failure(`${error.message}\n${advice}`)
  })
}

/** Only the programs are wanted: no service may start with its package, least of all a Postgres on the usual port. */
async function unstarted(policy, root, work) {
  if (existsSync(policy)) return work()
  await root('sh', '-c', `printf '#!/bin/sh\\nexit 101\\n' > '${policy}' && chmod 755 '${policy}'`)
  try {
    return await work()
  } finally {
    await root('rm', '-f', policy)
  }
}

function mustBe(command, atLeast, who) {
  const { stdout } = spawnSync(findProgram(command) ?? command, ['--version'], { encoding: 'utf8' })
  const found = Number(/\d+/.exec(stdout ?? '')?.[0] ?? 0)
  if (found < atLeast)
    throw new Failure(`${who} need ${command} ${atLeast} or newer, and this system has ${found || 'none that runs'}`)
}
