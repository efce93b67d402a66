import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { type Config, DEFAULT_TENANT } from '../config.js'
import { shortForm } from '../core/binding.js'
import { Problem } from '../errors.js'
import { activateFile } from '../journey/activate.js'
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

/** Makes the policy on disk the active one if it changed. A broken one is logged, changes nothing and is thrown. */
export async function loadPolicy(world: World, config: Config, log: Log): Promise<{ activated: boolean }> {
  try {
    const activated = (await activateFile(world, DEFAULT_TENANT, policyFiles(config.policy))) !== null
    if (activated) log.info({ file: config.policy }, 'the policy on disk is active')
    return { activated }
  } catch (error) {
    const faults = error instanceof Problem ? error.extra.faults : undefined
    log.error({ err: error, file: config.policy, faults }, 'the policy on disk is broken; the active one stays')
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
