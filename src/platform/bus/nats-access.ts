/** How to reach NATS, as the configuration says it. */
export interface NatsAccess {
  readonly servers: readonly { readonly host: string; readonly port: number }[]
  /** Only encrypted connections, to a server whose certificate is known and names its host. */
  readonly tls: boolean
  readonly user: string | null
  readonly pass: string | null
  readonly token: string | null
  /** Text of a .creds file. */
  readonly creds: string | null
}
