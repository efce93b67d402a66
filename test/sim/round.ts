/**
 * What `test/drills/rounds.ts` exports as `round` for `npm run soak`: one round of killing and freezing real processes under
 * load, everything of it derived from the seed, its own processes and folders gone when it resolves. `say` prints a line.
 * @returns a sentence for everything found wrong
 */
export type Round = (seed: number, say: (line: string) => void) => Promise<string[]>
