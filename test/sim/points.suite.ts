import { createHash } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openPlane, type TestPlane } from '../plane.js'
import { proves } from '../requirements.js'
import { runTrial, trialsOf } from './points.js'
import { SCENES } from './scenes.js'

/**
 * Every use case, every point, every fault. A red trial names itself: SALLYPORT_TRIAL='<scene> @<point> <fault>' runs that alone.
 * What befalls a read is tried by halves, one a day; SALLYPORT_TRIAL=all tries all of it.
 * Several files, because files run side by side: each takes every `files`-th scene.
 */
export function testPoints(file: number, files: number): void {
  const asked = process.env.SALLYPORT_TRIAL
  const one = asked === 'all' ? undefined : asked
  const half = Math.floor(Date.now() / 86_400_000) % 2
  const isToday = (name: string) => (createHash('sha256').update(name).digest()[0] as number) % 2 === half
  const scenes = SCENES.filter(({ name }, n) => (one === undefined ? n % files === file : one.startsWith(`${name} @`)))
  let plane: TestPlane
  beforeAll(async () => {
    plane = await openPlane()
  })
  afterAll(() => plane.close())

  test.each(scenes.map((scene) => ({ name: scene.name, scene })))(
    `${proves('L3', 'D10', 'R4', 'R5', 'C1')} $name`,
    async ({ scene }) => {
      const { trials } = await trialsOf(plane, scene)
      const named = trials.map((trial) => ({ trial, name: `${scene.name} @${trial.point} ${trial.fault}` }))
      const chosen = named.filter(({ name, trial }) =>
        one === undefined ? asked === 'all' || !trial.reads || isToday(name) : one === name,
      )
      expect(chosen.length, 'trials of this name').toBeGreaterThan(0)
      for (const { trial, name } of chosen) {
        const again = `SALLYPORT_TRIAL='${name}' npx vitest run test/sim/points-1.test.ts`
        expect(await runTrial(plane, trial), again).toEqual([])
      }
    },
    600_000,
  )
}
