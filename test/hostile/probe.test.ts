import { expect, test } from 'vitest'
import { API, call, expectProblem, faultsLogged, makeKey, startTarget, verifyAudit } from './attacker.js'

const POLICY = `
version: v1
default_decision: DENY
job_classes:
  - { topic: job.try.*, attempts: 3 }
  - { topic: job.lab.x, derive: { labels: { env: 'has(input.env) ? input.env : "none"' } } }
  - { topic: job.sch.x, input_schema: { type: object, properties: { a: { type: string, maxLength: 3 } }, additionalProperties: false } }
rules:
  - { id: tries, match: { topic: job.try.* }, decision: ALLOW }
  - { id: ns, match: { topic: job.ns.x }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { allowed_namespaces: [a], allowed_tools: [a] } }
  - { id: ns2, match: { topic: job.tool.x }, decision: ALLOW_WITH_CONSTRAINTS, constraints: { allowed_tools: [a] } }
  - { id: lab, match: { topic: job.lab.x }, decision: ALLOW, limits: { rate: 5/hour, per: 'label:env' } }
  - { id: sch, match: { topic: job.sch.x }, decision: ALLOW }
  - { id: ok, match: { topic: job.ok.x }, decision: ALLOW }
  - { id: cel, match: { topic: job.cel.x }, when: 'input.a > 5', decision: ALLOW }
  - { id: cel2, match: { topic: job.cel2.x }, when: 'input[input.k] == 1', decision: ALLOW }
`
test('poison', { timeout: 120000 }, async () => {
  const plane = await startTarget(POLICY).catch((e) => { console.log(JSON.stringify(e.extra?.faults)); throw e })
  const other = await makeKey(plane, 'agent', { principal: 'agent:other' })
  const half = 'n'.repeat(99) + '\u{1f600}x'
  const bodies = [
    { topic: 'job.ns.x', input: { namespace: half, tool: 'a' } },
    { topic: 'job.tool.x', input: { tool: half } },
    { topic: 'job.lab.x', input: { env: 'x'.repeat(100000) } },
    { topic: 'job.lab.x', input: { env: '\u{1f600}' } },
    { topic: 'job.lab.x', input: { env: half.repeat(10) } },
    { topic: 'job.lab.x', input: { env: 5 } },
    { topic: 'job.sch.x', input: { [half]: 1 } },
    { topic: 'job.sch.x', input: { a: half } },
    { topic: 'job.cel.x', input: { a: half } },
    { topic: 'job.cel.x', input: { a: { [half]: 1 } } },
    ...Array.from({ length: 6 }, (_, i) => ({ topic: 'job.cel2.x', input: { k: 'n'.repeat(150 + i) + '\u{1f600}'.repeat(40) } })),
  ]
  for (const body of bodies) {
    const goods = Array.from({ length: 20 }, () => call(plane, other, 'POST', `${API}/jobs`, { topic: 'job.ok.x' }))
    const a = await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, body)
    const g = await Promise.all(goods)
    console.log(JSON.stringify(body).slice(0, 60), a.status, a.text.slice(0, 200), 'neighbours', g.map((x) => x.status).join(','))
    const e = await call(plane, plane.keys.agent, 'POST', `${API}/policy/evaluate`, { job: body })
    console.log('   eval', e.status, e.text.slice(0, 100))
    if (a.body?.decision_id) { const d = await call(plane, plane.keys.agent, 'GET', `${API}/decisions/${a.body.decision_id}`); console.log('   dec', d.status) }
  }
  const sub = (await call(plane, plane.keys.agent, 'POST', `${API}/jobs`, { topic: 'job.try.a' })).body
  for (let i = 0; i < 3; i++) {
    const cl = await call(plane, plane.keys.worker, 'POST', `${API}/workers/claim`, { worker_id: 'w', claim_id: 'claim-sum' + i, topics: ['job.try.a'], capacity: 1, wait_ms: 5000 })
    console.log('claim', cl.status, cl.text.slice(0, 100))
    const lease = cl.body.leases?.[0]?.lease
    if (!lease) break
    const done = await call(plane, plane.keys.worker, 'POST', `${API}/leases/complete`, [{ lease, outcome: 'failed', error: { class: 'transient', code: 'x', message: 'x' }, usage: { tokens: Number.MAX_SAFE_INTEGER } }])
    console.log('complete', done.status, done.text)
    console.log('job', (await call(plane, plane.keys.admin, 'GET', `${API}/jobs/${sub.job_id}`)).text.slice(0, 300), (await call(plane, plane.keys.admin, 'GET', `${API}/jobs`)).status)
  }
  console.log(faultsLogged(plane))
  await verifyAudit(plane)
  await plane.stop()
})
