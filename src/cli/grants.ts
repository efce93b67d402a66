import { type Command, InvalidArgumentError } from 'commander'
import type { Absence } from '../contract/absences.js'
import type { Grant } from '../contract/grants.js'
import { online, type ServerContext, span, wholeNumber } from './command.js'
import { EXIT, type Exit, usage } from './exit.js'
import { moreLine } from './render.js'
import { fields, instant, type Terminal, table } from './terminal.js'

interface CreateFlags {
  agent: string
  topic: string
  when?: string
  uses: number
  for: number
  reason: string
}

export function registerGrants(program: Command): void {
  const grants = program.command('grants').description('approvals given beforehand')

  const list = grants
    .command('list')
    .description('grants, with what is left of them')
    .option('--limit <n>', 'at most', wholeNumber(1, 500))
    .option('--cursor <cursor>', 'the page that the one before named')
  online<{ limit?: number; cursor?: string }, []>(list, 'approver', async ({ client, terminal }, { limit, cursor }) => {
    const page = await client.grants.list({
      ...(limit === undefined ? {} : { limit }),
      ...(cursor === undefined ? {} : { cursor }),
    })
    terminal.show(page, () => (page.items.length === 0 ? 'no grants' : grantTable(page.items, terminal)))
    const more = moreLine(page.next_cursor)
    if (more !== null) terminal.note(more)
  })

  const create = grants
    .command('create')
    .description('approve beforehand what one yes of yours would be enough for; never high risk')
    .requiredOption('--agent <agent>', 'whose jobs')
    .requiredOption('--topic <pattern>', 'which; * is one segment, > the rest')
    .option('--when <cel>', "only inputs that fit, e.g. 'input.amount <= 20'")
    .requiredOption('--uses <n>', 'how many jobs', wholeNumber(1, 10_000))
    .requiredOption('--for <time>', 'how long, e.g. 8h or 7d', span)
    .requiredOption('--reason <text>', 'why nobody need look')
  online<CreateFlags, []>(create, 'approver', createGrant)

  const revoke = grants.command('revoke').description('take a grant back, at once').argument('<grant>', 'its id')
  online<object, [string]>(revoke, 'approver', async ({ client, terminal }, _flags, id) => {
    const grant = await client.grants.revoke(id)
    terminal.show(grant, () => grantText(grant, terminal))
  })
}

async function createGrant({ client, terminal }: ServerContext, flags: CreateFlags): Promise<Exit> {
  const grant = await client.grants.create({
    agent: flags.agent,
    topic: flags.topic,
    ...(flags.when === undefined ? {} : { when: flags.when }),
    uses: flags.uses,
    expires_at: Date.now() + flags.for,
    reason: flags.reason,
  })
  terminal.show(grant, () => grantText(grant, terminal))
  return EXIT.done
}

function grantText(grant: Grant, { color }: Terminal): string {
  return fields(
    [
      ['grant', grant.grant_id],
      ['state', grant.state],
      ['agent', grant.agent],
      ['topic', grant.topic],
      ['when', grant.when],
      ['uses', `${grant.used} of ${grant.uses}`],
      ['expires', instant(grant.expires_at)],
      ['reason', grant.reason],
      ['given by', grant.granted_by],
      ['revoked', grant.revoked_at === null ? null : `${instant(grant.revoked_at)} by ${grant.revoked_by}`],
    ],
    color,
  )
}

function grantTable(grants: readonly Grant[], terminal: Terminal): string {
  return table(
    grants,
    [
      { title: 'GRANT', of: (grant) => grant.grant_id, whole: true },
      { title: 'STATE', of: (grant) => grant.state },
      { title: 'AGENT', of: (grant) => grant.agent },
      { title: 'TOPIC', of: (grant) => grant.topic },
      { title: 'WHEN', of: (grant) => grant.when },
      { title: 'USED', of: (grant) => `${grant.used}/${grant.uses}`, right: true },
      { title: 'EXPIRES', of: (grant) => instant(grant.expires_at) },
      { title: 'BY', of: (grant) => grant.granted_by },
    ],
    terminal,
  )
}

interface AwayFlags {
  from?: number
  until?: number
  delegate?: string
  back?: boolean
}

export function registerAbsences(program: Command): void {
  const absences = program.command('absences').description('who is away, and who answers meanwhile')

  const list = absences.command('list').description('who is away, or will be')
  online<object, []>(list, 'approver', async ({ client, terminal }) => {
    const page = await client.absences.list()
    terminal.show(page, () => (page.items.length === 0 ? 'nobody is away' : absenceTable(page.items, terminal)))
  })

  const set = absences
    .command('set')
    .description('say that somebody is away')
    .argument('<principal>', 'who: yourself, or whom you lead')
    .option('--from <instant>', 'e.g. 2026-12-24 or 2026-12-24T17:00:00Z; now if left out', instantOf)
    .option('--until <instant>', 'back from then on', instantOf)
    .option('--delegate <principal>', 'who may answer where they may')
    .option('--back', 'back already')
  online<AwayFlags, [string]>(set, 'approver', async ({ client, terminal }, flags, principal) => {
    if ((flags.until === undefined) === (flags.back === undefined)) throw usage('Say --until when, or --back')
    const from = flags.back ? 0 : (flags.from ?? Date.now())
    const until = flags.back ? 0 : (flags.until as number)
    const delegate = flags.delegate === undefined ? {} : { delegate: flags.delegate }
    const absence = await client.absences.put(principal, { from, until, ...delegate })
    terminal.show(absence, () => (flags.back ? `back  ${principal}` : absenceTable([absence], terminal)))
  })
}

function absenceTable(absences: readonly Absence[], terminal: Terminal): string {
  return table(
    absences,
    [
      { title: 'WHO', of: (absence) => absence.principal, whole: true },
      { title: 'FROM', of: (absence) => instant(absence.from) },
      { title: 'UNTIL', of: (absence) => instant(absence.until) },
      { title: 'AWAY', of: (absence) => (absence.away ? 'yes' : 'not yet') },
      { title: 'DELEGATE', of: (absence) => absence.delegate ?? 'nobody' },
    ],
    terminal,
  )
}

/** A day or an instant of RFC 3339, in epoch ms. A day without a zone is one of UTC. */
function instantOf(text: string): number {
  const at = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d))?$/.test(text) ? Date.parse(text) : Number.NaN
  if (!Number.isNaN(at)) return at
  throw new InvalidArgumentError('an instant such as 2026-12-24 or 2026-12-24T17:00:00Z is needed.')
}
