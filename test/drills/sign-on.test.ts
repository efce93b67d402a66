import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { freePort } from '../../scripts/engines.mjs'
import { startSallyport } from '../../src/testing.js'
import { proves } from '../requirements.js'
import { Browser } from '../support/browser.js'
import { CLIENT } from '../support/provider.js'
import { applyFile, asked, factsOf } from '../support/signing-on.js'

const PROVIDER = fileURLToPath(new URL('../support/provider-process.mjs', import.meta.url))
const ADA = { sub: 'sub-ada', email: 'ada@example.com', email_verified: true }

test(`${proves('S7')} signs on at a provider that is a process of its own; killed, it lets nobody in and nobody out`, async () => {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const args = [PROVIDER, `${url}/sign-on/callback`, CLIENT.id, CLIENT.secret, JSON.stringify(ADA)]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'ignore'] })
  try {
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
    const env = {
      SALLYPORT_PORT: String(port),
      SALLYPORT_PUBLIC_URL: url,
      SALLYPORT_OIDC_ISSUER: JSON.parse(line).issuer as string,
      SALLYPORT_OIDC_CLIENT_ID: CLIENT.id,
      SALLYPORT_OIDC_CLIENT_SECRET: CLIENT.secret,
    }
    const plane = await startSallyport({ policy: 'version: v1\nrules: []\n', env })
    await applyFile(
      plane,
      'version: v1\npeople:\n  - { principal: person:ada, role: approver, email: ada@example.com }\n',
    )
    const browser = new Browser()
    expect((await browser.open(`${url}/sign-on/oidc?return_to=/docs`)).url).toBe(`${url}/docs`)
    expect((await asked(plane, browser, 'GET', '/session')).body).toMatchObject({ principal: 'person:ada' })

    child.kill('SIGKILL')
    await once(child, 'close')
    // Who is in stays in: a session is the plane's own. Who is not comes no further than the page that says so.
    expect((await asked(plane, browser, 'GET', '/session')).status).toBe(200)
    const other = new Browser()
    const seen = await other.open(`${url}/sign-on/oidc`, {}, (at) => at.origin !== url)
    expect((await asked(plane, other, 'GET', '/session')).status).toBe(401)
    expect(seen.status === 0 || seen.status >= 500).toBe(true)
    expect(await factsOf(plane, 'session.opened')).toHaveLength(1)
    await plane.stop()
  } finally {
    child.kill('SIGKILL')
  }
}, 60_000)
