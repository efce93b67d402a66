import { parseDuration } from './duration.js'
import { compileExpression, ExpressionError } from './expression.js'
import { nearest } from './nearest.js'
import type { Field, Source } from './reader.js'
import { isTopicPattern } from './topics.js'

/** What single values of a policy file must look like, wherever they stand. Each reader reports its fault at the value. */

/** Ids appear in answers, logs and keys of counters. */
const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/
/** Names of labels and tags: what a person would type, nothing that needs escaping anywhere. */
export const NAME = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$/
const OWNER = /^(team|role|principal):[^\s]{1,128}$/

/** Sorted and without repeats, so that equal lists are equal documents. */
export const sorted = (items: readonly string[]) => [...new Set(items)].sort()

export function readId(source: Source, fields: Map<string, Field>, owner: Field, kind: string): string | null {
  const id = fields.get('id')
  const name = fields.get('name')
  if (id && name) source.error('duplicate_key', "'name' and 'id' are the same key", name.at)
  const field = id ?? name
  if (!field) {
    source.error('missing_key', `${kind} needs an id`, owner.at)
    return null
  }
  const text = source.string(field)
  if (text === null) return null
  if (ID.test(text)) return text
  source.error('bad_value', `'${text.slice(0, 60)}' is no id: letters, digits, dot, dash and underscore`, field.at)
  return null
}

/** One of a closed set of words. */
export function readWord<Word extends string>(source: Source, field: Field, words: readonly Word[]): Word | null {
  const text = source.string(field)
  if (text === null) return null
  const word = words.find((candidate) => candidate === text)
  if (word !== undefined) return word
  const near = nearest(text, words)
  source.error(
    'bad_value',
    `'${text.slice(0, 60)}' is not one of ${words.join(', ')}`,
    field.at,
    near ? `did you mean '${near}'?` : undefined,
  )
  return null
}

/** The items of a list that must name something. */
export function someItems(source: Source, field: Field): Field[] {
  const items = source.items(field)
  if (items.length === 0 && source.isList(field)) source.error('bad_value', 'an empty list names nothing', field.at)
  return items
}

export function readStrings(source: Source, field: Field): string[] {
  return sorted(
    someItems(source, field).flatMap((item) => {
      const text = source.string(item)
      if (text === '') source.error('bad_value', 'is empty', item.at)
      return text ? [text] : []
    }),
  )
}

export function readNames(source: Source, field: Field): string[] {
  return sorted(
    someItems(source, field).flatMap((item) => {
      const text = source.string(item)
      if (text !== null && !NAME.test(text)) source.error('bad_value', `'${text.slice(0, 60)}' is no name`, item.at)
      return text !== null && NAME.test(text) ? [text] : []
    }),
  )
}

export function checkName(source: Source, name: string, field: Field): boolean {
  if (NAME.test(name)) return true
  source.error('bad_value', `'${name.slice(0, 60)}' is no name`, field.at)
  return false
}

export function readTopics(source: Source, field: Field): string[] {
  return sorted(
    someItems(source, field).flatMap((item) => {
      const text = source.string(item)
      if (text === null) return []
      if (isTopicPattern(text)) return [text]
      source.error(
        'bad_topic',
        `'${text.slice(0, 60)}' is no topic pattern`,
        item.at,
        'lower-case tokens joined by dots; * is one segment, > one or more at the end',
      )
      return []
    }),
  )
}

export function readDuration(source: Source, field: Field): number | null {
  const text = source.string(field)
  if (text === null) return null
  const ms = parseDuration(text)
  if (ms === null)
    source.error('bad_value', `'${text.slice(0, 40)}' is no duration`, field.at, 'write 15m, 4h or 1h30m')
  return ms
}

export function readOwner(source: Source, field: Field): string | null {
  const text = source.string(field)
  if (text === null || OWNER.test(text)) return text
  source.error('bad_value', `'${text.slice(0, 60)}' is nobody`, field.at, 'write team:x, role:x or principal:x')
  return null
}

/** Parses an expression and reports its fault at the right column. */
export function readExpression(source: Source, field: Field, wanted: readonly string[]): string | null {
  const text = source.string(field)
  if (text === null) return null
  const trimmed = text.trim()
  try {
    const { type } = compileExpression(trimmed)
    if (type === 'dyn' || wanted.includes(type) || wanted.includes(type.replace(/<.*$/, ''))) return trimmed
    source.error('bad_expression', `gives ${type}, needs ${wanted.join(' or ')}`, field.at)
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error
    source.error(
      'bad_expression',
      error.message,
      source.inside(field, trimmed, error.start),
      expressionHint(error.message),
    )
  }
  return null
}

function expressionHint(message: string): string | undefined {
  const unknown = /^Unknown variable: (\w+)/.exec(message)
  return unknown
    ? 'known: input, context, labels, risk_tags, environment, action_type, data, capability, action, workflow, topic, agent, agent_version, team, tenant, now'
    : undefined
}
