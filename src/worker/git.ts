import { readFile, realpath, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { TerminalError, TransientError } from '../sdk/errors.js'
import type { HandlerContext } from './handler.js'
import { isInside, resolveInside } from './paths.js'
import { type ProcessOutcome, runProcess, SpawnError } from './process.js'

/**
 * Settings a repository could use to make a read run a program or open a connection. A command-line setting beats the
 * repository's own; GIT_ALLOW_PROTOCOL below beats even `protocol.<name>.allow`.
 */
const HARMLESS = [
  'core.fsmonitor=false',
  'core.hooksPath=/dev/null',
  'protocol.allow=never',
  'core.pager=cat',
  'log.showSignature=false',
  'submodule.recurse=false',
  'core.alternateRefsCommand=',
  'gc.auto=0',
  'maintenance.auto=false',
  'core.quotePath=false',
].flatMap((setting) => ['-c', setting])

/** Built, not inherited: none of the worker's GIT_* variables (or secrets) reach git. */
const ENVIRONMENT = {
  PATH: '/usr/local/bin:/usr/bin:/bin',
  HOME: '/nonexistent',
  LC_ALL: 'C.UTF-8',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_ALLOW_PROTOCOL: 'none',
  GIT_NO_LAZY_FETCH: '1',
  GIT_OPTIONAL_LOCKS: '0',
  GIT_TERMINAL_PROMPT: '0',
  GIT_NO_REPLACE_OBJECTS: '1',
  GIT_ATTR_NOSYSTEM: '1',
}

export interface Repository {
  /** Work tree, or the bare repository itself. */
  readonly root: string
  /** Passed to git outright: git then neither searches parent folders nor trusts a folder for being near. */
  readonly gitDir: string
}

/** Runs git; `ok` lists the exit codes that are an answer (grep says 1 for "nothing found"). */
export type Git = (args: readonly string[], ok?: readonly number[]) => Promise<ProcessOutcome>

/**
 * Finds a repository by name. Without a name it is the first root itself; a name is a folder below one of the roots.
 * Both the folder and the git directory it points to must lie inside the root, after links are followed.
 * @throws TerminalError `repo_not_found` | `not_configured`
 */
export async function findRepository(roots: readonly string[], name: string | undefined): Promise<Repository> {
  if (roots.length === 0) throw new TerminalError('not_configured', 'this worker has no repositories')
  for (const configured of name === undefined ? roots.slice(0, 1) : roots) {
    const root = await realpath(configured).catch(() => null)
    const folder = root === null ? null : await resolveInside(root, name ?? '.')
    if (root === null || folder === null) continue
    const gitDir = await findGitDir(folder)
    // The root was named by whoever runs the worker, so a linked work tree is fine there; below it anybody may have
    // written the link.
    if (gitDir !== null && (folder === root || isInside(root, gitDir))) return { root: folder, gitDir }
  }
  throw new TerminalError(
    'repo_not_found',
    name === undefined ? 'the first root is no git repository' : 'no git repository of this name',
  )
}

async function findGitDir(folder: string): Promise<string | null> {
  const dotGit = join(folder, '.git')
  const kind = await stat(dotGit).catch(() => null)
  if (kind?.isDirectory()) return realpath(dotGit)
  if (kind?.isFile()) {
    const target = /^gitdir: ([^\0\n]+)\n*$/.exec(await readFile(dotGit, 'utf8'))?.[1]
    return target === undefined ? null : realpath(resolve(folder, target)).catch(() => null)
  }
  const bare = await stat(join(folder, 'HEAD')).catch(() => null)
  return bare?.isFile() ? folder : null
}

/** git in this repository, bounded by the job's time and by `maxBytes` of output. */
export function gitIn(repository: Repository, ctx: HandlerContext, maxBytes: number): Git {
  return async (args, ok = [0]) => {
    const outcome = await runProcess({
      file: 'git',
      args: ['--no-pager', `--git-dir=${repository.gitDir}`, '--literal-pathspecs', ...HARMLESS, ...args],
      cwd: repository.root,
      env: ENVIRONMENT,
      signal: ctx.signal,
      timeoutMs: ctx.remainingMs(),
      maxBytes,
      overflow: 'stop',
    }).catch((error: unknown) => {
      if (error instanceof SpawnError) throw new TerminalError('git_unavailable', error.message)
      throw error
    })
    if (outcome.endedBy === 'timeout')
      throw new TransientError('timeout', 'git took longer than the time of this attempt')
    if (outcome.endedBy === 'abort') throw new TransientError('aborted', 'the attempt was ended')
    if (outcome.endedBy === 'exit' && !ok.includes(outcome.exitCode ?? -1))
      throw new TerminalError(
        'git_failed',
        outcome.stderr.tailText(1000) || `git ended with ${outcome.exitCode ?? outcome.signal}`,
      )
    return outcome
  }
}

/**
 * Branches, tags, hashes and `~n` `^n` steps from them. No ranges, no `rev:path`, no reflog, no `:/text` search: after
 * this a ref is resolved to a hash once, and only the hash is used.
 */
const REF = /^[A-Za-z0-9_][A-Za-z0-9_./+-]{0,199}([~^][0-9]{0,4}){0,8}$/

/** @throws TerminalError `invalid_input` | `ref_not_found` */
export async function resolveCommit(git: Git, ref: string): Promise<string> {
  if (!REF.test(ref) || ref.includes('..'))
    throw new TerminalError('invalid_input', '/ref is no plain branch, tag or hash')
  const outcome = await git(['rev-parse', '--verify', '--quiet', '--end-of-options', `${ref}^{commit}`], [0, 1, 128])
  const hash = outcome.stdout.text().trim()
  if (!/^[0-9a-f]{40,64}$/.test(hash)) throw new TerminalError('ref_not_found', 'no such commit')
  return hash
}

/**
 * A path inside the repository. It only ever meets git's object store, never the file system; the check keeps it a plain
 * name there too.
 * @throws TerminalError `invalid_input`
 */
export function checkPath(path: string): string {
  const plain = path.replace(/\/+$/, '')
  if (plain.includes('\0') || plain.split('/').some((part) => part === '..' || part === '.' || part === ''))
    throw new TerminalError('invalid_input', '/path must be relative to the repository, without . or ..')
  return plain
}
