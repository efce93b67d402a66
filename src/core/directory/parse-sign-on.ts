import type { Role } from '../access.js'
import { readWord } from '../policy/parse-value.js'
import type { Field, Source } from '../policy/reader.js'
import type { GroupRule } from '../sign-on.js'

/** `sign_on:` of `sallyport.yaml`: what members of the provider's groups are here, in the order of their rank. */
export function readSignOn(
  source: Source,
  field: Field,
  roles: readonly Role[],
  nameAt: (field: Field) => string | null,
): GroupRule[] {
  const groups = source.map(field, ['groups'])?.get('groups')
  if (groups === undefined) {
    source.error('missing_key', "sign_on needs 'groups'", field.at)
    return []
  }
  if (!source.isList(groups)) {
    source.error('wrong_type', 'needs a list', groups.at)
    return []
  }
  const items = source.items(groups)
  if (items.length > MOST) source.error('too_large', `at most ${MOST} groups`, groups.at)
  const rules = new Map<string, GroupRule>()
  for (const item of items.slice(0, MOST)) {
    const rule = readRule(source, item, roles, nameAt)
    if (rule === null) continue
    if (rules.has(rule.group)) source.error('duplicate_id', `group '${rule.group}' is declared twice`, item.at)
    else rules.set(rule.group, rule)
  }
  return [...rules.values()]
}

/** As many as are followed of what a provider says of one person. */
const MOST = 1000
const LONGEST = 500

function readRule(
  source: Source,
  item: Field,
  roles: readonly Role[],
  nameAt: (field: Field) => string | null,
): GroupRule | null {
  const fields = source.map(item, ['group', 'role', 'team'])
  if (fields === null) return null
  const [groupAt, roleAt, teamAt] = ['group', 'role', 'team'].map((key) => fields.get(key))
  if (groupAt === undefined) source.error('missing_key', "a rule needs 'group'", item.at, 'as the provider names it')
  if (roleAt === undefined) source.error('missing_key', "a rule needs 'role'", item.at, roles.join(', '))
  const group = groupAt === undefined ? null : source.string(groupAt)
  const role = roleAt === undefined ? null : readWord(source, roleAt, roles)
  if (group === null || role === null || groupAt === undefined) return null
  // A group of any letters: it is only compared with what the provider says.
  if (group.length > LONGEST || group === '') {
    source.error('bad_value', `a group has 1 to ${LONGEST} characters`, groupAt.at)
    return null
  }
  return { group, role, team: teamAt === undefined ? null : nameAt(teamAt) }
}
