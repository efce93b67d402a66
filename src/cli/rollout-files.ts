import { readFile } from 'node:fs/promises'
import type { Json } from '../core/json.js'
import { type Fault, type Field, type Position, placed, Source } from '../core/policy/reader.js'
import { declarationDigest, type RolloutDocument } from '../core/rollout/document.js'
import { parseRollout } from '../core/rollout/parse.js'
import { CliError, EXIT, type FaultLine, usage } from './exit.js'

/** A declaration without a fault: as JSON for the server, and as the server will read it. */
export interface Declared {
  value: Json
  document: RolloutDocument
  digest: string
}

/** YAML or JSON; `-` is standard input. Throws CliError `declaration_invalid` with every fault and its line. */
export async function declarationAt(path: string): Promise<Declared> {
  const text = await readFile(path === '-' ? '/dev/stdin' : path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') throw new CliError(EXIT.notFound, 'no_file', `There is no ${path}`)
    throw usage(`${path} cannot be read (${error.code})`)
  })
  return declarationOf(path, text)
}

export function declarationOf(path: string, text: string): Declared {
  const read: Fault[] = []
  // As policy files are read: bounded, no aliases, no tags, no key twice.
  const source = new Source(path, text, read)
  const root = source.root()
  const value = root === null ? null : (source.json(root) ?? null)
  if (root === null || read.length > 0) throw invalid(read.map(placed))
  const { document, faults } = parseRollout(value)
  if (document === null)
    throw invalid(
      faults.map(({ path: at, message, hint }) => ({
        path: lineOf(placeOf(source, root, at)),
        message: at === '' ? message : `${at}: ${message}`,
        ...(hint === undefined ? {} : { hint }),
      })),
    )
  return { value, document, digest: declarationDigest(document) }
}

function invalid(faults: readonly FaultLine[]): CliError {
  const count = `${faults.length} fault${faults.length === 1 ? '' : 's'}`
  return new CliError(EXIT.no, 'declaration_invalid', `The declaration has ${count}`, null, { faults })
}

const lineOf = ({ file, line, column }: Position): string => `${file}:${line}:${column}`

/** The place in the file of `phases[2].gate`; of what is missing, the place of what lacks it. */
function placeOf(source: Source, root: Field, path: string): Position {
  let field = root
  for (const step of path.split(/[.[\]]+/)) {
    const next = source.isMap(field)
      ? source.map(field, null)?.get(step)
      : source.isList(field)
        ? source.items(field)[Number(step)]
        : undefined
    if (next === undefined) break
    field = next
  }
  return field.at
}

/** What a reader of the declaration may not have meant: a share of nothing that takes all work away from agents. */
export function warningsOf({
  rest,
  subject,
  phases,
}: Pick<RolloutDocument, 'rest' | 'subject'> & { phases: readonly { name: string; share_bp: number }[] }): string[] {
  if (rest === 'stable') return []
  const work = subject.kind === 'policy' ? 'of the tenant' : `of ${subject.name}`
  const becomes = rest === 'shadow' ? 'is only recorded and not done' : 'is refused, so that people do it'
  return phases
    .filter(({ share_bp }) => share_bp === 0)
    .map(({ name }) => `phase ${name} has share 0 and rest is ${rest}: while it lasts, all work ${work} ${becomes}`)
}
