import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { proves } from '../../test/requirements.js'
import { PERMISSIONS, ROLES, type Role } from './access.js'
import { beyond, beyondMaker, dueOf, endOf, permissionsOf } from './key.js'

const DAY = 86_400_000
const fresh = { created_at: 0, expires_at: null, revoked_at: null, rotated_to: null, disabled_at: null }

describe(`${proves('S2')} what is due about a key`, () => {
  test.each([
    ['the day before', 83 * DAY - 1, {}, []],
    ['a week before 90 days', 83 * DAY, {}, ['rotation']],
    ['at 90 days', 90 * DAY, {}, ['overdue']],
    ['eight days before it expires', 12 * DAY, { expires_at: 20 * DAY }, []],
    ['a week before it expires', 13 * DAY, { expires_at: 20 * DAY }, ['expiry']],
    ['both', 85 * DAY, { expires_at: 90 * DAY }, ['rotation', 'expiry']],
    ['once it has expired', 20 * DAY, { expires_at: 20 * DAY }, []],
    ['once it was revoked', 95 * DAY, { revoked_at: 1 }, []],
    ['once another follows it', 95 * DAY, { rotated_to: 'key_x' }, []],
    ['once its principal is disabled', 95 * DAY, { disabled_at: 1 }, []],
  ])('%s', (_, now, more, due) => {
    expect(dueOf({ ...fresh, ...more }, now)).toEqual(due)
  })

  test('a key opens to the millisecond before its end', () => {
    expect(endOf({ ...fresh, expires_at: 10 }, 9)).toBeNull()
    expect(endOf({ ...fresh, expires_at: 10 }, 10)).toBe('expired')
    expect(endOf({ ...fresh, expires_at: 10, revoked_at: 3, disabled_at: 2 }, 10)).toBe('revoked')
    expect(endOf({ ...fresh, disabled_at: 2 }, 10)).toBe('disabled')
  })
})

describe(`${proves('S1')} what may be handed on`, () => {
  const roles = Object.keys(ROLES) as Role[]
  const caller = (role: Role, more = {}) => ({
    role,
    principal: `${role}:x`,
    permissions: null,
    topics: null,
    act_as: [],
    ...more,
  })

  test('of permissions: those of the caller and no other', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...roles),
        fc.subarray([...PERMISSIONS]),
        fc.subarray([...PERMISSIONS]),
        (role, permissions, asked) => {
          const has = permissionsOf({ role, permissions })
          expect(has).toEqual(ROLES[role].filter((each) => permissions.includes(each)))
          const missing = beyond(caller(role, { permissions }), { permissions: asked, topics: null, act_as: [] })
          expect(missing).toEqual(asked.filter((each) => !has.includes(each)))
        },
      ),
    )
  })

  test.each([
    [['job.a.*'], ['job.a.b'], []],
    [['job.a.*'], ['job.a.>'], ['topic job.a.>']],
    [['job.a.*'], null, ['topic >']],
    [['job.a.*', 'job.b.>'], ['job.a.*', 'job.b.c.>', 'job.c'], ['topic job.c']],
    [null, ['>'], []],
  ])('of topics %j: %j', (topics, asked, missing) => {
    expect(beyond(caller('agent', { topics }), { permissions: [], topics: asked, act_as: [] })).toEqual(missing)
  })

  test('of agents: those it acts as, and itself', () => {
    const asked = { permissions: [], topics: null, act_as: ['agent:x', 'agent:y', 'agent:z'] }
    expect(beyond(caller('agent', { act_as: ['agent:y'] }), asked)).toEqual(['act as agent:z'])
  })

  test('a whole admin makes keys for parts that it does not play; one narrowed to making keys does not make itself whole', () => {
    const worker = { permissions: ROLES.worker, topics: null, act_as: [] }
    expect(beyondMaker(caller('admin'), worker)).toEqual([])
    const narrow = caller('admin', { permissions: ['keys:write', 'jobs:read'] })
    expect(beyondMaker(narrow, { ...worker, permissions: ['keys:write'] })).toEqual([])
    expect(beyondMaker(narrow, worker)).toEqual(['work:claim', 'tokens:mint'])
    expect(beyondMaker(narrow, { ...worker, permissions: ROLES.admin })).toContain('policy:write')
    const bound = caller('admin', { topics: ['job.a'] })
    expect(beyondMaker(bound, { ...worker, permissions: ['jobs:submit'] })).toEqual(['topic >'])
  })
})
