import { writeFile } from 'node:fs/promises'
import type { Job, TimelineEntry } from '../contract/jobs.js'
import { repeated } from '../core/drill-proof.js'
import { postmortem } from '../core/postmortem.js'
import type { Client } from '../sdk/client.js'
import { eventually, type Player } from './drill-steps.js'
import { proofOf, wholeTimeline } from './runs.js'

/** A run that waits for its place in the tree gets this long: heads are signed within a second. */
const PLACED_MS = 15_000
const LOOKED_AT = 100

/**
 * Reconstructs one run of the past from the record alone: every decision made again under its own snapshot, every effect done once, every
 * entry proven under the signed head, and the draft of a postmortem. It reads; nothing is run again.
 */
export const incidentReplay: Player = async ({ client, terminal }, flags, { check, made, measured }) => {
  const from = performance.now()
  const run_id = flags.run ?? (await newestRun(client))
  check('there is a run to look back at', run_id !== null, run_id ?? 'no finished run had an approval or an effect')
  if (run_id === null) return
  made({ run_id })
  const run = await client.runs.get(run_id)
  const open = run.items.filter(({ finished_at }) => finished_at === null)
  check('it is over', open.length === 0, `${run.jobs} jobs`)
  const entries = await eventually(async () => {
    const all = await wholeTimeline(client, run_id)
    return all.every(({ index }) => index !== null) ? all : null
  }, PLACED_MS)
  check('its timeline is whole', entries !== null && entries.length > 0, `${entries?.length ?? 0} entries`)
  if (entries === null) return
  const ids = [...new Set(entries.flatMap(decisionsIn))]
  const other: string[] = []
  for (const id of ids) if ((await client.decisions.get(id)).reproduced !== true) other.push(id)
  check(
    'every decision is made again, byte for byte',
    ids.length > 0 && other.length === 0,
    other.join(', ') || `${ids.length} decisions`,
  )
  const twice = run.items.flatMap(({ job_id }) =>
    repeated(entries.filter((entry) => entry.facts.job_id === job_id).map(({ kind, facts }) => ({ kind, ...facts }))),
  )
  check('no effect was begun twice', twice.length === 0, twice.join(', ') || `${counted(entries)} effects`)
  const { proven, head } = await proofOf(client, entries, { prove: true }, terminal)
  const bare = entries.filter(({ index }) => index === null || proven?.has(index) !== true)
  check(
    'every entry stands under the signed head',
    bare.length === 0,
    `${entries.length} entries, head of ${head?.size}`,
  )
  const { workflow, jobs: total, items: jobs } = run
  const markdown = postmortem({ run_id, workflow, total, jobs, entries, proven, head })
  if (flags.out !== undefined) await writeFile(flags.out, markdown)
  check(
    'the record writes its postmortem',
    markdown.includes('## Timeline'),
    flags.out ?? `${markdown.length} characters`,
  )
  measured('recovery_ms', performance.now() - from)
}

const decisionsIn = ({ facts }: TimelineEntry): string[] =>
  [facts.decision_id, facts.refused_by].filter((id): id is string => typeof id === 'string')

const counted = (entries: readonly TimelineEntry[]) => entries.filter(({ kind }) => kind === 'effect.begun').length

/** The newest that is over and in which a person was asked or something was done outside; one of real work before one of a drill. */
async function newestRun(client: Client): Promise<string | null> {
  const { items } = await client.jobs.list({ limit: LOOKED_AT })
  const isDrill = ({ run_id }: Job) => run_id.startsWith('drill-')
  for (const job of [...items.filter((job) => !isDrill(job)), ...items.filter(isDrill)]) {
    if (job.finished_at === null) continue
    if (job.approval_id === null && (job.attempt === 0 || !(await hadEffect(client, job)))) continue
    const run = await client.runs.get(job.run_id)
    if (run.items.every(({ finished_at }) => finished_at !== null)) return job.run_id
  }
  return null
}

async function hadEffect(client: Client, { job_id }: Job): Promise<boolean> {
  return ((await client.jobs.get(job_id)).effects ?? []).length > 0
}
