import * as Wire from '../../contract/readiness.js'
import type { Attestation, DrillFacts } from '../../core/readiness/facts.js'
import type { Readiness } from '../../core/readiness.js'
import { Problem } from '../../errors.js'
import { attest } from '../../journey/attest.js'
import { measure } from '../../journey/measure.js'
import { assess, type Given } from '../../journey/ready.js'
import { drillSchedules, drillStandings } from '../../store/drills.js'
import type { World } from '../../store/world.js'
import { readinessMarkdown, readinessPage } from '../pages/readiness.js'
import type { Route } from '../route.js'

/** Whether this installation may carry a launch, and a person's word for what no row shows. */
export function readinessRoutes(world: World): Route[] {
  const assessments = new Assessments(world)
  return [
    {
      method: 'GET',
      path: '/readiness',
      permission: ['rollouts:read'],
      tag: 'readiness',
      summary: 'The 20 controls and the ten go-live items: pass, block or unknown, with the facts, owner and date',
      description:
        'Judged anew by rows and log with every call. `Accept: text/html` gives a page to print, `Accept: text/markdown` a document.',
      headers: [
        {
          name: 'Accept',
          description: 'application/json, text/html or text/markdown; JSON where it says none of them',
        },
      ],
      success: { status: 200, schema: Wire.Readiness, description: 'The report' },
      errors: ['overloaded'],
      async handler({ caller, headers }) {
        const report = await assessments.of(caller.tenant)
        const form = wanted(headers.accept)
        if (form === 'text/markdown')
          return { body: readinessMarkdown(report), headers: { 'content-type': `${form}; charset=utf-8` } }
        return form === 'text/html' ? readinessPage(report) : { body: report }
      },
    },
    {
      method: 'POST',
      path: '/readiness/attestations',
      permission: ['rollouts:review'],
      tag: 'readiness',
      summary: 'Say, as a person, what no row shows',
      description:
        'Fills what is unknown until it expires, 90 days from now unless said. It never stands against a fact that blocks. Services, agents and tokens attest nothing.',
      body: Wire.Attest,
      success: { status: 201, schema: Wire.Attestation, description: 'The attestation' },
      errors: ['invalid', 'forbidden', 'overloaded'],
      handler: async ({ caller, body }) => ({
        status: 201,
        body: viewAttestation(await attest(world, caller, body as Wire.Attest)),
      }),
    },
  ]
}

function viewAttestation({ tenant: _tenant, key_id: _key, ...word }: Attestation): Wire.Attestation {
  return word
}

const FORMS = ['application/json', 'text/html', 'text/markdown'] as const

/** The first of those that a browser or a script says it likes best. */
function wanted(accept = ''): (typeof FORMS)[number] {
  const liked = accept
    .slice(0, 1000)
    .split(',')
    .map((part) => {
      const [name = '', ...parameters] = part.split(';').map((each) => each.trim().toLowerCase())
      const q = Number(parameters.find((each) => each.startsWith('q='))?.slice(2) ?? 1)
      return { form: FORMS.find((form) => form === name), q: Number.isFinite(q) ? q : 0 }
    })
    .filter(({ form, q }) => form !== undefined && q > 0)
    .toSorted((a, b) => b.q - a.q)
  return liked[0]?.form ?? 'application/json'
}

const DAY_MS = 86_400_000
/** At once on this node; each reads some thousand rows and judges the leases of a day. */
const AT_ONCE = 4

/** Lets equal questions share one answer while it is worked out, and only so many be worked out at once. */
class Assessments {
  readonly #world: World
  readonly #open = new Map<string, Promise<Readiness>>()

  constructor(world: World) {
    this.#world = world
  }

  /** Throws Problem `overloaded`, DbError. */
  of(tenant: string): Promise<Readiness> {
    const open = this.#open.get(tenant)
    if (open !== undefined) return open
    if (this.#open.size >= AT_ONCE) throw new Problem('overloaded', undefined, { retry_after_ms: 1000 })
    const work = this.#work(tenant)
    this.#open.set(tenant, work)
    const done = () => void this.#open.delete(tenant)
    work.then(done, done)
    return work
  }

  async #work(tenant: string): Promise<Readiness> {
    const risks = await this.#risks(tenant, DAY_MS)
    // Who works little is judged by a week: then that is as few leases as a day of others.
    const over =
      risks.value === null && risks.unknown?.startsWith('no lease') ? await this.#risks(tenant, 7 * DAY_MS) : risks
    return assess(this.#world, tenant, { drills: await this.#drills(tenant), risks: over })
  }

  async #risks(tenant: string, window_ms: number): Promise<Given['risks']> {
    const [found] = await measure(this.#world, tenant, ['high-risk-unapproved'], window_ms)
    if (found === undefined) throw new Problem('internal')
    return { ...found, window_ms }
  }

  async #drills(tenant: string): Promise<DrillFacts> {
    const { db, clock } = this.#world
    const standings = await drillStandings(db, tenant, clock.now())
    const owners = new Map((await drillSchedules(db, tenant)).map(({ drill, owner }) => [drill as string, owner]))
    const known = Object.entries(standings).map(([drill, standing]) => [
      drill,
      standing === null ? null : { ...standing, owner: owners.get(drill) ?? null },
    ])
    return Object.fromEntries(known) as DrillFacts
  }
}
