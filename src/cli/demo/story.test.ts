import { expect, test } from 'vitest'
import { createTerminal } from '../terminal.js'
import type { Stage } from './stage.js'
import { type Scene, Story, wrapped } from './story.js'

const stage = {} as Stage

function told(json = false) {
  let out = ''
  const stdout = { write: (text: string) => (out += text) }
  const story = new Story(createTerminal({ stdout, stderr: { write: () => {} } }, {}, { json, stdinTTY: false }))
  return { story, out: () => out }
}

const scene = (play: Scene['play']): Scene => ({ title: 'A step', why: 'Because.', play })

test('wraps at blanks, cuts what is longer than a line, loses nothing', () => {
  expect(wrapped('one two three', 8)).toEqual(['one two', 'three'])
  expect(wrapped('0123456789', 4)).toEqual(['0123', '4567', '89'])
  expect(wrapped('', 4)).toEqual([''])
  const text = 'a somewhat longer sentence of several words'
  for (let width = 1; width < 50; width++) {
    expect(wrapped(text, width).every((line) => line.length <= width)).toBe(true)
    expect(wrapped(text, width).join('').replaceAll(' ', '')).toBe(text.replaceAll(' ', ''))
  }
})

test('a step holds when its checks do', async () => {
  const { story, out } = told()
  await story.play(
    scene(async (_stage, tell) => {
      tell.ask('agent', 'job.a.b', { input: { n: 1 }, labels: { env: 'prod' } })
      tell.answer({ status: 403, word: 'DENY', why: 'no', rules: ['r1'] })
      tell.check('denied', true, 'as promised')
    }),
    stage,
  )
  expect(story.ok).toBe(false)
  story.end()
  expect(story.ok).toBe(true)
  expect(out()).toContain(
    '    agent     job.a.b  {"n":1}  env=prod\n              403 DENY  no\n              rules: r1\n',
  )
  expect(out()).toContain('    ✓ denied (as promised)\n')
})

test.each([
  [
    'a check that does not hold',
    scene(async (_, tell) => tell.check('denied', false, 'ALLOW')),
    'not so: denied (ALLOW)',
  ],
  ['an error', scene(async () => Promise.reject(new Error('gone'))), 'fault: gone'],
  ['no check at all', scene(async () => {}), undefined],
])('a step fails by %s, and the next one is played all the same', async (_name, failing, error) => {
  const { story } = told()
  await story.play(failing, stage)
  await story.play(
    scene(async (_stage, tell) => tell.check('fine', true)),
    stage,
  )
  story.end()
  expect(story.ok).toBe(false)
  expect(story.steps.map(({ ok }) => ok)).toEqual([false, true])
  expect(story.steps[0]?.error).toBe(error)
})

test('what comes from outside cannot move the cursor', async () => {
  const { story, out } = told()
  await story.play(
    scene(async (_stage, tell) => {
      tell.answer({ by: 'worker', word: 'exit 0', why: 'a\u001b[2Jb' })
      tell.check('shown', true)
    }),
    stage,
  )
  expect(out()).toContain('a\\u001b[2Jb')
  expect(out()).not.toContain('\u001b')
})

test('with --json nothing but the document is written', async () => {
  const { story, out } = told(true)
  await story.play(
    scene(async (_stage, tell) => {
      tell.show({ a: 1 }, () => {
        throw new Error('not asked for')
      })
      tell.check('shown', true)
    }),
    stage,
  )
  story.close(1)
  expect(out()).toBe('')
  expect(story.steps[0]?.told[0]).toEqual({ show: { a: 1 } })
})
