import { isWellFormed } from '../canonical.js'
import { base64, fromBase64, HASH_BYTES, hex } from './hash.js'
import { type CheckSignature, isKeyName, keyId, type SigningKey, signatureChecker } from './keys.js'

/**
 * Signed tree heads in the checkpoint format of C2SP (tlog-checkpoint over signed-note), so that any witness for
 * transparency logs can read them. The key's name is the origin, `sallyport/<tenant>`: one key, one name per tenant.
 *
 *     sallyport/default
 *     1204
 *     CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
 *     at 1763622000000
 *     closed wr_01k9z 17
 *
 *     — sallyport/default Az3grlgt…
 */
export interface Checkpoint {
  origin: string
  size: number
  root: Uint8Array
  /** Epoch ms of the signing; null where the text does not say. */
  at: number | null
  /** Writers whose closing entry is in this tree and was not in the tree of the head before. */
  closed: ClosedWriter[]
}

export interface ClosedWriter {
  writer: string
  /** `seq` of its last tile. */
  last_seq: number
}

export interface NoteSignature {
  name: string
  /** Key id, 8 hex digits. */
  id: string
  signature: Uint8Array
}

/** A checkpoint as read, before any signature is checked: what it says proves nothing yet. */
export interface UncheckedNote {
  checkpoint: Checkpoint
  /** What is signed: the lines up to and with the newline before the blank line. */
  text: string
  signatures: NoteSignature[]
}

export type CheckpointFault = 'malformed' | 'wrong_origin' | 'unknown_key' | 'bad_signature'

/** The text is no checkpoint, is another log's, or no known key signed it. */
export class CheckpointError extends Error {
  readonly fault: CheckpointFault
  constructor(fault: CheckpointFault, message: string) {
    super(message)
    this.name = 'CheckpointError'
    this.fault = fault
  }
}

/** Bounds on text from outside: far above a head with a line for each writer that stopped, far below what hurts. */
const MAX_NOTE = 1_000_000
const MAX_SIGNATURES = 64
const EM_DASH = '\u2014'

/** Origin line and key name of a tenant's log. Throws CheckpointError where the tenant cannot stand in one. */
export function originOf(tenant: string): string {
  const origin = `sallyport/${tenant}`
  if (!isKeyName(origin)) throw new CheckpointError('malformed', 'a tenant with white space or "+" has no origin line')
  return origin
}

/** The signed note of a head. */
export function signCheckpoint(checkpoint: Checkpoint, key: SigningKey): string {
  const text = checkpointText(checkpoint)
  const { origin } = checkpoint
  const signature = Buffer.concat([Buffer.from(keyId(origin, key.publicKey), 'hex'), key.sign(Buffer.from(text))])
  return `${text}\n${EM_DASH} ${origin} ${base64(signature)}\n`
}

function checkpointText({ origin, size, root, at, closed }: Checkpoint): string {
  const lines = [origin, String(size), base64(root)]
  if (at !== null) lines.push(`at ${at}`)
  for (const { writer, last_seq } of closed) lines.push(`closed ${writer} ${last_seq}`)
  return `${lines.join('\n')}\n`
}

/** Reads a signed note without checking its signatures. Throws CheckpointError `malformed`. */
export function readCheckpoint(note: string): UncheckedNote {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the format forbids exactly these
  if (note.length > MAX_NOTE || /[\0-\x09\x0b-\x1f]/.test(note) || !isWellFormed(note))
    throw malformed('not a text note')
  const split = note.lastIndexOf('\n\n')
  if (split < 0 || !note.endsWith('\n')) throw malformed('no blank line between text and signatures')
  const text = note.slice(0, split + 1)
  const signatureLines = note.slice(split + 2, -1).split('\n')
  if (signatureLines.length > MAX_SIGNATURES) throw malformed('too many signatures')
  return { checkpoint: readText(text), text, signatures: signatureLines.map(readSignature) }
}

function readText(text: string): Checkpoint {
  const [origin = '', size = '', root = '', ...extensions] = text.slice(0, -1).split('\n')
  const rootBytes = fromBase64(root)
  const count = /^(0|[1-9][0-9]{0,15})$/.test(size) ? Number(size) : Number.NaN
  if (origin === '' || !Number.isSafeInteger(count) || rootBytes?.length !== HASH_BYTES) {
    throw malformed('the first three lines are not origin, size and root')
  }
  if (extensions.includes('')) throw malformed('an empty line inside the text')
  const checkpoint: Checkpoint = { origin, size: count, root: rootBytes, at: null, closed: [] }
  for (const line of extensions) {
    const at = /^at ([0-9]{1,16})$/.exec(line)
    if (at) checkpoint.at = Number(at[1])
    const closed = /^closed (\S{1,200}) ([0-9]{1,15})$/.exec(line)
    if (closed) checkpoint.closed.push({ writer: closed[1] as string, last_seq: Number(closed[2]) })
  }
  return checkpoint
}

function readSignature(line: string): NoteSignature {
  const [dash, name = '', encoded = '', ...more] = line.split(' ')
  const bytes = fromBase64(encoded)
  if (dash !== EM_DASH || !isKeyName(name) || more.length > 0 || bytes === null || bytes.length <= 4) {
    throw malformed('a signature line is not `— name base64`')
  }
  return { name, id: hex(bytes.subarray(0, 4)), signature: bytes.subarray(4) }
}

/** Opens signed notes of one origin under the keys given. */
export type OpenCheckpoint = (note: string) => Checkpoint

/**
 * An opener for the heads of one log. It throws CheckpointError unless the note is well formed, of this origin and signed by
 * one of the raw public keys; signatures of unknown keys (witnesses) are passed over, a bad one of a known key refuses the note.
 */
export function checkpointOpener(origin: string, publicKeys: readonly Uint8Array[]): OpenCheckpoint {
  const known = new Map<string, CheckSignature>()
  for (const key of publicKeys) known.set(keyId(origin, key), signatureChecker(key))
  return (note) => {
    const { checkpoint, text, signatures } = readCheckpoint(note)
    if (checkpoint.origin !== origin) {
      throw new CheckpointError('wrong_origin', `the head is of ${checkpoint.origin}, not of ${origin}`)
    }
    let signed = false
    for (const { name, id, signature } of signatures) {
      const check = name === origin ? known.get(id) : undefined
      if (check === undefined) continue
      if (!check(Buffer.from(text), signature)) {
        throw new CheckpointError(
          'bad_signature',
          `the signature of key ${id} on the head of ${checkpoint.size} is false`,
        )
      }
      signed = true
    }
    if (!signed) throw new CheckpointError('unknown_key', `no known key signed the head of ${checkpoint.size}`)
    return checkpoint
  }
}

function malformed(detail: string): CheckpointError {
  return new CheckpointError('malformed', `no checkpoint: ${detail}`)
}
