/** What a browser does with cookies, redirects and forms, and says of itself; it runs no script, and our pages have none. */
export class Browser {
  readonly jar = new Map<string, Map<string, string>>()
  /** Where it was sent, newest last. */
  readonly visited: string[] = []

  /** Follows redirects to the end. `stop` ends before an address is asked for. */
  async open(url: string, init: RequestInit = {}, stop: (url: URL) => boolean = () => false): Promise<Seen> {
    let at = new URL(url)
    let request = init
    for (let hops = 0; hops < 20; hops++) {
      if (hops > 0 && stop(at)) return { url: at.href, status: 0, headers: new Headers(), text: '' }
      const response = await this.#send(at, request)
      const to = response.headers.get('location')
      if (to === null || response.status < 300 || response.status > 399)
        return { url: at.href, status: response.status, headers: response.headers, text: await response.text() }
      await response.arrayBuffer()
      at = new URL(to, at)
      request = {}
    }
    throw new Error(`it never ends: ${this.visited.slice(-4).join(' ')}`)
  }

  /** Fills in the form of a page as it stands there, hidden fields and all. */
  submit(page: Seen, fields: Record<string, string>, headers: Record<string, string> = {}): Promise<Seen> {
    const action = /<form[^>]* action="([^"]*)"/.exec(page.text)?.[1] ?? page.url
    const body = new URLSearchParams()
    for (const [, tag = ''] of page.text.matchAll(/<input ([^>]*)>/g)) {
      const name = /name="([^"]*)"/.exec(tag)?.[1]
      if (name !== undefined) body.set(name, unescaped(/value="([^"]*)"/.exec(tag)?.[1] ?? ''))
    }
    for (const [name, value] of Object.entries(fields)) body.set(name, value)
    const to = new URL(unescaped(action), page.url)
    const own = { origin: to.origin, 'content-type': 'application/x-www-form-urlencoded', ...headers }
    return this.open(to.href, { method: 'POST', body: body.toString(), headers: own })
  }

  /** Another one that knows what this one was told to remember, and nothing of its session. */
  fresh(): Browser {
    const other = new Browser()
    for (const [host, cookies] of this.jar)
      other.jar.set(host, new Map([...cookies].filter(([name]) => name.endsWith('sallyport_browser'))))
    return other
  }

  cookie(origin: string, name: string): string | undefined {
    return this.jar.get(new URL(origin).host)?.get(name)
  }

  async #send(at: URL, init: RequestInit): Promise<Response> {
    this.visited.push(at.href)
    const cookies = this.jar.get(at.host) ?? new Map<string, string>()
    this.jar.set(at.host, cookies)
    const headers = new Headers(init.headers)
    if (cookies.size > 0) headers.set('cookie', [...cookies].map(([name, value]) => `${name}=${value}`).join('; '))
    const response = await fetch(at, { ...init, headers, redirect: 'manual' })
    for (const set of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(set) ?? []
      if (value === '' || /max-age=0|expires=thu, 01 jan 1970/i.test(set)) cookies.delete(name)
      else cookies.set(name, value)
    }
    return response
  }
}

export interface Seen {
  url: string
  status: number
  headers: Headers
  text: string
}

const unescaped = (text: string) =>
  text
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&')
