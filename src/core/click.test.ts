import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { clickOn, SIGNING, signedAsSlack } from '../../test/support/chat.js'
import { isWellFormed } from './canonical.js'
import { hashRequest, isSignedForm, isSignedWith, isTimely, readClick, type SignedRequest, WINDOW_MS } from './click.js'
import { APPROVE, buttonValue, REJECT } from './slack.js'

const AT = 1_795_187_200_000
const IDS = [`apr_${'0'.repeat(26)}`, 'a'.repeat(64), `dlv_${'1'.repeat(26)}`] as const
const button = (action_id: string) => ({ type: 'button', action_id, value: buttonValue(...IDS) })
const MESSAGE = {
  channel: 'C0ROOM',
  text: 'x',
  blocks: [{ type: 'actions', block_id: 'sallyport.answers', elements: [button(APPROVE), button(REJECT)] }],
}
const asRequest = ({ body, headers }: ReturnType<typeof signedAsSlack>): SignedRequest => ({
  body,
  timestamp: headers['x-slack-request-timestamp'] ?? '',
  signature: headers['x-slack-signature'] ?? '',
})
type Payload = Record<string, unknown>
const clicked = (more: { reason?: string; change?: (payload: Payload) => Payload } = {}) =>
  readClick(clickOn(MESSAGE, APPROVE, { at: AT, ...more }).body)

test('the signature is the one of Slack’s own worked example', () => {
  const body =
    'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c'
  const signature = 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503'
  const request = { timestamp: '1531420618', signature, body }
  expect(isSignedForm(request)).toBe(true)
  expect(isSignedWith('8f742231b10e8888abcd99yyyzzz85a5', request)).toBe(true)
})

test('a signature is of one secret, time and body; whatever of these is another is refused', () => {
  const request = asRequest(signedAsSlack('payload=x', AT))
  expect([isSignedForm(request), isSignedWith(SIGNING, request)]).toEqual([true, true])
  for (const other of [
    { ...request, body: 'payload=y' },
    { ...request, timestamp: String(Number(request.timestamp) + 1) },
    { ...request, signature: request.signature.replace(/.$/, (last) => (last === '0' ? '1' : '0')) },
  ])
    expect(isSignedWith(SIGNING, other)).toBe(false)
  expect(isSignedWith('another', request)).toBe(false)
  for (const form of [
    { ...request, signature: request.signature.toUpperCase() },
    { ...request, signature: '' },
    { ...request, signature: `${request.signature} ` },
    { ...request, timestamp: ` ${request.timestamp}` },
    { ...request, timestamp: '' },
    { ...request, timestamp: '1e9' },
    { ...request, timestamp: `0${request.timestamp}` },
  ])
    expect(isSignedForm(form), JSON.stringify(form)).toBe(false)
  expect(hashRequest(request)).toMatch(/^[0-9a-f]{64}$/)
})

test('is good for five minutes, before and after', () => {
  const request = asRequest(signedAsSlack('', AT))
  for (const off of [0, WINDOW_MS, -WINDOW_MS]) expect(isTimely(request, AT + off)).toBe(true)
  for (const off of [WINDOW_MS + 1, -WINDOW_MS - 1, 86_400_000]) expect(isTimely(request, AT + off)).toBe(false)
})

describe('a click', () => {
  test('says who, which button, and what was typed', () => {
    expect(clicked({ reason: '  looked twice\0 ' })).toEqual({
      user: 'U0ANN',
      workspaces: ['T0HOUSE', 'T0HOUSE'],
      answer: 'approve',
      approval_id: IDS[0],
      grant_hash: IDS[1],
      delivery_id: IDS[2],
      reason: 'looked twice',
    })
    expect(readClick(clickOn(MESSAGE, REJECT, { at: AT, team: 'T0HOUSE', home: 'T0GUEST' }).body)).toMatchObject({
      answer: 'reject',
      workspaces: ['T0HOUSE', 'T0GUEST'],
      reason: '',
    })
  })

  test('on anything else is none', () => {
    const action = { action_id: APPROVE, value: buttonValue(...IDS) }
    for (const change of [
      (payload: Payload) => ({ ...payload, type: 'view_submission' }),
      (payload: Payload) => ({ ...payload, actions: [] }),
      (payload: Payload) => ({ ...payload, actions: [action, action] }),
      (payload: Payload) => ({ ...payload, actions: [{ ...action, action_id: 'other.approve' }] }),
      (payload: Payload) => ({ ...payload, actions: [{ ...action, value: `${action.value} x` }] }),
      (payload: Payload) => ({ ...payload, actions: [{ ...action, value: undefined }] }),
      (payload: Payload) => ({ ...payload, actions: { length: 1, 0: action } }),
      (payload: Payload) => ({ ...payload, user: { id: 'person:ann' } }),
      (payload: Payload) => ({ ...payload, user: undefined }),
    ])
      expect(clicked({ change })).toBeNull()
    for (const body of ['', 'payload=', 'payload=x', 'payload=null', 'payload=[]', 'ssl_check=1', 'x=%'])
      expect(readClick(body), body).toBeNull()
  })

  test('never throws and never carries text that the log could not hold', () => {
    const odd = fc.oneof(fc.anything(), fc.string({ unit: 'binary' }))
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 3000 }), odd, (reason, thing) => {
        const read = clicked({
          change: (payload) => ({ ...payload, state: { values: { 'sallyport.reason': { text: { value: reason } } } } }),
        })
        expect(isWellFormed(read?.reason ?? '')).toBe(true)
        expect(read?.reason.includes('\0')).toBe(false)
        clicked({ change: (payload) => ({ ...payload, state: thing, team: thing }) })
        // Not String(thing): of what has a `toString` of its own that is no function, there is no text.
        readClick(typeof thing === 'string' ? thing : (JSON.stringify(thing) ?? ''))
      }),
    )
  })
})
