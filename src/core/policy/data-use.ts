/** One table that a job reads or writes, as its class derives it from the input. */
export interface DataUse {
  system: string
  table: string
  /** Null: any of them, so all. */
  fields: string[] | null
  access: 'read' | 'write'
}

/** What one job may name: an input that names more is not looked through but refused. */
const MOST_USES = 200
const MOST_FIELDS = 500
/** Characters of all names: a row of the job, its approval and its hashes carry them. */
const MOST_TEXT = 65_536
const LONGEST = 200

/**
 * What an expression of `derive.data` gave, or in words why it is none: a list of maps of `system`, `table`, `access` and, if only some
 * are touched, `fields`. Nothing of the value is in the words, because they go into the log.
 */
export function readDataUses(value: unknown): DataUse[] | string {
  if (!Array.isArray(value)) return 'no list'
  if (value.length > MOST_USES) return `more than ${MOST_USES} entries`
  const uses: DataUse[] = []
  let text = 0
  for (const item of value) {
    const use = readUse(item)
    if (typeof use === 'string') return use
    text += use.system.length + use.table.length + (use.fields ?? []).reduce((sum, { length }) => sum + length, 0)
    if (text > MOST_TEXT) return `names of more than ${MOST_TEXT} characters`
    uses.push(use)
  }
  return uses
}

const KEYS = ['system', 'table', 'fields', 'access']
const isName = (value: unknown): value is string =>
  typeof value === 'string' && value.length > 0 && value.length <= LONGEST

function readUse(item: unknown): DataUse | string {
  if (typeof item !== 'object' || item === null || Array.isArray(item)) return 'an entry is no map'
  const entries = item instanceof Map ? [...item] : Object.entries(item)
  const values = new Map<unknown, unknown>(entries)
  if ([...values.keys()].some((key) => !KEYS.includes(String(key)))) return 'an entry has an unknown key'
  const [system, table, access, given] = ['system', 'table', 'access', 'fields'].map((key) => values.get(key))
  if (!isName(system) || !isName(table)) return 'an entry lacks system or table'
  if (access !== 'read' && access !== 'write') return 'an entry has no access read or write'
  const fields = given ?? null
  if (fields === null) return { system, table, fields, access }
  if (!Array.isArray(fields) || fields.length > MOST_FIELDS || !fields.every(isName))
    return 'an entry has fields that are no list of names'
  return { system, table, fields: [...new Set<string>(fields)].sort(), access }
}

/** In one order and each once, so that equal uses are equal text wherever they are hashed. */
export function sortedUses(uses: readonly DataUse[]): DataUse[] {
  const named = new Map(uses.map((use) => [JSON.stringify([use.system, use.table, use.access, use.fields]), use]))
  return [...named].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, use]) => use)
}

/** Tables of one system that may be read, or read and written. */
export interface DataScope {
  system: string
  /** `*` is every table. */
  tables: string[]
  /** Null: every field. */
  fields: string[] | null
  access: 'read' | 'write'
}

/** What of this use no scope covers, in words. One scope has to cover a field; different fields may be covered by different ones. */
export function uncovered({ system, table, fields, access }: DataUse, scopes: readonly DataScope[]): string[] {
  const what = access === 'write' ? 'write access to' : 'read access to'
  const fitting = scopes.filter(
    (scope) =>
      scope.system === system &&
      (scope.tables.includes('*') || scope.tables.includes(table)) &&
      (access === 'read' || scope.access === 'write'),
  )
  if (fitting.length === 0) return [`${what} ${system}.${table}`]
  if (fitting.some((scope) => scope.fields === null)) return []
  // A use that names no fields touches all of them.
  if (fields === null) return [`${what} every field of ${system}.${table}`]
  const open = fields.filter((field) => !fitting.some((scope) => scope.fields!.includes(field)))
  return open.map((field) => `${what} ${system}.${table}.${field}`)
}
