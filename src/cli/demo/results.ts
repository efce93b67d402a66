import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Client } from '../../sdk/client.js'
import { SallyportError } from '../../sdk/errors.js'
import { printable } from '../terminal.js'
import { PATIENCE_MS, refusal, submitTaken, succeeded } from './asking.js'
import { LIVE_KEY, SAMPLE_KEY, SETTINGS } from './repository.js'
import type { Stage } from './stage.js'
import type { Scene, Tell } from './story.js'

/** What comes back is screened before anybody may read it. */

export const secret: Scene = {
  title: 'A result holds a secret',
  why: 'Reading a file is allowed, and somebody committed a token to this one. Every result is screened before it can be read; secrets are replaced and the original is dropped.',
  async play(stage, tell) {
    const { agent, leaky } = stage
    const job_id = await read(tell, stage, SETTINGS)
    await succeeded(tell, agent, job_id)
    const result = await agent.jobs.result(job_id)
    tell.answer({ word: result.verdict, why: findingsText(result.findings) })
    const content = contentOf(result.output)
    tell.show(content, () => printable(content.trim(), { lines: true }))
    tell.check(
      'the token and the password are gone',
      result.verdict === 'REDACT' && !content.includes(leaky.token) && !content.includes(leaky.password),
    )
    tell.check('the rest is as it was', content.startsWith('REGION=eu-central-1\n'))
    const file = await fileWith(stage.plane.dataDir, [leaky.token, leaky.password])
    tell.check('neither is in any file of the server’s data', file === null, file ?? 'all of them searched')
  },
}

export const privateKey: Scene = {
  title: 'A result holds a private key',
  why: 'A private key is worse than a token: the whole result is held back, encrypted, and a person decides. The agent that asked cannot read it, and cannot let it out.',
  async play(stage, tell) {
    const { agent, approver, leaky } = stage
    const live = await quarantined(tell, stage, LIVE_KEY)
    const result = `the result of ${live}`
    const reading = await refusal(tell, 'agent', `read ${result}`, agent.jobs.result(live))
    tell.check('the agent cannot read it', reading === 'result_quarantined')
    const reviewing = await refusal(tell, 'approver', `read ${result}`, approver.jobs.result(live))
    tell.check('nor can the person who decides about it', reviewing === 'result_quarantined')
    const releasing = await refusal(tell, 'agent', `release ${result}`, agent.jobs.release(live, 'I need it'))
    tell.check('the agent cannot release it', releasing === 'forbidden')
    const file = await fileWith(stage.plane.dataDir, [keyLine(leaky.liveKey)])
    tell.check('the key is in no file of the server’s data as plain text', file === null, file ?? '')

    tell.ask('approver', `discard ${result}`, { note: 'a key that is in use' })
    const discarded = await approver.jobs.discard(live, 'a key that is in use')
    tell.answer({ status: 200, word: discarded.status, why: 'the sealed text is erased' })
    const gone = await refusal(tell, 'approver', `release ${result}`, approver.jobs.release(live, 'changed my mind'))
    tell.check('what was discarded cannot be released', discarded.status === 'discarded' && gone !== 'accepted', gone)

    tell.say('Another one is only printed in a manual, so a person lets it out, under their name:')
    const sample = await quarantined(tell, stage, SAMPLE_KEY)
    tell.ask('approver', `release the result of ${sample}`, { note: 'a sample key from the manual' })
    const released = await approver.jobs.release(sample, 'a sample key from the manual')
    tell.answer({ status: 200, word: released.status, why: 'released' })
    const read = await agent.jobs.result(sample)
    tell.check(
      'now the agent reads it, as it was',
      contentOf(read.output) === leaky.sampleKey && read.released_by !== null,
      `released by ${read.released_by}`,
    )
  },
}

async function read(tell: Tell, { agent, leaky }: Stage, path: string): Promise<string> {
  const job = { topic: 'job.repo.read', input: { op: 'cat', repo: leaky.name, path } }
  return (await submitTaken(tell, 'agent', agent, job)).job_id
}

async function quarantined(tell: Tell, stage: Stage, path: string): Promise<string> {
  const job_id = await read(tell, stage, path)
  const { status, verdict } = await stage.agent.jobs.wait(job_id, { timeoutMs: PATIENCE_MS })
  tell.answer({ word: verdict ?? status, why: await heldBack(stage.agent, job_id) })
  tell.check('the result is held back', status === 'quarantined' && verdict === 'QUARANTINE', path)
  return job_id
}

/** What may be known of a result that nobody may read: what was found and where, never the find itself. */
async function heldBack(client: Client, job_id: string): Promise<string> {
  try {
    await client.jobs.result(job_id)
    return 'readable'
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error
    return findingsText(error.problem?.findings ?? [])
  }
}

function findingsText(findings: readonly unknown[]): string {
  return findings
    .map((each) => each as { detector?: string; path?: string })
    .map(({ detector, path }) => `${detector} at ${path}`)
    .join(', ')
}

function contentOf(output: unknown): string {
  const content = (output as { content?: unknown } | null)?.content
  return typeof content === 'string' ? content : ''
}

/** The line of a PEM that is the key itself. */
const keyLine = (pem: string): string => pem.split('\n')[1] ?? ''

/** The first file below the folder that holds one of the texts; null where none does. */
async function fileWith(folder: string, texts: readonly string[]): Promise<string | null> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  for (const entry of entries.filter((each) => each.isFile())) {
    const path = join(entry.parentPath, entry.name)
    // The engine removes files of its own while this looks.
    const bytes = await readFile(path).catch(() => Buffer.alloc(0))
    if (texts.some((text) => bytes.includes(text))) return path
  }
  return null
}
