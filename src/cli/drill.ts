import type { Command } from 'commander'
import type { Drill } from '../contract/drills.js'
import { DRILL_NAMES, DRILLS, type DrillName } from '../core/drill.js'
import { asFlag, oneOf, online, type ServerContext, span } from './command.js'
import type { Part } from './connection.js'
import { workerCrash } from './drill-crash.js'
import { approval, deny } from './drill-doors.js'
import { incidentReplay } from './drill-incident.js'
import { restore } from './drill-restore.js'
import { rollback } from './drill-rollback.js'
import { type DrillFlags, type Ended, type Player, playDrill, runDrill } from './drill-steps.js'
import { stop } from './drill-stop.js'
import { EXIT, type Exit } from './exit.js'
import { withJobFlags } from './job-flags.js'
import { duration, instant, type Terminal, table } from './terminal.js'

const PLAYERS: Record<DrillName, Player> = {
  deny,
  approval,
  'worker-crash': workerCrash,
  rollback,
  'incident-replay': incidentReplay,
  stop,
  restore,
}

/** Drills ask a running server to prove its promises with real requests, clean up behind themselves, and tell it how they went. */
export function registerDrill(program: Command): void {
  const drill = program.command('drill').description('prove on a running server that the controls hold')

  const run = drill
    .command('run')
    .description('play one and record how it went; exit 1 where it failed')
    .argument('<name>', DRILL_NAMES.join(', '), oneOf(...DRILL_NAMES))
  online<DrillFlags, [DrillName]>(withDrillFlags(run), 'admin', (context, flags, name) =>
    runDrill(name, context, flags, PLAYERS[name]),
  )

  const list = drill.command('list').description('the seven: who answers for each, and what the newest run came to')
  online<object, []>(list, 'admin', async ({ client, terminal }) => {
    const drills = await client.drills.list()
    terminal.show(drills, () => drillTable(drills.items, terminal))
  })

  const due = drill
    .command('due')
    .description('play what somebody answers for and is due; for cron. Exit 1 where one failed')
  online<DrillFlags, []>(withDrillFlags(due), 'admin', runDue)

  const schedule = drill
    .command('schedule')
    .description('say who answers for one, and how often it is to be run')
    .argument('<name>', DRILL_NAMES.join(', '), oneOf(...DRILL_NAMES))
    .requiredOption('--owner <name>', 'a person, team or duty')
    .option('--every <time>', 'as often as usual unless said, or more often; never less', span)
  online<{ owner: string; every?: number }, [DrillName]>(schedule, 'admin', async (context, { owner, every }, name) => {
    const { client, terminal } = context
    const set = await client.drills.schedule(name, { owner, ...(every === undefined ? {} : { every_ms: every }) })
    terminal.show(set, () => drillTable([set], terminal))
  })

  for (const name of ['deny', 'approval', 'worker-crash'] as const) {
    const alone = drill.command(name).description(`the same as \`drill run ${name}\``)
    online<DrillFlags, []>(withDrillFlags(alone), 'admin', (context, flags) =>
      runDrill(name, context, flags, PLAYERS[name]),
    )
  }
}

const PARTS: Part[] = ['agent', 'approver', 'worker']

function withDrillFlags(command: Command): Command {
  for (const part of PARTS)
    command.option(`--${part}-key-file <file>`, `key of the ${part} (else keys/${part}.key in the data directory)`)
  return withJobFlags(command)
    .option('--no-record', 'tell the server nothing of it')
    .option('--within <time>', 'how long a step may take that others have to take', span)
    .option('--first-key-file <file>', 'stop: who asks to resume (else the key of the command)')
    .option('--second-key-file <file>', 'stop: who carries it out (else somebody has to, meanwhile)')
    .option('--run <run>', 'incident-replay: which run (else the newest with an approval or an effect)')
    .option('--out <file>', 'incident-replay: where the postmortem goes')
    .option('--data-dir <dir>', 'restore: of the server, where the engine is embedded; also where keys are')
    .option('--database <url>', 'restore: of the server, where it is on Postgres (else SALLYPORT_DATABASE_URL)')
    .option('--scratch <url>', 'restore: an empty database to restore into (else one is made and dropped)')
    .option('--backup <path>', 'restore: a backup that is there, a folder or a dump (else one is made)')
    .option('--signing-key <file>', 'restore: on Postgres (else SALLYPORT_SIGNING_KEY)')
}

async function runDue(context: ServerContext, flags: DrillFlags): Promise<Exit> {
  const { client, terminal } = context
  const now = Date.now()
  const due = (await client.drills.list()).items.filter(({ owner, due_at }) => owner !== null && (due_at ?? now) <= now)
  const ended: Ended[] = []
  for (const { drill } of due) {
    terminal.line(terminal.color.bold(`${drill}: ${DRILLS[drill].title}`))
    ended.push(await playDrill(drill, context, flags, PLAYERS[drill]))
  }
  const ok = ended.every((each) => each.ok)
  const words = ended.map((each) => `${each.drill} ${each.ok ? 'passed' : 'failed'}`)
  terminal.show({ ok, drills: ended }, () => words.join(', ') || 'nothing is due')
  return ok ? EXIT.done : EXIT.no
}

function drillTable(drills: readonly Drill[], terminal: Terminal): string {
  const { color } = terminal
  return table(
    drills,
    [
      { title: 'DRILL', of: ({ drill }) => drill, whole: true },
      { title: 'OWNER', of: ({ owner }) => owner },
      { title: 'EVERY', of: ({ every_ms }) => asFlag(every_ms) },
      {
        title: 'RESULT',
        of: ({ newest, stands }) =>
          newest === null ? null : newest.outcome === 'passed' && !stands ? 'expired' : newest.outcome,
        paint: (text) => (text.trim() === 'passed' ? color.green(text) : color.red(text)),
      },
      { title: 'RUN', of: ({ newest }) => (newest === null ? null : instant(newest.at)) },
      {
        title: 'GOOD UNTIL',
        of: ({ newest, stands }) => (newest === null || !stands ? null : instant(newest.valid_until)),
      },
      { title: 'DUE', of: ({ due_at }) => instant(due_at) },
      { title: 'TIMES', of: ({ newest }) => timesOf(newest) },
    ],
    terminal,
  )
}

const timesOf = (newest: Drill['newest']) =>
  Object.entries(newest?.figures ?? {})
    .map(([name, ms]) => `${name.replace('_ms', '')} ${duration(ms)}`)
    .join(', ') || null
