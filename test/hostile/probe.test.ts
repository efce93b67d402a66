import { test } from 'vitest'
import { API, call, http, raw, startTarget } from './attacker.js'
test('probe', async () => {
  const plane = await startTarget()
  const agent = plane.keys.agent
  for (const q of ['kind=%00','actor=%00','job_id=%00','run_id=a%00b','from=-1','to=1e3','from=99999999999999999','kind=a&kind=b'])
    console.log(q, (await call(plane, plane.keys.admin, 'GET', `${API}/audit?${q}`)).text.slice(0,200))
  const good = http('POST', `${API}/jobs`, agent, '{"topic":"job.repo.read"}').toString('latin1').replace('Connection: close', 'Connection: keep-alive')
  console.log(await raw(plane, good+good+http('GET', '/healthz', agent).toString('latin1'), 3000))
  console.log(await raw(plane, good, 3000))
  console.log(await raw(plane, 'GET /healthz HTTP/1.1\r\nHost: p\r\n\r\nGET /healthz HTTP/1.1\r\nHost: p\r\n\r\n', 1000))
  await plane.stop()
})
