import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { addressFault, checkTarget, hostMatches } from './egress.js'

describe('addressFault', () => {
  test.each([
    ['8.8.8.8', null],
    ['140.82.121.6', null],
    ['2606:4700:4700::1111', null],
    ['2001:4860:4860::8888', null],
    ['0.0.0.0', 'unspecified'],
    ['0.1.2.3', 'unspecified'],
    ['10.0.0.1', 'private'],
    ['172.16.0.1', 'private'],
    ['172.31.255.255', 'private'],
    ['192.168.1.1', 'private'],
    ['127.0.0.1', 'loopback'],
    ['127.255.255.254', 'loopback'],
    ['169.254.169.254', 'linkLocal'],
    ['168.63.129.16', 'metadata'],
    ['100.64.0.1', 'carrierGradeNat'],
    ['100.100.100.200', 'carrierGradeNat'],
    ['192.0.0.192', 'reserved'],
    ['198.18.0.1', 'reserved'],
    ['203.0.113.9', 'reserved'],
    ['224.0.0.1', 'multicast'],
    ['240.0.0.1', 'reserved'],
    ['255.255.255.255', 'broadcast'],
    ['::', 'unspecified'],
    ['::1', 'loopback'],
    ['::ffff:127.0.0.1', 'ipv4Mapped'],
    ['::ffff:8.8.8.8', 'ipv4Mapped'],
    ['::ffff:0:7f00:1', 'rfc6145'],
    ['64:ff9b::7f00:1', 'rfc6052'],
    ['64:ff9b:1::7f00:1', 'rfc6052'],
    ['2002:7f00:1::', '6to4'],
    ['2001:0:7f00:1::', 'teredo'],
    ['fc00::1', 'uniqueLocal'],
    ['fd00:ec2::254', 'uniqueLocal'],
    ['fe80::1', 'linkLocal'],
    ['ff02::1', 'multicast'],
    ['2001:db8::1', 'reserved'],
    ['::7f00:1', 'not global unicast'],
    ['4000::1', 'not global unicast'],
    ['fe80::1%eth0', 'not an address'],
    ['2606:4700::1%25x', 'not an address'],
    ['0177.0.0.1', 'not an address'],
    ['2130706433', 'not an address'],
    ['example.com', 'not an address'],
    ['', 'not an address'],
  ])('%s → %s', (address, fault) => {
    expect(addressFault(address)).toBe(fault)
  })

  test('no IPv4 address of a private block passes, plain or inside an IPv6 one', () => {
    const octet = fc.integer({ min: 0, max: 255 })
    const block = fc.constantFrom([10], [127], [0], [192, 168], [169, 254], [172, 20], [100, 64], [224], [255])
    fc.assert(
      fc.property(block, octet, octet, octet, (start, b, c, d) => {
        const octets = [...start, b, c, d].slice(0, 4)
        const v4 = octets.join('.')
        const hex = `${((octets[0] ?? 0) * 256 + (octets[1] ?? 0)).toString(16)}:${((octets[2] ?? 0) * 256 + (octets[3] ?? 0)).toString(16)}`
        for (const address of [v4, `::ffff:${v4}`, `::${hex}`, `64:ff9b::${hex}`, `2002:${hex}::1`, `::ffff:0:${hex}`])
          expect(addressFault(address), address).not.toBeNull()
      }),
      { verbose: 1 },
    )
  })
})

describe('checkTarget', () => {
  const allow = (url: string, ...hosts: string[]) => checkTarget(url, undefined, [hosts])

  test('reads host and port as they will be connected to', () => {
    expect(allow('HTTPS://API.Example.COM/a?b=1#c', 'api.example.com')).toMatchObject({
      host: 'api.example.com',
      port: 443,
    })
    expect(allow('http://api.example.com:8080/', 'api.example.com')).toMatchObject({ port: 8080 })
    expect(allow('http://[2606:4700::0:1]/', '2606:4700::1').host).toBe('2606:4700::1')
    expect(allow('https://bücher.example/', 'bücher.example').host).toBe('xn--bcher-kva.example')
    expect(allow('https://API.example.com', 'Api.Example.Com').url.hash).toBe('')
  })

  test.each([
    ['decimal', 'http://2130706433/'],
    ['hexadecimal', 'http://0x7f000001/'],
    ['hexadecimal parts', 'http://0x7f.0x0.0x0.0x1/'],
    ['octal', 'http://0177.0.0.1/'],
    ['short', 'http://127.1/'],
    ['full-width digits', 'http://１２７.０.０.１/'],
    ['ideographic dots', 'http://127。0。0。1/'],
    ['circled digits', 'http://①②⑦.⓪.⓪.①/'],
    ['percent-encoded', 'http://%31%32%37.0.0.1/'],
    ['a tab inside', 'http://127.0.\t0.1/'],
  ])('a loopback address in disguise (%s) is that address', (_, url) => {
    expect(checkTarget(url, undefined, [['127.0.0.1']]).host).toBe('127.0.0.1')
    expect(addressFault(checkTarget(url, undefined, [['127.0.0.1']]).host)).toBe('loopback')
    expect(() => allow(url, 'api.example.com')).toThrow(expect.objectContaining({ code: 'host_not_allowed' }))
  })

  test('IPv4 inside IPv6 brackets is judged as it stands', () => {
    const { host } = allow('http://[::ffff:127.0.0.1]/', '::ffff:7f00:1')
    expect(addressFault(host)).toBe('ipv4Mapped')
  })

  test.each([
    ['user in the URL', 'http://api.example.com@evil.test/', 'url_refused'],
    ['user and password', 'http://u:p@api.example.com/', 'url_refused'],
    ['a trailing dot', 'http://api.example.com./', 'url_refused'],
    ['a zone id', 'http://[fe80::1%25eth0]/', 'url_refused'],
    ['a zone id, unescaped', 'http://[fe80::1%eth0]/', 'url_refused'],
    ['another scheme', 'file:///etc/passwd', 'url_refused'],
    ['ftp', 'ftp://api.example.com/', 'url_refused'],
    ['data', 'data:text/plain,x', 'url_refused'],
    ['no URL', 'api.example.com/x', 'url_refused'],
    ['a port out of range', 'http://api.example.com:99999/', 'url_refused'],
    ['a Cyrillic look-alike', 'https://аpi.example.com/', 'host_not_allowed'],
    ['its punycode', 'https://xn--pi-7kc.example.com/', 'host_not_allowed'],
    ['a name that ends alike', 'https://evil-api.example.com/', 'host_not_allowed'],
    ['a name that begins alike', 'https://api.example.com.evil.test/', 'host_not_allowed'],
    ['a backslash before the at', 'https://evil.test\\@api.example.com/', 'host_not_allowed'],
    ['the allowed host as a path', 'https://evil.test/api.example.com', 'host_not_allowed'],
  ])('refuses %s', (_, url, code) => {
    expect(() => allow(url, 'api.example.com')).toThrow(expect.objectContaining({ name: 'TerminalError', code }))
  })

  test('every list must allow; an empty list allows nothing; no list at all is a refusal', () => {
    const url = 'https://a.example.com/'
    expect(checkTarget(url, undefined, [['a.example.com'], ['*.example.com']]).host).toBe('a.example.com')
    expect(() => checkTarget(url, undefined, [['a.example.com'], ['b.example.com']])).toThrow(
      expect.objectContaining({ code: 'host_not_allowed' }),
    )
    expect(() => checkTarget(url, undefined, [[]])).toThrow(expect.objectContaining({ code: 'host_not_allowed' }))
    expect(() => checkTarget(url, undefined, [])).toThrow(expect.objectContaining({ code: 'no_allow_list' }))
  })
})

test.each([
  ['*.example.com', 'a.example.com', 443, true],
  ['*.example.com', 'a.b.example.com', 443, true],
  ['*.EXAMPLE.com', 'a.example.com', 443, true],
  ['*.example.com', 'example.com', 443, false],
  ['*.example.com', 'badexample.com', 443, false],
  ['*.0.0.1', '127.0.0.1', 80, false],
  ['*', 'example.com', 443, false],
  ['*.', 'example.com', 443, false],
  ['', 'example.com', 443, false],
  ['example.com:8443', 'example.com', 8443, true],
  ['example.com:8443', 'example.com', 443, false],
  ['[::1]:80', '::1', 80, true],
  ['[::1]:80', '::1', 81, false],
  ['::1', '::1', 81, true],
  ['0:0:0:0:0:0:0:1', '::1', 81, true],
  ['exa mple.com', 'example.com', 443, false],
] as const)('the entry %s and %s:%i: %s', (entry, host, port, matches) => {
  expect(hostMatches(entry, host, port)).toBe(matches)
})
