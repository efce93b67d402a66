import type { Static } from 'typebox'
import * as Wire from '../../contract/directory.js'
import { PageQuery } from '../../contract/scalars.js'
import { type Caller, may } from '../../core/access.js'
import { BREAKER_TERMS } from '../../core/breaker.js'
import type { DeclaredPrincipal, DeclaredTeam, DirectoryDocument } from '../../core/directory/document.js'
import { parseDirectory } from '../../core/directory/parse.js'
import { placed } from '../../core/policy/reader.js'
import { type AgentTerms, UNBOUND } from '../../core/principal.js'
import { Problem } from '../../errors.js'
import {
  type Applied,
  applyDirectory,
  disablePrincipal,
  enablePrincipal,
  previewDirectory,
  recordRefusal,
} from '../../journey/directory.js'
import { getPrincipal, listTeams, pageOfPrincipals } from '../../store/directory.js'
import type { World } from '../../store/world.js'
import type { Authenticator } from '../auth.js'
import type { Route } from '../route.js'
import { viewPrincipal, viewTeam } from '../views.js'

/** Characters of a file that any reader may have compared: 1 MiB of YAML holds this thread for about a second, this for a tenth. */
const MOST_PREVIEWED = 128 * 1024

/** Who there is: people, agents, workers, services and their teams. */
export function directoryRoutes(world: World, auth: Authenticator): Route[] {
  const shown = async (tenant: string, principal: string) => {
    const found = await getPrincipal(world.db, tenant, principal)
    if (found === null) throw new Problem('not_found')
    return viewPrincipal(found)
  }
  const WRITE = {
    permission: ['directory:write'],
    // Whoever may write it makes admins: who tries without is on record.
    refused: (caller: Caller) => recordRefusal(world, caller, 'forbidden'),
  } as const
  return [
    {
      method: 'GET',
      path: '/principals',
      permission: ['directory:read'],
      tag: 'directory',
      summary: 'People, agents, workers and services of the tenant',
      query: PageQuery,
      success: { status: 200, schema: Wire.PrincipalPage, description: 'The principals, by name' },
      errors: ['invalid'],
      async handler({ caller, query }) {
        const { items, next_cursor } = await pageOfPrincipals(world.db, caller.tenant, query as PageQuery)
        return { body: { items: items.map(viewPrincipal), next_cursor } }
      },
    },
    {
      method: 'GET',
      path: '/principals/{principal}',
      permission: ['directory:read'],
      tag: 'directory',
      summary: 'One principal',
      success: { status: 200, schema: Wire.Principal, description: 'The principal' },
      errors: ['not_found'],
      handler: async ({ caller, params }) => ({ body: await shown(caller.tenant, params.principal as string) }),
    },
    {
      method: 'PUT',
      path: '/principals/{principal}',
      ...WRITE,
      tag: 'directory',
      summary: 'Declare a principal, or make it what the body says; one that was disabled stays so unless that is said',
      body: Wire.PutPrincipal,
      success: { status: 200, schema: Wire.Principal, description: 'The principal' },
      errors: ['invalid'],
      async handler({ caller, params, body }) {
        const principal = params.principal as string
        const declared = declaredPrincipal(principal, body as Wire.PutPrincipal)
        await applyDirectory(world, caller, { teams: [], principals: [declared] }, 'api')
        auth.forget()
        return { body: await shown(caller.tenant, principal) }
      },
    },
    {
      method: 'DELETE',
      path: '/principals/{principal}',
      ...WRITE,
      tag: 'directory',
      summary: 'Disable a principal: from the answer on no key of it opens anything; it stays on record',
      success: { status: 200, schema: Wire.Principal, description: 'The principal' },
      errors: ['not_found', 'invalid'],
      async handler({ caller, params }) {
        await disablePrincipal(world, caller, params.principal as string)
        auth.forget()
        return { body: await shown(caller.tenant, params.principal as string) }
      },
    },
    {
      method: 'POST',
      path: '/principals/{principal}/enable',
      ...WRITE,
      tag: 'directory',
      summary: 'Let a principal act again that was disabled',
      success: { status: 200, schema: Wire.Principal, description: 'The principal' },
      errors: ['not_found', 'invalid'],
      async handler({ caller, params }) {
        await enablePrincipal(world, caller, params.principal as string)
        auth.forget()
        return { body: await shown(caller.tenant, params.principal as string) }
      },
    },
    {
      method: 'GET',
      path: '/teams',
      permission: ['directory:read'],
      tag: 'directory',
      summary: 'Teams with their leads and who is on call',
      success: { status: 200, schema: Wire.TeamPage, description: 'The teams, by name' },
      errors: [],
      handler: async ({ caller }) => ({
        body: { items: (await listTeams(world.db, caller.tenant)).map(viewTeam), next_cursor: null },
      }),
    },
    {
      method: 'PUT',
      path: '/teams/{team}',
      ...WRITE,
      tag: 'directory',
      summary: 'Declare a team, or make it what the body says',
      body: Wire.PutTeam,
      success: { status: 200, schema: Wire.Team, description: 'The team' },
      errors: ['invalid'],
      async handler({ caller, params, body }) {
        const declared = declaredTeam(params.team as string, body as Wire.PutTeam)
        await applyDirectory(world, caller, { teams: [declared], principals: [] }, 'api')
        auth.forget()
        const team = (await listTeams(world.db, caller.tenant)).find((each) => each.team === declared.team)
        if (team === undefined) throw new Problem('not_found')
        return { body: viewTeam(team) }
      },
    },
    {
      method: 'POST',
      path: '/directory/diff',
      permission: ['directory:read'],
      tag: 'directory',
      summary: 'What applying this file would change; changes nothing',
      body: Wire.DirectoryFile,
      success: { status: 200, schema: Wire.DirectoryChanges, description: 'The changes' },
      errors: ['invalid', 'forbidden', 'directory_invalid'],
      async handler({ caller, body }) {
        const file = body as Wire.DirectoryFile
        if (file.text.length > MOST_PREVIEWED && !may(caller, 'directory:write'))
          throw new Problem('forbidden', 'A file this large is shown to who may apply it', { needs: 'directory:write' })
        return { body: shownOf(await previewDirectory(world, caller, documentOf(file))) }
      },
    },
    {
      method: 'POST',
      path: '/directory/apply',
      ...WRITE,
      tag: 'directory',
      summary: 'Make it as the file says; whom an earlier file declared and this one leaves out is disabled',
      body: Wire.DirectoryFile,
      success: { status: 200, schema: Wire.DirectoryChanges, description: 'What was changed' },
      errors: ['invalid', 'directory_invalid'],
      async handler({ caller, body }) {
        const applied = await applyDirectory(world, caller, documentOf(body as Wire.DirectoryFile), 'file')
        auth.forget()
        return { body: shownOf(applied) }
      },
    },
  ]
}

const shownOf = ({ changes, notes }: Applied): Wire.DirectoryChanges => ({ changes, notes })

function documentOf(file: Wire.DirectoryFile): DirectoryDocument {
  const { document, faults } = parseDirectory(file)
  if (document === null) throw new Problem('directory_invalid', undefined, { faults: faults.map(placed) })
  return document
}

function declaredPrincipal(principal: string, body: Wire.PutPrincipal): DeclaredPrincipal {
  const { kind, team = null, name = null, email = null, slack = null, terms = null, disabled } = body
  const fault = (path: string, message: string) => new Problem('invalid', message, { faults: [{ path, message }] })
  const isProgram = kind === 'agent' || kind === 'worker'
  if (isProgram && body.role !== undefined) throw fault('/role', `a ${kind} has the role ${kind}`)
  if (!isProgram && body.role === undefined) throw fault('/role', `a ${kind} needs a role`)
  if (slack !== null && kind !== 'person') throw fault('/slack', 'only a person has one')
  if (terms !== null && kind !== 'agent') throw fault('/terms', 'only an agent has terms')
  const role = isProgram ? kind : (body.role as NonNullable<typeof body.role>)
  const own = terms === null ? null : declaredTerms(terms)
  const enabled = disabled === undefined ? {} : { disabled }
  return { principal, kind, role, team, name, email, slack, terms: own, ...enabled }
}

/** Nothing is missing, so that what is stored says of every bound whether there is one. */
function declaredTerms(terms: Static<typeof Wire.AgentTerms>): AgentTerms {
  const data = terms.data?.map((scope) => ({ ...scope, fields: scope.fields ?? null })) ?? null
  const { breaker, ...rest } = terms
  const own = breaker === undefined ? {} : { breaker: breaker === null ? null : { ...BREAKER_TERMS, ...breaker } }
  return { ...UNBOUND, ...rest, data, ...own }
}

function declaredTeam(team: string, { name = null, leads = [], on_call = [] }: Wire.PutTeam): DeclaredTeam {
  return { team, name, leads, on_call }
}
