import type { TimelineEntry } from '../contract/jobs.js'
import { shortForm } from './binding.js'
import { code, instant, span, table, text } from './markdown.js'

/** What a draft is made of: all of it from the record, none of it from memory. */
export interface RunRecord {
  run_id: string
  workflow: string | null
  /** How many there are; `jobs` may be the newest of them. */
  total: number
  jobs: readonly { job_id: string; agent: string; topic: string; status: string; status_reason: string | null }[]
  entries: readonly TimelineEntry[]
  /** Indexes whose inclusion under the head was checked here, and held. Null: nothing was checked. */
  proven: ReadonlySet<number> | null
  /** Of the signed head that they were checked against. */
  head: { size: number; root: string } | null
}

/** Beside what stands in columns of its own. */
const SHOWN = [
  'reason',
  'rules',
  'status_reason',
  'effect_key',
  'verdict',
  'findings',
  'error_code',
  'note',
  'worker',
  'attempt',
]

/**
 * A postmortem as far as the record can write it (O2): what happened in order, who did it and why, under which snapshot, and where it stands
 * in the signed log. What nobody recorded (what it meant, what is to be done) is left to people, and says so.
 * Markdown; nothing of what agents or workers wrote is more than text in it.
 */
export function postmortem({ run_id, workflow, total, jobs, entries, proven, head }: RunRecord): string {
  const times = entries.map(({ at }) => at)
  const [begin, end] = [Math.min(...times), Math.max(...times)]
  const snapshots = distinct(entries.map(({ facts }) => facts.snapshot))
  const people = distinct(entries.filter(({ kind }) => BY_PEOPLE.test(kind)).map(({ actor }) => actor))
  const missing = entries.filter(({ index }) => index === null || !proven?.has(index)).length
  return [
    `# Postmortem of ${text(run_id)}`,
    '',
    '_A draft, written from the audit log. What stands in angle brackets is for people to write._',
    '',
    ...table(
      ['', ''],
      [
        ['Run', code(run_id)],
        ['Workflow', workflow === null ? '–' : text(workflow)],
        ['From', instant(begin)],
        ['To', `${instant(end)} (${span(end - begin)})`],
        [
          'Agents',
          distinct(jobs.map(({ agent }) => agent))
            .map(text)
            .join(', '),
        ],
        ['People', people.map(text).join(', ') || 'none'],
        ['Policy', snapshots.map((digest) => code(shortForm(digest))).join(', ') || '–'],
        ['Jobs', `${total}: ${counted(jobs.map(({ status }) => status))}`],
        ['Log', proofLine(entries.length, missing, proven, head)],
      ],
    ),
    '',
    '## What happened',
    '',
    '<What it meant for users, in two sentences.>',
    '',
    '## Jobs',
    '',
    ...table(
      ['Job', 'Agent', 'Topic', 'Ended as'],
      jobs.map(({ job_id, agent, topic, status, status_reason }) => [
        code(job_id),
        text(agent),
        code(topic),
        status_reason === null ? text(status) : `${text(status)} (${text(status_reason)})`,
      ]),
    ),
    '',
    ...(total > jobs.length ? [`The newest ${jobs.length} of ${total}; the timeline has all.`, ''] : []),
    '## Timeline',
    '',
    ...table(
      ['Time', 'Since the start', 'What', 'By', 'Job', 'Why and how', 'Policy', 'Entry'],
      entries.map((entry) => row(entry, begin, proven)),
    ),
    '',
    '## Why it happened',
    '',
    '<Which decision, setting or fault let it come so far? The rules that decided are in the timeline.>',
    '',
    '## What is done about it',
    '',
    '| What | Who | Until |',
    '|---|---|---|',
    '| <a rule, a scenario that would have caught it, a runbook> | <name> | <date> |',
    '',
  ].join('\n')
}

const BY_PEOPLE =
  /^(approval\.(approved|rejected|edited)|result\.released|effect\.resolved|job\.(resolved|replayed|discarded)|stop\.|policy\.activated)/

function row({ at, kind, actor, index, facts }: TimelineEntry, begin: number, proven: RunRecord['proven']): string[] {
  const { job_id, snapshot } = facts
  const told = SHOWN.filter((name) => !EMPTY.includes(facts[name] as never)).map(
    (name) => `${name} ${text(String(facts[name]))}`,
  )
  const place = index === null ? 'not integrated' : `#${index}${proven?.has(index) ? ' ✓' : ''}`
  return [
    instant(at),
    `+${span(at - begin)}`,
    code(kind),
    text(actor),
    typeof job_id === 'string' ? code(job_id) : '',
    told.join('; '),
    typeof snapshot === 'string' ? code(shortForm(snapshot)) : '',
    place,
  ]
}
const EMPTY = [undefined, null, '', false] as const

function proofLine(entries: number, missing: number, proven: RunRecord['proven'], head: RunRecord['head']): string {
  if (proven === null || head === null) return `${entries} entries; not checked against a signed head (\`--prove\`)`
  const under = `the signed head of size ${head.size}, root ${code(head.root)}`
  return missing === 0
    ? `${entries} entries, each proven to stand under ${under}`
    : `${entries - missing} of ${entries} entries proven to stand under ${under}; **${missing} are not**`
}

function distinct(values: readonly unknown[]): string[] {
  return [...new Set(values.filter((value): value is string => typeof value === 'string' && value !== ''))]
}

function counted(words: readonly string[]): string {
  return distinct(words)
    .map((word) => `${words.filter((each) => each === word).length} ${text(word)}`)
    .join(', ')
}
