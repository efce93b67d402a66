#!/usr/bin/env -S node --max-semi-space-size=32
// Young objects get 32 MB instead of 16: a server under load spent 17 % of its time collecting them, with this 12 %.
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { EXIT, told, usage } from './exit.js'
import { createTerminal } from './terminal.js'

/** Loaded when asked for: a policy engine or a server's parts must not be waited for by `jobs list` (0.4 s with all of them, 0.2 s without). */
const COMMANDS: Record<string, (program: Command) => Promise<unknown>> = {
  up: async (program) => (await import('./up.js')).registerUp(program),
  demo: async (program) => (await import('./demo.js')).registerDemo(program),
  worker: async (program) =>
    program.addCommand((await import('./worker.js')).workerCommand().copyInheritedSettings(program)),
  jobs: async (program) => (await import('./jobs.js')).registerJobs(program),
  runs: async (program) => (await import('./runs.js')).registerRuns(program),
  approvals: async (program) => (await import('./approvals.js')).registerApprovals(program),
  grants: async (program) => (await import('./grants.js')).registerGrants(program),
  absences: async (program) => (await import('./grants.js')).registerAbsences(program),
  topics: async (program) => (await import('./topics.js')).registerTopics(program),
  dlq: async (program) => (await import('./dlq.js')).registerDlq(program),
  policy: async (program) => (await import('./policy.js')).registerPolicy(program),
  audit: async (program) => (await import('./audit.js')).registerAudit(program),
  apply: async (program) => (await import('./directory.js')).registerApply(program),
  diff: async (program) => (await import('./directory.js')).registerDiff(program),
  principals: async (program) => (await import('./directory.js')).registerPrincipals(program),
  teams: async (program) => (await import('./directory.js')).registerTeams(program),
  agents: async (program) => (await import('./agents.js')).registerAgents(program),
  reviews: async (program) => (await import('./agents.js')).registerReviews(program),
  workflows: async (program) => (await import('./agents.js')).registerWorkflows(program),
  channels: async (program) => (await import('./channels.js')).registerChannels(program),
  deliveries: async (program) => (await import('./channels.js')).registerDeliveries(program),
  keys: async (program) => (await import('./keys.js')).registerKeys(program),
  accounts: async (program) => (await import('./accounts.js')).registerAccounts(program),
  tokens: async (program) => (await import('./tokens.js')).registerTokens(program),
  stop: async (program) => (await import('./stop.js')).registerStop(program),
  stops: async (program) => (await import('./stop.js')).registerStops(program),
  resume: async (program) => (await import('./stop.js')).registerResume(program),
  breakers: async (program) => (await import('./stop.js')).registerBreakers(program),
  rollouts: async (program) => (await import('./rollouts.js')).registerRollouts(program),
  gate: async (program) => (await import('./gate.js')).registerGate(program),
  ready: async (program) => (await import('./ready.js')).registerReady(program),
  drill: async (program) => (await import('./drill.js')).registerDrill(program),
}

const EXIT_CODES = `
Exit codes: 0 done, 1 the answer is no, 2 wrong usage, 3 not checked, 4 not found, 5 the key may not,
69 no server answers, 75 later. Server: --url or SALLYPORT_URL. Key: --key-file or SALLYPORT_API_KEY.`

async function program(asked: string | undefined, json: boolean): Promise<Command> {
  const sallyport = new Command('sallyport')
    .description('The control plane between AI agents and the systems they act on.')
    .version(version(), '-V, --version')
    .exitOverride()
    .addHelpText('after', EXIT_CODES)
    // In a script's JSON mode the fault is told once, as JSON.
    .configureOutput(json ? { writeErr: () => {} } : {})
  const names = asked !== undefined && Object.hasOwn(COMMANDS, asked) ? [asked] : Object.keys(COMMANDS)
  for (const name of names) await COMMANDS[name]?.(sallyport)
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
    await (await program(argv[2], json)).parseAsync(argv)
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    const asked = ['commander.helpDisplayed', 'commander.version'].includes(error.code)
    process.exitCode = asked ? EXIT.done : EXIT.usage
    if (asked || !json) return
    const wrong = usage(error.message.replace(/^error: /, ''))
    createTerminal(process, process.env, { json, stdinTTY: false }).error(told(wrong))
  }
}

await main(process.argv)
