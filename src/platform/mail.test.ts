import { lookup } from 'node:dns/promises'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createTcp } from 'node:net'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type MailServer, smtpError, startMailServer } from '../../test/support/post-office.js'
import type { Mail, Sent } from './courier.js'
import { openMail } from './mail.js'
import { openCouriers } from './open-couriers.js'

let office: MailServer
beforeAll(async () => {
  office = await startMailServer()
})
afterAll(() => office.stop())

const MAIL: Mail = {
  url_env: 'SALLYPORT_SMTP_URL',
  from: 'Sallyport <sallyport@example.com>',
  to: 'ann@example.com',
  subject: 'Approval v1:7f93d2c',
  text: 'Grüße\n.\nnot the end',
  html: '<p>Grüße</p>',
  message_id: 'dlv_1@example.com',
}
const fault = (sent: Sent) => (sent.ok ? 'ok' : `${sent.fault}${sent.final ? ' for good' : ''}: ${sent.why}`)

test('arrives whole, in text and HTML, under its own id', async () => {
  expect(await openMail(office.url, MAIL)).toEqual({ ok: true })
  const mail = office.mails.at(-1)
  expect(mail).toMatchObject({ from: 'sallyport@example.com', to: ['ann@example.com'] })
  expect(mail?.text.trim()).toBe(MAIL.text)
  expect(mail?.html.trim()).toBe(MAIL.html)
  expect(mail?.headers['message-id']).toEqual(['<dlv_1@example.com>'])
  expect(mail?.headers['auto-submitted']).toEqual(['auto-generated'])
})

test('what is in a field stays in it: no header, no recipient and no end of the mail is made of it', async () => {
  const hostile = 'x\r\nBcc: evil@example.com\r\n\r\nbody\r\n.\r\nMAIL FROM:<a@b>'
  for (const more of [
    { subject: hostile },
    { to: 'ann@example.com, evil@example.com' },
    { to: 'ann@example.com>\r\nRCPT TO:<evil@example.com' },
    { message_id: 'x>\r\nBcc: evil@example.com' },
  ]) {
    const before = office.mails.length
    await openMail(office.url, { ...MAIL, ...more })
    for (const mail of office.mails.slice(before)) {
      expect(mail.headers.bcc, JSON.stringify(more)).toBeUndefined()
      expect(mail.to).not.toContain('evil@example.com')
      expect(mail.to.length).toBe(1)
    }
  }
})

test.each([
  [550, 'delivery for good: the mail server refused the address (550)'],
  [452, 'delivery: the mail server refused the address (452)'],
])('an address that is answered %i is %s', async (code, said) => {
  office.refuse.rcpt = () => smtpError(code)
  expect(fault(await openMail(office.url, MAIL))).toBe(said)
  office.refuse.rcpt = null
})

test.each([
  [554, 'delivery for good: the mail server refused the mail (554)'],
  [451, 'delivery: the mail server refused the mail (451)'],
])('a mail that is answered %i is %s', async (code, said) => {
  office.refuse.data = () => smtpError(code)
  expect(fault(await openMail(office.url, MAIL))).toBe(said)
  office.refuse.data = null
})

test('a server that is not there, that dies in the middle or takes another password fails the channel', async () => {
  expect(fault(await openMail('smtp://127.0.0.1:1', MAIL))).toMatch(/^channel: the mail server: /)
  // Takes the whole mail and is gone before it says so.
  const dying = createTcp((socket) => {
    let mail: string | null = null
    socket.on('error', () => {}).write('220 dying\r\n')
    socket.setEncoding('utf8').on('data', (said: string) => {
      if (mail !== null) {
        mail += said
        if (mail.endsWith('\r\n.\r\n')) socket.destroy()
      } else if (said.startsWith('DATA')) {
        mail = ''
        socket.write('354 go on\r\n')
      } else socket.write('250 yes\r\n')
    })
  })
  await new Promise<void>((up) => dying.listen(0, '127.0.0.1', up))
  const { port } = dying.address() as { port: number }
  expect(fault(await openMail(`smtp://127.0.0.1:${port}`, MAIL))).toMatch(/^channel: the mail server: /)
  await new Promise((down) => dying.close(down))
  const strict = await startMailServer({ auth: ['plane', 'pass:word'] })
  expect(await openMail(strict.url, MAIL)).toEqual({ ok: true })
  const wrong = strict.url.replace(/\/\/.*@/, '//plane:guess@')
  expect(fault(await openMail(wrong, MAIL))).toMatch(/^channel: the mail server: EAUTH/)
  expect(fault(await openMail(wrong, MAIL))).not.toContain('guess')
  await strict.stop()
})

test('to another machine a mail goes encrypted or not at all', async () => {
  // This machine by its own name is no loopback address to the rule.
  const name = hostname()
  const address = (await lookup(name, { family: 4 }).catch(() => null))?.address
  const open = await startMailServer({ host: '0.0.0.0' })
  const { port } = new URL(open.url)
  const host = address === undefined ? '0.0.0.0' : name
  const sent = await openMail(`smtp://${host}:${port}`, MAIL)
  expect(fault(sent)).toMatch(/^channel: the mail server: (ETLS|ESOCKET|ECONNECTION|EPROTOCOL)/)
  expect(open.mails).toEqual([])
  await open.stop()
})

test('the URL comes from the environment, or from the file that is named there; nothing else is read', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-mail-'))
  const file = join(dir, 'url')
  writeFileSync(file, `${office.url}\n`)
  const couriers = openCouriers({
    variables: { SALLYPORT_SMTP_URL_FILE: file, SALLYPORT_CHANNEL_GONE_FILE: join(dir, 'no') },
    publicUrl: null,
    privateHosts: [],
  })
  expect(couriers.missing('SALLYPORT_SMTP_URL')).toBeNull()
  expect(await couriers.mail(MAIL)).toEqual({ ok: true })
  for (const name of ['SALLYPORT_CHANNEL_GONE', 'SALLYPORT_CHANNEL_NONE', 'PATH', '__proto__', 'constructor'])
    expect(couriers.missing(name), name).toContain(name)
  // Replaced on disk: the next mail uses it.
  writeFileSync(file, 'not a url')
  expect(fault(await couriers.mail(MAIL))).toBe('channel: SALLYPORT_SMTP_URL is no smtp:// or smtps:// URL')
  rmSync(dir, { recursive: true })
})
