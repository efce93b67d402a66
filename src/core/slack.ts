import type { Approval } from './approval.js'
import { shortForm } from './binding.js'
import type { Job } from './job.js'
import type { Json } from './json.js'
import { type Entry, type Letter, noticeLetter, unlinked } from './message.js'
import { plain } from './text.js'

/*
 * What stands in Slack. Whatever others wrote is plain_text, in which Slack reads no mention, link or markup, and JSON in which `<`, `&`
 * and `//` are written otherwise, which is the same value. Only `text`, which a notification shows, is markup to Slack, and is escaped.
 */

type Text = { type: 'plain_text'; text: string; emoji: false }
export type Block = { type: string; [field: string]: unknown }

/** As chat.postMessage and chat.update take it, but for the conversation. */
export interface SlackMessage {
  text: string
  blocks: Block[]
  parse: 'none'
  link_names: false
  unfurl_links: false
  unfurl_media: false
}

/** Block Kit's: characters of one text, and blocks of a message. */
const MOST_SECTION = 3000
const MOST_BLOCKS = 50
/**
 * Of all blocks as JSON. Slack says nowhere how much it takes; it answers msg_blocks_too_long from about 13,200 characters on.
 */
const MOST_JSON = 11_000
/**
 * A click brings the whole message back as a form, of which 64 KB are read: what is not a letter takes three characters there, what is
 * no ASCII eight. This leaves room for a reason and for what Slack says of itself.
 */
const MOST_ECHO = 36_000

export const APPROVE = 'sallyport.approve'
export const REJECT = 'sallyport.reject'
/** Block and element of the optional reason. */
export const REASON = { block: 'sallyport.reason', element: 'text', most: 1000 } as const

/** An open question, and as much of it as may leave the house. */
export interface SlackAsked {
  approval: Approval
  job: Job
  /** Screened; undefined: withheld. */
  input: Json | undefined
  context: Json | undefined
  /** Why the input or context is not what the job has: held back, or something in it taken out. Null: it is. */
  withheld: string | null
  /** Hashes the short form must stay apart from. */
  alike: readonly string[]
  /** Which message this is. */
  delivery_id: string
  publicUrl: string | null
}

/** What a button says back: it is the question that was shown, under the hash that it had, in this message. */
export const buttonValue = (approval_id: string, grant_hash: string, delivery_id: string) =>
  `${approval_id} ${grant_hash} ${delivery_id}`

/**
 * The question. Nobody approves what they were not shown: where it cannot be shown whole, because something of it was taken out or it is
 * too large for one message, there is no button to approve it with.
 */
export function slackQuestion(asked: SlackAsked): SlackMessage {
  const whole = questionBlocks(asked, ROOMY)
  if (asked.withheld === null && whole.isWhole && fits(whole.blocks))
    return message(titleOf(asked), [...whole.blocks, ...answers(asked, true)])
  const why = asked.withheld ?? 'It is too large to be shown whole here.'
  const where = asked.publicUrl === null ? '' : ` at ${asked.publicUrl}`
  const how = `${why} So it cannot be approved here: sallyport approvals show ${asked.approval.approval_id}${where}`
  return message(titleOf(asked), [...questionBlocks(asked, TIGHT).blocks, ...sections(how), ...answers(asked, false)])
}

interface Room {
  /** Characters of one line, of the input, of the context. */
  line: number
  input: number
  context: number
}
const ROOMY: Room = { line: 600, input: MOST_JSON, context: MOST_JSON }
const TIGHT: Room = { line: 100, input: 1000, context: 300 }

function questionBlocks(asked: SlackAsked, room: Room): { blocks: Block[]; isWhole: boolean } {
  const lines = factsOf(asked)
  const { input, context } = asked
  const shownInput = quoted(input, room.input)
  const shownContext = context === null ? null : quoted(context, room.context)
  const isWhole = lines.every(([, value]) => value.length <= room.line) && shownInput.isWhole
  return {
    blocks: [
      { type: 'header', text: text('May this happen?') },
      ...sections(lines.map(([name, value]) => `${name}: ${unlinked(plain(value, room.line))}`).join('\n')),
      ...sections(`Input:\n${shownInput.text}`),
      ...(shownContext === null ? [] : sections(`Context:\n${shownContext.text}`)),
    ],
    isWhole: isWhole && (shownContext === null || shownContext.isWhole),
  }
}

/** Everything the hashes bind, but for input and context. */
function factsOf({ approval, job, alike }: SlackAsked): [string, string][] {
  const { effective } = job
  const labels = Object.entries(effective.labels).map(([name, value]) => `${name}=${value}`)
  const bounds = [
    job.asked_timeout_ms === null ? null : `${job.asked_timeout_ms} ms`,
    job.asked_attempts === null ? null : `${job.asked_attempts} attempts`,
    job.not_before === null ? null : `not before ${new Date(job.not_before).toISOString()}`,
  ]
  const rows: [string, string | null][] = [
    ['Agent', approval.agent],
    ['Asked by', approval.requested_by],
    ['Topic', approval.topic],
    ['Why you are asked', approval.reason],
    ['Rules', approval.rules.join(', ')],
    ['Environment', effective.environment ?? '-'],
    ['Action', effective.action_type ?? '-'],
    ['Labels', labels.join(', ')],
    ['Risk', effective.risk_tags.join(', ')],
    ['Capability', [job.capability, job.action].filter((each) => each !== null).join(' / ')],
    ['Workflow', job.workflow],
    ['Agent version', job.agent_version],
    ['Bounds asked for', bounds.filter((each) => each !== null).join(', ')],
    ['Constraints', Object.keys(approval.constraints).length === 0 ? null : JSON.stringify(approval.constraints)],
    ['Earlier answers', approval.answers.map(({ by, answer }) => `${by}: ${answer}`).join(', ')],
    ['Open until', new Date(approval.expires_at).toISOString()],
    ['Grant', shortForm(approval.grant_hash, alike)],
    ['Whole hash', approval.grant_hash],
    ['Approval', approval.approval_id],
  ]
  return rows.flatMap(([name, value]) => (value === null || value === '' ? [] : [[name, value] as [string, string]]))
}

const titleOf = ({ approval, alike }: Pick<SlackAsked, 'approval' | 'alike'>) =>
  `Approval ${shortForm(approval.grant_hash, alike)}: ${plain(approval.agent, 60)} asks for ${plain(approval.topic, 80)}`

function answers({ approval, alike, delivery_id }: SlackAsked, mayApprove: boolean): Block[] {
  const value = buttonValue(approval.approval_id, approval.grant_hash, delivery_id)
  const short = shortForm(approval.grant_hash, alike)
  const confirm = {
    title: text('Approve this?'),
    text: text(`${short}: ${plain(approval.agent, 60)} then does ${plain(approval.topic, 80)}.`),
    confirm: text('Approve'),
    deny: text('Not yet'),
  }
  const button = (word: string, action_id: string, style: string) => ({
    type: 'button',
    text: text(word),
    action_id,
    style,
    value,
  })
  return [
    {
      type: 'input',
      block_id: REASON.block,
      optional: true,
      label: text('Note or reason (the agent reads why it is rejected)'),
      element: { type: 'plain_text_input', action_id: REASON.element, max_length: REASON.most },
    },
    {
      type: 'actions',
      block_id: 'sallyport.answers',
      elements: [
        ...(mayApprove ? [{ ...button('Approve', APPROVE, 'primary'), confirm }] : []),
        button('Reject', REJECT, 'danger'),
      ],
    },
  ]
}

const ENDED: Record<Approval['status'], string> = {
  pending: 'What is asked has changed: see the newer message',
  approved: 'Approved',
  rejected: 'Rejected',
  expired: 'Nobody answered in time',
  void: 'This is no longer asked',
}

/** In the place of a question that is answered, over, or asked anew: without buttons, and with who said what. */
export function slackEnded(approval: Approval, shown_hash: string): SlackMessage {
  const said = approval.answers.map(
    ({ by, answer, via, note, at }) =>
      `${answer === 'approve' ? 'Yes' : 'No'} by ${line(by)}${via === undefined ? '' : ` (${line(via)})`}, ${new Date(at).toISOString()}${note === null ? '' : `: ${line(note)}`}`,
  )
  const title = ENDED[approval.status]
  const rows = [
    `Agent: ${line(approval.agent)}`,
    `Topic: ${line(approval.topic)}`,
    `Grant: ${shortForm(shown_hash, [])}`,
    `Approval: ${approval.approval_id}`,
    ...(approval.status === 'pending' ? [] : said.slice(0, 20)),
  ]
  return message(`${title}: ${plain(approval.agent, 60)}, ${plain(approval.topic, 80)}`, [
    { type: 'header', text: text(title) },
    ...sections(rows.join('\n')),
  ])
}

/** Any other entry: its fields, a line each. */
export function slackNotice(entry: Entry, letter: Letter = noticeLetter(entry)): SlackMessage {
  const { subject, text: whole } = letter
  const blocks = sections(whole.trim())
  return message(subject, fits(blocks) ? blocks : sections(`${whole.slice(0, 2500)}…`))
}

/** What only the one who clicked sees. */
export const slackTold = (words: string): SlackMessage => message(plain(words, 500), sections(plain(words, 500)))

const message = (title: string, blocks: Block[]): SlackMessage => ({
  text: escaped(plain(title, 200)),
  blocks,
  parse: 'none',
  link_names: false,
  unfurl_links: false,
  unfurl_media: false,
})

const text = (words: string): Text => ({ type: 'plain_text', text: words, emoji: false })
const line = (words: string) => unlinked(plain(words, 300))
const escaped = (words: string) => words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

/** Characters of a line before it goes on in the next; `|` begins what is quoted, `+` what goes on. */
const WIDE = 1000

/** A value as JSON, each line marked: nothing in it can pass for a line of ours. */
function quoted(value: Json | undefined, most: number): { text: string; isWhole: boolean } {
  if (value === undefined) return { text: '| (not shown here)', isWhole: false }
  const whole = JSON.stringify(value, null, 2)
  const lines = whole.slice(0, most).split('\n')
  const shown = lines.flatMap((each) => {
    const inert = plain(each, Number.POSITIVE_INFINITY)
      .replaceAll('<', '\\u003c')
      .replaceAll('>', '\\u003e')
      .replaceAll('&', '\\u0026')
      .replaceAll('//', '\\/\\/')
    return pieces(inert, WIDE).map((piece, n) => `${n === 0 ? '|' : '+'} ${piece}`)
  })
  const isWhole = whole.length <= most
  if (!isWhole) shown.push(`… ${whole.length - most} more characters`)
  return { text: shown.join('\n'), isWhole }
}

/** Of at most so many characters, and never half a pair. */
function pieces(words: string, most: number): string[] {
  const all: string[] = []
  for (let from = 0; from < words.length; ) {
    let to = Math.min(words.length, from + most)
    if (to < words.length && /[\ud800-\udbff]/.test(words[to - 1] ?? '')) to--
    all.push(words.slice(from, to))
    from = to
  }
  return all.length === 0 ? [''] : all
}

/** As many sections as it takes; a line is in one of them. */
function sections(words: string): Block[] {
  const texts: string[] = []
  for (const each of words.split('\n').flatMap((whole) => pieces(whole, MOST_SECTION))) {
    const last = texts.at(-1)
    if (last !== undefined && last.length + 1 + each.length <= MOST_SECTION)
      texts[texts.length - 1] = `${last}\n${each}`
    else texts.push(each)
  }
  return texts.filter((each) => each.trim() !== '').map((each) => ({ type: 'section', text: text(each) }))
}

/** Whether Slack takes so much, and a click on it may come back; the buttons are in the margins of both bounds. */
function fits(blocks: readonly Block[]): boolean {
  const json = JSON.stringify(blocks)
  return blocks.length <= MOST_BLOCKS - 4 && json.length <= MOST_JSON && echoOf(json) <= MOST_ECHO
}

function echoOf(json: string): number {
  let sum = 0
  for (let n = 0; n < json.length; n++) {
    const code = json.charCodeAt(n)
    const isWord =
      (code >= 48 && code <= 57) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122) || code === 32
    // Slack writes `/` as `\/`, and `<` as an entity.
    sum += isWord ? 1 : code > 126 ? 8 : code === 38 || code === 60 || code === 62 ? 12 : code === 47 ? 6 : 3
  }
  return sum
}
