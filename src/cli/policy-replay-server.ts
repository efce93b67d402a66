import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import type { AskReplay, Replay } from '../contract/replays.js'
import { type Context, onlineContext } from './command.js'
import type { ConnectionFlags } from './connection.js'
import { CliError, EXIT, type Exit, usage } from './exit.js'
import type { PolicyFile } from './policy-files.js'
import { fields, instant, printable, type Terminal, table } from './terminal.js'

const LOOK_MS = 250

export interface ServerFlags extends ConnectionFlags {
  recorded?: number | true
  generated?: boolean
  rollout?: string
  log?: string
}

/** The same on the server, which works out what came of it and keeps it; a gate counts nothing else. */
export async function replayOnServer(
  context: Context,
  flags: ServerFlags,
  place: string,
  scenarios: PolicyFile[],
): Promise<Exit> {
  const { client, terminal } = await onlineContext(context, flags, 'admin')
  const snapshot = place === 'active' ? (await client.policy.get()).digest : place
  if (!/^(v1:[0-9a-f]{7,64}|[0-9a-f]{64})$/.test(snapshot))
    throw usage(`${place} is no stored snapshot`, 'store it first: `sallyport policy store`; then give its v1:…')
  let replay = await client.replays.ask(askedBy(flags, snapshot, scenarios))
  const progress = terminal.progress()
  try {
    while (replay.status === 'running') {
      const { scenario_runs, recorded } = replay.progress
      progress.say(`${replay.replay_id}: ${scenario_runs} runs of scenarios, ${recorded} recorded submits`)
      await wait(LOOK_MS)
      replay = await client.replays.get(replay.replay_id)
    }
  } finally {
    progress.done()
  }
  if (replay.status === 'failed')
    throw new CliError(EXIT.fault, 'replay_failed', `The replay failed: ${printable(replay.reason ?? '')}`)
  if (flags.log !== undefined) await keep(client.replays.log(replay.replay_id), flags.log)
  terminal.show(replay, () => replayText(replay, terminal))
  const { bypasses = 0, overblocked = 0, unsafe_duplicates = 0 } = replay.counts ?? {}
  return bypasses + overblocked + unsafe_duplicates === 0 ? EXIT.done : EXIT.no
}

function askedBy({ recorded, generated, rollout }: ServerFlags, snapshot: string, scenarios: PolicyFile[]): AskReplay {
  return {
    snapshot,
    scenarios,
    ...(rollout === undefined ? {} : { rollout_id: rollout }),
    ...(recorded === undefined ? {} : { recorded: recorded === true ? {} : { limit: recorded } }),
    ...(generated === true ? { generated: true } : {}),
  }
}

async function keep(lines: AsyncIterable<string>, file: string): Promise<void> {
  const out = createWriteStream(file)
  for await (const line of lines) if (!out.write(`${line}\n`)) await once(out, 'drain')
  out.end()
  await once(out, 'finish')
}

function replayText(replay: Replay, terminal: Terminal): string {
  const { color } = terminal
  const { counts, log, valid_until } = replay
  const bad = (n = 0) => (n === 0 ? color.green('0') : color.red(String(n)))
  const head = fields(
    [
      ['replay', replay.replay_id],
      ['policy', replay.policy_snapshot],
      ['rollout', replay.rollout_id],
      [
        'scenarios',
        `${counts?.scenarios ?? 0}, and ${counts?.recorded ?? 0} recorded submits: ${counts?.runs ?? 0} runs`,
      ],
      ['in the log', `${log?.entries ?? 0} denials, sha256 ${log?.sha256 ?? ''}`],
      ['critical bypasses', bad(counts?.critical_bypasses)],
      ['bypasses', bad(counts?.bypasses)],
      ['overblocked', bad(counts?.overblocked)],
      ['unsafe duplicates', bad(counts?.unsafe_duplicates)],
      ['counts until', valid_until === null ? null : instant(valid_until)],
    ],
    color,
  )
  const rows = rowsOf(replay)
  if (rows.length === 0) return head
  const columns = [
    { title: 'FAULT', of: (row: Row) => row.fault },
    { title: 'OF', of: (row: Row) => row.of, whole: true as const },
    { title: 'AS', of: (row: Row) => row.as },
    { title: 'DECISION', of: (row: Row) => row.decision },
    { title: 'RULES', of: (row: Row) => row.rules },
  ]
  return [head, '', table(rows, columns, terminal)].join('\n')
}

interface Row {
  fault: string
  of: string
  as: string
  decision: string
  rules: string
}

function rowsOf({ suite, recorded }: Replay): Row[] {
  const fault = (one: { fault: string; critical: boolean }) =>
    one.critical && one.fault === 'bypass' ? 'critical bypass' : one.fault
  const scenarios = (suite?.findings ?? []).map((one) => ({
    ...{ fault: fault(one), of: one.scenario, as: one.variant ?? 'written' },
    ...{ decision: one.decision, rules: one.rules.join(', ') },
  }))
  const submits = (recorded?.findings ?? []).map((one) => ({
    ...{ fault: fault(one), of: one.decision_id, as: one.variant ?? printable(`${one.agent} ${one.topic}`) },
    ...{ decision: `${one.before} → ${one.after}`, rules: one.rules.join(', ') },
  }))
  return [...scenarios, ...submits]
}
