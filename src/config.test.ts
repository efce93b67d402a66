import { writeFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { scratch } from '../test/support/server.js'
import { loadConfig } from './config.js'

const place = scratch('config')
afterAll(() => place.gone())

const nats = (url: string, creds?: string) =>
  loadConfig({ SALLYPORT_NATS_URL: url, ...(creds === undefined ? {} : { SALLYPORT_NATS_CREDS: creds }) }).nats
const nobody = { tls: false, user: null, pass: null, token: null, creds: null }

describe('the NATS URL', () => {
  test('left out is the in-process bus', () => {
    expect(loadConfig({}).nats).toBeNull()
    expect(nats('')).toBeNull()
  })

  test.each([
    ['nats://bus', { ...nobody, servers: [{ host: 'bus', port: 4222 }] }],
    ['nats://10.0.0.1:4333/', { ...nobody, servers: [{ host: '10.0.0.1', port: 4333 }] }],
    ['tls://[::1]:4222', { ...nobody, tls: true, servers: [{ host: '::1', port: 4222 }] }],
    ['nats://ann:p%40ss%3A@bus', { ...nobody, user: 'ann', pass: 'p@ss:', servers: [{ host: 'bus', port: 4222 }] }],
    ['nats://s3cr3t@bus', { ...nobody, token: 's3cr3t', servers: [{ host: 'bus', port: 4222 }] }],
    [
      'nats://a:b@one:1, nats://two',
      {
        ...nobody,
        user: 'a',
        pass: 'b',
        servers: [
          { host: 'one', port: 1 },
          { host: 'two', port: 4222 },
        ],
      },
    ],
  ])('%s', (url, access) => {
    expect(nats(url)).toEqual(access)
  })

  test.each([
    'http://bus',
    'bus:4222',
    'nats://',
    'nats://bus:port',
    'nats://bus:99999',
    'nats://hunter2:hunter2@b us',
    'nats://hunter2:hunter2@bus/hunter2',
    'nats://hunter2:hunter2@bus?hunter2',
    'nats://hunter2:hunter2@bus#hunter2',
    'nats://hunter2:hunter2%@bus',
    'nats://hunter2:hun/ter2@bus',
    'nats://one,tls://two',
    'nats://hunter2:a@one,nats://hunter2:b@two',
    'nats://one,',
  ])('%s is refused with an example and without the password', (url) => {
    const fault = expect.stringMatching(/^SALLYPORT_NATS_URL .+\. Example: SALLYPORT_NATS_URL=nats:\/\/user:password@/)
    expect(() => nats(url)).toThrow(expect.objectContaining({ message: fault }))
    expect(() => nats(url)).not.toThrow(/hunter2|ter2/)
  })
})

describe('how long jobs are kept', () => {
  const DAY = 86_400_000
  const kept = (value?: string) => loadConfig({ SALLYPORT_KEEP_JOBS: value }).keepJobsMs

  test.each([
    [undefined, null],
    ['', null],
    ['1d', DAY],
    ['24h', DAY],
    ['90d', 90 * DAY],
    ['26w', 182 * DAY],
    ['1y', 366 * DAY],
    ['7y', 7 * 366 * DAY],
  ])('%s', (value, ms) => {
    expect(kept(value)).toBe(ms)
  })

  test.each([
    '0',
    '90',
    '0d',
    '23h',
    '86399999ms',
    '0y',
    '1y6w',
    '400d',
    '-90d',
    '90 d',
    '90D',
    'for ever',
    '100y',
    '1e3d',
  ])('%s stops the start: what is removed cannot be had back', (value) => {
    expect(() => kept(value)).toThrow(`SALLYPORT_KEEP_JOBS is "${value}", not a duration of a day or more. Example: `)
  })
})

describe('old audit entries', () => {
  const load = (keep?: string, folder?: string) =>
    loadConfig({ SALLYPORT_KEEP_AUDIT: keep, SALLYPORT_AUDIT_ARCHIVE: folder })

  test('stay where they are unless both settings say otherwise; the folder alone is only read', () => {
    expect(load()).toMatchObject({ keepAuditMs: null, auditArchive: null })
    expect(load(undefined, place.dir)).toMatchObject({ keepAuditMs: null, auditArchive: place.dir })
    expect(load('90d', place.dir)).toMatchObject({ keepAuditMs: 90 * 86_400_000, auditArchive: place.dir })
  })

  test.each([
    ['90d', undefined, /^SALLYPORT_AUDIT_ARCHIVE is not set, but SALLYPORT_KEEP_AUDIT is/],
    ['90d', place.at('nosuch'), /^SALLYPORT_AUDIT_ARCHIVE names .*, which is no folder/],
    ['1h', place.dir, /^SALLYPORT_KEEP_AUDIT is "1h", not a duration of a day or more/],
  ])('%s and %s stop the start', (keep, folder, fault) => {
    expect(() => load(keep, folder)).toThrow(fault)
  })
})

describe('NATS credentials', () => {
  const file = place.at('sallyport.creds')
  const text = '-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n-----BEGIN USER NKEY SEED-----\ny\n'

  test('come from a file', () => {
    writeFileSync(file, text)
    expect(nats('tls://bus', file)).toMatchObject({ tls: true, creds: text, user: null, token: null })
  })

  test('are refused where they are unreadable, something else, or one of two', () => {
    writeFileSync(file, text)
    const other = place.at('other')
    writeFileSync(other, 'hunter2')
    expect(() => nats('nats://bus', place.at('none'))).toThrow(/^SALLYPORT_NATS_CREDS names .*\(ENOENT\)\. Example: /)
    expect(() => nats('nats://bus', other)).toThrow(/^SALLYPORT_NATS_CREDS names .*no NATS user JWT/)
    expect(() => nats('nats://bus', other)).not.toThrow(/hunter2/)
    expect(() => nats('nats://ann:x@bus', file)).toThrow(/^SALLYPORT_NATS_URL names a user or token/)
    expect(() => nats('', file)).toThrow(/^SALLYPORT_NATS_URL is not set/)
  })
})

describe('what channels need', () => {
  test('is what they may name of the environment, and nothing else of it', () => {
    const { channels } = loadConfig({
      SALLYPORT_CHANNEL_SIEM: 'a',
      SALLYPORT_CHANNEL_SIEM_FILE: '/run/a',
      SALLYPORT_SMTP_URL: 'smtp://x',
      SALLYPORT_LOG_LEVEL: 'info',
      PATH: '/bin',
      SALLYPORT_WEBHOOK_PRIVATE_HOSTS: 'siem.internal:8443, 10.0.0.1:80',
    })
    expect(Object.keys(channels.variables).sort()).toEqual([
      'SALLYPORT_CHANNEL_SIEM',
      'SALLYPORT_CHANNEL_SIEM_FILE',
      'SALLYPORT_SMTP_URL',
    ])
    expect(channels.privateHosts).toEqual(['siem.internal:8443', '10.0.0.1:80'])
    expect(() => loadConfig({ SALLYPORT_WEBHOOK_PRIVATE_HOSTS: 'siem.internal' })).toThrow(/is no host:port/)
  })

  test('is a public address that nobody can listen in on', () => {
    const url = (text: string) => loadConfig({ SALLYPORT_PUBLIC_URL: text }).publicUrl
    expect(url('https://sallyport.example.com/base/')).toBe('https://sallyport.example.com/base')
    expect(url('http://127.0.0.1:8080')).toBe('http://127.0.0.1:8080')
    for (const wrong of ['http://sallyport.example.com', 'sallyport', 'https://a:b@c', 'https://c/?x', 'ftp://c'])
      expect(() => url(wrong), wrong).toThrow(/^SALLYPORT_PUBLIC_URL is no plain https URL/)
  })
})

describe('where people sign on', () => {
  const file = place.at('client-secret')
  writeFileSync(file, 'from a file\n')
  const whole = {
    SALLYPORT_PUBLIC_URL: 'https://plane.example.com/',
    SALLYPORT_OIDC_ISSUER: 'https://login.example.com/realm',
    SALLYPORT_OIDC_CLIENT_ID: 'plane',
    SALLYPORT_OIDC_CLIENT_SECRET_FILE: file,
  }
  test('is here, unless a provider is named with all it needs', () => {
    expect(loadConfig({}).oidc).toBeNull()
    expect(loadConfig(whole).oidc).toEqual({
      issuer: 'https://login.example.com/realm',
      clientId: 'plane',
      clientSecret: 'from a file',
      scopes: 'openid profile email',
      groupsClaim: 'groups',
      isPlain: false,
    })
    const local = {
      ...whole,
      SALLYPORT_OIDC_ISSUER: 'http://127.0.0.1:9000',
      SALLYPORT_PUBLIC_URL: 'http://localhost:8080',
    }
    expect(loadConfig(local).oidc?.isPlain).toBe(true)
  })

  test.each([
    [{ SALLYPORT_OIDC_ISSUER: '' }, 'SALLYPORT_OIDC_ISSUER is not set'],
    [{ SALLYPORT_OIDC_ISSUER: 'http://login.example.com' }, 'no https URL'],
    [{ SALLYPORT_OIDC_ISSUER: 'http://127.0.0.1.example.com' }, 'no https URL'],
    [{ SALLYPORT_OIDC_CLIENT_ID: '' }, 'SALLYPORT_OIDC_CLIENT_ID is not set'],
    [{ SALLYPORT_PUBLIC_URL: '' }, 'SALLYPORT_PUBLIC_URL is where'],
    [{ SALLYPORT_PUBLIC_URL: 'http://plane.example.com' }, 'https URL'],
    [{ SALLYPORT_PUBLIC_URL: 'https://example.com/plane' }, 'without a path'],
    [{ SALLYPORT_OIDC_SCOPES: 'profile' }, 'does not ask for openid'],
    [{ SALLYPORT_OIDC_CLIENT_SECRET_FILE: '' }, 'is not set, nor is'],
    [{ SALLYPORT_OIDC_CLIENT_SECRET: 's3cr3t' }, 'is set, and'],
    [{ SALLYPORT_OIDC_CLIENT_SECRET_FILE: '/nowhere' }, 'cannot be read (ENOENT)'],
  ])('%j stops the start', (change, fault) => {
    expect(() => loadConfig({ ...whole, ...change })).toThrow(fault)
    expect(() => loadConfig({ ...whole, ...change })).not.toThrow('s3cr3t')
  })
})
