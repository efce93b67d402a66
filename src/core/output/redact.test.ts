import { describe, expect, it } from 'vitest'
import { rankOf } from './detectors.js'
import { ALLOW, QUARANTINE, REDACT, redact } from './redact.js'

const email = rankOf('email')
const jwt = rankOf('jwt')
const key = rankOf('private_key')

describe('overlapping finds', () => {
  it('become one, to the end of the longer, named by the more specific', () => {
    const hits = [
      { start: 4, end: 9, rank: email },
      { start: 0, end: 6, rank: jwt },
    ]
    expect(redact('0123456789', hits, () => REDACT)).toMatchObject({ text: '[REDACTED:jwt]9', taken: [jwt] })
  })

  it('are named by the severest', () => {
    const hits = [
      { start: 0, end: 9, rank: jwt },
      { start: 2, end: 4, rank: email },
    ]
    expect(redact('0123456789', hits, (r) => (r === email ? QUARANTINE : REDACT)).taken).toEqual([email])
  })

  it('stay apart where they only touch', () => {
    const hits = [
      { start: 0, end: 4, rank: jwt },
      { start: 4, end: 8, rank: key },
    ]
    expect(redact('01234567', hits, () => REDACT).text).toBe('[REDACTED:jwt][REDACTED:private_key]')
  })

  it('an allowed one neither covers nor widens another', () => {
    const hits = [
      { start: 0, end: 10, rank: email },
      { start: 2, end: 4, rank: jwt },
    ]
    const r = redact('0123456789', hits, (rank) => (rank === email ? ALLOW : REDACT))
    expect(r.text).toBe('01[REDACTED:jwt]456789')
    expect([...r.allowed]).toEqual([email])
  })
})
