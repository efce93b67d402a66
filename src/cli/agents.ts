import type { Command } from 'commander'
import type { Autonomy, AutonomyItem, PutAutonomy, ReviewLoad, Workflow } from '../contract/autonomy.js'
import { oneOf, online, wholeNumber, words } from './command.js'
import { duration, fields, instant, type Terminal, table } from './terminal.js'

const STAGES = ['shadow', 'advisor', 'supervised', 'assisted', 'autonomous'] as const
type Stage = (typeof STAGES)[number]

interface ManageFlags {
  stage: Stage
  spotCheck?: number
  least?: number
  most?: number
  asks?: string[]
}

/** `sallyport agents …`: how far each agent is trusted to act by itself. */
export function registerAgents(program: Command): void {
  const agents = program.command('agents').description('how far agents are trusted to act by themselves')
  const list = agents.command('list').description('those under management, and their stages')
  online<object, []>(list, 'admin', async ({ client, terminal }) => {
    const page = await client.autonomy.list()
    const lines = () => (page.items.length === 0 ? 'none is: policy alone decides' : agentTable(page.items, terminal))
    terminal.show(page, lines)
  })
  const show = agents
    .command('show')
    .description('its stage, its numbers and what the next stage needs')
    .argument('<agent>', 'its principal')
  online<object, [string]>(show, 'admin', async ({ client, terminal }, _flags, agent) => {
    const found = await client.autonomy.get(agent)
    terminal.show(found, () => autonomyText(found, terminal))
  })
  const manage = agents
    .command('manage')
    .description('put it under management at a stage, or change its spot check and who is asked')
    .argument('<agent>', 'its principal')
    .requiredOption('--stage <stage>', STAGES.join(', '), oneOf(...STAGES))
    .option('--spot-check <percent>', 'of what would run in assisted that a person sees first', wholeNumber(0, 100))
    .option('--least <percent>', 'reviewer load moves the spot check not below', wholeNumber(0, 100))
    .option('--most <percent>', 'and not above', wholeNumber(0, 100))
    .option('--asks <who...>', 'lead:owner, team:x, role:x, principal:x, oncall:x', words)
  online<ManageFlags, [string]>(manage, 'admin', async ({ client, terminal }, flags, agent) => {
    const { stage, spotCheck, least, most, asks } = flags
    const body: PutAutonomy = { stage }
    if (spotCheck !== undefined) body.spot_check = spotCheck
    if (least !== undefined) body.least = least
    if (most !== undefined) body.most = most
    if (asks !== undefined) body.asks = asks
    const done = await client.autonomy.put(agent, body)
    terminal.show(done, () => autonomyText(done, terminal))
    if (done.proposal?.settings !== undefined)
      terminal.note('people would see less, or others would: it holds once another person runs the same command')
  })
  const promote = agents
    .command('promote')
    .description('propose the next stage; another person confirms it')
    .argument('<agent>', 'its principal')
    .requiredOption('--to <stage>', 'the stage above', oneOf(...STAGES))
    .option('--note <text>', 'kept in the audit log')
  online<{ to: Stage; note?: string }, [string]>(
    promote,
    'admin',
    async ({ client, terminal }, { to, note }, agent) => {
      const done = await client.autonomy.promote(agent, note === undefined ? { to } : { to, note })
      terminal.show(done, () => autonomyText(done, terminal))
    },
  )
  const confirm = agents
    .command('confirm')
    .description('carry out the promotion that another person proposed')
    .argument('<agent>', 'its principal')
    .option('--note <text>', 'kept in the audit log')
  online<{ note?: string }, [string]>(confirm, 'admin', async ({ client, terminal }, { note }, agent) => {
    const done = await client.autonomy.confirm(agent, note)
    terminal.show(done, () => autonomyText(done, terminal))
  })
  const demote = agents
    .command('demote')
    .description('put it back at once')
    .argument('<agent>', 'its principal')
    .requiredOption('--to <stage>', 'a stage below', oneOf(...STAGES))
    .requiredOption('--note <text>', 'why; kept in the audit log')
  online<{ to: Stage; note: string }, [string]>(demote, 'admin', async ({ client, terminal }, { to, note }, agent) => {
    const done = await client.autonomy.demote(agent, { to, note })
    terminal.show(done, () => autonomyText(done, terminal))
  })
}

export function registerReviews(program: Command): void {
  const reviews = program.command('reviews').description('what waits for people, how long they take, who bears it')
  const load = reviews
    .command('load')
    .description('backlog, waits and reviewers')
    .option('--days <n>', 'questions asked in the last days, 1 unless said', wholeNumber(1, 90))
  online<{ days?: number }, []>(load, 'admin', async ({ client, terminal }, { days }) => {
    const found = await client.reviews.load(days)
    terminal.show(found, () => loadText(found, terminal))
  })
}

export function registerWorkflows(program: Command): void {
  const workflows = program.command('workflows').description('bounded workflows of the active policy')
  const list = workflows.command('list').description('their bounds, whether they are open, and how they fare')
  online<object, []>(list, 'admin', async ({ client, terminal }) => {
    const page = await client.workflows.list()
    terminal.show(page, () =>
      page.items.length === 0 ? 'the policy bounds none' : workflowTable(page.items, terminal),
    )
  })
  const open = workflows.command('open').description('let its jobs through, on trial for a week').argument('<workflow>')
  online<object, [string]>(open, 'admin', async ({ client, terminal }, _flags, workflow) => {
    const done = await client.workflows.open(workflow)
    terminal.show(done, () => workflowTable([done], terminal))
  })
  const close = workflows.command('close').description('let nothing of it through any more').argument('<workflow>')
  online<object, [string]>(close, 'admin', async ({ client, terminal }, _flags, workflow) => {
    const done = await client.workflows.close(workflow)
    terminal.show(done, () => workflowTable([done], terminal))
  })
}

function agentTable(agents: readonly AutonomyItem[], terminal: Terminal): string {
  return table(
    agents,
    [
      { title: 'AGENT', of: ({ agent }) => agent, whole: true },
      { title: 'STAGE', of: ({ stage }) => stage },
      { title: 'SINCE', of: ({ since }) => instant(since) },
      { title: 'SPOT CHECK', of: ({ spot_check }) => `${spot_check} %` },
      { title: 'ASKS', of: ({ asks }) => asks.join(', ') },
      {
        title: 'PROPOSED',
        of: ({ proposal }) => (proposal === null ? null : `${proposed(proposal)} by ${proposal.by}`),
      },
    ],
    terminal,
  )
}

function workflowTable(workflows: readonly Workflow[], terminal: Terminal): string {
  return table(
    workflows,
    [
      { title: 'WORKFLOW', of: ({ workflow }) => workflow, whole: true },
      { title: 'STATE', of: ({ state }) => state },
      { title: 'OPENED', of: ({ opened_at }) => instant(opened_at) },
      { title: 'WELL', of: ({ succeeded }) => String(succeeded ?? '') },
      { title: 'BADLY', of: ({ failed }) => String(failed ?? '') },
      { title: 'TOPICS', of: ({ topics }) => topics.join(', ') },
    ],
    terminal,
  )
}

/** The stage, or what the second person has to say too. */
function proposed({ to, settings }: NonNullable<Autonomy['proposal']>): string {
  if (settings === undefined) return to
  const { spot_check, least, most, asks } = settings
  const flags = [
    ['--spot-check', spot_check],
    ['--least', least],
    ['--most', most],
    ['--asks', asks?.join(' ')],
  ]
  return flags.flatMap(([flag, value]) => (value === undefined ? [] : [`${flag} ${value}`])).join(' ')
}

const percent = (rate: number | null) => (rate === null ? null : `${Math.round(rate * 1000) / 10} %`)

function autonomyText(found: Autonomy, terminal: Terminal): string {
  const { numbers, criteria, proposal } = found
  const head = fields(
    [
      ['agent', found.agent],
      ['stage', found.stage],
      ['since', instant(found.since)],
      ['spot check', `${found.spot_check} % (${found.least} to ${found.most})`],
      ['asks', found.asks.join(', ')],
      ['proposed', proposal === null ? null : `${proposed(proposal)} by ${proposal.by}, ${instant(proposal.at)}`],
      ['actions', String(numbers.actions)],
      ['errors', percent(numbers.error_rate)],
      ['approved', percent(numbers.approval_rate)],
      ['approved, last week', percent(numbers.approval_rate_week)],
    ],
    terminal.color,
  )
  if (criteria.length === 0) return head
  const rows = table(
    criteria,
    [
      { title: 'NEXT STAGE NEEDS', of: ({ criterion }) => criterion, whole: true },
      { title: 'BOUND', of: ({ needs }) => String(needs) },
      { title: 'IS', of: ({ is }) => (is === null ? 'unknown' : String(Math.round(is * 1000) / 1000)) },
      {
        title: 'HOLDS',
        of: ({ holds }) => (holds ? 'yes' : 'no'),
        paint: (text) => (text === 'yes' ? terminal.color.green(text) : terminal.color.red(text)),
      },
    ],
    terminal,
  )
  return `${head}\n\n${rows}`
}

function loadText(load: ReviewLoad, terminal: Terminal): string {
  const wait = (ms: number | null) => (ms === null ? 'unknown' : duration(ms))
  const head = fields(
    [
      ['pending', String(load.pending)],
      ['oldest', instant(load.oldest_at)],
      ['answered', String(load.answered)],
      ['median wait', wait(load.median_wait_ms)],
      ['95 % within', wait(load.p95_wait_ms)],
      ['burden', load.burden, load.burden === 'over' ? terminal.color.red : undefined],
    ],
    terminal.color,
  )
  if (load.reviewers.length === 0) return head
  const rows = table(
    load.reviewers,
    [
      { title: 'REVIEWER', of: ({ principal }) => principal, whole: true },
      { title: 'PENDING', of: ({ pending }) => String(pending) },
      { title: 'ANSWERED', of: ({ answered }) => String(answered) },
      { title: 'APPROVED', of: ({ approved }) => String(approved) },
      { title: 'MEDIAN WAIT', of: ({ median_wait_ms }) => wait(median_wait_ms) },
    ],
    terminal,
  )
  return `${head}\n\n${rows}`
}
