import { type ApprovalLevel, type ApprovalRung, type ApprovalSpec, DEFAULT_APPROVAL } from './document.js'
import { readDuration, readWord, someItems, sorted } from './parse-value.js'
import type { Field, Source } from './reader.js'

const LEVEL_KEYS = ['from', 'need', 'within', 'remind_after']
const FLOW_KEYS = [...LEVEL_KEYS, 'then', 'valid_for', 'levels', 'order', 'kind', 'ladder']
/** Who may be asked. */
const ASKED = /^(team|role|principal|lead|oncall):[^\s]{1,128}$/
/** More levels, rungs or people than that are a mistake, and every answer is counted against all of them. */
const MAX_STEPS = 10
const MAX_NEED = 50

/** A flow: `from` at its top is one level, `levels` are several. A flow of one level has one form, however it is written. */
export function readApproval(source: Source, field: Field): ApprovalSpec {
  const fields = source.map(field, FLOW_KEYS)
  const spec: ApprovalSpec = { ...DEFAULT_APPROVAL }
  if (!fields) return spec
  const levels = fields.get('levels')
  const several = levels ? readLevels(source, fields, levels) : [readLevel(source, fields)]
  const then = fields.get('then')
  if (then) spec.then = readWord(source, then, ['deny', 'escalate']) ?? 'deny'
  const valid = fields.get('valid_for')
  if (valid) spec.valid_for_ms = readDuration(source, valid) ?? spec.valid_for_ms
  const order = fields.get('order')
  const isParallel = order !== undefined && readWord(source, order, ['sequence', 'parallel']) === 'parallel'
  if (order && !levels) source.error('bad_value', 'order is one of levels', order.at)
  const kind = fields.get('kind')
  const confirms = kind !== undefined && readWord(source, kind, ['four_eyes', 'confirmation']) === 'confirmation'
  const ladder = fields.get('ladder')
  if (ladder && spec.then !== 'escalate')
    source.error('bad_value', 'a ladder is climbed only with then: escalate', ladder.at)
  Object.assign(spec, summed(several, isParallel, confirms))
  if (several.length > 1) spec.levels = several
  if (several.length > 1 && isParallel) spec.order = 'parallel'
  if (confirms) spec.kind = 'confirmation'
  if (ladder) spec.ladder = readLadder(source, ladder, spec.within_ms)
  return spec
}

function readLevel(source: Source, fields: Map<string, Field>): ApprovalLevel {
  const { from, need, within_ms } = DEFAULT_APPROVAL
  const level: ApprovalLevel = { from, need, within_ms }
  const asked = fields.get('from')
  if (asked) level.from = readAsked(source, asked) ?? level.from
  const people = fields.get('need')
  if (people) level.need = source.whole(people, 1) ?? 1
  const within = fields.get('within')
  if (within) level.within_ms = readDuration(source, within) ?? level.within_ms
  const remind = fields.get('remind_after')
  const remind_after_ms = remind ? readDuration(source, remind) : null
  if (remind && remind_after_ms !== null) {
    if (remind_after_ms >= level.within_ms)
      source.error('bad_value', 'nobody is reminded of what is over: remind_after is less than within', remind.at)
    level.remind_after_ms = remind_after_ms
  }
  return level
}

function readLevels(source: Source, flow: Map<string, Field>, field: Field): ApprovalLevel[] {
  for (const key of LEVEL_KEYS) {
    const beside = flow.get(key)
    if (beside) source.error('bad_value', `'${key}' belongs to each of the levels`, beside.at)
  }
  const items = someItems(source, field)
  if (items.length > MAX_STEPS) source.error('bad_value', `more than ${MAX_STEPS} levels`, field.at)
  const levels = items.slice(0, MAX_STEPS).flatMap((item) => {
    const fields = source.map(item, LEVEL_KEYS)
    if (!fields) return []
    const asked = fields.get('from')
    if (!asked) source.error('missing_key', 'a level needs from', item.at)
    const level = readLevel(source, fields)
    if (level.need > MAX_NEED) source.error('bad_value', `needs more than ${MAX_NEED} people`, item.at)
    return [level]
  })
  return levels.length > 0 ? levels : [readLevel(source, new Map())]
}

function readLadder(source: Source, field: Field, within_ms: number): ApprovalRung[] {
  const items = someItems(source, field)
  if (items.length > MAX_STEPS) source.error('bad_value', `more than ${MAX_STEPS} rungs`, field.at)
  return items.slice(0, MAX_STEPS).flatMap((item) => {
    const fields = source.map(item, ['from', 'after'])
    const from = fields?.get('from')
    if (fields && !from) source.error('missing_key', 'a rung needs from', item.at)
    const after = fields?.get('after')
    const after_ms = after ? readDuration(source, after) : within_ms
    const asked = from ? readAsked(source, from) : null
    return asked === null || after_ms === null ? [] : [{ from: asked, after_ms }]
  })
}

/** What the levels come to together, for whoever reads only that. */
function summed(levels: readonly ApprovalLevel[], isParallel: boolean, confirms: boolean): ApprovalLevel {
  const needs = levels.map(({ need }) => need)
  const times = levels.map(({ within_ms }) => within_ms)
  const only = levels.length === 1 ? (levels[0] as ApprovalLevel) : null
  const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0)
  return {
    from: only?.from ?? sorted(levels.flatMap(({ from }) => from)),
    need: confirms ? Math.max(...needs) : sum(needs),
    within_ms: isParallel ? Math.max(...times) : sum(times),
    ...(only?.remind_after_ms === undefined ? {} : { remind_after_ms: only.remind_after_ms }),
  }
}

function readAsked(source: Source, field: Field): string[] | null {
  const words = source.items(field).flatMap((item) => {
    const text = source.string(item)
    if (text === null || ASKED.test(text)) return text ?? []
    const forms = 'write team:x, role:x, principal:x, lead:x or oncall:x'
    source.error('bad_value', `'${text.slice(0, 60)}' is nobody`, item.at, forms)
    return []
  })
  if (words.length > 0) return sorted(words)
  if (source.isList(field)) source.error('bad_value', 'nobody could answer', field.at)
  return null
}
