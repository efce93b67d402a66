import type { Reporter } from 'vitest/node'

/** The soak speaks for itself; only what broke before it could is said here. */
export default class SoakReporter implements Reporter {
  onTestRunEnd(
    modules: Parameters<NonNullable<Reporter['onTestRunEnd']>>[0],
    unhandled: readonly { message: string; name?: string }[],
  ) {
    const errors = modules.flatMap((each) => [
      ...each.errors(),
      ...[...each.children.allTests('failed')].flatMap((test) => test.result().errors ?? []),
    ])
    // What it found it has said by itself.
    for (const { name, message } of [...unhandled, ...errors])
      if (name !== 'AssertionError') console.error(`soak: ${message}`)
  }
}
