import type { Role } from '../access.js'
import { SLACK_USER } from '../channel.js'
import { readNames, readStrings, readTopics, readWord } from '../policy/parse-value.js'
import { type Fault, type Field, Source } from '../policy/reader.js'
import { type AgentTerms, type DataScope, type Kind, RISK_TIERS } from '../principal.js'
import { type DeclaredPrincipal, type DeclaredTeam, type DirectoryDocument, MOST_IN_OFFICE, NAME } from './document.js'
import { readBreaker } from './parse-breaker.js'
import { readChannel } from './parse-channel.js'
import { readSignOn } from './parse-sign-on.js'

const FILE_KEYS = ['version', 'teams', 'people', 'agents', 'workers', 'services', 'channels', 'sign_on']
const TEAM_KEYS = ['team', 'name', 'leads', 'on_call']
const PRINCIPAL_KEYS = ['principal', 'team', 'name', 'disabled']
const TERM_KEYS = ['version', 'topics', 'actions', 'data', 'risk_tier', 'fallback', 'breaker']

/** Roles that a person or service may have: those of agents and workers say what a program may do. */
export const OFFICES = ['admin', 'operator', 'approver', 'auditor', 'viewer'] as const satisfies Role[]

const EMAIL = /^[!-?A-~]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){1,8}$/
const MOST_TEXT = 2000

/**
 * Reads `sallyport.yaml`: teams, people, agents, workers and services. Every fault is reported with its place; the document is null
 * if there is one. Never throws on what the file holds.
 */
export function parseDirectory(file: { path: string; text: string }): {
  document: DirectoryDocument | null
  faults: Fault[]
} {
  const faults: Fault[] = []
  const source = new Source(file.path, file.text, faults)
  const root = source.root()
  const fields = root === null ? null : source.map(root, FILE_KEYS)
  if (root === null || fields === null) return { document: null, faults }
  const version = fields.get('version')
  if (version === undefined) source.error('missing_key', 'a version is needed', root.at, 'version: v1')
  else readWord(source, version, ['v1'])
  const document: DirectoryDocument = { teams: [], principals: [] }
  const isNew = once(source)
  for (const item of list(source, fields.get('teams'))) {
    const team = readTeam(source, item)
    if (team !== null && isNew(item, 'team', team.team)) document.teams.push(team)
  }
  for (const [key, kind] of [
    ['people', 'person'],
    ['agents', 'agent'],
    ['workers', 'worker'],
    ['services', 'service'],
  ] as const)
    for (const item of list(source, fields.get(key))) {
      const declared = readPrincipal(source, item, kind)
      if (declared !== null && isNew(item, 'principal', declared.principal)) document.principals.push(declared)
    }
  const signOn = fields.get('sign_on')
  if (signOn !== undefined) document.groups = readSignOn(source, signOn, OFFICES, (field) => nameAt(source, field))
  const channels = fields.get('channels')
  if (channels !== undefined) document.channels = []
  for (const item of list(source, channels)) {
    const channel = readChannel(source, item)
    if (channel !== null && isNew(item, 'channel', channel.channel)) document.channels?.push(channel)
  }
  return { document: faults.some(({ severity }) => severity === 'error') ? null : document, faults }
}

function list(source: Source, field: Field | undefined): Field[] {
  if (field === undefined) return []
  if (source.isList(field)) return source.items(field)
  source.error('wrong_type', 'needs a list', field.at)
  return []
}

/** Whether nothing of this kind had this name before. A file may declare 20,000 people, so nobody is compared with all before them. */
function once(source: Source): (at: Field, kind: string, name: string) => boolean {
  const known = new Set<string>()
  return (at, kind, name) => {
    const before = known.size
    if (known.add(`${kind} ${name}`).size > before) return true
    source.error('duplicate_id', `${kind} '${name}' is declared twice`, at.at)
    return false
  }
}

function readTeam(source: Source, field: Field): DeclaredTeam | null {
  const fields = source.map(field, TEAM_KEYS)
  if (fields === null) return null
  const team = required(source, fields, field, 'team')
  const names = (key: string) => {
    const at = fields.get(key)
    return at === undefined ? [] : inOrder(source, at)
  }
  return team === null
    ? null
    : { team, name: text(source, fields.get('name')), leads: names('leads'), on_call: names('on_call') }
}

function readPrincipal(source: Source, field: Field, kind: Kind): DeclaredPrincipal | null {
  const more = { person: ['role', 'email', 'slack'], service: ['role'], agent: TERM_KEYS, worker: [] }[kind]
  const fields = source.map(field, [...PRINCIPAL_KEYS, ...more])
  if (fields === null) return null
  const principal = required(source, fields, field, 'principal')
  const role = readRole(source, fields, field, kind)
  const team = fields.get('team')
  const email = fields.get('email')
  const slack = fields.get('slack')
  if (principal === null || role === null) return null
  return {
    principal,
    kind,
    role,
    team: team === undefined ? null : nameAt(source, team),
    name: text(source, fields.get('name')),
    email: email === undefined ? null : emailAt(source, email),
    slack: slack === undefined ? null : slackAt(source, slack),
    terms: kind === 'agent' ? readTerms(source, fields) : null,
    ...(isEnabled(source, fields.get('disabled')) ? { disabled: false } : {}),
  }
}

/** Only that somebody may act again is said here: who is to be disabled is left out. */
function isEnabled(source: Source, field: Field | undefined): boolean {
  if (field === undefined) return false
  if (source.boolean(field) === false) return true
  source.error(
    'bad_value',
    'only `disabled: false` is said here',
    field.at,
    'leave out of the file who is to be disabled',
  )
  return false
}

function readRole(source: Source, fields: Map<string, Field>, owner: Field, kind: Kind): Role | null {
  if (kind === 'agent' || kind === 'worker') return kind
  const role = fields.get('role')
  if (role !== undefined) return readWord(source, role, OFFICES)
  source.error('missing_key', `a ${kind} needs a role`, owner.at, OFFICES.join(', '))
  return null
}

/** Null where none is given: nothing bounds such an agent but policy and its key. */
function readTerms(source: Source, fields: Map<string, Field>): AgentTerms | null {
  if (!TERM_KEYS.some((key) => fields.has(key))) return null
  const [topics, actions, data, tier, breaker] = ['topics', 'actions', 'data', 'risk_tier', 'breaker'].map((key) =>
    fields.get(key),
  )
  return {
    version: text(source, fields.get('version')),
    topics: topics === undefined ? null : readTopics(source, topics),
    actions: actions === undefined ? null : readNames(source, actions),
    data: data === undefined ? null : list(source, data).flatMap((item) => readScope(source, item) ?? []),
    risk_tier: tier === undefined ? null : readWord(source, tier, RISK_TIERS),
    fallback: text(source, fields.get('fallback')),
    ...(breaker === undefined ? {} : { breaker: readBreaker(source, breaker) }),
  }
}

function readScope(source: Source, field: Field): DataScope | null {
  const fields = source.map(field, ['system', 'tables', 'fields', 'access'])
  if (fields === null) return null
  const system = required(source, fields, field, 'system')
  const [tables, columns, access] = ['tables', 'fields', 'access'].map((key) => fields.get(key))
  if (tables === undefined) source.error('missing_key', "a scope needs 'tables'", field.at, "tables: ['*'] for all")
  if (access === undefined) source.error('missing_key', "a scope needs 'access'", field.at, 'access: read or write')
  const word = access === undefined ? null : readWord(source, access, ['read', 'write'] as const)
  if (system === null || tables === undefined || word === null) return null
  return {
    system,
    tables: readStrings(source, tables),
    fields: columns === undefined ? null : readStrings(source, columns),
    access: word,
  }
}

function required(source: Source, fields: Map<string, Field>, owner: Field, key: string): string | null {
  const field = fields.get(key)
  if (field !== undefined) return nameAt(source, field)
  source.error('missing_key', `'${key}' is missing`, owner.at)
  return null
}

function nameAt(source: Source, field: Field): string | null {
  const name = source.string(field)
  if (name === null || NAME.test(name)) return name
  source.error('bad_value', `'${name.slice(0, 60)}' is no name`, field.at, 'printable ASCII, at most 200 characters')
  return null
}

function emailAt(source: Source, field: Field): string | null {
  const email = source.string(field)
  if (email === null || EMAIL.test(email)) return email
  source.error('bad_value', `'${email.slice(0, 60)}' is no address`, field.at)
  return null
}

function slackAt(source: Source, field: Field): string | null {
  const id = source.string(field)
  if (id === null || SLACK_USER.test(id)) return id
  source.error(
    'bad_value',
    `'${id.slice(0, 60)}' is no id of somebody in Slack`,
    field.at,
    'U012ABCDEF: in their profile, Copy member ID',
  )
  return null
}

/** Names in the order they are given, which is the order they are asked in. */
function inOrder(source: Source, field: Field): string[] {
  const items = source.items(field)
  if (items.length > MOST_IN_OFFICE) source.error('too_large', `at most ${MOST_IN_OFFICE} names`, field.at)
  const names = items.slice(0, MOST_IN_OFFICE).flatMap((item) => nameAt(source, item) ?? [])
  for (const [n, name] of names.entries())
    if (names.indexOf(name) !== n) source.error('duplicate_id', `'${name}' is named twice`, field.at)
  return names
}

function text(source: Source, field: Field | undefined): string | null {
  const value = field === undefined ? null : source.string(field)
  if (field === undefined || value === null || value.length <= MOST_TEXT) return value
  source.error('too_large', `longer than ${MOST_TEXT} characters`, field.at)
  return null
}
