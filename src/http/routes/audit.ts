import * as Audit from '../../contract/audit.js'
import { type Caller, may } from '../../core/access.js'
import { withArchive } from '../../core/audit/archive.js'
import { originOf } from '../../core/audit/checkpoint.js'
import { recordLine, recordsOf } from '../../core/audit/export.js'
import { hex, leafHash } from '../../core/audit/hash.js'
import { formatVkey } from '../../core/audit/keys.js'
import { tileLines } from '../../core/audit/tile.js'
import { consistencyProof, inclusionProof, rootAt } from '../../core/audit/tree.js'
import { Problem } from '../../errors.js'
import { type EntryFilter, timeline } from '../../journey/timeline.js'
import { headOfSize, newestHead, readNodes, tileAt } from '../../store/audit.js'
import { auditSource } from '../../store/audit-source.js'
import { encodeCursor } from '../../store/cursor.js'
import { agentsOfTeams } from '../../store/directory.js'
import { withBodies } from '../../store/tile-bodies.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

const READ = ['audit:read'] as const

/** Null: all of them. Throws Problem `forbidden` for who neither reads the log nor leads a team. */
async function shownAgents(world: World, caller: Caller, asked: string | undefined): Promise<string[] | null> {
  if (may(caller, 'audit:read')) return asked === undefined ? null : [asked]
  if (caller.leads.length === 0) throw new Problem('forbidden', undefined, { needs: READ })
  const led = await agentsOfTeams(world.db, caller.tenant, caller.leads)
  return asked === undefined ? led : led.filter((agent) => agent === asked)
}

export function auditRoutes(world: World, publicKey: Uint8Array, events: AuditEvents): Route[] {
  const read = (tenant: string) => (wanted: Parameters<typeof readNodes>[2]) => readNodes(world.db, tenant, wanted)
  const head = async (tenant: string) => {
    const row = await newestHead(world.db, tenant)
    if (row === null)
      throw new Problem('not_found', 'No head is signed yet; the first comes within a second of the first entry')
    return row
  }
  const entryAt = async (tenant: string, index: number) => {
    const row = await tileAt(world.db, tenant, index)
    const [tile] = row === null ? [] : await withBodies(world, tenant, [row])
    if (tile === undefined) throw new Problem('not_found')
    const { body, absent, first_index } = tile
    if (body === null) throw new Problem('archived', `Entry ${index} cannot be read here: ${absent}`)
    const entry = tileLines({ body })[index - (first_index ?? 0)]
    if (entry === undefined) throw new Problem('not_found')
    return entry
  }
  const within = (value: number, size: number, path: string) => {
    if (value > size)
      throw new Problem('invalid', undefined, { faults: [{ path, message: `the signed tree has ${size} entries` }] })
  }
  return [
    {
      method: 'GET',
      path: '/audit',
      permission: ['audit:read', 'audit:read_led'],
      tag: 'audit',
      summary: 'Search the audit log, in tree order',
      description:
        'Who leads a team finds what is about the agents it owns. ' +
        'An entry `archived` stands for entries up to its index that are in an archive which this node cannot read; it is shown whatever was searched for.',
      query: Audit.AuditQuery,
      success: {
        status: 200,
        schema: Audit.AuditPage,
        description: 'A page; entries without an index are about a second old',
      },
      errors: ['invalid'],
      async handler({ caller, query }) {
        const { cursor, limit, after_index, agent, ...filter } = query as EntryFilter & Audit.AuditQuery
        const agents = await shownAgents(world, caller, agent)
        if (agents !== null) filter.agents = agents
        const from = cursor ?? (after_index === undefined ? undefined : encodeCursor([after_index, '']))
        return { body: await timeline(world, caller.tenant, filter, from, limit ?? 50) }
      },
    },
    {
      method: 'GET',
      path: '/audit/head',
      permission: READ,
      tag: 'audit',
      summary: 'The newest signed tree head; keep it somewhere else to detect truncation',
      success: { status: 200, schema: Audit.AuditHead, description: 'The head' },
      errors: ['not_found'],
      async handler({ caller }) {
        const { size, root, checkpoint, at } = await head(caller.tenant)
        return { body: { size, root, checkpoint, public_key: formatVkey(originOf(caller.tenant), publicKey), at } }
      },
    },
    {
      method: 'GET',
      path: '/audit/proof/inclusion',
      permission: READ,
      tag: 'audit',
      summary: 'Proof that an entry is in the signed tree',
      query: Audit.InclusionQuery,
      success: { status: 200, schema: Audit.InclusionProof, description: 'The proof (RFC 6962)' },
      errors: ['not_found', 'invalid', 'archived'],
      async handler({ caller, query }) {
        const newest = await head(caller.tenant)
        const { index, size = newest.size } = query as { index: number; size?: number }
        within(size, newest.size, '/size')
        within(index + 1, size, '/index')
        const entry = await entryAt(caller.tenant, index)
        const path = await inclusionProof(index, size, read(caller.tenant))
        const root = await rootAt(size, read(caller.tenant))
        const signed = await headOfSize(world.db, caller.tenant, size)
        return {
          body: {
            index,
            size,
            leaf_hash: hex(leafHash(entry)),
            entry,
            path: path.map(hex),
            root: hex(root),
            checkpoint: signed?.checkpoint ?? null,
          },
        }
      },
    },
    {
      method: 'GET',
      path: '/audit/proof/consistency',
      permission: READ,
      tag: 'audit',
      summary: 'Proof that an older head is a beginning of a newer one',
      query: Audit.ConsistencyQuery,
      success: { status: 200, schema: Audit.ConsistencyProof, description: 'The proof (RFC 6962)' },
      errors: ['not_found', 'invalid'],
      async handler({ caller, query }) {
        const newest = await head(caller.tenant)
        const { from, to = newest.size } = query as { from: number; to?: number }
        within(to, newest.size, '/to')
        within(from, to, '/from')
        const path = from === 0 ? [] : await consistencyProof(from, to, read(caller.tenant))
        const [a, b] = await Promise.all([rootAt(from, read(caller.tenant)), rootAt(to, read(caller.tenant))])
        return { body: { from, to, path: path.map(hex), from_root: hex(a), to_root: hex(b) } }
      },
    },
    {
      method: 'GET',
      path: '/audit/export',
      permission: READ,
      tag: 'audit',
      summary: 'The whole log with heads and keys, for offline verification',
      success: {
        status: 200,
        description:
          'JSON Lines, as `sallyport audit verify --export` reads; old entries come from the archive as far as this node sees it',
        contentType: 'application/jsonl',
      },
      errors: [],
      async handler({ caller }) {
        const { db, archive, clock } = world
        const source = await auditSource(db, caller.tenant, publicKey, clock.now(), archive)
        const records = archive === null ? recordsOf(source) : withArchive(recordsOf(source), archive.open)
        const lines = async function* () {
          for await (const record of records) yield `${recordLine(record)}\n`
        }
        return { headers: { 'content-type': 'application/jsonl' }, stream: lines() }
      },
    },
    {
      method: 'GET',
      path: '/events',
      permission: READ,
      tag: 'audit',
      summary: 'Audit entries as they are integrated, as server-sent events',
      description:
        'Each event has the entry’s tree index as id; reconnect with Last-Event-ID to miss nothing. An event `archived` stands for entries up to its id that are in an archive which this node cannot read.',
      headers: [{ name: 'Last-Event-ID', description: 'Index of the last event seen' }],
      success: { status: 200, description: 'text/event-stream', contentType: 'text/event-stream' },
      errors: [],
      async handler({ caller, headers, signal }) {
        const last = Number(headers['last-event-id'])
        const from =
          headers['last-event-id'] !== undefined && Number.isSafeInteger(last)
            ? last
            : ((await newestHead(world.db, caller.tenant))?.size ?? 0) - 1
        return {
          headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store' },
          stream: events.stream(caller.tenant, from, signal),
        }
      },
    },
  ]
}

/** Where the events come from: new entries, announced by the integrator. */
export interface AuditEvents {
  stream(tenant: string, after: number, signal: AbortSignal): AsyncIterable<string>
}
