import type { Claim } from '../job.js'
import { type Matcher, SCALAR_FIELDS, type ScalarField } from './document.js'
import { activation, type Expression, failureReason, type View } from './expression.js'

/** What the index needs to know of a rule, or of an entry of `high_risk`. */
export interface Condition {
  match: Matcher
  when: Expression | null
}

/**
 * Every label name and field that any rule asks about is a slot, and every value a rule names there is a number; so is
 * every tag. One vocabulary serves the whole policy: a job's values are looked up once, and rules compare numbers. Shared
 * tables stay in the processor's cache where one per topic did not (10,000 rules on 1,000 topics: 2 to 3 times).
 */
export interface Vocabulary {
  slots: Slot[]
  slotOf: Map<string, number>
  tags: Map<string, number>
  /** Of the job being asked about, by slot: its value's number, -1 if no rule names it; then, by tag, 1 if it has it. */
  numbers: Int32Array
  /** By slot, for values with `*`. */
  texts: (string | null)[]
}

interface Slot {
  /** Null for a label. */
  field: ScalarField | null
  name: string
  values: Map<string, number>
}

/**
 * The rules that name one topic, as code: for each rule its number, where its harder conditions are (-1: none), how many
 * pairs follow, and that many pairs of position and number that must be equal. Reading straight through a dozen rules is
 * cheaper than any lookup. Past that, each rule hangs under the value or tag of its rarest condition and is read only if
 * the job has it, so a thousand rules on one topic cost about what the few cost that share a value with the job.
 */
export interface RuleIndex {
  /** Slots that some rule here asks about. */
  slots: number[]
  usesTags: boolean
  always: number[]
  hooks: { position: number; code: Map<number, number[]> }[]
  harder: Harder[]
  found: Found
}

/** What is no plain comparison. */
interface Harder {
  choices: Choice[]
  /** Positions of tags of which one must be there; null if the rule asks for none in this way. */
  anyTag: number[] | null
  when: Expression | null
}

interface Choice {
  slot: number
  numbers: number[]
  globs: ((text: string) => boolean)[]
}

/** Result of the last `find`, in a buffer that is used again: no allocation per decision. */
export interface Found {
  rules: Int32Array
  count: number
  /** Rules whose `when` failed, with the reason; null if none did. */
  errors: { rule: number; message: string }[] | null
}

/** Rules on one topic up to which reading all of them beats looking any up. */
const READ_ALL = 24

/** `*` stands for any run of characters. Linear: pieces are searched left to right, first and last anchored. */
export function valueGlob(pattern: string): (text: string) => boolean {
  const pieces = pattern.split('*')
  const first = pieces[0]!
  const last = pieces.at(-1)!
  const middle = pieces.slice(1, -1).filter((piece) => piece !== '')
  return (text) => {
    if (!text.startsWith(first) || !text.endsWith(last)) return false
    let at = first.length
    for (const piece of middle) {
      const next = text.indexOf(piece, at)
      if (next < 0) return false
      at = next + piece.length
    }
    return at <= text.length - last.length
  }
}

/** One value of a matcher against one value of a job, as the slow path (explain, lint) asks it. */
export function valueMatches(pattern: string, text: string): boolean {
  return pattern.includes('*') ? valueGlob(pattern)(text) : pattern === text
}

/** A matcher's conditions on single values: label or field, and the values that will do. */
export function valueConditions(matcher: Matcher): { field: ScalarField | null; name: string; values: string[] }[] {
  const labels = Object.entries(matcher.labels ?? {}).map(([name, values]) => ({ field: null, name, values }))
  const scalars = SCALAR_FIELDS.flatMap((field) => {
    const values = matcher[field]
    return values ? [{ field, name: field, values }] : []
  })
  return [...labels, ...scalars]
}

export function buildVocabulary(conditions: readonly Condition[]): Vocabulary {
  const slots: Slot[] = []
  const slotOf = new Map<string, number>()
  const names = new Set<string>()
  for (const { match } of conditions) {
    for (const { field, name, values } of valueConditions(match)) {
      const key = slotKey(field, name)
      if (!slotOf.has(key)) slotOf.set(key, slots.push({ field, name, values: new Map() }) - 1)
      const numbers = slots[slotOf.get(key)!]!.values
      for (const value of values) if (!value.includes('*') && !numbers.has(value)) numbers.set(value, numbers.size)
    }
    for (const tag of wantedTags(match)) names.add(tag)
  }
  return {
    slots,
    slotOf,
    tags: new Map([...names].map((tag, i) => [tag, slots.length + i])),
    numbers: new Int32Array(slots.length + names.size),
    texts: new Array<string | null>(slots.length).fill(null),
  }
}

const slotKey = (field: ScalarField | null, name: string) => (field === null ? `label:${name}` : name)

function wantedTags({ risk_tags }: Matcher): string[] {
  return risk_tags === undefined ? [] : 'all' in risk_tags ? risk_tags.all : risk_tags.any
}

/** A rule on its way into the index: positions and numbers that must be equal, and the rest. */
interface Draft {
  rule: number
  pairs: [position: number, number: number][]
  harder: Harder
}

export function buildIndex(vocabulary: Vocabulary, conditions: readonly Condition[]): RuleIndex {
  const drafts = conditions.map((condition, rule) => draftRule(vocabulary, condition, rule))
  const index: RuleIndex = {
    slots: [...new Set(drafts.flatMap(usedSlots))]
      .filter((slot) => slot < vocabulary.slots.length)
      .sort((a, b) => a - b),
    usesTags: conditions.some(({ match }) => match.risk_tags !== undefined),
    always: [],
    hooks: [],
    harder: [],
    found: { rules: new Int32Array(conditions.length), count: 0, errors: null },
  }
  if (drafts.length <= READ_ALL) for (const draft of drafts) write(index, index.always, draft, draft.pairs)
  else hangAll(index, drafts)
  return index
}

const usedSlots = ({ pairs, harder }: Draft) => [
  ...pairs.map(([position]) => position),
  ...harder.choices.map(({ slot }) => slot),
]

function draftRule(vocabulary: Vocabulary, { match, when }: Condition, rule: number): Draft {
  const draft: Draft = { rule, pairs: [], harder: { choices: [], anyTag: null, when } }
  for (const { field, name, values } of valueConditions(match)) {
    const slot = vocabulary.slotOf.get(slotKey(field, name))!
    const exact = values.filter((value) => !value.includes('*'))
    const numbers = exact.map((value) => vocabulary.slots[slot]!.values.get(value)!)
    const globs = values.filter((value) => value.includes('*')).map(valueGlob)
    if (globs.length === 0 && numbers.length === 1) draft.pairs.push([slot, numbers[0]!])
    else draft.harder.choices.push({ slot, numbers, globs })
  }
  const tags = wantedTags(match).map((tag) => vocabulary.tags.get(tag)!)
  const all = match.risk_tags !== undefined && ('all' in match.risk_tags || tags.length === 1)
  if (all) for (const tag of tags) draft.pairs.push([tag, 1])
  else if (match.risk_tags !== undefined) draft.harder.anyTag = tags
  return draft
}

function write(index: RuleIndex, code: number[], { rule, harder }: Draft, pairs: Draft['pairs']): void {
  const easy = harder.choices.length === 0 && harder.anyTag === null && harder.when === null
  code.push(rule, easy ? -1 : index.harder.push(harder) - 1, pairs.length, ...pairs.flat())
}

/** Puts every rule under its rarest condition; what that one already decides is not compared again. */
function hangAll(index: RuleIndex, drafts: readonly Draft[]): void {
  const popularity = new Map<number, Map<number, number>>()
  for (const [position, number] of drafts.flatMap((draft) => hooksOf(draft).flat())) {
    const counts = popularity.get(position) ?? new Map<number, number>()
    popularity.set(position, counts.set(number, (counts.get(number) ?? 0) + 1))
  }
  const crowd = (hooks: Draft['pairs']) =>
    hooks.reduce((sum, [position, number]) => sum + popularity.get(position)!.get(number)!, 0)
  for (const draft of drafts) {
    const best = hooksOf(draft).reduce<Draft['pairs'] | null>(
      (least, hooks) => (least === null || crowd(hooks) < crowd(least) ? hooks : least),
      null,
    )
    if (best === null) write(index, index.always, draft, draft.pairs)
    else for (const hook of best) writeUnder(index, hook, draft)
  }
}

/** Ways to hang a rule: each a set of values of which the job has exactly one if the rule is to match. */
function hooksOf({ pairs, harder }: Draft): Draft['pairs'][] {
  const choices = harder.choices.filter(({ globs, numbers }) => globs.length === 0 && numbers.length > 0)
  return [
    ...pairs.map((pair) => [pair]),
    ...choices.map(({ slot, numbers }) => numbers.map((number): [number, number] => [slot, number])),
  ]
}

function writeUnder(index: RuleIndex, [position, number]: [number, number], draft: Draft): void {
  let hook = index.hooks.find((each) => each.position === position)
  if (!hook) {
    hook = { position, code: new Map() }
    index.hooks.push(hook)
  }
  const code = hook.code.get(number) ?? []
  hook.code.set(number, code)
  const pairs = draft.pairs.filter(([p, n]) => p !== position || n !== number)
  const choices = draft.harder.choices.filter(({ slot }) => slot !== position)
  write(index, code, { ...draft, harder: { ...draft.harder, choices } }, pairs)
}

/** Finds every rule that matches the job as `view` has it. The result is in `index.found` until the next call. */
export function find(vocabulary: Vocabulary, index: RuleIndex, claim: Claim, view: View, now: number): Found {
  const { found, slots } = index
  const { numbers } = vocabulary
  found.count = 0
  found.errors = null
  for (let i = 0; i < slots.length; i++) {
    const slot = vocabulary.slots[slots[i]!]!
    const text = slot.field === null ? view.labels[slot.name] : scalar(claim, view, slot.field)
    // A label called like a member of Object.prototype reads as a function here: no text, no match.
    const known = typeof text === 'string'
    numbers[slots[i]!] = known ? (slot.values.get(text) ?? -1) : -1
    vocabulary.texts[slots[i]!] = known ? text : null
  }
  if (!index.usesTags) return readUnder(vocabulary, index, claim, view, now)
  try {
    markTags(vocabulary, view.risk_tags, 1)
    return readUnder(vocabulary, index, claim, view, now)
  } finally {
    // Also after a failure, such as a stack that ran out: a mark left behind would be the next job's tag.
    markTags(vocabulary, view.risk_tags, 0)
  }
}

function readUnder(vocabulary: Vocabulary, index: RuleIndex, claim: Claim, view: View, now: number): Found {
  const { hooks, found } = index
  const { numbers } = vocabulary
  read(vocabulary, index, index.always, claim, view, now)
  for (let i = 0; i < hooks.length; i++) {
    const { position, code } = hooks[i]!
    const under = code.get(numbers[position]!)
    if (under !== undefined) read(vocabulary, index, under, claim, view, now)
  }
  return found
}

function markTags({ tags, numbers }: Vocabulary, carried: readonly string[], mark: 0 | 1): void {
  for (let i = 0; i < carried.length; i++) {
    const position = tags.get(carried[i]!)
    if (position !== undefined) numbers[position] = mark
  }
}

/** A switch, not `view[field]`: a computed key costs a dictionary lookup where a fixed one is an offset. */
function scalar(claim: Claim, view: View, field: ScalarField): string | null {
  switch (field) {
    case 'environment':
      return view.environment
    case 'action_type':
      return view.action_type
    case 'capability':
      return claim.capability
    case 'action':
      return claim.action
    case 'workflow':
      return claim.workflow
    case 'agent':
      return claim.agent
    case 'agent_version':
      return claim.agent_version
    case 'team':
      return claim.team
    case 'tenant':
      return claim.tenant
  }
}

function read(vocabulary: Vocabulary, index: RuleIndex, code: number[], claim: Claim, view: View, now: number): void {
  const { numbers } = vocabulary
  const { found } = index
  let at = 0
  next: while (at < code.length) {
    const rule = code[at]!
    const harder = code[at + 1]!
    const end = at + 3 + 2 * code[at + 2]!
    let i = at + 3
    at = end
    for (; i < end; i += 2) if (numbers[code[i]!] !== code[i + 1]!) continue next
    if (harder >= 0 && !harderHolds(vocabulary, index, index.harder[harder]!, rule, claim, view, now)) continue
    found.rules[found.count++] = rule
  }
}

function harderHolds(
  { numbers, texts }: Vocabulary,
  { found }: RuleIndex,
  { choices, anyTag, when }: Harder,
  rule: number,
  claim: Claim,
  view: View,
  now: number,
): boolean {
  for (let i = 0; i < choices.length; i++) {
    const choice = choices[i]!
    const number = numbers[choice.slot]!
    if (number >= 0 && choice.numbers.includes(number)) continue
    const text = texts[choice.slot]!
    if (text === null || !choice.globs.some((fits) => fits(text))) return false
  }
  if (anyTag !== null && !anyTag.some((position) => numbers[position] === 1)) return false
  return when === null || whenHolds(when, rule, found, claim, view, now)
}

function whenHolds(when: Expression, rule: number, found: Found, claim: Claim, view: View, now: number): boolean {
  try {
    const holds = when.run(activation(claim, view, now))
    if (typeof holds === 'boolean') return holds
    noteError(found, rule, 'when gave no true or false')
  } catch (error) {
    noteError(found, rule, failureReason(error, when.text))
  }
  return false
}

function noteError(found: Found, rule: number, message: string): void {
  found.errors ??= []
  found.errors.push({ rule, message })
}
