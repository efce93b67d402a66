import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')

test('docs/config.md lists every setting the configuration reads, and no other', () => {
  const names = (text: string) => [...new Set(text.match(/SALLYPORT_[A-Z_]*[A-Z]/g))].sort()
  const cliOnly = ['SALLYPORT_API_KEY', 'SALLYPORT_URL']
  expect(names(read('docs/config.md'))).toEqual([...names(read('src/config.ts')), ...cliOnly].sort())
})
