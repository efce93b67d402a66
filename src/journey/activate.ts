import { joined } from '../core/audit.js'
import { shortForm } from '../core/binding.js'
import { unsatisfiable } from '../core/flow.js'
import type { Json } from '../core/json.js'
import { type CompiledPolicy, compilePolicy } from '../core/policy/compile.js'
import type { ApprovalSpec } from '../core/policy/document.js'
import { type Fault, parsePolicy } from '../core/policy/parse.js'
import { Problem } from '../errors.js'
import { readPeople } from '../store/people.js'
import { findSnapshot, type SnapshotRow, snapshotBefore } from '../store/snapshots.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

export interface PolicyFile {
  path: string
  text: string
}

export interface Stored {
  snapshot: SnapshotRow
  activated: boolean
}

/** Who stands behind a policy, as whoever stores it says. */
export interface Provenance {
  note: string | null
  author: string | null
  source_commit: string | null
  reviewers: string[]
}

const TRIES = 6

/** Parses and compiles; what faults are left are warnings. Throws Problem `policy_invalid` with every fault. */
export function readPolicy(files: PolicyFile[]): { policy: CompiledPolicy; faults: Fault[] } {
  const { document, faults } = parsePolicy(files)
  if (document === null) throw invalid(faults)
  return { policy: compilePolicy(document), faults }
}

/** Keeps a policy; with `activate` it is the active one from this call's return. Throws Problem `policy_invalid`. */
export async function storeSnapshot(
  world: World,
  tenant: string,
  actor: string,
  files: PolicyFile[],
  options: { source: 'file' | 'api'; activate: boolean } & Partial<Provenance>,
): Promise<Stored> {
  const { policy, faults } = readPolicy(files)
  const unanswerable = await unsatisfiableFlows(world, tenant, policy, files)
  if (options.source === 'api' && unanswerable.length > 0) throw invalid(unanswerable)
  const now = world.clock.now()
  const snapshot: SnapshotRow = {
    tenant,
    digest: policy.digest,
    source: options.source,
    files,
    warnings: [
      ...faults.filter((f) => f.severity === 'warning'),
      ...unanswerable.map((fault) => ({ ...fault, severity: 'warning' })),
    ] as unknown as Json,
    rules: policy.document.rules.length,
    note: options.note ?? null,
    author: options.author ?? null,
    source_commit: options.source_commit ?? null,
    reviewers: options.reviewers ?? [],
    created_by: actor,
    created_at: now,
    activated_at: options.activate ? now : null,
  }
  await commit(world, tenant, actor, snapshot, options.activate, options.source)
  return { snapshot, activated: options.activate }
}

/** Makes a stored snapshot the active one. From its return nothing is submitted, approved or leased under the one before. */
export async function activate(world: World, tenant: string, actor: string, id: string): Promise<Stored> {
  const snapshot = await findSnapshot(world.db, tenant, id)
  if (snapshot === null) throw new Problem('not_found')
  const active = { ...snapshot, activated_at: world.clock.now() }
  await commit(world, tenant, actor, active, true, 'api')
  return { snapshot: active, activated: true }
}

/** Activates what was active before the snapshot that is. Throws Problem `not_found` where there was nothing. */
export async function rollBack(world: World, tenant: string, actor: string): Promise<Stored> {
  const gate = await getGate(world.db, tenant)
  const before = gate?.snapshot == null ? null : await snapshotBefore(world.db, tenant, gate.snapshot)
  if (before === null) throw new Problem('not_found', 'No other snapshot was ever active')
  return activate(world, tenant, actor, before.digest)
}

/**
 * The policy file of the configuration. The store's active snapshot wins; the file activates only when its digest differs from
 * the last file digest the store saw, so that a restart does not undo what was activated through the API.
 */
export async function activateFile(world: World, tenant: string, files: PolicyFile[]): Promise<Stored | null> {
  const { digest } = readPolicy(files).policy
  const gate = await getGate(world.db, tenant)
  if (gate?.file_digest === digest) return null
  return storeSnapshot(world, tenant, 'system:file', files, { source: 'file', activate: true })
}

async function commit(
  world: World,
  tenant: string,
  actor: string,
  snapshot: SnapshotRow,
  active: boolean,
  source: 'file' | 'api',
): Promise<void> {
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    const now = world.clock.now()
    const { author, source_commit, reviewers } = snapshot
    const fact = {
      tenant,
      at: now,
      actor,
      snapshot: snapshot.digest,
      source,
      rule_count: snapshot.rules,
      ...(author === null ? {} : { author }),
      ...(source_commit === null ? {} : { source_commit }),
      ...(reviewers.length === 0 ? {} : { reviewers: joined(reviewers) }),
    }
    const file_digest = source === 'file' ? snapshot.digest : (gate?.file_digest ?? null)
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: {
        snapshots: [snapshot],
        gates: active ? [{ tenant, snapshot: snapshot.digest, epoch: (gate?.epoch ?? 0) + 1, file_digest }] : [],
      },
      facts: active
        ? [{ ...fact, kind: 'policy.activated', before: gate?.snapshot ?? null }]
        : [{ ...fact, kind: 'policy.stored' }],
    })
    if (receipt.ok) {
      await world.policies.refresh(tenant)
      return
    }
  }
  throw new Problem('snapshot_conflict')
}

/**
 * A flow that nobody could ever satisfy is a denial that looks like a question. Asked of the directory as it is now, and only where
 * people are declared in it: a policy file alone cannot know. Whoever stores a policy by a call is refused; the file of the configuration
 * is taken with warnings, for nobody is there to mend it when a server starts, and what nobody may answer expires.
 */
async function unsatisfiableFlows(
  world: World,
  tenant: string,
  { document }: CompiledPolicy,
  files: PolicyFile[],
): Promise<Fault[]> {
  const flows = document.rules.filter(({ approval }) => approval !== null)
  if (flows.length === 0) return []
  const people = { ...(await readPeople(world.db, tenant)), teamsOf: new Map() }
  return flows.flatMap(({ id, approval }) =>
    unsatisfiable(approval as ApprovalSpec, people).map(
      (why): Fault => ({
        severity: 'error',
        code: 'unsatisfiable_flow',
        message: `nobody can satisfy what '${id}' asks for: ${why}`,
        hint: 'declare them with `sallyport apply` first, or ask somebody else',
        file: files[0]?.path ?? '',
        line: 1,
        column: 1,
        path: `rules.${id}.approval`,
      }),
    ),
  )
}

function invalid(faults: Fault[]): Problem {
  const errors = faults.filter((f) => f.severity === 'error')
  return new Problem('policy_invalid', `The policy has ${errors.length} fault${errors.length === 1 ? '' : 's'}`, {
    faults: faults.map((f) => ({ ...f, path: `${f.file}:${f.line}:${f.column}`, at: f.path })),
  })
}

/** What people call a snapshot. */
export const snapshotName = (digest: string) => shortForm(digest)
