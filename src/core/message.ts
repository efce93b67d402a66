import { type Permission, ROLES } from './access.js'
import type { Approval } from './approval.js'
import { listOf, type Scalar } from './audit.js'
import { shortForm } from './binding.js'
import type { Channel } from './channel.js'
import type { Job } from './job.js'
import type { Json } from './json.js'
import { endsOf, isEnd } from './pagerduty.js'
import type { Principal, Team } from './principal.js'
import { html, plain } from './text.js'

/** Everybody there is, as far as messages are addressed. */
export interface Directory {
  teams: readonly Team[]
  principals: readonly Principal[]
}

/** An entry of the log, parsed. */
export type Entry = Record<string, Scalar>

/**
 * Entries after which somebody may be asked who was not before. A channel that tells of `approval.requested` mails the question after each:
 * after the first three to everybody who is asked, for their old links answer something else; after the others only to whom is new.
 */
const ASKING: readonly string[] = ['approval.requested', 'approval.rebound', 'approval.edited']
const ASKING_MORE: readonly string[] = ['approval.escalated', 'approval.rerouted', 'approval.approved']
/** Mails it again to whom it names, and to nobody else. */
const REMINDING = 'approval.reminded'
/** After these a question that stands somewhere reads otherwise: it has an answer more, another time, or is over. */
const CHANGING: readonly string[] = [
  'approval.approved',
  'approval.rejected',
  'approval.expired',
  'approval.voided',
  'approval.rebound',
  'approval.edited',
  'approval.escalated',
]
const QUESTION = 'approval.requested'

/** Kinds of entries that may make a message of this channel. */
export function heardBy({ kind, events }: Channel): readonly string[] {
  if (kind === 'pagerduty') return [...new Set([...events, ...endsOf(events)])]
  if (!events.includes(QUESTION)) return events
  if (kind === 'slack') return [...new Set([...events, ...ASKING, ...CHANGING, REMINDING])]
  return kind === 'email' ? [...new Set([...events, ...ASKING, ...ASKING_MORE, REMINDING])] : events
}

const MAY_ANSWER: Permission = 'approvals:answer'

/**
 * The people a pending approval asks: those it was worked out to ask now (`asked_of`). Rows from before that was worked out have no
 * `due_at` either: of them, those whom the specs name in the directory. Only who may answer at all, and not who asked.
 */
export function asked(
  approval: Pick<Approval, 'specs' | 'requested_by' | 'raised_by' | 'agent' | 'asked_of' | 'due_at'>,
  { principals }: Directory,
): Principal[] {
  const { specs, asked_of, due_at } = approval
  const barred = [approval.requested_by, approval.raised_by, approval.agent]
  const isAsked = (each: Principal) =>
    asked_of.length > 0 || due_at !== null
      ? asked_of.includes(each.principal)
      : specs.some(({ from }) => from.some((who) => isNamed(who, each)))
  return principals.filter(
    (each) =>
      isPerson(each) && ROLES[each.role].includes(MAY_ANSWER) && !barred.includes(each.principal) && isAsked(each),
  )
}

const isPerson = ({ kind, disabled_at }: Principal) => kind === 'person' && disabled_at === null

/** Unlike an answer's check: an admin may stand in for a role, but is not who was asked. */
function isNamed(who: string, { role, team, principal }: Principal): boolean {
  const at = who.indexOf(':')
  const name = who.slice(at + 1)
  const own: Record<string, string | null> = { role, team, principal }
  return Object.hasOwn(own, who.slice(0, at)) && own[who.slice(0, at)] === name
}

/** One message goes to no more people than this: past it, asking everyone is asking nobody. */
export const MOST_ASKED = 100

/** To whom one message goes, as `deliveries.recipient` names them, and whether it puts the question. */
export interface Addressed {
  recipient: string
  asks: boolean
}

/**
 * Who is told of an entry by this channel. A mail goes to whom the entry asks or concerns and to the channel's own addresses; where it
 * has some, nobody is guessed, but whoever is asked is always told.
 * @param known what this channel has of it already: of a mail channel who was mailed the question, of Slack the messages that put it, of
 * PagerDuty what an incident was raised of
 * @param stakeholders of the rollout that it is about: declared, so they are told beside the channel's own addresses
 */
export function addressed(
  channel: Channel,
  entry: Entry,
  approval: Approval | null,
  directory: Directory,
  known: ReadonlySet<string>,
  stakeholders: readonly Principal[] = [],
): Addressed[] {
  const kind = String(entry.kind)
  const isHeard = channel.events.includes(kind)
  if (channel.kind === 'webhook') return isHeard ? [{ recipient: 'endpoint', asks: false }] : []
  if (channel.kind === 'slack') return inConversation(channel, kind, approval, known)
  if (channel.kind === 'pagerduty') {
    if (known.size > 0 && isEnd(entry, channel.events)) return [{ recipient: RESOLVE, asks: false }]
    return isHeard ? [{ recipient: TRIGGER, asks: false }] : []
  }
  const isAnew = ASKING.includes(kind)
  const isReminder = kind === REMINDING
  const asks = (isAnew || isReminder || ASKING_MORE.includes(kind)) && channel.events.includes(QUESTION)
  const own = isHeard ? channel.settings.to.map((address) => `mailto:${address}`) : []
  if (asks && approval?.status === 'pending') {
    const reminded = isReminder ? listOf(entry.asked_of) : []
    const those = asked(approval, directory).filter(({ principal }) => !isReminder || reminded.includes(principal))
    const people = reachable(those).filter((each) => isAnew || isReminder || !known.has(each))
    return [...people, ...own].map((recipient) => ({ recipient, asks: recipient.startsWith('principal:') || isAnew }))
  }
  // A question that was answered before anybody was told of it.
  if (!isHeard || kind === QUESTION) return []
  const guessed = own.length > 0 || stakeholders.length > 0 ? [] : concerned(entry, approval, directory)
  const people = [...reachable([...stakeholders, ...guessed]), ...own]
  return people.map((recipient) => ({ recipient, asks: false }))
}

/** Recipients in Slack and at PagerDuty; `update:` and the id of the message that is changed. */
export const CONVERSATION = 'conversation'
export const UPDATE = 'update:'
export const TRIGGER = 'trigger'
export const RESOLVE = 'resolve'

/** A question goes into the conversation once for everybody, and again as a reminder; what stands there is changed, which wakes nobody. */
function inConversation(
  { events }: Channel,
  kind: string,
  approval: Approval | null,
  messages: ReadonlySet<string>,
): Addressed[] {
  const all = CHANGING.includes(kind) ? [...messages].map((id) => ({ recipient: `${UPDATE}${id}`, asks: false })) : []
  const isQuestion = (ASKING.includes(kind) || kind === REMINDING) && events.includes(QUESTION)
  if (isQuestion && approval?.status === 'pending') all.push({ recipient: CONVERSATION, asks: true })
  else if (events.includes(kind) && kind !== QUESTION) all.push({ recipient: CONVERSATION, asks: false })
  return all
}

const reachable = (people: readonly Principal[]) =>
  people
    .filter(({ email }) => email !== null)
    .map(({ principal }) => `principal:${principal}`)
    .slice(0, MOST_ASKED)

/** Of other entries: whom it names, whom its approval asked, else who leads the team that owns its agent. */
function concerned(entry: Entry, approval: Approval | null, directory: Directory): Principal[] {
  const named = directory.principals.filter((each) => isPerson(each) && each.principal === entry.principal)
  if (named.length > 0) return named
  if (approval !== null) return asked(approval, directory)
  const team = teamOf(entry, null, directory)
  const leads = directory.teams.find((each) => each.team === team)?.leads ?? []
  return directory.principals.filter((each) => isPerson(each) && leads.includes(each.principal))
}

/** The team that an entry names, or that owns the agent it speaks of. */
export function teamOf(entry: Entry, approval: Approval | null, { principals }: Directory): string | null {
  if (typeof entry.team === 'string') return entry.team
  const names = [entry.agent, approval?.agent, entry.principal, entry.actor]
  for (const name of names) {
    const found = principals.find(({ principal }) => principal === name)
    if (found !== undefined && found.team !== null) return found.team
  }
  return null
}

/** A mail as it is written; addresses and ids are the sender's matter. */
export interface Letter {
  subject: string
  text: string
  html: string
}

/** What a mail about an open question shows. */
export interface Question {
  approval: Approval
  job: Job
  /** Screened; undefined: withheld, see `withheld`. */
  input: Json | undefined
  withheld: string | null
  /** Hashes the short form must stay apart from. */
  alike: readonly string[]
  /** Null: this recipient gets none. */
  link: string | null
  now: number
}

/** Characters of what others wrote. A mail is a notice: the whole stands on the page and in the plane. */
const LINE = 200
const INPUT = 1500

/** The question as a mail. What agents and policy wrote is abridged, in one line or quoted, and holds no address a mail program would make a link of. */
export function questionLetter({ approval, job, input, withheld, alike, link, now }: Question): Letter {
  const short = shortForm(approval.grant_hash, alike)
  const rows: [string, string][] = [
    ['Agent', said(approval.agent)],
    ['Topic', said(approval.topic)],
    ['Asked by', said(approval.requested_by)],
    ['Why', said(approval.reason)],
    ['Rules', said(approval.rules.join(', '))],
    ['Environment', said(job.effective.environment ?? '-')],
    ['Action', said(job.effective.action_type ?? '-')],
    ['Grant', short],
    ['Approval', approval.approval_id],
    ['Open until', `${new Date(approval.expires_at).toISOString()} (${minutes(approval.expires_at - now)})`],
  ]
  const shownInput = withheld ?? quoted(JSON.stringify(input ?? null, null, 2))
  const how =
    link === null
      ? `Answer with: sallyport approvals approve ${approval.approval_id}`
      : 'Look at it and answer here. The link is for you alone, and for one answer: whoever has it answers in your name.'
  return {
    subject: `Approval ${short}: ${plain(approval.agent, 60)} asks for ${plain(approval.topic, 80)}`,
    text: [
      'An agent asks to be let through.',
      '',
      ...rows.map(([name, value]) => `${`${name}:`.padEnd(13)}${value}`),
      '',
      'Input:',
      ...shownInput.split('\n').map((line) => `| ${line}`),
      '',
      how,
      ...(link === null ? [] : ['', link]),
      '',
    ].join('\n'),
    html: page(
      'An agent asks to be let through.',
      rows,
      `<p>Input:</p><pre>${html(shownInput)}</pre><p>${html(how)}</p>${link === null ? '' : `<p><a href="${html(link)}">Look at it and answer</a></p>`}`,
    ),
  }
}

/** Any other entry as a mail: its fields, a line each. */
export function noticeLetter(entry: Entry): Letter {
  const { kind, at, ...rest } = entry
  const rows = Object.entries(rest)
    .filter(([, value]) => value !== null)
    .slice(0, 40)
    .map(([name, value]): [string, string] => [name, said(String(value))])
  rows.unshift(['at', new Date(Number(at)).toISOString()])
  const title = plain(String(kind), 80)
  const about = [entry.agent, entry.topic, entry.channel, entry.principal].find((each) => typeof each === 'string')
  return letterOf(title, rows, about === undefined ? title : `${title}: ${plain(String(about), 100)}`)
}

/** Lines of a name and what is to be said of it, inert already. */
export function letterOf(title: string, rows: readonly [string, string][], subject = title): Letter {
  return {
    subject,
    text: [title, '', ...rows.map(([name, value]) => `${`${name}:`.padEnd(16)} ${value}`), ''].join('\n'),
    html: page(title, rows, ''),
  }
}

/** One line of what somebody else wrote. Mail programs make links of addresses in plain text: these stay text. */
const said = (text: string) => unlinked(plain(text, LINE))
export const unlinked = (text: string) =>
  text.replaceAll('://', '[:]//').replaceAll(/\bwww\./gi, (www) => `${www.slice(0, 3)}[.]`)

function quoted(text: string): string {
  const lines = text.slice(0, INPUT).split('\n')
  const shown = lines.map((line) => unlinked(plain(line, 400))).join('\n')
  return text.length <= INPUT ? shown : `${shown}\n… ${text.length - INPUT} more characters`
}

const minutes = (ms: number) =>
  ms < 5_400_000 ? `${Math.max(0, Math.round(ms / 60_000))} min` : `${Math.round(ms / 3_600_000)} h`

function page(title: string, rows: readonly [string, string][], rest: string): string {
  const cells = rows.map(([name, value]) => `<tr><th align="left">${html(name)}</th><td>${html(value)}</td></tr>`)
  return `<!doctype html><html><body><p>${html(title)}</p><table cellpadding="4">${cells.join('')}</table>${rest}</body></html>`
}

/** An approval as a webhook shows it: enough to ask somebody, and to answer by API. */
export function toldApproval(approval: Approval, alike: readonly string[]) {
  return {
    approval_id: approval.approval_id,
    status: approval.status,
    job_id: approval.job_id,
    agent: approval.agent,
    topic: approval.topic,
    requested_by: approval.requested_by,
    requested_at: approval.requested_at,
    expires_at: approval.expires_at,
    reason: approval.reason,
    rules: approval.rules,
    from: [...new Set(approval.specs.flatMap(({ from }) => from))],
    job_hash: approval.job_hash,
    grant_hash: approval.grant_hash,
    short_hash: shortForm(approval.grant_hash, alike),
  }
}
