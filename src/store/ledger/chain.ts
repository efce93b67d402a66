import type { SigningKey } from '../../core/audit/keys.js'
import { type Chain, chainAfter, sealTile, startChain } from '../../core/audit/tile.js'
import { entryLine, type Fact } from '../../core/audit.js'
import type { TileWrites } from './write.js'

/**
 * This process's chain in every tenant's log. A process start is a new writer, and so is a process that was taken for dead and
 * fenced; its first tile of a tenant registers it.
 * `seal` proposes; only `advance`, after the commit, moves the chain: a batch that lost is sealed again without its losers.
 */
export class WriterChains {
  writer: string
  readonly #key: SigningKey
  readonly #chains = new Map<string, Chain>()

  constructor(writer: string, key: SigningKey) {
    this.writer = writer
    this.#key = key
  }

  /** @param ahead sealed and sent, oldest first, and not known to be written yet: these tiles follow theirs */
  seal(at: number, facts: readonly Fact[], ahead: readonly TileWrites[] = []): TileWrites {
    const byTenant = new Map<string, Fact[]>()
    for (const fact of facts) {
      const list = byTenant.get(fact.tenant)
      if (list) list.push(fact)
      else byTenant.set(fact.tenant, [fact])
    }
    const writes: TileWrites = { tiles: [], writers: [] }
    for (const [tenant, list] of byTenant) {
      const before = ahead.flatMap((each) => each.tiles).findLast((tile) => tile.tenant === tenant)
      let chain = before === undefined ? this.#chains.get(tenant) : chainAfter(before)
      const lines = list.map(entryLine)
      if (chain === undefined) {
        chain = startChain(tenant, this.writer, this.#key.publicKey)
        const public_key = Buffer.from(this.#key.publicKey).toString('base64')
        writes.writers.push({ tenant, writer: this.writer, public_key, started_at: at })
        lines.unshift(
          entryLine({ kind: 'writer.started', tenant, at, actor: 'system:node', writer: this.writer, public_key }),
        )
      }
      writes.tiles.push(sealTile(chain, at, lines, this.#key))
    }
    return writes
  }

  /** Others closed this writer's chains: what follows is another's. */
  renew(writer: string): void {
    this.writer = writer
    this.#chains.clear()
  }

  advance(writes: TileWrites): void {
    // Two may be on their way, and the second be known to be written before the first is.
    for (const tile of writes.tiles)
      if (tile.seq >= (this.#chains.get(tile.tenant)?.seq ?? 0)) this.#chains.set(tile.tenant, chainAfter(tile))
  }
}
