/** A tampered copy of an export, as somebody with the file and an editor could make it. */
export interface Forgery {
  lines: string[]
  /** Of the first entry that is not what it was. */
  index: number
  /** What it said in short; empty where entries are gone. */
  before: string
  after: string
}

interface TileLine {
  record: 'tile'
  body: string
  count: number
  first_index: number | null
}
type Line = TileLine | { record: 'export' | 'writer' | 'head' | 'end' }

const parsed = (line: string) => JSON.parse(line) as Line
const isPlaced = (line: Line): line is TileLine & { first_index: number } =>
  line.record === 'tile' && line.first_index !== null

/** Another actor under the first approval. Null where there is none. */
export function withOtherApprover(lines: readonly string[], from: string, to: string): Forgery | null {
  for (const [at, text] of lines.entries()) {
    const tile = parsed(text)
    if (!isPlaced(tile)) continue
    const entries = tile.body.split('\n')
    const place = entries.findIndex((entry) => kindOf(entry) === 'approval.approved')
    const before = entries[place]
    if (before === undefined) continue
    const after = before.replace(`"actor":"${from}"`, `"actor":"${to}"`)
    if (after === before) return null
    const forged = JSON.stringify({ ...tile, body: entries.with(place, after).join('\n') })
    return {
      lines: [...lines].with(at, forged),
      index: tile.first_index + place,
      before: told(before),
      after: told(after),
    }
  }
  return null
}

/** The log as it was at the last signed head before the first entry of a kind, with its counts set right. Null where there is none. */
export function withoutTail(lines: readonly string[], kind: string): Forgery | null {
  const first = lines.findIndex((text) => {
    const tile = parsed(text)
    return isPlaced(tile) && tile.body.split('\n').some((entry) => kindOf(entry) === kind)
  })
  const head = lines.slice(0, Math.max(first, 0)).findLastIndex((text) => parsed(text).record === 'head')
  if (first < 0 || head < 0) return null
  const kept = lines.slice(0, head + 1)
  const records = kept.map(parsed)
  const tiles = records.filter(isPlaced)
  const index = tiles.reduce((sum, { count }) => sum + count, 0)
  const of = (word: string) => records.filter(({ record }) => record === word).length
  const end = { record: 'end', writers: of('writer'), tiles: tiles.length, entries: index, heads: of('head') }
  return { lines: [...kept, JSON.stringify(end)], index, before: '', after: '' }
}

function kindOf(entry: string): unknown {
  return (JSON.parse(entry) as { kind?: unknown }).kind
}

/** The fields that tell the story: an entry is longer than a line. */
function told(entry: string): string {
  const { actor, kind, topic, approval_id } = JSON.parse(entry) as Record<string, unknown>
  return `${actor} ${kind} ${topic} ${approval_id}`
}
