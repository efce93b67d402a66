import { type Static, Type } from 'typebox'
import { TopicPattern } from './keys.js'
import { Instant, Name, Nullable, PageQuery } from './scalars.js'

const closed = { additionalProperties: false }
const words = <Word extends string>(...all: Word[]) =>
  Type.Unsafe<Word>(Type.Union(all.map((word) => Type.Literal(word))))

export const ChannelName = Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,59}$' })
const Variable = Type.String({ pattern: '^[A-Z0-9_]{1,120}$' })
const Address = Type.String({ maxLength: 254, pattern: '^[^@\\s]+@[^@\\s]+$' })

/** Secrets stand in the environment of the server, or in a file named there (`NAME_FILE`); a channel names the variable. */
export const EmailSettings = Type.Object(
  {
    from: Type.String({ maxLength: 320, description: 'name@host, or Name <name@host>' }),
    to: Type.Optional(
      Type.Array(Address, { maxItems: 50, uniqueItems: true, description: 'Empty: whom an entry asks or concerns' }),
    ),
    url_env: Type.Optional({ ...Variable, description: 'Variable with the SMTP URL; SALLYPORT_SMTP_URL' }),
  },
  closed,
)
export const WebhookSettings = Type.Object(
  {
    url: Type.String({ maxLength: 2000 }),
    secret_env: { ...Variable, description: 'Variable with the key of the signatures; SALLYPORT_CHANNEL_…' },
    allow_private: Type.Optional(Type.Boolean({ description: 'For a host that the server lists as its own house’s' })),
  },
  closed,
)

const AllowPrivate = Type.Boolean({ description: 'For a host that the server lists as its own house’s' })
export const SlackSettings = Type.Object(
  {
    conversation: Type.String({ maxLength: 31, description: 'C…, G… or D…: where it is written' }),
    workspace: Type.String({ maxLength: 31, description: 'T…: whose clicks count' }),
    token_env: { ...Variable, description: 'Variable with the bot’s token; SALLYPORT_CHANNEL_…' },
    signing_env: { ...Variable, description: 'Variable with the app’s signing secret; SALLYPORT_CHANNEL_…' },
    api_url: Type.Optional(Type.String({ maxLength: 2000, description: 'https://slack.com/api' })),
    allow_private: Type.Optional(AllowPrivate),
  },
  closed,
)
export const PagerDutySettings = Type.Object(
  {
    routing_key_env: { ...Variable, description: 'Variable with the integration’s routing key; SALLYPORT_CHANNEL_…' },
    severity: Type.Optional(words('critical', 'error', 'warning', 'info')),
    api_url: Type.Optional(Type.String({ maxLength: 2000, description: 'https://events.pagerduty.com' })),
    allow_private: Type.Optional(AllowPrivate),
  },
  closed,
)

const shared = {
  events: Type.Array(Name, { minItems: 1, maxItems: 100, uniqueItems: true, description: 'Kinds of audit entries' }),
  topics: Type.Optional(Nullable(Type.Array(TopicPattern, { minItems: 1, maxItems: 100 }))),
  teams: Type.Optional(Nullable(Type.Array(Name, { minItems: 1, maxItems: 100 }))),
}

export const PutChannel = Type.Union([
  Type.Object({ kind: Type.Literal('email'), settings: EmailSettings, ...shared }, closed),
  Type.Object({ kind: Type.Literal('webhook'), settings: WebhookSettings, ...shared }, closed),
  Type.Object({ kind: Type.Literal('slack'), settings: SlackSettings, ...shared }, closed),
  Type.Object({ kind: Type.Literal('pagerduty'), settings: PagerDutySettings, ...shared }, closed),
])
export type PutChannel = Static<typeof PutChannel>

export const ChannelHealth = Type.Object({
  status: Type.Unsafe<'ok' | 'failing' | 'down' | 'unconfigured'>(
    Type.Union(
      ['ok', 'failing', 'down', 'unconfigured'].map((word) => Type.Literal(word)),
      { description: 'down: three failures in a row; unconfigured: a variable it names is missing on this node' },
    ),
  ),
  since: Nullable(Instant),
  error: Nullable(Type.String()),
  failures: Type.Integer(),
  next_at: Nullable(Instant),
  last_sent_at: Nullable(Instant),
  pending: Type.Integer({ description: '1,000 means "or more"' }),
  dead: Type.Integer(),
  oldest_pending_at: Nullable(Instant),
})

export const Channel = Type.Object({
  channel: Type.String(),
  kind: words('email', 'webhook', 'slack', 'pagerduty'),
  settings: Type.Union([EmailSettings, WebhookSettings, SlackSettings, PagerDutySettings]),
  events: Type.Array(Type.String()),
  topics: Nullable(Type.Array(Type.String())),
  teams: Nullable(Type.Array(Type.String())),
  source: Type.String(),
  created_at: Instant,
  updated_at: Instant,
  updated_by: Type.String(),
  health: ChannelHealth,
})
export type Channel = Static<typeof Channel>
export const ChannelPage = Type.Object({ items: Type.Array(Channel), next_cursor: Nullable(Type.String()) })
export type ChannelPage = Static<typeof ChannelPage>

export const ChannelTest = Type.Object({ ok: Type.Boolean(), why: Nullable(Type.String()) })
export type ChannelTest = Static<typeof ChannelTest>

export const DeliveryStatus = words('pending', 'sent', 'dead', 'dropped')
export const Delivery = Type.Object({
  delivery_id: Type.String(),
  channel: Type.String(),
  event: Type.String(),
  recipient: Type.String({
    description:
      'principal:NAME, mailto:ADDRESS, endpoint, conversation, update: and the message it changes, trigger or resolve',
  }),
  index: Type.Integer({ description: 'Place of the entry in the log' }),
  approval_id: Nullable(Type.String()),
  status: Type.String({ description: 'pending, sent, dead, or dropped: it had become pointless' }),
  attempts: Type.Integer(),
  next_at: Nullable(Instant),
  error: Nullable(Type.String()),
  created_at: Instant,
  finished_at: Nullable(Instant),
})
export type Delivery = Static<typeof Delivery>
export const DeliveryPage = Type.Object({ items: Type.Array(Delivery), next_cursor: Nullable(Type.String()) })
export type DeliveryPage = Static<typeof DeliveryPage>
export const DeliveryQuery = Type.Object(
  { ...PageQuery.properties, status: Type.Optional(DeliveryStatus), channel: Type.Optional(ChannelName) },
  closed,
)
export type DeliveryQuery = Static<typeof DeliveryQuery>
