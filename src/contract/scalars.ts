import { type Static, type TSchema, Type } from 'typebox'

/**
 * The scalars of the wire. Every bound is here so that a limit is stated once and shows up in OpenAPI.
 * Names are printable ASCII: look-alike letters cannot slip past an exact match.
 */
export const Topic = Type.String({
  pattern: '^[a-z0-9_-]+(\\.[a-z0-9_-]+)*$',
  maxLength: 200,
  description: 'Dotted subject of lower-case ASCII tokens, e.g. job.deploy.apply',
  examples: ['job.deploy.apply'],
})
export const Name = Type.String({ pattern: '^[!-~]([ -~]*[!-~])?$', maxLength: 200 })
export const Labels = Type.Record(
  Type.String({ pattern: '^[A-Za-z0-9_.-]{1,64}$' }),
  Type.String({ pattern: '^[ -~]*$', maxLength: 256 }),
  {
    additionalProperties: false, // without it a record lets keys outside its pattern pass unlooked at
    maxProperties: 64,
    description: 'Claims of the agent; the policy may require, set or derive them',
  },
)
export const RiskTags = Type.Array(Type.String({ pattern: '^[A-Za-z0-9_.:-]{1,64}$' }), {
  maxItems: 64,
  uniqueItems: true,
})
export const Id = Type.String({ pattern: '^[a-z]+_[0-9a-z]{10,40}$', maxLength: 64 })
/** Caller-chosen run ids are allowed: an agent framework usually has one. */
export const RunId = Type.String({ pattern: '^[A-Za-z0-9_.:-]{1,128}$' })
export const Instant = Type.Integer({
  minimum: 0,
  maximum: 8_640_000_000_000_000,
  description: 'Milliseconds since 1970-01-01 UTC',
})
export const Millis = Type.Integer({ minimum: 1, maximum: 86_400_000 })
export const Hash = Type.String({ pattern: '^[0-9a-f]{64}$' })
/** A hash as a person types it: whole, or short as in `v1:7f93d2c`. */
export const HashOrShort = Type.String({ pattern: '^([0-9a-f]{64}|v1:[0-9a-f]{7,64})$' })
export const AnyJson = Type.Unknown({ description: 'Any JSON value, at most 64 levels deep' })
export const Note = Type.String({ maxLength: 2000 })

export const DecisionWord = Type.Union(
  [
    Type.Literal('ALLOW'),
    Type.Literal('DENY'),
    Type.Literal('REQUIRE_APPROVAL'),
    Type.Literal('ALLOW_WITH_CONSTRAINTS'),
  ],
  { description: 'DENY > REQUIRE_APPROVAL > ALLOW_WITH_CONSTRAINTS > ALLOW' },
)
export const Verdict = Type.Union([Type.Literal('ALLOW'), Type.Literal('REDACT'), Type.Literal('QUARANTINE')])
export const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()])

/** The same scalar with what it means in this place. */
export const described = <T extends TSchema>(schema: T, description: string): T => ({ ...schema, description })

export const PageQuery = Type.Object(
  {
    cursor: Type.Optional(Type.String({ maxLength: 400, pattern: '^[A-Za-z0-9_-]*$' })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: 50 })),
  },
  { additionalProperties: false },
)
export type PageQuery = Static<typeof PageQuery>
