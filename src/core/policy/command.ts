/**
 * Classifies a shell command line, as CEL `command_class(input.command)`: `safe`, `destructive` or `unknown`.
 *
 * Only `safe` may open a door. It is an allowlist: every program of the pipeline is a known reader, called with options
 * known to write and run nothing, and the line holds no character a shell could expand, redirect or substitute. Looking
 * for bad words instead was rejected: `$(…)`, quoting, `\rm`, `base64 -d | sh` and the next trick are endless.
 * `destructive` is a courtesy to the reader of an approval and promises nothing: a command that destroys may well be
 * `unknown`, which a policy must treat the same way.
 *
 * Limits: it judges the line, not the machine. A program replaced on the worker's PATH, a git repository whose own
 * configuration names a diff or fsmonitor program, or a device file passed to `cat` is out of its sight.
 */
export type CommandClass = 'safe' | 'destructive' | 'unknown'

/** Longer lines are not what a person would call a simple command. */
const MAX_COMMAND = 4096

export function commandClass(command: string): CommandClass {
  if (command.length > MAX_COMMAND) return 'unknown'
  const stages = pipeline(command)
  if (stages?.every(harmless)) return 'safe'
  return looksDestructive(command) ? 'destructive' : 'unknown'
}

/** Characters that mean nothing to a shell outside quotes, and within them (printable ASCII without $ ` \ and quotes). */
const PLAIN = /^[A-Za-z0-9 _.,:/@%+=^|'"-]$/
const QUOTED = /^[A-Za-z0-9 _.,:/@%+=^|*?;&<>(){}[\]#~!-]$/

/** Splits on blanks and single `|`; null where anything in it could mean more than the words themselves. */
function pipeline(command: string): string[][] | null {
  const stages: string[][] = [[]]
  let word: string | null = null
  let quote: string | null = null
  const endWord = () => {
    if (word !== null) stages.at(-1)!.push(word)
    word = null
  }
  for (const char of command) {
    if (quote !== null) {
      if (char === quote) quote = null
      else if (QUOTED.test(char)) word += char
      else return null
    } else if (!PLAIN.test(char)) return null
    else if (char === "'" || char === '"') {
      quote = char
      word ??= ''
    } else if (char === ' ') endWord()
    else if (char === '|') {
      endWord()
      stages.push([])
    } else word = (word ?? '') + char
  }
  endWord()
  return quote === null && stages.every((words) => words.length > 0) ? stages : null
}

type ArgumentTest = (args: string[]) => boolean

const anything: ArgumentTest = () => true
const nothing: ArgumentTest = (args) => args.length === 0

/** Refuses the named options in every spelling: `-o`, `-ofile`, `-xo`, `--output`, `--output=f`, `--outp`. */
function without(short: string, ...long: string[]): ArgumentTest {
  return (args) =>
    args.every((arg) => {
      if (arg.startsWith('--')) {
        const name = arg.slice(2).split('=')[0]!
        return name === '' || !long.some((option) => option.startsWith(name))
      }
      return !arg.startsWith('-') || ![...arg.slice(1)].some((letter) => short.includes(letter))
    })
}

/** find: only tests that look. Everything that runs, deletes or writes is simply not in the list. */
const FIND = new Set(
  '-name -iname -path -ipath -type -maxdepth -mindepth -mtime -mmin -newer -size -print -not -a -o -and -or -empty -L -P -prune'.split(
    ' ',
  ),
)
const findReads: ArgumentTest = (args) => args.every((arg) => !arg.startsWith('-') || FIND.has(arg))

/** git: readers only, and none of the options that name a program or a file to write. */
const GIT = new Set(
  'log show status diff blame grep ls-files ls-tree rev-parse describe shortlog cat-file rev-list'.split(' '),
)
const gitOptions = without(
  'O',
  'output',
  'open-files-in-pager',
  'ext-diff',
  'textconv',
  'exec',
  'filters',
  'paginate',
  'show-signature',
)
const gitReads: ArgumentTest = ([verb, ...args]) => verb !== undefined && GIT.has(verb) && gitOptions(args)

const PROGRAMS = new Map<string, ArgumentTest>([
  ['basename', anything],
  ['cat', anything],
  ['cut', anything],
  ['date', (args) => args.every((arg) => /^(-u|--utc|\+.*)$/.test(arg))],
  ['df', anything],
  ['diff', without('', 'output')],
  ['dirname', anything],
  ['du', anything],
  ['echo', anything],
  ['false', nothing],
  ['find', findReads],
  ['free', anything],
  ['git', gitReads],
  ['grep', anything],
  ['head', anything],
  ['hostname', nothing],
  ['id', anything],
  ['ls', anything],
  ['md5sum', anything],
  ['ps', anything],
  ['pwd', anything],
  ['readlink', anything],
  ['realpath', anything],
  ['sha256sum', anything],
  ['sort', without('oT', 'output', 'compress-program', 'temporary-directory')],
  ['stat', anything],
  ['tail', anything],
  ['tr', anything],
  ['true', nothing],
  ['uname', anything],
  ['uptime', anything],
  ['wc', anything],
  ['whoami', nothing],
])

function harmless([program, ...args]: string[]): boolean {
  return program !== undefined && (PROGRAMS.get(program)?.(args) ?? false)
}

/** Words that destroy. Each alternative is bounded, so the search is linear in the (bounded) line. */
const DESTROYS =
  /\b(rm|rmdir|shred|dd|mkfs(\.[a-z0-9]{1,8})?|fdisk|parted|wipefs|truncate|shutdown|reboot|halt|poweroff|kill|killall|pkill|chmod|chown|userdel|iptables|umount)\b|\b(drop|truncate) {1,4}(table|database|schema|user|index|view)\b|\bdelete {1,4}from\b|\bgit\b.{0,80}\b(push\b.{0,80}(--force|-f\b|--mirror|--delete)|reset\b.{0,80}--hard|clean\b)|\bkubectl\b.{0,80}\bdelete\b|\bterraform\b.{0,80}\bdestroy\b|-delete\b|:\(\)|> {0,4}\/dev\/|\|.{0,80}\b(sh|bash|zsh|dash|python3?|perl|node)\b|\b(sh|bash|zsh|dash)\b {1,4}-[a-z]{0,4}c\b|\beval\b/

function looksDestructive(command: string): boolean {
  // Quotes and backslashes inside words are how `r''m` and `\rm` are written.
  const plain = command
    .replace(/['"\\]/g, '')
    .replace(/\s+/g, ' ')
    .toLowerCase()
  return DESTROYS.test(plain)
}
