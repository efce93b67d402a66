/** A runbook as it is written: docs/operating/README.md says what its parts are to a reader. */
export interface Runbook {
  page: string
  /** Its `##` headings, in order. */
  parts: string[]
  /** Role of whoever is on call for it: the first one named under "Who". */
  role: string
  steps: Step[]
  text: string
}

/** One command and what the page says is seen then. */
export interface Step {
  page: string
  line: number
  command: string
  /** Who types it: a role, or a name the scene knows. */
  as: string
  exit: number
  /** It does not end by itself: a server, a worker. */
  stays: boolean
  /** What befalls the machine just before, which is nobody's command: named by the scene. */
  when: string | null
  seen: string[]
}

export const PARTS = ['When', 'Who', 'Steps', 'How to know it is over', 'Afterwards']

interface Fence {
  line: number
  info: string[]
  body: string[]
}

/** Throws where a command has no output beside it, or an output no command. */
export function readRunbook(page: string, text: string): Runbook {
  const parts = [...text.matchAll(/^## (.+)$/gm)].map(([, title]) => title as string)
  const who = /^## Who\n([\s\S]*?)^## /m.exec(text)?.[1] ?? ''
  const role = /`(operator|admin|approver)`/.exec(who)?.[1] ?? 'operator'
  const fences = fencesOf(text)
  const steps: Step[] = []
  for (const [at, { info, body, line }] of fences.entries()) {
    const [language, ...words] = info
    if (language === 'text' && fences[at - 1]?.info[0] !== 'sh')
      throw new Error(`${page}:${line}: what is this seen of?`)
    if (language !== 'sh') continue
    const next = fences[at + 1]
    if (next?.info[0] !== 'text') throw new Error(`${page}:${line}: what is seen then?`)
    if (next.body.length === 0 || next.body.every((each) => !/[\p{L}\p{N}]/u.test(each.replaceAll(/\$\w+/g, ''))))
      throw new Error(`${page}:${next.line}: that is seen of anything`)
    const commands = body.join('\n').replaceAll('\\\n', ' ').split('\n')
    if (commands.length !== 1) throw new Error(`${page}:${line}: one command to a block`)
    const options = new Set(words.filter((word) => /^(exit=\d+|when=[a-z]+|stays)$/.test(word)))
    const option = (name: string) => [...options].find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1)
    steps.push({
      page,
      line,
      command: commands[0] as string,
      as: words.find((word) => !options.has(word)) ?? role,
      exit: Number(option('exit') ?? 0),
      stays: options.has('stays'),
      when: option('when') ?? null,
      seen: next.body.filter((each) => each.trim() !== ''),
    })
  }
  return { page, parts, role, steps, text }
}

function fencesOf(text: string): Fence[] {
  const fences: Fence[] = []
  let open: (Fence & { indent: number }) | null = null
  for (const [at, line] of text.split('\n').entries()) {
    const [, indent = '', info = ''] = /^( *)```(.*)$/.exec(line) ?? []
    if (open === null) {
      if (line.trimStart().startsWith('```'))
        open = { line: at + 1, info: info.trim().split(/\s+/), body: [], indent: indent.length }
    } else if (line.trim() === '```') {
      fences.push(open)
      open = null
    } else open.body.push(line.slice(open.indent))
  }
  return fences
}

export type Known = Record<string, string>

/**
 * Whether each line of the page is in the output, in this order; others may stand between. `…` is anything, blanks are as many as there are,
 * and `$NAME` is what it was before, or, where it first comes up, the word that is read off here. Null: it is all there.
 */
export function missing(seen: readonly string[], output: string, known: Known): string | null {
  const lines = output.split('\n').map((line) => line.trim())
  const found: Known = {}
  let from = 0
  for (const wanted of seen) {
    const at = lines.findIndex((line, n) => {
      if (n < from) return false
      const match = pattern(wanted, { ...known, ...found }).exec(line)
      if (match !== null) Object.assign(found, match.groups)
      return match !== null
    })
    if (at < 0) return wanted
    from = at + 1
  }
  Object.assign(known, found)
  return null
}

const escaped = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\/]/g, '\\$&').replaceAll(/\s+/g, '\\s+')

function pattern(wanted: string, known: Known): RegExp {
  const named = new Set<string>()
  const source = wanted
    .trim()
    .split(/(\s*…\s*|\$[A-Z][A-Z_]*)/)
    .map((piece) => {
      if (piece.trim() === '…') return '.*'
      if (!/^\$[A-Z]/.test(piece)) return escaped(piece)
      const name = piece.slice(1)
      if (known[name] !== undefined) return escaped(known[name])
      if (named.has(name)) return `\\k<${name}>`
      named.add(name)
      return `(?<${name}>[^\\s,()]+)`
    })
    .join('')
  return new RegExp(`^${source}$`)
}
