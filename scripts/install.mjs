import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { must, root, step } from './process.mjs'

/**
 * Paths of the packages that `package-lock.json` wants and `node_modules` does not hold in that version.
 * npm writes `node_modules/.package-lock.json` last, so an install that was killed half-way shows here as missing;
 * comparing the content and not the age of the two files keeps a fresh `git checkout` from reinstalling everything.
 */
export function missingPackages(wanted, installed, { platform, arch }) {
  const missing = []
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '' || entry.link) continue
    if (entry.optional && !isFor(entry, platform, arch)) continue
    const found = installed[path]
    if (found?.version !== entry.version || found?.integrity !== entry.integrity) missing.push(path)
  }
  return missing
}

/**
 * Whether npm must have installed an optional package here. Only a binary for exactly this system counts: those for a
 * C library (`libc`) come in pairs of which one is right, and the rest are dependencies of binaries for other systems.
 */
function isFor(entry, platform, arch) {
  return Boolean(entry.os?.includes(platform) && entry.cpu?.includes(arch) && !entry.libc)
}

function packagesOf(file) {
  if (!existsSync(file)) return {}
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages ?? {}
  } catch {
    return {} // a torn file says the same as none: install
  }
}

/**
 * Brings the node_modules of a folder to what its lock file says, or does nothing; `onStart` is told the pid of npm. Scripts of
 * packages run for our own dependencies only.
 */
export async function install(onStart, folder = root) {
  const wanted = packagesOf(join(folder, 'package-lock.json'))
  const installed = packagesOf(join(folder, 'node_modules/.package-lock.json'))
  if (missingPackages(wanted, installed, process).length === 0) return

  const count = Object.entries(wanted).filter(
    ([path, entry]) => path !== '' && (!entry.optional || isFor(entry, process.platform, process.arch)),
  ).length
  await step(`installing ${count} packages (npm ci)`, () => {
    // dev packages always: the compiler is one of them, and NODE_ENV=production would leave it out
    const args = ['ci', '--include=dev', '--no-audit', '--no-fund']
    if (folder !== root) args.push('--prefix', folder, '--ignore-scripts')
    const npm = process.env.npm_execpath
    return npm?.endsWith('npm-cli.js')
      ? must(process.execPath, [npm, ...args], { onStart })
      : must('npm', args, { onStart })
  })
}
