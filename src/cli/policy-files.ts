import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type CompiledPolicy, compilePolicy } from '../core/policy/compile.js'
import type { PolicyDocument } from '../core/policy/document.js'
import { type Fault, parsePolicy } from '../core/policy/parse.js'
import { CliError, EXIT, type FaultLine, usage } from './exit.js'

export interface PolicyFile {
  path: string
  text: string
}

/** The files named, and of folders every `.yaml` and `.yml` at any depth that is not hidden; `-` is standard input. */
export async function readPolicyFiles(paths: readonly string[]): Promise<PolicyFile[]> {
  const names = (await Promise.all(paths.map(yamlFiles))).flat()
  return await Promise.all([...new Set(names)].map(async (path) => ({ path, text: await readText(path) })))
}

async function yamlFiles(path: string): Promise<string[]> {
  if (path === '-') return [path]
  const found = await stat(path).catch(cannotRead(path))
  if (!found.isDirectory()) return [path]
  const names = (await readdir(path, { recursive: true }).catch(cannotRead(path))).sort()
  const files = names
    .filter((name) => /\.ya?ml$/.test(name) && !/(^|[/\\])\./.test(name))
    .map((name) => join(path, name))
  if (files.length === 0) throw new CliError(EXIT.notFound, 'no_policy_file', `${path} holds no .yaml file`)
  return files
}

async function readText(path: string): Promise<string> {
  return await readFile(path === '-' ? '/dev/stdin' : path, 'utf8').catch(cannotRead(path))
}

const cannotRead = (path: string) => (error: NodeJS.ErrnoException) => {
  if (error.code === 'ENOENT') throw new CliError(EXIT.notFound, 'no_policy_file', `There is no ${path}`)
  throw usage(`${path} cannot be read (${error.code})`)
}

/** The files as a document. Throws CliError `policy_invalid` with every error. */
export function documentOf(files: readonly PolicyFile[]): PolicyDocument {
  const { document, faults } = parsePolicy(files)
  if (document !== null) return document
  const errors = faults.filter(({ severity }) => severity === 'error')
  throw new CliError(EXIT.no, 'policy_invalid', `The policy has ${errors.length} errors`, null, {
    faults: faults.map(placed),
  })
}

/** A fault with its place in the file as its path. */
export const placed = (fault: Fault): FaultLine => ({ ...fault, path: `${fault.file}:${fault.line}:${fault.column}` })

export async function compiledFrom(paths: readonly string[]): Promise<CompiledPolicy> {
  return compilePolicy(documentOf(await readPolicyFiles(paths)))
}
