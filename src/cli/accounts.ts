import type { Command } from 'commander'
import { online, type ServerContext } from './command.js'
import { EXIT, type Exit } from './exit.js'
import { fields, instant, printable } from './terminal.js'

/** How people sign on where no provider is configured; `close` also forgets a provider's. */
export function registerAccounts(program: Command): void {
  const accounts = program.command('accounts').description('how people sign on')
  const invite = accounts
    .command('invite')
    .description('a one-time link with which a person chooses a password; good for 24 hours')
    .argument('<principal>', 'who, e.g. person:ada')
  online<object, [string]>(invite, 'admin', invitePerson)

  const close = accounts
    .command('close')
    .description('forget how a person signs on, and end what is open; the person stays')
    .argument('<principal>', 'who')
  online<object, [string]>(close, 'admin', async ({ client, terminal }, _flags, name) => {
    const closed = await client.accounts.close(name)
    terminal.show(closed, () => `closed  ${printable(closed.principal)}`)
  })
}

async function invitePerson({ client, terminal, url }: ServerContext, _flags: object, name: string): Promise<Exit> {
  const invited = await client.accounts.invite(name)
  // A server that was not told its own address answers a path.
  const link = new URL(invited.link, url).href
  terminal.show({ ...invited, link }, () =>
    fields(
      [
        ['for', invited.principal],
        ['link', `${link}\nshown this once; whoever has it chooses the password`, terminal.color.bold],
        ['good until', instant(invited.expires_at)],
      ],
      terminal.color,
    ),
  )
  return EXIT.done
}
