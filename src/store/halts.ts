import { type BreakerStanding, breakerStanding } from '../core/breaker.js'
import { breakerKey, type Halts as Halting, stopKey } from '../core/halt.js'
import { covers, type Stop, stopStanding } from '../core/stop.js'
import type { Db } from '../platform/db/seam.js'
import { openBreakers } from './breakers.js'
import type { Gate } from './standing.js'
import { activeStops, ownersOf } from './stops.js'

/** Whose work it is. */
export interface Worked {
  agent: string
  topic: string
  team: string | null
}
type HaltsOf = (work: Worked) => Halting

interface Known {
  epoch: number
  stops: readonly Stop[]
  breakers: ReadonlyMap<string, BreakerStanding>
  /** Teams of agents, where a stop asks for them. */
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
    return (await this.ofAll(gate, [work.agent]))(work)
  }

  /** For work of these agents. Where nothing is stopped this costs a look into a map. */
  async ofAll(gate: Gate, agents: readonly string[]): Promise<HaltsOf> {
    const { stops, breakers, owners } = await this.#under(gate)
    if (stops.length === 0 && breakers.size === 0) return nothing
    if (stops.some(({ scope }) => scope === 'team')) {
      const unread = agents.filter((agent) => !owners.has(agent)).map((agent) => ({ tenant: gate.tenant, agent }))
      const owner = await ownersOf(this.#db, unread)
      for (const { tenant, agent } of unread) owners.set(agent, owner(tenant, agent))
    }
    return ({ agent, topic, team }) => {
      const work = { tenant: gate.tenant, agent, topic, team, owner: owners.get(agent) ?? null }
      const binding = stops.filter((stop) => covers(stop, work)).map(stopStanding)
      const breaker = breakers.get(agent)
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
