/** A signed head of the audit log as the server showed it (C2SP checkpoint). Whoever kept one can prove that nothing before it was cut off. */
export interface SignedHead {
  /** Which log: `sallyport/<tenant>`. */
  origin: string
  /** Entries it covers. */
  size: number
  /** Epoch ms of the signing. */
  at: number
  /** Root hash, base64. */
  root: string
  /** The note as it came, signature included: what `sallyport audit verify --head` takes. */
  checkpoint: string
}

/**
 * Two heads that no honest append-only log can both have signed.
 * `other_root`: same size, different content. `smaller`: signed after the larger one, so the log has shrunk.
 * `other_log`: another origin for the same key.
 */
export interface Fork {
  kind: 'other_root' | 'smaller' | 'other_log'
  known: SignedHead
  seen: SignedHead
}

/**
 * How much later a smaller head must have been signed: the clocks of two nodes that sign in turn may be apart by 500 ms each.
 * How long a larger one has been known says nothing: a node that was frozen, or cut off from a frozen database, for 15 s hands out
 * the older head that it had, and that was taken for a fork.
 */
const CLOCKS_MS = 1_000
/** A head is a few hundred bytes; more is not one. */
const MOST_CHARS = 8_192

export interface HeadWatch {
  /** The largest head seen, or null. A contradicting one never replaces it. */
  readonly head: SignedHead | null
  /** Takes the checkpoint of an answer. Returns false when it is no checkpoint. */
  see(checkpoint: string): boolean
}

/**
 * Remembers the largest head and notices contradictions. It does not check signatures: a head is kept as evidence, and
 * `sallyport audit verify` checks it with the key; a server that lies about heads must sign the lie.
 */
export function createHeadWatch(onHead: (head: SignedHead) => void, onFork: (fork: Fork) => void): HeadWatch {
  let known: SignedHead | null = null
  let alarmed = ''

  function alarm(kind: Fork['kind'], from: SignedHead, seen: SignedHead) {
    if (alarmed === seen.checkpoint) return
    alarmed = seen.checkpoint
    onFork({ kind, known: from, seen })
  }

  return {
    get head() {
      return known
    },
    see(checkpoint) {
      if (checkpoint === known?.checkpoint) return true
      const seen = parseHead(checkpoint)
      if (seen === null) return false
      if (known !== null && seen.origin !== known.origin) alarm('other_log', known, seen)
      else if (known !== null && seen.size === known.size && seen.root !== known.root) alarm('other_root', known, seen)
      else if (known !== null && seen.size < known.size) {
        if (seen.at > known.at + CLOCKS_MS) alarm('smaller', known, seen)
      } else if (known === null || seen.size > known.size) {
        known = seen
        onHead(seen)
      }
      return true
    },
  }
}

/** Origin, size, root, time of signing, any further lines, an empty line, at least one signature; null for anything else. */
export function parseHead(text: string): SignedHead | null {
  if (text.length > MOST_CHARS) return null
  const [body, ...rest] = text.split('\n\n')
  const [origin, size, root, time] = (body ?? '').split('\n')
  const at = /^at ([1-9]\d{0,15})$/.exec(time ?? '')?.[1]
  const signed = rest.length === 1 && rest[0]?.startsWith('— ')
  if (!origin || !signed || at === undefined) return null
  if (!/^(0|[1-9]\d{0,15})$/.test(size ?? '') || !/^[A-Za-z0-9+/]{43}=$/.test(root ?? '')) return null
  return { origin, size: Number(size), root: root as string, at: Number(at), checkpoint: text }
}
