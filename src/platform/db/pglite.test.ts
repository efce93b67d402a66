import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { openPglite } from './pglite.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

test('what was read is not kept: a server on the embedded engine stays as large as it is', async () => {
  const db = await openPglite(null)
  const megabytes = async (n: number) => {
    for (let i = 0; i < n; i++) await db.query(`SELECT repeat('x', 1048576) AS text`)
    collect()
    return process.memoryUsage().heapUsed / 1048576
  }
  const before = await megabytes(5)
  expect((await megabytes(100)) - before).toBeLessThan(20)
  await db.close()
})
