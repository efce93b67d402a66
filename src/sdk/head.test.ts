import { describe, expect, test } from 'vitest'
import { createHeadWatch, type Fork, parseHead } from './head.js'

const ROOT = `${'A'.repeat(43)}=`
const OTHER = `${'B'.repeat(43)}=`
const note = (size: number | string, root = ROOT, origin = 'sallyport/default', at = 1) =>
  `${origin}\n${size}\n${root}\nat ${at}\n\n— sallyport c2ln\n`

describe('parseHead', () => {
  test('reads origin, size and root, and keeps the note', () => {
    const text = note(42)
    expect(parseHead(text)).toEqual({ origin: 'sallyport/default', size: 42, root: ROOT, at: 1, checkpoint: text })
  })

  test.each([
    '',
    'x',
    note('042'),
    note('-1'),
    note('1e3'),
    note(1, 'short='),
    note(1).replace('—', '-'),
    note(1).replace('at 1\n', ''),
    note(1).replace('at 1', 'at -1'),
    note(1).split('\n\n')[0] ?? '',
    `${note(1)}${'x'.repeat(9_000)}`,
  ])('refuses %j', (text) => {
    expect(parseHead(text)).toBeNull()
  })
})

describe('the watch', () => {
  function watching() {
    const heads: number[] = []
    const forks: Fork[] = []
    return {
      heads,
      forks,
      watch: createHeadWatch(
        (head) => heads.push(head.size),
        (fork) => forks.push(fork),
      ),
    }
  }

  test('keeps the largest', () => {
    const { heads, forks, watch } = watching()
    for (const size of [3, 3, 8]) expect(watch.see(note(size))).toBe(true)
    expect(watch.see('garbage')).toBe(false)
    expect({ heads, forks, size: watch.head?.size }).toEqual({ heads: [3, 8], forks: [], size: 8 })
  })

  test('a smaller one is a lagging node where it was signed before, an alarm where it was signed after', () => {
    const { forks, watch } = watching()
    const smaller = (at: number) => note(7, OTHER, 'sallyport/default', at)
    watch.see(note(8, ROOT, 'sallyport/default', 50_000))
    watch.see(smaller(1))
    watch.see(smaller(51_000))
    expect(forks).toEqual([])
    watch.see(smaller(51_001))
    watch.see(smaller(51_001))
    expect(forks).toMatchObject([{ kind: 'smaller', known: { size: 8 }, seen: { size: 7, at: 51_001 } }])
    expect(watch.head?.size).toBe(8)
  })

  test('two roots for one size, or another log, are an alarm at once; what was kept stays', () => {
    const { forks, watch } = watching()
    watch.see(note(8))
    watch.see(note(8, OTHER))
    watch.see(note(99, ROOT, 'sallyport/other'))
    watch.see(note(8, ROOT, 'sallyport/default', 2))
    expect(forks.map((fork) => fork.kind)).toEqual(['other_root', 'other_log'])
    expect(watch.head).toMatchObject({ size: 8, root: ROOT })
  })
})
