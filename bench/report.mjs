import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'

/** What every bench takes: `--only WORD`, `--json FILE`, `--rounds N`, `--quick`, `--charts FOLDER`; `more` adds to it. */
export function optionsOf(more = {}) {
  // What a bench started ends with its process, and a process that a signal ends runs nothing any more.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1))
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: '' },
      json: { type: 'string' },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      charts: { type: 'string' },
      ...more,
    },
  })
  return values
}

export const quantile = (list, q) => {
  const sorted = Float64Array.from(list).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]
}
export function median(list) {
  const sorted = Float64Array.from(list).sort()
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
}

/** Three digits of a figure, whole thousands apart: more would claim more than a run can know. */
export function figure(value) {
  if (value === undefined || Number.isNaN(value)) return ''
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US')
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2)
}

/** Columns to the left up to `texts` of them, figures to the right. */
export function table(columns, rows, texts = 2) {
  const widths = columns.map((column, i) => Math.max(column.length, ...rows.map((row) => row[i].length)))
  const line = (cells) =>
    cells
      .map((cell, i) => (i < texts ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd()
  return [line(columns), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}

let told = 0
/** One line that is written over on a terminal; where the output is kept, a line every few seconds. */
export function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
  else if (performance.now() - told > 5000) {
    told = performance.now()
    process.stderr.write(`${text} …\n`)
  }
}
export function progressEnds() {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
}

export function keep(file, rows) {
  if (file !== undefined) writeFileSync(file, `${JSON.stringify(rows, null, 2)}\n`)
}
