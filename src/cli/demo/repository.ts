import { execFile } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { CliError, EXIT } from '../exit.js'

/** A repository with what ought not to be in one. Made anew for every demonstration, so no secret of it is worth anything. */
export interface LeakyRepository {
  /** Below the folder of repositories. */
  name: string
  token: string
  password: string
  /** PEM of a key that is in use ... */
  liveKey: string
  /** ... and of one that is printed in a manual. */
  sampleKey: string
}

export const SETTINGS = 'deploy/settings.env'
export const LIVE_KEY = 'deploy/signing.pem'
export const SAMPLE_KEY = 'docs/sample-key.pem'

/** Throws CliError `no_git` where git is missing. */
export async function makeLeakyRepository(folder: string): Promise<LeakyRepository> {
  const name = 'shop'
  // Put together here: a token that stands whole in a source is one that every scanner of that source reports.
  const token = `${'gh'}${'p_'}${randomBytes(18).toString('hex')}`
  const password = randomBytes(12).toString('hex')
  const [liveKey, sampleKey] = [privateKey(), privateKey()]
  const files = {
    'README.md': '# shop\n\nThe shop of the demonstration.\n',
    [SETTINGS]: `REGION=eu-central-1\nGITHUB_TOKEN=${token}\nDATABASE_URL=postgres://shop:${password}@db.internal:5432/shop\n`,
    [LIVE_KEY]: liveKey,
    [SAMPLE_KEY]: sampleKey,
  }
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name, path)), { recursive: true })
    await writeFile(join(folder, name, path), text)
  }
  await git(join(folder, name), 'init', '--quiet')
  await git(join(folder, name), 'add', '--all')
  await git(join(folder, name), 'commit', '--quiet', '--no-verify', '--message', 'Add the shop and how it is deployed')
  return { name, token, password, liveKey, sampleKey }
}

function privateKey(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

/** The newest commit; null where the folder is no repository of its own or has no commit yet. */
export async function newestCommit(folder: string): Promise<string | null> {
  return await git(folder, `--git-dir=${join(folder, '.git')}`, 'rev-parse', '--verify', 'HEAD^{commit}').catch(
    () => null,
  )
}

/** Nobody's settings: a signing hook or template of the user must not decide whether the demonstration works. */
const ENVIRONMENT = {
  PATH: process.env.PATH,
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_AUTHOR_NAME: 'Demonstration',
  GIT_AUTHOR_EMAIL: 'demo@localhost',
  GIT_COMMITTER_NAME: 'Demonstration',
  GIT_COMMITTER_EMAIL: 'demo@localhost',
}

async function git(cwd: string, ...args: string[]): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)('git', args, { cwd, env: ENVIRONMENT })
    return stdout.trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new CliError(EXIT.no, 'no_git', 'git is not installed', 'The demonstration reads commits; install git.')
  }
}
