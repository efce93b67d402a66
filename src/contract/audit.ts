import { type Static, Type } from 'typebox'
import { TimelineEntry } from './jobs.js'
import { Id, Instant, Name, Nullable, PageQuery, RunId } from './scalars.js'

const closed = { additionalProperties: false }
export const AuditQuery = Type.Object(
  {
    ...PageQuery.properties,
    kind: Type.Optional(Type.String({ pattern: '^[a-z_]+(\\.[a-z_]+)*$', maxLength: 100 })),
    actor: Type.Optional(Name),
    agent: Type.Optional(Name),
    job_id: Type.Optional(Id),
    run_id: Type.Optional(RunId),
    from: Type.Optional(Instant),
    to: Type.Optional(Instant),
    after_index: Type.Optional(Type.Integer({ minimum: 0 })),
  },
  closed,
)
export type AuditQuery = Static<typeof AuditQuery>
export const AuditPage = Type.Object(
  { items: Type.Array(TimelineEntry), next_cursor: Nullable(Type.String()) },
  { description: 'Audit entries of the tenant, in tree order' },
)
export type AuditPage = Static<typeof AuditPage>
export const AuditHead = Type.Object({
  size: Type.Integer({ description: 'Entries in the tree' }),
  root: Type.String({ description: 'Root hash, base64 as in the checkpoint' }),
  checkpoint: Type.String({ description: 'Signed note, C2SP checkpoint' }),
  public_key: Type.String({ description: 'Verifier key of the note' }),
  at: Instant,
})
export type AuditHead = Static<typeof AuditHead>
const Index = Type.Integer({ minimum: 0 })
export const InclusionQuery = Type.Object({ index: Index, size: Type.Optional(Index) }, closed)
export type InclusionQuery = Static<typeof InclusionQuery>
export const ConsistencyQuery = Type.Object({ from: Index, to: Type.Optional(Index) }, closed)
export type ConsistencyQuery = Static<typeof ConsistencyQuery>
const Sha256 = Type.String({ description: 'sha256, hex' })
export const InclusionProof = Type.Object({
  index: Type.Integer(),
  size: Type.Integer(),
  leaf_hash: Sha256,
  entry: Type.String({ description: 'Canonical bytes of the entry, which leaf_hash is of' }),
  path: Type.Array(Type.String(), { description: 'Sibling hashes from the leaf up, hex' }),
  root: Sha256,
  checkpoint: Nullable(Type.String({ description: 'The signed head of this size, where one was signed' })),
})
export type InclusionProof = Static<typeof InclusionProof>
export const ConsistencyProof = Type.Object({
  from: Type.Integer(),
  to: Type.Integer(),
  path: Type.Array(Type.String(), { description: 'Hashes, hex' }),
  from_root: Sha256,
  to_root: Sha256,
})
export type ConsistencyProof = Static<typeof ConsistencyProof>
