import type { Approval } from '../core/approval.js'
import { canonical } from '../core/canonical.js'
import { decide } from '../core/door.js'
import { type GrantedLease, type Risk, riskNeedsInput, riskOf, wasApproved } from '../core/high-risk.js'
import { type Claim, claimOf, type Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import type { CompiledPolicy } from '../core/policy/compile.js'
import { Problem } from '../errors.js'
import { approvalsOfJobs, type GrantedRow, grantedLeases, type LeaseShape } from './metrics.js'
import { jobsWithin, loadTexts } from './payloads.js'
import { eachSampleRef, type SampleRef, type SampleScope } from './samples.js'
import type { World } from './world.js'

/** Leases read together. */
const ONE_BY_ONE = 250
/** Payloads read together where a risk depends on what the job carries, which may be 2 MiB twice. */
const PAYLOADS = 16

/** A page: whole shapes first, and lease by lease only what is a risk, or may be one by what the job carries. */
export async function judgeShapes(
  world: World,
  tenant: string,
  shapes: readonly LeaseShape[],
): Promise<{ unapproved: number; lost: number }> {
  const policies = await policiesOf(
    world,
    tenant,
    shapes.map(({ snapshot }) => snapshot),
  )
  const found = { unapproved: 0, lost: 0 }
  const closer: string[] = []
  for (const { lease_ids, snapshot, job } of shapes) {
    const policy = policies.get(snapshot ?? '')
    // Work was given out that stands nowhere, or by no decision: nobody can say what it was, so nobody approved it.
    if (job === null || snapshot === null) found.unapproved += lease_ids.length
    else if (policy === undefined) found.lost += lease_ids.length
    else if (riskNeedsInput(policy, job.topic)) closer.push(...lease_ids)
    else if (riskOf(policy, claimOf(job, NO_PAYLOAD), 0).high) closer.push(...lease_ids)
  }
  for (let from = 0; from < closer.length; from += ONE_BY_ONE) {
    const rows = await grantedLeases(world.db, tenant, closer.slice(from, from + ONE_BY_ONE))
    const { high, lost } = await highAmong(world, tenant, rows, policies)
    found.lost += lost
    found.unapproved += await withoutYes(world, tenant, high)
  }
  return found
}

const NO_PAYLOAD = { input: null, context: null }

interface Judged {
  row: GrantedRow
  risk: Risk
}

/** Payloads are read only where a class of the topic derives something from them. */
async function highAmong(
  world: World,
  tenant: string,
  rows: readonly GrantedRow[],
  policies: ReadonlyMap<string, CompiledPolicy>,
): Promise<{ high: Judged[]; lost: number }> {
  const high: Judged[] = []
  let lost = 0
  for (let from = 0; from < rows.length; from += PAYLOADS) {
    const asked = rows.slice(from, from + PAYLOADS).flatMap((row) => {
      const policy = policies.get(row.decided?.snapshot ?? '')
      // Gone since its page was read; then it is not lost on us that something was there.
      if (row.job === null || policy === undefined) return []
      return [{ row, job: row.job, policy, derives: riskNeedsInput(policy, row.job.topic) }]
    })
    lost += Math.min(PAYLOADS, rows.length - from) - asked.length
    const ptrs = asked.flatMap(({ job, derives }) => (derives ? [job.input_ptr, job.context_ptr] : []))
    const texts = await loadTexts(world.db, tenant, ptrs)
    for (const { row, job, policy, derives } of asked) {
      const payload = derives ? payloadOf(job, texts) : NO_PAYLOAD
      if (payload === null) {
        lost++
        continue
      }
      const risk = riskOf(policy, claimOf(job, payload), row.granted_at)
      if (risk.high) high.push({ row, risk })
    }
  }
  return { high, lost }
}

/** Null where a text of it is gone: without it nobody can say what was derived. */
function payloadOf(
  { input_ptr, context_ptr }: Job,
  texts: ReadonlyMap<string, string>,
): { input: Json; context: Json } | null {
  const [input, context] = [input_ptr, context_ptr].map((ptr) => (ptr === null ? 'null' : texts.get(ptr)))
  return input === undefined || context === undefined
    ? null
    : { input: JSON.parse(input), context: JSON.parse(context) }
}

async function withoutYes(world: World, tenant: string, high: readonly Judged[]): Promise<number> {
  if (high.length === 0) return 0
  const approvals = await approvalsOfJobs(world.db, tenant, [...new Set(high.map(({ row }) => row.job_id))])
  const byJob = new Map<string, Approval[]>()
  for (const approval of approvals) byJob.set(approval.job_id, [...(byJob.get(approval.job_id) ?? []), approval])
  return high.filter(({ row, risk }) => !wasApproved(grantedOf(row), risk.view, byJob.get(row.job_id) ?? [])).length
}

function grantedOf({ job_id, granted_at, decided }: GrantedRow): GrantedLease {
  return { job_id, granted_at, decision: decided }
}

/** Those snapshots that can still be read and are what their digest says. */
async function policiesOf(
  world: World,
  tenant: string,
  digests: readonly (string | null | undefined)[],
): Promise<Map<string, CompiledPolicy>> {
  const found = new Map<string, CompiledPolicy>()
  for (const digest of new Set(digests)) {
    if (typeof digest !== 'string') continue
    try {
      found.set(digest, await world.policies.compiled(tenant, digest))
    } catch (error) {
      if (!(error instanceof Problem)) throw error
    }
  }
  return found
}

/** What was found of some leases, beside how many they are. */
export interface Judgement {
  seen: number
  /** High-risk, and bound by no approval. */
  unapproved: number
  /** Let through by no decision, or by one that does not come out as a pass again. */
  bypasses: number
  /** Of which nobody can say any more: lease, policy or input is gone. */
  lost: number
}

/** Inputs and contexts read together. */
const BYTES = 4 * 1024 * 1024

/**
 * Judges leases by what stands in rows: was each let through by a decision of the second door that comes out the same from the stored claim,
 * standing and snapshot, and was what is high-risk in it approved? Nothing here is what let it through.
 */
export async function judgeLeases(world: World, tenant: string, lease_ids: readonly string[]): Promise<Judgement> {
  const judged: Judgement = { seen: lease_ids.length, unapproved: 0, bypasses: 0, lost: 0 }
  for (let from = 0; from < lease_ids.length; from += ONE_BY_ONE) {
    const ids = lease_ids.slice(from, from + ONE_BY_ONE)
    const rows = await grantedLeases(world.db, tenant, ids)
    judged.lost += ids.length - rows.length
    const digests = rows.map(({ decided }) => decided?.snapshot)
    await judgeRows(world, tenant, rows, await policiesOf(world, tenant, digests), judged)
  }
  return judged
}

const nothingJudged = (): Judgement => ({ seen: 0, unapproved: 0, bypasses: 0, lost: 0 })

function addTo(total: Judgement, { seen, unapproved, bypasses, lost }: Judgement): void {
  total.seen += seen
  total.unapproved += unapproved
  total.bypasses += bypasses
  total.lost += lost
}

/** Every lease of these samples, page by page. `complete`: there were not more than may be judged; what was found is true all the same. */
export async function judgeGranted(
  world: World,
  scope: SampleScope,
  most: number,
): Promise<Judgement & { complete: boolean }> {
  const total = nothingJudged()
  const take = async (refs: SampleRef[]) => addTo(total, await judgeLeases(world, scope.tenant, idsOf(refs)))
  const read = await eachSampleRef(world.db, scope, take, most)
  return { ...total, complete: read !== null }
}

const idsOf = (refs: readonly SampleRef[]): string[] => refs.map(({ ref }) => ref)

/** A sample is committed seconds after its event at most, and clocks of nodes are not a minute apart. */
const LATE_MS = 60_000
/** Of each rollout until when everything was found clean. */
const THROUGH = new WeakMap<World, Map<string, number>>()

/**
 * The same for who looks every few seconds, however many there are: this process begins where it found everything clean before. From the first
 * lease that was not, it looks at all of them again, as long as they are in the window. `seen` are those that it had to look at.
 */
export async function judgeSince(world: World, scope: SampleScope): Promise<Judgement> {
  const { tenant, rollout_id, variant, from, to } = scope
  const known = THROUGH.get(world) ?? new Map<string, number>()
  THROUGH.set(world, known)
  const key = `${tenant}/${rollout_id}/${variant}`
  let through = Math.min(known.get(key) ?? from, to)
  const total = nothingJudged()
  const take = async (refs: SampleRef[]) => {
    addTo(total, await judgeNew(world, tenant, idsOf(refs)))
    if (total.unapproved + total.bypasses + total.lost === 0) through = Math.max(through, refs.at(-1)?.at ?? through)
  }
  await eachSampleRef(world.db, { ...scope, from: Math.max(from, through - LATE_MS) }, take, Number.POSITIVE_INFINITY)
  known.delete(key)
  known.set(key, through)
  // Those of rollouts that are over are the oldest.
  for (const oldest of known.keys()) {
    if (known.size <= ROLLOUTS) break
    known.delete(oldest)
  }
  return total
}
const ROLLOUTS = 10_000

/** Of the last ten minutes of a busy node. */
const REMEMBERED = 200_000
const CLEAN = new WeakMap<World, Set<string>>()

/**
 * The same for who looks every few seconds: what this node found clean before is not judged again. What has been changed in its rows since,
 * a gate finds, which judges all of them.
 */
export async function judgeNew(world: World, tenant: string, lease_ids: readonly string[]): Promise<Judgement> {
  const clean = CLEAN.get(world) ?? new Set<string>()
  CLEAN.set(world, clean)
  const total: Judgement = { seen: lease_ids.length, unapproved: 0, bypasses: 0, lost: 0 }
  const fresh = lease_ids.filter((id) => !clean.has(`${tenant}/${id}`))
  for (let from = 0; from < fresh.length; from += ONE_BY_ONE) {
    const ids = fresh.slice(from, from + ONE_BY_ONE)
    const { unapproved, bypasses, lost } = await judgeLeases(world, tenant, ids)
    if (unapproved + bypasses + lost === 0) for (const id of ids) clean.add(`${tenant}/${id}`)
    total.unapproved += unapproved
    total.bypasses += bypasses
    total.lost += lost
  }
  for (const oldest of clean) {
    if (clean.size <= REMEMBERED) break
    clean.delete(oldest)
  }
  return total
}

async function judgeRows(
  world: World,
  tenant: string,
  rows: readonly GrantedRow[],
  policies: ReadonlyMap<string, CompiledPolicy>,
  judged: Judgement,
): Promise<void> {
  const high: Judged[] = []
  for (let left = rows; left.length > 0; ) {
    const within = await jobsWithin(
      world.db,
      tenant,
      left.map(({ job_id }) => job_id),
      BYTES,
    )
    // Jobs that are gone are in no answer: they are judged by themselves.
    const end = left.findIndex(({ job, job_id }) => job !== null && !within.has(job_id))
    const now = left.slice(0, end <= 0 ? (end === 0 ? 1 : left.length) : end)
    left = left.slice(now.length)
    const ptrs = now.flatMap(({ job }) => (job === null ? [] : [job.input_ptr, job.context_ptr]))
    const texts = await loadTexts(world.db, tenant, ptrs)
    for (const row of now) {
      const found = judgeRow(row, policies, texts)
      if (found === 'bypass') {
        judged.bypasses++
        // Work was given out that stands nowhere, or by no decision: nobody can say what it was, so nobody approved it.
        judged.unapproved++
      } else if (found === 'lost') judged.lost++
      else {
        if (!found.passes) judged.bypasses++
        if (found.risk.high) high.push({ row, risk: found.risk })
      }
    }
  }
  judged.unapproved += await withoutYes(world, tenant, high)
}

function judgeRow(
  row: GrantedRow,
  policies: ReadonlyMap<string, CompiledPolicy>,
  texts: ReadonlyMap<string, string>,
): 'bypass' | 'lost' | { passes: boolean; risk: Risk } {
  const { job, decided, granted_at } = row
  if (job === null || decided?.snapshot === undefined) return 'bypass'
  const policy = policies.get(decided.snapshot)
  const payload = payloadOf(job, texts)
  if (policy === undefined || payload === null) return 'lost'
  const claim = claimOf(job, payload)
  return { passes: passesAgain(policy, claim, row), risk: riskOf(policy, claim, granted_at) }
}

function passesAgain(policy: CompiledPolicy, claim: Claim, { decided, granted_at }: GrantedRow): boolean {
  if (decided?.standing?.door !== 'dispatch' || decided.standing.now !== granted_at) return false
  const { rules, constraints, job_hash } = decided
  try {
    const again = decide(policy, claim, decided.standing)
    const same = [again.decision, again.rules, again.evaluation.constraints, again.job_hash] as Json
    return again.outcome === 'pass' && canonical(same) === canonical([decided.decision, rules, constraints, job_hash])
  } catch {
    // What was stored is not what a door reads.
    return false
  }
}
