import type { Caller } from '../core/access.js'
import { digestOf } from '../core/canonical.js'
import { aboutSnapshot } from '../core/facts.js'
import type { Json } from '../core/json.js'
import { type ChangeKind, governs } from '../core/policy/change.js'
import { type CompiledPolicy, compilePolicy } from '../core/policy/compile.js'
import { type Fault, parsePolicy } from '../core/policy/parse.js'
import { placed } from '../core/policy/reader.js'
import { flowFaults } from '../core/satisfiable.js'
import { Problem } from '../errors.js'
import { ownerTeams } from '../store/directory.js'
import { standingUnder } from '../store/keys.js'
import { readPeople } from '../store/people.js'
import { findSnapshot, type SnapshotRow, snapshotBefore } from '../store/snapshots.js'
import { type Gate, getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

export interface PolicyFile {
  path: string
  text: string
}

export interface Stored {
  snapshot: SnapshotRow
  /** False where that was not asked for, and where rules of the active policy want to be asked first. */
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
/** Who asks for what the configuration names. */
export const FILE = 'system:file'

/** Somebody who asked by a call, and must still stand when it is done; or the plane itself, by name. */
type By = Caller | string
const nameOf = (by: By) => (typeof by === 'string' ? by : by.principal)

/** Parses and compiles; what faults are left are warnings. Throws Problem `policy_invalid` with every fault. */
export function readPolicy(files: PolicyFile[]): { policy: CompiledPolicy; faults: Fault[] } {
  const { document, faults } = parsePolicy(files)
  if (document === null) throw invalid(faults)
  return { policy: compilePolicy(document), faults }
}

/**
 * Keeps a policy; with `activate` it is the active one from this call's return, unless rules of the active one want to be asked first.
 * Throws Problem `policy_invalid`.
 */
export async function storeSnapshot(
  world: World,
  tenant: string,
  by: By,
  files: PolicyFile[],
  options: { source: 'file' | 'api'; activate: boolean; forced?: boolean } & Partial<Provenance>,
): Promise<Stored> {
  const { policy, faults } = readPolicy(files)
  const unanswerable = await unsatisfiableFlows(world, tenant, policy, files)
  if (options.source === 'api' && unanswerable.some(isError)) throw invalid(unanswerable)
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
    created_by: nameOf(by),
    created_at: now,
    activated_at: options.activate ? now : null,
    replaced: null,
  }
  const kind = options.activate ? 'activate' : null
  return commit(world, tenant, by, snapshot, kind, options.source, options.forced)
}

/**
 * Makes a stored snapshot the active one, unless rules of the active one want to be asked first. From its return nothing is submitted,
 * approved or leased under the one before. Throws Problem `not_found`, `policy_invalid` (nobody is left to satisfy its flows).
 */
export async function activate(
  world: World,
  tenant: string,
  by: By,
  id: string,
  kind: ChangeKind = 'activate',
): Promise<Stored> {
  const snapshot = await findSnapshot(world.db, tenant, id)
  if (snapshot === null) throw new Problem('not_found')
  const policy = await world.policies.compiled(tenant, snapshot.digest)
  // Whom it asks may have left since it was stored. The way back is never barred: what it goes back to was in force.
  const unanswerable = kind === 'rollback' ? [] : await unsatisfiableFlows(world, tenant, policy, snapshot.files)
  if (unanswerable.some(isError)) throw invalid(unanswerable)
  return commit(world, tenant, by, { ...snapshot, activated_at: world.clock.now() }, kind, 'api')
}

/** Activates what was active before the snapshot that is. Throws Problem `not_found` where there was nothing. */
export async function rollBack(world: World, tenant: string, by: By): Promise<Stored> {
  const gate = await getGate(world.db, tenant)
  const before = gate?.snapshot == null ? null : await snapshotBefore(world.db, tenant, gate.snapshot)
  if (before === null) throw new Problem('not_found', 'No other snapshot was ever active')
  return activate(world, tenant, by, before.digest, 'rollback')
}

/**
 * The policy file of the configuration. The store's active snapshot wins; the file activates only when its digest differs from
 * the last file digest the store saw, so that a restart does not undo what was activated through the API.
 * @param forced whatever the active policy has to say about it: whoever starts the server has the store in hand anyway
 */
export async function activateFile(
  world: World,
  tenant: string,
  files: PolicyFile[],
  forced = false,
): Promise<Stored | null> {
  const { digest } = readPolicy(files).policy
  const gate = await getGate(world.db, tenant)
  if (forced ? gate?.snapshot === digest : gate?.file_digest === digest) return null
  return storeSnapshot(world, tenant, FILE, files, { source: 'file', activate: true, forced })
}

/** Key of the wish for a file: the same while nothing has changed since. One that comes back after another is a new wish. */
export const fileWish = (digest: string, gate: Gate | null): string =>
  `file-${digestOf('file', [digest, gate?.snapshot ?? null, gate?.file_digest ?? null])}`

/** The file was asked for: a restart does not ask again. */
export async function fileSeen(world: World, tenant: string, digest: string): Promise<void> {
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    if (gate === null) return
    const seen = { ...gate, epoch: gate.epoch + 1, file_digest: digest }
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: { gates: [seen] },
      facts: [],
    })
    if (receipt.ok) return
  }
  throw new Problem('snapshot_conflict')
}

async function commit(
  world: World,
  tenant: string,
  by: By,
  snapshot: SnapshotRow,
  kind: ChangeKind | null,
  source: 'file' | 'api',
  forced = false,
): Promise<Stored> {
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    if (typeof by !== 'string') await standingUnder(world, gate, by)
    const active = kind !== null && (forced || !(await hasASay(world, gate, kind)))
    const fact = {
      tenant,
      at: world.clock.now(),
      actor: nameOf(by),
      source,
      ...aboutSnapshot(snapshot),
      ...(forced ? { forced } : {}),
    }
    const file_digest = source === 'file' ? snapshot.digest : (gate?.file_digest ?? null)
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: {
        snapshots: [
          active ? { ...snapshot, replaced: replacedBy(snapshot, gate, kind) } : { ...snapshot, activated_at: null },
        ],
        gates: active ? [{ tenant, snapshot: snapshot.digest, epoch: (gate?.epoch ?? 0) + 1, file_digest }] : [],
      },
      facts: active
        ? [{ ...fact, kind: 'policy.activated', before: gate?.snapshot ?? null }]
        : [{ ...fact, kind: 'policy.stored' }],
    })
    if (receipt.ok) {
      await world.policies.refresh(tenant)
      return { snapshot, activated: active }
    }
  }
  throw new Problem('snapshot_conflict')
}

/** Where the way back of this one leads; null leaves what stands. */
const replacedBy = ({ digest }: SnapshotRow, gate: Gate | null, kind: ChangeKind): string | null =>
  kind === 'rollback' || gate?.snapshot === digest ? null : (gate?.snapshot ?? null)

/** Asked under the gate that the commit then moves: an activation that comes between is asked too. */
async function hasASay(world: World, gate: Gate | null, kind: ChangeKind): Promise<boolean> {
  return gate?.snapshot != null && governs(await world.policies.compiled(gate.tenant, gate.snapshot), kind)
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
  if (document.rules.every(({ approval }) => approval === null)) return []
  const { places } = parsePolicy(files)
  const people = { ...(await readPeople(world.db, tenant)), teamsOf: new Map() }
  const found = flowFaults(document.rules, people, await ownerTeams(world.db, tenant))
  return found.map(
    ({ rule, why, always }): Fault => ({
      severity: always ? 'error' : 'warning',
      code: 'unsatisfiable_flow',
      message: `nobody can satisfy what '${rule}' asks for: ${why}`,
      hint: 'declare them with `sallyport apply` first, or ask somebody else',
      ...(places.get(`rule:${rule}`) ?? { file: files[0]?.path ?? '', line: 1, column: 1, path: '' }),
    }),
  )
}

const isError = ({ severity }: Fault) => severity === 'error'

function invalid(faults: Fault[]): Problem {
  const errors = faults.filter((f) => f.severity === 'error')
  return new Problem('policy_invalid', `The policy has ${errors.length} fault${errors.length === 1 ? '' : 's'}`, {
    faults: faults.map(placed),
  })
}
