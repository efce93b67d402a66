import { open, rm } from 'node:fs/promises'
import type { Command } from 'commander'
import type { CreateKey, Key } from '../contract/keys.js'
import { ROLES } from '../core/access.js'
import { collect, oneOf, online, type ServerContext, span, wholeNumber, words } from './command.js'
import { EXIT, type Exit, usage } from './exit.js'
import { moreLine } from './render.js'
import { fields, instant, type Terminal, table } from './terminal.js'

interface CreateFlags {
  role: keyof typeof ROLES
  principal?: string
  team?: string
  topics?: string[]
  actAs?: string[]
  expiresIn?: number
  note?: string
  out?: string
}

export function registerKeys(program: Command): void {
  const keys = program.command('keys').description('who may do what')

  const create = keys
    .command('create')
    .description('a new key, shown once')
    .requiredOption(
      '--role <role>',
      Object.keys(ROLES).join(', '),
      oneOf(...(Object.keys(ROLES) as (keyof typeof ROLES)[])),
    )
    .option('--principal <name>', 'whose it is, e.g. agent:support-bot')
    .option('--team <name>', 'of which team')
    .option('--topics <list>', 'only these topics; * is one segment, > the rest', words)
    .option('--act-as <agent...>', 'agents it may submit as', collect)
    .option('--expires-in <time>', 'e.g. 90d', span)
    .option('--note <text>', 'what it is for')
    .option('--out <file>', 'write the key there (0600, never over a file) and do not show it')
  online<CreateFlags, []>(create, 'admin', createKey)

  const list = keys
    .command('list')
    .description('keys, without their secrets')
    .option('--limit <n>', 'at most', wholeNumber(1, 500))
    .option('--cursor <cursor>', 'the page that the one before named')
  online<{ limit?: number; cursor?: string }, []>(list, 'admin', async ({ client, terminal }, { limit, cursor }) => {
    const page = await client.keys.list({
      ...(limit === undefined ? {} : { limit }),
      ...(cursor === undefined ? {} : { cursor }),
    })
    terminal.show(page, () => keyTable(page.items, terminal))
    const more = moreLine(page.next_cursor)
    if (more !== null) terminal.note(more)
  })

  const revoke = keys.command('revoke').description('end a key, at once').argument('<key-id>', 'its id, not the key')
  online<object, [string]>(revoke, 'admin', async ({ client, terminal }, _flags, id) => {
    // Whoever pastes the key itself has it in the shell's history; it must not go into an address and a server's log as well.
    if (id.startsWith('sp_')) throw usage('That looks like a key, not like its id', 'See `sallyport keys list`.')
    await client.keys.revoke(id)
    terminal.show({ key_id: id, revoked: true }, () => `revoked  ${id}`)
  })
}

async function createKey({ client, terminal }: ServerContext, flags: CreateFlags): Promise<Exit> {
  const { role, principal, team, topics, actAs, expiresIn, note, out } = flags
  const body: CreateKey = {
    role,
    ...(principal === undefined ? {} : { principal }),
    ...(team === undefined ? {} : { team }),
    ...(topics === undefined ? {} : { topics }),
    ...(actAs === undefined ? {} : { act_as: actAs }),
    ...(expiresIn === undefined ? {} : { expires_at: Date.now() + expiresIn }),
    ...(note === undefined ? {} : { note }),
  }
  // Opened first: a key that was made and cannot be kept would be lost.
  const file = out === undefined ? null : await newFile(out)
  try {
    const { key, ...about } = await client.keys.create(body).catch(async (error: unknown) => {
      if (out !== undefined) await rm(out, { force: true })
      throw error
    })
    await file?.writeFile(`${key}\n`)
    const shown = file === null ? { ...about, key } : { ...about, key_file: out }
    terminal.show(shown, () => keyText(about, file === null ? key : null, out ?? null, terminal))
    return EXIT.done
  } finally {
    await file?.close()
  }
}

async function newFile(path: string) {
  return await open(path, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    throw usage(
      error.code === 'EEXIST' ? `--out: ${path} is there already` : `--out: ${path} cannot be written (${error.code})`,
    )
  })
}

function keyText(about: Key, key: string | null, file: string | null, { color }: Terminal): string {
  return fields(
    [
      ['key id', about.key_id],
      ['role', about.role],
      ['principal', about.principal],
      ['team', about.team],
      ['topics', about.topics?.join(', ')],
      ['may act as', about.act_as.join(', ')],
      ['expires', instant(about.expires_at)],
      ['key', key === null ? null : `${key}\nshown this once`, color.bold],
      ['key file', file],
    ],
    color,
  )
}

function keyTable(keys: readonly Key[], terminal: Terminal): string {
  const state = ({ revoked_at, expires_at }: Key) =>
    revoked_at !== null ? 'revoked' : expires_at !== null && expires_at <= Date.now() ? 'expired' : 'active'
  return table(
    keys,
    [
      { title: 'KEY ID', of: (key) => key.key_id, whole: true },
      {
        title: 'STATE',
        of: state,
        paint: (text, key) => (state(key) === 'active' ? terminal.color.green(text) : terminal.color.dim(text)),
      },
      { title: 'ROLE', of: (key) => key.role },
      { title: 'PRINCIPAL', of: (key) => key.principal },
      { title: 'TEAM', of: (key) => key.team },
      { title: 'TOPICS', of: (key) => key.topics?.join(', ') ?? null },
      { title: 'CREATED', of: (key) => instant(key.created_at) },
      { title: 'EXPIRES', of: (key) => instant(key.expires_at) },
    ],
    terminal,
  )
}
