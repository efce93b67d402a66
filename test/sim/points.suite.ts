import { afterAll, beforeAll, expect, test } from 'vitest'
import { openPlane, type TestPlane } from '../plane.js'
import { proves } from '../requirements.js'
import { runTrial, trialsOf } from './points.js'
import { SCENES } from './scenes.js'

/**
 * Every use case, every point, every fault. A red trial names itself: SALLYPORT_TRIAL='<scene> @<point> <fault>' runs that alone.
 * Several files, because files run side by side: each takes every `files`-th scene.
 */
export function testPoints(file: number, files: number): void {
  const one = process.env.SALLYPORT_TRIAL
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
      const chosen = named.filter(({ name }) => one === undefined || one === name)
      expect(chosen.length, 'trials of this name').toBeGreaterThan(0)
      for (const { trial, name } of chosen) {
        const again = `SALLYPORT_TRIAL='${name}' npx vitest run test/sim/points-1.test.ts`
        expect(await runTrial(plane, trial), again).toEqual([])
      }
    },
    600_000,
  )
}
