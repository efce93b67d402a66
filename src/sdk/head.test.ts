import { describe, expect, test } from 'vitest'
import { createHeadWatch, type Fork, parseHead } from './head.js'

const ROOT = `${'A'.repeat(43)}=`
const OTHER = `${'B'.repeat(43)}=`
const note = (size: number | string, root = ROOT, origin = 'sallyport/default', at = 1) =>
  `${origin}\n${size}\n${root}\nat ${at}\n\n— sallyport c2ln\n`

describe('parseHead', () => {
  test('reads origin, size and root, and keeps the note', () => {
    const text = note(42)
    expect(parseHead(text)).toEqual({ origin: 'sallyport/default', size: 42, root: ROOT, checkpoint: text })
  })

  test.each([
    '',
    'x',
    note('042'),
    note('-1'),
    note('1e3'),
    note(1, 'short='),
    note(1).replace('—', '-'),
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
    for (const [size, at] of [
      [3, 0],
      [3, 1],
      [8, 2],
    ] as const)
      expect(watch.see(note(size), at)).toBe(true)
    expect(watch.see('garbage', 3)).toBe(false)
    expect({ heads, forks, size: watch.head?.size }).toEqual({ heads: [3, 8], forks: [], size: 8 })
  })

  test('a smaller one is a lagging node for ten seconds, an alarm after', () => {
    const { forks, watch } = watching()
    watch.see(note(8), 0)
    watch.see(note(7, OTHER), 10_000)
    expect(forks).toEqual([])
    watch.see(note(7, OTHER), 10_001)
    watch.see(note(7, OTHER), 10_002)
    expect(forks).toMatchObject([{ kind: 'smaller', known: { size: 8 }, seen: { size: 7 } }])
    expect(watch.head?.size).toBe(8)
  })

  test('two roots for one size, or another log, are an alarm at once; what was kept stays', () => {
    const { forks, watch } = watching()
    watch.see(note(8), 0)
    watch.see(note(8, OTHER), 1)
    watch.see(note(99, ROOT, 'sallyport/other'), 2)
    watch.see(note(8, ROOT, 'sallyport/default', 2), 3)
    expect(forks.map((fork) => fork.kind)).toEqual(['other_root', 'other_log'])
    expect(watch.head).toMatchObject({ size: 8, root: ROOT })
  })
})
