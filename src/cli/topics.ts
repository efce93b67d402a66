import type { Command } from 'commander'
import type { TopicState, TopicStates } from '../contract/metrics.js'
import { online } from './command.js'
import { duration, type Terminal, table } from './terminal.js'

/** `sallyport topics list`: which queue waits for whom. */
export function registerTopics(program: Command): void {
  const topics = program.command('topics').description('due work and waiting workers, by topic')
  const list = topics.command('list').description('topics with due work, or with workers that wait for some')
  online<object, []>(list, 'admin', async ({ client, terminal }) => {
    const found = await client.request<TopicStates>('GET', '/api/v1/topics')
    terminal.show(found, () =>
      found.items.length === 0 ? 'nothing is due, nobody waits' : topicTable(found.items, terminal),
    )
    if (found.more) terminal.note('More topics have work than were looked at: the first 200 by name.')
  })
}

function topicTable(topics: readonly TopicState[], terminal: Terminal): string {
  return table(
    topics,
    [
      { title: 'TOPIC', of: ({ topic }) => topic, whole: true },
      {
        title: 'DUE',
        of: ({ depth, bounded }) => (bounded ? `${depth} or more` : depth),
        right: true,
        // The sign of a lost worker: work is due and nobody waits for it.
        paint: (text, { depth, waiting_workers }) =>
          depth > 0 && waiting_workers === 0 ? terminal.color.red(text) : text,
      },
      { title: 'OLDEST', of: ({ depth, oldest_ms }) => (depth === 0 ? null : duration(oldest_ms)), right: true },
      { title: 'WORKERS WAITING', of: ({ waiting_workers }) => waiting_workers, right: true },
    ],
    terminal,
  )
}
