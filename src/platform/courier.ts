/** What became of one attempt. */
export type Sent =
  | { ok: true }
  | {
      ok: false
      /** `channel`: nothing gets through now. `delivery`: this message was refused, another may be taken. */
      fault: 'channel' | 'delivery'
      /** Trying again would be refused again. */
      final: boolean
      /** For people; no secret and nothing the other side could fill a log with. */
      why: string
    }

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

/** Carries messages out of the house. */
export interface Couriers {
  /** Where people reach this plane, without a slash at the end; null: not known, so mails have no links. */
  publicUrl: string | null
  /** Why a channel that needs this variable cannot work on this node; null where it can. */
  missing(variable: string): string | null
  mail(mail: Mail): Promise<Sent>
  post(post: Post): Promise<Sent>
}

export interface CourierAccess {
  /** The variables that channels may name, and where `NAME_FILE` stands the file that holds NAME. */
  readonly variables: Readonly<Record<string, string>>
  readonly publicUrl: string | null
  /** `host:port` inside the house that webhooks may reach where their channel asks for it. */
  readonly privateHosts: readonly string[]
}
