import type { Command } from 'commander'
import type { Breaker, StopScope, StopSummary, Stop as WireStop } from '../contract/stops.js'
import { asFlag, oneOf, online, type ServerContext, span, wholeNumber } from './command.js'
import { EXIT, type Exit, usage } from './exit.js'
import { moreLine } from './render.js'
import { duration, fields, instant, type Pair, type Terminal, table } from './terminal.js'

const SCOPES = ['tenant', 'team', 'agent', 'topic', 'all'] as const
type Scope = (typeof SCOPES)[number]

interface StopFlags {
  reason: string
  wait?: number
}

/** `sallyport stop agent agent:x --reason …`; `sallyport stop all`. */
export function registerStop(program: Command): void {
  const stop = program
    .command('stop')
    .description('stop work at once, on every node; exit 3 where not every node and lease has confirmed')
    .argument('<what>', `${SCOPES.join(', ')}; all is every tenant`, oneOf(...SCOPES))
    .argument('[name]', 'team, agent or topic pattern')
    .requiredOption('--reason <text>', 'why; everyone who is refused reads it')
    .option('--wait <time>', 'how long to wait for confirmation, 5s unless said, 30s at most', span)
  online<StopFlags, [Scope, string | undefined]>(stop, 'admin', async ({ client, terminal }, flags, what, name) => {
    const wait_ms = flags.wait
    const raised = await client.stops.raise({
      scope: scopeOf(what, name),
      reason: flags.reason,
      ...(wait_ms === undefined ? {} : { wait_ms }),
    })
    terminal.show(raised, () => stopText(raised, terminal))
    return raised.state === 'confirmed' ? EXIT.done : EXIT.notChecked
  })
}

export function registerStops(program: Command): void {
  const stops = program.command('stops').description('what is stopped, and what came of it')
  const list = stops
    .command('list')
    .description('stops, newest first')
    .option('--active', 'only those that have not ended')
    .option('--limit <n>', 'at most', wholeNumber(1, 500))
    .option('--cursor <cursor>', 'the page that the one before named')
  online<{ active?: boolean; limit?: number; cursor?: string }, []>(
    list,
    'admin',
    async ({ client, terminal }, flags) => {
      const { active, limit, cursor } = flags
      const page = await client.stops.list({
        ...(active === undefined ? {} : { active }),
        ...(limit === undefined ? {} : { limit }),
        ...(cursor === undefined ? {} : { cursor }),
      })
      terminal.show(page, () => (page.items.length === 0 ? 'nothing is stopped' : stopTable(page.items, terminal)))
      const more = moreLine(page.next_cursor)
      if (more !== null) terminal.note(more)
    },
  )
  const show = stops.command('show').description('nodes, leases and open effects of one').argument('<stop>', 'its id')
  online<object, [string]>(show, 'admin', async ({ client, terminal }, _flags, id) => {
    const stop = await client.stops.get(id)
    terminal.show(stop, () => stopText(stop, terminal))
  })
}

interface ResumeFlags {
  stage: 'trial' | 'full'
  note: string
  for?: number
  limit?: number
}

export function registerResume(program: Command): void {
  const resume = program
    .command('resume')
    .description('ask for the next stage of a stop, or carry out what another person asked for')
    .argument('<stop>', 'its id')
    .requiredOption('--stage <stage>', 'trial, and after it full', oneOf('trial', 'full'))
    .requiredOption('--note <text>', 'what you looked at; kept in the audit log')
    .option('--for <time>', 'how long the trial lasts at least, 10m unless said', span)
    .option('--limit <n>', 'jobs a minute that the trial lets through, 10 unless said', wholeNumber(1, 10_000))
  online<ResumeFlags, [string]>(resume, 'admin', resumeOne)
}

async function resumeOne({ client, terminal }: ServerContext, flags: ResumeFlags, id: string): Promise<Exit> {
  const { stage, note, limit } = flags
  const stop = await client.stops.resume(id, {
    stage,
    note,
    ...(flags.for === undefined ? {} : { trial_ms: flags.for }),
    ...(limit === undefined ? {} : { trial_limit: limit }),
  })
  terminal.show(stop, () => {
    if (stop.resume === null) return stopText(stop, terminal)
    return `asked for ${wanted(stop.resume)}; another person does it: sallyport resume ${id} --stage ${stage}${said(stop.resume)} --note "…"`
  })
  return EXIT.done
}

type Wanted = NonNullable<StopSummary['resume']>
/** What the server takes where nothing is said. */
const DEFAULTS = { trial_ms: 600_000, trial_limit: 10 }

/** All that the second has to say too: another trial is another request. */
function said({ stage, trial_ms, trial_limit }: Wanted): string {
  if (stage !== 'trial') return ''
  return ` --for ${asFlag(trial_ms ?? DEFAULTS.trial_ms)} --limit ${trial_limit ?? DEFAULTS.trial_limit}`
}

function wanted({ stage, trial_ms, trial_limit }: Wanted): string {
  if (stage !== 'trial') return 'the end'
  const time = duration(trial_ms ?? DEFAULTS.trial_ms)
  return `a trial of ${time} with ${trial_limit ?? DEFAULTS.trial_limit} jobs a minute`
}

export function registerBreakers(program: Command): void {
  const breakers = program.command('breakers').description('agents that were taken out after failures')
  const list = breakers.command('list').description('breakers that opened at some time')
  online<object, []>(list, 'admin', async ({ client, terminal }) => {
    const page = await client.breakers.list()
    terminal.show(page, () => (page.items.length === 0 ? 'none ever opened' : breakerTable(page.items, terminal)))
  })
  const close = breakers.command('close').description('take an agent back now').argument('<agent>', 'its name')
  online<object, [string]>(close, 'admin', async ({ client, terminal }, _flags, agent) => {
    const breaker = await client.breakers.close(agent)
    terminal.show(breaker, () => breakerTable([breaker], terminal))
  })
}

function scopeOf(what: Scope, name: string | undefined): StopScope {
  const isNamed = what === 'team' || what === 'agent' || what === 'topic'
  if (isNamed && name === undefined) throw usage(`which ${what}? sallyport stop ${what} <name>`)
  if (!isNamed && name !== undefined) throw usage(`${what} takes no name`)
  if (what === 'team') return { team: name as string }
  if (what === 'agent') return { agent: name as string }
  if (what === 'topic') return { topic: name as string }
  return what === 'tenant' ? { tenant: true } : { everything: true }
}

function scopeText(scope: StopScope): string {
  const [[what = '', name]] = Object.entries(scope) as [[string, string | true]]
  return name === true ? (what === 'everything' ? 'all' : what) : `${what} ${name}`
}

function stopTable(stops: readonly StopSummary[], terminal: Terminal): string {
  return table(
    stops,
    [
      { title: 'STOP', of: ({ stop_id }) => stop_id, whole: true },
      { title: 'WHAT', of: ({ scope }) => scopeText(scope) },
      { title: 'STAGE', of: ({ stage, ended_at }) => (ended_at === null ? stage : 'ended') },
      { title: 'BY', of: ({ raised_by }) => raised_by },
      { title: 'SINCE', of: ({ raised_at }) => instant(raised_at) },
      { title: 'REASON', of: ({ reason }) => reason },
    ],
    terminal,
  )
}

/** Nothing is called done that is not: an open effect stands last and by itself, whatever the leases say. */
function stopText(stop: WireStop, { color }: Terminal): string {
  const { nodes, leases, open_effects, open_effects_total } = stop
  const isConfirmed = stop.state === 'confirmed'
  const after = (ms: number | null) => (ms === null ? 'not yet' : `after ${duration(ms)}`)
  const missing = nodes.filter(({ confirmed_ms }) => confirmed_ms === null)
  const silent = missing.map(
    ({ node, silent_ms }) => `${node}, ${silent_ms === null ? 'gone' : `silent for ${duration(silent_ms)}`}`,
  )
  const pairs: Pair[] = [
    ['stop', stop.stop_id],
    ['what', scopeText(stop.scope)],
    ['look', stop.warning, color.yellow],
    ['reason', stop.reason],
    ['raised', `${instant(stop.raised_at)} by ${stop.raised_by}`],
    ['stage', stop.ended_at === null ? stop.stage : 'ended'],
    ['trial until', stop.stage === 'trial' ? instant(stop.trial_until) : null],
    ['asked for', stop.resume === null ? null : `${wanted(stop.resume)} by ${stop.resume.by}: ${stop.resume.note}`],
    [
      'state',
      isConfirmed ? `confirmed ${after(stop.confirmed_ms)}` : 'unconfirmed',
      isConfirmed ? color.green : color.yellow,
    ],
    ['refused', after(stop.refused_ms)],
    ['nodes', `${nodes.length - missing.length} of ${nodes.length}`],
    ['not heard', silent.join('\n'), color.yellow],
    [
      'leases',
      `${leases.ended} of ${leases.total} ended${leases.ended_ms === null ? '' : ` ${after(leases.ended_ms)}`}`,
    ],
    [
      'effects',
      open_effects_total === 0 ? 'none open' : `${open_effects_total} open`,
      open_effects_total === 0 ? color.green : color.red,
    ],
    ...open_effects.map(
      ({ job_id, effect_key, agent, topic, job_status }): Pair => [
        '',
        `${job_id} ${effect_key} (${agent}, ${topic}, ${job_status})`,
      ],
    ),
  ]
  return fields(pairs, color)
}

function breakerTable(breakers: readonly Breaker[], terminal: Terminal): string {
  return table(
    breakers,
    [
      { title: 'AGENT', of: ({ agent }) => agent, whole: true },
      { title: 'STATE', of: ({ state }) => state },
      { title: 'FAILURES', of: ({ failures }) => failures },
      { title: 'OPENED', of: ({ opened_at }) => instant(opened_at) },
      { title: 'TRIED AGAIN', of: ({ state, retry_at }) => (state === 'open' ? instant(retry_at) : null) },
      { title: 'REASON', of: ({ reason }) => reason },
    ],
    terminal,
  )
}
