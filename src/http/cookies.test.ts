import { describe, expect, test } from 'vitest'
import { cookie, isOwnOrigin, noCookie, PLAIN_SITE, readCookie, siteOf } from './cookies.js'

const SECURE = siteOf('https://plane.example.com/')

describe('a cookie', () => {
  test('is of this host alone where the address is https, and of no script anywhere', () => {
    expect(cookie(SECURE, 'session', 'x', 60)).toBe(
      '__Host-sallyport_session=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure',
    )
    expect(cookie(PLAIN_SITE, 'sign-on', 'x', 60)).toBe(
      'sallyport_sign_on=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax',
    )
    expect(noCookie(SECURE, 'form')).toContain('=; Path=/; Max-Age=0;')
    expect(siteOf('http://localhost:8080')).toEqual({ origin: 'http://localhost:8080', secure: false })
  })

  test('is read by its whole name, and not where it stands twice', () => {
    const read = (header: string | undefined, site = PLAIN_SITE) =>
      readCookie(header === undefined ? {} : { cookie: header }, site, 'session')
    expect(read('a=b; sallyport_session=x=y ; c=d')).toBe('x=y')
    expect(read('sallyport_session=x; sallyport_session=x')).toBeNull()
    expect(read('xsallyport_session=x; sallyport_sessions=y; sallyport_session')).toBeNull()
    // Whoever is next door under http cannot plant what is read under https.
    expect(read('sallyport_session=x', SECURE)).toBeNull()
    expect(read('__Host-sallyport_session=x', SECURE)).toBe('x')
    expect(read(undefined)).toBeNull()
  })
})

test('an origin is ours by the public address, else by the host that was asked', () => {
  const own = (origin: string | undefined, site = PLAIN_SITE) =>
    isOwnOrigin({ host: '127.0.0.1:8080', ...(origin === undefined ? {} : { origin }) }, site)
  expect([own(undefined), own('http://127.0.0.1:8080'), own('https://127.0.0.1:8080')]).toEqual([true, true, true])
  expect([own('http://127.0.0.1:8081'), own('null'), own('evil'), own('http://127.0.0.1:8080@evil')]).toEqual([
    false,
    false,
    false,
    false,
  ])
  expect([own('https://plane.example.com', SECURE), own('http://plane.example.com', SECURE)]).toEqual([true, false])
  expect(own('http://127.0.0.1:8080', SECURE)).toBe(false)
})
