import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

/**
 * Private Postgres, NATS and Redis for tests and benchmarks: on free loopback ports, in folders of their own, each a real
 * process that can be killed, frozen and started again on the same port and data. Nothing of them outlives this process.
 */

const alive = new Set()
process.once('exit', () => {
  for (const instance of alive) instance.discard()
})

function program(name) {
  const found = findProgram(name)
  if (found === undefined)
    throw new Error(`${name} is not installed: sudo apt-get install -y postgresql nats-server redis-server`)
  return found
}

/** Path of a program, also where Debian keeps the servers: none of those folders is on the PATH of every user. */
export function findProgram(name) {
  const versions = existsSync('/usr/lib/postgresql')
    ? readdirSync('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a))
    : []
  const folders = [
    ...(process.env.PATH ?? '').split(delimiter),
    '/usr/sbin',
    '/usr/local/sbin',
    ...versions.map((version) => `/usr/lib/postgresql/${version}/bin`),
  ]
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path))
}

/**
 * A private Postgres. `durable: false` leaves out fsync: it survives the death of its process, which is all that tests do to
 * it; benchmarks keep it, because waiting for the disk is part of what they measure.
 * @returns an instance with `url(database)` and `database(name)`, which makes one and answers its URL
 */
export async function startPostgres({ durable = false, settings = {} } = {}) {
  const home = mkdtempSync(join(tmpdir(), 'sallyport-pg-'))
  const data = join(home, 'data')
  // Postgres refuses to run as root; the package made a user for it.
  const as = process.getuid?.() === 0 ? postgresUser() : {}
  if (as.uid !== undefined) chownSync(home, as.uid, as.gid)
  const made = spawnSync(
    program('initdb'),
    ['-D', data, '-U', 'sallyport', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync'],
    { ...as, encoding: 'utf8' },
  )
  if (made.status !== 0) throw new Error(`initdb failed: ${made.stderr ?? made.error}`)
  const port = await freePort()
  const all = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: home,
    max_connections: 200,
    ...(durable ? {} : { fsync: 'off' }),
    ...settings,
  }
  const args = ['-D', data, ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])]
  const url = (database = 'postgres') => `postgresql://sallyport@127.0.0.1:${port}/${database}`
  const ready = () => probe(port, startupPacket, (answer) => answer[0] === 0x52) // 'R': it asks or grants authentication
  const instance = await running({
    name: 'postgres',
    home,
    command: program('postgres'),
    args,
    as,
    ready,
    gentle: 'SIGINT',
  })
  return Object.assign(instance, {
    port,
    home,
    url,
    async database(name) {
      const done = spawnSync(program('createdb'), ['-h', '127.0.0.1', '-p', String(port), '-U', 'sallyport', name], {
        encoding: 'utf8',
      })
      if (done.status !== 0) throw new Error(`createdb failed: ${done.stderr}`)
      return url(name)
    },
  })
}

/** A private NATS server with JetStream; `args` go to the command. `wipe()` of a stopped one loses its whole store. */
export async function startNats({ args: more = [] } = {}) {
  const home = mkdtempSync(join(tmpdir(), 'sallyport-nats-'))
  const port = await freePort()
  const store = join(home, 'jetstream')
  const args = ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', store, ...more]
  const ready = () => probe(port, null, (answer) => answer.subarray(0, 5).toString() === 'INFO ')
  const instance = await running({
    name: 'nats-server',
    home,
    command: program('nats-server'),
    args,
    as: {},
    ready,
    gentle: 'SIGTERM',
  })
  return Object.assign(instance, {
    port,
    home,
    url: `nats://127.0.0.1:${port}`,
    wipe: () => rmSync(store, { recursive: true, force: true }),
  })
}

/** A private Redis that syncs every write, as a queue that must lose nothing would be run. For benchmarks. */
export async function startRedis() {
  const home = mkdtempSync(join(tmpdir(), 'sallyport-redis-'))
  const port = await freePort()
  const args = [
    '--port',
    port,
    '--bind',
    '127.0.0.1',
    '--dir',
    home,
    '--appendonly',
    'yes',
    '--appendfsync',
    'always',
    '--save',
    '',
  ].map(String)
  const ready = () => probe(port, 'PING\r\n', (answer) => answer.toString().startsWith('+PONG'))
  const instance = await running({
    name: 'redis-server',
    home,
    command: program('redis-server'),
    args,
    as: {},
    ready,
    gentle: 'SIGTERM',
  })
  return Object.assign(instance, { port, home, url: `redis://127.0.0.1:${port}` })
}

/** A process with a life: start, kill, freeze, thaw, start again, be gone. */
async function running({ name, home, command, args, as, ready, gentle }) {
  let child = null
  let output = ''
  const start = async () => {
    const mine = spawn(command, args, { ...as, cwd: home, stdio: ['ignore', 'pipe', 'pipe'] })
    // A script that forgot one of these must still be able to end; what is left then goes with the process.
    mine.unref()
    for (const stream of [mine.stdout, mine.stderr]) {
      stream.unref()
      stream.on('data', (chunk) => {
        output = (output + chunk).slice(-2_000_000)
      })
    }
    let gone = false
    mine.once('exit', () => {
      gone = true
    })
    mine.once('error', () => {
      gone = true
    })
    child = mine
    const deadline = Date.now() + 60_000
    while (!(await ready())) {
      if (gone || Date.now() > deadline) throw new Error(`${name} did not start:\n${output}`)
      await new Promise((turn) => setTimeout(turn, 20))
    }
  }
  const end = async (signal) => {
    const mine = child
    if (mine === null || mine.exitCode !== null || mine.signalCode !== null) return
    mine.ref()
    const ended = once(mine, 'exit')
    mine.kill('SIGCONT')
    mine.kill(signal)
    await ended
  }
  const discard = () => {
    if (child !== null && child.exitCode === null && child.signalCode === null) {
      killGroup(child, 'SIGKILL')
    }
    rmSync(home, { recursive: true, force: true })
    alive.delete(instance)
  }
  const instance = {
    get pid() {
      return child.pid
    },
    output: () => output,
    start,
    /** As an operator would. */
    stop: () => end(gentle),
    /** As a crash would. Postgres takes its children along by itself when their parent is gone. */
    kill: () => end('SIGKILL'),
    freeze: () => killGroup(child, 'SIGSTOP'),
    thaw: () => killGroup(child, 'SIGCONT'),
    discard,
  }
  alive.add(instance)
  await start()
  return instance
}

/** The process and its children: a frozen postmaster alone would leave its backends answering. */
function killGroup(child, signal) {
  for (const pid of [child.pid, ...childrenOf(child.pid)]) {
    try {
      process.kill(pid, signal)
    } catch {
      // gone already
    }
  }
}

/** From /proc where there is one: a minimal Debian has no `ps`. */
function childrenOf(pid) {
  const list = `/proc/${pid}/task/${pid}/children`
  const text = existsSync(list)
    ? readFileSync(list, 'utf8')
    : spawnSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' }).stdout
  return (text ?? '')
    .split(/\s+/)
    .map(Number)
    .filter((n) => n > 0)
}

function postgresUser() {
  const id = (flag) => Number(spawnSync('id', [flag, 'postgres'], { encoding: 'utf8' }).stdout)
  const [uid, gid] = [id('-u'), id('-g')]
  if (!(uid > 0)) throw new Error('Postgres will not run as root, and there is no user postgres to run it as')
  return { uid, gid }
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

/** True once the port answers as its protocol says. A port that merely listens may still be starting. */
function probe(port, hello, isReady) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const done = (answer) => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(1000, () => done(false))
    socket.once('error', () => done(false))
    socket.once('close', () => done(false))
    socket.once('connect', () => hello !== null && socket.write(hello))
    socket.once('data', (chunk) => done(isReady(chunk)))
  })
}

/** StartupMessage 3.0 for user and database: 'R' when it takes connections, 'E' while it still recovers. */
const startupPacket = (() => {
  const body = Buffer.from('\0\x03\0\0user\0sallyport\0database\0postgres\0\0', 'latin1')
  const length = Buffer.alloc(4)
  length.writeInt32BE(body.length + 4)
  return Buffer.concat([length, body])
})()
