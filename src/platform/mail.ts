import { isIP } from 'node:net'
import { createTransport } from 'nodemailer'
import type { Mail, Sent } from './courier.js'

/** To connect, to be greeted, and for each answer. */
const STEP_MS = 10_000

interface SmtpFault {
  code?: string
  responseCode?: number
  command?: string
}

/**
 * Sends one mail over SMTP. `smtps://` speaks TLS from the first byte; `smtp://` insists on STARTTLS, except to this machine itself: a
 * link in the clear is an approval for whoever listens. Nothing in a mail is read from a file or fetched.
 */
export async function openMail(smtpUrl: string, mail: Mail): Promise<Sent> {
  const url = URL.canParse(smtpUrl) ? new URL(smtpUrl) : null
  if (url === null || !['smtp:', 'smtps:'].includes(url.protocol) || url.hostname === '')
    return channel(`${mail.url_env} is no smtp:// or smtps:// URL`)
  const isSecure = url.protocol === 'smtps:'
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const user = decoded(url.username)
  const pass = decoded(url.password)
  if (user === null || pass === null) return channel(`${mail.url_env} has a % that encodes nothing`)
  const transport = createTransport({
    host,
    port: url.port === '' ? (isSecure ? 465 : 587) : Number(url.port),
    secure: isSecure,
    requireTLS: !isSecure && !isLoopback(host),
    ...(user === '' ? {} : { auth: { user, pass } }),
    connectionTimeout: STEP_MS,
    greetingTimeout: STEP_MS,
    socketTimeout: STEP_MS,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  try {
    const { from, to, subject, text, html, message_id } = mail
    await transport.sendMail({
      from,
      // As an object the address is not parsed: nothing in it becomes a second one.
      to: { name: '', address: to },
      subject: subject.replaceAll(/[\r\n]+/g, ' '),
      text,
      html,
      messageId: `<${message_id}>`,
      headers: { 'Auto-Submitted': 'auto-generated' },
    })
    return { ok: true }
  } catch (error) {
    return judged(error as SmtpFault)
  } finally {
    transport.close()
  }
}

const channel = (why: string): Sent => ({ ok: false, fault: 'channel', final: false, why })

/** An answer to RCPT or DATA is about this mail; all else, and whatever has no answer, is about the way there. */
function judged({ code = 'unknown', responseCode, command = '' }: SmtpFault): Sent {
  const said = responseCode === undefined ? '' : ` (${responseCode})`
  const isOwn = code === 'EENVELOPE' || code === 'EMESSAGE' || /^(RCPT TO|DATA)/.test(command)
  // 421 closes the line whatever it answers.
  if (!isOwn || responseCode === undefined || responseCode === 421)
    return channel(`the mail server: ${code}${command === '' ? '' : ` at ${command.slice(0, 20)}`}${said}`)
  const why = `the mail server refused the ${code === 'EENVELOPE' ? 'address' : 'mail'}${said}`
  return { ok: false, fault: 'delivery', final: responseCode >= 500, why }
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}

const isLoopback = (host: string) =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
