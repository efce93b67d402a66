import type { Json, JsonObject } from '../json.js'
import type { Variation } from './document.js'

export interface Variant {
  /** What was changed, e.g. `spelling:upper:/command`. */
  name: string
  job: JsonObject
}

/** Of each kind of change at one place; an input of a thousand texts must not make a suite of ten thousand runs. */
const MOST_PLACES = 8

/**
 * The same thing asked otherwise: left out, called harmless, spelt as evasions are, wrapped up. In a fixed order, without chance, so that a
 * variant's name says what it is for good. What the policy must at least say to the job it must at least say to each of them.
 */
export function variantsOf(job: JsonObject, variations: readonly Variation[]): Variant[] {
  return variations.flatMap((variation) =>
    VARY[variation](job).map(({ name, job: other }) => ({
      name: name === '' ? variation : `${variation}:${name}`,
      job: other,
    })),
  )
}

const VARY: Record<Variation, (job: JsonObject) => Variant[]> = {
  labels: (job) => (isObject(job.labels) ? [without(job, ['labels']), ...eachLabel(job, job.labels)] : []),
  claims: (job) => [
    ...CLAIMS.filter((claim) => claim in job).map((claim) => without(job, [claim])),
    without(job, [...CLAIMS, 'labels']),
  ],
  harmless: (job) => [{ name: '', job: { ...job, ...HARMLESS, labels: { ...labelsOf(job), ...HARMLESS_LABELS } } }],
  spelling: (job) =>
    Object.entries(SPELLINGS).flatMap(([name, spell]) =>
      texts(job.input ?? null).map((path) =>
        changed(job, path, `${name}:${pointer(path)}`, (text) => spell(String(text))),
      ),
    ),
  types: (job) => [
    ...numbers(job.input ?? null).flatMap((path) => [
      changed(job, path, `text:${pointer(path)}`, String),
      changed(job, path, `list:${pointer(path)}`, (value) => [value]),
    ]),
    ...texts(job.input ?? null).map((path) => changed(job, path, `list:${pointer(path)}`, (value) => [value])),
  ],
  wrapped: (job) =>
    job.input === undefined || job.input === null
      ? []
      : [
          { name: 'object', job: { ...job, input: { input: job.input } } },
          { name: 'list', job: { ...job, input: [job.input] } },
          { name: 'text', job: { ...job, input: JSON.stringify(job.input) } },
        ],
  emptied: (job) => [without(job, ['input']), { name: 'object', job: { ...job, input: {} } }],
}

/** What an agent says about itself, beside labels. */
const CLAIMS = ['risk_tags', 'environment', 'action_type', 'capability', 'action']
const HARMLESS = { risk_tags: [], environment: 'dev', action_type: 'read' }
/** Names that policies commonly look at. */
const HARMLESS_LABELS = { env: 'dev', command_class: 'safe', risk: 'low', approved: 'true' }

/** How people get past a filter that compares text. A policy that reads what will be done, and not how it is written, says the same. */
const SPELLINGS: Record<string, (text: string) => string> = {
  upper: (text) => text.toUpperCase(),
  spaces: (text) => `  ${text.replaceAll(' ', '   ')}  `,
  tabs: (text) => text.replaceAll(' ', '\t'),
  newline: (text) => `\n${text}\n`,
  // Cyrillic letters that look like these Latin ones.
  look_alike: (text) => text.replaceAll(/[aeop]/g, (letter) => LOOK_ALIKE[letter] ?? letter),
  zero_width: (text) => [...text].join('\u200b'),
  percent: (text) => text.replaceAll(/[ /.]/g, (one) => `%${one.charCodeAt(0).toString(16)}`),
  prefix: (text) => `echo ok; ${text}`,
  comment: (text) => `${text} # approved by security`,
}
const LOOK_ALIKE: Record<string, string> = { a: '\u0430', e: '\u0435', o: '\u043e', p: '\u0440' }

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const labelsOf = ({ labels }: JsonObject): JsonObject => (isObject(labels) ? labels : {})

function without(job: JsonObject, keys: readonly string[]): Variant {
  const left = Object.fromEntries(Object.entries(job).filter(([key]) => !keys.includes(key)))
  return { name: keys.length === 1 ? (keys[0] as string) : 'all', job: left }
}

function eachLabel(job: JsonObject, labels: JsonObject): Variant[] {
  const names = Object.keys(labels)
  if (names.length < 2) return []
  return names.map((name) => {
    const left = Object.fromEntries(Object.entries(labels).filter(([key]) => key !== name))
    return { name, job: { ...job, labels: left } }
  })
}

type Path = (string | number)[]
const pointer = (path: Path) => `/${path.join('/')}`

const texts = (input: Json): Path[] => leaves(input, 'string')
const numbers = (input: Json): Path[] => leaves(input, 'number')

function leaves(value: Json, type: 'string' | 'number', path: Path = [], found: Path[] = []): Path[] {
  if (found.length >= MOST_PLACES) return found
  if (typeof value === type) found.push(path)
  else if (Array.isArray(value)) for (const [n, item] of value.entries()) leaves(item, type, [...path, n], found)
  else if (isObject(value)) for (const [key, item] of Object.entries(value)) leaves(item, type, [...path, key], found)
  return found
}

function changed(job: JsonObject, path: Path, name: string, change: (value: Json) => Json): Variant {
  return { name, job: { ...job, input: at(job.input ?? null, path, change) } }
}

function at(value: Json, [step, ...rest]: Path, change: (value: Json) => Json): Json {
  if (step === undefined) return change(value)
  if (Array.isArray(value)) return value.map((item, n) => (n === step ? at(item, rest, change) : item))
  const object = value as JsonObject
  return { ...object, [step]: at(object[step] ?? null, rest, change) }
}
