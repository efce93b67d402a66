import { writeFileSync } from 'node:fs'
import type { Reporter, TestCase, TestModule, Vitest } from 'vitest/node'
import { account, LISTED, type Listing, NOT_YET, type Outcome, PROMISES } from './requirements.js'

/**
 * Ends a run with the account of the promises, every skipped test with its reason, and `N passed, N failed`.
 * That last line goes to the file SALLYPORT_TEST_SUMMARY names instead, where `.ci/run` wants it.
 * `failed` counts tests, files that never got as far as a test, errors outside any test, and listed promises without
 * proof: 0 exactly when the run is good.
 */
export default class PromisesReporter implements Reporter {
  private readonly listed: Listing
  private vitest: Vitest | undefined

  constructor({ listed = LISTED }: { listed?: Listing } = {}) {
    this.listed = listed
  }

  onInit(vitest: Vitest): void {
    this.vitest = vitest
  }

  async onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[], reason: string): Promise<void> {
    const tests = modules.flatMap((module) => [...module.children.allTests()])
    const lines = tests.flatMap(skipLine)

    const { unproven, unlisted, open } = account(this.listed, tests.map(outcomeOf))
    const full = reason !== 'interrupted' && (await this.isFull(modules.length))
    if (full) {
      lines.push(...unproven.map((fault) => `promise without proof: ${fault}`))
      if (unlisted.length > 0) lines.push(`proved but not in test/requirements.ts: ${unlisted.join(' ')}`)
      for (const [id, part] of Object.entries(NOT_YET))
        if (id in this.listed) lines.push(`${id} holds but for: ${part}`)
      if (open.length > 0)
        lines.push(`not listed yet, ${open.length} of ${Object.keys(PROMISES).length}: ${open.join(' ')}`)
    }

    const passed = tests.filter((test) => test.result().state === 'passed').length
    const failed =
      tests.filter((test) => test.result().state === 'failed').length +
      modules.filter(brokeOutsideTests).length +
      errors.length +
      (full ? unproven.length : 0)
    const summary = `${passed} passed, ${failed} failed`
    const file = process.env.SALLYPORT_TEST_SUMMARY
    if (file) writeFileSync(file, `${summary}\n`)
    else lines.push(summary)
    if (lines.length > 0) console.log(['', ...lines].join('\n'))
    if (failed > 0) process.exitCode = 1
  }

  /** A run narrowed to some files, a shard or some names cannot say that a proof is missing. */
  private async isFull(ran: number): Promise<boolean> {
    if (this.vitest === undefined || this.vitest.config.testNamePattern) return false
    const all = await this.vitest.globTestSpecifications()
    return ran === all.length
  }
}

function outcomeOf(test: TestCase): Outcome {
  return { file: test.module.relativeModuleId, title: test.fullName, passed: test.result().state === 'passed' }
}

function skipLine(test: TestCase): string[] {
  const result = test.result()
  if (result.state !== 'skipped') return []
  return [`skipped: ${test.module.relativeModuleId} > ${test.fullName}: ${result.note ?? 'no reason given'}`]
}

/** True for a file that failed to load, or whose hook failed, where no test of it says so. */
function brokeOutsideTests(module: TestModule): boolean {
  return module.state() === 'failed' && ![...module.children.allTests('failed')].length
}
