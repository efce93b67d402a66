import { hash } from '@node-rs/argon2'
import { describe, expect, test } from 'vitest'
import { argon2Passwords } from './passwords.js'

describe('a password', () => {
  test('is kept as argon2id with at least what OWASP asks for, salted', async () => {
    const passwords = argon2Passwords()
    const [one, two] = await Promise.all([passwords.hash('correct horse'), passwords.hash('correct horse')])
    expect(one).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
    expect(one).not.toBe(two)
    expect(await passwords.verify(one, 'correct horse')).toBe(true)
    expect(await passwords.verify(one, 'Correct horse')).toBe(false)
  })

  test('of nobody is never right, and is looked at all the same', async () => {
    const passwords = argon2Passwords()
    expect(await passwords.verify(null, 'nobody has this one')).toBe(false)
  })

  test('hashed with other parameters is told apart, and still right', async () => {
    const passwords = argon2Passwords()
    const old = await hash('correct horse', { memoryCost: 8192, timeCost: 1, parallelism: 1 })
    expect([passwords.isStale(old), await passwords.verify(old, 'correct horse')]).toEqual([true, true])
    expect(passwords.isStale(await passwords.hash('correct horse'))).toBe(false)
  })

  test('waits for its turn behind so many, and is refused behind more', async () => {
    const passwords = argon2Passwords({ atOnce: 1, waiting: 2 })
    const asked = Array.from({ length: 5 }, (_, n) => passwords.hash(`password ${n}`))
    const ended = await Promise.allSettled(asked)
    expect(ended.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'rejected'])
    expect((ended[3] as PromiseRejectedResult).reason).toMatchObject({ code: 'overloaded' })
    expect(await passwords.hash('again')).toMatch(/^\$argon2id/)
  })
})
