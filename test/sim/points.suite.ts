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
  const scenes = one === undefined ? SCENES.filter((_, n) => n % files === file) : SCENES
  let plane: TestPlane
  beforeAll(async () => {
    plane = await openPlane()
  })
  afterAll(() => plane.close())

  test.each(scenes.map((scene) => ({ name: scene.name, scene })))(
    `${proves('L3', 'D10', 'R4', 'R5', 'C1')} $name`,
    async ({ scene }) => {
      if (one !== undefined && !one.startsWith(`${scene.name} @`)) return
      const { trials } = await trialsOf(plane, scene)
      expect(trials.length).toBeGreaterThan(0)
      for (const trial of trials) {
        const name = `${scene.name} @${trial.point} ${trial.fault}`
        if (one !== undefined && one !== name) continue
        const again = `SALLYPORT_TRIAL='${name}' npx vitest run test/sim/points-1.test.ts`
        expect(await runTrial(plane, trial), again).toEqual([])
      }
    },
    600_000,
  )
}
