import { plain } from './text.js'

/*
 * Markdown that is written from records: tables of cells, none of which can become a link, a heading or another cell.
 */

export function table(titles: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(titles), `|${titles.map(() => '---').join('|')}|`, ...rows.map(line)]
}

export const instant = (at: number) => (Number.isFinite(at) ? new Date(at).toISOString() : '–')

export function span(ms: number): string {
  if (!Number.isFinite(ms)) return '–'
  if (ms < 1000) return `${ms} ms`
  const [hours, minutes, seconds] = [ms / 3_600_000, (ms / 60_000) % 60, (ms / 1000) % 60].map(Math.floor)
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  return hours === 0 ? `${minutes} min ${seconds} s` : `${hours} h ${minutes} min`
}

const MOST = 300
/** Every mark of Markdown and HTML as itself: a reason of an agent's must not become a link, a heading or a cell. */
export const text = (value: string) =>
  plain(value, MOST).replaceAll(/[\\`*_{}[\]()#+\-!|<>~&]/g, (mark) => `&#${mark.charCodeAt(0)};`)
/** Ids, hashes and kinds are letters, digits, dots, dashes, colons; whatever else came is shown as text. */
export const code = (value: string) => (/^[\w.:/-]{1,200}$/.test(value) ? `\`${value}\`` : text(value))
