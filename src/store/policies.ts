import { type CompiledPolicy, compilePolicy } from '../core/policy/compile.js'
import { parsePolicy } from '../core/policy/parse.js'
import { Problem } from '../errors.js'
import type { Db } from '../platform/db/seam.js'
import { getSnapshot } from './snapshots.js'
import { type Gate, getGate, listGates } from './standing.js'

/** What a step decides under: the gate as read, and the snapshot it names, compiled. */
export interface Active {
  gate: Gate
  policy: CompiledPolicy
}

/** Compiled snapshots, the least lately used go: with 64 and 70 tenants every decision compiled its policy, 67 ms a submit. */
const KEPT = 1024

/**
 * The active policy of each tenant, from memory. It may be stale, and that is harmless: the commit carries the gate's values,
 * and the gate row refuses it when they are no longer so. Then `refresh`, and decide again.
 */
export class Policies {
  readonly #db: Db
  readonly #gates = new Map<string, Gate>()
  readonly #compiled = new Map<string, CompiledPolicy>()

  constructor(db: Db) {
    this.#db = db
  }

  /** Throws Problem `no_policy`: without a snapshot nothing is let through. */
  async active(tenant: string): Promise<Active> {
    const gate = await this.gate(tenant)
    if (gate === null || gate.snapshot === null) throw new Problem('no_policy')
    return { gate, policy: await this.compiled(tenant, gate.snapshot) }
  }

  /** From memory; null where the tenant has none yet. */
  async gate(tenant: string): Promise<Gate | null> {
    return this.#gates.get(tenant) ?? this.refresh(tenant)
  }

  async refresh(tenant: string): Promise<Gate | null> {
    const gate = await getGate(this.#db, tenant)
    if (gate === null) this.#gates.delete(tenant)
    else this.#gates.set(tenant, gate)
    return gate
  }

  /** Reads the gates again of all tenants that this node has in mind. */
  async refreshKnown(): Promise<void> {
    for (const gate of await listGates(this.#db)) if (this.#gates.has(gate.tenant)) this.#gates.set(gate.tenant, gate)
  }

  /** Any stored snapshot, compiled: old decisions are reproduced under the one they were made by. */
  async compiled(tenant: string, digest: string): Promise<CompiledPolicy> {
    // Content-addressed, yet asked per tenant: a digest another tenant stored is not this tenant's.
    const key = `${tenant}/${digest}`
    const found = this.#compiled.get(key)
    if (found) {
      this.#compiled.delete(key)
      this.#compiled.set(key, found)
      return found
    }
    const row = await getSnapshot(this.#db, tenant, digest)
    if (row === null) throw new Problem('no_policy', `Snapshot ${digest} is not in the store`)
    const { document, faults } = parsePolicy(row.files)
    if (document === null) throw new Problem('no_policy', 'The stored snapshot does not parse', {}, faults)
    const policy = compilePolicy(document)
    if (policy.digest !== digest)
      throw new Problem('no_policy', 'The stored snapshot is not what its digest says: it was changed in the database')
    this.#compiled.set(key, policy)
    if (this.#compiled.size > KEPT) this.#compiled.delete(this.#compiled.keys().next().value as string)
    return policy
  }
}
