import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A TCP connection's way between a process and a server, on which bytes can be held or lost. */
export interface Cable {
  port: number
  /** Connections that stand and carry. */
  readonly open: number
  /**
   * Keeps back the next bytes towards the server that hold this text, and all that follows them on their connection. The server
   * never saw the statement, and its sender does not know.
   */
  holdAt(text: string): Hold
  /** Half-open: what stands carries nothing more in either direction and is not closed. New connections work. */
  stall(): void
  /** As a cable pulled: new connections carry nothing either, until `mend`. */
  unplug(): void
  /** New connections work again; stalled ones stay as they are. */
  mend(): void
  /** Closes what stands, as a restarting balancer would. */
  cut(): void
  close(): Promise<void>
}

export interface Hold {
  /** Resolves when the bytes are here. */
  reached: Promise<void>
  /** Sends them on. */
  release(): void
  /** Loses them with their connection. */
  drop(): void
}

interface Pair {
  here: Socket
  there: Socket
  stalled: boolean
  kept: Buffer[] | null
  tail: Buffer
}

interface Armed {
  text: Buffer
  reached(pair: Pair): void
}

/** Stands before a server on this machine. */
export async function openCable(to: number): Promise<Cable> {
  const pairs = new Set<Pair>()
  let armed: Armed[] = []
  let unplugged = false

  const towardsServer = (pair: Pair, chunk: Buffer) => {
    if (pair.stalled) return
    if (pair.kept === null) {
      const seen = Buffer.concat([pair.tail, chunk])
      const found = armed.find(({ text }) => seen.includes(text))
      // A marker may come in two pieces: then its first is through, but never the whole statement.
      pair.tail = seen.subarray(-256)
      if (found !== undefined) {
        armed = armed.filter((each) => each !== found)
        pair.kept = []
        found.reached(pair)
      }
    }
    if (pair.kept !== null) pair.kept.push(chunk)
    else pair.there.write(chunk)
  }

  const server = createServer((here) => {
    const there = connect(to, '127.0.0.1')
    const pair: Pair = { here, there, stalled: unplugged, kept: null, tail: Buffer.alloc(0) }
    pairs.add(pair)
    here.on('data', (chunk: Buffer) => towardsServer(pair, chunk))
    there.on('data', (chunk: Buffer) => void (pair.stalled || here.write(chunk)))
    const end = (other: Socket) => () => {
      if (pair.stalled) return // the other side is not told
      pairs.delete(pair)
      other.destroy()
    }
    for (const [one, other] of [
      [here, there],
      [there, here],
    ] as const) {
      one.on('error', () => {})
      one.on('close', end(other))
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  const destroy = (pair: Pair) => {
    pair.here.destroy()
    pair.there.destroy()
    pairs.delete(pair)
  }
  const cut = () => {
    for (const pair of pairs) destroy(pair)
  }
  const stall = () => {
    for (const pair of pairs) pair.stalled = true
  }
  return {
    port: (server.address() as AddressInfo).port,
    get open() {
      return [...pairs].filter((pair) => !pair.stalled).length
    },
    holdAt(text) {
      let held: Pair | null = null
      let got: () => void = () => {}
      const reached = new Promise<void>((resolve) => {
        got = resolve
      })
      armed.push({
        text: Buffer.from(text),
        reached(pair) {
          held = pair
          got()
        },
      })
      return {
        reached,
        release() {
          const chunks = held?.kept ?? []
          if (held === null) return
          held.kept = null
          for (const chunk of chunks) held.there.write(chunk)
        },
        drop: () => void (held !== null && destroy(held)),
      }
    },
    stall,
    unplug() {
      unplugged = true
      stall()
    },
    mend() {
      unplugged = false
    },
    cut,
    async close() {
      cut()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
