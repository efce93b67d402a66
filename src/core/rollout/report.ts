import type { RollbackReport } from '../../contract/compensations.js'
import { code, instant, span, table, text } from '../markdown.js'

/** Which entries were proven to stand under which head; null where nothing was checked. */
export interface Proven {
  proven: ReadonlySet<number> | null
  head: { size: number; root: string } | null
}

/** The report as Markdown. Nothing of what people, agents or workers wrote is more than text in it. */
export function rollbackMarkdown(report: RollbackReport, { proven, head }: Proven): string {
  const { rollout, rollout_id, subject, rolled_back, detection, stop, work, compensations, recovery, owners } = report
  const what = subject.kind === 'policy' ? 'the policy' : `${subject.kind} ${subject.name}`
  const { at } = rolled_back
  return [
    `# Rollback of ${text(rollout)}`,
    '',
    ...table(
      ['', ''],
      [
        ['Rollout', code(rollout_id)],
        [
          'What',
          `${text(what)}: ${text(subject.candidate)} was taken back, ${text(subject.stable ?? 'people')} took over`,
        ],
        ['When', instant(at)],
        [
          'By',
          rolled_back.trigger === null
            ? text(rolled_back.by)
            : `${text(rolled_back.by)}, trigger ${text(rolled_back.trigger)}`,
        ],
        ['Why', text(rolled_back.reason ?? '–')],
        [
          'Answer for it',
          text(`${owners.reliability} (reliability), ${owners.governance} (governance), ${owners.cost} (cost)`),
        ],
        ['Stakeholders', report.stakeholders.map(text).join(', ')],
        ['Log', logLine(report, proven, head)],
      ],
    ),
    '',
    '## Times',
    '',
    ...table(
      ['Step', 'Took', 'What'],
      [
        [
          'Detection',
          detection === null ? '–' : span(detection.took_ms),
          detection === null ? 'by a person, or not recorded' : `too much from ${instant(detection.from)} on`,
        ],
        [
          'Stop',
          took(stop.confirmed_ms),
          `refused by the gate at once; read since by ${confirmed(stop)} of ${stop.nodes.length} nodes`,
        ],
        [
          'Work',
          took(work.ended_ms),
          `${work.leases} leases (${work.on_rollback}), ${work.open} open; ${work.refused} waiting jobs refused`,
        ],
        ['Compensations', '', counts(compensations)],
        [
          'Recovery',
          took(recovery.took_ms),
          recovery.recovered_at === null ? '**not over**' : instant(recovery.recovered_at),
        ],
      ],
    ),
    '',
    '## Compensations',
    '',
    ...table(
      ['Effect', 'Run', 'Undone by', 'Decision', 'People', 'State', 'Since the rollback'],
      compensations.items.map((item) => [
        `${code(item.effect_key)} of ${code(item.job_id)}`,
        code(item.run_id),
        item.job === null ? code(item.topic) : `${code(item.topic)} ${code(item.job.job_id)}`,
        item.decision === null ? '' : text(`${item.decision.decision} ${item.decision.rules.join(', ')}`),
        (item.approval?.answers ?? []).map(({ by, answer }) => text(`${by}: ${answer}`)).join('; '),
        text([item.status, item.reason, item.settled_by].filter((each) => each !== null).join(', ')),
        item.took_ms === null ? '' : `+${span(item.took_ms)}`,
      ]),
    ),
    '',
    ...(compensations.total > compensations.items.length
      ? [`The last ${compensations.items.length} of ${compensations.total}.`, '']
      : []),
    '## Who was told',
    '',
    ...table(
      ['What', 'Channel', 'To', 'State', 'When'],
      report.told.map(({ event, channel, recipient, status, at: sent }) => [
        code(event),
        text(channel),
        text(recipient),
        text(status),
        sent === null ? '' : instant(sent),
      ]),
    ),
    '',
    '## Timeline',
    '',
    ...table(
      ['Time', 'Since the rollback', 'What', 'By', 'Why and how', 'Entry'],
      report.timeline.map((entry) => [
        instant(entry.at),
        entry.at < at ? '' : `+${span(entry.at - at)}`,
        code(entry.kind),
        text(entry.actor),
        said(entry.facts),
        entry.index === null ? 'not integrated' : `#${entry.index}${proven?.has(entry.index) ? ' ✓' : ''}`,
      ]),
    ),
    '',
  ].join('\n')
}

const took = (ms: number | null) => (ms === null ? '**open**' : span(ms))
const confirmed = ({ nodes }: RollbackReport['stop']) =>
  nodes.filter(({ confirmed_ms }) => confirmed_ms !== null).length

const counts = ({ total, by_status }: RollbackReport['compensations']) =>
  `${total}: ${Object.entries(by_status)
    .map(([status, n]) => `${n} ${text(status)}`)
    .join(', ')}`

const SHOWN = [
  'reason',
  'trigger',
  'effect_key',
  'compensation_job_id',
  'decision',
  'approval_id',
  'note',
  'compensated',
  'settled',
  'leases',
  'refused',
]
const said = (facts: Record<string, unknown>) =>
  SHOWN.flatMap((name) => {
    const value = facts[name]
    return value === undefined || value === null || value === '' ? [] : [`${name} ${text(String(value))}`]
  }).join('; ')

function logLine({ timeline }: RollbackReport, proven: Proven['proven'], head: Proven['head']): string {
  if (proven === null || head === null)
    return `${timeline.length} entries; not checked against a signed head (\`--prove\`)`
  const missing = timeline.filter(({ index }) => index === null || !proven.has(index)).length
  const under = `the signed head of size ${head.size}, root ${code(head.root)}`
  return missing === 0
    ? `${timeline.length} entries, each proven to stand under ${under}`
    : `${timeline.length - missing} of ${timeline.length} entries proven to stand under ${under}; **${missing} are not**`
}
