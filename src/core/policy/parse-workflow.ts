import type { DataScope } from './data-use.js'
import type { BoundedWorkflow } from './document.js'
import { readExpression, readId, readStrings, readTopics, readWord } from './parse-value.js'
import type { Field, Source } from './reader.js'

/** One entry of `workflows:`. Every bound is asked for: a workflow without one of them is not bounded. */
export function readWorkflow(source: Source, field: Field): BoundedWorkflow | null {
  const fields = source.map(field, ['id', 'name', 'topics', 'starts', 'ends', 'data'])
  if (!fields) return null
  const id = readId(source, fields, field, 'a workflow')
  const [topics, starts, ends, data] = ['topics', 'starts', 'ends', 'data'].map((key) => {
    const at = fields.get(key)
    if (!at) source.error('missing_key', `a bounded workflow needs '${key}'`, field.at)
    return at
  })
  if (!topics || !starts || !ends || !data) return null
  const [begins, over] = [readExpression(source, starts, ['bool']), readExpression(source, ends, ['bool'])]
  const bounds = { topics: readTopics(source, topics), data: source.items(data).flatMap((at) => readScope(source, at)) }
  return id === null || begins === null || over === null ? null : { id, ...bounds, starts: begins, ends: over }
}

function readScope(source: Source, field: Field): DataScope[] {
  const fields = source.map(field, ['system', 'tables', 'fields', 'access'])
  const [system, tables, names, access] = ['system', 'tables', 'fields', 'access'].map((key) => fields?.get(key))
  if (!system || !tables || !access) {
    source.error('missing_key', "a data scope needs 'system', 'tables' and 'access'", field.at)
    return []
  }
  const [name, word] = [source.string(system), readWord(source, access, ['read', 'write'])]
  if (name === null || word === null) return []
  const fieldNames = names ? readStrings(source, names) : null
  return [{ system: name, tables: readStrings(source, tables), fields: fieldNames, access: word }]
}
