import type { PutAbsence } from '../contract/absences.js'
import { type Caller, may } from '../core/access.js'
import type { Absence, People } from '../core/flow.js'
import { Problem } from '../errors.js'
import { lookAgain } from '../store/approvals.js'
import { getPrincipal } from '../store/directory.js'
import { assertNoToken, standingUnder } from '../store/keys.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6
const LONGEST_MS = 366 * 86_400_000

/**
 * Says when somebody is away and who answers meanwhile: themselves, a lead of their team, or who keeps the directory. From its return
 * the delegate may answer where they may. Throws Problem `invalid`, `forbidden`, `not_found`.
 */
export async function putAbsence(
  world: World,
  caller: Caller,
  principal: string,
  { from, until, delegate = undefined }: PutAbsence,
): Promise<Absence> {
  const { tenant } = caller
  if (delegate !== undefined) await assertNoToken(world, caller)
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    if (gate === null) throw new Problem('no_policy')
    await standingUnder(world, gate, caller)
    const now = world.clock.now()
    const people = await world.people.of(gate, [principal])
    if (!maySay(caller, principal, people)) {
      const refused = { kind: 'absence.refused', tenant, actor: caller.principal, error_code: 'forbidden' } as const
      const write = () => world.ledger.record(tenant, [{ ...refused, at: now, principal }])
      await world.refusals.onRecord(refused, now, write)
      throw new Problem('forbidden', 'Only they themselves or a lead of theirs says that somebody is away')
    }
    if ((await getPrincipal(world.db, tenant, principal)) === null) throw new Problem('not_found')
    assertSound(caller, principal, from, until, delegate ?? null, people)
    const absence: Absence = {
      tenant,
      principal,
      from_at: from,
      until_at: until,
      delegate: delegate ?? null,
      updated_at: now,
      updated_by: caller.principal,
    }
    const { from_at, until_at } = absence
    const told = { principal, from_at, until_at, delegate: absence.delegate }
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      admin: { absences: [absence], gates: [{ ...gate, epoch: gate.epoch + 1 }] },
      facts: [{ kind: 'absence.declared', tenant, at: now, actor: caller.principal, ...told }],
    })
    await world.policies.refresh(tenant)
    if (!receipt.ok) continue
    await lookAgain(world.db, tenant, principal, now)
    return absence
  }
  throw new Problem('overloaded', 'The directory changed faster than it could be written', { retry_after_ms: 200 })
}

function maySay(caller: Caller, principal: string, { teamsOf }: People): boolean {
  if (caller.principal === principal) return true
  const team = teamsOf.get(principal) ?? null
  return (team !== null && caller.leads.includes(team)) || may(caller, 'directory:write')
}

function assertSound(
  caller: Caller,
  principal: string,
  from: number,
  until: number,
  delegate: string | null,
  people: People,
): void {
  const faults: { path: string; message: string }[] = []
  const fault = (path: string, message: string) => faults.push({ path, message })
  if (until - from > LONGEST_MS) fault('/until', 'is more than a year after from')
  if (delegate === principal) fault('/delegate', 'is who is away')
  // Who answers for somebody else is whom they chose, or whom a third person did.
  else if (delegate === caller.principal) fault('/delegate', 'is you: another person names you')
  else if (delegate !== null && people.persons.get(delegate)?.kind !== 'person')
    fault('/delegate', 'is nobody who may approve')
  if (faults.length > 0) throw new Problem('invalid', 'The absence may not be so', { faults })
}
