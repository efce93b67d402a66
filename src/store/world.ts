import type { TokenKey } from '../core/token.js'
import type { Bus } from '../platform/bus/seam.js'
import type { Clock } from '../platform/clock.js'
import type { Db } from '../platform/db/seam.js'
import type { Ids } from '../platform/ids.js'
import type { Agents } from './agents.js'
import type { ArchiveFolder } from './archive-folder.js'
import type { Granted } from './granted.js'
import type { Grants } from './grants.js'
import type { Halts } from './halts.js'
import type { Ledger } from './ledger/queue.js'
import type { Directories } from './people.js'
import type { Policies } from './policies.js'
import type { Refusals } from './refusals.js'
import type { Rollouts } from './rollouts.js'
import type { Screener } from './screener.js'
import type { Sealer } from './sealer.js'

/** What every use case is given: the store, the ledger that alone writes to it, and the seams. Built once, in main.ts. */
export interface World {
  db: Db
  ledger: Ledger
  granted: Granted
  policies: Policies
  agents: Agents
  people: Directories
  grants: Grants
  halts: Halts
  rollouts: Rollouts
  refusals: Refusals
  sealer: Sealer
  /** Signs the short-lived tokens that are minted from keys. */
  tokens: TokenKey
  screener: Screener
  /** Where bodies of old audit tiles are; null: this node sees none. */
  archive: ArchiveFolder | null
  bus: Bus
  clock: Clock
  ids: Ids
}
