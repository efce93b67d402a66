import { type FSWatcher, readdirSync, watch } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Clock } from './clock.js'

/** Editors write a file in several steps, often by renaming a new one over it: wait until it has been quiet this long. */
const QUIET_MS = 150
/** But no longer than this: in a folder where something is always written it would never be quiet. */
const LATEST_MS = 600

/**
 * Calls `changed` after the file, or anything in the folder and below, changed. The folder around it is watched too, so a file
 * or link that is replaced is seen. What is watched is looked up again after each change: new folders, and new files under old names.
 */
export function watchPath(path: string, clock: Clock, changed: () => void): () => Promise<void> {
  let cancel: (() => void) | null = null
  let latest: number | null = null
  let watchers: FSWatcher[] = []
  const close = () => {
    for (const watcher of watchers.splice(0)) watcher.close()
  }
  const look = () => {
    close()
    watchers = [dirname(path), path, ...foldersBelow(path)].flatMap((target) => watcherOf(target, later))
  }
  const fire = () => {
    cancel = null
    latest = null
    look()
    changed()
  }
  const later = () => {
    const now = clock.now()
    latest ??= now + LATEST_MS
    cancel?.()
    cancel = clock.after(Math.max(0, Math.min(QUIET_MS, latest - now)), fire)
  }
  look()
  return async () => {
    cancel?.()
    close()
  }
}

function foldersBelow(path: string): string[] {
  try {
    const all = readdirSync(path, { recursive: true, withFileTypes: true })
    return all.filter((entry) => entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name))
  } catch {
    return [] // a file, or gone for the moment
  }
}

function watcherOf(target: string, changed: () => void): FSWatcher[] {
  try {
    const watcher = watch(target, { persistent: false }, changed)
    watcher.on('error', () => {})
    return [watcher]
  } catch {
    return []
  }
}
