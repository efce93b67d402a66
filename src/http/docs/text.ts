/** Text as it may stand in HTML, between tags and in quoted attributes. */
export function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

/** Escaped text with `backticks` as code, in paragraphs by line unless `tag` is empty. */
export function prose(text: string, tag = 'p'): string {
  const html = escapeHtml(text).replaceAll(/`([^`]+)`/g, '<code>$1</code>')
  return tag === '' ? html : `<${tag}>${html}</${tag}>`
}

/** A value as indented JSON; text as it is. */
export function code(value: unknown): string {
  return `<pre>${escapeHtml(typeof value === 'string' ? value : JSON.stringify(value, null, 2))}</pre>`
}
