import type { Attest } from '../contract/readiness.js'
import type { Caller } from '../core/access.js'
import type { Attestation } from '../core/readiness/facts.js'
import { Problem } from '../errors.js'
import { getPrincipal } from '../store/directory.js'
import { assertNoToken, standingUnder } from '../store/keys.js'
import { getGate } from '../store/standing.js'
import type { World } from '../store/world.js'

const TRIES = 6
const DAY_MS = 86_400_000
/** A quarter: a word that nobody repeats is no word any more. */
const USUAL_MS = 90 * DAY_MS
const LONGEST_MS = 366 * DAY_MS

/**
 * Takes a person's word for what no row shows. It fills what is unknown and changes nothing else. Throws Problem `invalid`, `forbidden`
 * where who asks is no person.
 */
export async function attest(
  world: World,
  caller: Caller,
  { subject, note, link: where, expires_at }: Attest,
): Promise<Attestation> {
  const { tenant, principal, key_id } = caller
  const link = where ?? null
  await assertNoToken(world, caller)
  for (let tries = 0; tries < TRIES; tries++) {
    const gate = await getGate(world.db, tenant)
    await standingUnder(world, gate, caller)
    await assertPerson(world, caller, subject)
    const now = world.clock.now()
    const attestation: Attestation = {
      tenant,
      attestation_id: world.ids.id('att', now),
      subject,
      attested_by: principal,
      key_id,
      note,
      link,
      at: now,
      expires_at: expires_at ?? now + USUAL_MS,
    }
    assertBounds(attestation)
    const { attestation_id, expires_at: until } = attestation
    const read = gate ?? { tenant, snapshot: null, epoch: 0, file_digest: null }
    const receipt = await world.ledger.commit({
      tenant,
      gate: null,
      alone: [],
      rows: {},
      // The door reads nothing of it; that the gate moves is what lets no key attest after it was revoked.
      admin: { attestations: [attestation], gates: [{ ...read, epoch: read.epoch + 1 }] },
      facts: [
        {
          kind: 'readiness.attested',
          tenant,
          at: now,
          actor: principal,
          key_id,
          attestation_id,
          subject,
          note,
          link,
          until,
        },
      ],
    })
    await world.policies.refresh(tenant)
    if (receipt.ok) return attestation
  }
  throw new Problem('overloaded', 'The gate moved faster than this could be written', { retry_after_ms: 200 })
}

/** A key may be an agent's, and a service has no name to stand behind a word with. */
async function assertPerson(world: World, { tenant, principal, key_id }: Caller, subject: string): Promise<void> {
  const found = await getPrincipal(world.db, tenant, principal)
  if (found?.kind === 'person') return
  const now = world.clock.now()
  const refused = { kind: 'readiness.refused', tenant, actor: principal, key_id, error_code: 'forbidden' } as const
  await world.refusals.onRecord(refused, now, () => world.ledger.record(tenant, [{ ...refused, at: now, subject }]))
  throw new Problem('forbidden', `${principal} is no person: only somebody with a name attests`)
}

function assertBounds({ at, expires_at }: Attestation): void {
  const message =
    expires_at <= at ? 'is over already' : expires_at > at + LONGEST_MS ? 'is more than a year from now' : null
  if (message !== null)
    throw new Problem('invalid', 'The attestation may not be so', { faults: [{ path: '/expires_at', message }] })
}
