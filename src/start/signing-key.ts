import { chmodSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { type Config, ConfigError } from '../config.js'
import { base64 } from '../core/audit/hash.js'
import { readSigningKey, type SigningKey, signingKeyPem } from '../core/audit/keys.js'
import type { Db } from '../platform/db/seam.js'
import type { Ids } from '../platform/ids.js'
import { writerKeys } from '../store/audit.js'

/**
 * The installation's key: made once, 0600. Whoever holds it can sign the log, so it never enters the database. Where there is a
 * log and no key, a new one would sign a history it cannot vouch for, and what is sealed could never be opened. On Postgres it is
 * never made: two nodes would make two.
 */
export async function signingKey(config: Config, ids: Ids, db: Db): Promise<{ key: SigningKey; pem: string }> {
  const file = config.signingKey
  const wrong = (fault: string) => new ConfigError('SALLYPORT_SIGNING_KEY', `names ${file}: ${fault}`, './signing.key')
  const known = await writerKeys(db)
  try {
    if (!existsSync(file)) {
      if (known.length > 0) throw wrong('it is gone, and the log is signed with it; put it back')
      if (db.engine === 'postgres') throw wrong('there is no such file; `openssl genpkey -algorithm ed25519` makes one')
      // By rename: killed in between, it must not leave half a key.
      writeFileSync(`${file}.new`, signingKeyPem(ids.bytes(32)), { mode: 0o600 })
      renameSync(`${file}.new`, file)
    }
    if (db.engine === 'pglite') chmodSync(file, 0o600)
    const pem = readFileSync(file, 'utf8')
    const key = readSigningKey(pem)
    if (known.length > 0 && !known.includes(base64(key.publicKey)))
      throw wrong('it is not the key that the log in this database is signed with')
    return { key, pem }
  } catch (error) {
    if (error instanceof ConfigError) throw error
    throw wrong((error as Error).message)
  }
}
