import type { Command } from 'commander'
import type { Channel, Delivery, DeliveryQuery } from '../contract/channels.js'
import { oneOf, online, wholeNumber } from './command.js'
import { EXIT, type Exit } from './exit.js'
import { moreLine } from './render.js'
import { instant, printable, type Terminal, table } from './terminal.js'

/** Who is told of what, and whether it works. */
export function registerChannels(program: Command): void {
  const channels = program
    .command('channels')
    .description('who is told of what, by e-mail, webhook, Slack or PagerDuty')
  const list = channels.command('list').description('which there are and how they fare')
  online<object, []>(list, 'admin', async ({ client, terminal }) => {
    const page = await client.channels.list()
    terminal.show(page, () => (page.items.length === 0 ? 'no channels' : channelTable(page.items, terminal)))
  })
  const test = channels
    .command('test')
    .description('send one message about nothing; exit 1 where it does not get through')
    .argument('<channel>', 'its name')
  online<object, [string]>(test, 'admin', async ({ client, terminal }, _flags, name): Promise<Exit> => {
    const result = await client.channels.test(name)
    terminal.show(result, () => (result.ok ? `${printable(name)} took it` : `not sent: ${printable(result.why ?? '')}`))
    return result.ok ? EXIT.done : EXIT.no
  })
}

/** The messages themselves. */
export function registerDeliveries(program: Command): void {
  const deliveries = program.command('deliveries').description('messages to channels')
  const list = deliveries
    .command('list')
    .description('messages, newest first')
    .option('--status <status>', 'pending, sent, dead or dropped', oneOf('pending', 'sent', 'dead', 'dropped'))
    .option('--channel <name>', 'only of this channel')
    .option('--limit <n>', 'at most', wholeNumber(1, 500))
    .option('--cursor <cursor>', 'the page that the one before named')
  online<DeliveryQuery, []>(list, 'admin', async ({ client, terminal }, { status, channel, limit, cursor }) => {
    const page = await client.deliveries.list({
      ...(status === undefined ? {} : { status }),
      ...(channel === undefined ? {} : { channel }),
      ...(limit === undefined ? {} : { limit }),
      ...(cursor === undefined ? {} : { cursor }),
    })
    terminal.show(page, () => (page.items.length === 0 ? 'no deliveries' : deliveryTable(page.items, terminal)))
    const more = moreLine(page.next_cursor)
    if (more !== null) terminal.note(more)
  })
  const retry = deliveries
    .command('retry')
    .description('give a dead message another day')
    .argument('<delivery>', 'its id')
  online<object, [string]>(retry, 'admin', async ({ client, terminal }, _flags, id) => {
    const found = await client.deliveries.retry(id)
    terminal.show(found, () => `${found.status}  ${printable(found.delivery_id)}`)
  })
}

function channelTable(channels: readonly Channel[], terminal: Terminal): string {
  const { color } = terminal
  return table(
    channels,
    [
      { title: 'CHANNEL', of: ({ channel }) => channel, whole: true },
      { title: 'KIND', of: ({ kind }) => kind },
      {
        title: 'STATE',
        of: ({ health }) => health.status,
        paint: (text, { health }) => (health.status === 'ok' ? color.green(text) : color.red(text)),
      },
      { title: 'WAITING', of: ({ health }) => String(health.pending) },
      { title: 'DEAD', of: ({ health }) => String(health.dead) },
      { title: 'LAST SENT', of: ({ health }) => instant(health.last_sent_at) },
      { title: 'EVENTS', of: ({ events }) => events.join(', ') },
      { title: 'ERROR', of: ({ health }) => health.error },
    ],
    terminal,
  )
}

function deliveryTable(deliveries: readonly Delivery[], terminal: Terminal): string {
  const { color } = terminal
  return table(
    deliveries,
    [
      { title: 'DELIVERY', of: ({ delivery_id }) => delivery_id, whole: true },
      { title: 'CHANNEL', of: ({ channel }) => channel },
      { title: 'EVENT', of: ({ event }) => event },
      { title: 'TO', of: ({ recipient }) => recipient },
      {
        title: 'STATUS',
        of: ({ status }) => status,
        paint: (text, { status }) => (status === 'dead' ? color.red(text) : text),
      },
      { title: 'TRIES', of: ({ attempts }) => String(attempts) },
      { title: 'MADE', of: ({ created_at }) => instant(created_at) },
      { title: 'ERROR', of: ({ error }) => error },
    ],
    terminal,
  )
}
