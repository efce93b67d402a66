import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startSallyport, type TestPlane } from '../../src/testing.js'
import { type BrowserPage, CHROMIUM, openChromium } from '../support/chromium.js'
import type { TestProvider } from '../support/provider.js'
import { applyFile, invite, planeWithProvider } from '../support/signing-on.js'

/** The pages to sign on in a real browser: its own rules for cookies, referrers, origins and content security are what they live by. */
const POLICY = 'version: v1\nrules: []\n'
const FILE = `
version: v1
people:
  - { principal: person:ada, role: approver, name: Ada, email: ada@example.com }
`
const PASSWORD = 'a long enough one'
const NONE = 'no chromium here; the package of the distribution brings it'

describe('in chromium', () => {
  let page: BrowserPage
  beforeAll(async () => {
    if (CHROMIUM !== null) page = await openChromium(CHROMIUM)
  })
  afterAll(() => page?.close())
  const text = () => page.evaluate<string>('document.body.innerText')
  const where = () => page.evaluate<string>('location.href')

  test('a person chooses a password, signs on, goes where they wanted, and signs off', async ({ skip }) => {
    skip(CHROMIUM === null, NONE)
    const plane: TestPlane = await startSallyport({ policy: POLICY })
    await applyFile(plane, FILE)
    await page.open(await invite(plane, 'person:ada'))
    await page.send({ password: PASSWORD, again: PASSWORD })
    expect(await text()).toContain('Your password is set')

    await page.open(`${plane.url}/sign-on?return_to=/docs`)
    await page.send({ name: 'ada', password: 'not this one' })
    expect(await page.evaluate('document.querySelector("[role=alert]").innerText')).toContain('did not sign you on')
    await page.send({ name: 'ada', password: PASSWORD })
    expect(await where()).toBe(`${plane.url}/docs`)
    expect(await page.evaluate('document.cookie')).toBe('')

    await page.open(`${plane.url}/sign-on`)
    expect(await text()).toContain('person:ada')
    await page.send({})
    expect([await where(), await page.evaluate('document.querySelector("#password") !== null')]).toEqual([
      `${plane.url}/sign-on`,
      true,
    ])
    // Nothing that a page asked for was forbidden to it; the wrong password is the one answer that is an error.
    expect(page.complaints().filter((each) => !each.includes('401'))).toEqual([])
    await plane.stop()
  })

  test('every field has a label, and the pages run no script', async ({ skip }) => {
    skip(CHROMIUM === null, NONE)
    const plane = await startSallyport({ policy: POLICY })
    await applyFile(plane, FILE)
    for (const url of [`${plane.url}/sign-on`, await invite(plane, 'person:ada')]) {
      await page.open(url)
      const bare = 'input:not([type=hidden]):not(label input)'
      const found = [bare, 'script', 'label', 'html[lang]', 'h1'].map(
        (each) => `document.querySelectorAll('${each}').length`,
      )
      const [unlabelled, scripts, labels, lang, title] = await page.evaluate<number[]>(`[${found.join()}]`)
      expect([unlabelled, scripts, lang, title]).toEqual([0, 0, 1, 1])
      expect(labels).toBeGreaterThan(1)
    }
    await plane.stop()
  })

  test('a person signs on at the provider, over its redirects, and comes back', async ({ skip }) => {
    skip(CHROMIUM === null, NONE)
    const { plane, provider }: { plane: TestPlane; provider: TestProvider } = await planeWithProvider(POLICY)
    provider.users.set('ada', { sub: 'sub-ada', email: 'ada@example.com', email_verified: true })
    await applyFile(plane, FILE)
    await page.open(`${plane.url}/sign-on?return_to=/docs`)
    await page.evaluate('document.querySelector("a.go").click()')
    await expect.poll(where, { timeout: 10_000 }).toBe(`${plane.url}/docs`)
    await page.open(`${plane.url}/sign-on`)
    expect(await text()).toContain('person:ada')
    await plane.stop()
    await provider.stop()
  })
})
