import { type Static, Type } from 'typebox'
import { Instant, Nullable, PageQuery } from './scalars.js'
import { TimelineEntry } from './jobs.js'

const closed = { additionalProperties: false }
export const AuditQuery = Type.Object(
  {
    ...PageQuery.properties,
    kind: Type.Optional(Type.String({ maxLength: 100 })),
    actor: Type.Optional(Type.String({ maxLength: 200 })),
    job_id: Type.Optional(Type.String({ maxLength: 64 })),
    run_id: Type.Optional(Type.String({ maxLength: 128 })),
    from: Type.Optional(Instant),
    to: Type.Optional(Instant),
  },
  closed,
)
export type AuditQuery = Static<typeof AuditQuery>
export const AuditPage = Type.Object({ items: Type.Array(TimelineEntry), next_cursor: Nullable(Type.String()) })
export type AuditPage = Static<typeof AuditPage>
export const AuditHead = Type.Object({ size: Type.Integer(), root: Type.String(), checkpoint: Type.String({ description: 'Signed note, C2SP checkpoint' }), public_key: Type.String(), at: Instant })
export type AuditHead = Static<typeof AuditHead>
const Index = Type.Integer({ minimum: 0 })
export const InclusionQuery = Type.Object({ index: Index, size: Type.Optional(Index) }, closed)
export type InclusionQuery = Static<typeof InclusionQuery>
export const ConsistencyQuery = Type.Object({ from: Index, to: Type.Optional(Index) }, closed)
export type ConsistencyQuery = Static<typeof ConsistencyQuery>
export const InclusionProof = Type.Object({ index: Type.Integer(), size: Type.Integer(), leaf_hash: Type.String(), entry: Type.String(), path: Type.Array(Type.String()), root: Type.String(), checkpoint: Nullable(Type.String()) })
export type InclusionProof = Static<typeof InclusionProof>
export const ConsistencyProof = Type.Object({ from: Type.Integer(), to: Type.Integer(), path: Type.Array(Type.String()), from_root: Type.String(), to_root: Type.String() })
export type ConsistencyProof = Static<typeof ConsistencyProof>
