import { tileLines } from '../core/audit/tile.js'
import type { Measured } from '../core/metrics.js'
import type { CompiledPolicy } from '../core/policy/compile.js'
import { policyFacts, rolloutFacts, topicsOf } from '../core/readiness/declared.js'
import type { DrillFacts, Facts, RecordFacts, Risks } from '../core/readiness/facts.js'
import {
  approvalsOf,
  costsOf,
  credentialsOf,
  type DoorJob,
  dispatchDoor,
  type EndedJob,
  egressOf,
  type FinishedJob,
  failuresOf,
  outputOf,
  recordOf,
  submitDoor,
} from '../core/readiness/observe.js'
import { type Readiness, readiness } from '../core/readiness.js'
import { standingAttestations } from '../store/attestations.js'
import { namedTiles, newestHead, waitingTiles } from '../store/audit.js'
import { listChannels } from '../store/channels.js'
import { listTeams } from '../store/directory.js'
import * as sample from '../store/readiness.js'
import { listRollouts } from '../store/rollouts.js'
import { withBodies } from '../store/tile-bodies.js'
import type { World } from '../store/world.js'

/** Newest rows that are looked at, of each kind. Enough for every topic and agent of a busy hour, and some ms of the store. */
const JOBS = 1000
const LEASES = 1000
const APPROVALS = 100
const ENDS = 500
/** Finished jobs of which every entry is read: some tiles each, which others share. */
const RECORDS = 20
const DEAD = 5000
const ROLLOUTS = 50
/** A lease that ended so long ago should have been taken back: the sweeper looks four times a second. */
const STALE_MS = 60_000

/** What others worked out: the newest result of each drill, and the high-risk work of a window. */
export interface Given {
  drills: DrillFacts
  risks: Pick<Measured, 'value' | 'unknown' | 'samples'> & Pick<Risks, 'window_ms'>
}

/** Judges this installation by what its rows and its log show now. Records nothing. Throws DbError where the store does not answer. */
export async function assess(world: World, tenant: string, given: Given): Promise<Readiness> {
  const at = world.clock.now()
  const [facts, attestations] = await Promise.all([
    factsOf(world, tenant, given, at),
    standingAttestations(world.db, tenant),
  ])
  return readiness(facts, attestations, at)
}

async function factsOf(world: World, tenant: string, { drills, risks }: Given, at: number): Promise<Facts> {
  const { db } = world
  const active = await activePolicy(world, tenant)
  const activated = await sample.activations(db, tenant)
  const jobs = await sample.newestJobs(db, tenant, JOBS)
  const leases = await sample.newestLeases(db, tenant, LEASES)
  const approvals = await sample.newestApprovals(db, tenant, APPROVALS)
  const ends = await sample.newestEnds(db, tenant, ENDS)
  const letters = await sample.deadLettersOpen(db, tenant, at, DEAD)
  const rollouts = (await listRollouts(db, tenant, { limit: ROLLOUTS })).items
  const teams = await listTeams(db, tenant)
  const channels = await listChannels(db, tenant)
  return {
    tenant,
    policy: active === null ? null : policyFacts(active, activated.get(active.digest) ?? null),
    drills,
    submits: submitDoor(jobs),
    dispatches: dispatchDoor(leases, activated),
    risks: { ...risks, at },
    approvals: approvalsOf(approvals, await sample.countApprovers(db, tenant)),
    record: await recordFacts(world, tenant, ends),
    credentials: await credentials(world, tenant, jobs, at),
    topics: topicsOf(jobs, active),
    egress: egressOf(leases),
    output: outputOf(ends),
    failures: failuresOf(leases),
    deadLetters: { ...letters, more: letters.open === DEAD },
    watchdog: {
      ...(await sample.liveAndStale(db, tenant, at - STALE_MS)),
      in_doubt: await sample.openDoubts(db, tenant),
    },
    rollouts: rollouts.map(rolloutFacts),
    costs: costsOf(ends),
    store: { engine: db.engine, ...(await sample.durabilityOf(db)) },
    people: {
      teams: teams.map(({ team }) => team),
      on_call: teams.filter(({ on_call }) => on_call.length > 0).map(({ team }) => team),
    },
    rollbackChannels: channels
      .filter(({ events }) => events.includes('rollout.rolled_back'))
      .map(({ channel }) => channel),
  }
}

/** As it is now, whatever this node has in mind. */
async function activePolicy({ policies }: World, tenant: string): Promise<CompiledPolicy | null> {
  const gate = await policies.refresh(tenant)
  return gate === null || gate.snapshot === null ? null : policies.compiled(tenant, gate.snapshot)
}

async function recordFacts(world: World, tenant: string, ends: readonly EndedJob[]): Promise<RecordFacts> {
  const { db } = world
  const finished = await sample.newestFinished(db, tenant, RECORDS)
  const [oldest] = await waitingTiles(db, tenant, 1)
  const head = await newestHead(db, tenant)
  const log = { head: head === null ? null : { size: head.size, at: head.at }, waiting_since: oldest?.at ?? null }
  return recordOf(finished, await linesOf(world, tenant, finished), ends, log)
}

/** By the tile's name as rows of jobs have it; null where its body is not to be had here. */
async function linesOf(
  world: World,
  tenant: string,
  finished: readonly FinishedJob[],
): Promise<Map<string, readonly string[] | null>> {
  const names = [...new Set(finished.flatMap(({ tiles }) => tiles.split(' ').filter((name) => name !== '')))]
  const wanted = names.map((name) => {
    const slash = name.lastIndexOf('/')
    return { writer: name.slice(0, slash), seq: Number(name.slice(slash + 1)) }
  })
  const tiles = await withBodies(world, tenant, await namedTiles(world.db, tenant, wanted))
  return new Map(tiles.map(({ writer, seq, body }) => [`${writer}/${seq}`, body === null ? null : tileLines({ body })]))
}

async function credentials({ db }: World, tenant: string, jobs: readonly DoorJob[], at: number) {
  const keys = await sample.liveKeys(db, tenant, at)
  const known = new Set(keys.map(({ principal }) => principal))
  const others = [...new Set(jobs.map(({ requested_by }) => requested_by))].filter((name) => !known.has(name))
  const kinds = await sample.kindsOf(db, tenant, others)
  return credentialsOf(keys, jobs, kinds, await sample.rotations(db, tenant), at)
}
