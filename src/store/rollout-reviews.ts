import { type ReviewStanding, type RolloutReview, weeksOf } from '../core/gates/review.js'
import type { Db } from '../platform/db/seam.js'
import { decodeCursor, type Page, page } from './cursor.js'

export const REVIEW_COLUMNS =
  'tenant, review_id, rollout_id, review, phase, by, key_id, at, valid_until, clean, critical_incidents, evidence_hash, note'
/** The newest of a rollout by then. A year of weeks and a signature of everybody are far fewer. */
const OF_ROLLOUT = `SELECT ${REVIEW_COLUMNS} FROM rollout_reviews WHERE tenant = $1 AND rollout_id = $2 AND at <= $3
  ORDER BY at DESC, review_id DESC LIMIT 1000`
const PAGE = `SELECT ${REVIEW_COLUMNS} FROM rollout_reviews WHERE tenant = $1 AND rollout_id = $2 AND (at, review_id) < ($3, $4)
  ORDER BY at DESC, review_id DESC LIMIT $5`

export function reviewsOf(db: Db, tenant: string, rollout_id: string, at: number): Promise<RolloutReview[]> {
  return db.query<RolloutReview>(OF_ROLLOUT, [tenant, rollout_id, at])
}

/** How the weekly reviews of a rollout stand at an instant; null where there is none. */
export async function reviewStanding(
  db: Db,
  tenant: string,
  rollout_id: string,
  at: number,
): Promise<ReviewStanding | null> {
  return weeksOf(await reviewsOf(db, tenant, rollout_id, at), at)
}

/** The newest first. */
export async function pageOfReviews(
  db: Db,
  tenant: string,
  rollout_id: string,
  { cursor, limit = 50 }: { cursor?: string | undefined; limit?: number | undefined },
): Promise<Page<RolloutReview>> {
  const [at, id] = decodeCursor(cursor) ?? [Number.MAX_SAFE_INTEGER, '~']
  const rows = await db.query<RolloutReview>(PAGE, [tenant, rollout_id, at, id, limit + 1])
  return page(rows, limit, (row) => [row.at, row.review_id])
}
