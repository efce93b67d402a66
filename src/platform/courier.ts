/** What became of one attempt. */
export type Sent =
  | {
      ok: true
      /** What the other end calls the message, where it may be changed later. */
      posted?: string
    }
  | {
      ok: false
      /** `channel`: nothing gets through now. `delivery`: this message was refused, another may be taken. */
      fault: 'channel' | 'delivery'
      /** Trying again would be refused again. */
      final: boolean
      /** For people; no secret and nothing the other side could fill a log with. */
      why: string
      /** The other side asks to be left alone for so long. */
      retry_ms?: number
    }

/** Nothing gets through now. */
export const channelFault = (why: string, retry_ms: number | null = null): Sent => ({
  ok: false,
  fault: 'channel',
  final: false,
  why,
  ...(retry_ms === null ? {} : { retry_ms }),
})

export interface Mail {
  /** Variable with the SMTP URL. */
  url_env: string
  from: string
  to: string
  subject: string
  text: string
  html: string
  /** Without brackets; the same for every attempt. */
  message_id: string
}

export interface Post {
  url: string
  secret_env: string
  allow_private: boolean
  delivery_id: string
  body: string
  /** Epoch ms. */
  at: number
}

export interface SlackCall {
  /** Variable with the bot's token. */
  token_env: string
  /** Without a slash at the end. */
  api_url: string
  allow_private: boolean
  method: 'chat.postMessage' | 'chat.update' | 'chat.postEphemeral'
  body: object
}

export interface PageCall {
  /** Variable with the routing key. */
  routing_key_env: string
  api_url: string
  allow_private: boolean
  /** As the Events API v2 takes it, but for the key. */
  event: object
}

/** Carries messages out of the house. */
export interface Couriers {
  /** Where people reach this plane, without a slash at the end; null: not known, so mails have no links. */
  publicUrl: string | null
  /** Why a channel that needs this variable cannot work on this node; null where it can. */
  missing(variable: string): string | null
  mail(mail: Mail): Promise<Sent>
  post(post: Post): Promise<Sent>
  slack(call: SlackCall): Promise<Sent>
  page(call: PageCall): Promise<Sent>
  /** Whether what came in is signed with the secret of this variable; false where this node has none. */
  isSigned(variable: string, check: (secret: string) => boolean): boolean
}

export interface CourierAccess {
  /** The variables that channels may name, and where `NAME_FILE` stands the file that holds NAME. */
  readonly variables: Readonly<Record<string, string>>
  readonly publicUrl: string | null
  /** `host:port` inside the house that webhooks may reach where their channel asks for it. */
  readonly privateHosts: readonly string[]
}
