import type { Command } from 'commander'
import type { Rollout, RolloutStatus } from '../contract/rollouts.js'
import { type Context, offline, oneOf, online, type ServerContext, wholeNumber } from './command.js'
import { moreLine } from './render.js'
import { declarationAt, warningsOf } from './rollout-files.js'
import { registerRolloutReport } from './rollout-report.js'
import { assignmentText, documentText, rolloutTable, rolloutText } from './rollout-text.js'
import type { Terminal } from './terminal.js'

const STATUSES = ['draft', 'running', 'paused', 'promoted', 'rolled_back'] as const

/** `sallyport rollouts …`: a new version of an agent, a workflow or a policy comes in by stages. */
export function registerRollouts(program: Command): void {
  const rollouts = program
    .command('rollouts')
    .description('new versions of agents, workflows and policies that come in by stages')
  declarations(rollouts)
  reads(rollouts)
  steps(rollouts)
  registerRolloutReport(rollouts)
}

function declarations(rollouts: Command): void {
  const file = ['<file>', 'YAML or JSON; - is standard input'] as const
  const check = rollouts
    .command('check')
    .description('look at a declaration without a server: every fault with its line')
    .argument(...file)
  offline<object, [string]>(check, checkFile)
  const declare = rollouts
    .command('declare')
    .description('keep a declaration as a draft, of which nothing runs')
    .argument(...file)
  online<object, [string]>(declare, 'admin', async ({ client, terminal }, _flags, path) => {
    const { value } = await declarationAt(path)
    const rollout = await client.rollouts.declare(value)
    show(rollout, terminal)
    warn(rollout.document, terminal)
    terminal.note(`start it: sallyport rollouts start ${rollout.rollout_id}`)
  })
}

async function checkFile({ terminal }: Context, _flags: object, path: string): Promise<void> {
  const { document, digest } = await declarationAt(path)
  const warnings = warningsOf(document)
  terminal.show({ ok: true, declaration: digest, warnings, document }, () => documentText(document, digest, terminal))
  warn(document, terminal)
}

function warn(document: Parameters<typeof warningsOf>[0], terminal: Terminal): void {
  for (const warning of warningsOf(document)) terminal.note(`look: ${warning}`)
}

const show = (rollout: Rollout, terminal: Terminal): void =>
  terminal.show(rollout, () => rolloutText(rollout, terminal))

interface ListFlags {
  status?: RolloutStatus
  limit?: number
  cursor?: string
}

function reads(rollouts: Command): void {
  const list = rollouts
    .command('list')
    .description('rollouts, newest first')
    .option('--status <word>', STATUSES.join(', '), oneOf(...STATUSES))
    .option('--limit <n>', 'at most', wholeNumber(1, 500))
    .option('--cursor <cursor>', 'the page that the one before named')
  online<ListFlags, []>(list, 'admin', async ({ client, terminal }, { status, limit, cursor }) => {
    const page = await client.rollouts.list({
      ...(status === undefined ? {} : { status }),
      ...(limit === undefined ? {} : { limit }),
      ...(cursor === undefined ? {} : { cursor }),
    })
    terminal.show(page, () => (page.items.length === 0 ? 'no rollouts' : rolloutTable(page.items, terminal)))
    const more = moreLine(page.next_cursor)
    if (more !== null) terminal.note(more)
  })
  const one = rollouts
    .command('show')
    .description('where it is, how it came there, and its phases')
    .argument('<rollout>', 'its id')
  online<object, [string]>(one, 'admin', async ({ client, terminal }, _flags, id) => {
    show(await client.rollouts.get(id), terminal)
  })
  const assignment = rollouts
    .command('assignment')
    .description('which version a routing key falls to now')
    .argument('<rollout>', 'its id')
    .argument('<key>', 'the id of a run, or the value of the label it is drawn by')
  online<object, [string, string]>(assignment, 'admin', async ({ client, terminal }, _flags, id, key) => {
    const found = await client.rollouts.assignment(id, key)
    terminal.show(found, () => assignmentText(found, terminal))
  })
}

interface StepFlags {
  reason: string
  evidence: string
}

function steps(rollouts: Command): void {
  const step = (name: string, description: string) =>
    rollouts.command(name).description(description).argument('<rollout>', 'its id')
  const taking = <Flags extends object>(
    command: Command,
    take: (client: ServerContext['client'], flags: Flags, id: string) => Promise<Rollout>,
  ) =>
    online<Flags, [string]>(command, 'admin', async ({ client, terminal }, flags, id) => {
      show(await take(client, flags, id), terminal)
    })
  const start = step('start', 'start its first phase')
  online<object, [string]>(start, 'admin', async ({ client, terminal }, _flags, id) => {
    const rollout = await client.rollouts.start(id)
    show(rollout, terminal)
    warn(rollout.document, terminal)
  })
  const why = '--reason <text>'
  taking<StepFlags>(
    step('pause', 'keep its slice as it is, and its clock').requiredOption(why, 'kept in the audit log'),
    (client, { reason }, id) => client.rollouts.pause(id, reason),
  )
  taking(step('resume', 'go on after a pause'), (client, _flags, id) => client.rollouts.resume(id))
  taking<StepFlags>(
    step('promote', 'leave its phase upward; exit 1 where the gate blocks').requiredOption(
      '--evidence <hash>',
      'of its gate, from `sallyport gate evaluate`',
    ),
    (client, { evidence }, id) => client.rollouts.promote(id, evidence),
  )
  const override = step('override', 'ask to go on without the gate, or carry out what another person asked for')
    .requiredOption(why, 'stays on the rollout for good')
    .option('--evidence <hash>', 'what the gate said, where it was asked; both say the same')
  online<{ reason: string; evidence?: string }, [string]>(override, 'admin', overrideOne)
  taking<StepFlags>(
    step('roll-back', 'take the candidate back at once; for good').requiredOption(why, 'told to its stakeholders'),
    (client, { reason }, id) => client.rollouts.rollBack(id, reason),
  )
}

async function overrideOne(
  { client, terminal }: ServerContext,
  { reason, evidence }: { reason: string; evidence?: string },
  id: string,
): Promise<void> {
  const rollout = await client.rollouts.override(id, reason, evidence)
  show(rollout, terminal)
  if (rollout.request === null) return
  const same = evidence === undefined ? '' : ` --evidence ${evidence}`
  terminal.note(`another person does it: sallyport rollouts override ${id}${same} --reason "…"`)
}
