import type { Finding, ReadyState } from '../../core/readiness/finding.js'
import type { Readiness, ReadyEntry } from '../../core/readiness.js'
import { html, plain } from '../../core/text.js'
import { htmlPage, type Page } from './page.js'

/** More than any reason holds. */
const MOST = 2000
const text = (value: string) => html(plain(value, MOST))
const day = (at: number | null) => (at === null ? '–' : new Date(at).toISOString().slice(0, 10))
export const minute = (at: number) => `${new Date(at).toISOString().slice(0, 16).replace('T', ' ')} UTC`

/** Signs as well as words, and no colour alone: it is printed in black and white. */
const SIGNS: Record<ReadyState, string> = { pass: '✓', block: '✕', unknown: '?' }

/** Wide enough for a table, and a sheet of A4 when it is printed: the head of a table on each, no row torn apart. */
const STYLE = `
main { max-width: 64rem }
.verdict { display: flex; gap: 1.25rem; align-items: center; margin: 1rem 0; padding: 1rem 1.25rem; border: 3px solid var(--ink); border-radius: 8px }
.verdict strong { font-size: 1.6rem; letter-spacing: .02em; white-space: nowrap } .verdict p { margin: 0 }
.verdict.open { border-style: dashed }
table { width: 100%; border-collapse: collapse; font-size: .88rem } caption { padding: 1.4rem 0 .4rem; text-align: left; font-size: 1.05rem; font-weight: 600 }
th, td { padding: .45rem .5rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
thead th { border-bottom: 2px solid var(--ink); font-size: .78rem; color: var(--dim); font-weight: 600 }
td.n { text-align: right; color: var(--dim); white-space: nowrap } td.s, td.d { white-space: nowrap } td.o { width: 10rem; max-width: 10rem; overflow-wrap: anywhere }
.area th { padding-top: .9rem; border-bottom: 1px solid var(--ink); font-size: .78rem; text-transform: uppercase; letter-spacing: .06em }
.state { display: inline-block; min-width: 6.6rem; padding: .1rem .4rem; border: 1px solid var(--ink); border-radius: 4px; font-size: .78rem; font-weight: 700 }
.state.block { background: var(--ink); color: var(--card) } .state.unknown { border-style: dashed } .state.pass { border-color: var(--line); font-weight: 400 }
.must { font-size: .74rem; font-weight: 600; white-space: nowrap } .t { font-weight: 600 }
ul { margin: .25rem 0 0; padding: 0; list-style: none } li { padding-left: 1.1rem; text-indent: -1.1rem; margin: .1rem 0; overflow-wrap: anywhere }
li b { display: inline-block; width: 1.1rem; text-indent: 0 } a { color: inherit }
@media print {
  :root { --ink: #000; --dim: #333; --line: #999; --ground: #fff; --card: #fff }
  @page { size: A4; margin: 13mm 12mm } html { font-size: 11px } body { padding: 0; font-size: 1rem } main { max-width: none; padding: 0; border: 0 }
  thead { display: table-header-group } tr, .verdict { break-inside: avoid } .area { break-after: avoid } caption { break-after: avoid }
  .state.block { -webkit-print-color-adjust: exact; print-color-adjust: exact; outline: 1px solid #000 }
}
`

/** The whole report on paper: what holds a launch up first, then every control and item with the facts it was judged by. */
export function readinessPage(report: Readiness): Page {
  const { tenant, at, snapshot } = report
  const policy = snapshot === null ? 'no policy is active' : `policy v1:${snapshot.slice(0, 7)}`
  return htmlPage(
    200,
    `Readiness of ${plain(tenant, 200)}`,
    `<p class="dim">${html(minute(at))} · ${html(policy)} · judged by what rows and log showed then</p>
${verdict(report)}
${table('The 20 controls', report.controls)}
${table('The ten go-live items', report.items)}
<p class="dim">Unknown: no fact shows it, so it holds a launch up as well. “Launch” marks what must pass. A person’s word fills what no row shows until it expires; it never stands against a fact.</p>`,
    STYLE,
  )
}

function verdict({ ready, controls, items, blocked_by }: Readiness): string {
  const all = [...controls, ...items]
  const of = (state: ReadyState) => all.filter((entry) => entry.state === state).length
  const numbers = (of: readonly ReadyEntry[]) =>
    of.filter(({ id }) => blocked_by.includes(id)).map(({ number }) => number)
  const held = [heldText('control', numbers(controls)), heldText('item', numbers(items))].filter((each) => each !== '')
  const why = ready ? 'Nothing that a launch depends on is wrong or unknown.' : `Held up by ${held.join(' and by ')}.`
  return `<div class="verdict${ready ? '' : ' open'}"><strong>${ready ? '✓ READY' : '✕ NOT READY'}</strong>
<div><p>${html(why)}</p><p class="dim">${of('pass')} pass, ${of('block')} block, ${of('unknown')} unknown</p></div></div>`
}

/** `controls 1, 2 and 5`. */
function heldText(what: string, numbers: readonly number[]): string {
  if (numbers.length < 2) return numbers.length === 0 ? '' : `${what} ${numbers[0]}`
  return `${what}s ${numbers.slice(0, -1).join(', ')} and ${numbers.at(-1)}`
}

function table(caption: string, entries: readonly ReadyEntry[]): string {
  let area: string | null = null
  const rows = entries.map((entry) => {
    const heading = entry.area !== null && entry.area !== area
    area = entry.area
    return `${heading ? `<tr class="area"><th colspan="5" scope="rowgroup">${html(entry.area ?? '')}</th></tr>\n` : ''}${row(entry)}`
  })
  return `<table><caption>${html(caption)}</caption>
<thead><tr><th scope="col">No.</th><th scope="col">State</th><th scope="col">What, and the facts</th><th scope="col">Owner</th><th scope="col">Date, good until</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody></table>`
}

function row({ id, number, title, state, findings, blocks_launch, area, owner, at, expires_at }: ReadyEntry): string {
  const until = expires_at === null ? '' : `<br><span class="dim">→ ${html(day(expires_at))}</span>`
  const must = blocks_launch && area !== null ? '<br><span class="must">Launch</span>' : ''
  return `<tr id="${html(id)}"><td class="n">${number}</td><td class="s"><span class="state ${state}">${SIGNS[state]} ${state.toUpperCase()}</span>${must}</td>
<td><span class="t">${html(title)}</span><ul>${findings.map(fact).join('')}</ul></td><td class="o">${text(owner ?? '–')}</td><td class="d">${html(day(at))}${until}</td></tr>`
}

const fact = ({ state, reason, link }: Finding) => `<li><b>${SIGNS[state]}</b>${text(reason)} ${place(link)}</li>`

/** A path of this server leads there; a document is named. What a person wrote is an address of the web, or it is no link. */
function place(link: string): string {
  if (link.startsWith('/') && !link.startsWith('//')) return `<a class="dim" href="${html(link)}">${text(link)}</a>`
  if (/^https?:\/\//.test(link)) return `<a class="dim" href="${html(link)}">${text(link)}</a>`
  return `<span class="dim">${text(link)}</span>`
}

/** The same as a document that is kept beside others. */
export function readinessMarkdown({ ready, at, tenant, snapshot, controls, items, blocked_by }: Readiness): string {
  const head = [
    `# Readiness of ${cell(tenant)}: ${ready ? 'ready' : 'not ready'}`,
    '',
    `${minute(at)}, ${snapshot === null ? 'no policy is active' : `policy v1:${snapshot.slice(0, 7)}`}.`,
    ready ? 'Nothing that a launch depends on is wrong or unknown.' : `Held up by: ${blocked_by.join(', ')}.`,
  ]
  return `${[...head, '', '## Controls', '', ...rows(controls), '', '## Go-live items', '', ...rows(items)].join('\n')}\n`
}

function rows(entries: readonly ReadyEntry[]): string[] {
  const lines = entries.map(({ number, state, blocks_launch, title, reason, link, owner, at, expires_at }) =>
    [
      '',
      number,
      state.toUpperCase(),
      blocks_launch ? 'yes' : '',
      title,
      cell(reason),
      cell(link),
      cell(owner ?? ''),
      day(at),
      day(expires_at),
      '',
    ]
      .join(' | ')
      .trim(),
  )
  return [
    '| No. | State | Launch | What | Why | Fact | Owner | Date | Good until |',
    '|---:|---|---|---|---|---|---|---|---|',
    ...lines,
  ]
}

/** Names of others stand in it: nothing of them is markup. */
const cell = (value: string) =>
  plain(value, MOST).replaceAll(/[\\|`*_<>[\]#]/g, (sign) => (sign === '<' ? '&lt;' : `\\${sign}`))
