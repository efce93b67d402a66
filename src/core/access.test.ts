import { expect, test } from 'vitest'
import { type Caller, hashSecret, KEY_FORM, may, PERMISSIONS, ROLES, type Role } from './access.js'

const as = (role: Role): Caller => ({
  tenant: 't',
  principal: 'p',
  role,
  team: null,
  key_id: 'k',
  topics: null,
  act_as: [],
  permissions: null,
  leads: [],
  expires_at: null,
})

test('nobody who submits may answer approvals or work, and nobody who works may do anything else', () => {
  for (const role of Object.keys(ROLES) as Role[]) {
    if (role === 'admin') continue
    if (may(as(role), 'jobs:submit'))
      expect([may(as(role), 'approvals:answer'), may(as(role), 'work:claim')]).toEqual([false, false])
  }
  expect(ROLES.worker).toEqual(['work:claim', 'tokens:mint'])
  expect(may(as('admin'), 'work:claim')).toBe(false)
})

test('those who only look change nothing but what is their own: tokens of their key, their session, agents of a team they lead', () => {
  const own = /:(read|mint|own|read_own|read_led|write_led)$/
  const changes = PERMISSIONS.filter((p) => !own.test(p))
  for (const role of ['viewer', 'auditor'] as const) for (const p of changes) expect(may(as(role), p)).toBe(false)
})

test('roles name known permissions, and every permission is somebody’s', () => {
  const given = new Set(Object.values(ROLES).flat())
  expect([...given].sort()).toEqual([...PERMISSIONS].sort())
})

test('a key has one form; the store keeps a hash of its secret', () => {
  const id = '0123456789abcdefghjkmnpqrs'
  const secret = 'A'.repeat(43)
  expect(KEY_FORM.exec(`sp_${id}_${secret}`)?.slice(1)).toEqual([id, secret])
  for (const bad of [
    `sp_${id}_${secret}A`,
    `sp_${id}_${secret.slice(1)}`,
    `SP_${id}_${secret}`,
    ` sp_${id}_${secret}`,
    `sp_${id}_${secret}\n`,
  ])
    expect(KEY_FORM.test(bad)).toBe(false)
  expect(hashSecret(secret)).toMatch(/^[0-9a-f]{64}$/)
})
