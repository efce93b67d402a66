import type { Claim } from '../job.js'
import type { Json } from '../json.js'
import { type DataUse, readDataUses, sortedUses } from './data-use.js'
import type { JobClass, PolicyDocument } from './document.js'
import { activation, compileExpression, type Expression, failureReason, type View } from './expression.js'
import { compileSchema, type SchemaFault } from './schema.js'
import { specificity } from './topics.js'

/** What every job class that names the topic says together: the tightest of each time, the most specific owner. */
export interface EffectiveClass {
  /** Patterns of the classes that apply, most specific first. */
  topics: string[]
  timeout_ms: number
  attempts: number
  heartbeat_ms: number
  queue_timeout_ms: number
  idempotent: boolean
  owner: string | null
  respond_within_ms: number | null
}

export const CLASS_DEFAULTS: EffectiveClass = {
  topics: [],
  timeout_ms: 60_000,
  attempts: 3,
  heartbeat_ms: 10_000,
  queue_timeout_ms: 3_600_000,
  idempotent: false,
  owner: null,
  respond_within_ms: null,
}

/** A class with its expressions and schema compiled. */
export interface CompiledClass {
  job: JobClass
  /** Key (`label:env`, `environment`, `action_type`) → what the server holds true: a value or an expression. */
  values: Map<string, string | Expression>
  tags: [tag: string, when: Expression][]
  data: Expression | null
  schema: ((value: Json) => SchemaFault[]) | null
}

/** Throws ExpressionError or SchemaError. */
export function compileClass(job: JobClass, calendars?: PolicyDocument['calendars']): CompiledClass {
  const compile = (text: string) => compileExpression(text, calendars)
  const values = new Map<string, string | Expression>()
  for (const [name, value] of Object.entries(job.set.labels)) values.set(`label:${name}`, value)
  for (const [name, text] of Object.entries(job.derive.labels)) values.set(`label:${name}`, compile(text))
  for (const kind of ['environment', 'action_type'] as const) {
    if (job.set[kind] !== null) values.set(kind, job.set[kind])
    if (job.derive[kind] !== null) values.set(kind, compile(job.derive[kind]))
  }
  return {
    job,
    values,
    tags: Object.entries(job.derive.risk_tags).map(([tag, text]) => [tag, compile(text)]),
    data: job.derive.data === undefined ? null : compile(job.derive.data),
    schema: job.input_schema && compileSchema(job.input_schema),
  }
}

/** All classes that apply to one topic, worked out once. */
export interface ClassPlan {
  effective: EffectiveClass
  values: [key: string, value: string | Expression][]
  setTags: string[]
  tags: [tag: string, when: Expression][]
  /** What the job reads and writes: all that any class derives. */
  data: Expression[]
  requires: JobClass['require'][]
  schemas: ((value: Json) => SchemaFault[])[]
  /** Two equally specific classes that disagree: nobody can say what the server holds true, so the job is denied. */
  conflict: string | null
  /** False where no class sets, derives, requires or validates: the claim is the server's view. */
  acts: boolean
}

export function planClasses(classes: readonly CompiledClass[]): ClassPlan {
  const ranked = classes.toSorted(
    (a, b) => specificity(b.job.topic) - specificity(a.job.topic) || (a.job.topic < b.job.topic ? -1 : 1),
  )
  const { values, conflict } = settleValues(ranked)
  const jobs = ranked.map((each) => each.job)
  const plan = {
    effective: effectiveClass(jobs),
    values,
    setTags: [...new Set(jobs.flatMap((job) => job.set.risk_tags))],
    tags: ranked.flatMap((each) => each.tags),
    data: ranked.flatMap((each) => each.data ?? []),
    requires: jobs.map((job) => job.require).filter(asksAnything),
    schemas: ranked.flatMap((each) => each.schema ?? []),
    conflict,
  }
  const lists = [plan.values, plan.setTags, plan.tags, plan.data, plan.requires, plan.schemas]
  return { ...plan, acts: conflict !== null || lists.some((list) => list.length > 0) }
}

const asksAnything = (require: JobClass['require']) =>
  require.labels.length + require.risk_tags.length + require.input.length > 0 ||
  require.environment ||
  require.action_type

function effectiveClass(jobs: readonly JobClass[]): EffectiveClass {
  const tightest = (key: 'timeout_ms' | 'attempts' | 'heartbeat_ms' | 'queue_timeout_ms' | 'respond_within_ms') =>
    jobs.reduce<number | null>((low, { [key]: value }) => (value === null ? low : Math.min(low ?? value, value)), null)
  const saying = jobs.filter((job) => job.idempotent !== null)
  return Object.freeze({
    topics: Object.freeze(jobs.map((job) => job.topic)) as string[],
    timeout_ms: tightest('timeout_ms') ?? CLASS_DEFAULTS.timeout_ms,
    attempts: tightest('attempts') ?? CLASS_DEFAULTS.attempts,
    heartbeat_ms: tightest('heartbeat_ms') ?? CLASS_DEFAULTS.heartbeat_ms,
    queue_timeout_ms: tightest('queue_timeout_ms') ?? CLASS_DEFAULTS.queue_timeout_ms,
    // One class that says repeating does harm is enough.
    idempotent: saying.length > 0 && saying.every((job) => job.idempotent),
    owner: jobs.find((job) => job.owner !== null)?.owner ?? null,
    respond_within_ms: tightest('respond_within_ms'),
  })
}

/** For every key the most specific class's value; `ranked` is most specific first. */
function settleValues(ranked: readonly CompiledClass[]): Pick<ClassPlan, 'values' | 'conflict'> {
  const settled = new Map<string, { value: string | Expression; topic: string }>()
  let conflict: string | null = null
  for (const { job, values } of ranked) {
    for (const [key, value] of values) {
      const held = settled.get(key)
      if (!held) settled.set(key, { value, topic: job.topic })
      else if (specificity(held.topic) === specificity(job.topic) && textOf(held.value) !== textOf(value)) {
        conflict ??= `job classes ${held.topic} and ${job.topic} disagree on ${key}`
      }
    }
  }
  return { values: [...settled].map(([key, { value }]) => [key, value]), conflict }
}

const textOf = (value: string | Expression) => (typeof value === 'string' ? `"${value}` : value.text)

export interface ServerView {
  view: View
  /**
   * The same with every value the agent itself gave in place of the server's; null where none is another. What the agent
   * left out is no claim: there the server's value stands in both. Tags are united, so they never differ.
   */
  claimed: View | null
  /** Why the job is denied whatever the rules say; null if its classes are content. */
  denial: string | null
}

/** What the server holds true about the job: the claim with every set and derived value over it. */
export function serverView(plan: ClassPlan, claim: Claim, now: number): ServerView {
  const view: View = {
    labels: claim.labels,
    risk_tags: uniteTags(claim.risk_tags, plan.setTags),
    environment: claim.environment,
    action_type: claim.action_type,
  }
  const own = { denial: plan.conflict, differs: false }
  if (plan.values.length > 0) {
    // A spread copies own keys as data, so a claimed `__proto__` stays an ordinary label.
    view.labels = { ...claim.labels }
    for (const [key, source] of plan.values) applyValue(key, source, { view, claim, now, own })
  }
  for (const [tag, when] of plan.tags) {
    const holds = attempt(when, claim, claim, now, own, `risk tag ${tag}`)
    if (holds === true) view.risk_tags = uniteTags(view.risk_tags, [tag])
    else if (holds !== false && holds !== undefined) own.denial ??= `deriving risk tag ${tag} gave no true or false`
  }
  if (plan.data.length > 0) view.data = dataOf(plan, claim, now, own)
  own.denial ??= missing(plan, claim, view) ?? malformed(plan, claim.input)
  return { view, claimed: own.differs ? claimedView(claim, view) : null, denial: own.denial }
}

/** The action type that the server itself holds true; null where that is left to the agent to say. */
export function heldActionType(plan: ClassPlan, claim: Claim, now: number): string | null {
  return plan.acts ? serverView(plan, { ...claim, action_type: null }, now).view.action_type : null
}

function claimedView(claim: Claim, view: View): View {
  return {
    labels: { ...view.labels, ...claim.labels },
    risk_tags: view.risk_tags,
    environment: claim.environment ?? view.environment,
    action_type: claim.action_type ?? view.action_type,
    // Never the agent's to say.
    ...(view.data === undefined ? {} : { data: view.data }),
  }
}

/** What could not be derived is a denial: nobody knows then what the job would touch. */
function dataOf(plan: ClassPlan, claim: Claim, now: number, own: { denial: string | null }): DataUse[] {
  const uses = plan.data.flatMap((source) => {
    const derived = attempt(source, claim, claim, now, own, 'data')
    if (derived === undefined) return []
    const read = readDataUses(derived)
    if (typeof read !== 'string') return read
    own.denial ??= `deriving data failed: ${read}`
    return []
  })
  return sortedUses(uses)
}

interface Applying {
  view: View
  claim: Claim
  now: number
  own: { denial: string | null; differs: boolean }
}

function applyValue(key: string, source: string | Expression, { view, claim, now, own }: Applying): void {
  const value = typeof source === 'string' ? source : attempt(source, claim, claim, now, own, key)
  if (value === null || value === undefined) return
  if (typeof value !== 'string') {
    own.denial ??= `deriving ${key} gave no text`
    return
  }
  if (key === 'environment' || key === 'action_type') {
    own.differs ||= claim[key] !== null && claim[key] !== value
    view[key] = value
    return
  }
  const name = key.slice('label:'.length)
  own.differs ||= Object.hasOwn(claim.labels, name) && claim.labels[name] !== value
  view.labels[name] = value
}

/** The expression's value, or undefined with the denial noted. */
function attempt(
  source: Expression,
  claim: Claim,
  view: View,
  now: number,
  own: { denial: string | null },
  what: string,
): unknown {
  try {
    return source.run(activation(claim, view, now))
  } catch (error) {
    own.denial ??= `deriving ${what} failed: ${failureReason(error, source.text)}`
    return undefined
  }
}

function uniteTags(claimed: string[], more: readonly string[]): string[] {
  const fresh = more.filter((tag) => !claimed.includes(tag))
  return fresh.length === 0 ? claimed : [...claimed, ...fresh]
}

function missing(plan: ClassPlan, claim: Claim, view: View): string | null {
  for (const { labels, risk_tags, environment, action_type, input } of plan.requires) {
    const label = labels.find((name) => !Object.hasOwn(view.labels, name) || view.labels[name] === '')
    if (label !== undefined) return `this topic requires label ${label}`
    const tag = risk_tags.find((name) => !view.risk_tags.includes(name))
    if (tag !== undefined) return `this topic requires risk tag ${tag}`
    if (environment && !view.environment) return 'this topic requires environment'
    if (action_type && !view.action_type) return 'this topic requires action_type'
    const path = input.find((dotted) => !hasPath(claim.input, dotted))
    if (path !== undefined) return `this topic requires input.${path}`
  }
  return null
}

function hasPath(input: Json, dotted: string): boolean {
  let at: Json | undefined = input
  for (const key of dotted.split('.')) {
    if (typeof at !== 'object' || at === null || Array.isArray(at) || !Object.hasOwn(at, key)) return false
    at = at[key]
  }
  return at !== null && at !== undefined
}

/** Without the faults themselves: they name keys of the input, and a reason goes into the log. */
function malformed(plan: ClassPlan, input: Json): string | null {
  return inputFaults(plan, input).length > 0 ? 'the input does not fit the schema of its job class' : null
}

/** What the topic's schemas say against an input. A job without input is not malformed: `require` asks for one. */
export function inputFaults(plan: ClassPlan, input: Json): SchemaFault[] {
  return input === null ? [] : plan.schemas.flatMap((check) => check(input))
}
