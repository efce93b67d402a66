import { type AgentStanding, agentStanding } from '../core/principal.js'
import type { Db } from '../platform/db/seam.js'
import { autonomyOf } from './autonomy.js'
import { getPrincipals } from './directory.js'
import type { Gate } from './standing.js'
import { openWorkflows } from './workflows.js'

/** Agents of one tenant that are kept: past it all are forgotten, and read again as they come. */
const KEPT = 10_000

/** What the door reads of an agent. */
export type AgentStandings = (agent: string) => AgentStanding | null

interface Known {
  epoch: number
  agents: Map<string, AgentStanding | null>
}

/**
 * What the door reads of agents, from memory. Every change to one moves its tenant's gate, so what was read under an epoch is good
 * while the gate has it: a commit under an older one is refused by the gate row.
 */
export class Agents {
  readonly #db: Db
  readonly #known = new Map<string, Known>()

  constructor(db: Db) {
    this.#db = db
  }

  async of(gate: Gate, agent: string): Promise<AgentStanding | null> {
    const known = this.#under(gate).agents.get(agent)
    return known === undefined ? (await this.ofAll(gate, [agent]))(agent) : known
  }

  /** Of those asked for, null where nothing is known of one: nothing bounds them but policy and key. Of anybody else it throws. */
  async ofAll(gate: Gate, names: readonly string[]): Promise<AgentStandings> {
    const { agents } = this.#under(gate)
    if (agents.size > KEPT) agents.clear()
    // What is kept may be forgotten while this waits for the store, and whoever is not found would be bound by nothing.
    const asked = new Map<string, AgentStanding | null>()
    const unread: string[] = []
    for (const name of new Set(names)) {
      const known = agents.get(name)
      if (known === undefined) unread.push(name)
      else asked.set(name, known)
    }
    for (const [name, standing] of await this.#read(gate.tenant, unread)) {
      agents.set(name, standing)
      asked.set(name, standing)
    }
    return (name) => {
      const standing = asked.get(name)
      if (standing === undefined) throw new Error(`what bounds ${name} was not asked for`)
      return standing
    }
  }

  async #read(tenant: string, names: readonly string[]): Promise<[string, AgentStanding | null][]> {
    if (names.length === 0) return []
    const [workflows, found, managed] = await Promise.all([
      openWorkflows(this.#db, tenant),
      getPrincipals(this.#db, tenant, names),
      autonomyOf(this.#db, tenant, names),
    ])
    const rows = new Map(found.map((row) => [row.principal, row]))
    const stages = new Map(managed.map((row) => [row.agent, row]))
    return names.map((name) => {
      const row = rows.get(name)
      return [name, row === undefined ? null : agentStanding(row, stages.get(name) ?? null, workflows)]
    })
  }

  #under({ tenant, epoch }: Gate): Known {
    const known = this.#known.get(tenant)
    // A step that still holds the gate of before loses its commit; what it reads must not stand beside the new.
    if (known !== undefined && known.epoch >= epoch) return known
    const fresh = { epoch, agents: new Map() }
    this.#known.set(tenant, fresh)
    return fresh
  }
}
