import type { Approval } from '../core/approval.js'
import { tileLines } from '../core/audit/tile.js'
import { parseEntry } from '../core/audit.js'
import { type Channel, concerns } from '../core/channel.js'
import { addressed, type Directory, type Entry, heardBy, TRIGGER, teamOf } from '../core/message.js'
import { aboutOf, isEnd } from '../core/pagerduty.js'
import { stakeholdersOf } from '../core/rollout/told.js'
import { getApproval } from '../store/approvals.js'
import { placedTiles, tileAt } from '../store/audit.js'
import { allChannels } from '../store/channels.js'
import {
  askedByMail,
  type Delivery,
  enqueue,
  type NotifiedRow,
  notifiedRows,
  questionsIn,
  wasRaised,
} from '../store/deliveries.js'
import { listPrincipals, listTeams } from '../store/directory.js'
import { getRollout, type RolloutRow } from '../store/rollouts.js'
import { withBodies } from '../store/tile-bodies.js'
import type { World } from '../store/world.js'

/** Entries that are looked at when a log is met for the first time. A channel hears of nothing from before it was declared anyway. */
const PAST = 10_000
/** Tiles of one step, as of the event stream. */
const TILES = 16

export interface Notified {
  /** Messages that are to be sent now. */
  made: number
  /** Signed entries of all tenants that were not looked at. */
  behind: number
  /** Entries that were passed over because their file is not to be had: a message about what is that old is none. */
  unread: number
}

/**
 * One step: some new entries of every tenant become messages. The log is the outbox: an entry is there because what it tells was
 * committed, and what is made of it goes into the table with the place reached, so a crash repeats nothing and leaves nothing out.
 */
export async function notify(world: World): Promise<Notified> {
  const done: Notified = { made: 0, behind: 0, unread: 0 }
  const rows = await notifiedRows(world.db)
  if (rows.length === 0) return done
  const channels = await allChannels(world.db)
  for (const row of rows) {
    const own = channels.filter(({ tenant }) => tenant === row.tenant)
    const step = await notifyTenant(world, row, own)
    done.made += step.made
    done.behind += step.behind
    done.unread += step.unread
  }
  return done
}

async function notifyTenant(world: World, { tenant, size, next }: NotifiedRow, channels: Channel[]): Promise<Notified> {
  const from = next ?? Math.max(0, size - PAST)
  // With nobody to tell, nothing is read: an installation without channels pays one statement.
  if (channels.length === 0) {
    await enqueue(world.db, tenant, size, [])
    return { made: 0, behind: 0, unread: 0 }
  }
  const first = (await tileAt(world.db, tenant, from))?.first_index ?? from
  const tiles = await withBodies(world, tenant, await placedTiles(world.db, tenant, first, TILES))
  const rows: Delivery[] = []
  const people = once(() => directoryOf(world, tenant))
  let [end, unread] = [from, 0]
  for (const { body, first_index, count } of tiles) {
    const start = first_index ?? 0
    end = Math.max(end, start + count)
    if (body === null) unread += count
    else
      for (const told of entriesFor(body, channels))
        if (start + told.n >= from) await addMessages(world, rows, people, channels, told, start + told.n)
  }
  // A head may cover what no tile holds any more; then there is nothing more to look at.
  const reached = tiles.length === 0 ? size : end
  const made = await enqueue(world.db, tenant, reached, rows)
  return { made, behind: Math.max(0, size - reached), unread }
}

interface Told {
  /** Place in the tile. */
  n: number
  line: string
  entry: Entry
}

/** Entries of a kind that somebody wants. One search for each kind in the whole tile: nearly all hold none of them. */
function entriesFor(body: string, channels: readonly Channel[]): Told[] {
  const kinds = [...new Set(channels.flatMap(heardBy))].map((kind) => `"kind":"${kind}"`)
  const wanted = kinds.filter((kind) => body.includes(kind))
  if (wanted.length === 0) return []
  return tileLines({ body }).flatMap((line, n) => {
    if (!wanted.some((kind) => line.includes(kind))) return []
    const entry = parseEntry(line)
    return entry === null ? [] : [{ n, line, entry }]
  })
}

/** @param rows those of this step; the entry's are added */
async function addMessages(
  world: World,
  rows: Delivery[],
  people: () => Promise<Directory>,
  channels: readonly Channel[],
  { line, entry }: Told,
  index: number,
): Promise<void> {
  const kind = String(entry.kind)
  const at = Number(entry.at)
  // A channel that is down must not make messages to itself of that.
  const mine = channels.filter(
    (each) => each.created_at <= at && heardBy(each).includes(kind) && each.channel !== entry.channel,
  )
  const tenant = mine[0]?.tenant
  if (tenant === undefined) return
  const directory = await people()
  const { approval_id } = entry
  const approval = typeof approval_id === 'string' ? await getApproval(world.db, tenant, approval_id) : null
  const topic = typeof entry.topic === 'string' ? entry.topic : (approval?.topic ?? null)
  const rollout = await rolloutOf(world, tenant, entry)
  const stakeholders = rollout === null ? [] : stakeholdersOf(rollout, directory)
  const about = { topic, team: teamOf(agentOf(entry, rollout), approval, directory) }
  const now = world.clock.now()
  const incident = aboutOf(entry, index)
  for (const channel of mine) {
    const known = await knownOf(world, channel, { entry, approval, incident }, rows)
    // What raised an incident was of these topics and teams; the entry that ends it may name neither.
    const endsOne = channel.kind === 'pagerduty' && known.size > 0
    if (!endsOne && !concerns(channel, about)) continue
    for (const { recipient, asks } of addressed(channel, entry, approval, directory, known, stakeholders))
      rows.push({
        tenant,
        delivery_id: world.ids.id('dlv', now),
        channel: channel.channel,
        tree_index: index,
        recipient,
        asks,
        event: kind,
        entry: line,
        approval_id: approval?.approval_id ?? null,
        status: 'pending',
        attempts: 0,
        next_at: now,
        since_at: now,
        error: null,
        created_at: now,
        finished_at: null,
        posted: null,
        about: channel.kind === 'pagerduty' ? incident : null,
      })
  }
}

/** The rollout that an entry is about; entries of its jobs are about those. */
async function rolloutOf({ db }: World, tenant: string, { kind, rollout_id }: Entry): Promise<RolloutRow | null> {
  return String(kind).startsWith('rollout.') && typeof rollout_id === 'string'
    ? getRollout(db, tenant, rollout_id)
    : null
}

/** Whose rollout it is says who owns it, where the entry names nobody. */
function agentOf(entry: Entry, rollout: RolloutRow | null): Entry {
  const subject = rollout?.document.subject
  return subject?.kind === 'agent' && entry.agent === undefined ? { ...entry, agent: subject.name } : entry
}

/** What the channel has of this already, in the table or among the rows of this step: see `addressed`. */
async function knownOf(
  { db }: World,
  { tenant, channel, kind, events }: Channel,
  { entry, approval, incident }: { entry: Entry; approval: Approval | null; incident: string },
  rows: readonly Delivery[],
): Promise<Set<string>> {
  if (kind === 'pagerduty') {
    if (!isEnd(entry, events)) return new Set()
    const isNew = rows.some((row) => row.channel === channel && row.about === incident && row.recipient === TRIGGER)
    return new Set(isNew || (await wasRaised(db, tenant, channel, incident)) ? [incident] : [])
  }
  if (approval === null || kind === 'webhook') return new Set()
  const own = rows.filter((row) => row.asks && row.approval_id === approval.approval_id && row.channel === channel)
  return kind === 'email'
    ? new Set([...(await askedByMail(db, approval, channel)), ...own.map(({ recipient }) => recipient)])
    : new Set([...(await questionsIn(db, approval, channel)), ...own.map(({ delivery_id }) => delivery_id)])
}

async function directoryOf(world: World, tenant: string): Promise<Directory> {
  const [teams, principals] = await Promise.all([listTeams(world.db, tenant), listPrincipals(world.db, tenant)])
  return { teams, principals }
}

function once<T>(find: () => Promise<T>): () => Promise<T> {
  let found: Promise<T> | null = null
  return () => {
    found ??= find()
    return found
  }
}
