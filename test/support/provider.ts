import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import Provider from 'oidc-provider'

/** Whom the provider knows: what it says of them. */
export interface ProviderUser {
  sub: string
  email?: string
  email_verified?: boolean
  name?: string
  groups?: string[]
}

/** A real OpenID provider on loopback whose users need no password: whoever is `user` signs on. */
export interface TestProvider {
  issuer: string
  /** Who sits at the browser. */
  user: string
  users: Map<string, ProviderUser>
  /** Codes that were given out, newest last. */
  codes: string[]
  /** Changes what a token says; it is then signed again, by `signer`. */
  forge: ((claims: Record<string, unknown>) => Record<string, unknown>) | null
  /** With the provider's key, with another under its name, or not at all. */
  signer: 'own' | 'other' | 'none'
  stop(): Promise<void>
}

export const CLIENT = { id: 'sallyport', secret: 'a secret of this test only' }

export async function startProvider(redirect: string): Promise<TestProvider> {
  const { publicKey: _, privateKey } = await generateKeyPair('RS256', { extractable: true })
  const other = await generateKeyPair('RS256')
  const jwk: JWK = { ...(await exportJWK(privateKey)), kid: 'one', alg: 'RS256', use: 'sig' }
  const http = createServer()
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  const test: TestProvider = {
    issuer,
    user: 'ada',
    users: new Map(),
    codes: [],
    forge: null,
    signer: 'own',
    stop: () => stopped(http),
  }
  const provider = new Provider(issuer, {
    clients: [{ client_id: CLIENT.id, client_secret: CLIENT.secret, redirect_uris: [redirect] }],
    jwks: { keys: [jwk as never] },
    cookies: { keys: ['only of this test'] },
    claims: {
      openid: ['sub'],
      email: ['email', 'email_verified'],
      profile: ['name'],
      groups: ['groups'],
    },
    ttl: { Interaction: 600, Grant: 600, Session: 600, AccessToken: 600, AuthorizationCode: 60, IdToken: 600 },
    scopes: ['openid', 'profile', 'email', 'groups'],
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_ctx, { uid }) => `/interaction/${uid}` },
    findAccount: (_ctx, sub) => {
      const user = [...test.users.values()].find((each) => each.sub === sub)
      return user === undefined ? undefined : { accountId: sub, claims: async () => ({ ...user }) }
    },
    async loadExistingGrant(ctx) {
      const { client, session } = ctx.oidc
      const grant = new ctx.oidc.provider.Grant({
        clientId: client?.clientId ?? '',
        accountId: session?.accountId ?? '',
      })
      grant.addOIDCScope('openid profile email groups')
      await grant.save()
      return grant
    },
  })
  const sign = (claims: Record<string, unknown>) => {
    if (test.signer === 'none') {
      const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
      return `${part({ alg: 'none' })}.${part(claims)}.`
    }
    return new SignJWT(claims)
      .setProtectedHeader({ alg: 'RS256', kid: 'one' })
      .sign(test.signer === 'own' ? privateKey : other.privateKey)
  }
  provider.use(async (ctx, next) => {
    await next()
    const body = ctx.body as { id_token?: string } | undefined
    if (ctx.path !== '/token' || body?.id_token === undefined || test.forge === null) return
    const claims = JSON.parse(Buffer.from(body.id_token.split('.')[1] ?? '', 'base64url').toString())
    ctx.body = { ...body, id_token: await sign(test.forge(claims)) }
  })
  provider.on('authorization_code.saved', (code) => test.codes.push(code.jti))
  const answer = provider.callback()
  http.on('request', (request, response) => {
    if (!request.url?.startsWith('/interaction/')) return void answer(request, response)
    const sub = test.users.get(test.user)?.sub ?? ''
    void provider.interactionFinished(request, response, { login: { accountId: sub } })
  })
  return test
}

async function stopped(http: Server): Promise<void> {
  http.closeAllConnections()
  await new Promise((resolve) => http.close(resolve))
}
