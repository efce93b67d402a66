import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { constants } from './test/support/constants.js'

/** What it measures is a ratio of waits: beside other tests it measures those. */
const ALONE = ['test/drills/overload.test.ts']

export default defineConfig({
  plugins: [constants()],
  test: {
    globalSetup: ['./test/support/engines.setup.ts'],
    // One for each core, not one less as by default: half of the files wait for processes, deadlines and disks more than they compute,
    // and with one at a time on two cores the run was not over after 22 minutes.
    maxWorkers: availableParallelism(),
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['default', './test/promises.reporter.ts'],
    projects: [
      { extends: true, test: { name: 'alone', include: ALONE, sequence: { groupOrder: 0 } } },
      {
        extends: true,
        test: {
          name: 'others',
          include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: ALONE,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
