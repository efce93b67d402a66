/**
 * Host patterns of `allowed_hosts`: `api.example.com`, `*.example.com` (any depth below, not the name itself), an IP
 * address, each with an optional `:port`. Both sides go through the WHATWG URL parser, so `API.Example.COM.`, Punycode,
 * `0x7f.1` and `https://api.example.com@evil.example/` all mean here what they mean to the client that will connect.
 */
interface HostPattern {
  host: string
  /** True for `*.host`. */
  below: boolean
  port: string | null
}

const MAX_HOST = 253

/** The host as a URL parser writes it: lower case, Punycode, IPv4 in dotted decimal, no trailing dot; null if it is none. */
function normalHost(text: string): string | null {
  if (text.length > MAX_HOST + 1 || /[\s/\\?#@%]/.test(text)) return null
  try {
    const host = new URL(`http://${text}/`).hostname
    const bare = host.endsWith('.') ? host.slice(0, -1) : host
    return bare === '' || bare.startsWith('.') || bare.includes('..') || bare.includes('*') ? null : bare
  } catch {
    return null
  }
}

/** Patterns come from policies, so there are few; the bound is for a program that loads policies all day. */
const MAX_KNOWN = 4096
const known = new Map<string, HostPattern | null>()

/** Remembered, because the URL parser takes microseconds and constraints are merged while a job waits. */
function readPattern(text: string): HostPattern | null {
  let pattern = known.get(text)
  if (pattern === undefined) {
    pattern = parsePattern(text)
    if (known.size >= MAX_KNOWN) known.clear()
    known.set(text, pattern)
  }
  return pattern
}

function parsePattern(text: string): HostPattern | null {
  const below = text.startsWith('*.')
  const rest = below ? text.slice(2) : text
  const port = /:([0-9]{1,5})$/.exec(rest.startsWith('[') ? rest.slice(rest.indexOf(']') + 1) : rest)
  const bare = port ? rest.slice(0, -port[0].length) : rest
  if (bare.includes(':') && !bare.startsWith('[')) return null
  const host = normalHost(bare)
  if (host === null || (below && (!host.includes('.') || /^[0-9.]+$/.test(host) || host.startsWith('[')))) return null
  if (port && Number(port[1]) > 65_535) return null
  return { host, below, port: port ? String(Number(port[1])) : null }
}

const write = (pattern: HostPattern) =>
  `${pattern.below ? '*.' : ''}${pattern.host}${pattern.port === null ? '' : `:${pattern.port}`}`

/** The pattern in its one spelling, or null where it is no host pattern. */
export function normalHostPattern(text: string): string | null {
  const pattern = readPattern(text)
  return pattern && write(pattern)
}

function meetHosts(a: HostPattern, b: HostPattern): { host: string; below: boolean } | null {
  if (a.host === b.host) return a.below === b.below ? a : null
  if (a.below && b.host.endsWith(`.${a.host}`)) return b
  if (b.below && a.host.endsWith(`.${b.host}`)) return a
  return null
}

/** The hosts both patterns name, as one pattern; null where they share none. */
function meet(a: HostPattern, b: HostPattern): HostPattern | null {
  const host = meetHosts(a, b)
  if (!host || (a.port !== null && b.port !== null && a.port !== b.port)) return null
  return { host: host.host, below: host.below, port: a.port ?? b.port }
}

const covers = (wide: HostPattern, narrow: HostPattern) => {
  const shared = meet(wide, narrow)
  return shared !== null && write(shared) === write(narrow)
}

/** Sorted, without a pattern that another one already covers, so that equal sets are equal lists. */
export function reduceHosts(patterns: readonly string[]): string[] {
  const unique = [...new Set(patterns)].map((text) => readPattern(text)).filter((pattern) => pattern !== null)
  return unique
    .filter((pattern) => !unique.some((other) => other !== pattern && covers(other, pattern)))
    .map(write)
    .sort()
}

/** Hosts that both lists allow. */
export function intersectHosts(left: readonly string[], right: readonly string[]): string[] {
  const shared: string[] = []
  for (const a of left) {
    for (const b of right) {
      const pa = readPattern(a)
      const pb = readPattern(b)
      const both = pa && pb && meet(pa, pb)
      if (both) shared.push(write(both))
    }
  }
  return reduceHosts(shared)
}

/**
 * Whether a client that is given `url` would connect to an allowed host. False for anything that is not an absolute
 * http(s) or ws(s) URL, and for every URL with user information: nobody needs it and it is how hosts are disguised.
 */
export function urlAllowed(url: string, patterns: readonly string[]): boolean {
  let parsed: URL
  try {
    parsed = new URL(url)
  } catch {
    return false
  }
  if (!['http:', 'https:', 'ws:', 'wss:'].includes(parsed.protocol)) return false
  if (parsed.username !== '' || parsed.password !== '') return false
  const host = normalHost(parsed.hostname)
  if (host === null) return false
  const secure = parsed.protocol === 'https:' || parsed.protocol === 'wss:'
  const asked: HostPattern = { host, below: false, port: parsed.port || (secure ? '443' : '80') }
  return patterns.some((text) => {
    const pattern = readPattern(text)
    return pattern !== null && covers(pattern, asked)
  })
}
