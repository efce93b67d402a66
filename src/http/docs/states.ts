import { isFinished, JOB_STATUSES, type JobStatus, TRANSITIONS } from '../../core/job.js'
import { escapeHtml } from './text.js'

const WIDTH = 950
const HEIGHT = 390
const BOX = { width: 124, height: 30 }

/** Where each state stands: from left to right as a job lives. The arrows come from the state table itself. */
const PLACES: Record<JobStatus, [x: number, y: number]> = {
  rejected: [70, 30],
  expired: [250, 30],
  denied: [385, 30],
  cancelled: [500, 30],
  pending_approval: [70, 190],
  queued: [250, 190],
  retrying: [385, 300],
  running: [560, 190],
  ambiguous: [485, 370],
  quarantined: [740, 110],
  dead_letter: [720, 330],
  succeeded: [880, 190],
  discarded: [880, 330],
}

/** The states of a job as a drawing and as a table, both from the transition table: neither can drift from it. */
export function statesHtml(): string {
  return `<p>A job is in one of these states; the word is the same in the row, on the wire and in the audit log. What the table does not list answers 409 <a href="#error-illegal_transition"><code>illegal_transition</code></a>.</p>
<div class="wide">${drawing()}</div>
${table()}`
}

function table(): string {
  const rows = JOB_STATUSES.map((status) => {
    const moves = Object.entries(TRANSITIONS[status]).map(
      ([event, next]) => `${escapeHtml(event)} → <a href="#state-${next}">${next}</a>`,
    )
    return `<tr id="state-${status}"><td><code>${status}</code></td><td>${moves.join('<br>') || '<span class="quiet">the end</span>'}</td></tr>`
  })
  return `<div class="wide"><table class="states"><thead><tr><th>State</th><th>What may happen</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>`
}

function drawing(): string {
  const arrows = JOB_STATUSES.flatMap((from) =>
    [...new Set(Object.values(TRANSITIONS[from]))].filter((to) => to !== from).map((to) => arrow(from, to)),
  )
  return `<svg class="drawing" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="States of a job; the table below says the same">
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>
${arrows.join('\n')}
${JOB_STATUSES.map(box).join('\n')}
</svg>`
}

function box(status: JobStatus): string {
  const [x, y] = PLACES[status]
  const kind = isFinished(status) ? 'done' : 'live'
  return `<g class="${kind}"><rect x="${x - BOX.width / 2}" y="${y - BOX.height / 2}" width="${BOX.width}" height="${BOX.height}" rx="6"/><text x="${x}" y="${y + 4}">${status}</text></g>`
}

/** From border to border, bowed a little to its own side, so that there and back are two lines. */
function arrow(from: JobStatus, to: JobStatus): string {
  const [a, b] = [PLACES[from], PLACES[to]]
  const length = Math.hypot(b[0] - a[0], b[1] - a[1])
  const bow = Math.min(14, length / 10)
  const middle: [number, number] = [
    (a[0] + b[0]) / 2 - ((b[1] - a[1]) / length) * bow,
    (a[1] + b[1]) / 2 + ((b[0] - a[0]) / length) * bow,
  ]
  const [start, end] = [border(a, middle, 0), border(b, middle, 3)]
  return `<path class="arrow" d="M${point(start)}Q${point(middle)} ${point(end)}" marker-end="url(#tip)"/>`
}

/** Where the line from the middle of a box towards a point leaves the box, and a gap further. */
function border([x, y]: [number, number], towards: [number, number], gap: number): [number, number] {
  const [dx, dy] = [towards[0] - x, towards[1] - y]
  const scale = Math.min(
    (BOX.width / 2 + gap) / Math.max(Math.abs(dx), 1e-9),
    (BOX.height / 2 + gap) / Math.max(Math.abs(dy), 1e-9),
  )
  return [x + dx * scale, y + dy * scale]
}

const point = ([x, y]: [number, number]) => `${x.toFixed(1)} ${y.toFixed(1)}`
