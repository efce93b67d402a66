import { type Static, Type } from 'typebox'
import { TerminalError } from '../sdk/errors.js'
import { checkPath, findRepository, type Git, gitIn, resolveCommit } from './git.js'
import { cutText, type Handler, readInput, toText } from './handler.js'

export interface RepoReadOptions {
  /** Folders that are repositories or hold some; the first is the default. None: every read is refused. */
  readonly roots: readonly string[]
  /** Bytes taken from git for one job. */
  readonly maxBytes?: number
}

export const RepoReadInput = Type.Object(
  {
    op: Type.Union([
      Type.Literal('log'),
      Type.Literal('show'),
      Type.Literal('grep'),
      Type.Literal('ls'),
      Type.Literal('cat'),
    ]),
    repo: Type.Optional(Type.String({ minLength: 1, maxLength: 500, description: 'Folder below a configured root' })),
    ref: Type.Optional(Type.String({ maxLength: 250, description: 'Branch, tag or hash; HEAD if left out' })),
    path: Type.Optional(Type.String({ minLength: 1, maxLength: 1000 })),
    pattern: Type.Optional(
      Type.String({ minLength: 1, maxLength: 500, pattern: '^[^\\u0000\\n]*$', description: 'Plain text to find' }),
    ),
    regex: Type.Optional(Type.Boolean({ description: 'grep only: the pattern is an extended regular expression' })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'Commits, matches or entries' })),
  },
  { additionalProperties: false },
)
export type RepoReadInput = Static<typeof RepoReadInput>

export interface Commit {
  hash: string
  author: string
  /** ISO 8601 with the author's offset. */
  at: string
  subject: string
}

export type RepoReadResult =
  | { op: 'log'; commits: Commit[]; truncated: boolean }
  | { op: 'show'; commit: Commit; patch: string; truncated: boolean }
  | { op: 'grep'; commit: string; matches: { path: string; line: number; text: string }[]; truncated: boolean }
  | {
      op: 'ls'
      commit: string
      entries: { path: string; type: string; mode: string; size: number | null }[]
      truncated: boolean
    }
  | { op: 'cat'; commit: string; path: string; content: string; encoding: 'utf8' | 'base64'; truncated: boolean }

const DEFAULT_BYTES = 256 * 1024
const LINE_CHARS = 500

/**
 * `job.repo.read`: reads commits, trees, files and matches from a git repository's object store. Nothing is checked out,
 * fetched or run. A result past the byte or count limit says `truncated`.
 * @throws TerminalError `invalid_input` | `repo_not_found` | `ref_not_found` | `path_not_found` | `git_failed` | `not_configured`; TransientError `timeout` | `aborted`
 */
export function repoRead(options: RepoReadOptions): Handler<RepoReadResult> {
  return async (job, ctx) => {
    const input = readInput<RepoReadInput>(RepoReadInput, job.input)
    const path = input.path === undefined ? undefined : checkPath(input.path)
    const repository = await findRepository(options.roots, input.repo)
    const git = gitIn(repository, ctx, options.maxBytes ?? DEFAULT_BYTES)
    const hash = await resolveCommit(git, input.ref ?? 'HEAD')
    switch (input.op) {
      case 'log':
        return log(git, hash, path, input)
      case 'show':
        return show(git, hash, path)
      case 'grep':
        return grep(git, hash, path, input)
      case 'ls':
        return ls(git, hash, path, input)
      case 'cat':
        return cat(git, hash, path)
    }
  }
}

const COMMIT_FORMAT = '--format=%H%x00%an%x00%aI%x00%s'
/** The commit is described as it is stored: no mailmap, no signature check, no local encoding. */
const LOG_FLAGS = [
  '-z',
  '--no-color',
  '--no-show-signature',
  '--no-mailmap',
  '--no-ext-diff',
  '--no-textconv',
  '--encoding=UTF-8',
]

async function log(git: Git, hash: string, path: string | undefined, input: RepoReadInput): Promise<RepoReadResult> {
  const limit = input.limit ?? 20
  const search = input.pattern === undefined ? [] : ['--fixed-strings', `--grep=${input.pattern}`]
  const outcome = await git([
    'log',
    ...LOG_FLAGS,
    COMMIT_FORMAT,
    `--max-count=${limit + 1}`,
    ...search,
    hash,
    '--',
    ...below(path),
  ])
  const fields = completeRecords(outcome.stdout.rawText(), '\0', outcome.stdout.truncated)
  const commits: Commit[] = []
  for (let i = 0; i + 3 < fields.length; i += 4) commits.push(commitOf(fields.slice(i, i + 4)))
  return { op: 'log', commits: commits.slice(0, limit), truncated: outcome.stdout.truncated || commits.length > limit }
}

async function show(git: Git, hash: string, path: string | undefined): Promise<RepoReadResult> {
  const head = await git(['log', ...LOG_FLAGS, COMMIT_FORMAT, '--max-count=1', hash, '--'])
  const patch = await git([
    'show',
    ...LOG_FLAGS.slice(1),
    '--format=',
    '--patch',
    '--submodule=short',
    '--ignore-submodules=none',
    hash,
    '--',
    ...below(path),
  ])
  const commit = commitOf(head.stdout.rawText().split('\0'))
  return { op: 'show', commit, patch: patch.stdout.text(), truncated: patch.stdout.truncated }
}

async function grep(git: Git, hash: string, path: string | undefined, input: RepoReadInput): Promise<RepoReadResult> {
  if (input.pattern === undefined) throw new TerminalError('invalid_input', '/pattern is needed for grep')
  if (input.regex) checkRegex(input.pattern)
  const limit = input.limit ?? 100
  const flags = [
    '-n',
    '-z',
    '-I',
    '--full-name',
    '--no-column',
    '--no-color',
    '--no-textconv',
    '--no-recurse-submodules',
    '--threads=1',
  ]
  const outcome = await git(
    ['grep', ...flags, input.regex ? '-E' : '-F', '-e', input.pattern, hash, '--', ...below(path)],
    [0, 1],
  )
  const matches = completeRecords(outcome.stdout.rawText(), '\n', outcome.stdout.truncated).map((line) => {
    const [place = '', number = '', ...text] = line.split('\0')
    return { path: place.slice(hash.length + 1), line: Number(number), text: cutText(text.join('\uFFFD'), LINE_CHARS) }
  })
  return {
    op: 'grep',
    commit: hash,
    matches: matches.slice(0, limit),
    truncated: outcome.stdout.truncated || matches.length > limit,
  }
}

/**
 * git hands the expression to the system's regcomp, where `(a{1,255}){1,255}` takes gigabytes and a back-reference
 * exponential time. Without those two the automaton is linear in the expression.
 */
function checkRegex(pattern: string): void {
  if (/[{}]|\\[0-9]/.test(pattern))
    throw new TerminalError('invalid_input', '/pattern may not use { } or back-references')
}

async function ls(git: Git, hash: string, path: string | undefined, input: RepoReadInput): Promise<RepoReadResult> {
  const limit = input.limit ?? 500
  // The trailing slash lists what is in the folder rather than the folder.
  const outcome = await git(['ls-tree', '-z', '--long', '--full-tree', hash, '--', ...below(path && `${path}/`)])
  const records = completeRecords(outcome.stdout.rawText(), '\0', outcome.stdout.truncated)
  if (path !== undefined && records.length === 0)
    throw new TerminalError('path_not_found', 'no such folder in this commit')
  const entries = records.map((record) => {
    const tab = record.indexOf('\t')
    const [mode = '', type = '', , size = '-'] = record.slice(0, tab).split(/ +/)
    return { path: record.slice(tab + 1), type, mode, size: size === '-' ? null : Number(size) }
  })
  return {
    op: 'ls',
    commit: hash,
    entries: entries.slice(0, limit),
    truncated: outcome.stdout.truncated || entries.length > limit,
  }
}

async function cat(git: Git, hash: string, path: string | undefined): Promise<RepoReadResult> {
  if (path === undefined) throw new TerminalError('invalid_input', '/path is needed for cat')
  const type = await git(['cat-file', '-t', `${hash}:${path}`], [0, 128])
  if (type.stdout.text().trim() !== 'blob') throw new TerminalError('path_not_found', 'no such file in this commit')
  const outcome = await git(['cat-file', 'blob', `${hash}:${path}`])
  const bytes = outcome.stdout.buffer()
  const binary = bytes.includes(0)
  return {
    op: 'cat',
    commit: hash,
    path,
    content: binary ? bytes.toString('base64') : toText(bytes),
    encoding: binary ? 'base64' : 'utf8',
    truncated: outcome.stdout.truncated,
  }
}

function below(path: string | undefined): string[] {
  return path === undefined ? [] : [path]
}

function commitOf(fields: readonly string[]): Commit {
  const [hash = '', author = '', at = '', subject = ''] = fields
  return { hash, author, at, subject: cutText(subject, LINE_CHARS) }
}

/** Records end with `end`; what follows the last one is a record the limit cut. */
function completeRecords(text: string, end: string, cut: boolean): string[] {
  const records = text.split(end)
  const last = records.pop()
  return cut || last === '' || last === undefined ? records : [...records, last]
}
