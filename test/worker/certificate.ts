import { generateKeyPairSync, sign } from 'node:crypto'

/**
 * A self-signed certificate for one DNS name, made anew for a test: a key in the repository would be found by every
 * secret scanner, and rightly. Only as much of X.509 as a TLS client insists on.
 */
export function testCertificate(name: string): { key: string; cert: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = sequence(der(0x06, [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02])) // ecdsa-with-SHA256
  const subject = sequence(der(0x31, sequence(der(0x06, [0x55, 0x04, 0x03]), der(0x0c, Buffer.from(name)))))
  const validity = sequence(der(0x17, Buffer.from('200101000000Z')), der(0x17, Buffer.from('491231235959Z')))
  const altName = sequence(der(0x82, Buffer.from(name)))
  const extensions = der(0xa3, sequence(sequence(der(0x06, [0x55, 0x1d, 0x11]), der(0x04, altName))))
  const body = sequence(
    der(0xa0, der(0x02, [2])),
    der(0x02, [1]),
    algorithm,
    subject,
    validity,
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    extensions,
  )
  const signature = der(0x03, Buffer.concat([Buffer.from([0]), sign('sha256', body, privateKey)]))
  const lines =
    sequence(body, algorithm, signature)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return {
    key: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    cert: `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`,
  }
}

function der(tag: number, content: Uint8Array | readonly number[]): Buffer {
  const bytes = Buffer.from(content)
  const length =
    bytes.length < 128
      ? [bytes.length]
      : bytes.length < 256
        ? [0x81, bytes.length]
        : [0x82, bytes.length >> 8, bytes.length & 255]
  return Buffer.concat([Buffer.from([tag, ...length]), bytes])
}

function sequence(...parts: Uint8Array[]): Buffer {
  return der(0x30, Buffer.concat(parts))
}
