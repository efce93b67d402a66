import { Environment } from '@marcbachmann/cel-js'
import { RE2JS } from 're2js'
import type { Calendar } from '../calendar.js'
import { askedOf, CLOCK_FUNCTIONS } from './clock-functions.js'
import { commandClass } from './command.js'
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

/** Patterns are mostly literals in the policy; 256 leaves room and bounds what a pattern taken from input may pin. */
const MAX_PATTERNS = 256
const patterns = new Map<string, RE2JS>()

function compiledPattern(pattern: string): RE2JS {
  let compiled = patterns.get(pattern)
  if (!compiled) {
    if (pattern.length > 1000) throw new Error('regular expression longer than 1,000 characters')
    compiled = RE2JS.compile(pattern)
    if (patterns.size >= MAX_PATTERNS) patterns.clear()
    patterns.set(pattern, compiled)
  }
  return compiled
}

const linearMatches = (text: string, pattern: string): boolean => compiledPattern(pattern).matcher(text).find()

/** Instructions that a pattern is made into. Throws where it is none. */
export const patternSize = (pattern: string): number => compiledPattern(pattern).programSize()

const asciiCase = (text: string, from: RegExp, shift: number) =>
  text.replace(from, (letter) => String.fromCharCode(letter.charCodeAt(0) + shift))

/** Names the library binds to something we will not run on hostile input, and what is called instead. */
export const RENAMED: Record<string, string> = {
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

export function environmentOf(calendars: readonly Calendar[] | undefined): Environment {
  if (calendars === undefined || calendars.length === 0) return environment
  let known = environments.get(calendars)
  if (known === undefined) {
    known = buildEnvironment(calendars)
    environments.set(calendars, known)
  }
  return known
}
