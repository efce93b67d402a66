import pc from 'picocolors'
import type { FaultLine, Told } from './exit.js'

export type Colors = ReturnType<typeof pc.createColors>

/** What a command writes to. Streams and not `process`, so that a test may look at what was written. */
export interface Streams {
  stdout: Stream
  stderr: Stream
}
export interface Stream {
  isTTY?: boolean
  columns?: number
  write(text: string): unknown
}

/**
 * Where a command says what it found. With `json` stdout gets one document and nothing else: lines and notes are not
 * written. Without, answers go to stdout and everything about the way there to stderr.
 */
export interface Terminal {
  readonly json: boolean
  /** For stdout. */
  readonly color: Colors
  /** Whether a person sits at both ends: only then may a command ask. */
  readonly interactive: boolean
  /** Columns of a terminal; null where output is not cut. */
  readonly width: number | null
  /** The answer: `document` as JSON, or the lines of `render`. */
  show(document: unknown, render: () => string): void
  /** A line of an answer that comes piece by piece. */
  line(text: string): void
  /** A line about the way there, on stderr. */
  note(text: string): void
  error(told: Told): void
  /** One line on stderr that is written over; silent where no terminal shows it. `done` takes it away. */
  progress(): Progress
}

export interface Progress {
  say(text: string): void
  done(): void
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Colours on a terminal only, unless NO_COLOR (any value that is not empty) or TERM=dumb. Decided here because picocolors also
 * colours whenever CI is set, piped or not.
 */
export function colorsFor(stream: Stream, env: Environment): Colors {
  return pc.createColors(stream.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb')
}

export function createTerminal(
  streams: Streams,
  env: Environment,
  options: { json: boolean; stdinTTY: boolean },
): Terminal {
  const { stdout, stderr } = streams
  const { json } = options
  const color = colorsFor(stdout, env)
  const faint = colorsFor(stderr, env)
  const write = (stream: Stream, text: string) => void stream.write(`${text}\n`)
  return {
    json,
    color,
    interactive: !json && options.stdinTTY && stderr.isTTY === true,
    width: stdout.isTTY === true ? stdout.columns || 80 : null,
    show: (document, render) => write(stdout, json ? jsonText(document) : render()),
    line: (text) => {
      if (!json) write(stdout, text)
    },
    note: (text) => {
      if (!json) write(stderr, faint.dim(text))
    },
    error: (told) => {
      if (json) write(stdout, jsonText(errorDocument(told)))
      else write(stderr, errorLines(told, faint).join('\n'))
    },
    progress: () => progressOn(stderr, faint, json),
  }
}

function errorDocument({ code, message, exit, help, faults, details }: Told): unknown {
  return { error: { code, message, exit, help, ...(faults.length > 0 ? { faults } : {}), ...details } }
}

function errorLines({ code, message, help, faults }: Told, color: Colors): string[] {
  return [
    `${color.red(code)}  ${printable(message)}`,
    ...faults.map((fault) => faultLine(fault, color)),
    ...(help === null ? [] : [color.dim(printable(help))]),
  ]
}

/** `policy.yaml:3:7  error  unknown key 'decison' (did you mean 'decision'?)` */
export function faultLine({ path, message, hint, severity }: FaultLine, color: Colors): string {
  const told = hint === undefined ? message : `${message} (${hint})`
  const paint = severity === 'warning' ? color.yellow : color.red
  return [printable(path) || '(whole)', ...(severity === undefined ? [] : [paint(severity)]), printable(told)].join(
    '  ',
  )
}

function progressOn(stderr: Stream, color: Colors, json: boolean): Progress {
  if (json || stderr.isTTY !== true) return { say: () => {}, done: () => {} }
  return {
    say: (text) => void stderr.write(`\r\u001b[2K${color.dim(text)}`),
    done: () => void stderr.write('\r\u001b[2K'),
  }
}

/**
 * Control characters, text direction overrides and invisible characters, as escapes. What agents and workers wrote is
 * shown to people who decide by it: it must neither move the cursor nor read other than it is.
 */
export function printable(text: string, { lines = false } = {}): string {
  return text.replace(HIDDEN, (char) => (lines && char === '\n' ? char : escaped(char)))
}

/** Control and format characters, and the two line ends that are neither. */
const HIDDEN = /[\p{Cc}\p{Cf}\u2028\u2029]/gu

/** UTF-16 units, as JSON writes them: also right where it stands inside a JSON string. */
function escaped(char: string): string {
  return [...Array(char.length).keys()].map((i) => `\\u${char.charCodeAt(i).toString(16).padStart(4, '0')}`).join('')
}

/** JSON over several lines, safe to show; parses to the same value. */
export function jsonText(value: unknown): string {
  return printable(JSON.stringify(value, null, 2) ?? 'null', { lines: true })
}

/** JSON on one line, safe to show. */
export function jsonLine(value: unknown): string {
  return printable(JSON.stringify(value) ?? 'null')
}

export interface Column<Row> {
  title: string
  of: (row: Row) => string | number | null
  /** Applied after the width is known. */
  paint?: (text: string, row: Row) => string
  right?: true
  /** Never cut: an id that cannot be copied is of no use. */
  whole?: true
}

const GAP = '  '

/** Rows under their titles. On a terminal the widest column that may gives way first; piped, nothing is cut. */
export function table<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  terminal: Pick<Terminal, 'color' | 'width'>,
): string {
  const cells = rows.map((row) => columns.map(({ of }) => printable(String(of(row) ?? '–'))))
  const widths = columns.map(({ title }, i) => Math.max(title.length, ...cells.map((line) => length(line[i] ?? ''))))
  if (terminal.width !== null) shrink(widths, columns, terminal.width)
  const line = (texts: readonly string[], paint: (text: string, i: number) => string) =>
    texts
      .map((text, i) => {
        const cut = clipped(text, widths[i] ?? 0)
        const blanks = ' '.repeat((widths[i] ?? 0) - length(cut))
        return columns[i]?.right ? blanks + paint(cut, i) : paint(cut, i) + (i === texts.length - 1 ? '' : blanks)
      })
      .join(GAP)
  const titles = columns.map(({ title }) => title)
  return [
    line(titles, (text) => terminal.color.dim(text)),
    ...rows.map((row, r) => line(cells[r] ?? [], (text, i) => columns[i]?.paint?.(text, row) ?? text)),
  ].join('\n')
}

const NARROWEST = 8

function shrink(widths: number[], columns: readonly Column<never>[], room: number): void {
  const width = (i: number) => widths[i] ?? 0
  const yielding = [...columns.keys()].filter((i) => columns[i]?.whole !== true)
  let excess = widths.reduce((sum, each) => sum + each, 0) + GAP.length * (widths.length - 1) - room
  for (; excess > 0; excess--) {
    const widest = yielding.reduce((a, b) => (width(b) > width(a) ? b : a), yielding[0] ?? 0)
    if (yielding.length === 0 || width(widest) <= NARROWEST) return
    widths[widest] = width(widest) - 1
  }
}

function clipped(text: string, width: number): string {
  return length(text) <= width ? text : `${[...text].slice(0, width - 1).join('')}…`
}

const length = (text: string): number => [...text].length

export type Pair = readonly [name: string, value: string | number | null | undefined, paint?: (text: string) => string]

/** Names and values under each other; what is empty is left out. Further lines of a value are set in, so it cannot pose as a name. */
export function fields(pairs: readonly Pair[], color: Colors): string {
  const given = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '')
  const width = Math.max(0, ...given.map(([name]) => name.length))
  return given
    .map(([name, value, paint = (text) => text]) => {
      const text = printable(String(value), { lines: true })
      return `${color.dim(name.padEnd(width))}  ${indentRest(paint(text), width + 2)}`
    })
    .join('\n')
}

function indentRest(text: string, by: number): string {
  return text.replaceAll('\n', `\n${' '.repeat(by)}`)
}

/** `2026-03-01 14:02:11Z`: one zone for everyone who reads the same record. */
export function instant(ms: number | null | undefined): string | null {
  if (ms === null || ms === undefined) return null
  return new Date(ms)
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d+Z$/, 'Z')
}

/** `3 h 20 min`, `45 s`, `120 ms`: the two largest units. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  const units: [string, number][] = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['min', 60_000],
    ['s', 1000],
  ]
  const from = units.findIndex(([, size]) => ms >= size)
  let rest = ms
  const parts = units.slice(from, from + 2).map(([name, size]) => {
    const count = Math.floor(rest / size)
    rest -= count * size
    return count === 0 ? null : `${count} ${name}`
  })
  return parts.filter((part) => part !== null).join(' ')
}
