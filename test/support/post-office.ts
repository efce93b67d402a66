import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SMTPServer } from 'smtp-server'

/** A mail as it came over the wire, with what of it tests look at. */
export interface ReceivedMail {
  raw: string
  from: string
  to: string[]
  /** By lower-case name, unfolded; a header that stands there twice has both. */
  headers: Record<string, string[]>
  /** The plain-text part, decoded. */
  text: string
  html: string
}

/** A mail server on this machine. */
export interface MailServer {
  url: string
  mails: ReceivedMail[]
  /** Answers the next ones so: `rcpt` is asked with each address, `data` with each mail; an error's responseCode is the answer. */
  refuse: { rcpt: ((address: string) => Error | null) | null; data: (() => Error | null) | null }
  /** Between having a mail and saying so: while this waits, the sender does not know. */
  hold: (() => Promise<void>) | null
  stop(): Promise<void>
}

export const smtpError = (responseCode: number) => Object.assign(new Error('no'), { responseCode })

export async function startMailServer({
  port = 0,
  host = '127.0.0.1',
  auth = null as [string, string] | null,
} = {}): Promise<MailServer> {
  const office: MailServer = {
    url: '',
    mails: [],
    refuse: { rcpt: null, data: null },
    hold: null,
    stop: () => new Promise((done) => server.close(() => done())),
  }
  const server = new SMTPServer({
    hideSTARTTLS: true,
    disabledCommands: auth === null ? ['AUTH', 'STARTTLS'] : ['STARTTLS'],
    authOptional: auth === null,
    allowInsecureAuth: true,
    logger: false,
    onAuth: ({ username, password }, _session, done) =>
      auth !== null && username === auth[0] && password === auth[1]
        ? done(null, { user: username })
        : done(smtpError(535)),
    onRcptTo: ({ address }, _session, done) => done(office.refuse.rcpt?.(address) ?? null),
    onData(stream, session, done) {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        const refusal = office.refuse.data?.() ?? null
        if (refusal !== null) return done(refusal)
        const { mailFrom, rcptTo } = session.envelope
        const mail = readMail(Buffer.concat(chunks).toString('utf8'))
        mail.from = mailFrom === false ? '' : mailFrom.address
        mail.to = rcptTo.map(({ address }) => address)
        office.mails.push(mail)
        if (office.hold === null) return done()
        office.hold().then(() => done())
      })
    },
  })
  server.on('error', () => {})
  server.listen(port, host)
  await once(server.server, 'listening')
  const at = server.server.address() as AddressInfo
  const login = auth === null ? '' : `${encodeURIComponent(auth[0])}:${encodeURIComponent(auth[1])}@`
  office.url = `smtp://${login}127.0.0.1:${at.port}`
  return office
}

function readMail(raw: string): ReceivedMail {
  const { headers, body } = partOf(raw)
  const boundary = /boundary="?([^";]+)"?/.exec(headers['content-type']?.[0] ?? '')?.[1]
  const parts =
    boundary === undefined
      ? []
      : body
          .split(`--${boundary}`)
          .slice(1, -1)
          .map((part) => partOf(part.replace(/^\r\n/, '')))
  const decoded = (type: string) => {
    const part = parts.find((each) => each.headers['content-type']?.[0]?.startsWith(type))
    return part === undefined ? '' : decodePart(part.body, part.headers['content-transfer-encoding']?.[0] ?? '')
  }
  return { raw, from: '', to: [], headers, text: decoded('text/plain'), html: decoded('text/html') }
}

function partOf(raw: string): { headers: Record<string, string[]>; body: string } {
  const end = raw.indexOf('\r\n\r\n')
  const headers: Record<string, string[]> = {}
  for (const line of raw
    .slice(0, end)
    .replaceAll(/\r\n[ \t]+/g, ' ')
    .split('\r\n')) {
    const at = line.indexOf(':')
    const name = line.slice(0, at).toLowerCase()
    headers[name] = [...(headers[name] ?? []), line.slice(at + 1).trim()]
  }
  return { headers, body: raw.slice(end + 4) }
}

function decodePart(body: string, encoding: string): string {
  if (encoding === 'base64') return Buffer.from(body, 'base64').toString('utf8')
  if (encoding !== 'quoted-printable') return body.replaceAll('\r\n', '\n')
  const bytes = body
    .replaceAll(/=\r\n/g, '')
    .replaceAll(/=([0-9A-F]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
  return Buffer.from(bytes, 'latin1').toString('utf8').replaceAll('\r\n', '\n')
}

export interface ReceivedPost {
  path: string
  headers: IncomingMessage['headers']
  body: string
}

/** A receiver of webhooks on this machine. */
export interface Receiver {
  url: string
  host: string
  posts: ReceivedPost[]
  /** What it answers; by default 204. */
  answer: (response: ServerResponse, post: ReceivedPost) => void
  stop(): Promise<void>
}

export async function startReceiver(port = 0): Promise<Receiver> {
  const server: Server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk) => {
      body += chunk
    })
    request.on('end', () => {
      const post = { path: request.url ?? '', headers: request.headers, body }
      receiver.posts.push(post)
      receiver.answer(response, post)
    })
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const receiver: Receiver = {
    url: `http://${host}/hook`,
    host,
    posts: [],
    answer: (response) => response.writeHead(204).end(),
    stop: () =>
      new Promise((done) => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
  return receiver
}
