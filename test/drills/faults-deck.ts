import { setTimeout as pause } from 'node:timers/promises'
import type { Cluster, Node } from '../support/cluster.js'
import { type Dice, until } from '../support/server.js'
import type { DrillWorker } from './faults-crew.js'

type Fault = (at: { cluster: Cluster; workers: DrillWorker[]; chance: Dice; frozenMs: number }) => Promise<void>

/** What can happen, each undone by itself; a process that was killed is started again. */
export const FAULTS: Record<string, Fault> = {
  'node killed': async ({ cluster, chance }) => {
    const node = oneOf(cluster.nodes, chance)
    await node.kill()
    await pause(chance.whole(0, 800))
    await startAgain(node)
  },
  'node frozen': ({ cluster, chance, frozenMs }) => frozen(oneOf(cluster.nodes, chance), chance, frozenMs),
  'node stopped': async ({ cluster, chance }) => {
    const node = oneOf(cluster.nodes, chance)
    await node.stop()
    await startAgain(node)
  },
  'worker killed': async ({ workers, chance }) => {
    const worker = oneOf(workers, chance)
    await worker.kill()
    await pause(chance.whole(0, 800))
    await worker.start()
  },
  'worker frozen': ({ workers, chance, frozenMs }) => frozen(oneOf(workers, chance), chance, Math.max(frozenMs, 4_000)),
  'postgres killed': async ({ cluster, chance }) => {
    await cluster.postgres.kill()
    await pause(chance.whole(0, 800))
    await cluster.postgres.start()
  },
  'postgres frozen': ({ cluster, chance, frozenMs }) => frozen(cluster.postgres, chance, frozenMs),
  'nats killed': async ({ cluster, chance }) => {
    await cluster.nats?.kill()
    await pause(chance.whole(0, 800))
    await cluster.nats?.start()
  },
  'nats wiped': async ({ cluster, chance }) => {
    await cluster.nats?.kill()
    cluster.nats?.wipe()
    await pause(chance.whole(0, 800))
    await cluster.nats?.start()
  },
  'nats frozen': ({ cluster, chance, frozenMs }) =>
    cluster.nats ? frozen(cluster.nats, chance, frozenMs) : Promise.resolve(),
}

async function frozen(what: { freeze(): void; thaw(): void }, chance: Dice, longest: number): Promise<void> {
  what.freeze()
  try {
    await pause(chance.whole(300, longest))
  } finally {
    what.thaw()
  }
}

/** A start beside a Postgres that is away ends; an operator's supervisor starts it again. */
async function startAgain(node: Node): Promise<void> {
  if (node.alive) return
  await until(
    `${node.name} starts again`,
    () =>
      node.start().then(
        () => true,
        () => false,
      ),
    60_000,
  )
}

/** Every fault, shuffled, dealt in hands of one to three that happen at the same time. What shares a process is not in one hand. */
export function deal(chance: Dice, decks: number): string[][] {
  const deck = Array.from({ length: decks }, () => Object.keys(FAULTS)).flat()
  for (let n = deck.length - 1; n > 0; n--) {
    const other = chance.whole(0, n)
    ;[deck[n], deck[other]] = [deck[other] as string, deck[n] as string]
  }
  const hands: string[][] = []
  while (deck.length > 0) {
    const hand: string[] = []
    for (let size = chance.whole(1, 3); size > 0; size--) {
      const subject = (fault: string) => fault.split(' ')[0]
      const next = deck.findIndex((fault) => !hand.some((held) => subject(held) === subject(fault)))
      if (next === -1) break
      hand.push(...deck.splice(next, 1))
    }
    hands.push(hand)
  }
  return hands
}

const oneOf = <T>(things: readonly T[], chance: Dice): T => things[chance.whole(0, things.length - 1)] as T

/** Nobody may be down now: who is, fell by itself. */
export async function revived(cluster: Cluster, workers: DrillWorker[]): Promise<string[]> {
  const down: string[] = []
  for (const node of cluster.nodes)
    if (!node.alive) {
      down.push(`${node.name} ended by itself`)
      await startAgain(node)
    }
  for (const worker of workers)
    if (!worker.alive) {
      down.push('a worker ended by itself')
      await worker.start()
    }
  return down
}
