import * as client from 'openid-client'

/** Where people sign on, and as what this server is known there. */
export interface OidcSettings {
  issuer: string
  clientId: string
  clientSecret: string
  /** Parted by blanks. */
  scopes: string
  /** Claim that lists a person's groups. */
  groupsClaim: string
  /** Without TLS: of a provider on this machine alone. */
  isPlain: boolean
}

/** What one sign-on has to bring back: none of it is known to anybody but this server and the browser that began. */
export interface Transaction {
  state: string
  nonce: string
  /** PKCE: the answer's code is worth nothing without it. */
  verifier: string
}

/** What the provider vouches for, as its token and its user-info say. */
export interface Vouched {
  issuer: string
  subject: string
  email: string | null
  email_verified: boolean
  name: string | null
  groups: string[]
}

/**
 * `down`: it did not answer, or not as a provider. `refused`: what came back is not what was begun, or the provider said no. The message
 * is one of a few words; `detail` is for the log. What it came from is left behind: it holds codes and tokens.
 */
export class OidcFault extends Error {
  readonly kind: 'down' | 'refused'
  readonly detail: string
  constructor(kind: 'down' | 'refused', message: string, detail: string) {
    super(message)
    this.name = 'OidcFault'
    this.kind = kind
    this.detail = detail
  }
}

export interface OidcProvider {
  readonly issuer: string
  /** Where to send the browser. Throws OidcFault. */
  begin(transaction: Transaction, redirect: URL): Promise<URL>
  /** @param answer the address the provider sent the browser to, with all it added. Throws OidcFault. */
  complete(transaction: Transaction, answer: URL): Promise<Vouched>
}

/** Seconds the clocks of two machines may differ. */
const TOLERANCE_S = 10
/** Seconds: somebody is looking at a blank page meanwhile. */
const TIMEOUT_S = 8
const MOST_GROUPS = 1000

/** Nothing is asked before the first sign-on: a provider that is down must not keep a node from starting. */
export function oidcProvider(settings: OidcSettings): OidcProvider {
  let found: Promise<client.Configuration> | null = null
  const configuration = () => {
    found ??= discover(settings).catch((error: unknown) => {
      found = null
      throw faultOf(error)
    })
    return found
  }
  return {
    issuer: settings.issuer,
    async begin({ state, nonce, verifier }, redirect) {
      const code_challenge = await client.calculatePKCECodeChallenge(verifier)
      return client.buildAuthorizationUrl(await configuration(), {
        redirect_uri: redirect.href,
        scope: settings.scopes,
        state,
        nonce,
        code_challenge,
        code_challenge_method: 'S256',
      })
    },
    async complete({ state, nonce, verifier }, answer) {
      const config = await configuration()
      try {
        const checks = { expectedState: state, expectedNonce: nonce, pkceCodeVerifier: verifier, idTokenExpected: true }
        const tokens = await client.authorizationCodeGrant(config, answer, checks)
        const claims = tokens.claims() as client.IDToken
        const more = await userInfo(config, tokens.access_token, claims, settings)
        return vouched(settings, claims, { ...more, ...claims, ...addressOf(claims, more) })
      } catch (error) {
        throw faultOf(error)
      }
    },
  }
}

async function discover({ issuer, clientId, clientSecret, isPlain }: OidcSettings): Promise<client.Configuration> {
  const metadata = { client_secret: clientSecret, [client.clockTolerance]: TOLERANCE_S }
  const execute = [
    // The library trusts the connection a token came by; a proxy that is trusted by mistake would be enough to forge one.
    client.enableNonRepudiationChecks,
    ...(isPlain ? [client.allowInsecureRequests] : []),
  ]
  return client.discovery(new URL(issuer), clientId, metadata, undefined, { execute, timeout: TIMEOUT_S })
}

/** Most providers say who somebody is only there, and leave the token short. Asked only for what the token does not say. */
async function userInfo(
  config: client.Configuration,
  accessToken: string,
  claims: client.IDToken,
  { groupsClaim }: OidcSettings,
): Promise<Record<string, unknown>> {
  if (config.serverMetadata().userinfo_endpoint === undefined) return {}
  if (claims.email !== undefined && claims[groupsClaim] !== undefined) return {}
  return client.fetchUserInfo(config, accessToken, claims.sub)
}

/** An address and whether it is verified are of one source, or of two that say the same address: else one would vouch for the other's. */
function addressOf(token: Record<string, unknown>, info: Record<string, unknown>): Record<string, unknown> {
  const { email, email_verified } = token.email === undefined ? info : token
  const alsoSaid = info.email === email ? info.email_verified : undefined
  return { email, email_verified: email_verified ?? alsoSaid }
}

/** The issuer is the token's: one address may serve many, each with subjects of its own. */
function vouched(settings: OidcSettings, { iss, sub }: client.IDToken, claims: Record<string, unknown>): Vouched {
  const text = (value: unknown) => (typeof value === 'string' && value !== '' && value.length <= 254 ? value : null)
  const groups = claims[settings.groupsClaim]
  const listed = typeof groups === 'string' ? [groups] : Array.isArray(groups) ? groups : []
  return {
    issuer: iss,
    subject: sub,
    email: text(claims.email),
    email_verified: claims.email_verified === true,
    name: text(claims.name),
    groups: listed.filter((group) => typeof group === 'string').slice(0, MOST_GROUPS),
  }
}

/** What went wrong on the way there is the provider's absence; whatever a check found is a refusal. */
function faultOf(error: unknown): OidcFault {
  if (error instanceof OidcFault) return error
  const { code, name } = error as { code?: string; name?: string }
  const refused =
    error instanceof client.AuthorizationResponseError ||
    (error instanceof client.ResponseBodyError && error.status < 500) ||
    (code !== undefined && REFUSALS.has(code))
  return new OidcFault(refused ? 'refused' : 'down', code ?? name ?? 'no answer', detailOf(error))
}

/** In words, of bounded length: some of it is the provider's. */
function detailOf(error: unknown): string {
  const { message = '', cause, error: said, error_description: why } = error as Record<string, unknown> & Error
  const inner = cause instanceof Error ? cause.message : ''
  return [message, inner, said, why]
    .filter((part) => typeof part === 'string' && part !== '')
    .join(': ')
    .slice(0, 500)
}

const REFUSALS = new Set([
  'OAUTH_INVALID_RESPONSE',
  'OAUTH_INVALID_REQUEST',
  'OAUTH_JWT_TIMESTAMP_CHECK_FAILED',
  'OAUTH_JWT_CLAIM_COMPARISON_FAILED',
  'OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED',
  'OAUTH_KEY_SELECTION_FAILED',
  'OAUTH_UNSUPPORTED_OPERATION',
  'OAUTH_PARSE_ERROR',
])
