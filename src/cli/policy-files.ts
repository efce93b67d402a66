import { existsSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type CompiledPolicy, compilePolicy } from '../core/policy/compile.js'
import type { PolicyDocument } from '../core/policy/document.js'
import { parsePolicy } from '../core/policy/parse.js'
import { placed } from '../core/policy/reader.js'
import { type Context, onlineContext } from './command.js'
import type { ConnectionFlags } from './connection.js'
import { CliError, EXIT, usage } from './exit.js'

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

export async function compiledFrom(paths: readonly string[]): Promise<CompiledPolicy> {
  return compilePolicy(documentOf(await readPolicyFiles(paths)))
}

/** A policy by where it is: files, a snapshot of the server by digest or `v1:…`, or `active`. */
export async function documentAt(context: Context, flags: ConnectionFlags, place: string): Promise<PolicyDocument> {
  const snapshot = /^(v1:[0-9a-f]{7,64}|[0-9a-f]{64}|active)$/.test(place)
  if (!snapshot || existsSync(place)) return documentOf(await readPolicyFiles([place]))
  const { client } = await onlineContext(context, flags, 'admin')
  const id = place === 'active' ? (await client.policy.get()).digest : place
  const { files } = await client.policy.snapshot(id)
  if (files === undefined) throw new CliError(EXIT.notFound, 'no_files', `The server has ${place} without its files`)
  return documentOf(files)
}
