import type { Command } from 'commander'
import type { Impact } from '../contract/policy.js'
import { online, type ServerContext, wholeNumber } from './command.js'
import { EXIT, type Exit } from './exit.js'
import { readPolicyFiles } from './policy-files.js'
import { paintWord } from './render.js'
import { fields, instant, printable, type Terminal } from './terminal.js'

/** Decisions asked for in one call; the server works on them while others have their turns. */
const AT_ONCE = 2000

interface Flags {
  snapshot?: string
  most?: number
  before?: string
  exitCode?: boolean
}

export function impactCommand(policy: Command): void {
  const command = policy
    .command('impact')
    .description('which recorded decisions of a server a policy would have made otherwise')
    .argument('[path...]', 'files and folders of one policy')
    .option('--snapshot <id>', 'a stored snapshot instead')
    .option('--most <n>', 'decisions to look at, newest first (all that are kept)', wholeNumber(1, 10_000_000))
    .option('--before <id>', 'go on with older decisions than this: where a run that was cut ended')
    .option('--exit-code', 'exit 1 where one would let more through')
  online<Flags, [string[]]>(command, 'admin', impact)
}

async function impact({ client, terminal }: ServerContext, flags: Flags, paths: string[]): Promise<Exit> {
  const asked =
    flags.snapshot === undefined ? { files: await readPolicyFiles(paths) } : { policy_snapshot: flags.snapshot }
  const total: Impact = {
    looked_at: 0,
    unchanged: 0,
    undecidable: 0,
    oldest_at: null,
    changes: [],
    next: flags.before ?? null,
    share: 0,
  }
  const progress = terminal.progress()
  try {
    for (let left = flags.most ?? Number.POSITIVE_INFINITY; left > 0; left -= AT_ONCE) {
      const before = total.next === null ? {} : { before: total.next }
      add(total, await client.policy.impact({ ...asked, ...before, most: Math.min(left, AT_ONCE) }))
      progress.say(`${total.looked_at} recorded decisions looked at, ${Math.floor(total.share * 100)} % of the time`)
      if (total.next === null) break
    }
  } catch (error) {
    if (total.looked_at > 0 && total.next !== null)
      terminal.note(`cut after ${total.looked_at} decisions; --before ${total.next} goes on`)
    throw error
  } finally {
    progress.done()
  }
  terminal.show(total, () => impactText(total, terminal))
  return flags.exitCode === true && total.changes.some(({ effect }) => effect === 'looser') ? EXIT.no : EXIT.done
}

/** Pages come newest first, so the examples of the first are the newest. */
function add(total: Impact, page: Impact): void {
  total.looked_at += page.looked_at
  total.unchanged += page.unchanged
  total.undecidable += page.undecidable
  total.oldest_at = page.oldest_at ?? total.oldest_at
  total.next = page.next
  total.share = page.share
  for (const change of page.changes) {
    const known = total.changes.find(({ before, after }) => before === change.before && after === change.after)
    if (known === undefined) total.changes.push(change)
    else known.count += change.count
  }
}

function impactText(total: Impact, { color }: Terminal): string {
  const head = fields(
    [
      [
        'looked at',
        `${total.looked_at} decisions${total.oldest_at === null ? '' : ` since ${instant(total.oldest_at)}`}`,
      ],
      ['the same', total.unchanged],
      ['not known', total.undecidable === 0 ? null : `${total.undecidable}, their payload was erased`],
    ],
    color,
  )
  const changes = total.changes.map(({ before, after, effect, count, examples }) => {
    const words = `${paintWord(before, color)(before)} → ${paintWord(after, color)(after)}`
    const way = effect === 'looser' ? color.red(effect) : effect === 'tighter' ? color.green(effect) : effect
    const shown = examples.map(
      ({ decision_id, agent, topic, after: then }) =>
        `    ${decision_id}  ${printable(agent)}  ${printable(topic)}  ${printable(then.reason)}`,
    )
    return [`${count}  ${words}  ${way}`, ...shown].join('\n')
  })
  return [head, ...(changes.length === 0 ? ['no decision would have been another'] : changes)].join('\n')
}
