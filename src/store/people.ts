import { type Absence, mayApprove, type People, type Person } from '../core/flow.js'
import type { Source, Team } from '../core/principal.js'
import type { Db } from '../platform/db/seam.js'
import { listAbsences } from './absences.js'
import { listTeams } from './directory.js'
import type { Gate } from './standing.js'
import { textArray } from './text-array.js'

/** By an index that holds nobody else: of 50,000 principals a few hundred may answer. */
const PERSONS = `SELECT principal, kind, role, team, source FROM principals
  WHERE tenant = $1 AND role IN ('admin', 'approver') AND disabled_at IS NULL ORDER BY principal`
const TEAMS_OF = `SELECT p.principal, p.team FROM unnest($2::text[]) AS wanted(name)
  CROSS JOIN LATERAL (SELECT principal, team FROM principals WHERE tenant = $1 AND principal = wanted.name OFFSET 0) p`

/** Looked-up teams of one tenant that are kept. */
const KEPT = 10_000

interface Known {
  epoch: number
  people: Promise<Omit<People, 'teamsOf'>>
  teamsOf: Map<string, string | null>
}

/**
 * Whom questions are put to, from memory. Every change of the directory or of an absence moves its tenant's gate, so what was read under
 * an epoch is good while the gate has it (as store/agents.ts).
 */
export class Directories {
  readonly #db: Db
  readonly #known = new Map<string, Known>()

  constructor(db: Db) {
    this.#db = db
  }

  /** @param principals whose teams are needed: agents and requesters */
  async of(gate: Gate, principals: readonly string[]): Promise<People> {
    const { people, teamsOf } = this.#under(gate)
    if (teamsOf.size > KEPT) teamsOf.clear()
    // A map of its own, as in store/agents.ts: whose team were forgotten meanwhile would have no lead.
    const asked = new Map<string, string | null>()
    const unread: string[] = []
    for (const name of new Set(principals)) {
      const team = teamsOf.get(name)
      if (team === undefined) unread.push(name)
      else asked.set(name, team)
    }
    if (unread.length > 0) {
      const rows = await this.#db.query<{ principal: string; team: string | null }>(TEAMS_OF, [
        gate.tenant,
        textArray(unread),
      ])
      const found = new Map(rows.map(({ principal, team }) => [principal, team]))
      for (const name of unread) {
        teamsOf.set(name, found.get(name) ?? null)
        asked.set(name, found.get(name) ?? null)
      }
    }
    return { ...(await people), teamsOf: asked }
  }

  #under(gate: Gate): Known {
    const known = this.#known.get(gate.tenant)
    if (known !== undefined && known.epoch >= gate.epoch) return known
    const fresh: Known = { epoch: gate.epoch, people: readPeople(this.#db, gate.tenant), teamsOf: new Map() }
    this.#known.set(gate.tenant, fresh)
    // Read again by whoever comes next; who waits for it now is told.
    fresh.people.catch(() => this.#known.delete(gate.tenant))
    return fresh
  }
}

/** Everybody who may answer, as the store has them now. */
export async function readPeople(db: Db, tenant: string): Promise<Omit<People, 'teamsOf'>> {
  const [persons, teams, absences] = await Promise.all([
    db.query<Person & { source: Source }>(PERSONS, [tenant]),
    listTeams(db, tenant),
    listAbsences(db, tenant),
  ])
  return {
    persons: new Map(
      persons.filter(({ role }) => mayApprove(role)).map((row): [string, Person] => [row.principal, row]),
    ),
    teams: new Map(teams.map((team): [string, Team] => [team.team, team])),
    absences: new Map(absences.map((row): [string, Absence] => [row.principal, row])),
    declared: persons.some(({ kind, source }) => kind === 'person' && source !== 'key'),
  }
}
