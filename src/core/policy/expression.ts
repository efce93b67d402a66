import type { ASTNode, ParseResult } from '@marcbachmann/cel-js'
import type { Calendar } from '../calendar.js'
import type { Claim } from '../job.js'
import type { Json } from '../json.js'
import { environmentOf } from './cel-environment.js'
import { metered, STEPS } from './cel-meter.js'
import { children, renameCalls, unguardedPaths } from './cel-tree.js'
import { CLOCK_FUNCTIONS, type ClockFunction } from './clock-functions.js'
import type { DataUse } from './data-use.js'

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

/** Longer expressions belong in several rules. */
const MAX_EXPRESSION = 4096

/**
 * Parses and type-checks once. Throws ExpressionError. Calendars that are not among `calendars` are errors when it runs.
 * @param steps what one run may cost
 */
export function compileExpression(text: string, calendars?: readonly Calendar[], steps = STEPS): Expression {
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
  return { text, type: checked.type ?? 'dyn', run: metered(parsed, steps), unguarded, asks }
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
  args.push(environmentOf(undefined).parse('now').ast)
  return [...asks, { fn, name: about.args }]
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
