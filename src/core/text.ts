/*
 * Text that others wrote, as it may be put before people: no line, direction or control of its own.
 */

/** Controls, format characters (direction, zero width, byte-order marks, tags), lone surrogates, line and paragraph separators. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu

/** In one line, what cannot be seen as its number, at most so many characters. */
export function plain(text: string, most: number): string {
  const shown = text
    .slice(0, most + 1)
    .replaceAll(UNSEEN, (each) => `\\u{${(each.codePointAt(0) as number).toString(16)}}`)
  return shown.length <= most ? shown : `${shown.slice(0, most - 1).replace(/[\ud800-\udbff]$/, '')}…`
}

/** As it may stand between tags and in quoted attributes. */
export function html(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
}
