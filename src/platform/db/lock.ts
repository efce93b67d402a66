import { createHash } from 'node:crypto'
import { mkdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * One process per data directory: two PGlites on one directory corrupt it silently. The kernel keeps the lock, not a pid in
 * a file: a listening socket dies with its process, so `kill -9` frees it and a reused pid means nothing.
 * Two sockets on Linux: the abstract one is taken atomically; the one in the directory is seen by other containers on the volume.
 */
export async function lockDirectory(dir: string): Promise<{ release(): Promise<void> }> {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const real = realpathSync(dir)
  const servers: Server[] = []
  const release = async () => {
    for (const server of servers) await new Promise<void>((done) => server.close(() => done()))
  }
  if (process.platform === 'linux') {
    const name = `\0sallyport-${createHash('sha256').update(real).digest('hex').slice(0, 32)}`
    servers.push(await listen(name, dir))
  }
  const path = socketPath(real)
  if (await answers(path)) {
    await release()
    throw new DirectoryLocked(dir)
  }
  rmSync(path, { force: true })
  try {
    servers.push(await listen(path, dir))
  } catch (error) {
    await release()
    throw error
  }
  writeFileSync(
    join(real, 'lock.json'),
    `${JSON.stringify({ pid: process.pid, note: 'for people; the lock itself is the socket' })}\n`,
    { mode: 0o600 },
  )
  return { release }
}

export class DirectoryLocked extends Error {
  constructor(dir: string) {
    super(`Another Sallyport is running on ${dir}. Stop it, or choose another SALLYPORT_DATA_DIR.`)
    this.name = 'DirectoryLocked'
  }
}

/** sun_path holds 107 bytes: a longer path moves to the temporary folder under the hash of the directory. */
function socketPath(real: string): string {
  const path = join(real, 'lock.sock')
  return path.length < 100
    ? path
    : join(tmpdir(), `sallyport-${createHash('sha256').update(real).digest('hex').slice(0, 32)}.sock`)
}

function listen(path: string, dir: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'EADDRINUSE' ? new DirectoryLocked(dir) : error),
    )
    server.listen({ path, exclusive: true }, () => {
      server.unref()
      resolve(server)
    })
  })
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    // Refused or not there: its process is dead. Anything else (a full backlog, no right to ask) may be a living one.
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'ECONNREFUSED' && code !== 'ENOENT'))
  })
}
