import { posix } from 'node:path'
import { type Allowance, COMPOSERS, MAY_TELL_TIME, ROOMS } from './rooms.js'
import { type Import, importsOf, type Scanned, scan } from './scan.js'

export interface Violation {
  rule: string
  file: string
  line: number
  message: string
}

/** Sources by path from the repository's root: `src/**\/*.ts` without tests, `migrations/*.sql`. */
export type Sources = Record<string, string>

interface Parsed extends Scanned {
  file: string
  room: string
  imports: (Import & { target: string | null })[]
}

export const WARN_LINES = 400
export const MAX_LINES = 500

/** Every breach of the house rules, in the order of the files; `allowances` are taken off, and told when unused. */
export function check(sources: Sources, allowances: Allowance[] = []): Violation[] {
  const files = Object.keys(sources)
    .filter((file) => file.endsWith('.ts'))
    .sort()
    .map((file) => parse(file, sources))
  const found = [
    ...files.flatMap((file) => [
      ...importFaults(file),
      ...nameFaults(file),
      ...timeFaults(file),
      ...sqlFaults(file),
      ...lengthFaults(file),
    ]),
    ...cycles(files),
    ...migrationFaults(sources),
  ]
  const covers = (allowance: Allowance) => (violation: Violation) =>
    violation.rule === allowance.rule && violation.file === allowance.file
  const unused = allowances.filter((allowance) => !found.some(covers(allowance)))
  return [
    ...found.filter((violation) => !allowances.some((allowance) => covers(allowance)(violation))),
    ...unused.map(({ rule, file }) => ({
      rule: 'allowance',
      file,
      line: 1,
      message: `nothing needs the allowance of ${rule}`,
    })),
  ]
}

/** Files that are probably two ideas already. */
export function longFiles(sources: Sources): string[] {
  return Object.entries(sources)
    .map(([file, source]) => ({ file, lines: lineCount(source) }))
    .filter(({ file, lines }) => file.endsWith('.ts') && lines > WARN_LINES)
    .map(({ file, lines }) => `${file} has ${lines} lines`)
}

function parse(file: string, sources: Sources): Parsed {
  const scanned = scan(sources[file] as string)
  const imports = importsOf(scanned).map((found) => ({ ...found, target: targetOf(file, found.specifier, sources) }))
  return { ...scanned, file, room: roomOf(file), imports }
}

/** `src/core/policy/parse.ts` → `core`; `src/errors.ts` → `errors`. */
function roomOf(file: string): string {
  return (file.split('/')[1] ?? '').replace(/\.ts$/, '')
}

/** The file behind a relative specifier, or null where there is none. */
function targetOf(file: string, specifier: string, sources: Sources): string | null {
  if (!/^\.{1,2}\/.*\.js$/.test(specifier)) return null
  const path = posix.join(posix.dirname(file), specifier).replace(/\.js$/, '.ts')
  return Object.hasOwn(sources, path) ? path : null
}

const lineCount = (source: string) => source.split('\n').length - (source.endsWith('\n') ? 1 : 0)

const fault = (rule: string, { file, code }: Parsed, at: number, message: string): Violation => ({
  rule,
  file,
  line: code.slice(0, at).split('\n').length,
  message,
})

function importFaults(file: Parsed): Violation[] {
  return file.imports.flatMap((found) => {
    const message = faultOf(file, found)
    return message === null ? [] : [fault('import', file, found.at, message)]
  })
}

function faultOf(from: Parsed, { specifier, target, kind }: Parsed['imports'][number]): string | null {
  const { room: name } = from
  const composes = COMPOSERS.includes(name)
  const room = Object.hasOwn(ROOMS, name) ? ROOMS[name] : undefined
  if (!room && !composes) return `${name} is no room of the house`
  if (specifier === '') return 'imports something that is no literal, so nobody can tell what'

  if (specifier.startsWith('.')) {
    if (target === null) return `imports ${specifier}, which is no file of src (imports end in .js)`
    return room ? inHouseFault(name, room, target, kind) : null
  }
  if (composes || !room) return null
  if (specifier.startsWith('node:')) {
    return room.builtins === 'all' || room.builtins.includes(specifier) ? null : `${name} may not import ${specifier}`
  }
  const allowed = room.packages.some((name) => specifier === name || specifier.startsWith(`${name}/`))
  return allowed ? null : `${name} may not import the package ${specifier}`
}

function inHouseFault(name: string, room: (typeof ROOMS)[string], target: string, kind: Import['kind']): string | null {
  const other = roomOf(target)
  if (other === name) return room.apart ? `files of ${name} never import each other: ${target}` : null
  const closed = room.closed?.find((folder) => target.startsWith(`src/${folder}/`))
  if (room.may.includes(other) && (closed === undefined || kind === 'type')) return null
  if (closed !== undefined) return `${closed} is closed to ${name}: ${target}`
  if (!room.types.includes(other)) return `${name} may not import ${other}: ${target}`
  return kind === 'type' ? null : `${name} may import only types of ${other} (import type): ${target}`
}

const VAGUE = ['utils', 'util', 'common', 'helpers', 'helper', 'manager', 'misc', 'shared']

function nameFaults(file: Parsed): Violation[] {
  const found: Violation[] = []
  const words = file.file.replace(/\.ts$/, '').split(/[/._-]/)
  const vague = words.find((word) => VAGUE.includes(word.toLowerCase()))
  if (vague) found.push(fault('name', file, 0, `"${vague}" names no idea`))

  const inside = file.file.split('/').length > 2 // the files at the root of src are the package's entries
  if (inside && (file.file.endsWith('/index.ts') || onlyReexports(file.code))) {
    found.push(fault('barrel', file, 0, 'a file of re-exports inside the house hides where things are'))
  }
  return found
}

function onlyReexports(code: string): boolean {
  const rest = code.replace(/\bexport\s+(?:type\s+)?(?:\*(?:\s*as\s+[\w$]+)?|\{[^{}]*\})\s*from\s*(['"])\s*\1/g, '')
  return rest !== code && rest.replace(/[\s;]/g, '') === ''
}

const TIME_AND_CHANCE = [
  /\bDate\s*\.\s*now\b/g,
  /\bnew\s+Date\b(?!\s*\(\s*[^\s)])/g, // new Date(ms) only formats what came in
  /(?<![.\w$]|new\s)Date\s*\(/g,
  /\bMath\s*\.\s*random\b/g,
  /(?:(?<![.\w$])|\bglobalThis\s*\.\s*)set(?:Timeout|Interval)\b/g,
  /\bperformance\s*\.\s*now\b/g,
  /\bprocess\s*\.\s*hrtime\b/g,
  /\bAbortSignal\s*\.\s*timeout\b/g,
  /\b(?:random(?:UUID|Bytes|Int|Fill|FillSync)|getRandomValues|generateKey(?:Pair)?(?:Sync)?)\b/g,
]

function timeFaults(file: Parsed): Violation[] {
  if (MAY_TELL_TIME.includes(file.room)) return []
  const told = (what: string) => `${what.trim()}: time and chance come in as arguments`
  const used = TIME_AND_CHANCE.flatMap((pattern) =>
    [...file.code.matchAll(pattern)].map((match) => fault('time', file, match.index, told(match[0]))),
  )
  const timers = file.imports.filter(({ specifier }) => specifier.startsWith('node:timers'))
  return [...used, ...timers.map(({ at, specifier }) => fault('time', file, at, told(specifier)))]
}

/** A statement by its shape, in one case throughout: "Select a tenant from the list" is prose. */
const SQL_START =
  /^\s*(?:select\s[\s\S]+\sfrom\s|insert\s+into\s+[\w."]+|update\s+[\w."]+\s+(?:as\s+\w+\s+)?set\s|delete\s+from\s+[\w."]+|(?:create|alter|drop)\s+(?:table|index|type)\s+[\w."]+|with\s+[\w"]+\s*(?:\([^)]*\)\s*)?as\s+(?:not\s+)?(?:materialized\s*)?\()/
const SQL_ANYWHERE =
  /\b(?:SELECT\s[\s\S]+\sFROM\s|INSERT\s+INTO\s|UPDATE\s+\S+\s+SET\s|DELETE\s+FROM\s|CREATE\s+TABLE\s)/
const isSql = (text: string) => SQL_START.test(text) || SQL_ANYWHERE.test(text)

const SQL_TIME =
  /\b(?:now|clock_timestamp|statement_timestamp|transaction_timestamp|random|gen_random_uuid)\s*\(|\b(?:current_(?:timestamp|time|date)|localtime(?:stamp)?)\b/i

function sqlFaults(file: Parsed): Violation[] {
  return file.literals.flatMap(({ at, text }) => {
    if (file.room !== 'store') return isSql(text) ? [fault('sql', file, at, 'SQL lives in store')] : []
    // To ask the store what time it is, by itself, is how a node learns its parameter.
    const found = text.startsWith('SELECT (extract(epoch FROM clock_timestamp())') ? null : SQL_TIME.exec(text)
    return found ? [fault('sql-time', file, at, `${found[0]} in SQL: the time is a parameter, and so is chance`)] : []
  })
}

function migrationFaults(sources: Sources): Violation[] {
  return Object.entries(sources).flatMap(([file, source]) => {
    if (!file.endsWith('.sql')) return []
    return source.split('\n').flatMap((text, index) => {
      const found = SQL_TIME.exec(text.replace(/--.*/, ''))
      return found ? [{ rule: 'sql-time', file, line: index + 1, message: `${found[0]}: the time is a parameter` }] : []
    })
  })
}

function lengthFaults(file: Parsed): Violation[] {
  const lines = lineCount(file.code)
  return lines > MAX_LINES ? [fault('length', file, 0, `${lines} lines; more than ${MAX_LINES} is two ideas`)] : []
}

/** One violation per import cycle, type imports included: they tie two files together as well. */
function cycles(files: Parsed[]): Violation[] {
  const byName = new Map(files.map((file) => [file.file, file]))
  const state = new Map<string, 'open' | 'done'>()
  const path: string[] = []
  const found: Violation[] = []

  const visit = (file: Parsed) => {
    state.set(file.file, 'open')
    path.push(file.file)
    for (const { target, kind, at } of file.imports) {
      const next = kind === 'thread' || target === null ? undefined : byName.get(target)
      if (next === undefined) continue
      if (state.get(next.file) === 'open') {
        const loop = [...path.slice(path.indexOf(next.file)), next.file]
        found.push(fault('cycle', file, at, loop.join(' → ')))
      } else if (!state.has(next.file)) visit(next)
    }
    path.pop()
    state.set(file.file, 'done')
  }
  for (const file of files) if (!state.has(file.file)) visit(file)
  return found
}
