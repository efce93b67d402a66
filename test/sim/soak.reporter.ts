import type { Reporter } from 'vitest/node'

/** The soak speaks for itself; only what broke before it could is said here. */
export default class SoakReporter implements Reporter {
  onTestRunEnd(
    modules: Parameters<NonNullable<Reporter['onTestRunEnd']>>[0],
    unhandled: readonly { message: string }[],
  ) {
    const errors = modules.flatMap((each) => each.errors())
    for (const { message } of [...unhandled, ...errors]) console.error(`soak: ${message}`)
  }
}
