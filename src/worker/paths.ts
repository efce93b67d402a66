import { realpath } from 'node:fs/promises'
import { isAbsolute, resolve, sep } from 'node:path'

/**
 * `name` below `root`, with every symbolic link followed before the comparison.
 * @param root an absolute, already resolved path (see realpath)
 * @returns the real path, or null where it is absolute, missing, or outside `root`
 */
export async function resolveInside(root: string, name: string): Promise<string | null> {
  if (isAbsolute(name) || name.includes('\0')) return null
  const real = await realpath(resolve(root, name)).catch(() => null)
  return real !== null && isInside(root, real) ? real : null
}

export function isInside(root: string, path: string): boolean {
  return path === root || path.startsWith(root.endsWith(sep) ? root : root + sep)
}
