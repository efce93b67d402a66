import {
  CHANNEL_KINDS,
  type Channel,
  DEFAULT_SMTP,
  type DeclaredChannel,
  PAGERDUTY_API,
  SEVERITIES,
  SLACK_API,
} from '../channel.js'
import { readStrings, readTopics, readWord } from '../policy/parse-value.js'
import type { Field, Source } from '../policy/reader.js'

const SHARED = ['channel', 'kind', 'events', 'topics', 'teams']
const OWN: Record<Channel['kind'], string[]> = {
  email: ['from', 'to', 'url_env'],
  webhook: ['url', 'secret_env', 'allow_private'],
  slack: ['conversation', 'workspace', 'token_env', 'signing_env', 'api_url', 'allow_private'],
  pagerduty: ['routing_key_env', 'severity', 'api_url', 'allow_private'],
}
const NAME = /^[a-z0-9][a-z0-9_-]{0,59}$/

/** One channel of `sallyport.yaml`; what its values may be is judged when the whole is planned. */
export function readChannel(source: Source, field: Field): DeclaredChannel | null {
  const loose = source.map(field, [...new Set([...SHARED, ...Object.values(OWN).flat()])])
  if (loose === null) return null
  const missing = (key: string, hint?: string) =>
    source.error('missing_key', `a channel needs '${key}'`, field.at, hint)
  const kindAt = loose.get('kind')
  const kind = kindAt === undefined ? null : readWord(source, kindAt, CHANNEL_KINDS)
  if (kindAt === undefined) missing('kind', CHANNEL_KINDS.join(', '))
  const name = loose.get('channel')
  const channel = name === undefined ? null : source.string(name)
  if (name === undefined) missing('channel', 'its name')
  else if (channel !== null && !NAME.test(channel))
    source.error('bad_value', 'a channel’s name is lower-case letters, digits, - and _', name.at)
  const events = loose.get('events')
  if (events === undefined) missing('events', 'events: [approval.requested]')
  if (kind === null || channel === null || events === undefined) return null
  for (const [key, at] of loose)
    if (!SHARED.includes(key) && !OWN[kind].includes(key))
      source.error('unknown_key', `a channel of kind ${kind} has no '${key}'`, at.at, `it has ${OWN[kind].join(', ')}`)
  const text = (key: string) => {
    const at = loose.get(key)
    if (at !== undefined) return source.string(at) ?? ''
    missing(key)
    return ''
  }
  const [topics, teams] = [loose.get('topics'), loose.get('teams')]
  const shared = {
    channel,
    events: readStrings(source, events),
    topics: topics === undefined ? null : readTopics(source, topics),
    teams: teams === undefined ? null : readStrings(source, teams),
  }
  if (kind === 'email') {
    const to = loose.get('to')
    const url_env = loose.has('url_env') ? text('url_env') : DEFAULT_SMTP
    const settings = { from: text('from'), to: to === undefined ? [] : readStrings(source, to), url_env }
    return { ...shared, kind, settings }
  }
  const inside = loose.get('allow_private')
  const allow_private = inside === undefined ? false : (source.boolean(inside) ?? false)
  const orElse = (key: string, usual: string) => (loose.has(key) ? text(key) : usual)
  if (kind === 'webhook')
    return { ...shared, kind, settings: { url: text('url'), secret_env: text('secret_env'), allow_private } }
  if (kind === 'slack') {
    const [conversation, workspace, token_env, signing_env] = [
      text('conversation'),
      text('workspace'),
      text('token_env'),
      text('signing_env'),
    ]
    const api_url = orElse('api_url', SLACK_API)
    return { ...shared, kind, settings: { conversation, workspace, token_env, signing_env, api_url, allow_private } }
  }
  const word = loose.get('severity')
  const severity = word === undefined ? 'error' : (readWord(source, word, SEVERITIES) ?? 'error')
  const api_url = orElse('api_url', PAGERDUTY_API)
  return { ...shared, kind, settings: { routing_key_env: text('routing_key_env'), severity, api_url, allow_private } }
}
