import { type Static, Type } from 'typebox'
import { Instant, Nullable } from './scalars.js'

const closed = { additionalProperties: false }

export const Session = Type.Object({
  principal: Type.String(),
  role: Type.String(),
  team: Nullable(Type.String()),
  leads: Type.Array(Type.String(), { description: 'Teams that this person leads' }),
  csrf: Nullable(
    Type.String({ description: 'For `X-CSRF-Token`, with whatever is more than looking; null where a key asks' }),
  ),
  expires_at: Nullable(Instant),
})
export type Session = Static<typeof Session>

/** Longer than any that is taken: what is typed is judged where it is set. */
const Password = Type.String({ minLength: 1, maxLength: 1000 })
export const ChangePassword = Type.Object({ old_password: Password, password: Password }, closed)
export type ChangePassword = Static<typeof ChangePassword>

export const PasswordChanged = Type.Object({ changed: Type.Literal(true) })
export type PasswordChanged = Static<typeof PasswordChanged>

export const Invited = Type.Object({
  principal: Type.String(),
  link: Type.String({ description: 'Shown once; without SALLYPORT_PUBLIC_URL a path of this server' }),
  expires_at: Instant,
})
export type Invited = Static<typeof Invited>

export const AccountClosed = Type.Object({ principal: Type.String(), closed: Type.Literal(true) })
export type AccountClosed = Static<typeof AccountClosed>
