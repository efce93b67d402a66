import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from 'commander'
import { PACKAGE_ROOT } from '../config.js'
import { compilePolicy } from '../core/policy/compile.js'
import { placed } from '../core/policy/reader.js'
import type { Scenario } from '../core/scenario/document.js'
import { parseScenarios } from '../core/scenario/parse.js'
import { type Finding, type ReplayEntry, type Replayed, replay } from '../core/scenario/run.js'
import { type Context, offline, wholeNumber, withServer } from './command.js'
import { CliError, EXIT, type Exit, usage } from './exit.js'
import { documentAt, readPolicyFiles } from './policy-files.js'
import { replayOnServer, type ServerFlags } from './policy-replay-server.js'
import { fields, type Terminal, table } from './terminal.js'

const SHIPPED = join(PACKAGE_ROOT, 'examples/scenarios')

interface Flags extends ServerFlags {
  scenarios?: string[]
  server?: boolean
}

export function replayCommand(policy: Command): void {
  const command = policy
    .command('replay')
    .description('put scenarios, and variants of them, to the door of a policy; nothing is done. Exit 1 on any finding')
    .argument('<policy>', 'file, folder, a snapshot of the server (v1:…), or `active`')
    .option('--scenarios <path...>', 'files and folders (those that come with sallyport)')
    .option('--log <file>', 'write an entry for each denial, a line of JSON each')
    .option('--server', 'run it on the server, through a stored snapshot: what gates of rollouts count')
    .option('--recorded [n]', 'with --server: recorded submits too, the newest 10000 or n', wholeNumber(1, 100_000))
    .option('--generated', 'with --server: ask otherwise whatever tests and recorded submits show is kept back')
    .option('--rollout <id>', 'with --server: count for this rollout alone')
  offline<Flags, [string]>(withServer(command, 'admin'), run)
}

async function run(context: Context, flags: Flags, place: string): Promise<Exit> {
  const { terminal } = context
  if (flags.server === true) {
    // Recorded submits, or the policy's own tests, are enough by themselves.
    const usual = flags.recorded === undefined && flags.generated === undefined ? [SHIPPED] : []
    return replayOnServer(context, flags, place, await readPolicyFiles(flags.scenarios ?? usual))
  }
  const alone = (['recorded', 'generated', 'rollout'] as const).find((flag) => flags[flag] !== undefined)
  if (alone !== undefined) throw usage(`--${alone} needs --server: the records are there`)
  const scenarios = await suiteFrom(flags.scenarios ?? [SHIPPED])
  const policy = compilePolicy(await documentAt(context, flags, place))
  const log: ReplayEntry[] = []
  const done = replay(policy, scenarios, Date.now(), (entry) => log.push(entry))
  if (flags.log !== undefined) await writeFile(flags.log, log.map((entry) => `${JSON.stringify(entry)}\n`).join(''))
  terminal.show(done, () => replayedText(done, terminal))
  return done.bypasses + done.overblocked + done.unsafe_duplicates === 0 ? EXIT.done : EXIT.no
}

async function suiteFrom(paths: readonly string[]): Promise<Scenario[]> {
  const { scenarios, faults } = parseScenarios(await readPolicyFiles(paths))
  if (scenarios === null)
    throw new CliError(EXIT.no, 'scenarios_invalid', `The scenarios have ${faults.length} errors`, null, {
      faults: faults.map(placed),
    })
  // A run that tried nothing must not read as a pass.
  if (scenarios.length === 0) throw new CliError(EXIT.no, 'scenarios_invalid', 'There are no scenarios')
  return scenarios
}

function replayedText(done: Replayed, terminal: Terminal): string {
  const { color } = terminal
  const { decided, findings, runs, scenarios, logged } = done
  const bad = (n: number) => (n === 0 ? color.green('0') : color.red(String(n)))
  const head = fields(
    [
      ['policy', done.policy_snapshot],
      ['scenarios', `${scenarios}, with their variants ${runs} runs`],
      [
        'decided',
        Object.entries(decided)
          .map(([word, n]) => `${word} ${n}`)
          .join(', '),
      ],
      ['in the log', `${logged} of ${decided.DENY} denials`],
      ['critical bypasses', bad(done.critical_bypasses)],
      ['bypasses', bad(done.bypasses)],
      ['overblocked', bad(done.overblocked)],
      ['unsafe duplicates', bad(done.unsafe_duplicates)],
    ],
    color,
  )
  if (findings.length === 0) return head
  return [head, '', findingsTable(findings, terminal)].join('\n')
}

/** Variants of one job that come out alike stand in one line; each by its name is in `--json`. */
function findingsTable(findings: readonly Finding[], terminal: Terminal): string {
  const rows = new Map<string, Finding & { variants: number }>()
  for (const finding of findings) {
    const { scenario, fault, decision } = finding
    const row = rows.get(`${scenario} ${fault} ${decision}`)
    if (row === undefined) rows.set(`${scenario} ${fault} ${decision}`, { ...finding, variants: 1 })
    else row.variants++
  }
  return table(
    [...rows.values()],
    [
      { title: 'FAULT', of: ({ fault, critical }) => (critical && fault === 'bypass' ? 'critical bypass' : fault) },
      { title: 'SCENARIO', of: ({ scenario }) => scenario, whole: true },
      {
        title: 'AS',
        of: ({ variant, variants }) => `${variant ?? 'written'}${variants > 1 ? ` + ${variants - 1}` : ''}`,
      },
      { title: 'DECISION', of: ({ decision }) => decision },
      {
        title: 'WANTED',
        of: ({ fault, at_least, at_most }) => (fault === 'overblocked' ? `<= ${at_most}` : `>= ${at_least}`),
      },
      { title: 'RULES', of: ({ rules }) => rules.join(', ') },
    ],
    terminal,
  )
}
