import { defineConfig } from 'vitest/config'
import { constants } from './test/support/constants.js'

export default defineConfig({
  plugins: [constants()],
  test: {
    globalSetup: ['./test/support/engines.setup.ts'],
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['default', './test/promises.reporter.ts'],
  },
})
