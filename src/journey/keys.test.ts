import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { isCommit, openPlane, problemOf, type TestPlane } from '../../test/plane.js'
import { createKey, newKeyText, revokeKey } from './keys.js'

let plane: TestPlane
beforeAll(async () => {
  plane = await openPlane()
})
afterEach(() => {
  plane.db.tap = null
})
afterAll(() => plane.close())

const POLICY = 'version: v1\nrules: []\n'
const BODY = { role: 'agent' as const }
/** A world whose key ids are these, one after the other. */
const naming = (...names: string[]) => ({
  ...plane.world,
  ids: {
    ...plane.ids,
    id: (prefix: string, at: number) => (prefix === 'key' && names.shift()) || plane.ids.id(prefix, at),
  },
})

test('a key whose id is taken gets another, and the one that has it stays as it is', async () => {
  const t = await plane.tenant(POLICY)
  const first = await createKey(plane.world, t.tenant, 'person:root', BODY)
  const second = await createKey(naming(first.row.key_id, first.row.key_id), t.tenant, 'person:root', BODY)
  expect(second.row.key_id).not.toBe(first.row.key_id)
  expect(second.key).toContain(second.row.key_id.slice('key_'.length))
  const rows = await t.rows<{ key_id: string; hash: string }>('keys')
  expect(new Map(rows.map((row) => [row.key_id, row.hash]))).toEqual(
    new Map([first, second].map(({ row }) => [row.key_id, row.hash])),
  )
  expect((await t.kinds()).filter((kind) => kind === 'key.created')).toHaveLength(2)
})

test('a key of a configuration whose id another has is refused in words of the catalogue', async () => {
  const t = await plane.tenant(POLICY)
  const { row } = await createKey(plane.world, t.tenant, 'person:root', BODY)
  const clash = newKeyText(plane.world).replace(/^sp_[^_]+/, `sp_${row.key_id.slice('key_'.length)}`)
  expect(await problemOf(createKey(plane.world, t.tenant, 'person:root', BODY, clash))).toMatchObject({
    code: 'invalid',
    message: 'There is a key of this id already, with another secret',
  })
})

test('a revocation that the gate overtakes every time says to come again', async () => {
  const t = await plane.tenant(POLICY)
  const { row } = await createKey(plane.world, t.tenant, 'person:root', BODY)
  plane.db.tap = async (sql, send) => {
    if (isCommit(sql)) await plane.world.db.query('UPDATE gates SET epoch = epoch + 1 WHERE tenant = $1', [t.tenant])
    return send()
  }
  expect(await problemOf(revokeKey(plane.world, t.tenant, 'person:root', row.key_id))).toMatchObject({
    code: 'overloaded',
    extra: { retry_after_ms: 200 },
  })
})
