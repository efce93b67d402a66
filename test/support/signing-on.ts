import { freePort } from '../../scripts/engines.mjs'
import type { Seams } from '../../src/main.js'
import { startSallyport, type TestPlane } from '../../src/testing.js'
import { API, call } from '../hostile/attacker.js'
import type { Browser, Seen } from './browser.js'
import { CLIENT, startProvider, type TestProvider } from './provider.js'

/** A plane whose people sign on at a provider of its own. */
export async function planeWithProvider(
  policy: string,
  seams: Seams = {},
): Promise<{ plane: TestPlane; provider: TestProvider }> {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const provider = await startProvider(`${url}/sign-on/callback`)
  const env = {
    SALLYPORT_PORT: String(port),
    SALLYPORT_PUBLIC_URL: url,
    SALLYPORT_OIDC_ISSUER: provider.issuer,
    SALLYPORT_OIDC_CLIENT_ID: CLIENT.id,
    SALLYPORT_OIDC_CLIENT_SECRET: CLIENT.secret,
    SALLYPORT_OIDC_SCOPES: 'openid profile email groups',
  }
  return { plane: await startSallyport({ policy, env, seams }), provider }
}

export async function applyFile(plane: TestPlane, text: string): Promise<void> {
  const answer = await call(plane, plane.keys.admin, 'POST', `${API}/directory/apply`, { path: 'sallyport.yaml', text })
  if (answer.status !== 200) throw new Error(answer.text)
}

/** What the log says of a kind, newest as the search gives it, each with who did it. */
// biome-ignore lint/suspicious/noExplicitAny: whatever the server says
export async function factsOf(plane: TestPlane, kind: string): Promise<any[]> {
  const { body } = await call(plane, plane.keys.admin, 'GET', `${API}/audit?limit=200&kind=${kind}`)
  return body.items.map((item: { facts: object; actor: string }) => ({ ...item.facts, actor: item.actor }))
}

/** As a page of ours asks: with the cookie alone, and what is added. */
export async function asked(plane: TestPlane, browser: Browser, method: string, path: string, more: RequestInit = {}) {
  const { status, text } = await browser.open(plane.url + API + path, { method, ...more })
  // biome-ignore lint/suspicious/noExplicitAny: whatever the server says
  return { status, body: (text === '' ? undefined : JSON.parse(text)) as any }
}

export async function invite(plane: TestPlane, principal: string): Promise<string> {
  const { body } = await call(plane, plane.keys.admin, 'POST', `${API}/accounts/${principal}/invite`)
  return plane.url + body.link
}

/** Signs on by the form of the page. */
export async function signOnWith(plane: TestPlane, browser: Browser, name: string, password: string): Promise<Seen> {
  return browser.submit(await browser.open(`${plane.url}/sign-on`), { name, password })
}
