import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import type { DirectoryChanges, DirectoryFile, Principal, Team } from '../contract/directory.js'
import { online, type ServerContext, wholeNumber } from './command.js'
import { CliError, EXIT, type Exit, usage } from './exit.js'
import { moreLine } from './render.js'
import { fields, instant, jsonLine, printable, type Terminal, table } from './terminal.js'

/** `apply` and `diff` of `sallyport.yaml`, and looks at who there is. */
export function registerApply(program: Command): void {
  const apply = program
    .command('apply')
    .description(
      'make teams and principals as a file says; whom an earlier file declared and this one leaves out is disabled',
    )
    .argument('[file]', 'the file', 'sallyport.yaml')
  online<object, [string]>(apply, 'admin', async ({ client, terminal }, _flags, path) => {
    const { changes, notes } = await client.directory.apply(await fileAt(path))
    const lines = () => (changes.length === 0 ? 'nothing to change' : changeLines(changes, terminal))
    terminal.show({ changes, notes }, lines)
    for (const note of notes) terminal.note(printable(note))
    return EXIT.done
  })
}

export function registerDiff(program: Command): void {
  const diff = program
    .command('diff')
    .description('what apply would change; exit 1 where there is something')
    .argument('[file]', 'the file', 'sallyport.yaml')
  online<object, [string]>(diff, 'admin', async ({ client, terminal }, _flags, path): Promise<Exit> => {
    const { changes, notes } = await client.directory.diff(await fileAt(path))
    terminal.show({ changes, notes }, () => (changes.length === 0 ? 'no difference' : changeLines(changes, terminal)))
    for (const note of notes) terminal.note(printable(note))
    return changes.length === 0 ? EXIT.done : EXIT.no
  })
}

export function registerPrincipals(program: Command): void {
  const principals = program.command('principals').description('people, agents, workers and services')
  const list = principals
    .command('list')
    .description('who there is')
    .option('--limit <n>', 'at most', wholeNumber(1, 500))
    .option('--cursor <cursor>', 'the page that the one before named')
  online<{ limit?: number; cursor?: string }, []>(list, 'admin', async ({ client, terminal }, { limit, cursor }) => {
    const page = await client.principals.list({
      ...(limit === undefined ? {} : { limit }),
      ...(cursor === undefined ? {} : { cursor }),
    })
    terminal.show(page, () => principalTable(page.items, terminal))
    const more = moreLine(page.next_cursor)
    if (more !== null) terminal.note(more)
  })
  const show = principals.command('show').description('one of them').argument('<principal>', 'its name')
  online<object, [string]>(show, 'admin', async ({ client, terminal }, _flags, name) => {
    const found = await client.principals.get(name)
    terminal.show(found, () => principalText(found, terminal))
  })
  const disable = principals
    .command('disable')
    .description('from now on no key of it opens anything')
    .argument('<principal>', 'its name')
  online<object, [string]>(disable, 'admin', disablePrincipal)
  const enable = principals
    .command('enable')
    .description('it may act again, whoever disabled it')
    .argument('<principal>', 'its name')
  online<object, [string]>(enable, 'admin', async ({ client, terminal }, _flags, name) => {
    const found = await client.principals.enable(name)
    terminal.show(found, () => `enabled  ${printable(found.principal)}`)
    return EXIT.done
  })
}

export function registerTeams(program: Command): void {
  const teams = program.command('teams').description('departments, their leads and who is on call')
  const list = teams.command('list').description('which there are')
  online<object, []>(list, 'admin', async ({ client, terminal }) => {
    const page = await client.teams.list()
    terminal.show(page, () => teamTable(page.items, terminal))
  })
}

async function disablePrincipal({ client, terminal }: ServerContext, _flags: object, name: string): Promise<Exit> {
  const found = await client.principals.disable(name)
  terminal.show(found, () => `disabled  ${printable(found.principal)}`)
  return EXIT.done
}

async function fileAt(path: string): Promise<DirectoryFile> {
  const text = await readFile(path === '-' ? '/dev/stdin' : path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') throw new CliError(EXIT.notFound, 'no_file', `There is no ${path}`)
    throw usage(`${path} cannot be read (${error.code})`)
  })
  return { path, text }
}

const SIGNS = { added: '+', enabled: '+', changed: '~', disabled: '-', removed: '-' } as const

function changeLines(changes: DirectoryChanges['changes'], { color }: Terminal): string {
  const paint = { '+': color.green, '~': color.yellow, '-': color.red }
  return changes
    .map(({ change, what, id, fields: changed }) => {
      const sign = SIGNS[change]
      const lines = changed.map(({ path, before, after }) => `    ${path}: ${jsonLine(before)} → ${jsonLine(after)}`)
      return [paint[sign](`${sign} ${what} ${printable(id)} ${change}`), ...lines].join('\n')
    })
    .join('\n')
}

function principalTable(principals: readonly Principal[], terminal: Terminal): string {
  return table(
    principals,
    [
      { title: 'PRINCIPAL', of: ({ principal }) => principal, whole: true },
      { title: 'KIND', of: ({ kind }) => kind },
      { title: 'ROLE', of: ({ role }) => role },
      { title: 'TEAM', of: ({ team }) => team },
      {
        title: 'STATE',
        of: ({ disabled_at }) => (disabled_at === null ? 'active' : 'disabled'),
        paint: (text) => (text === 'active' ? terminal.color.green(text) : terminal.color.dim(text)),
      },
    ],
    terminal,
  )
}

function principalText(found: Principal, { color }: Terminal): string {
  const terms = (found.terms ?? {}) as Record<string, unknown>
  const bounds = Object.entries(terms).filter(([, value]) => value !== null)
  return fields(
    [
      ['principal', found.principal],
      ['kind', found.kind],
      ['role', found.role],
      ['team', found.team],
      ['name', found.name],
      ['e-mail', found.email],
      ['slack', found.slack],
      ...bounds.map(([name, value]) => [name, typeof value === 'string' ? value : jsonLine(value)] as const),
      ['declared by', found.source],
      ['changed', `${instant(found.updated_at)} by ${found.updated_by}`],
      ['disabled', instant(found.disabled_at), color.red],
    ],
    color,
  )
}

function teamTable(teams: readonly Team[], terminal: Terminal): string {
  return table(
    teams,
    [
      { title: 'TEAM', of: ({ team }) => team, whole: true },
      { title: 'NAME', of: ({ name }) => name },
      { title: 'LEADS', of: ({ leads }) => leads.join(', ') },
      { title: 'ON CALL', of: ({ on_call }) => on_call.join(', ') },
    ],
    terminal,
  )
}
