import { type Directory, type Entry, type Letter, letterOf, unlinked } from '../message.js'
import type { Principal } from '../principal.js'
import { plain } from '../text.js'
import { AREAS, type RolloutDocument, shareText } from './document.js'

/** What people are told of a rollout is written from its declaration and the entry: nothing of it is a text of an agent's or a worker's. */
export interface ToldRollout {
  rollout_id: string
  document: RolloutDocument
}

/** Everybody whom the declaration names: stakeholders, and owners as far as they are people or teams of the directory. */
export function stakeholdersOf({ document }: ToldRollout, directory: Directory): Principal[] {
  const owners = AREAS.map((area) => document.owners[area])
  const words = [...document.stakeholders, ...owners]
  return directory.principals.filter(
    (each) =>
      each.kind === 'person' && each.disabled_at === null && words.some((word) => isNamed(word, each, directory)),
  )
}

/** An owner may be written as a bare name: of somebody, or of a team. */
function isNamed(word: string, { principal, team, role }: Principal, { teams }: Directory): boolean {
  const at = word.indexOf(':')
  const [kind, name] = [word.slice(0, Math.max(0, at)), word.slice(at + 1)]
  const named = teams.find((each) => each.team === name)
  switch (kind) {
    case 'team':
      return team === name
    case 'role':
      return role === name
    case 'principal':
      return principal === name
    case 'lead':
      return named?.leads.includes(principal) ?? false
    case 'oncall':
      return named?.on_call?.includes(principal) ?? false
    default:
      return principal === word || team === word
  }
}

/** One line of what somebody wrote. */
const said = (text: unknown) => unlinked(plain(String(text), 300))

/** The entry as a message: what happened, why, what comes now, who answers for it, and where to look. */
export function rolloutLetter(entry: Entry, rollout: ToldRollout, publicUrl: string | null): Letter {
  const { document, rollout_id } = rollout
  const { owners, subject } = document
  const [title, now] = newsOf(entry, document)
  const why = entry.reason ?? entry.asked_by
  const rows: [string, string][] = [
    ['What', subject.kind === 'policy' ? 'the policy' : said(`${subject.kind} ${subject.name}`)],
    ['Candidate', said(`${subject.candidate}, in the place of ${subject.stable ?? 'nothing'}`)],
    ['Why', why === undefined || why === null ? '-' : said(why)],
    ...(typeof entry.trigger === 'string' ? ([['Trigger', said(entry.trigger)]] as [string, string][]) : []),
    ...detailsOf(entry),
    ['By', said(entry.actor)],
    ['At', new Date(Number(entry.at)).toISOString()],
    ['Now', now],
    ...AREAS.map((area): [string, string] => [`For ${area}`, said(owners[area])]),
    ['Look', `sallyport rollouts report ${rollout_id}`],
    ...(publicUrl === null ? [] : ([['Plane', publicUrl]] as [string, string][])),
  ]
  return letterOf(`${title}: ${plain(document.rollout, 100)}`, rows)
}

/** Title, and what happens now. */
function newsOf(entry: Entry, { subject, on_rollback, phases }: RolloutDocument): [string, string] {
  const stable = subject.stable === null ? 'people do' : `${said(subject.stable)} does`
  const share = shareText(phases[Number(entry.phase)]?.share_bp ?? 0)
  switch (String(entry.kind)) {
    case 'rollout.rolled_back': {
      const leases = on_rollback === 'drain' ? 'What runs may end by itself' : 'What runs is told to end'
      return [
        'Rolled back',
        `Nothing of the candidate is let through any more, ${stable} its work. ${leases}; then what it did is undone, last first, as far as its workers said how. You hear when that is over.`,
      ]
    }
    case 'rollout.recovered':
      return ['Recovered', 'The rollback is over: nothing of the candidate runs, waits or is left to be undone.']
    case 'rollout.leases_ended':
      return ['Rollback: nothing of the candidate runs', 'What it did is being undone.']
    case 'rollout.compensation_blocked':
      return entry.waits === true
        ? ['Rollback: a compensation waits', 'It goes on by itself once what it waits for is there.']
        : [
            'Rollback: a compensation needs somebody',
            'What was done before it is not undone until it is asked again (sallyport rollouts retry) or somebody says how it was settled (sallyport rollouts settle).',
          ]
    case 'rollout.compensation_asked':
      return [
        'Rollback: a compensation is asked',
        entry.waits_for_people === true ? 'It waits for an approval.' : 'It waits for a worker.',
      ]
    case 'rollout.paused':
      return ['Paused', `The slice stays at ${share}.`]
    case 'rollout.promoted':
      return ['Promoted', `${said(subject.candidate)} does all of the work.`]
    case 'rollout.overridden':
      return ['Went on without its gate', `The slice is ${share}. Two people answer for it.`]
    default:
      return [said(String(entry.kind).slice('rollout.'.length).replaceAll('_', ' ')), `The slice is ${share}.`]
  }
}

const SHOWN = [
  'effect_key',
  'job_id',
  'run_id',
  'topic',
  'compensation_job_id',
  'approval_id',
  'leases',
  'refused',
  'compensated',
  'settled',
  'void',
  'took_ms',
]

const detailsOf = (entry: Entry): [string, string][] =>
  SHOWN.flatMap((name): [string, string][] => {
    const value = entry[name]
    return value === undefined || value === null ? [] : [[name, said(value)]]
  })
