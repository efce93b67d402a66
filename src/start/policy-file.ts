import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { type Config, DEFAULT_TENANT } from '../config.js'
import { shortForm } from '../core/binding.js'
import { Problem } from '../errors.js'
import type { Log } from '../platform/log.js'
import { getSnapshot } from '../store/snapshots.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

/** A file, or every .yaml and .yml of a folder in order of name. */
export function policyFiles(path: string): { path: string; text: string }[] {
  if (!statSync(path).isDirectory()) return [{ path: path.split('/').at(-1) ?? path, text: readFileSync(path, 'utf8') }]
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.ya?ml$/.test(name))
    .sort()
    .map((name) => ({ path: relative(path, join(path, name)), text: readFileSync(join(path, name), 'utf8') }))
}

export interface PolicyLoaded {
  activated: boolean
  /** Of the approval that its activation waits for. */
  approval_id: string | null
}

/** What brings a policy of the disk into force, or asks for it; null where it is the one of the last time. */
type TakeFile = (
  tenant: string,
  files: ReturnType<typeof policyFiles>,
  forced: boolean,
) => Promise<{ activated: boolean; asked: object | null } | null>

/**
 * Makes the policy on disk the active one if it changed, or asks for it where rules of the active one have a say. A broken one, and one
 * that is denied, is logged, changes nothing and is thrown.
 */
export async function loadPolicy(take: TakeFile, config: Config, log: Log): Promise<PolicyLoaded> {
  const { policy: file, forcePolicy } = config
  try {
    const changed = await take(DEFAULT_TENANT, policyFiles(file), forcePolicy)
    if (changed === null) return { activated: false, approval_id: null }
    const { activated, asked } = changed
    const approval_id = asked !== null && 'approval_id' in asked ? String(asked.approval_id) : null
    if (activated) log.info({ file, forced: forcePolicy }, 'the policy on disk is active')
    else log.warn({ file, asked }, 'the policy on disk is not active: rules of the active one want to be asked first')
    return { activated, approval_id }
  } catch (error) {
    const faults = error instanceof Problem ? error.extra.faults : undefined
    const why = faults === undefined ? 'is not taken' : 'is broken'
    log.error({ err: error, file, faults }, `the policy on disk ${why}; the active one stays`)
    throw error
  }
}

/** Without any active snapshot a broken file stops the start; with one, it is only reported. */
export async function firstPolicy(world: World, load: () => Promise<unknown>): Promise<void> {
  try {
    await load()
  } catch (error) {
    const gate = await getGate(world.db, DEFAULT_TENANT)
    if (gate?.snapshot == null) throw error
  }
}

/** What a start says of the active policy. */
export interface PolicyInfo {
  snapshot: string
  rules: number
  warnings: number
}

export async function policyInfo(world: World): Promise<PolicyInfo> {
  const { policy } = await world.policies.active(DEFAULT_TENANT)
  const row = await getSnapshot(world.db, DEFAULT_TENANT, policy.digest)
  return {
    snapshot: shortForm(policy.digest),
    rules: policy.document.rules.length,
    warnings: Array.isArray(row?.warnings) ? row.warnings.length : 0,
  }
}
