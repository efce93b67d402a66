import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Config, DEFAULT_TENANT } from '../config.js'
import type { Role } from '../core/access.js'
import { createKey, newKeyText } from '../journey/keys.js'
import { listKeys } from '../store/keys.js'
import type { World } from '../store/world.js'

const FIRST_START = 'system:first-start'
/** One key of each at first start, so that a newcomer can submit, work and approve as three different principals. */
const FIRST_KEYS: Role[] = ['admin', 'agent', 'worker', 'approver']

/**
 * Keys for a newcomer, each in a file of its own. A start that was killed among them is finished by the next one; a key of the
 * configuration that is not known yet becomes an admin's, so that it can be changed there. What was revoked stays revoked.
 */
export async function firstKeys(world: World, config: Config): Promise<Record<string, string>> {
  const dir = join(config.dataDir, 'keys')
  const files = Object.fromEntries(FIRST_KEYS.map((role) => [role, join(dir, `${role}.key`)]))
  const keys = await listKeys(world.db, DEFAULT_TENANT)
  const made = keys.filter((key) => key.created_by === FIRST_START)
  const isMissing = (role: Role) => {
    if (role === 'admin' && config.adminKey !== null) return !keys.some((key) => isKeyOf(config.adminKey, key.key_id))
    return !made.some((key) => key.role === role) && (keys.length === 0 || made.length > 0)
  }
  for (const role of FIRST_KEYS.filter(isMissing)) {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    const text = role === 'admin' && config.adminKey !== null ? config.adminKey : newKeyText(world)
    // File first: a crash in between leaves a file that the next start writes again, never a key nobody has.
    writeFileSync(files[role] as string, `${text}\n`, { mode: 0o600 })
    const note = 'made at first start'
    await createKey(world, DEFAULT_TENANT, FIRST_START, { role: role as never, principal: `${role}:first`, note }, text)
  }
  return Object.fromEntries(Object.entries(files).filter(([, file]) => existsSync(file)))
}

const isKeyOf = (text: string | null, key_id: string) => text?.startsWith(`sp_${key_id.slice('key_'.length)}_`) ?? false
