import { type ASTNode, Environment, type ParseResult } from '@marcbachmann/cel-js'
import { RE2JS } from 're2js'
import type { Calendar } from '../calendar.js'
import type { Claim } from '../job.js'
import type { Json } from '../json.js'
import { askedOf, CLOCK_FUNCTIONS, type ClockFunction } from './clock-functions.js'
import { commandClass } from './command.js'
import type { DataUse } from './data-use.js'
import { parseDuration } from './duration.js'

/**
 * The expression language of `when` and `derive`: CEL, parsed once.
 *
 * Numbers: JSON has one kind, so every number from a job is a double. Comparisons and `+ - * / %` work between doubles
 * and integer literals (`input.amount > 50` and `> 50.0` are the same question); two integer literals keep CEL's
 * integer division.
 *
 * Missing keys are errors, and an error is a denial. A job without `input` or `context` reads as an empty map.
 *
 * The library's own `matches()` is a backtracking RegExp and its `duration()` a quadratic one, so both names are bound
 * to linear ones here. The library refuses to replace a built-in, therefore the call is renamed in the parsed tree.
 *
 * `business_hours('berlin')`, `is_holiday('berlin')` and `in_window('freeze')` ask the policy's own calendars about `now`; their names
 * are written out, so that a name nobody declared is a fault of the file and not a denial of every job.
 */
export const VARIABLES = {
  input: 'dyn',
  context: 'dyn',
  labels: 'map<string, string>',
  risk_tags: 'list<string>',
  environment: 'dyn',
  action_type: 'dyn',
  /** What the job's classes derive that it reads and writes; null where none derives it. */
  data: 'dyn',
  capability: 'dyn',
  action: 'dyn',
  workflow: 'dyn',
  topic: 'string',
  agent: 'string',
  agent_version: 'dyn',
  team: 'dyn',
  tenant: 'string',
  now: 'google.protobuf.Timestamp',
} as const

/** What an expression may see of a job: the claim, with the labels, tags and kinds of the view being asked about. */
export interface View {
  labels: Record<string, string>
  risk_tags: string[]
  environment: string | null
  action_type: string | null
  /** Absent where no class derives it. */
  data?: DataUse[]
}

const NOTHING: Json = Object.freeze({}) as Json

/** Variables as getters, so that a decision pays only for those its expressions read. */
class Activation {
  readonly #claim: Claim
  readonly #view: View
  readonly #now: number
  constructor(claim: Claim, view: View, now: number) {
    this.#claim = claim
    this.#view = view
    this.#now = now
  }
  get input() {
    return this.#claim.input ?? NOTHING
  }
  get context() {
    return this.#claim.context ?? NOTHING
  }
  get labels() {
    return this.#view.labels
  }
  get risk_tags() {
    return this.#view.risk_tags
  }
  get environment() {
    return this.#view.environment
  }
  get action_type() {
    return this.#view.action_type
  }
  get data() {
    return this.#view.data ?? null
  }
  get capability() {
    return this.#claim.capability
  }
  get action() {
    return this.#claim.action
  }
  get workflow() {
    return this.#claim.workflow
  }
  get topic() {
    return this.#claim.topic
  }
  get agent() {
    return this.#claim.agent
  }
  get agent_version() {
    return this.#claim.agent_version
  }
  get team() {
    return this.#claim.team
  }
  get tenant() {
    return this.#claim.tenant
  }
  get now() {
    return new Date(this.#now)
  }
}

export function activation(claim: Claim, view: View, now: number): object {
  return new Activation(claim, view, now)
}

/** Longer expressions belong in several rules. */
const MAX_EXPRESSION = 4096

/** Patterns are mostly literals in the policy; 256 leaves room and bounds what a pattern taken from input may pin. */
const MAX_PATTERNS = 256
const patterns = new Map<string, RE2JS>()

function linearMatches(text: string, pattern: string): boolean {
  let compiled = patterns.get(pattern)
  if (!compiled) {
    if (pattern.length > 1000) throw new Error('regular expression longer than 1,000 characters')
    compiled = RE2JS.compile(pattern)
    if (patterns.size >= MAX_PATTERNS) patterns.clear()
    patterns.set(pattern, compiled)
  }
  return compiled.matcher(text).find()
}

const asciiCase = (text: string, from: RegExp, shift: number) =>
  text.replace(from, (letter) => String.fromCharCode(letter.charCodeAt(0) + shift))

/** Names the library binds to something we will not run on hostile input, and what is called instead. */
const RENAMED: Record<string, string> = {
  matches: 'linear_matches',
  duration: 'bounded_duration',
  lowerAscii: 'lower_ascii',
  upperAscii: 'upper_ascii',
}

function buildEnvironment(calendars: readonly Calendar[]): Environment {
  const env = new Environment({
    homogeneousAggregateLiterals: false,
    limits: { maxAstNodes: 1000, maxDepth: 64, maxListElements: 500, maxMapEntries: 100 },
  })
  for (const [name, type] of Object.entries(VARIABLES)) env.registerVariable(name, type)
  const arithmetic: Record<string, (a: number, b: number) => number> = {
    '+': (a, b) => a + b,
    '-': (a, b) => a - b,
    '*': (a, b) => a * b,
    '/': (a, b) => a / b,
    '%': (a, b) => a % b,
  }
  for (const [operator, apply] of Object.entries(arithmetic)) {
    const mixed = (a: number | bigint, b: number | bigint) => apply(Number(a), Number(b))
    env.registerOperator(`double ${operator} int`, mixed)
    env.registerOperator(`int ${operator} double`, mixed)
  }
  env.registerOperator('double % double', (a, b) => a % b)
  env.registerFunction('string.linear_matches(string): bool', linearMatches)
  env.registerFunction('linear_matches(string, string): bool', linearMatches)
  // The library's lowerAscii is toLowerCase(), which turns the Kelvin sign into an ASCII k.
  env.registerFunction('string.lower_ascii(): string', (text: string) => asciiCase(text, /[A-Z]/g, 32))
  env.registerFunction('string.upper_ascii(): string', (text: string) => asciiCase(text, /[a-z]/g, -32))
  env.registerFunction('bounded_duration(string): google.protobuf.Duration', (text: string) => {
    const ms = parseDuration(text)
    if (ms === null) throw new Error(`not a duration: ${text.slice(0, 40)}`)
    return seconds.evaluate(`duration("${ms}ms")`)
  })
  env.registerFunction('command_class(string): string', commandClass)
  const asked = askedOf(calendars)
  for (const name of CLOCK_FUNCTIONS) {
    env.registerFunction(`${name}(string, google.protobuf.Timestamp): bool`, (about: string, now: Date) =>
      asked[name](about, now.getTime()),
    )
  }
  return env
}

/** Only to build Duration values, whose class the library does not export. */
const seconds = new Environment()
const environment = buildEnvironment([])

/** One environment for each list of calendars, about 1 ms to make; most policies have none and share the first. */
const environments = new WeakMap<readonly Calendar[], Environment>()

function environmentOf(calendars: readonly Calendar[] | undefined): Environment {
  if (calendars === undefined || calendars.length === 0) return environment
  let known = environments.get(calendars)
  if (known === undefined) {
    known = buildEnvironment(calendars)
    environments.set(calendars, known)
  }
  return known
}

/** Where in the text it is wrong: UTF-16 offsets. */
export class ExpressionError extends Error {
  override readonly name = 'ExpressionError'
  readonly start: number
  constructor(message: string, start: number) {
    super(message)
    this.start = start
  }
}

export interface Expression {
  text: string
  /** The library's name of the static type; `dyn` where it depends on the job. */
  type: string
  /** Throws on every CEL error. */
  run: (activation: object) => unknown
  /** Paths it reads that may be missing: `input.amount`, without those guarded by `has()`. */
  unguarded: string[]
  /** Calendars and windows it asks about. */
  asks: { fn: ClockFunction; name: string }[]
}

/** Parses and type-checks once. Throws ExpressionError. Calendars that are not among `calendars` are errors when it runs. */
export function compileExpression(text: string, calendars?: readonly Calendar[]): Expression {
  if (text.length > MAX_EXPRESSION) throw new ExpressionError(`longer than ${MAX_EXPRESSION} characters`, 0)
  let parsed: ParseResult
  try {
    parsed = environmentOf(calendars).parse(text)
  } catch (error) {
    throw asExpressionError(error)
  }
  const unguarded = unguardedPaths(parsed.ast)
  renameCalls(parsed.ast)
  const asks = handNow(parsed.ast)
  const checked = parsed.check()
  if (!checked.valid) throw asExpressionError(checked.error)
  return { text, type: checked.type ?? 'dyn', run: bounded(parsed, nesting(parsed.ast)), unguarded, asks }
}

const COMPREHENSIONS = new Set(['all', 'exists', 'exists_one', 'filter', 'map'])
/** Steps that nested comprehensions may take, about 10 ms: two over 4,000 elements took 817 ms on the thread that serves everyone. */
const STEPS = 100_000

/** How deep comprehensions stand in each other. */
function nesting(node: ASTNode): number {
  const inner = Math.max(0, ...children(node).map(nesting))
  const name = node.op === 'rcall' ? (node.args as unknown as [string])[0] : null
  return name !== null && COMPREHENSIONS.has(name) ? inner + 1 : inner
}

/** One pass over a list is linear; passes within passes are held to STEPS by the widest list or map of the job. Past it: an error, so a denial. */
function bounded(parsed: ParseResult, depth: number): Expression['run'] {
  const run = parsed as (activation: object) => unknown
  if (depth < 2) return run
  const limit = Math.floor(STEPS ** (1 / depth))
  return (activation) => {
    const { input, context } = activation as { input: Json; context: Json }
    if (Math.max(widest(input), widest(context)) > limit) throw new TooWide(limit)
    return run(activation)
  }
}

class TooWide extends Error {
  readonly code = 'too_many_elements_for_nested_comprehensions'
  constructor(limit: number) {
    super(`nested comprehensions take at most ${limit} elements here`)
  }
}

function widest(value: Json): number {
  let most = 0
  const open: Json[] = [value]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (typeof next !== 'object' || next === null) continue
    const items = Array.isArray(next) ? next : Object.values(next)
    most = Math.max(most, items.length)
    for (const item of items) open.push(item)
  }
  return most
}

/**
 * Why an expression failed on a job, fit for the reason of a denial: what the policy itself wrote, never a value of the
 * job, because reasons go into the log. The library's messages quote values, so only its code is used, and the name of a
 * missing key where the expression spells it out.
 */
export function failureReason(error: unknown, expression: string): string {
  const { code } = error as { code?: unknown }
  if (typeof code !== 'string') return 'a function refused its argument'
  const key = code === 'no_such_key' ? /^No such key: ([A-Za-z0-9_-]{1,64})$/.exec(failureText(error)) : null
  return key && expression.includes(key[1]!) ? `no such key: ${key[1]}` : code.replaceAll('_', ' ')
}

/** A CEL failure in one line, without the library's picture of the source. */
export function failureText(error: unknown): string {
  const { summary, message } = error as { summary?: unknown; message?: unknown }
  const text = typeof summary === 'string' ? summary : String(message ?? error).split('\n')[0]!
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}

function asExpressionError(error: unknown): ExpressionError {
  const start = (error as { range?: { start?: number } }).range?.start
  return new ExpressionError(failureText(error), start ?? 0)
}

/** Every node below: arguments may be nodes, lists of nodes, or (map literals) lists of pairs. */
function children(node: ASTNode): ASTNode[] {
  const found: ASTNode[] = []
  const visit = (value: unknown) => {
    if (Array.isArray(value)) value.forEach(visit)
    else if (typeof value === 'object' && value !== null && 'op' in value) found.push(value as ASTNode)
  }
  visit(node.args)
  return found
}

/** Macros share the nodes of their written form, so renaming here reaches inside `exists(x, x.matches(...))` too. */
function renameCalls(node: ASTNode): void {
  if (node.op === 'call' || node.op === 'rcall') {
    const args = node.args as unknown as [string, ...unknown[]]
    if (Object.hasOwn(RENAMED, args[0])) args[0] = RENAMED[args[0]]!
  }
  for (const child of children(node)) renameCalls(child)
}

/** Gives every call that asks a calendar the moment as its second argument; what they ask about. Throws ExpressionError. */
function handNow(node: ASTNode): Expression['asks'] {
  const asks = children(node).flatMap(handNow)
  if (node.op !== 'call') return asks
  const [name, args] = node.args as unknown as [string, ASTNode[]]
  const fn = CLOCK_FUNCTIONS.find((each) => each === name)
  if (fn === undefined) return asks
  const about = args[0]
  if (args.length !== 1 || about?.op !== 'value' || typeof about.args !== 'string')
    throw new ExpressionError(`${fn}() takes one name, written out`, node.start ?? 0)
  args.push(environment.parse('now').ast)
  return [...asks, { fn, name: about.args }]
}

/** `input.a.b` or `labels["env"]` as a dotted path; null for anything else. */
function pathOf(node: ASTNode): string | null {
  if (node.op === 'id') return node.args
  if (node.op === '.') {
    const base = pathOf(node.args[0])
    return base === null ? null : `${base}.${node.args[1]}`
  }
  if (node.op === '[]' && node.args[1].op === 'value' && typeof node.args[1].args === 'string') {
    const base = pathOf(node.args[0])
    return base === null ? null : `${base}.${node.args[1].args}`
  }
  return null
}

const isHas = (node: ASTNode) => node.op === 'call' && node.args[0] === 'has'

/** Paths that hold a value whenever the node is `sense`: from `has(p)`, `"k" in labels`, and, not, or. */
function guards(node: ASTNode, sense: boolean): string[] {
  if (node.op === '!_') return guards(node.args, !sense)
  if (node.op === (sense ? '&&' : '||')) return node.args.flatMap((side) => guards(side, sense))
  if (!sense) return []
  if (isHas(node)) {
    const path = pathOf((node.args as [string, ASTNode[]])[1][0]!)
    return path === null ? [] : [path]
  }
  if (node.op === 'in' && node.args[0].op === 'value') {
    const path = pathOf(node.args[1])
    return path === null ? [] : [`${path}.${String(node.args[0].args)}`]
  }
  return []
}

/** Paths below input, context and labels that are read without a `has()` that holds by then. */
function unguardedPaths(root: ASTNode): string[] {
  const found = new Set<string>()
  const visit = (node: ASTNode, safe: readonly string[]): void => {
    if (isHas(node)) {
      // has(input.a.b) asks about b and fails where a is missing.
      const base = pathOf((node.args as [string, ASTNode[]])[1][0]!)
        ?.split('.')
        .slice(0, -1)
      if (base && base.length > 1) record(base.join('.'), safe)
      return
    }
    const path = node.op === 'id' ? null : pathOf(node)
    if (path !== null) record(path, safe)
    else if (node.op === '&&' || node.op === '||') {
      const sense = node.op === '&&'
      const [left, right] = node.args
      visit(left, [...safe, ...guards(right, sense)])
      visit(right, [...safe, ...guards(left, sense)])
    } else if (node.op === '?:') {
      const [condition, yes, no] = node.args
      visit(condition, safe)
      visit(yes, [...safe, ...guards(condition, true)])
      visit(no, [...safe, ...guards(condition, false)])
    } else for (const child of children(node)) visit(child, safe)
  }
  const record = (path: string, safe: readonly string[]) => {
    if (!/^(input|context|labels)\./.test(path)) return
    if (!safe.some((guard) => guard === path || guard.startsWith(`${path}.`))) found.add(path)
  }
  visit(root, [])
  return [...found].sort()
}
