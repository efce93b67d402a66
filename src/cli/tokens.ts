import type { Command } from 'commander'
import type { CreateToken } from '../contract/tokens.js'
import { online, type ServerContext, wholeNumber, words } from './command.js'
import { EXIT, type Exit } from './exit.js'
import { newFile } from './keys.js'
import { fields, instant } from './terminal.js'

interface CreateFlags {
  minutes: number
  topics?: string[]
  run?: string
  permissions?: string[]
  out?: string
}

export function registerTokens(program: Command): void {
  const tokens = program.command('tokens').description('short-lived rights, minted from a key for something narrower')
  const create = tokens
    .command('create')
    .description('a token of the key you have, shown once')
    .option('--minutes <n>', 'how long it lasts, 1 to 60', wholeNumber(1, 60), 15)
    .option('--topics <list>', 'only these topics of those the key has', words)
    .option('--run <id>', 'it submits into this run only')
    .option('--permissions <list>', 'only these of what the key may', words)
    .option('--out <file>', 'write the token there (0600, never over a file) and do not show it')
  online<CreateFlags, []>(create, 'agent', createToken)
}

async function createToken({ client, terminal }: ServerContext, flags: CreateFlags): Promise<Exit> {
  const { minutes, topics, run, permissions, out } = flags
  const body: CreateToken = {
    minutes,
    ...(topics === undefined ? {} : { topics }),
    ...(run === undefined ? {} : { run_id: run }),
    ...(permissions === undefined ? {} : { permissions }),
  }
  // A token nobody got is over in minutes: unlike a key it may be made before the file is.
  const { token, ...about } = await client.tokens.create(body)
  if (out !== undefined) {
    const file = await newFile(out)
    await file.writeFile(`${token}\n`).finally(() => file.close())
  }
  const shown = out === undefined ? { ...about, token } : { ...about, token_file: out }
  const { color } = terminal
  terminal.show(shown, () =>
    fields(
      [
        ['token id', about.jti],
        ['of key', about.key_id],
        ['topics', about.topics?.join(', ')],
        ['run', about.run_id],
        ['permissions', about.permissions?.join(', ')],
        ['expires', instant(about.expires_at)],
        ['token', out === undefined ? `${token}\nshown this once` : null, color.bold],
        ['token file', out],
      ],
      color,
    ),
  )
  return EXIT.done
}
