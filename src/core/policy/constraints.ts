import type { Json, JsonObject } from '../json.js'
import { intersectHosts, normalHostPattern, reduceHosts, urlAllowed } from './hosts.js'

/**
 * What a decision binds a job to. The registry is closed: a constraint that nothing here enforces would be advice, so a
 * file that names one is refused.
 */
export interface Constraints {
  timeout_ms?: number
  max_input_bytes?: number
  max_output_bytes?: number
  max_replicas?: number
  max_amount?: number
  max_tokens?: number
  max_api_calls?: number
  max_compute_ms?: number
  allowed_namespaces?: string[]
  allowed_tools?: string[]
  allowed_hosts?: string[]
}
export type ConstraintName = keyof Constraints

/** Who makes it true: the door on the job's input, the control plane while the job runs, or the worker. */
export type Enforcer = 'input' | 'plane' | 'worker'

type Bound = number | string[]

// Methods, not function properties: the registry holds kinds of different values, each only ever given its own.
interface Kind<Value extends Bound = Bound> {
  /** The value in its one form, or a sentence on what it should have been. */
  read(value: Json): { value: Value } | { fault: string }
  /** The tightest of two: commutative, associative, idempotent. */
  merge(a: Value, b: Value): Value
}

interface Constraint {
  kind: Kind
  enforcer: Enforcer
  /**
   * Null where the input obeys, else a sentence that becomes the reason of a denial. It never repeats what the input
   * says: reasons go into the log, from which a payload could not be erased.
   */
  check?(bound: Bound, input: Json): string | null
}

const count: Kind<number> = {
  read: (value) =>
    typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
      ? { value }
      : { fault: 'needs a whole number of at least 0' },
  merge: Math.min,
}

const positive: Kind<number> = {
  read: (value) =>
    typeof value === 'number' && Number.isSafeInteger(value) && value > 0
      ? { value }
      : { fault: 'needs a whole number above 0' },
  merge: Math.min,
}

const quantity: Kind<number> = {
  read: (value) =>
    typeof value === 'number' && Number.isFinite(value) && value >= 0
      ? { value }
      : { fault: 'needs a number of at least 0' },
  merge: Math.min,
}

const MAX_LIST = 256
const listFault = { fault: `needs a list of at most ${MAX_LIST} strings` }

const strings = (value: Json): string[] | null => {
  const list = typeof value === 'string' ? [value] : value
  if (!Array.isArray(list) || list.length > MAX_LIST) return null
  return list.every((item) => typeof item === 'string' && item !== '') ? (list as string[]) : null
}

const names: Kind<string[]> = {
  read: (value) => {
    const list = strings(value)
    return list ? { value: [...new Set(list)].sort() } : listFault
  },
  merge: (a, b) => a.filter((item) => b.includes(item)),
}

const hosts: Kind<string[]> = {
  read: (value) => {
    const list = strings(value)
    if (!list) return listFault
    const bad = list.find((item) => normalHostPattern(item) === null)
    if (bad !== undefined) return { fault: `'${bad}' is no host: write api.example.com, *.example.com or host:port` }
    return { value: reduceHosts(list) }
  },
  merge: intersectHosts,
}

/** The input's own value under `key`; undefined where there is no such key or no map. */
function field(input: Json, key: string): Json | undefined {
  if (typeof input !== 'object' || input === null) return undefined
  const value = (input as JsonObject)[key]
  // Plain access first: hasOwn costs ten times as much, and mostly there is nothing there.
  return value !== undefined && Object.hasOwn(input, key) ? value : undefined
}

const atMost = (key: string) => (limit: number, input: Json) => {
  const value = field(input, key)
  if (value === undefined || value === null) return `input.${key} is absent`
  if (typeof value !== 'number') return `input.${key} is not a number`
  // A negative amount or replica count is under every maximum and still never what the rule meant.
  if (!(value >= 0)) return `input.${key} is below 0`
  return value <= limit ? null : `input.${key} is above ${limit}`
}

/** Only what the job already says: what it does later is for the worker to hold. */
const atMostIfSaid = (key: string) => (limit: number, input: Json) =>
  field(input, key) === undefined ? null : atMost(key)(limit, input)

const oneOf = (key: string) => (allowed: string[], input: Json) => {
  const value = field(input, key)
  if (value === undefined || value === null) return `input.${key} is absent`
  if (typeof value !== 'string') return `input.${key} is not a string`
  return allowed.includes(value) ? null : `input.${key} is not one of ${allowed.join(', ') || 'none'}`
}

const smallInput = (limit: number, input: Json) => {
  const size = input === null ? 0 : Buffer.byteLength(JSON.stringify(input))
  return size <= limit ? null : `input is larger than ${limit} bytes`
}

const urlHost = (allowed: string[], input: Json) => {
  const url = field(input, 'url')
  if (url === undefined || url === null) return null
  if (typeof url !== 'string') return 'input.url is not a string'
  return urlAllowed(url, allowed) ? null : `input.url is not at an allowed host (${allowed.join(', ') || 'none'})`
}

const REGISTRY: Record<ConstraintName, Constraint> = {
  timeout_ms: { kind: positive, enforcer: 'plane' },
  max_input_bytes: { kind: count, enforcer: 'input', check: smallInput },
  max_output_bytes: { kind: count, enforcer: 'plane' },
  max_replicas: { kind: count, enforcer: 'input', check: atMost('replicas') },
  max_amount: { kind: quantity, enforcer: 'input', check: atMost('amount') },
  allowed_namespaces: { kind: names, enforcer: 'input', check: oneOf('namespace') },
  allowed_tools: { kind: names, enforcer: 'input', check: oneOf('tool') },
  max_tokens: { kind: count, enforcer: 'worker', check: atMostIfSaid('max_tokens') },
  max_api_calls: { kind: count, enforcer: 'worker' },
  max_compute_ms: { kind: positive, enforcer: 'worker' },
  allowed_hosts: { kind: hosts, enforcer: 'worker', check: urlHost },
}

export const CONSTRAINT_NAMES = Object.keys(REGISTRY).sort() as ConstraintName[]

export function isConstraintName(name: string): name is ConstraintName {
  return Object.hasOwn(REGISTRY, name)
}

/** One value of a policy file in its normal form, or a sentence on what is wrong with it. */
export function readConstraint(name: ConstraintName, value: Json): { value: Bound } | { fault: string } {
  return REGISTRY[name].kind.read(value)
}

/** Both sets together, each name at its tightest. Order and repetition do not matter. */
export function mergeConstraints(a: Constraints, b: Constraints): Constraints {
  const merged: Record<string, unknown> = {}
  for (const name of CONSTRAINT_NAMES) {
    const [left, right] = [a[name], b[name]]
    if (left === undefined && right === undefined) continue
    merged[name] = left === undefined ? right : right === undefined ? left : REGISTRY[name].kind.merge(left, right)
  }
  return merged
}

/**
 * Names in which `asked` demands more than `told`: whoever keeps to what it was told would break them. Not those of the door alone:
 * it has asked them of the input, which stays what it is, so there is nothing for anybody to keep to.
 */
export function tightened(told: Constraints, asked: Constraints): ConstraintName[] {
  return CONSTRAINT_NAMES.filter((name) => {
    if (REGISTRY[name].enforcer === 'input') return false
    const [had, wanted] = [told[name], asked[name]]
    if (wanted === undefined) return false
    return had === undefined || !isSame(REGISTRY[name].kind.merge(had, wanted), had)
  })
}

function isSame(a: Bound, b: Bound): boolean {
  if (typeof a === 'number' || typeof b === 'number') return a === b
  return a.length === b.length && a.every((item) => b.includes(item))
}

/** A question the door asks of an input: `ask(bound, input)` is null where it obeys, else a sentence. */
export interface InputCheck {
  constraint: ConstraintName
  bound: Bound
  ask: (bound: Bound, input: Json) => string | null
}

/** The checks the door makes on the input of a job bound to these. */
export function inputChecks(constraints: Constraints): InputCheck[] {
  return CONSTRAINT_NAMES.flatMap((constraint) => {
    const bound = constraints[constraint]
    const ask = REGISTRY[constraint].check
    return bound === undefined || !ask ? [] : [{ constraint, bound, ask }]
  })
}

export const ENFORCED_BY_WORKERS = CONSTRAINT_NAMES.filter((name) => REGISTRY[name].enforcer === 'worker')

/** Those that only the worker can make true, sorted: a job goes only to a worker that says it enforces all of them. */
export function enforcers(constraints: Constraints): ConstraintName[] {
  return ENFORCED_BY_WORKERS.filter((name) => constraints[name] !== undefined)
}
