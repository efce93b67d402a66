import { type Checkpoint, CheckpointError, checkpointOpener } from './audit/checkpoint.js'
import type { AuditRecord } from './audit/export.js'
import { base64, fromBase64 } from './audit/hash.js'
import { formatVkey, KeyError, parsePublicKey, signatureChecker } from './audit/keys.js'
import { tileLines } from './audit/tile.js'
import { verifyLog } from './audit/verify.js'
import { type Evidence, evidenceHash, evidenceMessage, faultsOfEvidence } from './evidence.js'
import type { RolloutDocument } from './rollout/document.js'

/**
 * Evidence as somebody hands it over: the document in the form it was published in, and beside its fields `seal`, which says by whom it was
 * signed. Everything here is done without a server.
 */

export interface GivenToVerify {
  /** Raw public key that is trusted; null: the one that the file names is taken at its word. */
  key: Uint8Array | null
  /** Of the rollout, where it is at hand. */
  declaration: RolloutDocument | null
  /** An export of the log, where it is at hand. */
  log: AsyncIterable<AuditRecord> | Iterable<AuditRecord> | null
}

/** Null where it was not checked. */
export interface EvidenceFileCheck {
  check: 'follows' | 'hash' | 'signature' | 'head' | 'declaration' | 'log'
  faults: string[] | null
}

export interface EvidenceReport {
  ok: boolean
  key: 'GIVEN' | 'FROM FILE'
  tenant: string | null
  evidence_hash: string | null
  outcome: string | null
  checks: EvidenceFileCheck[]
}

interface Seal {
  evidence_hash: string
  signature: string
  /** Raw. */
  key: Uint8Array
  origin: string
}

/** More is no evidence (core/evidence.ts). */
const MOST_TEXT = 8_000_000

/** What holds of a file with evidence, and what does not. Never throws for what the file or the log holds. */
export async function verifyEvidence(text: string, given: GivenToVerify): Promise<EvidenceReport> {
  const key = given.key === null ? 'FROM FILE' : 'GIVEN'
  const broken = (fault: string): EvidenceReport => {
    const checks: EvidenceFileCheck[] = [{ check: 'follows', faults: [fault] }]
    return { ok: false, key, tenant: null, evidence_hash: null, outcome: null, checks }
  }
  const read = readSealed(text)
  if (typeof read === 'string') return broken(read)
  const { evidence, seal } = read
  const document = JSON.stringify(evidence)
  const follows = faultsOfEvidence(document)
  // What cannot be worked out again has neither hash nor basis to look at.
  if (follows.some((fault) => fault.startsWith('it '))) return broken(follows[0] as string)
  const { declaration } = given
  const checks: EvidenceFileCheck[] = [
    { check: 'follows', faults: follows },
    { check: 'hash', faults: evidenceHash(evidence) === seal.evidence_hash ? [] : ['the hash is of another document'] },
    { check: 'signature', faults: signatureFaults(evidence, seal, given.key) },
    { check: 'head', faults: headFaults(evidence, seal, given.key ?? seal.key) },
    {
      check: 'declaration',
      faults:
        declaration === null ? null : faultsOfEvidence(document, declaration).filter((each) => !follows.includes(each)),
    },
    {
      check: 'log',
      faults: given.log === null ? null : await logFaults(evidence, seal, given.key ?? seal.key, given.log),
    },
  ]
  return {
    ok: checks.every(({ faults }) => faults === null || faults.length === 0),
    ...{ key, tenant: seal.origin.replace(/^sallyport\//, ''), evidence_hash: seal.evidence_hash },
    ...{ outcome: evidence.outcome, checks },
  }
}

/** The document and its seal, or why there is none. */
function readSealed(text: string): { evidence: Evidence; seal: Seal } | string {
  if (text.length > MOST_TEXT) return 'it is too long'
  try {
    const { seal, ...evidence } = JSON.parse(text) as Evidence & { seal: Record<string, unknown> }
    const { evidence_hash, signature, public_key } = seal
    if (typeof evidence_hash !== 'string' || typeof signature !== 'string' || typeof public_key !== 'string')
      return 'it has no seal with evidence_hash, signature and public_key'
    const origin = public_key.split('+')[0] as string
    const key = parsePublicKey(public_key)
    return { evidence: evidence as unknown as Evidence, seal: { evidence_hash, signature, key, origin } }
  } catch (error) {
    return error instanceof KeyError ? `its public key: ${error.message}` : 'it is no JSON document with a seal'
  }
}

function signatureFaults(evidence: Evidence, { signature, key, origin }: Seal, trusted: Uint8Array | null): string[] {
  if (trusted !== null && base64(trusted) !== base64(key))
    return [`it is signed with ${formatVkey(origin, key)}, which is not the key that is trusted`]
  const bytes = fromBase64(signature)
  const holds = bytes !== null && signatureChecker(trusted ?? key)(evidenceMessage(evidence), bytes)
  return holds ? [] : ['the signature is not of this document']
}

function headFaults({ basis: { tree_head } }: Evidence, { origin }: Seal, key: Uint8Array): string[] {
  if (tree_head.note === null) return tree_head.size === 0 ? [] : ['its head is not signed']
  let head: Checkpoint
  try {
    head = checkpointOpener(origin, [key])(tree_head.note)
  } catch (error) {
    if (error instanceof CheckpointError) return [error.message]
    throw error
  }
  const isSame = head.size === tree_head.size && base64(head.root) === tree_head.root
  return isSame ? [] : [`its head says ${tree_head.size} entries, the signed one ${head.size}`]
}

/** The log is whole, is the one that the head is of, and says of this evidence that it was made. */
async function logFaults(
  { basis, outcome }: Evidence,
  { evidence_hash, origin }: Seal,
  key: Uint8Array,
  records: NonNullable<GivenToVerify['log']>,
): Promise<string[]> {
  let entries = 0
  async function* watched() {
    for await (const record of records) {
      if (record.record === 'tile' && record.first_index !== null && record.body !== null)
        for (const line of tileLines({ body: record.body })) if (speaks(line)) entries++
      yield record
    }
  }
  const speaks = (line: string): boolean => {
    if (!line.includes(evidence_hash)) return false
    try {
      const {
        kind,
        evidence_hash: hash,
        rollout_id,
        phase,
        outcome: said,
      } = JSON.parse(line) as Record<string, unknown>
      const isThis = rollout_id === basis.rollout_id && phase === basis.phase && said === outcome
      return kind === 'gate.evaluated' && hash === evidence_hash && isThis
    } catch {
      return false
    }
  }
  const { note } = basis.tree_head
  const report = await verifyLog(watched(), { keys: [key], outsideHeads: note === null ? [] : [note] })
  const faults = report.faults.slice(0, 5).map(({ code, message }) => `${code}: ${message}`)
  if (report.origin !== origin) faults.push(`the log is ${report.origin}, the evidence of ${origin}`)
  if (entries === 0) faults.push('no entry of the log says that this evidence was made')
  return faults
}
