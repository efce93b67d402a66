/** NATS allows longer subjects; ours stay readable in a table and cheap in an index. */
const MAX_TOPIC = 255
const MAX_SEGMENTS = 16

const TOPIC = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/
const PATTERN = /^(?:[a-z0-9_-]+|\*)(?:\.(?:[a-z0-9_-]+|\*))*(?:\.>)?$/

/**
 * Whether `text` is a topic: lower-case ASCII tokens joined by dots. Everything else (capitals, look-alike letters,
 * spaces, empty segments, wildcards) is no topic, so no spelling of a guarded topic slips past its rules.
 */
export function isTopic(text: string): boolean {
  return text.length <= MAX_TOPIC && TOPIC.test(text) && text.split('.').length <= MAX_SEGMENTS
}

/** Whether `text` is a topic pattern: a topic where `*` stands for one segment and a last `>` for one or more. */
export function isTopicPattern(text: string): boolean {
  return text === '>' || (text.length <= MAX_TOPIC && PATTERN.test(text) && text.split('.').length <= MAX_SEGMENTS)
}

/** Whether the topic is one the pattern names. Exact on case. */
export function topicMatches(pattern: string, topic: string): boolean {
  const want = pattern.split('.')
  const have = topic.split('.')
  for (let i = 0; i < want.length; i++) {
    if (want[i] === '>') return have.length > i
    if (i >= have.length || (want[i] !== '*' && want[i] !== have[i])) return false
  }
  return want.length === have.length
}

/** Whether every topic of `narrow` is one of `wide`. */
export function patternCovers(wide: string, narrow: string): boolean {
  const a = wide.split('.')
  const b = narrow.split('.')
  for (let i = 0; i < a.length; i++) {
    if (a[i] === '>') return b.length > i
    if (i >= b.length || b[i] === '>') return false
    if (a[i] !== '*' && a[i] !== b[i]) return false
  }
  return a.length === b.length
}

/** Whether some topic is named by both patterns. */
export function patternsOverlap(left: string, right: string): boolean {
  const a = left.split('.')
  const b = right.split('.')
  for (let i = 0; ; i++) {
    if (i >= a.length || i >= b.length) return a.length === b.length
    if (a[i] === '>' || b[i] === '>') return true
    if (a[i] !== '*' && b[i] !== '*' && a[i] !== b[i]) return false
  }
}

/** More literal segments first, then `*` before `>`: which of two job classes is the more specific one. */
export function specificity(pattern: string): number {
  const segments = pattern.split('.')
  const literals = segments.filter((segment) => segment !== '*' && segment !== '>').length
  return literals * 4 + (pattern.endsWith('>') ? 0 : segments.includes('*') ? 1 : 2)
}

interface TrieNode {
  literal: Map<string, TrieNode>
  one: TrieNode | null
  /** Patterns that end here, and patterns whose `>` starts here. */
  ends: number[]
  rest: number[]
}

const node = (): TrieNode => ({ literal: new Map(), one: null, ends: [], rest: [] })

/** An index over topic patterns: which of a thousand patterns name a topic costs a walk of its few segments. */
export class TopicTrie {
  readonly #root = node()

  add(pattern: string, id: number): void {
    let at = this.#root
    for (const segment of pattern.split('.')) {
      if (segment === '>') {
        at.rest.push(id)
        return
      }
      if (segment === '*') at = at.one ??= node()
      else {
        const next = at.literal.get(segment) ?? node()
        at.literal.set(segment, next)
        at = next
      }
    }
    at.ends.push(id)
  }

  /** Ids of all patterns that name the topic, ascending. */
  match(topic: string): number[] {
    const found: number[] = []
    // The set of live nodes at most doubles per segment (literal and `*`), and a topic has at most 16 segments; the
    // policy's own patterns bound it far below that.
    let live = [this.#root]
    for (const segment of topic.split('.')) {
      const next: TrieNode[] = []
      for (const at of live) {
        found.push(...at.rest)
        const literal = at.literal.get(segment)
        if (literal) next.push(literal)
        if (at.one) next.push(at.one)
      }
      live = next
    }
    for (const at of live) found.push(...at.ends)
    return found.sort((a, b) => a - b)
  }
}
