/** A string or template literal: its text (each `${…}` of a template as one space) and where it starts. */
export interface Literal {
  at: number
  text: string
}

export interface Scanned {
  /** The source with comments, regex bodies and literal texts blanked: as long as the source, so offsets agree. */
  code: string
  literals: Literal[]
}

/** After one of these words a `/` starts a regex; after any other word, a number, `)` or `]` it divides. */
const BEFORE_REGEX = /(?:^|[^\w$)\]]|\b(?:return|typeof|case|in|of|do|else|void|delete|throw|new|await|yield))$/

/**
 * Splits TypeScript into code and literals, so that a word in a comment or a message is never taken for code.
 * Written here since the compiler's own parser has no stable interface in version 7; it knows as much of the grammar
 * as that needs, and linear time is by construction: every character is visited once, template expressions included.
 */
export function scan(source: string): Scanned {
  const code = source.split('')
  const literals: Literal[] = []
  /** Brace depth of each template expression we are in; closing brace number 0 goes back to its template. */
  const templates: { literal: Literal; depth: number }[] = []
  let at = 0
  /** The last characters of code before `at`, enough to tell a regex from a division. */
  let before = ''

  const blank = (from: number, to: number) => {
    for (let i = from; i < to; i++) if (code[i] !== '\n') code[i] = ' '
  }

  const templateText = (literal: Literal, from: number) => {
    let end = from
    while (end < source.length && source[end] !== '`' && !source.startsWith('${', end))
      end += source[end] === '\\' ? 2 : 1
    literal.text += source.slice(from, end)
    blank(from, end)
    if (source[end] === '`' || end >= source.length) {
      literals.push(literal)
      before = ')'
      at = end + 1
    } else {
      literal.text += ' '
      templates.push({ literal, depth: 0 })
      before = '{'
      at = end + 2
    }
  }

  while (at < source.length) {
    const char = source[at] as string
    const open = templates.at(-1)
    if (source.startsWith('//', at) || source.startsWith('/*', at)) {
      const line = source[at + 1] === '/'
      const end = source.indexOf(line ? '\n' : '*/', at + 2)
      const stop = end < 0 ? source.length : line ? end : end + 2
      blank(at, stop)
      at = stop
    } else if (char === "'" || char === '"') {
      let end = at + 1
      while (end < source.length && source[end] !== char && source[end] !== '\n') end += source[end] === '\\' ? 2 : 1
      literals.push({ at, text: source.slice(at + 1, end) })
      blank(at + 1, end)
      before = ')'
      at = end + 1
    } else if (char === '`') {
      templateText({ at, text: '' }, at + 1)
    } else if (char === '}' && open?.depth === 0) {
      templates.pop()
      templateText(open.literal, at + 1)
    } else if (char === '/' && BEFORE_REGEX.test(before) && regexEnd(source, at) > 0) {
      const end = regexEnd(source, at)
      blank(at + 1, end)
      before = ')'
      at = end + 1
    } else {
      if (open && char === '{') open.depth++
      if (open && char === '}') open.depth--
      if (!/\s/.test(char))
        before = (/\s/.test(source[at - 1] ?? ' ') && /\w/.test(before.slice(-1)) ? ' ' : before.slice(-9)) + char
      at++
    }
  }
  return { code: code.join(''), literals }
}

/** Offset of the slash that ends a regex, or -1 where the line ends first and it was a division after all. */
function regexEnd(source: string, start: number): number {
  let inClass = false
  for (let i = start + 1; i < source.length && source[i] !== '\n'; i++) {
    if (source[i] === '\\') i++
    else if (source[i] === '[') inClass = true
    else if (source[i] === ']') inClass = false
    else if (source[i] === '/' && !inClass) return i
  }
  return -1
}

/** One reference from a file to a module. `thread` is a file started as a worker thread by its URL. */
export interface Import {
  at: number
  specifier: string
  kind: 'value' | 'type' | 'thread'
}

const FROM =
  /(?<![.\w$])(?:import|export)\s+(type\s+(?!from\b))?(?:[\w$]+\s*,?\s*)?(?:\*(?:\s*as\s+[\w$]+)?|\{[^{}]*\})?\s*from\s*(?=['"])/g
const SIDE_EFFECT = /(?<![.\w$])import\s*(?=['"])/g
const DYNAMIC = /(?<![.\w$])(?:import|require)\s*\(\s*/g
const THREAD = /\bnew\s+URL\s*\(\s*(?=['"])/g

/** Every import of a scanned file; a dynamic import of something that is no literal has the specifier ''. */
export function importsOf({ code, literals }: Scanned): Import[] {
  const textAt = new Map(literals.map(({ at, text }) => [at, text]))
  const found: Import[] = []
  const collect = (pattern: RegExp, kind: (match: RegExpMatchArray) => Import['kind']) => {
    for (const match of code.matchAll(pattern)) {
      const specifier = textAt.get(match.index + match[0].length) ?? ''
      found.push({ at: match.index, specifier, kind: kind(match) })
    }
  }
  // `import { type A }` counts as a value: under verbatimModuleSyntax the import itself stays in the output
  collect(FROM, (match) => (match[1] ? 'type' : 'value'))
  collect(SIDE_EFFECT, () => 'value')
  collect(DYNAMIC, () => 'value')
  collect(THREAD, () => 'thread')
  return found.filter(({ kind, specifier }) => kind !== 'thread' || /^\.{1,2}\/.*\.js$/.test(specifier))
}
