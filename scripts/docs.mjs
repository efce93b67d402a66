/** Writes docs/errors.md and docs/permissions.md from what a running server says of itself. After `npm run build`. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { errorsMarkdown, permissionsMarkdown } from '../dist/http/docs/markdown.js'
import { startSallyport } from '../dist/testing.js'
import { root } from './process.mjs'

const plane = await startSallyport()
try {
  const document = await (await fetch(`${plane.url}/openapi.json`)).json()
  for (const [name, text] of [
    ['errors.md', errorsMarkdown()],
    ['permissions.md', permissionsMarkdown(document)],
  ]) {
    writeFileSync(join(root, 'docs', name), text)
    console.log(`docs/${name}: ${text.split('\n').length - 1} lines`)
  }
} finally {
  await plane.stop()
}
