import { type Caller, may } from '../core/access.js'
import type { Approval } from '../core/approval.js'
import type { Job } from '../core/job.js'
import type { Json } from '../core/json.js'
import { hashLink, isPageNonce, type LinkEnd, linkEnd, pageNonce, readToken, sameHash } from '../core/link.js'
import { Problem } from '../errors.js'
import { getApproval } from '../store/approvals.js'
import { getJob, loadPayload } from '../store/jobs.js'
import { type FoundLink, findLink } from '../store/links.js'
import type { World } from '../store/world.js'

/** A link that may be answered, and all that whoever answers must see. */
export interface OpenLink {
  /** Who answers: the person it was mailed to, with the role and team they have now. */
  caller: Caller
  approval: Approval
  job: Job
  input: Json
  context: Json
  /** For the form of the page. */
  nonce: string
}

/** Where a link is refused that belongs to no tenant, it is the operator who should know. */
const NOBODYS = 'default'

const WHY: Record<LinkEnd, string> = {
  used: 'This link was used: one answer was given with it',
  closed: 'The question is closed',
  expired: 'The time to answer is over',
  stale: 'What is asked changed since the mail was written',
}

/**
 * Opens a link; it does nothing to the approval. Whoever has the link is taken for the person it was sent to.
 * Throws Problem `not_found` (no such link, or forged), `link_gone` (used, expired, closed), `approval_stale`, `forbidden`.
 */
export async function openLink(world: World, token: string): Promise<OpenLink> {
  const { link, secret } = await found(world, token)
  const now = world.clock.now()
  const approval = await getApproval(world.db, link.tenant, link.approval_id)
  const job = approval === null ? null : await getJob(world.db, link.tenant, approval.job_id)
  if (approval === null || job === null) throw new Problem('link_gone', 'The question is no longer kept')
  const end = linkEnd(link, approval, now)
  if (end === 'stale') {
    const problem = new Problem('approval_stale', WHY.stale, { approval_id: approval.approval_id })
    return refuse(world, link, end, problem)
  }
  if (end !== null) return refuse(world, link, end, new Problem('link_gone', WHY[end]))
  const caller = callerOf(link)
  if (caller === null || !may(caller, 'approvals:answer'))
    return refuse(world, link, 'not_allowed', new Problem('forbidden', `${link.principal} may not answer approvals`))
  return {
    caller,
    approval,
    job,
    ...(await loadPayload(world.db, job)),
    nonce: pageNonce(secret, approval.grant_hash, now),
  }
}

/** The same for an answer that comes with a page's nonce. Throws also Problem `link_page`. */
export async function openAnswer(world: World, token: string, nonce: string): Promise<OpenLink> {
  const opened = await openLink(world, token)
  const { link, secret } = await found(world, token)
  if (isPageNonce(nonce, secret, opened.approval.grant_hash, world.clock.now())) return opened
  return refuse(world, link, 'no_page', new Problem('link_page'))
}

async function found(world: World, token: string): Promise<{ link: FoundLink; secret: string }> {
  const read = readToken(token)
  const link = read === null ? null : await findLink(world.db, read.link_id)
  if (read !== null && link !== null && sameHash(hashLink(read.secret), link.hash)) return { link, secret: read.secret }
  const problem = new Problem('not_found', 'There is no such link')
  return refuse(world, link, 'forged', problem)
}

/** With the link's id in place of a key's: the answer says what it was given with, and that spends the link. */
function callerOf({ tenant, principal, role, team, link_id, disabled_at }: FoundLink): Caller | null {
  if (role === null || disabled_at !== null) return null
  return {
    tenant,
    principal,
    role,
    team,
    key_id: link_id,
    topics: null,
    act_as: [],
    permissions: ['approvals:answer'],
    leads: [],
    expires_at: null,
  }
}

/** On record at once, its repeats counted. A mail program that looks at an old link every minute must not fill the log. */
async function refuse(world: World, link: FoundLink | null, reason: string, problem: Problem): Promise<never> {
  const at = world.clock.now()
  const tenant = link?.tenant ?? NOBODYS
  const actor = reason === 'forged' ? 'anonymous' : (link?.principal ?? 'anonymous')
  const approval_id = link?.approval_id
  const kind = 'link.refused'
  const refused = { kind, tenant, actor, reason, ...(approval_id === undefined ? {} : { approval_id }) } as const
  await world.refusals.onRecord(refused, at, () =>
    world.ledger.record(tenant, [{ ...refused, at, link_id: link?.link_id }]),
  )
  throw problem
}
