import { existsSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { Db } from '../../src/platform/db/seam.js'
import type { Round } from './round.js'
import { replayOf, runSeed } from './seeds.js'
import { storeOf } from './stores.js'

/**
 * `npm run soak -- --minutes N [--seed S] [--rounds R] [--engine E]`: seeded runs with fresh seeds until the time is up, on both
 * engines in turn, and between them rounds with real processes. Ends red at the end when anything was found; says at once what and
 * how to see it again.
 */

/** Where the rounds with real processes are, when they are there: see round.ts. */
const ROUNDS = new URL('../drills/rounds.ts', import.meta.url)
/** How to see a failing round again. */
const replayOfRound = (seed: number) => `npm run soak -- --minutes 0 --rounds 1 --seed ${seed}`

const MINUTES = Number(process.env.SALLYPORT_SOAK_MINUTES ?? 1)
const MOST_ROUNDS = Number(process.env.SALLYPORT_SOAK_ROUNDS ?? 20)
/** Seeds beyond those of `npm test`, another stretch of them every time. */
const FIRST = Number(process.env.SALLYPORT_SOAK_SEED ?? 1000 + Math.floor(Math.random() * 2 ** 31))
const ENGINES: Db['engine'][] = ['pglite', 'postgres']
const ASKED = ENGINES.filter((engine) => engine === (process.env.SALLYPORT_SOAK_ENGINE ?? engine))
/** Then the next store, of the next engine: what a process gathers must not decide how long it can soak. */
const RUNS_PER_STORE = 250
const SAY_EVERY_MS = 10_000

const say = (line: string) => console.log(`soak: ${line}`)

test('soak', async () => {
  const end = Date.now() + MINUTES * 60_000
  const round = await rounds()
  const found: string[] = []
  const tell = (again: string, wrong: string[]) => {
    found.push(again)
    say(`VIOLATION; see it again with: ${again}`)
    for (const each of wrong) say(`  ${each}`)
  }
  say(`${MINUTES} minutes from seed ${FIRST}${round === null ? '; no rounds with real processes here' : ''}`)
  let seed = FIRST
  let done = 0
  // The rounds are spread over the time, the first at once; the seeded runs fill what is between.
  const due = (n: number) => end - MINUTES * 60_000 * (1 - n / MOST_ROUNDS)
  const stores = turns(ASKED)
  let plane = await storeOf(stores())
  let told = Date.now()
  while (Date.now() < end || (MINUTES === 0 && done < MOST_ROUNDS)) {
    if (round !== null && done < MOST_ROUNDS && Date.now() >= due(done)) {
      const at = FIRST + done++
      const wrong = await round(at, say)
      if (wrong.length > 0) tell(replayOfRound(at), wrong)
      if (MINUTES === 0) continue
    }
    if (round === null && MINUTES === 0) break
    const { wrong } = await runSeed(plane, seed)
    if (wrong.length > 0) tell(replayOf(seed, plane.db.engine), wrong)
    seed++
    if ((seed - FIRST) % RUNS_PER_STORE === 0) {
      await plane.close()
      plane = await storeOf(stores())
    }
    if (Date.now() - told > SAY_EVERY_MS) {
      told = Date.now()
      const left = Math.max(0, Math.ceil((end - told) / 60_000))
      say(`${seed - FIRST} seeds, ${done} rounds, ${found.length} violations, ${left} min left`)
    }
  }
  await plane.close()
  say(`${seed - FIRST} seeds from ${FIRST}, ${done} rounds, ${found.length} violations`)
  for (const again of found) say(`  ${again}`)
  expect(found).toEqual([])
})

/** Each in its turn, and again from the first. */
function turns<T>(things: readonly T[]): () => T {
  let n = 0
  return () => things[n++ % things.length] as T
}

async function rounds(): Promise<Round | null> {
  if (!existsSync(ROUNDS)) return null
  return ((await import(/* @vite-ignore */ ROUNDS.href)) as { round: Round }).round
}
