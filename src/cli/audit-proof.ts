import type { Command } from 'commander'
import type { InclusionProof } from '../contract/audit.js'
import { CheckpointError, checkpointOpener, readCheckpoint } from '../core/audit/checkpoint.js'
import { fromBase64, leafHash, sameHash } from '../core/audit/hash.js'
import { parsePublicKey } from '../core/audit/keys.js'
import { verifyInclusion } from '../core/audit/proof.js'
import { publicKey } from './audit-log.js'
import { online, type ServerContext, wholeNumber } from './command.js'
import { EXIT, type Exit, usage } from './exit.js'
import { fields, type Terminal } from './terminal.js'

interface ProofFlags {
  size?: number
  key?: string
}

export function registerProof(audit: Command): void {
  const proof = audit
    .command('proof')
    .description('that one entry is in the signed tree, checked here and not by the server')
    .argument('<index>', 'place of the entry, from 0')
    .option('--size <n>', 'of the tree; the newest signed head by default', wholeNumber(1, Number.MAX_SAFE_INTEGER))
    .option('--key <key>', 'the public key to trust: a file, name+id+base64, PEM or base64')
    .addHelpText(
      'after',
      '\nExit 0: proven. 1: it does not hold. 3: it holds, but no signed head of that size says so.',
    )
  online<ProofFlags, [string]>(proof, 'admin', prove)
}

interface Checks {
  /** The entry hashes to the leaf. */
  entry: boolean
  /** The leaf and the path hash to the root. */
  path: boolean
  /** A signed head has that size and root; null where there is none. */
  head: boolean | null
}

async function prove({ client, terminal }: ServerContext, flags: ProofFlags, text: string): Promise<Exit> {
  if (!/^\d{1,15}$/.test(text)) throw usage(`${text} is no place in the log: a whole number from 0 is needed`)
  const index = Number(text)
  const proof = await client.audit.inclusion({ index, ...(flags.size === undefined ? {} : { size: flags.size }) })
  const key =
    flags.key === undefined ? parsePublicKey((await client.audit.head()).public_key) : await publicKey(flags.key)
  const checks = checkProof(proof, index, key)
  const holds = checks.entry && checks.path && checks.head !== false
  const from = flags.key === undefined ? 'FROM SERVER' : 'GIVEN'
  terminal.show({ ok: holds, checks, key: from, proof }, () => proofText(proof, checks, from, terminal))
  return !holds ? EXIT.no : checks.head === null ? EXIT.notChecked : EXIT.done
}

/** The index is the one asked for: a proof of another entry is no answer. */
export function checkProof(proof: InclusionProof, index: number, key: Uint8Array): Checks {
  const leaf = hashOf(proof.leaf_hash)
  const root = hashOf(proof.root)
  const path = proof.path.map(hashOf)
  if (leaf === null || root === null || path.includes(null)) return { entry: false, path: false, head: null }
  return {
    entry: sameHash(leafHash(proof.entry), leaf),
    path: proof.index === index && verifyInclusion(leaf, index, proof.size, path as Uint8Array[], root),
    head: proof.checkpoint === null ? null : headSays(proof.checkpoint, key, proof.size, root),
  }
}

function headSays(checkpoint: string, key: Uint8Array, size: number, root: Uint8Array): boolean {
  try {
    const head = checkpointOpener(readCheckpoint(checkpoint).checkpoint.origin, [key])(checkpoint)
    return head.size === size && sameHash(head.root, root)
  } catch (error) {
    if (error instanceof CheckpointError) return false
    throw error
  }
}

/** 32 bytes in hex or base64. */
function hashOf(text: string): Uint8Array | null {
  const bytes = /^[0-9a-f]{64}$/.test(text) ? Buffer.from(text, 'hex') : fromBase64(text)
  return bytes?.length === 32 ? bytes : null
}

function proofText(proof: InclusionProof, checks: Checks, key: string, { color }: Terminal): string {
  const say = (holds: boolean | null) => (holds === null ? 'NOT CHECKED' : holds ? 'holds' : 'DOES NOT HOLD')
  const paint = (holds: boolean | null) => (holds === null ? color.yellow : holds ? color.green : color.red)
  return fields(
    [
      ['index', `${proof.index} of ${proof.size}`],
      ['entry', proof.entry],
      ['leaf', proof.leaf_hash],
      ['path', proof.path.join('\n')],
      ['root', proof.root],
      ['entry → leaf', say(checks.entry), paint(checks.entry)],
      ['leaf → root', say(checks.path), paint(checks.path)],
      ['root → head', say(checks.head), paint(checks.head)],
      ['key', key === 'GIVEN' ? key : `${key} (taken at its word; give --key to check it)`],
    ],
    color,
  )
}
