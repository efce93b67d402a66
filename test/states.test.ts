import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { JOB_EVENTS, JOB_STATUSES, TRANSITIONS } from '../src/core/job.js'

const FILE = new URL('../ARCHITECTURE.md', import.meta.url)
const BETWEEN = /(<!-- states:begin -->\n)[\s\S]*(<!-- states:end -->)/

/** The state table as Mermaid, which the repository's host draws. */
function drawn(): string {
  const lines = [
    '```mermaid',
    'stateDiagram-v2',
    '  [*] --> queued : submit, ALLOW',
    '  [*] --> pending_approval : submit, REQUIRE_APPROVAL',
  ]
  for (const status of JOB_STATUSES) {
    const moves = TRANSITIONS[status]
    for (const event of JOB_EVENTS)
      if (moves[event] !== undefined) lines.push(`  ${status} --> ${moves[event]} : ${event}`)
    if (Object.keys(moves).length === 0) lines.push(`  ${status} --> [*]`)
  }
  return `${lines.join('\n')}\n\`\`\`\n`
}

test('the diagram in ARCHITECTURE.md is the state table (UPDATE_DOCS=1 writes it)', () => {
  const text = readFileSync(FILE, 'utf8')
  const mended = text.replace(BETWEEN, `$1${drawn()}$2`)
  if (process.env.UPDATE_DOCS === '1') writeFileSync(FILE, mended)
  expect(readFileSync(FILE, 'utf8')).toBe(mended)
})
