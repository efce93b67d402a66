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
