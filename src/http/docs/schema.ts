import type { Schema } from '../openapi.js'
import { escapeHtml, prose } from './text.js'

/** A schema as a reader takes it: its description, and a table of its fields where it has any. */
export function schemaHtml(schema: Schema): string {
  const description = typeof schema.description === 'string' ? prose(schema.description) : ''
  const rows = fieldRows(schema, '')
  if (rows.length === 0) return `${description}<p>${typeHtml(schema)}${boundsHtml(schema)}</p>`
  return `${description}<div class="wide"><table class="fields"><thead><tr><th>Field</th><th>Type</th><th>Meaning</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>${closedHtml(schema)}`
}

function closedHtml(schema: Schema): string {
  return schema.additionalProperties === false && schema.properties
    ? '<p class="quiet">Any other field is refused.</p>'
    : ''
}

/** Fields of an object, those of objects within it behind their path. Components are links, so this ends. */
function fieldRows(schema: Schema, base: string): string[] {
  const required = (schema.required ?? []) as string[]
  return Object.entries((schema.properties ?? {}) as Record<string, Schema>).flatMap(([name, field]) => {
    const path = base + name
    const must = required.includes(name) ? '' : ' <i>optional</i>'
    const row = `<tr><td><code>${escapeHtml(path).replaceAll(/[._]/g, '$&<wbr>')}</code>${must}</td><td>${typeHtml(field)}</td><td>${meaning(field)}</td></tr>`
    const { inner, suffix } = insideOf(field)
    return [row, ...(inner === null ? [] : fieldRows(inner, `${path}${suffix}.`))]
  })
}

/** The object whose fields stand within this one: itself, the items of a list, or what may be null. */
function insideOf(field: Schema): { inner: Schema | null; suffix: string } {
  if (field.properties !== undefined) return { inner: field, suffix: '' }
  if (field.type === 'array') {
    const { inner, suffix } = insideOf(field.items as Schema)
    return { inner, suffix: `[]${suffix}` }
  }
  const some = ((field.anyOf ?? []) as Schema[]).find((each) => each.properties !== undefined)
  return { inner: some ?? null, suffix: '' }
}

function meaning(field: Schema): string {
  const said = typeof field.description === 'string' ? field.description : describedIn(field)
  return `${said === '' ? '' : prose(said, '')}${boundsHtml(field)}`
}

const describedIn = (field: Schema) =>
  String(((field.anyOf ?? []) as Schema[]).find((each) => each.description)?.description ?? '')

/** The type in a word or two; a component by its name. */
export function typeHtml(schema: Schema): string {
  if (typeof schema.$ref === 'string') {
    const name = escapeHtml(schema.$ref.split('/').at(-1) ?? '')
    return `<a href="#schema-${name}">${name}</a>`
  }
  if (Array.isArray(schema.enum))
    return schema.enum.map((each) => `<code>${escapeHtml(String(each))}</code>`).join(' <wbr>')
  if (Array.isArray(schema.anyOf)) return schema.anyOf.map(typeHtml).join(' or ')
  if (schema.type === 'array') return `list of ${typeHtml((schema.items ?? {}) as Schema)}`
  if (schema.type === 'object' && schema.properties === undefined) return `map to ${typeHtml(valuesOf(schema))}`
  return escapeHtml(String(schema.type ?? 'any JSON'))
}

function valuesOf(schema: Schema): Schema {
  const [pattern] = Object.values((schema.patternProperties ?? {}) as Record<string, Schema>)
  return (schema.additionalProperties || pattern || {}) as Schema
}

const BOUNDS: Record<string, string> = {
  minimum: 'from',
  maximum: 'to',
  minLength: 'at least',
  maxLength: 'at most',
  minItems: 'at least',
  maxItems: 'at most',
  maxProperties: 'at most',
  default: 'default',
  pattern: 'as',
}
const UNITS: Record<string, string> = {
  minLength: ' characters',
  maxLength: ' characters',
  minItems: ' items',
  maxItems: ' items',
  maxProperties: ' keys',
}

/** What limits a value beside its type. The bounds of an instant are left out: they are those of the calendar. */
export function boundsHtml(schema: Schema): string {
  const instant = schema.maximum === 8_640_000_000_000_000
  const found = Object.entries(BOUNDS)
    .filter(([key]) => schema[key] !== undefined && !(instant && key.endsWith('imum')))
    .map(
      ([key, word]) =>
        `${word} <code>${escapeHtml(typeof schema[key] === 'number' ? schema[key].toLocaleString('en') : String(schema[key]))}</code>${UNITS[key] ?? ''}`,
    )
  const inner = schema.type === 'array' ? boundsHtml((schema.items ?? {}) as Schema) : ''
  return (
    (found.length === 0 ? '' : ` <span class="bounds">${found.join(', ')}</span>`) +
    (inner === '' ? '' : ` <span class="bounds">each</span>${inner}`)
  )
}
