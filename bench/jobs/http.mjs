import { connect } from 'node:net'

/**
 * The cheapest HTTP client that is still one: keep-alive connections, one request at a time on each, bodies unread. The load
 * generator shares its cores with what it measures; node:http cost it about as much processor time a job as the server took.
 * It understands what the server answers, a Content-Length, and throws at anything else.
 */
export class HttpPool {
  #idle = []
  #all = new Set()
  #host
  #port

  constructor(url) {
    const { hostname, port } = new URL(url)
    this.#host = hostname
    this.#port = Number(port)
  }

  /** POSTs ASCII text; resolves with the body as bytes. Throws at any status past 299. */
  async post(path, key, text) {
    const connection = this.#usable() ?? this.#open()
    const answer = await connection.send(
      `POST ${path} HTTP/1.1\r\nhost: ${this.#host}\r\nx-api-key: ${key}\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`,
    )
    this.#idle.push(connection)
    if (answer.status > 299) throw new Error(`${path}: ${answer.status} ${answer.body.toString('utf8', 0, 500)}`)
    return answer.body
  }

  /** The pool opens new ones when it is used again: a server closes what was idle for a minute, just as the next round begins. */
  close() {
    for (const connection of this.#all) connection.socket.destroy()
    this.#all.clear()
    this.#idle = []
  }

  /** The server may have closed one while it was idle: what is written to it is answered by nobody. */
  #usable() {
    for (;;) {
      const connection = this.#idle.pop()
      if (connection === undefined || !connection.socket.destroyed) return connection
      this.#all.delete(connection)
    }
  }

  #open() {
    const connection = new Connection(connect({ host: this.#host, port: this.#port, noDelay: true }))
    this.#all.add(connection)
    return connection
  }
}

class Connection {
  #waiting = null
  #have = null

  constructor(socket) {
    this.socket = socket
    socket.on('data', (chunk) => this.#take(chunk))
    socket.on('error', (error) => this.#waiting?.reject(error))
    socket.on('close', () => this.#waiting?.reject(new Error('the connection was closed')))
  }

  send(text) {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
      this.socket.write(text, 'latin1')
    })
  }

  #take(chunk) {
    this.#have = this.#have === null ? chunk : Buffer.concat([this.#have, chunk])
    const end = this.#have.indexOf('\r\n\r\n')
    if (end < 0) return
    const head = this.#have.latin1Slice(0, end)
    const length = /\r\ncontent-length: (\d+)/i.exec(head)
    if (length === null) {
      this.#waiting.reject(new Error(`an answer without Content-Length: ${head}`))
      return
    }
    const whole = end + 4 + Number(length[1])
    if (this.#have.length < whole) return
    const answer = { status: Number(head.slice(9, 12)), body: this.#have.subarray(end + 4, whole) }
    this.#have = null
    const { resolve } = this.#waiting
    this.#waiting = null
    resolve(answer)
  }
}
