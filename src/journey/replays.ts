import type { Caller } from '../core/access.js'
import { shortForm } from '../core/binding.js'
import type { CompiledPolicy } from '../core/policy/compile.js'
import type { DecisionWord } from '../core/policy/document.js'
import { placed } from '../core/policy/reader.js'
import {
  fail,
  finish,
  MOST_TRIES,
  type Replay,
  type ReplayAsked,
  type ReplayOutcome,
  type ReplayStep,
} from '../core/replay.js'
import type { Scenario } from '../core/scenario/document.js'
import { scenariosOf } from '../core/scenario/generate.js'
import { parseScenarios } from '../core/scenario/parse.js'
import { RecordedReplay, type RecordedReplayed } from '../core/scenario/recorded.js'
import { type Replayed, replaying } from '../core/scenario/run.js'
import { Problem } from '../errors.js'
import { standingUnder } from '../store/keys.js'
import { recordedSubmits, Slices } from '../store/recorded.js'
import { beginReplay, nextReplay, ReplayLogWriter, replayAt, runningReplays, voidReplays } from '../store/replays.js'
import { getRollout } from '../store/rollouts.js'
import { findSnapshot } from '../store/snapshots.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 12
/** Under way of one tenant; they run one after the other, in turns with those of other tenants. */
const MOST_RUNNING = 3
/** Between two looks whether it is still this node's. */
const BEAT_MS = 1_000
const REPLAYER = 'system:replayer'

/**
 * Keeps what is to be put to the door of a stored snapshot; a loop runs it. Throws Problem `invalid` with every fault of the scenarios, `not_found`,
 * `rate_limited` while too many of the tenant are under way.
 */
export async function askReplay(
  world: World,
  caller: Caller,
  { snapshot, rollout_id, ...asked }: ReplayAsked & { snapshot: string; rollout_id: string | null },
): Promise<Replay> {
  const { tenant } = caller
  const suite = readScenarios(asked.scenarios)
  const found = await findSnapshot(world.db, tenant, snapshot)
  if (found === null) throw new Problem('not_found', 'There is no such snapshot')
  const { digest } = found
  const policy = await world.policies.compiled(tenant, digest)
  if (suite.length + scenariosOf(policy, asked.generated).length === 0 && asked.recorded === null)
    throw invalid('/scenarios', 'there is nothing to try: give scenarios, recorded or generated')
  for (let tries = 0; tries < TRIES; tries++) {
    const read = (await getGate(world.db, tenant)) ?? { tenant, snapshot: null, epoch: 0, file_digest: null }
    await standingUnder(world, read, caller)
    if ((await runningReplays(world.db, tenant)) >= MOST_RUNNING)
      throw new Problem('rate_limited', `${MOST_RUNNING} replays are under way`, { retry_after_ms: 5000 })
    const candidate = await candidateOf(world, tenant, rollout_id, { digest, active: read.snapshot })
    const now = world.clock.now()
    const about = { tenant, replay_id: world.ids.id('rpl', now), digest, active: read.snapshot, rollout_id, candidate }
    const replay: Replay = { ...about, asked, asked_by: caller.principal, asked_at: now, ...NOT_BEGUN }
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      // The gate moves with it, though no door reads anything of replays: that is what lets no key ask for one after it was revoked.
      admin: { replays: [replay], gates: [{ ...read, epoch: read.epoch + 1 }] },
      facts: [
        {
          ...{ kind: 'replay.asked', tenant, at: now, actor: caller.principal, replay_id: replay.replay_id },
          ...{ snapshot: digest, candidate, ...(rollout_id === null ? {} : { rollout_id }), scenarios: suite.length },
          ...{ recorded: asked.recorded?.limit ?? 0, generated: asked.generated.length > 0 },
        },
      ],
    })
    await world.policies.refresh(tenant)
    if (receipt.ok) return replay
  }
  throw new Problem('overloaded', 'The gate moved faster than this could be written: try again', {
    retry_after_ms: 200,
  })
}

const NOT_BEGUN = {
  status: 'running',
  tries: 0,
  progress: { scenario_runs: 0, recorded: 0 },
  finished_at: null,
  valid_until: null,
  voided_at: null,
  outcome: null,
  log_hash: null,
  log_parts: 0,
  log_entries: 0,
  reason: null,
} as const

const invalid = (path: string, message: string) => new Problem('invalid', undefined, { faults: [{ path, message }] })

function readScenarios(files: ReplayAsked['scenarios']): Scenario[] {
  const { scenarios, faults } = parseScenarios(files)
  if (scenarios !== null) return scenarios
  throw new Problem('invalid', 'The scenarios cannot be read', { faults: faults.map(placed) })
}

/** Whom it speaks for: the candidate of a rollout where one is named, else the snapshot itself. */
async function candidateOf(
  world: World,
  tenant: string,
  rollout_id: string | null,
  { digest, active }: Pick<Replay, 'digest' | 'active'>,
): Promise<string> {
  if (rollout_id === null) return digest
  const rollout = await getRollout(world.db, tenant, rollout_id)
  if (rollout === null) throw new Problem('not_found', 'There is no such rollout')
  const { kind, candidate } = rollout.document.subject
  // Of an agent or workflow the active policy decides; of a policy rollout, its candidate.
  const wanted = kind === 'policy' ? candidate : active
  if (wanted === digest) return candidate
  throw invalid('/snapshot', `this rollout's work is decided by ${wanted === null ? 'none' : shortForm(wanted)}`)
}

/**
 * Runs replays that were asked for, one after the other, until none is left; what a node left unfinished is begun anew. Without side effects:
 * what it writes is the replay, its log, and one entry that says what came of it. Throws what one of them threw, after each had its turn.
 * @param isOver asked now and then: true, and what is under way is left for whoever comes next
 */
export async function runReplays(world: World, isOver: () => boolean): Promise<void> {
  await voidReplays(world.db, world.clock.now())
  const failed: string[] = []
  let fault: unknown = null
  let last = ''
  while (!isOver()) {
    const next = await nextReplay(world.db, last, failed)
    if (next === null) break
    last = next.tenant
    try {
      const replay = await beginReplay(world.db, next.tenant, next.replay_id)
      const step = replay === null ? null : await tried(world, replay, isOver)
      if (step === null) continue
      const { facts, next: ended } = step
      const admin = { replays: [ended] }
      await world.ledger.commit({ tenant: ended.tenant, gate: null, alone: [], rows: {}, admin, facts })
    } catch (error) {
      failed.push(next.replay_id)
      fault ??= error
    }
  }
  if (fault !== null) throw fault
}

/** Null: it is another's now, or for another time. */
async function tried(world: World, replay: Replay, isOver: () => boolean): Promise<ReplayStep | null> {
  const now = () => world.clock.now()
  if (replay.tries > MOST_TRIES) return fail(replay, `${MOST_TRIES} tries were cut short`, now(), REPLAYER)
  try {
    const running = new Running(world, replay, isOver)
    const outcome = await running.run(await world.policies.compiled(replay.tenant, replay.digest))
    return outcome === null ? null : finish(replay, outcome, await running.log.end(), now(), REPLAYER)
  } catch (error) {
    // What the store says may be otherwise in a moment; a snapshot that cannot be read stays so.
    if (error instanceof Problem && error.code === 'no_policy') return fail(replay, error.message, now(), REPLAYER)
    throw error
  }
}

/** One try at a replay. */
class Running {
  readonly log: ReplayLogWriter
  readonly #world: World
  readonly #replay: Replay
  readonly #isOver: () => boolean
  readonly #slices: Slices
  #looked: number

  constructor(world: World, replay: Replay, isOver: () => boolean) {
    this.#world = world
    this.#replay = replay
    this.#isOver = isOver
    this.#slices = new Slices(world.clock)
    this.#looked = world.clock.now()
    this.log = new ReplayLogWriter(world.db, replay)
  }

  /** Null where it was cut short. */
  async run(policy: CompiledPolicy): Promise<ReplayOutcome | null> {
    const { asked, tenant, asked_at } = this.#replay
    const own = (scenario: Scenario): Scenario => ({ ...scenario, job: { ...scenario.job, tenant } })
    const suite = [...readScenarios(asked.scenarios), ...scenariosOf(policy, asked.generated)].map(own)
    const running = replaying(policy, suite, asked_at, (entry) => this.log.add(entry))
    let done = suite.length === 0 ? null : running.next()
    for (let runs = 1; done !== null && done.done !== true; runs++, done = running.next())
      if (!(await this.#goesOn({ scenario_runs: runs, recorded: 0 }))) return null
    const result: Replayed | null = done === null ? null : (done.value as Replayed)
    const recorded = asked.recorded === null ? null : await this.#recorded(policy, asked.recorded, result?.runs ?? 0)
    return recorded === undefined ? null : { suite: result, recorded }
  }

  /** Undefined where it was cut short. */
  async #recorded(
    policy: CompiledPolicy,
    { from, to, limit }: NonNullable<ReplayAsked['recorded']>,
    scenario_runs: number,
  ): Promise<RecordedReplayed | undefined> {
    const { tenant, asked } = this.#replay
    const replay = new RecordedReplay(policy, asked.generated, (entry) => this.log.add(entry))
    const { done } = replay
    for await (const { row, run_id, claim } of recordedSubmits(this.#world, tenant, { from, to })) {
      const { decision_id, at, high_risk, job_hash, standing } = row
      const said = { decision_id, at, run_id, decision: row.decision as DecisionWord, high_risk, job_hash, standing }
      for (const steps = replay.look(said, claim); steps.next().done !== true; ) await this.#slices.between()
      if (!(await this.#goesOn({ scenario_runs, recorded: done.looked_at }))) return undefined
      if (done.looked_at === limit) break
    }
    return done
  }

  async #goesOn(progress: Replay['progress']): Promise<boolean> {
    await this.#slices.between()
    await this.log.flush()
    const now = this.#world.clock.now()
    if (Math.abs(now - this.#looked) < BEAT_MS) return true
    this.#looked = now
    return !this.#isOver() && replayAt(this.#world.db, this.#replay, progress)
  }
}
