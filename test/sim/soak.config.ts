import { defineConfig } from 'vitest/config'

/** `npm run soak`: not a test of `npm test`, because it lasts as long as one asks for. */
export default defineConfig({
  test: {
    globalSetup: ['./test/support/engines.setup.ts'],
    include: ['test/sim/soak.ts'],
    testTimeout: 0,
    hookTimeout: 60_000,
    disableConsoleIntercept: true,
    reporters: ['./test/sim/soak.reporter.ts'],
  },
})
