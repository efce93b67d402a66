/**
 * node test/support/provider-process.mjs REDIRECT CLIENT_ID CLIENT_SECRET USER
 *
 * An OpenID provider as a process of its own: whoever comes is USER (JSON, claims with `sub`). Prints its issuer, and lives until its
 * standard input ends or it is killed.
 */
import { createServer } from 'node:http'
import { exportJWK, generateKeyPair } from 'jose'
import Provider from 'oidc-provider'

const [redirect, client_id, client_secret, said] = process.argv.slice(2)
const user = JSON.parse(said)
const { privateKey } = await generateKeyPair('RS256', { extractable: true })
const http = createServer()
await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve))
const issuer = `http://127.0.0.1:${http.address().port}`
const provider = new Provider(issuer, {
  clients: [{ client_id, client_secret, redirect_uris: [redirect] }],
  jwks: { keys: [{ ...(await exportJWK(privateKey)), kid: 'one', alg: 'RS256', use: 'sig' }] },
  cookies: { keys: ['only of this test'] },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_ctx, { uid }) => `/interaction/${uid}` },
  findAccount: (_ctx, sub) => ({ accountId: sub, claims: async () => user }),
  async loadExistingGrant(ctx) {
    const { client, session } = ctx.oidc
    const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId })
    grant.addOIDCScope('openid profile email')
    await grant.save()
    return grant
  },
})
const answer = provider.callback()
http.on('request', (request, response) => {
  if (!request.url.startsWith('/interaction/')) return void answer(request, response)
  void provider.interactionFinished(request, response, { login: { accountId: user.sub } })
})
process.stdin.resume().once('end', () => process.exit(0))
console.log(JSON.stringify({ issuer }))
