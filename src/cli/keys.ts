import { open, rm } from 'node:fs/promises'
import type { Command } from 'commander'
import type { CreatedKey, CreateKey, Key, KeyQuery } from '../contract/keys.js'
import { ROLES } from '../core/access.js'
import { endOf } from '../core/key.js'
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
  permissions?: string[]
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
    .option('--permissions <list>', 'only these of what the role may, e.g. jobs:submit', words)
    .option('--expires-in <time>', 'e.g. 90d', span)
    .option('--note <text>', 'what it is for')
    .option('--out <file>', 'write the key there (0600, never over a file) and do not show it')
  online<CreateFlags, []>(create, 'admin', createKey)

  const list = keys
    .command('list')
    .description('keys, without their secrets')
    .option('--due', 'only those that near 90 days, are past them or expire within a week')
    .option('--sessions', 'sessions of people instead, which a sign-on made')
    .option('--limit <n>', 'at most', wholeNumber(1, 500))
    .option('--cursor <cursor>', 'the page that the one before named')
  online<KeyQuery, []>(list, 'admin', async ({ client, terminal }, { due, sessions, limit, cursor }) => {
    const page = await client.keys.list({
      ...(due === undefined ? {} : { due }),
      ...(sessions === undefined ? {} : { sessions }),
      ...(limit === undefined ? {} : { limit }),
      ...(cursor === undefined ? {} : { cursor }),
    })
    terminal.show(page, () => keyTable(page.items, terminal))
    const more = moreLine(page.next_cursor)
    if (more !== null) terminal.note(more)
  })

  const rotate = keys
    .command('rotate')
    .description('a new key in place of this one; both open until the overlap is over')
    .argument('<key-id>', 'its id, not the key')
    .option('--overlap <time>', 'how long the old one still opens, 1m to 30d (24h)', span)
    .option('--out <file>', 'write the key there (0600, never over a file) and do not show it')
  online<{ overlap?: number; out?: string }, [string]>(rotate, 'admin', rotateKey)

  const revoke = keys.command('revoke').description('end a key, at once').argument('<key-id>', 'its id, not the key')
  online<object, [string]>(revoke, 'admin', async ({ client, terminal }, _flags, id) => {
    await client.keys.revoke(keyId(id))
    terminal.show({ key_id: id, revoked: true }, () => `revoked  ${id}`)
  })
}

/** Whoever pastes the key itself has it in the shell's history; it must not go into an address and a server's log as well. */
function keyId(text: string): string {
  if (text.startsWith('sp_')) throw usage('That looks like a key, not like its id', 'See `sallyport keys list`.')
  return text
}

async function createKey({ client, terminal }: ServerContext, flags: CreateFlags): Promise<Exit> {
  const { role, principal, team, topics, actAs, permissions, expiresIn, note, out } = flags
  const body: CreateKey = {
    role,
    ...(principal === undefined ? {} : { principal }),
    ...(team === undefined ? {} : { team }),
    ...(topics === undefined ? {} : { topics }),
    ...(actAs === undefined ? {} : { act_as: actAs }),
    ...(permissions === undefined ? {} : { permissions }),
    ...(expiresIn === undefined ? {} : { expires_at: Date.now() + expiresIn }),
    ...(note === undefined ? {} : { note }),
  }
  await handOut(out, terminal, () => client.keys.create(body))
  return EXIT.done
}

async function rotateKey(
  { client, terminal }: ServerContext,
  { overlap, out }: { overlap?: number; out?: string },
  id: string,
): Promise<Exit> {
  const old = keyId(id)
  const { rotates } = await handOut(out, terminal, () =>
    client.keys.rotate(old, overlap === undefined ? {} : { overlap }),
  )
  terminal.note(`${old} opens until ${instant(rotates.expires_at)}`)
  return EXIT.done
}

/** Shows the key this once, or puts it into a file that is new. */
async function handOut<Made extends CreatedKey>(
  out: string | undefined,
  terminal: Terminal,
  make: () => Promise<Made>,
): Promise<Made> {
  // Opened first: a key that was made and cannot be kept would be lost.
  const file = out === undefined ? null : await newFile(out)
  try {
    const made = await make().catch(async (error: unknown) => {
      if (out !== undefined) await rm(out, { force: true })
      throw error
    })
    const { key, ...about } = made
    await file?.writeFile(`${key}\n`)
    const shown = file === null ? { ...about, key } : { ...about, key_file: out }
    terminal.show(shown, () => keyText(about, file === null ? key : null, out ?? null, terminal))
    return made
  } finally {
    await file?.close()
  }
}

export async function newFile(path: string) {
  return await open(path, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    throw usage(
      error.code === 'EEXIST' ? `--out: ${path} is there already` : `--out: ${path} cannot be written (${error.code})`,
    )
  })
}

function keyText(about: Omit<CreatedKey, 'key'>, key: string | null, file: string | null, { color }: Terminal): string {
  return fields(
    [
      ['key id', about.key_id],
      ['role', about.role],
      ['principal', about.principal],
      ['team', about.team],
      ['topics', about.topics?.join(', ')],
      ['may act as', about.act_as.join(', ')],
      ['permissions', about.permissions?.join(', ')],
      ['expires', instant(about.expires_at)],
      ['key', key === null ? null : `${key}\nshown this once`, color.bold],
      ['key file', file],
    ],
    color,
  )
}

function keyTable(keys: readonly Key[], terminal: Terminal): string {
  const state = (key: Key) => endOf(key, Date.now()) ?? 'active'
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
      { title: 'LAST USED', of: (key) => instant(key.last_used_at) },
      { title: 'EXPIRES', of: (key) => instant(key.expires_at) },
      { title: 'DUE', of: (key) => key.due.join(', '), paint: (text) => terminal.color.yellow(text) },
    ],
    terminal,
  )
}
