import { hash } from 'node:crypto'

/** Fine permissions; a route names the one it needs. docs/permissions.md is generated from ROLES and the routes. */
export const PERMISSIONS = [
  'jobs:submit',
  'jobs:read',
  'jobs:read_own',
  'jobs:cancel',
  'jobs:cancel_own',
  'jobs:resolve',
  'results:read',
  'results:read_own',
  'results:release',
  'approvals:read',
  'approvals:answer',
  'policy:read',
  'policy:write',
  'dead_letters:read',
  'dead_letters:write',
  'audit:read',
  'audit:read_led',
  'keys:read',
  'keys:write',
  'tokens:mint',
  'directory:read',
  'directory:write',
  'channels:read',
  'channels:write',
  'stops:read',
  'stops:write',
  'stops:write_led',
  'autonomy:write',
  'autonomy:write_led',
  'absences:write_led',
  'rollouts:read',
  'rollouts:read_own',
  'rollouts:write',
  'rollouts:review',
  'drills:write',
  'session:own',
  'work:claim',
] as const
export type Permission = (typeof PERMISSIONS)[number]
export type Role = 'admin' | 'operator' | 'approver' | 'auditor' | 'viewer' | 'agent' | 'worker'

/**
 * `*_own` reaches only what the key's principal requested, `*_led` only what the agents of teams do that the principal leads: whoever may
 * lead has them, whatever their role. `absences:write_led` reaches oneself and members of teams one leads. A worker sees a job by its lease
 * and in no other way.
 */
export const ROLES: Record<Role, readonly Permission[]> = {
  admin: PERMISSIONS.filter((p) => p !== 'work:claim'),
  operator: [
    'jobs:read',
    'jobs:cancel',
    'jobs:resolve',
    'results:read',
    'results:release',
    'approvals:read',
    'policy:read',
    'dead_letters:read',
    'dead_letters:write',
    'audit:read',
    'directory:read',
    'channels:read',
    'stops:read',
    'stops:write',
    'autonomy:write',
    'tokens:mint',
    'absences:write_led',
    'rollouts:read',
    'rollouts:write',
    'drills:write',
    'session:own',
  ],
  approver: [
    'jobs:read',
    'results:read',
    'results:release',
    'approvals:read',
    'approvals:answer',
    'policy:read',
    'dead_letters:read',
    'directory:read',
    'stops:read',
    'stops:write_led',
    'autonomy:write_led',
    'audit:read_led',
    'tokens:mint',
    'absences:write_led',
    'rollouts:read',
    'rollouts:review',
    'session:own',
  ],
  auditor: [
    'jobs:read',
    'approvals:read',
    'policy:read',
    'dead_letters:read',
    'audit:read',
    'keys:read',
    'directory:read',
    'channels:read',
    'stops:read',
    'stops:write_led',
    'autonomy:write_led',
    'tokens:mint',
    'absences:write_led',
    'rollouts:read',
    'session:own',
  ],
  viewer: [
    'jobs:read',
    'approvals:read',
    'policy:read',
    'dead_letters:read',
    'directory:read',
    'stops:read',
    'stops:write_led',
    'autonomy:write_led',
    'audit:read_led',
    'tokens:mint',
    'absences:write_led',
    'rollouts:read',
    'session:own',
  ],
  agent: [
    'jobs:submit',
    'jobs:read_own',
    'jobs:cancel_own',
    'results:read_own',
    'policy:read',
    'rollouts:read_own',
    'tokens:mint',
  ],
  worker: ['work:claim', 'tokens:mint'],
}

/** Who is asking, as the presented key and the principal it is of say; never from a body. */
export interface Caller {
  tenant: string
  principal: string
  role: Role
  team: string | null
  key_id: string
  /** Topic patterns the key is bound to; null = any. */
  topics: string[] | null
  act_as: string[]
  /** What the key is narrowed to, of what the role may; null = all of it. */
  permissions: readonly Permission[] | null
  /** Teams that this principal leads. */
  leads: string[]
  /** Epoch ms; null: it does not expire. */
  expires_at: number | null
  /** Only of a token: its id, and the one run it submits into. `key_id` is then the key it was minted from. */
  jti?: string
  run_id?: string
  /** Gate epoch under which the key was last seen to stand: revoking any key of the tenant moves the epoch. */
  checked?: number
}

export function may({ role, permissions }: Pick<Caller, 'role' | 'permissions'>, permission: Permission): boolean {
  return ROLES[role].includes(permission) && (permissions === null || permissions.includes(permission))
}

/** `sp_<26 characters of the key id>_<43 characters of secret>`: the id finds the row, the secret (256 random bits) proves it. */
export const KEY_FORM = /^sp_([0-9a-z]{26})_([A-Za-z0-9_-]{43})$/

/** What the store keeps of a key. */
export const hashSecret = (secret: string) => hash('sha256', secret, 'hex')
