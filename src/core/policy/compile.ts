import { digestOf } from '../canonical.js'
import type { Json } from '../json.js'
import { type CompiledWorkflow, compileWorkflow } from '../workflow.js'
import { type ClassPlan, type CompiledClass, compileClass, planClasses } from './classes.js'
import { CLOCK_FUNCTIONS } from './clock-functions.js'
import type { PolicyDocument, Rule } from './document.js'
import { compileExpression, type Expression } from './expression.js'
import { buildIndex, buildVocabulary, type Condition, type RuleIndex, type Vocabulary } from './match.js'
import { isTopic, TopicTrie } from './topics.js'
import type { Verdict } from './verdict.js'

/** Part of the digest: raised when the same document starts to mean something else. */
const FORMAT = 1

/** Topics and topic plans kept. Topics come from outside, so past this the table is emptied and fills again. */
const MAX_TOPICS = 8192
const MAX_PLANS = 2048

/** A document that cannot be compiled; the parser refuses the same faults with their place in the file. */
export class PolicyCompileError extends Error {
  override readonly name = 'PolicyCompileError'
  /** The rule's id or the job class's topic. */
  readonly subject: string
  constructor(subject: string, cause: unknown) {
    super(`${subject}: ${(cause as Error).message}`, { cause })
    this.subject = subject
  }
}

/** A rule, or an entry of `high_risk`, which matches like a rule and decides nothing. */
interface Judged extends Condition {
  rule: Rule | null
}

/** Everything that applies to one topic, worked out when a job first names it. */
export interface TopicPlan {
  rules: readonly Judged[]
  index: RuleIndex
  classes: ClassPlan
  /** Verdicts by the hash of the matching rules; see evaluate.ts. */
  verdicts: Map<number, { key: number[]; verdict: Verdict }>
}

export interface CompiledPolicy {
  readonly digest: string
  readonly document: PolicyDocument
  /** Whether some expression may read `now`: what was decided under it then holds for a while only. */
  readonly readsClock: boolean
  /** By the name that jobs say in `workflow`. */
  readonly workflows: ReadonlyMap<string, CompiledWorkflow>
  readonly tables: Tables
}

interface Tables {
  judged: readonly Judged[]
  vocabulary: Vocabulary
  classes: readonly CompiledClass[]
  /** Topic patterns of the whole document; number → those that apply. */
  trie: TopicTrie
  rulesOf: number[][]
  classesOf: number[][]
  /** Rules that name no topic. */
  everywhere: number[]
  byTopic: Map<string, TopicPlan>
  byPatterns: Map<string, TopicPlan>
}

/** sha256, hex, over the normalised document and the format version. Compiled structures never enter it. */
export function policyDigest(document: PolicyDocument): string {
  return digestOf('policy', { format: FORMAT, document: document as unknown as Json })
}

/** Builds the index. Throws PolicyCompileError for a document that no parser made. */
export function compilePolicy(document: PolicyDocument): CompiledPolicy {
  const judged: Judged[] = [
    ...document.rules.map((rule) => ({ rule, match: rule.match, when: compileWhen(rule, document.calendars) })),
    ...document.high_risk.map((match) => ({ rule: null, match, when: null })),
  ]
  const classes = document.job_classes.map((job) => guarded(job.topic, () => compileClass(job, document.calendars)))
  const workflows = new Map(
    document.workflows?.map((each) => [each.id, guarded(each.id, () => compileWorkflow(each, document.calendars))]),
  )
  const { rules, job_classes } = document
  const readsClock = CLOCK.test(JSON.stringify([rules.map(({ when }) => when), job_classes, document.workflows]))
  return { digest: policyDigest(document), document, readsClock, workflows, tables: buildTables(judged, classes) }
}

const CLOCK = new RegExp(`\\b(now|${CLOCK_FUNCTIONS.join('|')})\\b`)

function compileWhen({ id, when }: Rule, calendars: PolicyDocument['calendars']): Expression | null {
  return when === null ? null : guarded(id, () => compileExpression(when, calendars))
}

function guarded<T>(subject: string, build: () => T): T {
  try {
    return build()
  } catch (error) {
    throw new PolicyCompileError(subject, error)
  }
}

function buildTables(judged: readonly Judged[], classes: readonly CompiledClass[]): Tables {
  const trie = new TopicTrie()
  const numbers = new Map<string, number>()
  const rulesOf: number[][] = []
  const classesOf: number[][] = []
  const numberOf = (pattern: string): number => {
    const known = numbers.get(pattern)
    if (known !== undefined) return known
    const number = numbers.size
    numbers.set(pattern, number)
    trie.add(pattern, number)
    rulesOf.push([])
    classesOf.push([])
    return number
  }
  const everywhere: number[] = []
  judged.forEach(({ match }, i) => {
    if (!match.topic) everywhere.push(i)
    for (const pattern of match.topic ?? []) rulesOf[numberOf(pattern)]!.push(i)
  })
  classes.forEach(({ job }, i) => {
    classesOf[numberOf(job.topic)]!.push(i)
  })
  const vocabulary = buildVocabulary(judged)
  const plans = { byTopic: new Map(), byPatterns: new Map() }
  return { judged, vocabulary, classes, trie, rulesOf, classesOf, everywhere, ...plans }
}

/**
 * The plan for a topic; null for what is no topic. Topics that are named by the same patterns share one plan, so an
 * agent that invents topics costs a walk of the trie each and builds nothing new.
 */
export function planFor({ tables }: CompiledPolicy, topic: string): TopicPlan | null {
  const known = tables.byTopic.get(topic)
  if (known !== undefined) return known
  if (!isTopic(topic)) return null
  const patterns = tables.trie.match(topic)
  const key = patterns.join(' ')
  let plan = tables.byPatterns.get(key)
  if (!plan) {
    plan = buildPlan(tables, patterns)
    if (tables.byPatterns.size >= MAX_PLANS) tables.byPatterns.clear()
    tables.byPatterns.set(key, plan)
  }
  if (tables.byTopic.size >= MAX_TOPICS) tables.byTopic.clear()
  tables.byTopic.set(topic, plan)
  return plan
}

function buildPlan(tables: Tables, patterns: readonly number[]): TopicPlan {
  const named = new Set([...tables.everywhere, ...patterns.flatMap((pattern) => tables.rulesOf[pattern]!)])
  const rules = [...named].sort((a, b) => a - b).map((i) => tables.judged[i]!)
  const classes = patterns.flatMap((pattern) => tables.classesOf[pattern]!).map((i) => tables.classes[i]!)
  return { rules, index: buildIndex(tables.vocabulary, rules), classes: planClasses(classes), verdicts: new Map() }
}
