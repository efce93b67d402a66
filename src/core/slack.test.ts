import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { clickOn, livesIn } from '../../test/support/chat.js'
import type { Approval } from './approval.js'
import { isWellFormed } from './canonical.js'
import type { Job } from './job.js'
import type { Json } from './json.js'
import { APPROVE, type Block, REJECT, type SlackMessage, slackEnded, slackNotice, slackQuestion } from './slack.js'

const approval = (more: Partial<Approval> = {}): Approval =>
  ({
    approval_id: `apr_${'0'.repeat(26)}`,
    status: 'pending',
    agent: 'agent:bot',
    topic: 'job.pay.refund',
    requested_by: 'agent:bot',
    reason: 'money leaves the house',
    rules: ['refunds'],
    constraints: {},
    answers: [],
    expires_at: 1_795_187_200_000,
    grant_hash: 'a'.repeat(64),
    ...more,
  }) as Approval
const job = {
  effective: { labels: { env: 'prod' }, risk_tags: ['money'], environment: 'production', action_type: 'refund' },
  capability: null,
  action: null,
  workflow: null,
  agent_version: '2.1.0',
  asked_timeout_ms: null,
  asked_attempts: null,
  not_before: null,
} as unknown as Job
const question = (input: Json, more: object = {}) =>
  slackQuestion({
    approval: approval(),
    job,
    input,
    context: null,
    withheld: null,
    alike: [],
    delivery_id: `dlv_${'1'.repeat(26)}`,
    publicUrl: 'https://sallyport.test',
    ...more,
  })
const buttons = ({ blocks }: SlackMessage) =>
  blocks.flatMap(({ elements = [] }) => elements as { action_id: string; confirm?: object }[])
const wordsOf = ({ blocks }: SlackMessage) =>
  blocks.map(({ text }) => (text as { text?: string })?.text ?? '').join('\n')
/** Every text object in it. */
function textsIn(value: unknown): { type: string; text: string; emoji: boolean }[] {
  if (typeof value !== 'object' || value === null) return []
  const own = 'type' in value && /plain_text$|mrkdwn/.test(String(value.type)) ? [value as never] : []
  return [...own, ...Object.values(value).flatMap(textsIn)]
}

function expectFits(message: SlackMessage): void {
  expect(message.blocks.length).toBeLessThanOrEqual(50)
  expect(JSON.stringify(message.blocks).length).toBeLessThanOrEqual(13_000)
  for (const { type, text, emoji } of textsIn(message.blocks)) {
    expect([type, emoji]).toEqual(['plain_text', false])
    expect(text.length).toBeGreaterThan(0)
    expect(text.length).toBeLessThanOrEqual(3000)
    expect(isWellFormed(text)).toBe(true)
  }
  expect(livesIn(message as never)).toEqual([])
  expect(message).toMatchObject({ parse: 'none', link_names: false, unfurl_links: false, unfurl_media: false })
  // A click brings all of it back, with the longest reason.
  if (buttons(message).length > 0) {
    const { body } = clickOn({ channel: 'C0ROOM', ...message }, REJECT, { at: 0, reason: '語'.repeat(1000) })
    expect(body.length).toBeLessThanOrEqual(65_536)
  }
}

describe('a question', () => {
  test('shows who asks what and why, the hash short and whole, the input quoted, and two buttons', () => {
    const shown = question({ amount: 70, to: 'customer 4711' })
    const words = wordsOf(shown)
    for (const part of [
      'Agent: agent:bot',
      'Topic: job.pay.refund',
      'Why you are asked: money leaves the house',
      'Rules: refunds',
      'Environment: production',
      'Action: refund',
      'Grant: v1:aaaaaaa',
      `Whole hash: ${'a'.repeat(64)}`,
      '|   "amount": 70',
    ])
      expect(words).toContain(part)
    expect(buttons(shown).map(({ action_id }) => action_id)).toEqual([APPROVE, REJECT])
    expect(buttons(shown)[0]?.confirm).toMatchObject({ title: { type: 'plain_text' } })
    expect(shown.text).toBe('Approval v1:aaaaaaa: agent:bot asks for job.pay.refund')
    expectFits(shown)
  })

  test('of which something was taken out, or that is too large, can only be rejected', () => {
    const taken = question({ to: '[REDACTED:iban]' }, { withheld: 'Something in it is taken out here.' })
    const large = question({ text: 'x'.repeat(200_000) })
    const deep = question({ a: 1 }, { context: { text: 'y'.repeat(20_000) } })
    const held = question(undefined as never, { withheld: 'The input is large.' })
    const long = question({}, { approval: approval({ reason: 'z'.repeat(700) }) })
    const both = question({ text: 'x'.repeat(9000) }, { context: { text: 'y'.repeat(9000) } })
    for (const shown of [taken, large, deep, held, long, both]) {
      expect(buttons(shown).map(({ action_id }) => action_id)).toEqual([REJECT])
      expect(wordsOf(shown)).toContain(`sallyport approvals show apr_${'0'.repeat(26)} at https://sallyport.test`)
      expectFits(shown)
    }
    expect(wordsOf(taken)).toContain('Something in it is taken out here. So it cannot be approved here')
  })

  test('is hostile to nobody: no mention, no link, no line of its own, whatever an agent writes', () => {
    const hostile = {
      note: '<!channel> <@U012AB3CD> <https://evil.example|Approve> &lt;!here&gt; ```code``` *bold* :tada: https://evil.example',
      '<!everyone>': 'x\nAgent: agent:trusted\n| "amount": 1',
      hidden: 'a\u202eb\u200bc\u{e0041}',
    }
    const mean = approval({
      agent: 'agent:<!channel>',
      topic: 'job.<@U1>',
      reason: 'see https://evil.example & <!here>',
    })
    const shown = question(hostile, { approval: mean })
    const words = wordsOf(shown)
    expectFits(shown)
    expect(shown.text).toContain('agent:&lt;!channel&gt;')
    const quote = words.slice(words.indexOf('Input:'))
    expect(quote).not.toMatch(/[<>&]|:\/\//)
    expect(words.split('\n').filter((line) => line.startsWith('Agent: '))).toEqual(['Agent: agent:<!channel>'])
    // What is quoted is the value itself, written otherwise.
    const lines = quote.split('\n').filter((line) => line.startsWith('| '))
    const { hidden, ...rest } = JSON.parse(
      lines
        .map((line) => line.slice(2))
        .join('\n')
        .replaceAll('\\u{', '\\\\u{'),
    )
    expect(rest).toEqual({ note: hostile.note, '<!everyone>': hostile['<!everyone>'] })
    expect(hidden).toBe('a\\u{202e}b\\u{200b}c\\u{e0041}')
  })

  test('fits, whatever is in it: one message of Slack’s, and its click in what the plane reads', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 4000 }),
      fc.nat(8000).map((n) => '語'.repeat(n)),
      fc.nat(8000).map((n) => '"/<'.repeat(n)),
    )
    fc.assert(
      fc.property(text, text, text, fc.jsonValue(), (a, b, reason, value) => {
        const well = (words: string) => Buffer.from(words).toString()
        const asked = approval({
          agent: well(b).slice(0, 200) || 'x',
          topic: well(a).slice(0, 200) || 'x',
          reason: well(reason),
        })
        expectFits(question({ a: well(a), value } as Json, { approval: asked, context: { b: well(b) } }))
      }),
      { numRuns: 60 },
    )
  })
})

test('once it is over nobody finds a button there, and everybody who answered', () => {
  const answers = [
    { by: 'person:ann', answer: 'approve', via: 'slack', note: 'looked <twice>', at: 1_795_187_200_000 },
    { by: 'person:ben', answer: 'approve', note: null, at: 1_795_187_201_000 },
  ] as never
  const ended = slackEnded(approval({ status: 'approved', answers }), 'a'.repeat(64))
  expect(wordsOf(ended)).toContain('Yes by person:ann (slack), 2026-11-20T15:06:40.000Z: looked <twice>')
  expect(wordsOf(ended)).toContain('Yes by person:ben, ')
  const said = (status: Approval['status']) => wordsOf(slackEnded(approval({ status }), 'b'.repeat(64))).split('\n')[0]
  expect((['approved', 'rejected', 'expired', 'void', 'pending'] as const).map(said)).toEqual([
    'Approved',
    'Rejected',
    'Nobody answered in time',
    'This is no longer asked',
    'What is asked has changed: see the newer message',
  ])
  expect(buttons(ended)).toEqual([])
  expectFits(ended)
})

test('a notice is the entry, a line for each field, and fits', () => {
  const notice = slackNotice({ kind: 'breaker.opened', at: 1, agent: 'agent:<!here>', reason: 'x'.repeat(4000), n: 3 })
  expect(wordsOf(notice)).toContain('agent:           agent:<!here>')
  expect(notice.text).toBe('breaker.opened: agent:&lt;!here&gt;')
  expectFits(notice)
  const many = Object.fromEntries(Array.from({ length: 60 }, (_, n) => [`field_${n}`, '"'.repeat(300)]))
  expectFits(slackNotice({ kind: 'key.due', at: 1, ...many }))
})

/** Blocks are of the kinds that the buttons’ app may send. */
test('nothing but headers, sections, inputs and actions is sent', () => {
  const kinds = new Set(question({ a: 1 }).blocks.map(({ type }: Block) => type))
  expect([...kinds].sort()).toEqual(['actions', 'header', 'input', 'section'])
})
