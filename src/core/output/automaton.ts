/**
 * Patterns over characters, and one table that follows all of them at once: one load a character, however many patterns
 * there are. There is no alternation and no nesting, because a pattern is grown node by node; where two ways lead on, the
 * frontier (the nodes a reader may stand on) has two nodes.
 */

/** Symbols of the table: ASCII by itself, and everything else as one. */
const OTHER = 128
const SYMBOLS = 129

/** Columns of a row: no fewer than there are kinds of characters (the compiler checks), and a power of two. */
export const COLUMN_BITS = 6

/** Nodes that a reader of the text may stand on. */
export type Frontier = readonly number[]

/** 1 for each symbol in it. */
export type Symbols = Uint8Array

export interface Automaton {
  /** next[state << COLUMN_BITS | column] */
  readonly next: Uint16Array
  /** Column of each symbol; characters past ASCII are symbol 128. */
  readonly columns: Uint8Array
  /** What a state says, as the bits given to `accept`; 0 for all states below `firstSaying`. */
  readonly says: Uint16Array
  readonly firstSaying: number
  /** At the beginning of a text, which is as if a NUL stood before it. */
  readonly start: number
}

/** In any case, so that a row is two lines of the processor's cache and not three; the checks tell capitals apart. */
export function oneOf(chars: string): Symbols {
  const set = new Uint8Array(SYMBOLS)
  for (const c of chars + chars.toLowerCase() + chars.toUpperCase()) set[Math.min(c.charCodeAt(0), OTHER)] = 1
  return set
}

export function noneOf(chars: string): Symbols {
  return oneOf(chars).map((inside) => 1 - inside)
}

const ROOT = 0

interface Way {
  on: Symbols
  to: number
}

export class Patterns {
  /** Where every character of a text is. */
  readonly root: Frontier = [ROOT]
  private readonly ways: Way[][] = [[]]
  private readonly said: number[] = [0]

  node(): number {
    this.said.push(0)
    return this.ways.push([]) - 1
  }

  /** One character of `on` further. */
  then(from: Frontier, on: Symbols, to = this.node()): Frontier {
    for (const node of from) this.ways[node]?.push({ on, to })
    return [to]
  }

  /** `count` characters of `on` further. */
  exactly(count: number, from: Frontier, on: Symbols): Frontier {
    let at = from
    for (let n = 0; n < count; n++) at = this.then(at, on)
    return at
  }

  /** Up to `most` characters of `on` further. */
  upTo(most: number, from: Frontier, on: Symbols): Frontier {
    const reached = [...from]
    for (let last = from, n = 0; n < most; n++) {
      last = this.then(last, on)
      reached.push(...last)
    }
    return reached
  }

  /** Stays where it is on `on`. */
  loop(at: Frontier, on: Symbols): void {
    for (const node of at) this.ways[node]?.push({ on, to: node })
  }

  literal(from: Frontier, text: string): Frontier {
    let at = from
    for (const char of text) at = this.then(at, oneOf(char))
    return at
  }

  accept(at: Frontier, bits: number): void {
    for (const node of at) this.said[node] = (this.said[node] as number) | bits
  }

  /** The table, by the construction of subsets: a state is the set of nodes that a reader stands on beside the root. */
  compile(): Automaton {
    const columns = columnsOf(this.ways)
    const width = Math.max(...columns) + 1
    const ways = this.ways.map((own) => targetsOf(own, columns))
    const fromRoot: number[][] = Array.from({ length: width }, () => [])
    for (const { column, to } of ways[ROOT] as Target[]) fromRoot[column]?.push(to)
    const states = new Subsets()
    const plain = fromRoot.map((nodes) => states.numberOf(nodes, -1))
    const rows: number[][] = []
    for (let state = 0; state < states.sets.length; state++) {
      // A state leads on by a few characters of its own; on all others as the character before it alone does.
      const base = states.bases[state] as number
      const row = (rows[base] ?? plain).slice()
      const further = new Map<number, number[]>()
      for (const node of states.sets[state] as number[]) {
        if (states.sets[base]?.includes(node)) continue
        for (const { column, to } of ways[node] as Target[]) {
          const nodes = further.get(column)
          if (nodes === undefined) further.set(column, [...(states.sets[row[column] as number] as number[]), to])
          else nodes.push(to)
        }
      }
      for (const [column, nodes] of further) row[column] = states.numberOf(nodes, plain[column] as number)
      rows.push(row)
    }
    return this.table(states.sets, rows, columns, plain[columns[0] as number] as number)
  }

  /** States that say something get the highest numbers, so that one compare tells. */
  private table(sets: number[][], rows: number[][], columns: Uint8Array, start: number): Automaton {
    const said = sets.map((nodes) => nodes.reduce((bits, node) => bits | (this.said[node] as number), 0))
    const order = [...said.keys()].sort((a, b) => Math.sign(said[a] as number) - Math.sign(said[b] as number))
    const place = new Uint16Array(order.length)
    for (const [at, state] of order.entries()) place[state] = at
    const next = new Uint16Array(order.length << COLUMN_BITS)
    for (const [state, row] of rows.entries())
      for (let column = 0; column < row.length; column++)
        next[((place[state] as number) << COLUMN_BITS) | column] = place[row[column] as number] as number
    const says = Uint16Array.from(order, (state) => said[state] as number)
    return { next, columns, says, firstSaying: says.findIndex((bits) => bits !== 0), start: place[start] as number }
  }
}

/** Sets of nodes, numbered as they come. */
class Subsets {
  readonly sets: number[][] = []
  /** The state whose nodes each set has too, -1 for none. */
  readonly bases: number[] = []
  private readonly numbers = new Map<string, number>()

  numberOf(nodes: number[], base: number): number {
    const set = nodes.length < 2 ? nodes : [...new Set(nodes)].sort((a, b) => a - b)
    const name = set.join()
    let number = this.numbers.get(name)
    if (number === undefined) {
      number = this.sets.push(set) - 1
      this.bases.push(base)
      this.numbers.set(name, number)
    }
    return number
  }
}

/** Characters that no pattern tells apart share a column. */
function columnsOf(ways: Way[][]): Uint8Array {
  const sets = new Set(ways.flatMap((own) => own.map((way) => way.on)))
  const known = new Map<string, number>()
  const columns = new Uint8Array(SYMBOLS)
  for (let symbol = 0; symbol < SYMBOLS; symbol++) {
    const kind = Array.from(sets, (set) => set[symbol]).join('')
    if (!known.has(kind)) known.set(kind, known.size)
    columns[symbol] = known.get(kind) as number
  }
  if (known.size > 1 << COLUMN_BITS) throw new Error(`${known.size} kinds of characters do not fit a row`)
  return columns
}

interface Target {
  column: number
  to: number
}

function targetsOf(ways: Way[], columns: Uint8Array): Target[] {
  return ways.flatMap(({ on, to }) => {
    const led = new Set<number>()
    for (let symbol = 0; symbol < SYMBOLS; symbol++) if (on[symbol] === 1) led.add(columns[symbol] as number)
    return Array.from(led, (column) => ({ column, to }))
  })
}
