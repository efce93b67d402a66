import { watch } from 'node:fs'
import { dirname } from 'node:path'
import type { Clock } from './clock.js'

/** Editors write a file in several steps, often by renaming a new one over it: wait until it has been quiet this long. */
const QUIET_MS = 150

/** Calls `changed` after the file, or anything in the folder, changed. The folder around a file is watched, so a rename is seen too. */
export function watchPath(path: string, clock: Clock, changed: () => void): () => Promise<void> {
  let cancel: (() => void) | null = null
  const later = () => {
    cancel?.()
    cancel = clock.after(QUIET_MS, changed)
  }
  const watchers = [dirname(path), path].flatMap((target) => {
    try {
      const watcher = watch(target, { persistent: false, recursive: false }, later)
      watcher.on('error', () => {})
      return [watcher]
    } catch {
      return []
    }
  })
  return async () => {
    cancel?.()
    for (const watcher of watchers) watcher.close()
  }
}
