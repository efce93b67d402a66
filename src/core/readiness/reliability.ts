import type { Facts } from './facts.js'
import {
  askPerson,
  block,
  count,
  drillFinding,
  type Finding,
  failedDrill,
  type Judge,
  pass,
  some,
  unknown,
} from './finding.js'
import { ofTopics } from './security.js'

/** So many failures of one class, and none of the other, are no chance any more. */
const ALIKE = 20

export const retryClasses: Judge = ({ failures }) => {
  const { leases, transient, terminal, newest_at } = failures
  const link = '/api/v1/dead-letters'
  const figures = `${transient} transient and ${terminal} terminal among the ${count(leases, 'newest lease')}`
  const more = { at: newest_at }
  if (transient > 0 && terminal > 0) return [pass(`both kinds of failure are told apart: ${figures}`, link, more)]
  if (transient + terminal >= ALIKE) return [block(`all failures are of one class: ${figures}`, link, more)]
  return [
    askPerson('retry_classes', `too few failures to tell whether workers tell them apart: ${figures}`, link, more),
  ]
}

export const timeoutBudgets: Judge = (facts) => {
  const { topics } = facts
  const found = ofTopics(facts, ({ timeout }) => timeout === null, {
    lack: 'no class says a timeout for',
    have: 'all with a timeout of their class',
  })
  const patterns = new Set(topics.map(({ timeout }) => timeout?.pattern))
  // One class for everything is one global timeout, written another way.
  if (worstIsPass(found) && topics.length > 1 && patterns.size === 1)
    return [
      block(`one class, ${[...patterns][0]}, says the timeout of all ${topics.length} topics in use`, '/api/v1/policy'),
    ]
  return found
}

const worstIsPass = (findings: readonly Finding[]) => findings.every(({ state }) => state === 'pass')

export const deadLetterOwners: Judge = (facts) => {
  const owned = ofTopics(facts, ({ owner, respond_within_ms }) => owner === null || respond_within_ms === null, {
    lack: 'no class names both owner and respond_within for',
    have: 'all with an owner and a time to answer (docs/operating/dead-letters.md)',
  })
  const nobody = strangers(facts)
  if (nobody.length > 0) owned.push(block(`owners that the directory does not know: ${some(nobody)}`, '/api/v1/teams'))
  const { open, overdue, more } = facts.deadLetters
  const link = '/api/v1/dead-letters'
  if (overdue > 0)
    owned.push(
      block(`${overdue}${more ? ' or more' : ''} of ${count(open, 'dead letter')} are past the time to answer`, link),
    )
  else owned.push(pass(`${count(open, 'dead letter')} open, none of them overdue`, link))
  const names = new Set(facts.topics.flatMap(({ owner }) => owner ?? []))
  return owned.map((finding) => ({
    ...finding,
    owner: finding.owner ?? (names.size === 1 ? ([...names][0] as string) : null),
  }))
}

/** A team that is in no directory answers nothing. Other words than `team:` name somebody the plane does not keep. */
function strangers({ topics, people }: Facts): string[] {
  const owners = new Set(topics.flatMap(({ owner }) => owner ?? []))
  return [...owners]
    .filter((owner) => owner.startsWith('team:') && !people.teams.includes(owner.slice('team:'.length)))
    .sort()
}

export const heartbeatWatchdog: Judge = (facts, at) => {
  const { live, stale } = facts.watchdog
  const link = '/api/v1/jobs?status=running'
  if (stale.length > 0)
    return [block(`leases that ended a minute ago or more and that nothing took back: ${some(stale)}`, link, { at })]
  const { lost, newest_at } = facts.failures
  const findings = [pass(`${count(live, 'live lease')}, none past its end`, link, { at })]
  if (lost > 0)
    findings.push(
      pass(`${count(lost, 'lost lease')} on record, each taken back`, link, { at: newest_at }),
      ...failedDrill(facts, at, 'worker-crash'),
    )
  else findings.push(drillFinding(facts, at, 'worker-crash'))
  return findings
}

export const idempotentEffects: Judge = (facts, at) => {
  const { in_doubt } = facts.watchdog
  const doubt =
    in_doubt === 0
      ? []
      : [
          unknown(
            `${count(in_doubt, 'job')} in doubt about an effect: settle them first`,
            '/api/v1/jobs?status=ambiguous',
          ),
        ]
  return [drillFinding(facts, at, 'worker-crash'), ...doubt]
}

/** Of item 3: the embedded engine survives a crash of the process, not a power cut. */
export const durableState: Judge = (facts, at) => {
  const { store, record } = facts
  const findings: Finding[] = [...failedDrill(facts, at, 'restore')]
  const link = 'docs/operating/postgres.md'
  const off = [
    ...(store.fsync === 'off' ? ['fsync'] : []),
    ...(store.synchronous_commit === 'off' ? ['synchronous_commit'] : []),
  ]
  if (store.engine === 'pglite')
    findings.push(askPerson('run_state', 'the embedded engine survives the end of its process, not a power cut', link))
  else if (off.length > 0)
    findings.push(block(`Postgres runs with ${off.join(' and ')} off: what was answered may be lost`, link, { at }))
  else findings.push(pass('Postgres answers only for what it has written to disk', link, { at }))
  const { results, pointed, newest_at } = record
  if (pointed < results)
    findings.push(
      block(`${results - pointed} of ${count(results, 'newest result')} have no pointer`, '/api/v1/jobs', {
        at: newest_at,
      }),
    )
  else if (record.sampled === 0)
    findings.push(unknown('no job has finished yet, so no run can be looked up', '/api/v1/jobs'))
  else
    findings.push(
      pass(
        `${count(record.sampled, 'newest finished job')} found by run, ${count(pointed, 'result')} by pointer`,
        '/api/v1/jobs',
        { at: newest_at },
      ),
    )
  return findings
}
