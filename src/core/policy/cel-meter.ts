import type { ASTNode, ParseResult } from '@marcbachmann/cel-js'
import { patternSize } from './cel-environment.js'
import { children } from './cel-tree.js'

/**
 * What one run of an expression may cost. A step is 0.1 to 0.5 µs: a round of a comprehension (more where much is written in it), an
 * element of a list that is made or compared, sixteen characters of text that are made or read, one that a regular expression reads.
 * So 250,000 are 25 to 150 ms on the thread that serves everyone: two passes over the largest job there can be, which has 100,000
 * values.
 *
 * It is counted while it runs, because what is written tells nothing: four literal lists in each other are 764 characters and an hour,
 * `split('')` makes a list of a text, and `.map(a, a + a)` doubles what it is given as often as it is written. (Rejected: bounding
 * nested passes by the widest list of the job, which saw none of these three.)
 */
export const STEPS = 250_000

export class TooMuchWork extends Error {
  readonly code = 'too_much_work_for_one_condition'
  constructor() {
    super('too much work for one condition')
  }
}

/** Of the run under way: one ends before another begins. Between runs nothing is counted. */
let left = Number.POSITIVE_INFINITY
const patterns = new Set<string>()

function take(steps: number): void {
  left -= steps
  if (left < 0) throw new TooMuchWork()
}

/** Nodes of an expression that is not counted if it makes nothing: each may look at all of the largest job, in 15 ms. */
const SHORT = 64

/** Runs a checked expression, or throws TooMuchWork. What is short and costs no more than it is long is run as it is. */
export function metered(parsed: ParseResult, steps: number): (activation: object) => unknown {
  const run = parsed as (activation: object) => unknown
  if (!meter(parsed.ast) && nodesIn(parsed.ast) <= SHORT) return run
  watch(parsed.ast as unknown as Root)
  return (activation) => {
    left = steps
    if (patterns.size > 0) patterns.clear()
    try {
      return run(activation)
    } finally {
      left = Number.POSITIVE_INFINITY
    }
  }
}

type Handle = (first: unknown, second: unknown, third: unknown, fourth?: unknown) => unknown

/** What the library keeps beside its nodes and does not declare. */
interface Inner {
  /** Operators get both sides first, calls a list of receiver and arguments, comprehensions what they go over. */
  handle?: Handle
  meta: { alternate?: { handle: Handle; args: { condition?: (accu: unknown) => boolean } } }
  checkedType?: { name: string }
}

/** Puts counters into a checked tree; whether it needs any. */
function meter(node: ASTNode): boolean {
  const below = children(node).map(meter).includes(true)
  return meterOne(node) || below
}

function meterOne(node: ASTNode): boolean {
  const inner = node as unknown as Inner
  const { handle, meta } = inner
  if (node.op === 'rcall' && meta.alternate !== undefined) {
    meterRounds(node, meta.alternate)
    return true
  }
  const cost = handle === undefined ? null : costOf(node)
  if (handle === undefined || cost === null) return false
  inner.handle = MAKE_NOTHING.has(inner.checkedType?.name ?? '')
    ? (a, b, c, d) => {
        take(cost(a, b))
        return handle(a, b, c, d)
      }
    : (a, b, c, d) => {
        take(cost(a, b))
        const value = handle(a, b, c, d)
        take(madeOf(value))
        return value
      }
  return true
}

function meterRounds(node: ASTNode, loop: NonNullable<Inner['meta']['alternate']>): void {
  const { handle, args } = loop
  const { condition } = args
  const [, , written] = node.args as unknown as [string, ASTNode, ASTNode[]]
  const round = 1 + (written.reduce((sum, each) => sum + nodesIn(each), 0) >> 3)
  args.condition = (accu) => {
    take(round)
    return condition === undefined || condition(accu)
  }
  loop.handle = (over, inside, ev, ctx) => {
    take(listingOf(over))
    return handle(over, inside, ev, ctx)
  }
}

interface Evaluator {
  tryEval(this: Evaluator, node: unknown, ctx: unknown): unknown
  debugTypeDeep(this: Evaluator, value: unknown): unknown
}

interface Root {
  evaluate(ev: Evaluator, node: Root, ctx: unknown): unknown
}

/**
 * Counts what no node shows. `exists`, `all`, `||` and `&&` go on past errors, each made with its place and its stack in 11 µs: 100,000
 * elements without a key took 1.1 s. And whoever asks for the type of a map has its keys listed: a thousand times `k in input.prices`
 * took 15 s. The library shows its evaluator to nodes alone; a root's first run passes it by here, and gets these in place of its own.
 */
function watch(root: Root): void {
  const { evaluate } = root
  root.evaluate = (ev, node, ctx) => {
    if (!Object.hasOwn(ev, 'tryEval')) {
      ev.tryEval = tryCounted(ev.tryEval)
      ev.debugTypeDeep = typeCounted(ev.debugTypeDeep)
    }
    return evaluate.call(root, ev, node, ctx)
  }
}

const tryCounted = (plain: Evaluator['tryEval']): Evaluator['tryEval'] =>
  function (this: Evaluator, node, ctx) {
    const value = plain.call(this, node, ctx)
    if (value instanceof TooMuchWork) throw value
    if (value instanceof Error) take(100)
    return value
  }

const typeCounted = (plain: Evaluator['debugTypeDeep']): Evaluator['debugTypeDeep'] =>
  function (this: Evaluator, value) {
    if (typeof value === 'object' && left !== Number.POSITIVE_INFINITY) take(listingOf(value))
    return plain.call(this, value)
  }

const nodesIn = (node: ASTNode): number => 1 + children(node).reduce((sum, each) => sum + nodesIn(each), 0)

type Cost = (first: unknown, second: unknown) => number

/** Null where it costs no more than it is long: between numbers, and beside a literal. */
function costOf(node: ASTNode): Cost | null {
  if (node.op === 'call' || node.op === 'rcall') return costOfCall(node)
  const cost = COMPARED[node.op]
  if (cost === undefined) return null
  const sides = node.args as [ASTNode, ASTNode]
  if (node.op === '+') return sides.some(isScalar) ? null : cost
  return isLiteral(sides[1]) || (sides[0].op === 'value' && node.op !== 'in') ? null : cost
}

const isScalar = (node: ASTNode) => SCALARS.has((node as unknown as Inner).checkedType?.name ?? '')
const MAKE_NOTHING = new Set(['bool', 'int', 'double'])
const SCALARS = new Set(['int', 'uint', 'double', 'google.protobuf.Timestamp', 'google.protobuf.Duration'])
/** Not a map: to compare one with another is to list the keys of both. */
const isLiteral = ({ op, args }: ASTNode): boolean =>
  op === 'value' || (op === 'list' && args.every((each) => each.op === 'value'))

const textOf = (value: unknown) => (typeof value === 'string' ? value.length >> 4 : 0)
/** Keys by map: to count them is to list them. */
const counted = new WeakMap<object, number>()

/** To list the keys of a map: 0.02 µs each up to a thousand, 0.2 µs beyond, where the engine keeps them otherwise. */
function listingOf(value: unknown): number {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 0
  const known = counted.get(value)
  const keys = known ?? (value instanceof Uint8Array ? value.length : Object.keys(value).length)
  if (known === undefined) counted.set(value, keys)
  return keys <= 1024 ? keys >> 3 : 2 * keys
}

function madeOf(value: unknown): number {
  if (Array.isArray(value)) return value.length
  return value instanceof Uint8Array ? value.length >> 4 : textOf(value)
}

const ordered: Cost = (a, b) => Math.min(textOf(a), textOf(b))
const equal: Cost = (a, b) => {
  if (typeof a !== 'object' || typeof b !== 'object' || a === b) return ordered(a, b)
  weigh(a)
  return listingOf(b)
}
const COMPARED: Partial<Record<string, Cost>> = {
  '+': () => 0,
  '==': equal,
  '!=': equal,
  '<': ordered,
  '<=': ordered,
  '>': ordered,
  '>=': ordered,
  in: (a, b) => {
    if (!Array.isArray(b)) return 0
    if (typeof a === 'object') weigh(b)
    return b.length * (1 + textOf(a))
  },
}

/** Takes for all that is in it, as often as it is in it: a list of itself twice, of itself twice, … is short to make and long to compare. */
function weigh(value: unknown): void {
  const open = [value]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (typeof next !== 'object' || next === null) take(textOf(next))
    else {
      const items = Array.isArray(next) || next instanceof Uint8Array ? next : Object.values(next)
      take(1 + items.length)
      if (!(items instanceof Uint8Array)) for (const item of items) open.push(item)
    }
  }
}

/** The engine's own search is the product of both for long patterns: `lastIndexOf` for 100,000 in 200,000 characters takes 2.5 s. */
const search = ([text, part]: readonly unknown[]) => {
  if (typeof text !== 'string' || typeof part !== 'string') return 0
  return textOf(text) + (part.length < 64 ? 0 : Math.floor((text.length * part.length) / 256))
}

/** Of calls that cost something else than the text they read. */
const CALLS: Partial<Record<string, (given: readonly unknown[]) => number>> = {
  contains: search,
  indexOf: search,
  lastIndexOf: search,
  split: search,
  startsWith: ([, part]) => textOf(part),
  endsWith: ([, part]) => textOf(part),
  size: ([of]) => (of instanceof Uint8Array ? 0 : textOf(of) + listingOf(of)),
  join: ([list, between]) => madeOf(list) * (1 + textOf(between)),
  linear_matches: ([text]) => 16 * textOf(text),
  lower_ascii: ([text]) => 4 * textOf(text),
  upper_ascii: ([text]) => 4 * textOf(text),
  command_class: ([text]) => 4 * textOf(text),
  timestamp: () => 10,
  bounded_duration: () => 100,
  business_hours: () => 50,
  is_holiday: () => 50,
  in_window: () => 50,
}
const readsAll = (given: readonly unknown[]) => given.reduce<number>((sum, each) => sum + textOf(each), 0)
/** A getter of a timestamp in a zone: 0.2 ms, all of it the engine's table of zones. */
const inZone = ([, zone]: readonly unknown[]) => (zone === undefined ? 0 : 2000)

function costOfCall(node: ASTNode): Cost | null {
  const [name, ...rest] = node.args as unknown as [string, ...unknown[]]
  const written = rest.at(-1) as ASTNode[]
  const last = written.at(-1)
  const isWritten = last !== undefined && isLiteral(last)
  if ((name === 'startsWith' || name === 'endsWith') && isWritten) return null
  const cost = CALLS[name] ?? (name.startsWith('get') ? inZone : readsAll)
  if (name !== 'linear_matches' || isWritten) return cost as Cost
  return (given) => cost(given as unknown[]) + newPattern((given as unknown[]).at(-1))
}

/** A pattern that is no literal is compiled in the run: 10 µs an instruction. One met before in this run costs nothing, whatever was kept of others. */
function newPattern(pattern: unknown): number {
  if (typeof pattern !== 'string' || patterns.has(pattern)) return 0
  take(pattern.length)
  patterns.add(pattern)
  return 100 * patternSize(pattern)
}
