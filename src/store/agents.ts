import { type AgentStanding, agentStanding } from '../core/principal.js'
import type { Db } from '../platform/db/seam.js'
import { autonomyOf } from './autonomy.js'
import { getPrincipals } from './directory.js'
import type { Gate } from './standing.js'
import { openWorkflows } from './workflows.js'

/** Agents of one tenant that are kept: past it all are forgotten, and read again as they come. */
const KEPT = 10_000

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
    return known === undefined ? ((await this.ofAll(gate, [agent])).get(agent) ?? null) : known
  }

  /** Those of whom nothing is known are null: nothing bounds them but policy and key. */
  async ofAll(gate: Gate, names: readonly string[]): Promise<ReadonlyMap<string, AgentStanding | null>> {
    const { agents } = this.#under(gate)
    if (agents.size > KEPT) agents.clear()
    const unread = [...new Set(names)].filter((name) => !agents.has(name))
    if (unread.length === 0) return agents
    const [workflows, found, managed] = await Promise.all([
      openWorkflows(this.#db, gate.tenant),
      getPrincipals(this.#db, gate.tenant, unread),
      autonomyOf(this.#db, gate.tenant, unread),
    ])
    const rows = new Map(found.map((row) => [row.principal, row]))
    const stages = new Map(managed.map((row) => [row.agent, row]))
    for (const name of unread) {
      const row = rows.get(name)
      agents.set(name, row === undefined ? null : agentStanding(row, stages.get(name) ?? null, workflows))
    }
    return agents
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
