import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { originOf } from '../core/audit/checkpoint.js'
import type { AuditSource } from '../core/audit/export.js'
import { formatVkey, readSigningKey } from '../core/audit/keys.js'
import { Problem } from '../errors.js'
import { systemClock } from '../platform/clock.js'
import { lockDirectory } from '../platform/db/lock.js'
import { openPglite } from '../platform/db/pglite.js'
import { auditTenants } from '../store/audit.js'
import { auditSource } from '../store/audit-source.js'

/** A log that no server holds open, for offline verification. Throws DirectoryLocked while one does. */
export interface OfflineAudit {
  tenants(): Promise<string[]>
  source(tenant: string): Promise<AuditSource>
  /** Verifier key of the installation, as its signing key file says it. */
  key(tenant: string): string
  close(): Promise<void>
}

export async function openAudit(dataDir: string, signingKeyFile = join(dataDir, 'signing.key')): Promise<OfflineAudit> {
  if (!existsSync(join(dataDir, 'pgdata'))) throw new Problem('not_found', `${dataDir} holds no database`)
  const { publicKey } = readSigningKey(readFileSync(signingKeyFile, 'utf8'))
  const lock = await lockDirectory(dataDir)
  try {
    const db = await openPglite(join(dataDir, 'pgdata'))
    return {
      tenants: () => auditTenants(db),
      source: (tenant) => auditSource(db, tenant, publicKey, systemClock.now()),
      key: (tenant) => formatVkey(originOf(tenant), publicKey),
      async close() {
        await db.close()
        await lock.release()
      },
    }
  } catch (error) {
    await lock.release()
    throw error
  }
}
