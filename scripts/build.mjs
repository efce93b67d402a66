import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, step, tool } from './process.mjs'

const STAMP = join(root, 'dist/.stamp')

/** Files below `folder` whose name ends in `suffix`, as sorted paths relative to it. */
function filesBelow(folder, suffix) {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith(suffix))
    .sort()
}

/** Hash of everything dist/ is made from. Content, not mtimes: a checkout or a copy must not look like a change. */
function fingerprint(sources) {
  const hash = createHash('sha256')
  for (const file of ['tsconfig.json', 'package-lock.json', ...sources.map((name) => join('src', name))]) {
    const bytes = readFileSync(join(root, file))
    hash.update(`${file}\0${bytes.length}\0`).update(bytes)
  }
  return hash.digest('hex')
}

/** Compiles src/ to dist/ when a source, the compiler or its settings changed; throws with the compiler's words. */
export async function build() {
  const sources = filesBelow(join(root, 'src'), '.ts').filter((name) => !name.endsWith('.test.ts'))
  const wanted = fingerprint(sources)
  if (existsSync(STAMP) && readFileSync(STAMP, 'utf8') === wanted) return

  await step(`building ${sources.length} files (tsc)`, async () => {
    rmSync(STAMP, { force: true })
    await tool('typescript/bin/tsc', ['-p', 'tsconfig.json', '--noEmitOnError'])
    removeOrphans(sources)
    const main = join(root, 'dist/cli/main.js')
    if (existsSync(main)) chmodSync(main, 0o755)
    mkdirSync(join(root, 'dist'), { recursive: true })
    writeFileSync(STAMP, wanted)
  })
}

/**
 * Removes what an earlier build made of a file that is gone. Emptying dist/ first was rejected: a server running from
 * this folder loads its threads from there, and would find nothing for the length of a build.
 */
function removeOrphans(sources) {
  const kept = new Set(sources.map((name) => name.replace(/\.ts$/, '')))
  const dist = join(root, 'dist')
  for (const name of filesBelow(dist, '')) {
    const stem = name.match(/^(.+?)(\.d\.ts|\.js\.map|\.js)$/)?.[1]
    if (stem !== undefined && !name.startsWith('console') && !kept.has(stem)) rmSync(join(dist, name))
  }
}
