import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** What becomes of the connection on which a marked request comes. */
export type Fate =
  /** The request never arrives; the connection breaks. */
  | 'lost before'
  /** The request is carried out; its answer is lost with the connection. */
  | 'lost after'
  /** The request is carried out; nobody hears of it and the connection stays, as one whose other end lost its network. */
  | 'silent after'

/** A wire between a node and its database that can be cut, or go dead without a word. */
export interface Wire {
  readonly port: number
  /** The same URL through this wire. */
  through(url: string): string
  /** From now on nothing is carried on any connection, and none is closed. */
  goSilent(): void
  /** Breaks every connection; new ones are carried again unless `refuse` says otherwise. */
  cut(): void
  /** New connections are broken at once. */
  refuse(is: boolean): void
  /** Decides over the next connection whose client sends this text. Resolves when it did. */
  onNext(text: string, fate: Fate): Promise<void>
  /** Whether a client sent this text, of late. */
  heard(text: string): boolean
  /** Connections now, and all there ever were. */
  open(): number
  met(): number
  close(): void
}

export async function startWire(to: number): Promise<Wire> {
  let [isSilent, refuses, met] = [false, false, 0]
  let recent = ''
  let trap: { text: string; fate: Fate; sprung: () => void } | null = null
  const pairs = new Set<[Socket, Socket]>()
  const server = createServer((client) => {
    met++
    client.on('error', () => {})
    if (refuses) return void client.resetAndDestroy()
    const onward = connect(to, '127.0.0.1')
    const pair: [Socket, Socket] = [client, onward]
    pairs.add(pair)
    const end = () => {
      pairs.delete(pair)
      client.resetAndDestroy()
      onward.destroy()
    }
    let fate: Fate | null = null
    let tail = ''
    // A dead network does not carry the end of a connection either.
    const ended = () => void (isSilent || fate === 'silent after' || end())
    onward.on('error', () => {}).on('close', ended)
    client.on('close', ended)
    client.on('data', (chunk) => {
      if (isSilent || fate !== null) return
      recent = (recent + chunk.toString('latin1')).slice(-100_000)
      const seen = tail + chunk.toString('latin1')
      tail = seen.slice(-200)
      if (trap !== null && seen.includes(trap.text)) {
        fate = trap.fate
        trap.sprung()
        trap = null
        if (fate === 'lost before') return end()
      }
      onward.write(chunk)
    })
    onward.on('data', (chunk) => {
      if (isSilent || fate === 'silent after') return
      if (fate === null) client.write(chunk)
      else end()
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const cut = () => {
    isSilent = false
    for (const [client, onward] of pairs) {
      client.resetAndDestroy()
      onward.destroy()
    }
    pairs.clear()
  }
  return {
    port,
    through: (url) => url.replace(/@[^/]+\//, `@127.0.0.1:${port}/`),
    goSilent() {
      isSilent = true
    },
    cut,
    refuse(is) {
      refuses = is
    },
    onNext: (text, fate) =>
      new Promise((sprung) => {
        trap = { text, fate, sprung }
      }),
    heard: (text) => recent.includes(text),
    open: () => pairs.size,
    met: () => met,
    close() {
      cut()
      server.close()
    },
  }
}
