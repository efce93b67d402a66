import { type BreakerStanding, breakerStanding } from '../core/breaker.js'
import { breakerKey, type Halts as Halting, stopKey } from '../core/halt.js'
import { covers, type Stop, stopStanding } from '../core/stop.js'
import type { Db } from '../platform/db/seam.js'
import { openBreakers } from './breakers.js'
import type { Gate } from './standing.js'
import { activeStops, namesOf, ownersOf } from './stops.js'

/** Whose work it is. */
export interface Worked {
  agent: string
  /** Somebody else where they may act as the agent. */
  requested_by: string
  topic: string
  team: string | null
}
type HaltsOf = (work: Worked) => Halting

interface Known {
  epoch: number
  stops: readonly Stop[]
  breakers: ReadonlyMap<string, BreakerStanding>
  /** Teams of agents and of who asks for work, where a stop asks for them. */
  owners: Map<string, string | null>
}

const NONE: Halting = Object.freeze({})
const nothing: HaltsOf = () => NONE

/**
 * What stops and breakers keep back, from memory. Raising or ending one moves the gate, as does a change of who owns an agent, so what
 * was read under an epoch is good while the gate has it: a commit under an older one is refused by the gate row.
 */
export class Halts {
  readonly #db: Db
  readonly #known = new Map<string, Promise<Known>>()

  constructor(db: Db) {
    this.#db = db
  }

  async of(gate: Gate, work: Worked): Promise<Halting> {
    return (await this.ofAll(gate, [work]))(work)
  }

  /** For all of this work. Where nothing is stopped this costs a look into a map. */
  async ofAll(gate: Gate, all: readonly Pick<Worked, 'agent' | 'requested_by'>[]): Promise<HaltsOf> {
    const { stops, breakers, owners } = await this.#under(gate)
    if (stops.length === 0 && breakers.size === 0) return nothing
    if (stops.some(({ scope }) => scope === 'team')) {
      const unread = all.filter(({ agent, requested_by }) => !owners.has(agent) || !owners.has(requested_by))
      const owner = await ownersOf(
        this.#db,
        unread.map((work) => ({ ...work, tenant: gate.tenant })),
      )
      for (const name of unread.flatMap(namesOf)) owners.set(name, owner(gate.tenant, name))
    }
    return ({ agent, requested_by, topic, team }) => {
      const named = namesOf({ agent, requested_by }).map((name) => owners.get(name) ?? null)
      const work = { tenant: gate.tenant, agent, requested_by, topic, team, owners: named }
      const binding = stops.filter((stop) => covers(stop, work)).map(stopStanding)
      const breaker = breakerOf(breakers, agent, requested_by)
      return {
        ...(binding.length === 0 ? {} : { stops: binding }),
        ...(breaker === undefined ? {} : { breaker }),
      }
    }
  }

  /** Keys of limits that are full by a stop or a breaker: what is noted as bound by them need not be looked at. */
  async full(gate: Gate, now: number): Promise<string[]> {
    const { stops, breakers } = await this.#under(gate)
    const open = [...breakers].filter(([, { retry_at }]) => now < retry_at)
    return [
      ...stops.filter(({ stage }) => stage === 'stopped').map(({ stop_id }) => stopKey(stop_id)),
      ...open.map(([agent, breaker]) => breakerKey(agent, breaker)),
      ...[...breakers].map(([agent, breaker]) => breakerKey(agent, { ...breaker, of: agent })),
    ]
  }

  async #under({ tenant, epoch }: Gate): Promise<Known> {
    const kept = this.#known.get(tenant)
    const known = await kept
    // A step that still holds the gate of before loses its commit; what it reads must not stand beside the new.
    if (known !== undefined && known.epoch >= epoch) return known
    // Several steps that find it outdated share one read.
    if (this.#known.get(tenant) !== kept) return this.#under({ tenant, epoch } as Gate)
    const reading = this.#read(tenant, epoch)
    this.#known.set(tenant, reading)
    reading.catch(() => {
      if (this.#known.get(tenant) === reading) this.#known.delete(tenant)
    })
    return reading
  }

  async #read(tenant: string, epoch: number): Promise<Known> {
    const [stops, open] = await Promise.all([activeStops(this.#db, tenant), openBreakers(this.#db, tenant)])
    const breakers = new Map(open.map((breaker) => [breaker.agent, breakerStanding(breaker)]))
    return { epoch, stops, breakers, owners: new Map() }
  }
}

/** Of who asks first: while it is out it does nothing as anybody else. */
function breakerOf(
  breakers: ReadonlyMap<string, BreakerStanding>,
  agent: string,
  requested_by: string,
): BreakerStanding | undefined {
  const asking = requested_by === agent ? undefined : breakers.get(requested_by)
  return asking === undefined ? breakers.get(agent) : { ...asking, of: requested_by }
}
