import { FACT_KINDS, type FactKind } from './audit.js'
import { isTopicPattern, topicMatches } from './policy/topics.js'
import type { Source } from './principal.js'

export const CHANNEL_KINDS = ['email', 'webhook', 'slack', 'pagerduty'] as const
export type ChannelKind = (typeof CHANNEL_KINDS)[number]

export interface EmailSettings {
  /** `name@host` or `Name <name@host>`. */
  from: string
  /** Who hears of everything the channel is for. Without any: whom it concerns. */
  to: string[]
  /** Variable of the server's environment that holds the whole SMTP URL, password and all. */
  url_env: string
}

export interface WebhookSettings {
  url: string
  /** Variable of the server's environment that holds the key of the signatures. */
  secret_env: string
  /** Asks for a host inside the house; the server's own list must name it too. */
  allow_private: boolean
}

export interface SlackSettings {
  /** `C…`, `G…` or `D…`: where it is written. A name may change hands. */
  conversation: string
  /** `T…`: a click from any other workspace is nobody's. */
  workspace: string
  /** Variable with the bot's token. */
  token_env: string
  /** Variable with the app's signing secret, by which its clicks are known. */
  signing_env: string
  api_url: string
  allow_private: boolean
}

export const SEVERITIES = ['critical', 'error', 'warning', 'info'] as const
export type Severity = (typeof SEVERITIES)[number]

export interface PagerDutySettings {
  /** Variable with the integration's routing key. */
  routing_key_env: string
  severity: Severity
  api_url: string
  allow_private: boolean
}

export type ChannelSettings = EmailSettings | WebhookSettings | SlackSettings | PagerDutySettings

/** A channel as somebody wants it to be. */
export type DeclaredChannel = {
  channel: string
  events: string[]
  topics: string[] | null
  teams: string[] | null
} & (
  | { kind: 'email'; settings: EmailSettings }
  | { kind: 'webhook'; settings: WebhookSettings }
  | { kind: 'slack'; settings: SlackSettings }
  | { kind: 'pagerduty'; settings: PagerDutySettings }
)

export type Channel = DeclaredChannel & {
  tenant: string
  source: Exclude<Source, 'key'>
  created_at: number
  updated_at: number
  updated_by: string
}

/** Each is a row, a check of every entry, and a label of a metric. */
export const MOST_CHANNELS = 50
const MOST_EVENTS = 100
const MOST_RECIPIENTS = 50
export const DEFAULT_SMTP = 'SALLYPORT_SMTP_URL'
export const SLACK_API = 'https://slack.com/api'
export const PAGERDUTY_API = 'https://events.pagerduty.com'
/** Who is told a token as it is. Anywhere else must be a host that the server itself lists, or whoever declares a channel could read it there. */
const SLACK_APIS = [SLACK_API, 'https://slack-gov.com/api']
const PAGERDUTY_APIS = [PAGERDUTY_API, 'https://events.eu.pagerduty.com']
const SECRETS = 'SALLYPORT_CHANNEL_'
const DEFAULT_TENANT = 'default'

/** Of every job several: a message for each would be more than the jobs. They are on the event stream, and in the log. */
const PER_JOB: ReadonlySet<FactKind> = new Set<FactKind>([
  'job.submitted',
  'job.queued',
  'job.leased',
  'job.succeeded',
  'effect.begun',
  'effect.committed',
  'result.read',
])
export const EVENTS: readonly FactKind[] = FACT_KINDS.filter((kind) => !PER_JOB.has(kind))

/** Ids as Slack gives them: of somebody, of a conversation, of a workspace. */
export const SLACK_USER = /^[UW][A-Z0-9]{2,30}$/
const CONVERSATION = /^[CGD][A-Z0-9]{2,30}$/
const WORKSPACE = /^T[A-Z0-9]{2,30}$/

export const ADDRESS = /^[A-Za-z0-9._%+'-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,8}$/
const FROM = /^([A-Za-z0-9 ._-]{1,64} <([^<>\s]+)>|[^<>\s]+)$/

/** What is wrong with it, by field; empty where it may be. */
export function channelFaults(declared: DeclaredChannel, tenant: string): { path: string; message: string }[] {
  const faults: { path: string; message: string }[] = []
  const fault = (path: string, message: string) => faults.push({ path, message })
  if (declared.events.length === 0 || declared.events.length > MOST_EVENTS)
    fault('events', `needs 1 to ${MOST_EVENTS} kinds of entries`)
  for (const event of declared.events)
    if (!(EVENTS as readonly string[]).includes(event))
      fault('events', `'${event.slice(0, 60)}' is no kind of entry that is told; see docs/channels.md`)
  for (const topic of declared.topics ?? [])
    if (!isTopicPattern(topic)) fault('topics', `'${topic.slice(0, 60)}' is no topic pattern`)
  switch (declared.kind) {
    case 'email':
      emailFaults(declared.settings, tenant, fault)
      break
    case 'webhook':
      urlFaults('url', declared.settings.url, declared.settings, fault)
      envFault('secret_env', declared.settings.secret_env, tenant, fault)
      break
    case 'slack':
      slackFaults(declared.settings, tenant, fault)
      break
    case 'pagerduty':
      apiFaults(PAGERDUTY_APIS, declared.settings, fault)
      envFault('routing_key_env', declared.settings.routing_key_env, tenant, fault)
  }
  return faults
}

/** The variables without which it does not work. */
export function variablesOf(channel: DeclaredChannel): string[] {
  switch (channel.kind) {
    case 'email':
      return [channel.settings.url_env]
    case 'webhook':
      return [channel.settings.secret_env]
    case 'slack':
      return [channel.settings.token_env, channel.settings.signing_env]
    case 'pagerduty':
      return [channel.settings.routing_key_env]
  }
}

type Tell = (path: string, message: string) => unknown

function emailFaults({ from, to, url_env }: EmailSettings, tenant: string, fault: Tell): void {
  const [, whole = '', inside] = FROM.exec(from) ?? []
  if (!ADDRESS.test(inside ?? whole)) fault('from', 'is not name@host or Name <name@host>')
  if (to.length > MOST_RECIPIENTS) fault('to', `names more than ${MOST_RECIPIENTS} addresses`)
  for (const address of to) if (!ADDRESS.test(address)) fault('to', `'${address.slice(0, 60)}' is no address`)
  if (url_env !== DEFAULT_SMTP) envFault('url_env', url_env, tenant, fault)
}

function slackFaults(settings: SlackSettings, tenant: string, fault: Tell): void {
  const { conversation, workspace, token_env, signing_env } = settings
  if (!CONVERSATION.test(conversation)) fault('conversation', 'is no id of a conversation, C…, G… or D…')
  if (!WORKSPACE.test(workspace)) fault('workspace', 'is no id of a workspace, T…')
  apiFaults(SLACK_APIS, settings, fault)
  envFault('token_env', token_env, tenant, fault)
  envFault('signing_env', signing_env, tenant, fault)
}

function urlFaults(path: string, url: string, { allow_private }: { allow_private: boolean }, fault: Tell): void {
  const parsed = url.length <= 2000 && URL.canParse(url) ? new URL(url) : null
  if (parsed === null || !['https:', 'http:'].includes(parsed.protocol)) fault(path, 'is no https URL')
  else if (parsed.username !== '' || parsed.password !== '') fault(path, 'may hold no user or password')
  else if (parsed.hash !== '') fault(path, 'may have no fragment')
  // Signed is not sealed: what is told names people and what they are asked.
  else if (parsed.protocol === 'http:' && !allow_private) fault(path, 'needs https; http is for allow_private alone')
}

function apiFaults(known: readonly string[], settings: { api_url: string; allow_private: boolean }, fault: Tell): void {
  if (known.includes(settings.api_url)) return
  urlFaults('api_url', settings.api_url, settings, fault)
  if (!settings.allow_private) fault('api_url', `is none of ${known.join(', ')}; another needs allow_private`)
}

/**
 * Who declares a channel must not have another's secret used on their behalf: a signature with it is a forgery at the other's
 * receiver. So each tenant's variables begin with its name; those of the default tenant, which is the operator's, need not.
 */
function envFault(path: string, name: string, tenant: string, fault: Tell): void {
  const own = tenant === DEFAULT_TENANT ? SECRETS : `${SECRETS}${tenant.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')}__`
  if (!/^[A-Z0-9_]{1,120}$/.test(name) || !name.startsWith(own) || name === own)
    fault(path, `names a variable that begins with ${own}`)
}

/** What an entry is about, as far as channels ask. */
export interface Concern {
  topic: string | null
  /** Who owns the agent it speaks of, or the team it names. */
  team: string | null
}

/** Whether the channel is for this. A channel for some topics or teams hears nothing that has none. */
export function concerns(channel: DeclaredChannel, { topic, team }: Concern): boolean {
  const { topics, teams } = channel
  if (topics !== null && (topic === null || !topics.some((pattern) => topicMatches(pattern, topic)))) return false
  return teams === null || (team !== null && teams.includes(team))
}

/** Milliseconds. One message has a day; the twelfth refusal of its own ends it sooner, after about an hour. */
export const DELIVERY = { first: 5_000, longest: 900_000, attempts: 12, lifetime: 86_400_000 } as const
/** Failures in a row after which a channel is said to be down: about fifteen seconds; one lost packet is no outage. */
export const DOWN_AFTER = 3

/** When to try again after so many failures in a row: doubling, half of it by chance, so that what failed together does not come back together. */
export function retryDelay(failures: number, fraction: number): number {
  const whole = Math.min(DELIVERY.longest, DELIVERY.first * 2 ** Math.min(20, Math.max(0, failures - 1)))
  return Math.round(whole / 2 + (whole / 2) * fraction)
}
