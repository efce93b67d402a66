import type { Command } from 'commander'
import type { DeadLetter } from '../contract/dead-letters.js'
import { online, wholeNumber } from './command.js'
import { jobText, moreLine } from './render.js'
import { instant, type Terminal, table } from './terminal.js'

export function registerDlq(program: Command): void {
  const dlq = program.command('dlq').description('dead letters: jobs that failed for good and have an owner')

  const list = dlq
    .command('list')
    .description('dead letters')
    .option('--limit <n>', 'at most', wholeNumber(1, 500))
    .option('--cursor <cursor>', 'the page that the one before named')
  online<{ limit?: number; cursor?: string }, []>(list, 'admin', async ({ client, terminal }, { limit, cursor }) => {
    const page = await client.deadLetters.list({
      ...(limit === undefined ? {} : { limit }),
      ...(cursor === undefined ? {} : { cursor }),
    })
    terminal.show(page, () => (page.items.length === 0 ? 'no dead letters' : deadLetterTable(page.items, terminal)))
    const more = moreLine(page.next_cursor)
    if (more !== null) terminal.note(more)
  })

  const replay = dlq
    .command('replay')
    .description('new attempts through both doors; effects that happened stay done')
    .argument('<job>', 'its id')
    .option('--note <text>', 'kept in the audit log')
  online<{ note?: string }, [string]>(replay, 'admin', async ({ client, terminal }, { note }, id) => {
    const job = await client.deadLetters.replay(id, note)
    terminal.show(job, () => jobText(job, terminal))
  })

  const discard = dlq
    .command('discard')
    .description('give it up for good')
    .argument('<job>', 'its id')
    .requiredOption('--reason <text>', 'why; kept in the audit log')
  online<{ reason: string }, [string]>(discard, 'admin', async ({ client, terminal }, { reason }, id) => {
    const job = await client.deadLetters.discard(id, reason)
    terminal.show(job, () => jobText(job, terminal))
  })
}

function deadLetterTable(letters: readonly DeadLetter[], terminal: Terminal): string {
  return table(
    letters,
    [
      { title: 'JOB', of: (letter) => letter.job_id, whole: true },
      { title: 'TOPIC', of: (letter) => letter.topic },
      { title: 'OWNER', of: (letter) => letter.owner },
      {
        title: 'RESPOND BY',
        of: (letter) => instant(letter.respond_by),
        paint: (text, letter) => (letter.overdue ? terminal.color.red(text) : text),
      },
      { title: 'DIED', of: (letter) => instant(letter.dead_at) },
      { title: 'TRIES', of: (letter) => letter.attempt, right: true },
      { title: 'ERROR', of: ({ error }) => (error === null ? null : `${error.code}: ${error.message}`) },
    ],
    terminal,
  )
}
