import type { PastLook } from '../core/gates/gate.js'
import type { Sample, TriggerName } from '../core/gates/trigger.js'
import { holdsWhileBlind } from '../core/gates/vigil.js'
import type { Rollout } from '../core/rollout/step.js'
import type { Db } from '../platform/db/seam.js'

/** The newest look that was not clean: whatever is older counts no more. */
const UNCLEAN = `SELECT from_at AS "from", to_at AS "to", clean FROM gate_looks
  WHERE tenant = $1 AND rollout_id = $2 AND NOT clean AND to_at < $3 AND at < $4 AND from_at >= $5 ORDER BY to_at DESC LIMIT 1`
/** The newest that ends by then. */
const ENDING = `SELECT from_at AS "from", to_at AS "to", clean FROM gate_looks
  WHERE tenant = $1 AND rollout_id = $2 AND to_at <= $3 AND at < $4 AND from_at >= $5 ORDER BY to_at DESC LIMIT 1`
/**
 * Not before evidence that was kept meanwhile: that did not see it, and would come out otherwise when it is worked out again. One that was not
 * clean always stays; a clean one only after all the others.
 */
const LOOKED = `INSERT INTO gate_looks (tenant, rollout_id, to_at, from_at, clean, at) SELECT $1, $2, $3, $4, $5::boolean,
    greatest($6::bigint, (SELECT max(evaluated_at) FROM gate_evidence WHERE tenant = $1 AND rollout_id = $2))
  WHERE NOT $5::boolean OR NOT EXISTS (SELECT 1 FROM gate_looks WHERE tenant = $1 AND rollout_id = $2 AND to_at >= $3)
  ON CONFLICT (tenant, rollout_id, to_at, clean) DO NOTHING`
const UNCLEAN_SINCE = `SELECT at FROM gate_looks WHERE tenant = $1 AND rollout_id = $2 AND NOT clean AND at >= $3 AND from_at >= $4
  ORDER BY at LIMIT 1`

const SEEN = `INSERT INTO trigger_looks (tenant, rollout_id, trigger, at, value, samples, baseline, baseline_samples)
  SELECT $1, $2, trigger, at, value, samples, baseline, baseline_samples
  FROM json_to_recordset($3::json) AS x(trigger text, at bigint, value float8, samples bigint, baseline float8, baseline_samples bigint)
  ON CONFLICT (tenant, rollout_id, trigger, at) DO NOTHING`
/** A trigger that goes on and off for ever without once being clear would keep every look; no term lasts longer than a part of a day. */
const SERIES = `SELECT trigger, at, value, samples, baseline, baseline_samples FROM trigger_looks
  WHERE tenant = $1 AND rollout_id = $2 AND trigger = $3 ORDER BY at DESC LIMIT 9000`
const CLEAR = `DELETE FROM trigger_looks t USING json_to_recordset($3::json) AS x(trigger text, at bigint)
  WHERE t.tenant = $1 AND t.rollout_id = $2 AND t.trigger = x.trigger AND t.at < x.at`

const WATCH = 'SELECT watched_at, blind, breaching, gate_at FROM rollout_watches WHERE tenant = $1 AND rollout_id = $2'
const WATCHED = `INSERT INTO rollout_watches (tenant, rollout_id, watched_at, blind, breaching) VALUES ($1, $2, $3, $4::jsonb, $5::jsonb)
  ON CONFLICT (tenant, rollout_id) DO UPDATE
  SET watched_at = excluded.watched_at, blind = excluded.blind, breaching = excluded.breaching`
const ASK_AT = `INSERT INTO rollout_watches (tenant, rollout_id, gate_at) VALUES ($1, $2, $3)
  ON CONFLICT (tenant, rollout_id) DO UPDATE SET gate_at = excluded.gate_at`

const FORGET_LOOKS = `DELETE FROM gate_looks WHERE (tenant, rollout_id, to_at) IN
  (SELECT tenant, rollout_id, to_at FROM gate_looks WHERE at < $1 ORDER BY at LIMIT $2)`
const FORGET_SEEN = `DELETE FROM trigger_looks WHERE (tenant, rollout_id, trigger, at) IN
  (SELECT tenant, rollout_id, trigger, at FROM trigger_looks WHERE at < $1 ORDER BY at LIMIT $2)`

type Of = readonly [tenant: string, rollout_id: string]

/** Where looks of a gate are asked for: before `to`, and written before `now`. */
export interface LookSpan {
  to: number
  now: number
  phase_at: number
  width: number
  consecutive: number
}

/**
 * The earlier looks that `looksThatCount` of core/gates/gate.ts picks, without the tens of thousands of a week beside them: one look-up for
 * each window in a row.
 */
export async function pastLooks(db: Db, [tenant, rollout_id]: Of, span: LookSpan): Promise<PastLook[]> {
  const { to, now, phase_at, width, consecutive } = span
  if (consecutive < 2) return []
  const one = async (sql: string, until: number) =>
    (await db.query<PastLook>(sql, [tenant, rollout_id, until, now, phase_at]))[0]
  const unclean = await one(UNCLEAN, to)
  const looks: PastLook[] = unclean === undefined ? [] : [unclean]
  for (let edge = to - width; looks.length < consecutive; ) {
    const look = await one(ENDING, edge)
    if (look === undefined || !look.clean || (unclean !== undefined && look.to < unclean.to)) break
    looks.push(look)
    edge = look.from
  }
  return looks
}

/** @param at when it is written down */
export async function keepLook(
  db: Db,
  [tenant, rollout_id]: Of,
  { from, to, clean }: PastLook,
  at: number,
): Promise<void> {
  await db.query(LOOKED, [tenant, rollout_id, to, from, clean, at])
}

/**
 * Whether some look at this phase, at that instant or later, was not clean. Evidence that says pass and is older promotes nothing then: the
 * gate has said something else since. Whoever asks a gate looks too.
 * @param at when the evidence was made
 */
export async function wasUncleanSince(
  db: Db,
  tenant: string,
  rollout_id: string,
  phase_at: number,
  at: number,
): Promise<boolean> {
  return (await db.query(UNCLEAN_SINCE, [tenant, rollout_id, at, phase_at])).length > 0
}

export type TriggerSeries = Partial<Record<TriggerName, Sample[]>>

/** What was seen of the triggers; samples of nothing are left out. */
export async function keepSeen(
  db: Db,
  [tenant, rollout_id]: Of,
  seen: Partial<Record<TriggerName, Sample>>,
): Promise<void> {
  const rows = Object.entries(seen).flatMap(([trigger, { at, value, samples = 0, baseline, baseline_samples = 0 }]) =>
    value === null || !Number.isFinite(value) || !Number.isSafeInteger(at)
      ? []
      : [{ trigger, at, value, samples, baseline: baseline ?? null, baseline_samples }],
  )
  if (rows.length > 0) await db.query(SEEN, [tenant, rollout_id, JSON.stringify(rows)])
}

/** What was seen of each of these triggers since it was last clear. */
export async function seenOf(
  db: Db,
  [tenant, rollout_id]: Of,
  triggers: readonly TriggerName[],
): Promise<TriggerSeries> {
  const series: TriggerSeries = {}
  for (const trigger of triggers) series[trigger] = await db.query<Sample>(SERIES, [tenant, rollout_id, trigger])
  return series
}

/** What is older than these counts no more. */
export async function dropSeen(
  db: Db,
  [tenant, rollout_id]: Of,
  before: readonly { trigger: TriggerName; at: number }[],
): Promise<void> {
  if (before.length > 0) await db.query(CLEAR, [tenant, rollout_id, JSON.stringify(before)])
}

export interface Blindness {
  since: number
  /** It was said in the log. */
  said: boolean
}

export interface WatchRow {
  /** Null before the first time. */
  watched_at: number | null
  blind: Partial<Record<TriggerName, Blindness>>
  /** Of which the newest look said too much. */
  breaching: TriggerName[]
  /** The gate is not asked before. */
  gate_at: number
}

export async function watchOf(db: Db, [tenant, rollout_id]: Of): Promise<WatchRow> {
  const [row] = await db.query<WatchRow>(WATCH, [tenant, rollout_id])
  return row ?? { watched_at: null, blind: {}, breaching: [], gate_at: 0 }
}

export async function keepWatch(
  db: Db,
  [tenant, rollout_id]: Of,
  { watched_at, blind, breaching }: Omit<WatchRow, 'gate_at'>,
): Promise<void> {
  await db.query(WATCHED, [tenant, rollout_id, watched_at, JSON.stringify(blind), JSON.stringify(breaching)])
}

/** The triggers were looked at so lately that nothing goes on unwatched. */
const WATCHED_MS = 60_000

/**
 * Why its triggers hold a promotion back, in words; null where they do not.
 * @param isOwn it goes on by itself: then what no trigger sees holds it too, while people have the evidence before them
 */
export async function promotionHold(
  db: Db,
  { tenant, rollout_id, document, phase }: Pick<Rollout, 'tenant' | 'rollout_id' | 'document' | 'phase'>,
  now: number,
  isOwn: boolean,
): Promise<string | null> {
  const { watched_at, blind, breaching } = await watchOf(db, [tenant, rollout_id])
  if (watched_at === null) return 'Its triggers were not looked at, or one of them takes it back'
  if (now - watched_at > WATCHED_MS)
    return `Its triggers were last looked at ${Math.floor((now - watched_at) / 1000)} s ago`
  if (breaching.length > 0) return `Too much, though not for long enough yet to take it back: ${breaching.join(', ')}`
  if (!isOwn) return null
  const unseen = document.triggers.filter(
    (terms) => blind[terms.trigger] !== undefined && holdsWhileBlind(document, phase, terms),
  )
  return unseen.length === 0 ? null : `Nothing is seen by ${unseen.map(({ trigger }) => trigger).join(', ')}`
}

export async function askNotBefore(db: Db, [tenant, rollout_id]: Of, gate_at: number): Promise<void> {
  await db.query(ASK_AT, [tenant, rollout_id, gate_at])
}

/** Looks of long ago; what they said stands in the evidence. */
export async function forgetLooks(db: Db, before: number, limit: number): Promise<void> {
  await db.query(FORGET_LOOKS, [before, limit])
  await db.query(FORGET_SEEN, [before, limit])
}
