#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { registerApprovals } from './approvals.js'
import { registerAudit } from './audit.js'
import { registerDlq } from './dlq.js'
import { registerDrill } from './drill.js'
import { EXIT } from './exit.js'
import { registerJobs } from './jobs.js'
import { registerKeys } from './keys.js'
import { registerPolicy } from './policy.js'
import { createTerminal } from './terminal.js'
import { registerUp } from './up.js'
import { workerCommand } from './worker.js'

const EXIT_CODES = `
Exit codes: 0 done, 1 the answer is no, 2 wrong usage, 3 not checked, 4 not found, 5 the key may not,
69 no server answers, 75 later. Server: --url or SALLYPORT_URL. Key: --key-file or SALLYPORT_API_KEY.`

function program(json: boolean): Command {
  const sallyport = new Command('sallyport')
    .description('The control plane between AI agents and the systems they act on.')
    .version(version(), '-V, --version')
    .exitOverride()
    .addHelpText('after', EXIT_CODES)
    // In a script's JSON mode the fault is told once, as JSON.
    .configureOutput(json ? { writeErr: () => {} } : {})
  registerUp(sallyport)
  sallyport.addCommand(workerCommand().copyInheritedSettings(sallyport))
  registerJobs(sallyport)
  registerApprovals(sallyport)
  registerDlq(sallyport)
  registerPolicy(sallyport)
  registerAudit(sallyport)
  registerKeys(sallyport)
  registerDrill(sallyport)
  return sallyport
}

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

async function main(argv: readonly string[]): Promise<void> {
  const json = argv.includes('--json')
  // `sallyport … | head` closes the pipe early; that is not an error of ours.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit()
    throw error
  })
  try {
    await program(json).parseAsync(argv)
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    const asked = ['commander.helpDisplayed', 'commander.version'].includes(error.code)
    process.exitCode = asked ? EXIT.done : EXIT.usage
    if (asked || !json) return
    const message = error.message.replace(/^error: /, '')
    createTerminal(process, process.env, { json, stdinTTY: false }).error({
      exit: EXIT.usage,
      code: 'usage',
      message,
      help: null,
      faults: [],
      details: {},
    })
  }
}

await main(process.argv)
